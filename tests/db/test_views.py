"""The views are a promise: their columns, their meaning, and that what they show cannot be changed."""

import pytest
import sqlalchemy as sa
from stored_campaign import NAME, begun, frame_of, label_of, run_generation

from al_engine.errors import DatabaseError
from db.store import Store

COLUMNS = {
    "labeled_structures": "campaign, generation, frame_id, formula, n_atoms, charge, multiplicity, "
    "level_of_theory, energy_ev, max_force_ev_per_ang, energy_sd_ev, force_sd_max_ev_per_ang, reason, split, "
    "created_at",
    "generation_summary": "campaign, generation, status, n_walkers, n_candidates, n_selected, n_labeled, "
    "n_failed, energy_rmse_ev_per_atom, force_rmse_ev_per_ang, force_mean_z2, seconds_training, "
    "seconds_exploring, seconds_labeling, started_at, closed_at",
    "label_failures_summary": "campaign, generation, frame_id, formula, level_of_theory, reason, attempts, "
    "last_attempt_at",
}


def rows(store: Store, sql: str) -> list[dict[str, object]]:
    with store.database.read() as connection:
        return [dict(row) for row in connection.execute(sa.text(sql)).mappings()]


def test_the_columns_are_those_promised(module_store: Store) -> None:
    for view, columns in COLUMNS.items():
        with module_store.database.read() as connection:
            keys = connection.execute(sa.text(f"SELECT * FROM {view}")).keys()
        assert ", ".join(keys) == columns


def test_labeled_structures(whole: Store) -> None:
    store = whole
    lone = frame_of(77, [1])
    store.import_labels(None, [(lone, label_of(lone, level="PBE"))])
    found = rows(store, "SELECT * FROM labeled_structures ORDER BY generation, frame_id")
    in_campaign = [row for row in found if row["campaign"] == NAME]
    labeled = {item.frame.frame_id: item for item in store.labeled(NAME)}
    assert {row["frame_id"] for row in in_campaign} == set(labeled)
    for row in in_campaign:
        item = labeled[str(row["frame_id"])]
        assert row["energy_ev"] == item.label.energy
        assert row["reason"] == item.origin.value
        assert row["split"] == ("audit" if item.origin.value == "audit" else "train")
        assert row["max_force_ev_per_ang"] == pytest.approx((item.label.forces**2).sum(1).max() ** 0.5)
        assert (row["energy_sd_ev"] is None) == (item.origin.value != "selected")
        assert (row["formula"], row["n_atoms"]) == ("C2H6O", 9)
        assert str(row["created_at"])[10:11] == "T"
    (alone,) = [row for row in found if row["campaign"] is None]
    assert (alone["frame_id"], alone["reason"], alone["split"], alone["level_of_theory"]) == (
        lone.frame_id, "imported", "train", "PBE",
    )  # fmt: skip


def test_generation_summary_and_failures(whole: Store) -> None:
    first, second = rows(whole, "SELECT * FROM generation_summary ORDER BY generation")
    assert first["energy_rmse_ev_per_atom"] is None
    assert (second["energy_rmse_ev_per_atom"], second["force_rmse_ev_per_ang"], second["force_mean_z2"]) == (
        0.01, 0.2, 1.1,
    )  # fmt: skip
    counts = [second[k] for k in ("n_walkers", "n_candidates", "n_selected", "n_labeled", "n_failed")]
    assert counts == [2, 7, 4, 3, 1]
    assert second["status"] == "closed"
    failures = rows(whole, "SELECT * FROM label_failures_summary ORDER BY generation")
    assert [(f["generation"], f["reason"], f["attempts"]) for f in failures] == [(0, "scf", 2), (1, "scf", 2)]
    assert all(len(str(f["frame_id"])) == 64 for f in failures)


def test_facts_cannot_be_changed(whole: Store) -> None:
    changes = {
        "frames": "charge = 1",
        "labels": "energy_ev = 0",
        "models": "seed = 1",
        "generations": "number = 9",
    }
    for table, change in changes.items():
        for sql in (f"UPDATE {table} SET {change}", f"DELETE FROM {table}"):
            with (
                pytest.raises(DatabaseError, match="is never changed or deleted"),
                whole.database.write() as c,
            ):
                c.execute(sa.text(sql))
    begun(whole, "next")
    run_generation(whole, 0, name="next")
    assert len(whole.generations("next")) == 1


def test_an_open_generation_may_be_changed(store: Store) -> None:
    begun(store)
    with store.database.write() as connection:
        connection.execute(sa.text("UPDATE generations SET abort_reason = 'x'"))
    assert len(rows(store, "SELECT * FROM generation_summary")) == 1
