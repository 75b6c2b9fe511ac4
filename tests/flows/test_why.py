"""`explain` and `replay` on a finished campaign: told as it was, chosen as it was chosen."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from ase.calculators.emt import EMT
from running import Finished

from al_engine import Ensemble
from al_engine.config import Budget, Diversity, Score, Selection, stored_config
from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState
from al_engine.records import Candidate, Cost, Label, Origin, StopDecision
from db.store import Store
from flows import steps
from flows.cli import execute

Capture = pytest.CaptureFixture[str]
COST = Cost("test", 0.0, "cpu")
NO_MORE = StopDecision(converged=False, criteria=(), sentence="")
KINDS = list(itertools.product(get_args(Score), get_args(Diversity)))


@pytest.fixture
def url(smoke: Finished, tmp_path: Path) -> str:
    """A copy of the finished campaign's database."""
    shutil.copy(smoke.folder / "al_engine.db", tmp_path)
    return f"sqlite:///{tmp_path}/al_engine.db"


def told(capsys: Capture, *arguments: str) -> dict[str, Any]:
    assert execute([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def decisions(candidates: list[Candidate]) -> list[tuple[object, ...]]:
    """What a selection wrote, by frame."""
    chosen_from = (c for c in candidates if c.origin is not Origin.AUDIT)
    return sorted((c.frame_id, c.rank is not None, c.rank, c.score, c.reason) for c in chosen_from)


def check_identity(url: str, campaign: str, capsys: Capture) -> list[int]:
    """Hold the law for each generation; return how many frames each chose."""
    found = told(capsys, "replay", campaign, "--database", url)
    with Store.open(url) as store:
        numbers = [g.number for g in store.generations(campaign) if g.number > 0]
        assert [g["generation"] for g in found["generations"]] == numbers
        for number, generation in zip(numbers, found["generations"], strict=True):
            again = sorted(
                (row["frame_id"], row["status"] == "selected", row["rank"], row["score"], row["reason"])
                for row in generation["candidates"]
            )
            assert again == decisions(store.candidates(campaign, number))
            assert generation["chosen"] == generation["chosen_then"] == generation["kept"]
            assert generation["new"] == generation["dropped"] == []
    return [len(g["chosen"]) for g in found["generations"]]


def test_replay_of_the_finished_campaign_is_the_choice_it_made(url: str, capsys: Capture):
    assert check_identity(url, "smoke", capsys) == [5, 5]
    asked = ("--threshold", "0", "--budget", "5")  # as in the campaign file
    found = told(capsys, "replay", "smoke", *asked, "--database", url)
    assert all(g["chosen"] == g["chosen_then"] for g in found["generations"])


class Again:
    """The smoke campaign once more, under another name and with other selections: same models and walks."""

    def __init__(self, store: Store, url: str, name: str) -> None:
        self.store, self.url, self.name = store, url, name
        campaign = store.campaign("smoke")
        assert campaign is not None
        self.config = stored_config(campaign)
        starts = store.frames(campaign.start_frame_ids)
        store.create_campaign(replace(campaign, name=name), starts)
        store.open_generation(name, 0)
        candidates = store.candidates("smoke", 0)
        frames = store.frames([c.frame_id for c in candidates])
        store.finish_initial(
            name, frames, [replace(c, state=CandidateState.SELECTED) for c in candidates], COST
        )
        self.end(0)

    def end(self, number: int) -> None:
        """Close a generation whose labels are all known."""
        self.store.finish_labeling(self.name, number, COST)
        self.store.close_generation(self.name, number, [], NO_MORE, COST)

    def choose(self, number: int, selection: Selection, budget: Budget, confirm: bool) -> None:
        """Go through a generation that selects by these settings, with the step of the flow."""
        store, name = self.store, self.name
        config = self.config.model_copy(update={"selection": selection, "budget": budget})
        store.update_config(name, config.model_dump_json())
        store.open_generation(name, number)
        model = store.model("smoke", number)
        assert model is not None
        store.finish_training(name, number, model, [], COST)
        candidates = [
            replace(c, state=CandidateState.VISITED, score=None, rank=None)
            if c.origin is not Origin.AUDIT or c.state is CandidateState.REJECTED
            else replace(c, state=CandidateState.AUDIT)
            for c in store.candidates("smoke", number)
        ]
        frames = store.frames([c.frame_id for c in candidates])
        draws = store.audit_draws("smoke", number)
        store.finish_exploration(
            name, number, frames, store.walkers("smoke", number), draws, candidates, COST
        )
        steps.select(name, number, self.url)
        store.decide_confirming(name, number, "" if confirm else "the small audit does not look good")
        self.end(number)


def test_replay_is_the_choice_that_was_made_with_every_score_and_diversity(url: str, capsys: Capture):
    n_chosen = []
    with Store.open(url) as store:
        level = store.campaign("smoke").level_of_theory  # type: ignore[union-attr]
        frames = store.frames([c.frame_id for g in (1, 2) for c in store.candidates("smoke", g)])
        store.import_labels(None, [(f, Label(f.frame_id, level, 0.0, np.zeros((5, 3)))) for f in frames])
        for k, (one, other) in enumerate(zip(KINDS[::2], KINDS[1::2], strict=True)):
            again = Again(store, url, f"kinds-{k}")
            first, second = (Selection(n_frames=6, score=s, diversity=d) for s, d in (one, other))
            budget = Budget(labels=23 if k % 2 else None)
            again.choose(1, first, budget, confirm=k % 4 < 2)
            second = second.model_copy(update={"threshold_ev_per_ang": 0.03})
            again.choose(2, second, Budget(), confirm=k % 4 >= 2)
            n_chosen.append(check_identity(url, again.name, capsys))
    # 23 labels but for 14 initial and 4 audited ones are 5
    assert [n for n, _ in n_chosen] == [6, 5] * 6
    assert all(n > 0 for _, n in n_chosen)


def test_other_settings_take_more_or_fewer_frames(url: str, capsys: Capture):
    least = 0.05
    few = told(capsys, "replay", "smoke", "--threshold", str(least), "--generation", "1", "--database", url)
    (generation,) = few["generations"]
    sds = {row["frame_id"]: row["force_sd_max_ev_per_ang"] for row in generation["candidates"]}
    above = [frame_id for frame_id, sd in sds.items() if sd >= least]
    assert set(generation["chosen"]) <= set(above)
    assert len(generation["chosen"]) == min(5, len(above))
    many = told(capsys, "replay", "smoke", "--budget", "7", "--database", url)
    for generation in many["generations"]:
        assert generation["chosen"][:5] == generation["chosen_then"]  # the choice is greedy
        assert generation["new"] == generation["chosen"][5:]
        assert len(generation["new"]) == 2
    assert execute(["replay", "smoke", "--budget", "7", "--database", url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-5:] for line in lines[1:3]] == [["5", "7", "5", "2", "0"]] * 2
    assert "Audits are drawn before the walks and stay as they were" in lines[3]


def test_replay_changes_nothing(url: str):
    file = Path(url.removeprefix("sqlite:///"))
    before = file.read_bytes()
    assert execute(["replay", "smoke", "--threshold", "0.1", "--budget", "9", "--database", url]) == 0
    assert file.read_bytes() == before


def test_explain_tells_what_the_model_said_and_what_was_true(url: str, capsys: Capture):
    with Store.open(url) as store:
        candidates, model = store.candidates("smoke", 1), store.model("smoke", 1)
        ids = {c.frame_id: frame for c in candidates for frame in store.frames([c.frame_id])}
    assert model is not None
    chosen = next(c for c in candidates if c.rank == 0)
    for candidate in (chosen, next(c for c in candidates if c.score and c.rank is None)):
        frame = ids[candidate.frame_id]
        prediction = Ensemble.from_bytes(model.weights, device="cpu").predict([frame])
        atoms = frame.to_ase()
        atoms.calc = EMT()
        found = told(capsys, "explain", candidate.frame_id[:9], "--campaign", "smoke", "--database", url)
        (one,) = found["candidates"]
        assert (one["campaign"], one["generation"], one["formula"]) == ("smoke", 1, "Cu5")
        assert one["frame_id"] == candidate.frame_id
        assert (one["walker"], one["step"]) == (candidate.walker, candidate.step)
        assert (one["rank"], one["score"], one["reason"]) == (
            candidate.rank, candidate.score, candidate.reason,
        )  # fmt: skip
        parts = {name: getattr(prediction, name) for name in ("total", "aleatoric", "epistemic")}
        for name, part in parts.items():
            assert one["energy_sd_ev"][name] == pytest.approx(part.energy_sd[0], rel=1e-3)
            assert one["force_sd_max_ev_per_ang"][name] == pytest.approx(part.force_sd.max(), rel=1e-3)
        assert one["worst_atom"]["force_sd_ev_per_ang"] == pytest.approx(
            one["force_sd_max_ev_per_ang"]["total"], rel=1e-3
        )
        assert one["judge"]["n_training_frames"] == len(model.training_set)
        trained = {entry.frame_id for entry in model.training_set}
        assert one["nearest_frame_id"] in trained
        assert one["distance"] == candidate.distance
        if candidate.rank is None:
            assert (one["status"], one["true_error"]) == ("rejected", None)
            continue
        assert one["status"] == "labeled"
        error, forces = one["true_error"], atoms.get_forces() - prediction.forces
        energy = atoms.get_potential_energy() - prediction.energy[0]
        assert error["energy_mev_per_atom"] == pytest.approx(1000 * energy / 5, rel=1e-3, abs=1e-3)
        assert error["max_force_ev_per_ang"] == pytest.approx(np.abs(forces).max(), rel=1e-3)
        where = np.unravel_index(np.abs(forces).argmax(), forces.shape)
        sd = prediction.total.component_sd[where]
        assert error["max_force_in_sd"] == pytest.approx(np.abs(forces).max() / sd, rel=1e-3)
        assert error["atom"] == {"index": where[0], "element": "Cu"}
        assert error["energy_in_sd"] == pytest.approx(energy / prediction.total.energy_sd[0], rel=1e-2)
    assert execute(["explain", chosen.frame_id[:6], "--database", url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"smoke, generation 1: Cu5 {chosen.frame_id}"
    assert len(lines) == 9
    assert f"decision: {chosen.reason}" in lines[5]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "00000000"], "frame = '00000000': of the candidates of the database, none begins so"),
        (["explain", "abc"], "the first 6 to 64 hexadecimal digits of a frame's id are needed"),
        (["explain", "structure.xyz"], "the first 6 to 64 hexadecimal digits of a frame's id are needed"),
        (["explain", "d11cc5"], "2 begin so, d11cc5"),
        (["explain", "d11cc5", "--campaign", "none"], "has no such campaign; it has smoke"),
        (["replay", "none"], "has no such campaign; it has smoke"),
        (["replay", "smoke", "--threshold", "-0.1"], "Must be >= 0"),
        (["replay", "smoke", "--threshold", "nan"], "Must be "),
        (["replay", "smoke", "--threshold", "inf"], "Must be < inf"),
        (["replay", "smoke", "--budget", "-1"], "Must be >= 0"),
        (["replay", "smoke", "--generation", "0"], "only 1, 2 selected from the candidates of a model"),
        (["replay", "smoke", "--generation", "9"], "only 1, 2 selected from the candidates of a model"),
    ],
)
def test_a_mistake_costs_one_line(arguments: list[str], said: str, url: str, capsys: Capture):
    alike = [Frame(np.array([1]), np.array([[x, 0.0, 0.0]])) for x in (2783, 7039)]  # both are d11cc5...
    with Store.open(url) as store:
        level = store.campaign("smoke").level_of_theory  # type: ignore[union-attr]
        entries = [(frame, Label(frame.frame_id, level, 0.0, np.zeros((1, 3)))) for frame in alike]
        store.import_labels("smoke", entries)
    assert execute([*arguments, "--database", url]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err


def test_a_campaign_that_has_not_selected_has_nothing_to_replay(url: str, capsys: Capture):
    with Store.open(url) as store:
        Again(store, url, "begun")
    assert execute(["replay", "begun", "--database", url]) == 2
    assert "'begun': no generation yet selected from the candidates" in capsys.readouterr().err
