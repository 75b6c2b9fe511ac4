"""A campaign file: what is accepted, and one line that says where it is wrong."""

import json
from pathlib import Path

import pytest

from al_engine import load_config
from al_engine.config import ASECalculator, CampaignConfig
from al_engine.config_file import MAX_CONFIG_BYTES, parse_config
from al_engine.errors import ConfigError

SMALL = "name: a\nsystems:\n  - structure: a.xyz\n"


def test_the_smallest_file_has_a_name_and_a_structure():
    config = parse_config(SMALL, "a.yaml")
    assert (config.name, config.seed, config.preset) == ("a", 0, "default")
    assert config.systems[0].structure == "a.xyz"


def test_a_config_survives_its_own_json():
    config = parse_config(
        SMALL + "reference:\n  kind: ase\n  calculator: ase.calculators.emt.EMT\n", "a.yaml"
    )
    assert CampaignConfig.model_validate_json(config.model_dump_json()) == config
    assert isinstance(config.reference, ASECalculator)
    assert json.loads(config.model_dump_json())["reference"]["kind"] == "ase"


def test_a_sampler_is_langevin_unless_it_says_its_kind():
    text = SMALL + "exploration:\n  sampler: {n_steps: 7}\n  extra_samplers: [{kind: normal_modes}]\n"
    exploration = parse_config(text, "a.yaml").exploration
    assert [s.kind for s in exploration.samplers] == ["langevin", "normal_modes"]
    assert CampaignConfig.model_validate_json(parse_config(text, "a.yaml").model_dump_json()).exploration == (
        exploration
    )


def test_a_preset_fills_in_and_the_file_wins():
    config = parse_config(SMALL + "preset: accurate\nmodel:\n  n_channels: 8\n", "a.yaml")
    assert (config.model.n_channels, config.training.n_steps) == (8, 20_000)


@pytest.mark.parametrize(
    ("text", "line", "key", "value", "allowed"),
    [
        (SMALL + "sede: 1\n", 4, "sede", "1", "unknown key; allowed are audit, budget"),
        (SMALL + "model:\n  n_member: 3\n", 5, "model.n_member", "3", "n_members"),
        (
            SMALL + "reference:\n  kind: ase\n  calculator: a.B\n  method: x\n",
            7,
            "reference.method",
            "'x'",
            "keywords",
        ),
        (SMALL + "seed: one\n", 4, "seed", "'one'", "valid integer"),
        (SMALL + "training:\n  n_steps: '10'\n", 5, "training.n_steps", "'10'", "valid integer"),
        (SMALL + "seed: true\n", 4, "seed", "True", "valid integer"),
        (
            SMALL
            + "exploration:\n  sampler:\n    kind: langevin\n    temperatures_k:\n      - 300\n      - -5\n",
            9,
            "exploration.sampler.temperatures_k.1",
            "-5",
            "greater than 0",
        ),
        (
            SMALL + "exploration:\n  extra_samplers:\n    - {kind: rattle, n_steps: 5}\n",
            6,
            "exploration.extra_samplers.0.n_steps",
            "5",
            "allowed are kind, n_frames, rattle_ang, strain",
        ),
        (SMALL + "exploration: {sampler: {kind: magic}}\n", 4, "exploration.sampler", "magic", "'rattle'"),
        (SMALL + "stop: {tolerance_ev_per_ang: .nan}\n", 4, "stop.tolerance_ev_per_ang", "nan", "finite"),
        (SMALL + "device: tpu\n", 4, "device", "'tpu'", "'auto', 'cpu' or 'cuda'"),
        (SMALL + "reference: {kind: gauss}\n", 4, "reference", "gauss", "'xtb', 'ase'"),
        ("name: a b\nsystems: [{structure: a}]\n", 1, "name", "'a b'", "pattern"),
        ("systems: [{structure: a}]\n", 1, "name", "None", "required"),
        ("name: a\nsystems: []\n", 2, "systems", "[]", "at least 1 item"),
        ("name: a\nname: b\n", 2, "syntax", "'name: b'", "duplicate key"),
        ("name: [a\n", 2, "syntax", "''", "valid YAML"),
        ("- a\n", 1, "file", "'- a\\n'", "keys and values"),
        ("", 1, "file", "''", "keys and values"),
        (
            "name: !!python/object/apply:os.system ['x']\nsystems: [{structure: a}]\n",
            1,
            "name",
            "x",
            "string",
        ),
    ],
)
def test_an_error_names_file_line_key_value_and_what_is_allowed(text, line, key, value, allowed):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "file.yaml")
    message = str(caught.value)
    assert "\n" not in message.replace("\\n", "")
    assert message.startswith(f"file.yaml, line {line}: {key} = ")
    assert value in message.split(f"{key} = ")[1]
    assert allowed in message


def test_aliases_that_grow_without_end_are_refused_quickly():
    bomb = "a0: &a0 [1, 1]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 15)
    )
    with pytest.raises(ConfigError, match="valid YAML"):
        parse_config(bomb, "bomb.yaml")


def test_a_file_that_is_missing_or_huge_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.yaml: file = 'none\.yaml': a readable YAML file"):
        load_config(tmp_path / "none.yaml")
    big = tmp_path / "big.yaml"
    big.write_text("#" * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="at most"):
        load_config(big)


def test_the_schema_for_editors_has_every_section():
    assert set(CampaignConfig.model_json_schema()["properties"]) == set(CampaignConfig.model_fields)
