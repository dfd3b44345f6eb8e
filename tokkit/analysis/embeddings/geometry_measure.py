"""Everything that is measured of one cloud of rows, and of the random clouds beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.geometry_moments import Doubles, Moments, mean_cosine, moments
from tokkit.analysis.embeddings.geometry_nulls import same_spectrum, same_spread
from tokkit.analysis.embeddings.geometry_spectrum import (
    Measure,
    eigenvalues_of,
    gaussian_spectrum,
    intervals,
    measures,
    spectrum_of,
)
from tokkit.analysis.embeddings.neighbours import unit_rows
from tokkit.analysis.embeddings.neighbours_hubness import Hubness, hubness
from tokkit.analysis.embeddings.neighbours_search import nearest_in, sample_size
from tokkit.analysis.matrix import Floats, Matrix

_NORMAL_95 = 1.959964
_BASIS = 1024  # principal directions that are kept
_INFLUENCE_ROWS = 4096
"""Rows drawn at random whose influence gives the intervals."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """What was measured of one matrix: names of measures end in _centred or _raw.

    values (D,), raw_values (D,)  eigenvalues of the second moments about the mean, about zero
    basis (D, P)       the first principal directions, float32
    mean_in_axes (D,)  the mean row along all principal directions
    """

    moments: Moments
    values: Doubles
    raw_values: Doubles
    basis: Floats
    mean_in_axes: Floats
    measures: Mapping[str, Measure]


def measure_cloud(matrix: Matrix, usable: NDArray[np.bool_], seed: int) -> Cloud:
    """Moments, spectrum, isotropy and mean norm of the usable rows, with intervals over rows."""
    found = moments(matrix, usable)
    spectrum = spectrum_of(found.scatter)
    raw_values = eigenvalues_of(found.raw_scatter)
    count = len(found.rows)
    generator = np.random.default_rng([seed, 0])
    drawn = np.sort(generator.choice(found.rows, min(_INFLUENCE_ROWS, count), replace=False))
    rows = matrix.take(drawn)
    centred = rows - found.mean.astype(np.float32)
    coordinates = centred @ spectrum.vectors.astype(np.float32, copy=False)
    by_name = {
        f"{name}_centred": measure
        for name, measure in intervals(spectrum.values, coordinates, count).items()
    }
    by_name |= {f"{name}_raw": Measure(value) for name, value in measures(raw_values).items()}
    for kind, cloud, direction, value in (
        ("centred", centred, found.centred_direction, found.cosine_centred),
        ("raw", rows, found.raw_direction, found.cosine_raw),
    ):
        by_name[f"mean_cosine_{kind}"] = _cosine(cloud, direction, value, count)
    norms = found.norms[found.rows]
    reach = _NORMAL_95 * float(norms.std(ddof=1)) / math.sqrt(count)
    mean = float(norms.mean())
    by_name["mean_norm_raw"] = Measure(mean, mean - reach, mean + reach)
    by_name["mean_share_of_square_raw"] = Measure(
        float(found.mean @ found.mean / np.square(norms).mean())
    )
    return Cloud(
        replace(found, scatter=np.empty((0, 0))),  # as large as a block, and used up
        spectrum.values,
        raw_values,
        np.ascontiguousarray(spectrum.vectors[:, :_BASIS], dtype=np.float32),
        (spectrum.vectors.T @ found.mean).astype(np.float32),
        by_name,
    )


def _cosine(rows: Floats, direction: Doubles, value: float, n: int) -> Measure:
    """The mean cosine with the interval of a U-statistic of degree two (Hoeffding 1948).

    Its variance is 4 Z1 / n + 2 Z2 / (n (n - 1)): Z1 the variance, over rows, of a row's own mean
    cosine with the others, Z2 that of the cosine of a pair. Rows without their own mean have a
    mean cosine of about -1 / (n - 1), not 0, where they have no direction in common.
    """
    units = unit_rows(rows.copy())
    first = float((units @ direction.astype(np.float32)).var())
    half = len(units) // 2
    second = float(np.einsum("ij,ij->i", units[:half], units[half : 2 * half]).var())
    reach = _NORMAL_95 * math.sqrt(4 * first / n + 2 * second / (n * (n - 1)))
    return Measure(value, max(-1.0, value - reach), min(1.0, value + reach))


def spread_measures(cloud: Cloud, seed: int) -> tuple[dict[str, float], Doubles]:
    """The same measures of random rows of the same spread, and their spectrum (D,)."""
    count, width = len(cloud.moments.rows), len(cloud.values)
    variance = float(cloud.values.mean())
    values = gaussian_spectrum(count, width, variance, np.random.default_rng([seed, 2]))
    found = {
        f"{name}_{kind}": value
        for kind in ("centred", "raw")  # their mean is zero: both kinds are the same
        for name, value in measures(values).items()
    }
    rows = same_spread(cloud.values, sample_size(count, width), seed)
    norms = np.linalg.norm(rows, axis=1)
    return found | {
        "mean_norm_raw": float(norms.mean()),
        "mean_cosine_centred": _mean_cosine_of(rows - rows.mean(axis=0)),
        "mean_cosine_raw": _mean_cosine_of(rows),
    }, values


def spectrum_cosines(cloud: Cloud, seed: int) -> dict[str, float]:
    """Mean cosines and norm of random rows that have the real ones' mean and covariance."""
    rows = _same_spectrum(cloud, seed)
    mean = cloud.mean_in_axes
    return {
        "mean_cosine_centred": _mean_cosine_of(rows - rows.mean(axis=0)),
        "mean_cosine_raw": _mean_cosine_of(rows + mean),
        "mean_norm_raw": float(np.linalg.norm(rows + mean, axis=1).mean()),
    }


def _same_spectrum(cloud: Cloud, seed: int) -> Floats:
    count = sample_size(len(cloud.moments.rows), len(cloud.values))
    return same_spectrum(cloud.values, count, seed)


def _mean_cosine_of(rows: Floats) -> float:
    direction = unit_rows(rows.copy()).mean(axis=0, dtype=np.float64)
    return mean_cosine(direction, len(rows))


def sample_hubness(
    matrix: Matrix, cloud: Cloud, k: int, seed: int, *, about: str
) -> dict[str, Hubness]:
    """Hubness, exact, among as many rows drawn at random as can be paid for: centred and raw."""
    size = sample_size(len(cloud.moments.rows), matrix.width)
    generator = np.random.default_rng([seed, 3])
    drawn = np.sort(generator.choice(cloud.moments.rows, size, replace=False))
    mean = cloud.moments.mean.astype(np.float32)
    return {
        f"{about}, centred": _hubness(matrix.take(drawn) - mean, k, seed),
        f"{about}, raw": _hubness(matrix.take(drawn).copy(), k, seed),
    }


def null_hubness(cloud: Cloud, k: int, seed: int) -> dict[str, Hubness]:
    """The same of as many random rows, of the same spectrum and of the same spread."""
    rows = _same_spectrum(cloud, seed)
    found = {"same spectrum, centred": _hubness(rows.copy(), k, seed)}
    found["same spectrum, raw"] = _hubness(rows + cloud.mean_in_axes, k, seed)
    rows = same_spread(cloud.values, len(rows), seed)
    return found | {"same spread": _hubness(rows, k, seed)}


def _hubness(rows: Floats, k: int, seed: int) -> Hubness:
    return hubness(nearest_in(rows, k).ids, len(rows), np.random.default_rng([seed, 4]))
