"""Neighbours of all rows, by the way that can be paid for; and hubness beside its nulls.

What is exact, what is not, and how much is missed stands in the record.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.geometry_moments import Moments
from tokkit.analysis.embeddings.geometry_spectrum import Measure
from tokkit.analysis.embeddings.neighbours import (
    Nearest,
    nearest_of,
    nearest_of_some,
    unit_rows,
)
from tokkit.analysis.embeddings.neighbours_projected import FURTHER, projected_neighbours, recall
from tokkit.analysis.matrix import Floats, Matrix

Kind = Literal["centred", "raw"]
EXACT_OPERATIONS = 1.2e12
"""Additions and multiplications of all pairs up to which they are all worked out in full."""
PROJECTED_OPERATIONS = 9e12
"""The same for the first look at all pairs, each once, at fewer numbers a row."""
SAMPLE_OPERATIONS = 2e11
"""The same for each cloud whose hubness is compared."""
CANDIDATES = 48
FEWEST_DIRECTIONS = 16
RECALL_ROWS = 128
_DIRECTIONS_STEP = 16


@dataclass(frozen=True, slots=True)
class Found:
    """Neighbours of all usable rows, and how they were found.

    asked         exact ones, without the mean, of the rows that were asked for
    raw           None where they are not exact: then candidates are those of centred rows
    method        "exact", or "projected": candidates along `directions` principal directions
    recall        share of the exact neighbours of `recall_rows` rows drawn at random that were
                  found, with its interval; 1 where exact
    """

    centred: Nearest
    raw: Nearest | None
    asked: Nearest
    method: Literal["exact", "projected"]
    directions: int
    candidates: int
    recall: Measure
    recall_rows: int


def find_neighbours(
    matrix: Matrix,
    usable: NDArray[np.bool_],
    moments: Moments,
    basis: Floats,
    k: int,
    seed: int,
    asked: NDArray[np.int64],
) -> Found:
    """The k nearest of every usable row by cosine, of rows without the mean and as they are.

    `basis` (D, P) holds the first principal directions, as many as may be used; `asked` are ids
    of usable rows whose neighbours are wanted exactly.
    """
    count, width = len(moments.rows), matrix.width
    if 2.0 * count * count * width <= EXACT_OPERATIONS:
        centred, raw = (_exact(matrix, moments, k, kind) for kind in ("centred", "raw"))
        wanted = _some(centred, asked)
        return Found(centred, raw, wanted, "exact", width, count - 1, Measure(1.0), count)
    paid = int(PROJECTED_OPERATIONS / (float(count) * count)) // _DIRECTIONS_STEP
    directions = min(basis.shape[1], max(FEWEST_DIRECTIONS, paid * _DIRECTIONS_STEP))
    found = projected_neighbours(matrix, usable, moments, basis[:, :directions], k, CANDIDATES)
    drawn = np.random.default_rng([seed, 1]).choice(
        moments.rows, min(RECALL_ROWS, count), replace=False
    )
    queries = np.union1d(drawn, asked)  # one pass over the file for both
    exact = nearest_of_some(matrix, usable, moments, queries, k, centred=True)
    measured = _share(recall(found, _some(exact, np.sort(drawn))))
    looked_at = CANDIDATES + FURTHER
    asked_for = _some(exact, asked)
    return Found(found, None, asked_for, "projected", directions, looked_at, measured, len(drawn))


def _some(found: Nearest, rows: NDArray[np.int64]) -> Nearest:
    """The neighbours of some of the queries, which stand in ascending order."""
    places = np.searchsorted(found.queries, rows)
    return Nearest(rows, found.ids[places], found.cosines[places])


def _share(hits: NDArray[np.float64]) -> Measure:
    """Mean of the shares of each row, with a normal interval over rows."""
    reach = 1.96 * float(hits.std(ddof=1)) / math.sqrt(len(hits)) if len(hits) > 1 else 0.0
    mean = float(hits.mean())
    return Measure(mean, max(0.0, mean - reach), min(1.0, mean + reach))


def _exact(matrix: Matrix, moments: Moments, k: int, kind: str) -> Nearest:
    rows = matrix.take(moments.rows)
    if kind == "centred":
        rows = rows - moments.mean.astype(np.float32)
    return named(nearest_of(unit_rows(rows), k), moments.rows)


def named(found: Nearest, rows: NDArray[np.int64]) -> Nearest:
    """Neighbours given as places among `rows` as ids of rows."""
    ids = np.where(found.ids >= 0, rows[found.ids], -1).astype(np.int32)
    return Nearest(rows[found.queries], ids, found.cosines)


def places_of(found: Nearest) -> NDArray[np.int64]:
    """Ids of neighbours as places among the queries, -1 for none: every row is a query."""
    places = np.searchsorted(found.queries, found.ids)
    return np.where(found.ids >= 0, places, -1)


def sample_size(count: int, width: int) -> int:
    """How many of `count` rows can all be compared with each other within SAMPLE_OPERATIONS."""
    return min(count, max(2, int(np.sqrt(SAMPLE_OPERATIONS / (2 * width)))))


def nearest_in(rows: Floats, k: int) -> Nearest:
    """Exact neighbours among rows in memory (m, D), which are scaled to length 1 in place."""
    return nearest_of(unit_rows(rows), k)
