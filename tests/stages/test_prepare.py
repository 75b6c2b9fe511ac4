"""What is refused before any compute."""

from pathlib import Path

import pytest
from ase.build import molecule
from small_campaign import MANY, SMALL, config, water

from al_engine.config import CampaignConfig, stored_config
from al_engine.errors import InputError
from al_engine.labeling import level_of_theory
from al_engine.stages.initial import initial_stage
from al_engine.stages.prepare import changed_config, prepare


def test_initial_frames_are_distinct_and_hold_each_isolated_atom():
    result = initial_stage(config(), [water()])
    assert len(set(result.frames)) == len(result.frames) == 8 + 1 + 2
    assert [f.formula for f in result.frames if f.n_atoms == 1] == ["H", "O"]


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"initial": {"n_frames": 1}, "model": MANY}, ("initial", "n_frames"), "too few for 4 members"),
        ({"budget": {"labels": 5}}, ("budget", "labels"), "generation 0 alone needs 11 labels"),
        ({"model": SMALL["model"] | {"r_max_ang": 1.0}}, ("model", "r_max_ang"), "1.32 Å"),
        ({"test_set": "no.xyz"}, ("test_set",), "is not a file"),
        (
            {"exploration": {"extra_samplers": [{"kind": "rattle"}, {"kind": "npt"}]}},
            ("exploration", "extra_samplers", 1, "kind"),
            "no fixed atom; not so H2O",
        ),
        (
            {"exploration": {"sampler": {"kind": "reaction_path"}}},
            ("exploration", "sampler", "ends"),
            "two different ones of the 1 systems",
        ),
        (
            {
                "systems": ({"structure": "water.xyz"}, {"structure": "water.xyz", "charge": 2}),
                "exploration": {"extra_samplers": [{"kind": "reaction_path"}]},
            },
            ("exploration", "extra_samplers", 0, "ends"),
            "must have the same atoms",
        ),
        ({"test_set": "water.xyz"}, ("test_set",), "no labeled frame"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_any_compute(
    folder: Path, changes: dict[str, object], key: tuple[str, ...], message: str
):
    with pytest.raises(InputError, match=message) as caught:
        prepare(config(**changes), folder)
    assert caught.value.key == key


def test_a_resumed_campaign_takes_some_changes_and_refuses_others(folder: Path):
    prepared = prepare(config(), folder)
    campaign, starts = prepared.campaign, prepared.starts
    assert campaign.level_of_theory == level_of_theory(stored_config(campaign).reference)

    def changed(*, is_open: bool = False, **changes: object) -> CampaignConfig:
        return changed_config(campaign, config(**changes), folder, starts=starts, is_open=is_open)

    assert changed(max_generations=7, is_open=True).max_generations == 7
    assert changed(budget={"labels": 50}, is_open=True).budget.labels == 50
    hot = {"sampler": SMALL["exploration"]["sampler"] | {"temperatures_k": [900]}}
    assert changed(exploration=hot).exploration.sampler.temperatures_k == (900,)
    with pytest.raises(InputError, match="a generation is open"):
        changed(exploration=hot, is_open=True)
    for key, value in (("seed", 5), ("model", SMALL["model"] | {"n_members": 3})):
        with pytest.raises(InputError, match="cannot change"):
            changed(**{key: value})
    with pytest.raises(InputError, match="no CUDA device"):
        changed(device="cuda")
    molecule("NH3").write(folder / "water.xyz")
    with pytest.raises(InputError, match="not the one that the campaign was created with"):
        changed()
    (folder / "water.xyz").unlink()
    assert changed(max_generations=7).max_generations == 7
