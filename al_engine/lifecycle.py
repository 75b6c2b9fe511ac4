"""Life cycles: the states of a generation and of a candidate, and the moves each allows."""

from enum import StrEnum
from typing import Final

from al_engine.errors import StateError


class GenerationState(StrEnum):
    """OPEN -> TRAINED -> EXPLORED -> SELECTED -> LABELED -> CLOSED; each of them -> ABORTED.

    Generation 0 has no model and goes from OPEN to SELECTED.
    """

    OPEN = "open"
    TRAINED = "trained"
    EXPLORED = "explored"
    SELECTED = "selected"
    LABELED = "labeled"
    CLOSED = "closed"
    ABORTED = "aborted"


class CandidateState(StrEnum):
    """VISITED -> SELECTED | AUDIT | REJECTED; SELECTED | AUDIT -> LABELED | FAILED; FAILED -> LABELED.

    The last one by a retry. A frame of the confirming audit is VISITED until the small audit is judged,
    while its generation is SELECTED.
    """

    VISITED = "visited"
    SELECTED = "selected"
    AUDIT = "audit"
    REJECTED = "rejected"
    LABELED = "labeled"
    FAILED = "failed"


_G, _C = GenerationState, CandidateState

GENERATION_MOVES: Final[dict[GenerationState, frozenset[GenerationState]]] = {
    _G.OPEN: frozenset({_G.TRAINED, _G.SELECTED, _G.ABORTED}),
    _G.TRAINED: frozenset({_G.EXPLORED, _G.ABORTED}),
    _G.EXPLORED: frozenset({_G.SELECTED, _G.ABORTED}),
    _G.SELECTED: frozenset({_G.LABELED, _G.ABORTED}),
    _G.LABELED: frozenset({_G.CLOSED, _G.ABORTED}),
    _G.CLOSED: frozenset(),
    _G.ABORTED: frozenset(),
}
CANDIDATE_MOVES: Final[dict[CandidateState, frozenset[CandidateState]]] = {
    _C.VISITED: frozenset({_C.SELECTED, _C.AUDIT, _C.REJECTED}),
    _C.SELECTED: frozenset({_C.LABELED, _C.FAILED}),
    _C.AUDIT: frozenset({_C.LABELED, _C.FAILED}),
    _C.REJECTED: frozenset(),
    _C.LABELED: frozenset(),
    _C.FAILED: frozenset({_C.LABELED}),
}


def check_generation_move(old: GenerationState, new: GenerationState) -> None:
    """Raise `StateError` unless a generation may go from `old` to `new`."""
    if new not in GENERATION_MOVES[old]:
        raise StateError(f"a generation cannot go from {old.value!r} to {new.value!r}")


def check_candidate_move(old: CandidateState, new: CandidateState) -> None:
    """Raise `StateError` unless a candidate may go from `old` to `new`."""
    if new not in CANDIDATE_MOVES[old]:
        raise StateError(f"a candidate cannot go from {old.value!r} to {new.value!r}")
