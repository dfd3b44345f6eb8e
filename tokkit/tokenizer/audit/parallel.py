"""Whether the groups of a corpus are translations of each other, line by line.

Only then do tokens a line compare what groups pay for the same content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

MIN_LINES = 30
MIN_CORRELATION = 0.3
MAX_P = 0.01
_SHUFFLES = 199
_LAGS = (-3, -2, -1, 1, 2, 3)


@dataclass(frozen=True, slots=True)
class Alignment:
    """How the line lengths of a group go with those of the reference, and what stands against it.

    `correlation` is Spearman's, `shifted` the highest one with the lines moved by 1 to 3, `p` the
    share of shuffles that come as far. `reason` is None where the lines are taken as parallel.
    """

    group: str
    lines: int
    correlation: float | None
    shifted: float | None
    p: float | None
    reason: str | None


def check_alignment(
    lines: Mapping[str, ArrayLike],
    reference: str,
    counted_lines: Mapping[str, tuple[int, int]],
    generator: np.random.Generator,
) -> list[Alignment]:
    """Check each group's lines against those of `reference`.

    `lines` maps a group to the lengths of its lines in order (lines,); `counted_lines` says how
    many line feeds and documents of each group the corpus holds, whose last lines may lack one.
    Lines are parallel when there are as many in both,
    30 or more, when long ones stand beside long ones (rank correlation of 0.3 or more, beyond
    that of shuffled lines at p <= 0.01), and when moving the lines by a few makes it worse.
    """
    base = np.asarray(lines.get(reference, ()), dtype=np.float64)
    return [
        _align(group, lines.get(group), base, reference, counted, generator)
        for group, counted in counted_lines.items()
    ]


def _align(
    group: str,
    given: ArrayLike | None,
    base: Floats,
    reference: str,
    counted: tuple[int, int],
    generator: np.random.Generator,
) -> Alignment:
    if given is None:
        return Alignment(group, 0, None, None, None, f"the lines of {group!r} were not given")
    own = np.asarray(given, dtype=np.float64)
    reason = None
    if len(own) != len(base):
        reason = f"{group!r} has {len(own)} lines and {reference!r} {len(base)}"
    elif not counted[0] <= len(own) <= sum(counted):
        reason = (
            f"{group!r} has {len(own)} lines, but the counted corpus {counted[0]} line feeds in "
            f"{counted[1]} documents"
        )
    elif len(own) < MIN_LINES:
        reason = f"{len(own)} lines, and the check needs {MIN_LINES}"
    elif np.ptp(own) == 0 or np.ptp(base) == 0:
        reason = "all lines are of one length, so their order cannot be checked"
    if reason or group == reference:
        return Alignment(group, len(own), None, None, None, reason)
    ours, theirs = _ranks(own), _ranks(base)
    correlation = float(ours @ theirs)
    shifted = max(float(np.roll(ours, lag) @ theirs) for lag in _LAGS)
    shuffled = np.array([generator.permutation(ours) @ theirs for _ in range(_SHUFFLES)])
    p = float(((shuffled >= correlation).sum() + 1) / (_SHUFFLES + 1))
    if correlation < MIN_CORRELATION or p > MAX_P:
        reason = f"line lengths of {group!r} and {reference!r} hardly go together"
    elif shifted >= correlation:
        reason = f"lines of {group!r} fit those of {reference!r} better when moved"
    return Alignment(group, len(own), correlation, shifted, p, reason)


def _ranks(values: Floats) -> Floats:
    """Ranks, centred and of length 1, so that a product of two is Spearman's correlation."""
    from scipy.stats import rankdata

    ranks = rankdata(values)
    ranks = ranks - ranks.mean()
    return np.asarray(ranks / np.linalg.norm(ranks))
