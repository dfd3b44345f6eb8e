"""First and second moments of the rows of a matrix, in two passes, a block at a time.

D is the width of a row, n the number of rows that are measured. Nothing here depends on the order
of the rows but the last bits of sums; blocks are summed in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.matrix import PASS_BYTES, Floats, Matrix
from tokkit.errors import ConfigError

Doubles = NDArray[np.float64]
_SCATTER_BYTES = 1 << 26  # of a block that is multiplied by itself: fewer sums in float64
_SMALL = 1e-30
_LONGEST = 1e17
_COLUMNS = 512
_ROWS_IN_FLOAT32 = 1 << 14


@dataclass(frozen=True, slots=True)
class Moments:
    """What two passes over the rows give.

    rows     (n,) ids of the rows that are measured
    mean     (D,) the mean row
    scatter  (D, D) covariance, divided by n: second moments about the mean
    norms    (V,) L2 norm of each row as it is; NaN where it is not measured
    centred_norms (V,) of each row without the mean
    along_mean (V,) inner product of each row with the mean
    raw_direction, centred_direction (D,) means of the unit rows, with and without the mean row
    """

    rows: NDArray[np.int64]
    mean: Doubles
    scatter: Doubles
    norms: Doubles
    centred_norms: Doubles
    along_mean: Doubles
    raw_direction: Doubles
    centred_direction: Doubles

    @property
    def cosine_raw(self) -> float:
        """Mean cosine of two different rows, over all pairs."""
        return mean_cosine(self.raw_direction, len(self.rows))

    @property
    def cosine_centred(self) -> float:
        """The same of rows without the mean."""
        return mean_cosine(self.centred_direction, len(self.rows))

    @property
    def raw_scatter(self) -> Doubles:
        """(D, D) second moments about zero."""
        return self.scatter + np.outer(self.mean, self.mean)


def usable_blocks(
    matrix: Matrix, usable: NDArray[np.bool_], block_bytes: int
) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Yield (ids, rows as float32) of the usable rows, one block after another."""
    for start, rows in matrix.blocks(block_bytes):
        chosen = usable[start : start + len(rows)]
        if chosen.all():
            yield np.arange(start, start + len(rows)), rows
        elif chosen.any():
            yield start + np.flatnonzero(chosen), rows[chosen]


def moments(matrix: Matrix, usable: NDArray[np.bool_]) -> Moments:
    """Mean, covariance, norms and mean directions of the usable rows of `matrix` (V, D).

    `usable` is (V,) bool. Raises ConfigError for fewer than two usable rows, and for a row too
    long to be squared.
    """
    ids = np.flatnonzero(usable)
    if len(ids) < 2:
        raise ConfigError(f"moments need two rows or more, got {len(ids)}: name another tensor")
    norms = np.full(len(matrix), np.nan)
    total, directions = np.zeros(matrix.width), np.zeros(matrix.width)
    for chosen, rows in usable_blocks(matrix, usable, PASS_BYTES):
        norms[chosen] = lengths_of(rows)
        total += rows.sum(axis=0, dtype=np.float64)
        directions += _sum_of_units(rows, norms[chosen])
    longest = float(np.nanmax(norms))
    if longest > _LONGEST:
        raise ConfigError(
            f"rows must be shorter than {_LONGEST:.0e} for sums of squares in float32, but one of "
            f"{matrix.name!r} has a norm of {longest:.1e}: name another tensor, or scale it"
        )
    mean = total / len(ids)
    return _about_mean(matrix, usable, mean, norms, directions / len(ids))


def mean_cosine(direction: Doubles, n: int) -> float:
    """(|sum u|^2 - n) / (n (n - 1)) of n unit rows u whose mean is `direction` (D,)."""
    return float((n * (direction @ direction) - 1) / (n - 1))


def lengths_of(rows: Floats) -> Doubles:
    """L2 norms (N,) float64 of rows (N, D), however large or small the numbers in them."""
    with np.errstate(over="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows).astype(np.float64)
    odd = ~np.isfinite(squares) | (squares < _SMALL)
    if odd.any():
        squares[odd] = np.square(rows[odd], dtype=np.float64).sum(axis=1)
    lengths: Doubles = np.sqrt(squares)
    return lengths


def _sum_of_units(rows: Floats, lengths: Doubles) -> Doubles:
    # A row that is the mean has no direction: it adds nothing.
    weights = np.divide(1, lengths, out=np.zeros(len(lengths)), where=lengths > 0)
    total: Doubles = (weights.astype(np.float32) @ rows).astype(np.float64)
    return total


def _about_mean(
    matrix: Matrix, usable: NDArray[np.bool_], mean: Doubles, norms: Doubles, raw: Doubles
) -> Moments:
    ids, width = np.flatnonzero(usable), matrix.width
    products, centred = _Products(width), np.zeros(width)
    centred_norms, along = np.full_like(norms, np.nan), np.full_like(norms, np.nan)
    shift = mean.astype(np.float32)
    for chosen, rows in usable_blocks(matrix, usable, _SCATTER_BYTES):
        along[chosen] = rows @ shift
        rows = rows - shift
        centred_norms[chosen] = lengths_of(rows)
        centred += _sum_of_units(rows, centred_norms[chosen])
        products.add(rows)
    scatter = products.whole()
    scatter /= len(ids)
    scatter -= np.outer(mean - shift, mean - shift)
    centred /= len(ids)
    return Moments(ids, mean, scatter, norms, centred_norms, along, raw, centred)


class _Products:
    """Sum of rows' rows (D, D): the upper half alone, in float32 over some blocks, then float64."""

    def __init__(self, width: int) -> None:
        self.total = np.zeros((width, width))
        self._part = np.zeros((width, width), np.float32, order="F")
        self._rows = 0

    def add(self, rows: Floats) -> None:
        """Add the products of rows (N, D)."""
        from scipy.linalg.blas import ssyrk

        self._part = ssyrk(1.0, rows.T, beta=1.0, c=self._part, overwrite_c=True)
        self._rows += len(rows)
        if self._rows >= _ROWS_IN_FLOAT32:
            self._move()

    def whole(self) -> Doubles:
        """The sum, both halves."""
        self._move()
        del self._part
        width = len(self.total)
        for start in range(0, width, _COLUMNS):  # no index of D x D numbers is made
            stop = start + _COLUMNS
            self.total[stop:, start:stop] = self.total[start:stop, stop:].T
            square = self.total[start:stop, start:stop]
            square += np.triu(square, 1).T - np.tril(square, -1)
        return self.total

    def _move(self) -> None:
        width = len(self.total)
        for start in range(0, width, _COLUMNS):  # above the diagonal, by blocks
            stop = start + _COLUMNS
            self.total[:stop, start:stop] += self._part[:stop, start:stop]
        self._part[:] = 0
        self._rows = 0
