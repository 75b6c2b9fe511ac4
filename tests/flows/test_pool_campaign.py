"""A campaign on the frames and labels of a file, from its file to its last generation."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT

from al_engine import load_config
from al_engine.errors import ConfigError
from al_engine.extxyz import to_extxyz
from al_engine.frames import Frame
from al_engine.records import Label, Origin
from al_engine.stages.plan import End
from db.verify import verify
from flows.assembly import assemble, register
from flows.driver import drive

N_POOL = 60


def campaign(folder: Path, **changes: object) -> Path:
    """Water labeled by an analytic potential, and a campaign that may only look at these labels."""
    lines = []
    for seed in range(N_POOL):
        atoms = molecule("H2O")
        atoms.rattle(0.02 + 0.002 * seed, seed=seed)
        atoms.calc = EMT()
        frame = Frame.from_ase(atoms)
        label = Label(frame.frame_id, "EMT", atoms.get_potential_energy(), atoms.get_forces())
        lines.append(to_extxyz(frame, label))
    (folder / "data.extxyz").write_text("".join(lines))
    molecule("H2O").write(folder / "water.xyz")
    data = {
        "name": "pool",
        "systems": [{"structure": "water.xyz"}],
        "reference": {"kind": "labels_of_file", "file": "data.extxyz"},
        "initial": {"n_frames": 6},
        "model": {"n_members": 2, "n_channels": 4, "n_layers": 1, "n_radial": 4, "r_max_ang": 4.0},
        "training": {"n_steps": 30},
        "exploration": {"sampler": {"kind": "pool", "file": "data.extxyz"}},
        "selection": {"n_frames": 5, "min_distance": 0},
        "audit": {"n_frames": 4},
        "max_generations": 2,
        "device": "cpu",
    } | changes
    file = folder / "pool.yaml"
    file.write_text(json.dumps(data))
    return file


def test_a_campaign_labels_frames_of_its_pool_and_each_once(tmp_path: Path):
    file, url = campaign(tmp_path), f"sqlite:///{tmp_path}/al_engine.db"
    register(load_config(file), file, url)
    assert drive("pool", url) is End.MAX_GENERATIONS
    with assemble("pool", url) as run:
        assert verify(run.store, "pool") == []
        assert [(g.n_labeled, g.n_failed) for g in run.store.generations("pool")] == [(6, 0), (9, 0), (9, 0)]
        labeled = run.store.labeled("pool")
        assert len({item.frame.frame_id for item in labeled}) == 24
        assert sum(item.origin is Origin.AUDIT for item in labeled) == 8
        truth = {frame_id: item.label.energy for item in labeled for frame_id in [item.frame.frame_id]}
        for item in labeled:
            atoms = item.frame.to_ase()
            atoms.calc = EMT()
            assert np.isclose(truth[item.frame.frame_id], atoms.get_potential_energy(), atol=1e-8)
        second = run.store.candidates("pool", 2)
        assert len(second) == N_POOL - 6 - 9  # what has a label is not looked at again
        audit = [c for c in second if c.origin is Origin.AUDIT]
        assert {c.reason for c in audit} == {"uniform draw from the frames of the pool without a label"}
        assert run.store.walkers("pool", 2) == []
    register(load_config(file), file, url)  # the same file again: nothing has changed


def test_what_does_not_go_with_a_pool_is_refused(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/al_engine.db"
    for changes, message in (
        (
            {"exploration": {}},
            "exploration.sampler.kind = None: the labels of a file go with frames of a pool only",
        ),
        (
            {"reference": {"kind": "labels_of_file", "file": "no.xyz"}},
            r"reference.file = 'no.xyz': .*is not a file",
        ),
    ):
        file = campaign(tmp_path, **changes)
        with pytest.raises(ConfigError, match=message):
            register(load_config(file), file, url)
    file = campaign(tmp_path)
    molecule("H2").write(tmp_path / "water.xyz")
    with pytest.raises(ConfigError, match=r"exploration.sampler.file = .*Z = \[8\] that no system has"):
        register(load_config(file), file, url)
