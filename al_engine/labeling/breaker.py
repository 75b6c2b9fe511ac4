"""Where the first labels of all fail, the machine or the settings are to blame, not the frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from al_engine.errors import AlEngineError
from al_engine.records import FailureReason, Label, LabelFailure

_REMEDIES = {
    FailureReason.SCF: "look at the reference's settings, charge and multiplicity",
    FailureReason.TIMEOUT: "raise labeling.time_limit_s",
    FailureReason.CRASH: "look at the calculator's installation and at labeling.memory_limit_gb",
    FailureReason.FORCE_TOO_LARGE: "raise labeling.force_cap_ev_per_ang",
}


def stop_where_all_fail(
    results: Iterator[Label | LabelFailure], n_first: int
) -> Iterator[Label | LabelFailure]:
    """Yield the results; the failures before the first label are held back until it is there.

    Args:
        results: Of one call of the labeler, as they end.
        n_first: So many failures before the first label end it; 0: never.

    Raises:
        AlEngineError: That many failed. None of them was yielded, so that none is stored: they are tried
            again when the campaign goes on.
    """
    held: list[LabelFailure] = []
    for result in results:
        if isinstance(result, LabelFailure) and len(held) < n_first:
            held.append(result)
            if len(held) == n_first:
                raise AlEngineError(_line(held))
            continue
        yield from held
        held, n_first = [], 0
        yield result
    yield from held


def _line(failures: list[LabelFailure]) -> str:
    """Say what most of them have in common, and what to do."""
    ((reason, n_alike),) = Counter(failure.reason for failure in failures).most_common(1)
    example = next(failure for failure in failures if failure.reason is reason)
    return (
        f"the first {len(failures)} labels all failed, {n_alike} by {reason.value!r}, such as frame "
        f"{example.frame_id[:12]}: {example.message}. Nothing of them was stored: "
        f"{_REMEDIES.get(reason, 'mend the calculator')}, and run the same command again "
        "(where only the frames are to blame: labeling.stop_after_failures: 0)"
    )
