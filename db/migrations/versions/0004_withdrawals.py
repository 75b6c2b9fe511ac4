"""A label that turned out wrong is withdrawn by a row beside it; the views show that as its status."""

# ruff: noqa: S608 - no input reaches this SQL
import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_UNCERTAINTIES = (
    "energy_sd_ev", "energy_sd_aleatoric_ev", "energy_sd_epistemic_ev", "force_sd_max_ev_per_ang",
    "force_sd_max_aleatoric_ev_per_ang", "force_sd_max_epistemic_ev_per_ang", "force_sd_mean_ev_per_ang",
    "information_nats",
)  # fmt: skip


def upgrade() -> None:
    """Add the table, its triggers, and make the views anew."""
    op.create_table(
        "label_withdrawals",
        sa.Column(
            "label_id", sa.Integer(), sa.ForeignKey("labels.id"), primary_key=True, autoincrement=False
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
    )
    bind = op.get_bind()
    is_sqlite = bind.dialect.name == "sqlite"
    message = "a withdrawal is never changed or deleted"
    then = f"EXECUTE FUNCTION al_engine_refuse('{message}')"
    if is_sqlite:
        then = f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    for event in ("UPDATE", "DELETE"):
        name = f"label_withdrawals_no_{event.lower()}"
        bind.exec_driver_sql(f"CREATE TRIGGER {name} BEFORE {event} ON label_withdrawals FOR EACH ROW {then}")
    bind.exec_driver_sql("DROP VIEW labeled_structures")
    bind.exec_driver_sql("DROP VIEW structures")
    _views("lower(hex(frames.id))" if is_sqlite else "encode(frames.id, 'hex')")


def _views(as_hex: str) -> None:
    sds = ", ".join(_UNCERTAINTIES)
    no_sds = ", ".join(f"CAST(NULL AS DOUBLE PRECISION) AS {name}" for name in _UNCERTAINTIES)
    frame = f"{as_hex} AS frame_id, frames.formula, frames.n_atoms, frames.charge, frames.multiplicity"
    label = "levels.name AS level_of_theory, labels.energy_ev, labels.max_force_ev_per_ang"
    withdrawn = "CASE WHEN label_withdrawals.label_id IS NOT NULL THEN 'withdrawn' ELSE"
    for sql in (
        # every candidate, and the labels that no campaign has
        f"""CREATE VIEW structures AS
        SELECT campaigns.name AS campaign, generations.number AS generation, {frame}, {label}, {sds},
            candidates.origin AS reason,
            CASE candidates.origin WHEN 'audit' THEN 'audit' ELSE 'train' END AS split,
            {withdrawn} candidates.state END AS status, labels.created_at
        FROM candidates JOIN generations ON generations.id = candidates.generation_id
            JOIN campaigns ON campaigns.id = generations.campaign_id
            JOIN levels ON levels.id = campaigns.level_id
            JOIN frames ON frames.id = candidates.frame_id
            LEFT JOIN labels ON labels.frame_id = candidates.frame_id AND labels.level_id = levels.id
            LEFT JOIN label_withdrawals
                ON label_withdrawals.label_id = labels.id AND candidates.state = 'labeled'
        UNION ALL
        SELECT CAST(NULL AS TEXT), CAST(NULL AS INTEGER), {frame}, {label}, {no_sds},
            'imported', 'train', {withdrawn} 'labeled' END, labels.created_at
        FROM labels JOIN frames ON frames.id = labels.frame_id JOIN levels ON levels.id = labels.level_id
            LEFT JOIN label_withdrawals ON label_withdrawals.label_id = labels.id
        WHERE NOT EXISTS (
            SELECT 1 FROM candidates JOIN generations ON generations.id = candidates.generation_id
                JOIN campaigns ON campaigns.id = generations.campaign_id
            WHERE candidates.frame_id = labels.frame_id AND candidates.state = 'labeled'
                AND campaigns.level_id = labels.level_id)""",
        """CREATE VIEW labeled_structures AS
        SELECT campaign, generation, frame_id, formula, n_atoms, charge, multiplicity, level_of_theory,
            energy_ev, max_force_ev_per_ang, energy_sd_ev, force_sd_max_ev_per_ang, reason, split, created_at
        FROM structures WHERE status = 'labeled'""",
    ):
        op.get_bind().exec_driver_sql(sql)
