"""An export keeps structures, labels and where they come from; it is there whole or not at all."""

import sys
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from stored_campaign import NAME, begun, frame_of, label_of, run_campaign

from al_engine.errors import InputError
from al_engine.frames import Frame
from al_engine.records import Label
from al_engine.structures import read_labeled
from db.export import export, to_extxyz
from db.query import load, query
from db.store import Store

CELL = np.array([[5.0, 0.1, 0.0], [0.0, 6.0, 0.2], [0.3, 0.0, 7.0]])


@pytest.fixture
def filled(sqlite_store: Store) -> Store:
    """A campaign with generation 1, an imported cell with stress and fixed atoms, an odd level's name."""
    if not sqlite_store.campaign_names():
        begun(sqlite_store)
        cell = frame_of(
            55, [14, 14], cell=CELL, pbc=np.array([True, True, False]), fixed=np.array([True, False])
        )
        label = label_of(cell)
        stress = np.array([[1.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, 3.0]]) / 3
        sqlite_store.import_labels(NAME, [(cell, Label(*label_fields(label), stress))])
        run_campaign(sqlite_store, 2)
    return sqlite_store


def label_fields(label: Label) -> tuple[str, str, float, np.ndarray]:
    return label.frame_id, label.level_of_theory, label.energy, label.forces


def test_extxyz_gives_the_same_frames_and_labels(filled: Store, tmp_path: Path) -> None:
    path = tmp_path / "out.extxyz"
    n = export(filled, NAME, path)
    images = ase.io.read(path, ":", format="extxyz")
    labeled = {item.frame.frame_id: item for item in filled.labeled(NAME)}
    rows = {row.frame_id: row for row in query(filled, "", NAME)}
    assert len(images) == n == len(labeled) == len(rows)
    for atoms in images:
        frame = Frame.from_ase(atoms)
        item, row = labeled.pop(frame.frame_id), rows[frame.frame_id]  # the id: bit by bit the same
        assert atoms.get_potential_energy() == item.label.energy
        assert atoms.calc.results["forces"].tobytes() == item.label.forces.tobytes()
        if item.label.stress is not None:
            np.testing.assert_array_equal(atoms.get_stress(voigt=False), item.label.stress)
        for key in (
            "split",
            "generation",
            "level_of_theory",
            "reason",
            "force_sd_max_ev_per_ang",
            "energy_sd_ev",
        ):
            assert atoms.info.get(key) == getattr(row, key)
    assert not labeled


def test_ase_db(filled: Store, tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    n = export(filled, NAME, path)
    rows = {row.frame_id: row for row in query(filled, "", NAME)}
    with ase.db.connect(path) as database:
        found = list(database.select())
    assert len(found) == n
    for item in found:
        row = rows[item.frame_id]
        assert (item.energy, item.split, item.generation) == (row.energy_ev, row.split, row.generation)
        assert item.level_of_theory == row.level_of_theory
        assert item.get("energy_sd_ev") == row.energy_sd_ev
        assert Frame.from_ase(
            item.toatoms(), charge=item.data["charge"], multiplicity=item.multiplicity
        ).frame_id


def test_parquet(filled: Store, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "out.parquet"
    n = export(filled, NAME, path)
    rows = {row.frame_id: row for row in query(filled, "", NAME)}
    labeled = {item.frame.frame_id: item for item in filled.labeled(NAME)}
    found = parquet.read_table(path).to_pylist()
    assert len(found) == n
    for item in found:
        row, known = rows[item["frame_id"]], labeled[item["frame_id"]]
        assert all(item[key] == getattr(row, key) for key in row.__dataclass_fields__)
        assert item["positions_ang"] == known.frame.positions.ravel().tolist()
        assert item["forces_ev_per_ang"] == known.label.forces.ravel().tolist()
        assert item["numbers"] == known.frame.numbers.tolist()


def test_h5(filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    monkeypatch.setattr("db.export.CHUNK", 3)  # several batches
    path = tmp_path / "out.h5"
    n = export(filled, NAME, path)
    labeled = {item.frame.frame_id: item for item in filled.labeled(NAME)}
    with h5py.File(path) as file:
        ids = [value.decode() for value in file["frame_id"]]
        ends = np.cumsum(file["n_atoms"])
        assert len(ids) == n
        for i, (frame_id, end) in enumerate(zip(ids, ends, strict=True)):
            known = labeled[frame_id]
            atoms = slice(end - known.frame.n_atoms, end)
            np.testing.assert_array_equal(file["positions_ang"][atoms], known.frame.positions)
            np.testing.assert_array_equal(file["forces_ev_per_ang"][atoms], known.label.forces)
            np.testing.assert_array_equal(file["cell_ang"][i], known.frame.cell)
            assert file["energy_ev"][i] == known.label.energy
            assert np.isnan(file["energy_sd_ev"][i]) == (known.origin.value != "selected")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out.csv", "the ending must be one of .extxyz, .db, .parquet, .h5"),
        ("no/out.h5", "there is no folder"),
    ],
)
def test_a_wrong_place_is_one_line(filled: Store, tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        export(filled, NAME, tmp_path / name)


def test_a_missing_package_says_how_to_get_it(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r'needs h5py: pip install "al-engine\[tables\]"'):
        export(filled, NAME, tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_export_leaves_the_old_file(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.extxyz"
    path.write_text("old")

    def broken(_structure: object) -> str:
        raise OSError("no space left on device")

    monkeypatch.setattr("db.export.to_extxyz", broken)
    with pytest.raises(OSError, match="no space"):
        export(filled, NAME, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "level",
    [
        'PBE" pbc="T T T\nenergy=1\\', 'DFTB {"asap_cutoff": true}', "a\\b 'c' [d]  e", "T", "12.5", "1 2",
        "_JSON [1]", "x\u2028y", "={}=", "Å, μ",
    ],
)  # fmt: skip
def test_hostile_text_stays_text(sqlite_store: Store, tmp_path: Path, level: str) -> None:
    frame = frame_of(8)
    sqlite_store.import_labels(None, [(frame, label_of(frame, level=level))])
    (structure,) = [s for s in load(sqlite_store, query(sqlite_store, "")) if s.row.level_of_theory == level]
    path = tmp_path / "a.extxyz"
    path.write_text(to_extxyz(structure), encoding="utf-8")
    atoms = ase.io.read(path, format="extxyz")
    assert Frame.from_ase(atoms).frame_id == frame.frame_id
    assert atoms.info["level_of_theory"] == level
    ((again, label),) = [entry.content for entry in read_labeled(path, atoms.info["level_of_theory"])]
    assert sqlite_store.import_labels(None, [(again, label)]) == (0, 1, 0)
