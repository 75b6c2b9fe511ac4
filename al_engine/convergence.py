"""May the campaign be called converged, and which model is its own? Math 10, from plain inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from al_engine.audit import audit_size, clopper_pearson_interval, clopper_pearson_upper, look_alpha
from al_engine.config import Stop
from al_engine.evaluation import frame_coverage, max_force_errors
from al_engine.prediction import Array, Prediction
from al_engine.records import Criterion, StopDecision

MIN_LABELS = 30
"""Fewer audit labels are too few to judge coverage by."""
COVERAGE = (0.85, 0.95)
"""What the interval of the coverage of the nominal 90 % intervals must meet."""
WORSE_BLOCKS = "worse_blocks"
"""Criterion that also decides on the promotion of the model."""


@dataclass(frozen=True)
class AuditOutcome:
    """What became of the draws of one audit.

    Attributes:
        n_exited: Draws after their walker's early exit.
        n_unlabeled: Draws whose reference calculation failed.
        max_force_errors: Of each labeled draw, shape (n_labels,), eV/Å.
        energy_covered: 1 where its energy is in the nominal 90 % interval, else 0, shape (n_labels,).
        force_coverage: Share of its force components that are, shape (n_labels,).
    """

    n_exited: int = 0
    n_unlabeled: int = 0
    max_force_errors: Array = field(default_factory=lambda: np.zeros(0))
    energy_covered: Array = field(default_factory=lambda: np.zeros(0))
    force_coverage: Array = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of_labels(
        cls,
        prediction: Prediction,
        energies: ArrayLike,
        forces: ArrayLike,
        *,
        n_exited: int,
        n_unlabeled: int,
    ) -> AuditOutcome:
        """Compare the labels of the audit with the ensemble that explored, not trained on them."""
        covered = frame_coverage(prediction, energies, forces)
        return cls(n_exited, n_unlabeled, max_force_errors(prediction, forces), *covered)

    @property
    def n_labels(self) -> int:
        """Number of draws with a label."""
        return len(self.max_force_errors)

    @property
    def n_draws(self) -> int:
        """Number of draws."""
        return self.n_exited + self.n_unlabeled + self.n_labels

    def n_wrong(self, stop: Stop) -> int:
        """Number of labeled draws above the tolerance (or not finite)."""
        return int((~(self.max_force_errors <= stop.tolerance_ev_per_ang)).sum())

    def n_failing(self, stop: Stop) -> int:
        """Number of draws that fail: too wrong, left early, or without a label."""
        return self.n_wrong(stop) + self.n_exited + self.n_unlabeled


def decide(
    audit: AuditOutcome, stop: Stop, earlier_audits: Sequence[int], blocks: Sequence[tuple[str, bool]]
) -> StopDecision:
    """Decide whether the promise holds: a share `fraction` of the planned steps does not fail.

    A draw fails where the largest force error is above the tolerance, where its walker had left, and
    where it has no label. The bound of the failing share is about the planned steps of this
    generation's walks under this explorer, and no others.

    Looks: the bound of the j-th look is wrong with probability <= alpha_j (`look_alpha`), in sum
    <= 1 - confidence. A generation is a look only if its audit has `look_size` draws; a smaller one can
    grant nothing whatever it shows, so it spends nothing. A confirming audit is a look of its own: the
    small audit that asked for it (`doubts`) is not a part of it, or the best of many would be granted.

    Args:
        audit: The newest audit; of a generation with a confirming audit, that one alone.
        stop: What the user wants.
        earlier_audits: Numbers of draws of the audits of earlier generations, oldest first.
        blocks: Each earlier block of labels, and whether the newest model is worse on it.
    """
    allowed = 1 - stop.fraction
    look = 1 + count_looks(earlier_audits, stop)
    alpha, needed = look_alpha(look, stop.confidence), look_size(look, stop)
    upper = clopper_pearson_upper(audit.n_failing(stop), audit.n_draws, alpha)
    worse = [name for name, is_worse in blocks if is_worse]
    criteria = (
        Criterion("failing_share_upper_bound", upper, f"<= {allowed:.6g}", upper <= allowed),
        Criterion("audit_draws", audit.n_draws, f">= {needed}", audit.n_draws >= needed),
        Criterion("audit_labels", audit.n_labels, f">= {MIN_LABELS}", audit.n_labels >= MIN_LABELS),
        _coverage_criterion("energy_coverage_90", audit.energy_covered),
        _coverage_criterion("force_coverage_90", audit.force_coverage),
        Criterion(WORSE_BLOCKS, len(worse), "0", not worse),
    )
    converged = all(criterion.met for criterion in criteria)
    sentences = [
        f"{'Converged' if converged else 'Not converged'}: {_failures(audit, stop)}; up to "
        f"{_percent_up(upper)} of this generation's planned steps may fail at {100 * stop.confidence:.4g} % "
        f"confidence over all looks, {100 * allowed:.4g} % are allowed."
    ]
    if audit.n_draws < needed:
        sentences.append(
            f"{audit.n_draws} audit steps are too few to promise that: {needed} are needed, and labeled "
            "where a small audit looks good."
        )
    if audit.n_labels < MIN_LABELS:
        sentences.append(
            f"{audit.n_labels} audit labels are too few to judge coverage: {MIN_LABELS} are needed."
        )
    else:
        sentences.append(_coverage("energies", audit.energy_covered))
        sentences.append(_coverage("force components", audit.force_coverage))
    if worse:
        sentences.append(
            f"The model is not promoted, as it got worse on earlier labels: {', '.join(worse)}; the one "
            "before it stays the campaign's."
        )
    return StopDecision(converged, criteria, " ".join(sentences))


def count_looks(audits: Sequence[int], stop: Stop) -> int:
    """Number of looks among audits of these sizes, oldest first (see `decide`)."""
    looks = 0
    for n_draws in audits:
        looks += n_draws >= look_size(looks + 1, stop)
    return looks


def look_size(j: int, stop: Stop) -> int:
    """Draws that the j-th look needs: so many that no failure would pass, and enough to judge coverage by."""
    return max(MIN_LABELS, audit_size(stop.fraction, look_alpha(j, stop.confidence)))


def audit_sizes(decisions: Iterable[StopDecision]) -> list[int]:
    """Numbers of draws of the audits that these decisions judged."""
    return [int(c.value) for d in decisions for c in d.criteria if c.name == "audit_draws"]


def promoted(decisions: Mapping[int, StopDecision]) -> int | None:
    """Return the generation whose model is the campaign's: the newest judged one that did not get worse.

    Args:
        decisions: Of closed generations, by number; that of the initial one has no criteria and no model.
    """
    good = [
        number
        for number, decision in decisions.items()
        if decision.criteria and all(c.met for c in decision.criteria if c.name == WORSE_BLOCKS)
    ]
    return max(good, default=None)


def doubts(audit: AuditOutcome, stop: Stop, blocks: Sequence[tuple[str, bool]]) -> str:
    """Say why a small audit does not look good; nothing where a confirming one is worth its labels.

    It looks good where the share that fails is no larger than allowed, the coverage of the nominal 90 %
    intervals may be what is wanted, and no earlier block got worse.
    """
    found = []
    if not audit.n_labels or audit.n_failing(stop) > (1 - stop.fraction) * audit.n_draws:
        found.append(_failures(audit, stop))
    pairs = (("energies", audit.energy_covered), ("force components", audit.force_coverage))
    found += [
        f"nominal 90 % intervals hold {100 * float(covered.mean()):.3g} % of the {what}"
        for what, covered in pairs
        if len(covered) and not _may_be_covered(covered)
    ]
    found += [f"worse on the {name}" for name, is_worse in blocks if is_worse]
    return ", ".join(found)


def coverage_interval(covered: ArrayLike, confidence: float = 0.9) -> tuple[float, float]:
    """Clopper-Pearson interval of a coverage whose unit is the frame.

    `covered` is the share of each frame, shape (n_frames,), its mean p the coverage. Components of a
    frame err together, so the count is the effective one, n_eff = p (1 - p) / Var[p] with the variance
    between frames, Var[p] = <(c_f - p)²> / n (Korn & Graubard, Survey Methodology 24, 193 (1998)).
    n_eff >= n, with equality for shares of 0 and 1: the exact interval of single events.
    """
    shares = np.asarray(covered, dtype=np.float64)
    n, p = len(shares), float(shares.mean()) if len(shares) else 0.0
    variance = float(shares.var()) / n if n else 0.0
    n_effective = p * (1 - p) / variance if variance > 1e-12 else float(n)
    return clopper_pearson_interval(p * n_effective, n_effective, confidence)


def _may_be_covered(covered: Array) -> bool:
    """Whether the interval of a coverage meets what is wanted."""
    low, high = coverage_interval(covered)
    return low <= COVERAGE[1] and high >= COVERAGE[0]


def got_worse(before: ArrayLike, after: ArrayLike, confidence: float = 0.95) -> bool:
    """Whether the errors of the same frames grew beyond the interval of their mean log ratio.

    Args:
        before: Largest force error of each frame of a block by the earlier model, shape (n,), eV/Å.
        after: The same by the newest model; both by members that were not trained on the frame.
        confidence: Of the one-sided Student interval; fewer than three frames are never worse.
    """
    ratios = np.log(np.asarray(after, dtype=np.float64) / np.asarray(before, dtype=np.float64))
    if (n := len(ratios)) < 3:
        return False
    reach = float(student.ppf(confidence, n - 1)) * float(ratios.std(ddof=1)) / math.sqrt(n)
    return not float(ratios.mean()) <= reach  # an error that is not finite is worse


def _coverage_criterion(name: str, covered: Array) -> Criterion:
    """Judge a coverage; its value is 0 where there are no labels."""
    met = len(covered) >= MIN_LABELS and _may_be_covered(covered)
    value = float(covered.mean()) if len(covered) else 0.0
    return Criterion(name, value, f"90 % interval meets [{COVERAGE[0]}, {COVERAGE[1]}]", met)


def _failures(audit: AuditOutcome, stop: Stop) -> str:
    """Say how many draws fail, and by what."""
    n_failing = audit.n_failing(stop)
    kinds = (
        (audit.n_wrong(stop), f"force error above {stop.tolerance_ev_per_ang:g} eV/Å"),
        (audit.n_exited, "walker left early"),
        (audit.n_unlabeled, "no label"),
    )
    how = ", ".join(kind if n == n_failing else f"{n} {kind}" for n, kind in kinds if n)
    count = f"{n_failing} of {audit.n_draws} audit steps {'fails' if n_failing == 1 else 'fail'}"
    return f"{count} ({how})" if how else count


def _coverage(what: str, covered: Array) -> str:
    """Say what the nominal 90 % intervals hold, with the interval of that number."""
    low, high = coverage_interval(covered)
    met = _coverage_criterion(what, covered).met
    return (
        f"Nominal 90 % intervals hold {100 * float(covered.mean()):.3g} % of the {what} "
        f"({100 * low:.3g} to {100 * high:.3g} %){'' if met else '; 85 to 95 % are wanted'}."
    )


def _percent_up(share: float) -> str:
    """A share in percent, rounded up, so that a bound never reads as kept when it is not."""
    return f"{math.ceil(1000 * share - 1e-9) / 10:g} %"
