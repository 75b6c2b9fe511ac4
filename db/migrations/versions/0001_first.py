"""The first schema: tables, triggers that keep the facts, and the views for people who write SQL."""

# ruff: noqa: S608 - no input reaches this SQL
from functools import partial
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_UNCERTAINTIES = (
    "energy_sd_ev", "energy_sd_aleatoric_ev", "energy_sd_epistemic_ev", "force_sd_max_ev_per_ang",
    "force_sd_max_aleatoric_ev_per_ang", "force_sd_max_epistemic_ev_per_ang", "force_sd_mean_ev_per_ang",
    "information_nats",
)  # fmt: skip


def upgrade() -> None:
    """Create everything."""
    _frames_and_labels()
    _campaigns()
    _exploration()
    _models_and_decisions()
    _triggers()
    _views()


def _column(kind: Any, name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, **{"nullable": False, **options})


_text, _real, _blob = (partial(_column, kind) for kind in (sa.Text, sa.Double, sa.LargeBinary))


def _choice(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(16), nullable=False)


def _whole(name: str, **options: Any) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), autoincrement=False, **{"nullable": False, **options})


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer(), primary_key=True)


def _to(name: str, target: str, **options: Any) -> sa.Column[int]:
    kind: Any = sa.LargeBinary(32) if target == "frames.id" else sa.Integer()
    return sa.Column(name, kind, sa.ForeignKey(target), autoincrement=False, **{"nullable": False, **options})


def _of_generation(**options: Any) -> sa.Column[int]:
    return _to("generation_id", "generations.id", **options)


def _frames_and_labels() -> None:
    op.create_table("levels", _id(), _text("name", unique=True))
    op.create_table(
        "frames", sa.Column("id", sa.LargeBinary(32), primary_key=True),
        _text("formula", index=True), _whole("n_atoms"), _whole("charge"), _whole("multiplicity"),
        sa.Column("pbc", sa.String(3), nullable=False), _blob("numbers"), _blob("positions"),
        _blob("cell", nullable=True), _blob("fixed", nullable=True),
    )  # fmt: skip
    op.create_table(
        "formula_elements", _text("formula", primary_key=True), _whole("z", primary_key=True), _whole("count")
    )
    op.create_table(
        "labels", _id(), _to("frame_id", "frames.id"), _to("level_id", "levels.id"),
        _real("energy_ev"), _real("max_force_ev_per_ang"), _blob("forces"), _blob("stress", nullable=True),
        _real("seconds"), _text("created_at"), sa.UniqueConstraint("frame_id", "level_id"),
    )  # fmt: skip
    op.create_table(
        "label_conflicts", _to("label_id", "labels.id", primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        _real("energy_ev"), _blob("forces"), _blob("stress", nullable=True), _text("created_at"),
    )  # fmt: skip


def _campaigns() -> None:
    op.create_table(
        "campaigns", _id(), _text("name", unique=True), _to("level_id", "levels.id"),
        _text("config"), _text("environment"), _text("created_at"),
    )  # fmt: skip
    op.create_table(
        "config_changes", _id(), _to("campaign_id", "campaigns.id", index=True),
        _text("config"), _text("replaced_at"),
    )  # fmt: skip
    op.create_table(
        "campaign_starts", _to("campaign_id", "campaigns.id", primary_key=True),
        _whole("position", primary_key=True), _to("frame_id", "frames.id"),
    )  # fmt: skip
    counts = ("n_walkers", "n_candidates", "n_selected", "n_labeled", "n_failed")
    op.create_table(
        "generations", _id(), _to("campaign_id", "campaigns.id"), _whole("number"), _choice("state"),
        *(_whole(name, nullable=True) for name in counts), _text("abort_reason", nullable=True),
        _text("started_at"), _text("closed_at", nullable=True), sa.UniqueConstraint("campaign_id", "number"),
    )  # fmt: skip


def _exploration() -> None:
    op.create_table(
        "candidates", _id(), _of_generation(), _to("frame_id", "frames.id", index=True),
        _choice("origin"), _choice("state"), _whole("walker", nullable=True), _whole("step", nullable=True),
        _real("temperature_k", nullable=True), *(_real(name, nullable=True) for name in _UNCERTAINTIES),
        _blob("features", nullable=True), _real("distance", nullable=True), _real("score", nullable=True),
        _whole("rank", nullable=True), _text("reason"), sa.UniqueConstraint("generation_id", "frame_id"),
    )  # fmt: skip
    op.create_table(
        "label_failures", _to("candidate_id", "candidates.id", primary_key=True),
        _to("level_id", "levels.id"), _choice("reason"), _text("message"), _whole("attempts"),
        _real("seconds"), _text("last_attempt_at"),
    )  # fmt: skip
    op.create_table(
        "walkers", _of_generation(primary_key=True), _whole("number", primary_key=True),
        _to("start_frame_id", "frames.id"), _real("temperature_k"), _whole("n_planned"), _whole("n_steps"),
        _choice("exit_reason"), _real("exit_value", nullable=True), _blob("trace"),
    )  # fmt: skip
    op.create_table(
        "audit_draws", _of_generation(primary_key=True), _whole("number", primary_key=True),
        _whole("walker"), _whole("step"), _to("frame_id", "frames.id", nullable=True),
    )  # fmt: skip


def _models_and_decisions() -> None:
    op.create_table(
        "models", _of_generation(primary_key=True), _blob("weights"),
        sa.Column("weights_sha256", sa.LargeBinary(32), nullable=False), _whole("n_members"),
        sa.Column("seed", sa.BigInteger(), nullable=False), _blob("scales"), _blob("scale_errors"),
        _text("calibration"), _blob("log"), _text("log_columns"),
    )  # fmt: skip
    op.create_table(
        "training_sets", _of_generation(primary_key=True), _to("frame_id", "frames.id", primary_key=True),
        _whole("fold"), sqlite_with_rowid=False,
    )  # fmt: skip
    op.create_table(
        "metrics", _of_generation(primary_key=True), _text("split", primary_key=True),
        _text("quantity", primary_key=True), _text("name", primary_key=True), _real("value", nullable=True),
    )  # fmt: skip
    op.create_table(
        "ledger", _id(), _of_generation(index=True), _choice("state"), _text("stage"), _real("seconds"),
        _text("device"), _whole("n_labels"), _text("created_at"),
    )  # fmt: skip
    op.create_table(
        "stop_decisions", _of_generation(primary_key=True),
        sa.Column("converged", sa.Boolean(), nullable=False), _text("sentence"),
    )  # fmt: skip
    op.create_table(
        "stop_criteria", _to("generation_id", "stop_decisions.generation_id", primary_key=True),
        _whole("number", primary_key=True), _text("name"), _real("value", nullable=True), _text("wanted"),
        sa.Column("met", sa.Boolean(), nullable=False),
    )  # fmt: skip


def _triggers() -> None:
    bind = op.get_bind()
    is_sqlite = bind.dialect.name == "sqlite"
    if not is_sqlite:
        bind.exec_driver_sql(
            "CREATE FUNCTION al_engine_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION USING MESSAGE = TG_ARGV[0]; END $$"
        )
    for table, words in (("frames", "a frame"), ("labels", "a label"), ("models", "a model"),
                         ("generations", "a closed generation")):  # fmt: skip
        when = "WHEN (OLD.state = 'closed')" if table == "generations" else ""
        for event in ("UPDATE", "DELETE"):
            message = f"{words} is never changed or deleted"
            then = (
                f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
                if is_sqlite
                else f"EXECUTE FUNCTION al_engine_refuse('{message}')"
            )
            name = f"{table}_no_{event.lower()}"
            bind.exec_driver_sql(
                f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW {when} {then}"
            )


def _views() -> None:
    bind = op.get_bind()
    as_hex = "lower(hex(frames.id))" if bind.dialect.name == "sqlite" else "encode(frames.id, 'hex')"
    sds = ", ".join(_UNCERTAINTIES)
    no_sds = ", ".join(f"CAST(NULL AS DOUBLE PRECISION) AS {name}" for name in _UNCERTAINTIES)
    frame = f"{as_hex} AS frame_id, frames.formula, frames.n_atoms, frames.charge, frames.multiplicity"
    label = "levels.name AS level_of_theory, labels.energy_ev, labels.max_force_ev_per_ang"
    for sql in (
        # every candidate, and the labels that no campaign has
        f"""CREATE VIEW structures AS
        SELECT campaigns.name AS campaign, generations.number AS generation, {frame}, {label}, {sds},
            candidates.origin AS reason,
            CASE candidates.origin WHEN 'audit' THEN 'audit' ELSE 'train' END AS split,
            candidates.state AS status, labels.created_at
        FROM candidates JOIN generations ON generations.id = candidates.generation_id
            JOIN campaigns ON campaigns.id = generations.campaign_id
            JOIN levels ON levels.id = campaigns.level_id
            JOIN frames ON frames.id = candidates.frame_id
            LEFT JOIN labels ON labels.frame_id = candidates.frame_id AND labels.level_id = levels.id
        UNION ALL
        SELECT CAST(NULL AS TEXT), CAST(NULL AS INTEGER), {frame}, {label}, {no_sds},
            'imported', 'train', 'labeled', labels.created_at
        FROM labels JOIN frames ON frames.id = labels.frame_id JOIN levels ON levels.id = labels.level_id
        WHERE NOT EXISTS (
            SELECT 1 FROM candidates JOIN generations ON generations.id = candidates.generation_id
                JOIN campaigns ON campaigns.id = generations.campaign_id
            WHERE candidates.frame_id = labels.frame_id AND candidates.state = 'labeled'
                AND campaigns.level_id = labels.level_id)""",
        """CREATE VIEW labeled_structures AS
        SELECT campaign, generation, frame_id, formula, n_atoms, charge, multiplicity, level_of_theory,
            energy_ev, max_force_ev_per_ang, energy_sd_ev, force_sd_max_ev_per_ang, reason, split, created_at
        FROM structures WHERE status = 'labeled'""",
        f"""CREATE VIEW generation_summary AS
        SELECT campaigns.name AS campaign, g.number AS generation, g.state AS status,
            COALESCE(g.n_walkers, (SELECT count(*) FROM walkers w WHERE w.generation_id = g.id)) AS n_walkers,
            {_count("n_candidates", "1 = 1")},
            {_count("n_selected", "c.state IN ('selected', 'audit', 'labeled', 'failed')")},
            {_count("n_labeled", "c.state = 'labeled'")},
            {_count("n_failed", "c.state = 'failed'")},
            {_metric("energy", "rmse_ev_per_atom")} AS energy_rmse_ev_per_atom,
            {_metric("forces", "rmse_ev_per_ang")} AS force_rmse_ev_per_ang,
            {_metric("forces", "mean_z2")} AS force_mean_z2,
            {_seconds("trained")} AS seconds_training,
            {_seconds("explored")} AS seconds_exploring,
            {_seconds("labeled")} AS seconds_labeling,
            g.started_at, g.closed_at
        FROM generations g JOIN campaigns ON campaigns.id = g.campaign_id""",
        f"""CREATE VIEW label_failures_summary AS
        SELECT campaigns.name AS campaign, generations.number AS generation, {as_hex} AS frame_id,
            frames.formula, levels.name AS level_of_theory, label_failures.reason, label_failures.attempts,
            label_failures.last_attempt_at
        FROM label_failures JOIN candidates ON candidates.id = label_failures.candidate_id
            JOIN generations ON generations.id = candidates.generation_id
            JOIN campaigns ON campaigns.id = generations.campaign_id
            JOIN frames ON frames.id = candidates.frame_id
            JOIN levels ON levels.id = label_failures.level_id
        WHERE candidates.state = 'failed'""",
    ):
        bind.exec_driver_sql(sql)


def _count(name: str, condition: str) -> str:
    return (
        f"COALESCE(g.{name}, (SELECT count(*) FROM candidates c "
        f"WHERE c.generation_id = g.id AND {condition})) AS {name}"
    )


def _metric(quantity: str, name: str) -> str:
    return (
        "(SELECT m.value FROM metrics m WHERE m.generation_id = g.id AND m.split = 'audit' "
        f"AND m.quantity = '{quantity}' AND m.name = '{name}')"
    )


def _seconds(state: str) -> str:
    return (
        "COALESCE((SELECT sum(l.seconds) FROM ledger l "
        f"WHERE l.generation_id = g.id AND l.state = '{state}'), 0.0)"
    )
