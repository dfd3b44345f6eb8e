"""Random rows to compare with: of the same spectrum, or of the same spread.

Same spectrum: normal rows with the mean and the covariance of the real ones, in expectation (a
draw's own spectrum is wider, by sampling). They stand in the principal axes, where the covariance
is diagonal: nothing that is measured of them changes with a rotation, and no matrix product is
needed. Same spread: normal rows about zero whose numbers all have the same variance, that of the
real numbers about their mean row: what a fresh matrix looks like.
"""

from __future__ import annotations

import numpy as np

from tokkit.analysis.embeddings.geometry_moments import Doubles
from tokkit.analysis.matrix import Floats

_ROWS = 1024


def same_spectrum(values: Doubles, count: int, seed: int) -> Floats:
    """(count, D) float32 about zero: variances `values` (D,) along the axes."""
    return _normal(np.sqrt(values), count, seed)


def same_spread(values: Doubles, count: int, seed: int) -> Floats:
    """(count, D) float32 about zero: the mean of `values` (D,) as variance along every axis."""
    return _normal(np.full(len(values), np.sqrt(values.mean())), count, seed)


def _normal(spread: Doubles, count: int, seed: int) -> Floats:
    rows = np.empty((count, len(spread)), np.float32)
    scale = spread.astype(np.float32)
    for start in range(0, count, _ROWS):
        generator = np.random.default_rng([seed, start // _ROWS])
        part = rows[start : start + _ROWS]
        generator.standard_normal(dtype=np.float32, out=part)
        part *= scale
    return rows
