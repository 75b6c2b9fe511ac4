"""Labels of frames, each computed in a process of its own, each checked before and after."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from al_engine.config import FileLabels, Labeling
from al_engine.cores import memory_bytes, n_cores
from al_engine.errors import CalculatorUnavailableError, InputError
from al_engine.frames import Frame, minimum_distance
from al_engine.labeling.base import Computed, Failed
from al_engine.labeling.checks import MIN_DISTANCE_ANG, check_frame, check_result
from al_engine.labeling.file_labels import look_up
from al_engine.labeling.isolation import run_isolated
from al_engine.labeling.reference import Reference, check_known, compute, level_of_theory, modules_of
from al_engine.records import FailureReason, Label, LabelFailure

MEMORY_SHARE_AT_LEAST = 2 * 10**9
"""Bytes: what a process may have where the cores' shares of the memory are smaller."""


@dataclass(frozen=True)
class Labeler:
    """Labels frames by one reference at one level of theory.

    Attributes:
        reference: What is computed; its backend is resolved.
        labeling: Limits, number of processes, force cap.
        level_of_theory: As stored with the campaign.

    Raises:
        CalculatorUnavailableError: This machine would compute at another level of theory.
    """

    reference: Reference
    labeling: Labeling
    level_of_theory: str

    def __post_init__(self) -> None:
        """Refuse to mix two levels of theory under one name."""
        here = level_of_theory(self.reference)
        if here != self.level_of_theory:
            raise CalculatorUnavailableError(
                f"the campaign's labels are {self.level_of_theory}, but this machine computes {here}; "
                "install the version that the labels have"
            )

    @property
    def n_processes(self) -> int:
        """How many frames are computed at a time."""
        return self.labeling.n_workers or n_cores()

    @property
    def memory_limit(self) -> int:
        """How many bytes of data each of them may have."""
        if self.labeling.memory_limit_gb is not None:
            return round(self.labeling.memory_limit_gb * 1e9)
        return max(memory_bytes() // self.n_processes, MEMORY_SHARE_AT_LEAST)

    def label_all(self, frames: Iterable[Frame]) -> Generator[Label | LabelFailure, None, None]:
        """Yield one result for each frame as it ends, in any order.

        Each frame is computed by a new calculator in a process of its own, within the limits; no more
        frames are taken than there are processes. Whatever happens to a process, twice, costs one label.
        The labels of a file are looked up in this process.
        """
        if isinstance(self.reference, FileLabels):
            yield from (self._judge(frame, look_up(self.reference, frame), 0.0) for frame in frames)
            return
        refused: list[LabelFailure] = []

        def accepted() -> Iterator[Frame]:
            for frame in frames:
                failed = _refusal(self.reference, frame)
                if failed is None:
                    yield frame
                else:
                    refused.append(self._failure(frame, failed, 0.0))

        for frame, outcome, seconds in run_isolated(
            partial(compute, self.reference),
            accepted(),
            n_workers=self.n_processes,
            time_limit=self.labeling.time_limit_s,
            preload=modules_of(self.reference),
            memory_limit=self.memory_limit,
        ):
            yield self._judge(frame, outcome, seconds)
            while refused:
                yield refused.pop()
        yield from refused

    def _judge(self, frame: Frame, outcome: Computed | Failed, seconds: float) -> Label | LabelFailure:
        """Return the label if the outcome can be one."""
        if isinstance(outcome, Failed):
            return self._failure(frame, outcome, seconds)
        failed = check_result(frame, outcome, self.labeling.force_cap_ev_per_ang)
        if failed is not None:
            return self._failure(frame, failed, seconds)
        return Label(
            frame.frame_id, self.level_of_theory, outcome.energy, outcome.forces, outcome.stress, seconds
        )

    def _failure(self, frame: Frame, failed: Failed, seconds: float) -> LabelFailure:
        """Return the failure as it is kept."""
        return LabelFailure(
            frame.frame_id, self.level_of_theory, failed.reason, failed.message, failed.attempts, seconds
        )


def _refusal(reference: Reference, frame: Frame) -> Failed | None:
    """Return why a frame must not reach the calculator, or None."""
    try:
        check_frame(frame)
        check_known(reference, frame)
    except InputError as error:
        close = minimum_distance(frame) < MIN_DISTANCE_ANG
        return Failed(FailureReason.TOO_CLOSE if close else FailureReason.EXCEPTION, str(error))
    return None
