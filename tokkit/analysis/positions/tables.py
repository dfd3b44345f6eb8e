"""A table of positions, learned or sinusoidal: how alike rows are, spectrum, Fourier content.

The test of Fourier content: power along the positions, summed over the columns of the centred
table; its largest share at one frequency against the same rows in SHUFFLES random orders. The
table is periodic where the share is larger than in all but ALPHA of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.errors import ArtifactError

Floats = NDArray[np.float64]
SHUFFLES = 199
ALPHA = 0.01
CELLS = 48
_FEWEST_ROWS = 8
_SHIFTS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Fourier:
    """Shares of power by frequency, 1 to n/2 turns within the table, and the shuffles' beside.

    `null_high` is the 95th percentile at each frequency, `p` that of the largest share.
    `largest_null` is the median of the shuffles' largest shares.
    """

    turns: NDArray[np.int64]
    share: Floats
    null_high: Floats
    largest: float
    largest_null: float
    p: float

    @property
    def periodic(self) -> bool:
        """The verdict of the test."""
        return self.p <= ALPHA


def checked_table(values: ArrayLike) -> Floats:
    """A table (n, D) as float64; ArtifactError unless it is finite."""
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ArtifactError(
            "a table of positions must be a matrix of finite numbers, but some are NaN or "
            "infinite: the weights are damaged, get the model again"
        )
    return table


def fourier(table: Floats, generator: np.random.Generator) -> Fourier | None:
    """Fourier content along the positions; None for fewer than 8 positions or equal rows."""
    if len(table) < _FEWEST_ROWS or not np.ptp(table, axis=0).any():
        return None
    # Singular vectors hold the same power in fewer columns: the sum over columns is invariant.
    columns = _reduced(table)
    share = _power(columns)
    shuffled = np.stack([_power(columns[generator.permutation(len(columns))])
                         for _ in range(SHUFFLES)])  # fmt: skip
    largest, nulls = float(share.max()), shuffled.max(1)
    p = (1 + int((nulls >= largest).sum())) / (1 + SHUFFLES)
    return Fourier(
        np.arange(1, len(share) + 1),
        share,
        np.quantile(shuffled, 0.95, axis=0),
        largest,
        float(np.median(nulls)),
        p,
    )


def _reduced(table: Floats) -> Floats:
    """The centred table in at most as many columns as it has rows, same products of rows."""
    centred: Floats = table - table.mean(0)
    if centred.shape[1] <= centred.shape[0]:
        return centred
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    found: Floats = left * values
    return found


def _power(columns: Floats) -> Floats:
    """Shares of power at 1 .. n/2 turns."""
    power = (np.abs(np.fft.rfft(columns, axis=0)[1:]) ** 2).sum(1)
    if len(columns) % 2 == 0:
        power[-1] /= 2  # the highest frequency has no twin, all others stand for two
    found: Floats = power / power.sum()
    return found


def spectrum(table: Floats) -> tuple[Floats, float]:
    """Shares of variance of the centred table's components, largest first; and how many count.

    The second is the participation ratio, (sum s)^2 / sum s^2 with s the variances.
    """
    variances = np.linalg.svd(table - table.mean(0), compute_uv=False) ** 2
    total = variances.sum()
    if total == 0:
        return np.zeros(len(variances)), 0.0
    return variances / total, float(total**2 / (variances**2).sum())


def alike(table: Floats, cells: int = CELLS) -> list[tuple[int, int, float]]:
    """Cosines of centred rows, at most `cells` evenly spaced ones: (position, position, cosine)."""
    chosen = np.unique(np.linspace(0, len(table) - 1, min(cells, len(table))).round().astype(int))
    rows = table[chosen] - table.mean(0)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(lengths > 0, lengths, 1)
    cosines = unit @ unit.T
    return [
        (int(chosen[i]), int(chosen[j]), float(cosines[i, j]))
        for i in range(len(chosen))
        for j in range(len(chosen))
    ]


def block_rotation_deviation(table: Floats, frequencies: Floats) -> float:
    """How far T(p + k) is from M_k T(p), over all p and k: the largest difference.

    Columns are sine and cosine by turns; M_k turns each pair by k times its frequency, radians a
    token (Vaswani et al. 2017, section 3.5).
    """
    turning = table[:, 1::2] + 1j * table[:, 0::2]  # cosine + i sine
    worst = 0.0
    for k in range(1, len(table)):
        moved = turning[:-k] * np.exp(1j * k * frequencies)
        apart = moved - turning[k:]
        worst = max(worst, float(np.abs(apart.real).max()), float(np.abs(apart.imag).max()))
    return worst


def shift_residuals(table: Floats) -> list[tuple[int, float]]:
    """What the best linear map from T(p) to T(p + k) leaves of the spread, for some k.

    Fitted by least squares on even p, measured on odd p, on the leading components (a quarter as
    many as positions at most): 0 where a map does it, about 1 where rows tell nothing of others.
    """
    left, values, _ = np.linalg.svd(table - table.mean(0), full_matrices=False)
    kept = max(1, min(int((values > 1e-9 * values[0]).sum()), len(table) // 4))
    reduced = left[:, :kept] * values[:kept]
    found = []
    for k in _SHIFTS:
        if len(table) - k < 2 * kept + 2:
            break
        before, after = reduced[:-k], reduced[k:]
        fitted = np.linalg.lstsq(before[::2], after[::2], rcond=None)[0]
        wanted = after[1::2]
        left_over = ((wanted - before[1::2] @ fitted) ** 2).sum()
        found.append((k, float(left_over / ((wanted - wanted.mean(0)) ** 2).sum())))
    return found


def sinusoidal(length: int, width: int) -> tuple[Floats, Floats]:
    """The table of Vaswani et al. 2017 in float64, (length, width), and its frequencies."""
    frequencies = 10_000.0 ** (-np.arange(0, width, 2) / width)
    angles = np.outer(np.arange(length), frequencies)
    table = np.stack((np.sin(angles), np.cos(angles)), axis=-1).reshape(length, -1)
    return table, frequencies


def effective_wavelength(found: Fourier, length: int) -> float:
    """Positions of one turn at the frequency of most power."""
    return length / float(found.turns[int(found.share.argmax())]) if len(found.share) else math.nan
