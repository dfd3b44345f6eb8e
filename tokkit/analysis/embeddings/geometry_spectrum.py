"""Isotropy and effective dimension of a cloud of rows, from the eigenvalues of its covariance.

Every measure is a function of the spectrum, so a rotation of the rows leaves it as it is. The
intervals are those of the infinitesimal jackknife (Efron 1982, chapter 6; Hampel 1974): the
spread, over rows drawn at random, of each row's influence on the measure, / sqrt(n).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.errors import ConfigError

Doubles = NDArray[np.float64]
FIRST = (1, 3, 10, 100)
"""How many principal directions, for the share of the variance that they hold."""
_NORMAL_95 = 1.959964
_ROUNDING = 1e-12
_DOUBLE_WIDTH = 1024  # above it eigenvectors are of single precision: half the time and memory


@dataclass(frozen=True, slots=True)
class Measure:
    """A number, with the bounds of its 95% interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Eigenvalues (D,), largest first, 0 or more; eigenvectors in columns (D, D).

    The sign of an eigenvector is such that its number of largest magnitude, the first of equals,
    is positive.
    """

    values: Doubles
    vectors: NDArray[np.floating]


def spectrum_of(scatter: Doubles) -> Spectrum:
    """Eigenvalues and eigenvectors of second moments (D, D), symmetric.

    Raises ConfigError where they are all zero: all rows are equal.
    """
    from scipy.linalg import eigh

    if len(scatter) <= _DOUBLE_WIDTH:
        values, vectors = eigh(scatter, check_finite=False, driver="evd")
        return Spectrum(_checked(values[::-1]), _signed(vectors[:, ::-1]))
    narrow = scatter / np.trace(scatter)
    vectors = eigh(narrow.astype(np.float32), check_finite=False, driver="evd")[1]
    return Spectrum(eigenvalues_of(scatter), _signed(vectors[:, ::-1]))


def eigenvalues_of(scatter: Doubles) -> Doubles:
    """The eigenvalues alone, (D,), largest first, in less time."""
    from scipy.linalg import eigvalsh

    return _checked(eigvalsh(scatter, check_finite=False)[::-1])


def _checked(values: Doubles) -> Doubles:
    if not values[0] > 0:
        raise ConfigError(
            "a spectrum needs rows that differ, but all of them are equal, or so near that their "
            "squares are 0: name another tensor"
        )
    return np.ascontiguousarray(values.clip(0))


def _signed(vectors: Doubles) -> Doubles:
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
    vectors *= signs
    return vectors


def participation_ratio(values: Doubles) -> float:
    """(sum of eigenvalues)^2 / sum of their squares: 1 for a line, D for a ball."""
    return float(values.sum() ** 2 / (values @ values))


def iso_score(values: Doubles) -> float:
    """(participation ratio - 1) / (D - 1): 0 for a line, 1 where all directions vary alike.

    The same number as the IsoScore of Rudman et al. (2022, algorithm 1), written shorter. They
    scale the variances s to s' = sqrt(D) s / |s|, take the defect |s' - 1| / sqrt(2 (D - sqrt D)),
    put (D - defect^2 (D - sqrt D))^2 / D^2 as the share of dimensions used, and that times D, less
    one, over D - 1. As |s' - 1|^2 = 2 D - 2 sqrt(D) sum(s) / |s|, the share is
    sum(s)^2 / (|s|^2 D): the participation ratio over D. NaN for a width of one.
    """
    width = len(values)
    return float("nan") if width < 2 else (participation_ratio(values) - 1) / (width - 1)


def effective_rank(values: Doubles) -> float:
    """Exponential of the entropy of the eigenvalues' shares.

    Roy and Vetterli (2007) put singular values of a matrix there; these are the covariance's.
    """
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def stable_rank(values: Doubles) -> float:
    """Sum of the eigenvalues over the largest (Rudelson and Vershynin 2007)."""
    return float(values.sum() / values[0])


def share_of_first(values: Doubles, count: int) -> float:
    """The share of the variance along the first `count` principal directions."""
    return float(values[:count].sum() / values.sum())


def measures(values: Doubles) -> dict[str, float]:
    """Every measure of a spectrum by name; a width of one has no IsoScore."""
    found = {} if len(values) < 2 else {"iso_score": iso_score(values)}
    found |= {
        "participation_ratio": participation_ratio(values),
        "effective_rank": effective_rank(values),
        "stable_rank": stable_rank(values),
    }
    return found | {f"share_of_first_{k}": share_of_first(values, k) for k in firsts(len(values))}


def firsts(width: int) -> tuple[int, ...]:
    """Those of FIRST that say something at this width."""
    return tuple(count for count in FIRST if count < width)


def intervals(values: Doubles, coordinates: NDArray[np.floating], n: int) -> dict[str, Measure]:
    """Every measure with its interval, for n rows of which some are given.

    `coordinates` (m, D) are rows drawn at random, about the mean and along the principal
    directions whose variances are `values` (D,). The interval speaks of the rows as a sample of
    the rows that a model of this kind could have; for shares it stays within 0 and 1.
    """
    squares = np.square(coordinates, dtype=np.float64)
    found = {}
    for name, value in measures(values).items():
        spread = float((squares @ _influence(name, values)).std(ddof=1))
        reach = _NORMAL_95 * spread / math.sqrt(n)
        top = 1.0 if name.startswith(("share", "iso")) else float(len(values))
        floor = 0.0 if name.startswith(("share", "iso")) else 1.0
        found[name] = Measure(value, max(floor, value - reach), min(top, value + reach))
    return found


def _influence(name: str, values: Doubles) -> Doubles:
    """Weights w (D,) such that a row with coordinates y moves the measure by w . y^2, + constant.

    With t the trace and p = values / t: the trace moves by y . y - t, an eigenvalue by
    y_j^2 - value_j, the entropy H by -(y^2 . ln p) / t - H y . y / t.
    """
    trace, ones = values.sum(), np.ones(len(values))
    if name in ("participation_ratio", "iso_score"):
        ratio = participation_ratio(values)
        scale = 1 if name == "participation_ratio" else max(1, len(values) - 1)
        return _doubles(2 * ratio / scale * (ones / trace - values / (values @ values)))
    if name == "effective_rank":
        logs = np.log(np.maximum(values / trace, _ROUNDING))
        rank = effective_rank(values)
        return _doubles(-rank * (logs + np.log(rank)) / trace)
    if name == "stable_rank":
        weights = ones / values[0]
        weights[0] -= trace / values[0] ** 2
        return _doubles(weights)
    first = np.arange(len(values)) < int(name.rpartition("_")[2])
    return _doubles((first - values[first].sum() / trace) / trace)


def _doubles(values: ArrayLike) -> Doubles:
    return np.asarray(values, dtype=np.float64)


def gaussian_spectrum(
    n: int, width: int, variance: float, generator: np.random.Generator
) -> Doubles:
    """Eigenvalues (D,) of the covariance of n independent normal rows of one variance.

    Drawn from their exact law, without the rows: the squared singular values of a bidiagonal
    matrix of chi variables (Dumitriu and Edelman 2002, the beta-Laguerre ensemble, beta = 1).
    The mean is taken out, so there are n - 1 degrees of freedom; eigenvalues beyond them are 0.
    """
    from scipy.linalg import eigvalsh_tridiagonal

    freedom = n - 1
    long, short = max(freedom, width), min(freedom, width)
    diagonal = np.sqrt(generator.chisquare(long - np.arange(short)))
    below = np.sqrt(generator.chisquare(short - np.arange(1, short)))
    squares = diagonal**2
    squares[1:] += below**2
    found = eigvalsh_tridiagonal(squares, diagonal[:-1] * below)[::-1].clip(0)
    return np.concatenate([found, np.zeros(width - short)]) * (variance / n)
