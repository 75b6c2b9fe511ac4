"""The audit: a uniform sample of the planned steps, and what it lets one say of all of them (math 10)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import beta


def draw_audit(planned: Sequence[int], n_audit: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draw (walker, step) pairs uniformly, without replacement, from all planned ones.

    It knows nothing of the walks, so it is drawn before they start. The pairs are in random order: the
    first of them are a uniform sample too. All pairs are returned where there are no more than `n_audit`.

    Args:
        planned: Steps that each walker should do, 0 for one that is not audited; counted from 1.
        n_audit: How many pairs.
        rng: Draws them.
    """
    last = np.cumsum(np.asarray(planned, dtype=np.int64))
    n_pairs = int(last[-1]) if len(last) else 0
    drawn = rng.choice(n_pairs, size=min(n_audit, n_pairs), replace=False) if n_pairs else np.zeros(0, int)
    walkers = np.searchsorted(last, drawn, side="right")
    steps = drawn - (last - planned)[walkers] + 1
    return list(zip(walkers.tolist(), steps.tolist(), strict=True))


def clopper_pearson_upper(k: float, n: float, alpha: float) -> float:
    """Upper bound of a share of which k of n were seen; it is too low with probability <= alpha.

    p_up = BetaInv(1 - alpha; k + 1, n - k); 1 where k = n (Clopper & Pearson, Biometrika 26, 404 (1934)).
    k and n may be effective counts, not whole. Drawing without replacement only makes the bound safer.
    """
    _check(k, n)
    return 1.0 if k >= n else float(beta.ppf(1 - alpha, k + 1, n - k))


def clopper_pearson_interval(k: float, n: float, confidence: float) -> tuple[float, float]:
    """Two-sided interval of a share of which k of n were seen, (1 - confidence) / 2 on each side."""
    alpha = (1 - confidence) / 2
    return 1 - clopper_pearson_upper(n - k, n, alpha), clopper_pearson_upper(k, n, alpha)


def look_alpha(j: int, confidence: float) -> float:
    """Share of 1 - confidence that the j-th look may spend, (1 - confidence) 6 / (pi² j²).

    Summed over j = 1, 2, ... it is 1 - confidence: however often one looks, the promise is false at
    most that often.
    """
    if j < 1:
        raise ValueError(f"looks are counted from 1, got {j}")
    return (1 - confidence) * 6 / (math.pi**2 * j**2)


def audit_size(fraction: float, alpha: float) -> int:
    """Smallest n whose bound is <= 1 - fraction with no failure: fraction^n <= alpha."""
    return math.ceil(math.log(alpha) / math.log(fraction))


def _check(k: float, n: float) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no share")
