"""Labels that all fail stop a campaign and lose nothing; a frame that crashed twice is left alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ase.build import molecule
from ase.io import write
from ruamel.yaml import YAML
from running import CONFIGS

from al_engine.config_file import load_config
from al_engine.errors import AlEngineError
from al_engine.records import FailureReason
from al_engine.stages.plan import End
from al_engine.stages.select import QUARANTINED
from db.failures import failures
from db.store import Store
from db.verify import verify
from flows.assembly import register
from flows.driver import drive, run_generation


@pytest.fixture(autouse=True)
def bad_calculators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "labeling"))


def weak(folder: Path, **keywords: Any) -> dict[str, Any]:
    """A reference that counts its calls in a folder."""
    (folder / "calls").mkdir()
    keywords |= {"folder": str(folder / "calls")}
    return {"kind": "ase", "calculator": "bad_calculators.Weak", "keywords": keywords}


def test_where_all_labels_fail_nothing_is_stored_and_the_same_call_goes_on(tmp_path: Path):
    data = YAML(typ="safe").load((CONFIGS / "smoke.yaml").read_text())
    file, url = tmp_path / "smoke.yaml", f"sqlite:///{tmp_path}/al_engine.db"
    shutil.copy(CONFIGS / "smoke.xyz", tmp_path)
    labeling = {"n_workers": 1, "chunk_size": 10}
    file.write_text(json.dumps(data | {"reference": weak(tmp_path, n=2), "labeling": labeling}))
    register(load_config(file), file, url)
    with pytest.raises(AlEngineError, match="the first 8 labels all failed, 8 by 'crash'"):
        drive("smoke", url)
    with Store.open(url) as store:
        (n_wanted,) = {len(store.unlabeled_ids("smoke", 0)), len(store.candidates("smoke", 0))}
        run_generation("smoke", 0, url)  # the frames that were tried do not crash any more, the others do
        (generation,) = store.generations("smoke")
        assert generation.n_labeled >= 8
        failed = [f for _, f in failures(store, "smoke", before=1)]
        assert len(failed) == n_wanted - generation.n_labeled == generation.n_failed > 0
        assert {(f.reason, f.attempts) for f in failed} == {(FailureReason.CRASH, 2)}
        assert failures(store, "smoke", before=0) == []


def test_a_frame_of_a_pool_that_crashed_twice_is_neither_chosen_nor_computed_again(tmp_path: Path):
    structures = []
    for seed in range(24):
        atoms = molecule("H2O")
        atoms.rattle(0.02 + 0.002 * seed, seed=seed)
        structures.append(atoms)
    write(tmp_path / "data.extxyz", structures)
    molecule("H2O").write(tmp_path / "water.xyz")
    data = {
        "name": "pool",
        "systems": [{"structure": "water.xyz"}],
        "reference": weak(tmp_path, n=9, every=3),
        "initial": {"n_frames": 10},
        "model": {"n_members": 2, "n_channels": 4, "n_layers": 1, "n_radial": 4, "r_max_ang": 4.0},
        "training": {"n_steps": 30},
        "exploration": {"sampler": {"kind": "pool", "file": "data.extxyz"}},
        "selection": {"n_frames": 6, "min_distance": 0},
        "audit": {"n_frames": 2},
        "max_generations": 2,
        "device": "cpu",
    }
    file, url = tmp_path / "pool.yaml", f"sqlite:///{tmp_path}/al_engine.db"
    file.write_text(json.dumps(data))
    register(load_config(file), file, url)
    assert drive("pool", url) is End.MAX_GENERATIONS
    assert max(call.stat().st_size for call in (tmp_path / "calls").iterdir()) == 2
    with Store.open(url) as store:
        assert verify(store, "pool") == []
        barred = {f.frame_id for _, f in failures(store, "pool", before=2)}
        again = [c for c in store.candidates("pool", 2) if c.frame_id in barred]
        assert QUARANTINED in {c.reason for c in again}
        audited = [f for _, f in failures(store, "pool", before=3) if f.attempts == 0]
        assert {f.message for f in audited} <= {QUARANTINED}
