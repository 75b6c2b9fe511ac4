"""The store: records in, records out. Each method is one transaction and safe to run again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from sqlalchemy import Connection

from al_engine.errors import StateError
from al_engine.frames import Frame
from al_engine.lifecycle import GenerationState
from al_engine.records import (
    AuditDraw,
    Campaign,
    Candidate,
    Cost,
    Generation,
    Label,
    LabeledFrame,
    LabelFailure,
    Metric,
    StopDecision,
    TrainedModel,
    Walker,
)
from db import campaigns, generations, migrate, models, results
from db import candidates as found
from db.engine import Database
from db.frames import get_frames, put_frames
from db.labels import Recorded
from db.rows import get_records, put_records
from db.schema import AuditDrawRow, MetricRow, WalkerRow

_G = GenerationState


class Store:
    """A database of campaigns.

    A `finish_*` moves a generation to the next state with all that the stage made, and returns True;
    where the generation is there or past it already, it does nothing and returns False.
    Every method raises InputError for a campaign that is not there, StateError for a move that a
    life cycle does not have, and DatabaseError (one line, no password) for the database's own.
    """

    def __init__(self, database: Database) -> None:
        """Use `Store.open`, which looks after the schema."""
        self.database = database

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a database; its schema is created or upgraded.

        Args:
            url: sqlite:///FILE or postgresql://USER@HOST/DATABASE.

        Raises:
            DatabaseError: It does not answer, or a newer al-engine wrote it.
        """
        database = Database(url)
        try:
            migrate.upgrade(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        """Close all connections."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- campaigns ---

    def create_campaign(self, campaign: Campaign, starts: Sequence[Frame]) -> bool:
        """Store a campaign and its start frames; False where it is there already."""
        with self.database.write() as connection:
            return campaigns.create(connection, campaign, starts)

    def campaign(self, name: str) -> Campaign | None:
        """Return a campaign."""
        with self.database.read() as connection:
            return campaigns.find(connection, name)

    def campaign_names(self) -> list[str]:
        """Return the names of all campaigns, oldest first."""
        with self.database.read() as connection:
            return campaigns.names(connection)

    def update_config(self, name: str, config: str) -> None:
        """Replace a campaign's configuration (JSON); the old one is kept."""
        with self.database.write() as connection:
            campaigns.update_config(connection, name, config)

    # --- generations ---

    def open_generation(self, campaign: str, number: int) -> bool:
        """Open a generation once the one before has ended; False where it is there already."""
        with self.database.write() as connection:
            return generations.open_(connection, campaign, number)

    def generation(self, campaign: str, number: int) -> Generation | None:
        """Return a generation."""
        with self.database.read() as connection:
            return next(iter(generations.summaries(connection, campaign, number)), None)

    def generations(self, campaign: str) -> list[Generation]:
        """Return all generations, in order."""
        with self.database.read() as connection:
            return generations.summaries(connection, campaign)

    def latest_generation(self, campaign: str) -> Generation | None:
        """Return the newest generation."""
        return next(reversed(self.generations(campaign)), None)

    def finish_initial(
        self, campaign: str, frames: Sequence[Frame], candidates: Sequence[Candidate], cost: Cost
    ) -> bool:
        """Generation 0, OPEN -> SELECTED: frames to be labeled before there is a model."""
        with self.database.write() as connection:
            generation_id = generations.advance(connection, campaign, 0, (_G.OPEN, _G.SELECTED), cost)
            if generation_id is None:
                return False
            put_frames(connection, frames)
            found.put(connection, generation_id, candidates)
            results.adopt_known_labels(connection, campaign, [generation_id])
        return True

    def finish_training(
        self, campaign: str, number: int, model: TrainedModel, metrics: Sequence[Metric], cost: Cost
    ) -> bool:
        """OPEN -> TRAINED, with the ensemble and its training set; the state of the training goes."""
        with self.database.write() as connection:
            generation_id = generations.advance(connection, campaign, number, (_G.OPEN, _G.TRAINED), cost)
            if generation_id is None:
                return False
            models.put(connection, campaigns.key(connection, campaign), generation_id, model)
            put_records(connection, MetricRow, metrics, generation_id=generation_id)
        return True

    def finish_exploration(  # noqa: PLR0917
        self,
        campaign: str,
        number: int,
        frames: Sequence[Frame],
        walkers: Sequence[Walker],
        draws: Sequence[AuditDraw],
        candidates: Sequence[Candidate],
        cost: Cost,
        metrics: Sequence[Metric] = (),
    ) -> bool:
        """TRAINED -> EXPLORED, with what was visited; a frame twice is the audit's candidate."""
        with self.database.write() as connection:
            generation_id = generations.advance(connection, campaign, number, (_G.TRAINED, _G.EXPLORED), cost)
            if generation_id is None:
                return False
            put_frames(connection, frames)
            put_records(connection, WalkerRow, walkers, generation_id=generation_id)
            put_records(connection, AuditDrawRow, draws, generation_id=generation_id)
            put_records(connection, MetricRow, metrics, generation_id=generation_id)
            found.put(connection, generation_id, candidates)
        return True

    def finish_selection(
        self, campaign: str, number: int, candidates: Sequence[Candidate], cost: Cost
    ) -> bool:
        """EXPLORED -> SELECTED: what was visited, but for the confirming audit, is SELECTED or REJECTED."""
        with self.database.write() as connection:
            generation_id = generations.advance(
                connection, campaign, number, (_G.EXPLORED, _G.SELECTED), cost
            )
            if generation_id is None:
                return False
            found.decide(connection, generation_id, candidates)
            results.adopt_known_labels(connection, campaign, [generation_id])
        return True

    def decide_confirming(self, campaign: str, number: int, against: str = "") -> bool:
        """Have a waiting confirming audit labeled, or reject it for a reason; False where none waits."""
        with self.database.write() as connection:
            generation_id, state = generations.lock(connection, campaign, number)
            if state is not _G.SELECTED or not found.decide_confirming(connection, generation_id, against):
                return False
            results.adopt_known_labels(connection, campaign, [generation_id])
        return True

    def record_result(self, campaign: str, number: int, result: Label | LabelFailure) -> Recorded:
        """Store a label or failure and move its candidate to LABELED or FAILED."""
        with self.database.write() as connection:
            return results.record(connection, campaign, number, result)

    def finish_labeling(self, campaign: str, number: int, cost: Cost) -> bool:
        """SELECTED -> LABELED; StateError while a candidate waits for its label or for a decision."""
        with self.database.write() as connection:
            generation_id = generations.advance(connection, campaign, number, (_G.SELECTED, _G.LABELED), cost)
            if generation_id is None:
                return False
            ids = (found.unlabeled_ids(connection, generation_id, undecided=u) for u in (False, True))
            waiting = sum(map(len, ids))
            if waiting:
                raise StateError(f"generation {number} of {campaign!r} has {waiting} frames without a label")
        return True

    def close_generation(
        self, campaign: str, number: int, metrics: Sequence[Metric], stop: StopDecision, cost: Cost
    ) -> bool:
        """LABELED -> CLOSED, with counts, metrics and the decision; never changed after."""
        with self.database.write() as connection:
            generation_id = generations.advance(connection, campaign, number, (_G.LABELED, _G.CLOSED), cost)
            if generation_id is None:
                return False
            put_records(connection, MetricRow, metrics, generation_id=generation_id)
            generations.put_stop(connection, generation_id, stop)
        return True

    def abort_generation(self, campaign: str, number: int, reason: str) -> bool:
        """Any state but CLOSED -> ABORTED; False where it is aborted already."""
        with self.database.write() as connection:
            return generations.abort(connection, campaign, number, reason)

    # --- what is there ---

    def frames(self, ids: Sequence[str]) -> list[Frame]:
        """Return frames in the order asked."""
        with self.database.read() as connection:
            return get_frames(connection, ids)

    def unlabeled_ids(self, campaign: str, number: int, *, undecided: bool = False) -> list[str]:
        """Return the frames of a generation that wait for a label, or whether to be labeled, by id."""
        with self._of_generation(campaign, number) as (connection, generation_id):
            return found.unlabeled_ids(connection, generation_id, undecided=undecided)

    def labeled(self, campaign: str, before: int | None = None) -> list[LabeledFrame]:
        """Return the labeled frames by id, each once; only of generations before a number if given."""
        with self.database.read() as connection:
            return results.labeled(connection, campaign, before)

    def model(self, campaign: str, number: int) -> TrainedModel | None:
        """Return the ensemble of a generation."""
        with self._of_generation(campaign, number) as (connection, generation_id):
            return models.get(connection, generation_id)

    def folds(self, campaign: str) -> dict[str, int]:
        """Return every fold that a frame was ever given; a fold never changes."""
        with self.database.read() as connection:
            return models.folds(connection, campaigns.key(connection, campaign))

    def candidates(self, campaign: str, number: int) -> list[Candidate]:
        """Return the candidates of a generation, by frame id."""
        with self._of_generation(campaign, number) as (connection, generation_id):
            return found.get(connection, generation_id)

    def walkers(self, campaign: str, number: int) -> list[Walker]:
        """Return the walkers of a generation, in order."""
        with self._of_generation(campaign, number) as (connection, generation_id):
            return get_records(connection, WalkerRow, Walker, generation_id)

    def audit_draws(self, campaign: str, number: int) -> list[AuditDraw]:
        """Return the draws of a generation's audit, in order."""
        with self._of_generation(campaign, number) as (connection, generation_id):
            return get_records(connection, AuditDrawRow, AuditDraw, generation_id)

    def metrics(self, campaign: str, number: int) -> list[Metric]:
        """Return what was measured in a generation, by split, quantity and name."""
        with self._of_generation(campaign, number) as (connection, generation_id):
            return get_records(connection, MetricRow, Metric, generation_id)

    def stop_decision(self, campaign: str, number: int) -> StopDecision | None:
        """Return the decision at the close of a generation."""
        with self._of_generation(campaign, number) as (connection, generation_id):
            return generations.get_stop(connection, generation_id)

    def stop_decisions(self, campaign: str) -> dict[int, StopDecision]:
        """Return the decisions of all closed generations, in order."""
        each = ((g.number, self.stop_decision(campaign, g.number)) for g in self.generations(campaign))
        return {number: decision for number, decision in each if decision is not None}

    def import_labels(
        self, campaign: str | None, entries: Sequence[tuple[Frame, Label]]
    ) -> tuple[int, int, int]:
        """Store labeled frames, a campaign's if one is given; say how many are new, known, in conflict."""
        with self.database.write() as connection:
            return results.import_labels(connection, campaign, entries)

    @contextmanager
    def _of_generation(self, campaign: str, number: int) -> Iterator[tuple[Connection, int]]:
        with self.database.read() as connection:
            yield connection, generations.key(connection, campaign, number)
