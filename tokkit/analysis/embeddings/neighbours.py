"""Nearest rows by cosine: exactly where that can be paid for, else by candidates that are checked.

Scores are worked out a tile at a time and only the best of each row are kept, so nothing is ever
held that grows with the square of the vocabulary. Equal cosines stand in the order of their ids.
n rows are searched, k neighbours kept of each, D is the width of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.geometry_moments import Moments, usable_blocks
from tokkit.analysis.matrix import Floats, Matrix

Ids = NDArray[np.int32]
_QUERIES = 1024  # of one tile: with _TILE scores of four bytes it stays in the last-level cache
_TILE = 4096
_STREAMED_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Nearest:
    """The k nearest rows of each query, nearest first.

    queries (Q,) ids of rows; ids (Q, k) int32, -1 where there are fewer than k others;
    cosines (Q, k) float32, -inf there
    """

    queries: NDArray[np.int64]
    ids: Ids
    cosines: Floats


def in_parts(work: Callable[[slice], None], count: int) -> None:
    """Call `work` for slices of 0..count, one for each thread that torch would use."""
    import torch

    threads = max(1, min(torch.get_num_threads(), count))
    bounds = np.linspace(0, count, threads + 1).astype(int)
    parts = [slice(low, high) for low, high in pairwise(bounds)]
    if threads == 1:
        work(parts[0])
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))


def unit_rows(rows: Floats) -> Floats:
    """Rows (N, D) scaled to length 1, in place; a row of zeros stays."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    rows /= np.where(lengths > 0, lengths, 1)[:, None].astype(np.float32)
    return rows


def nearest_of(units: Floats, k: int) -> Nearest:
    """The k nearest others of every row of `units` (n, D), unit rows held in memory; ids 0..n-1."""
    import torch

    count = len(units)
    held = torch.from_numpy(units)
    found = _empty(np.arange(count), k)
    tile = torch.empty(_QUERIES * _TILE)
    for start in range(0, count, _QUERIES):
        here = slice(start, min(start + _QUERIES, count))
        for first in range(0, count, _TILE):
            _offer(held[here], held[first : first + _TILE], first, found, here, tile)
    return found


def nearest_of_some(
    matrix: Matrix,
    usable: NDArray[np.bool_],
    moments: Moments,
    queries: NDArray[np.int64],
    k: int,
    *,
    centred: bool,
) -> Nearest:
    """The k nearest usable rows of a few, exactly, in one pass over the whole matrix."""
    import torch

    asked = torch.from_numpy(_prepared(matrix.take(queries), moments, centred=centred))
    found = _empty(queries, k)
    tile = torch.empty(len(queries) * _TILE)
    for ids, rows in usable_blocks(matrix, usable, _STREAMED_BYTES):
        held = torch.from_numpy(_prepared(rows.copy(), moments, centred=centred))
        for first in range(0, len(ids), _TILE):
            part = ids[first : first + _TILE]
            # A block without gaps is offered by its first id; others id by id, renamed after.
            _offer_named(asked, held[first : first + _TILE], part, found, tile)
    return found


def _prepared(rows: Floats, moments: Moments, *, centred: bool) -> Floats:
    if centred:
        rows -= moments.mean.astype(np.float32)
    return unit_rows(rows)


def _empty(queries: NDArray[np.int64], k: int) -> Nearest:
    shape = (len(queries), k)
    return Nearest(queries, np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32))


def _offer(queries: Any, rows: Any, first: int, found: Nearest, here: slice, tile: Any) -> None:
    import torch

    from tokkit.analysis.embeddings.neighbours_kernels import keep_best

    scores = tile[: len(queries) * len(rows)].view(len(queries), len(rows))
    torch.mm(queries, rows.T, out=scores)
    numbers, best, ids = scores.numpy(), found.cosines[here], found.ids[here]
    own = found.queries[here]
    in_parts(
        lambda part: keep_best(numbers[part], first, own[part], best[part], ids[part]),
        len(queries),
    )


def _offer_named(
    queries: Any, rows: Any, names: NDArray[np.int64], found: Nearest, tile: Any
) -> None:
    """Rows whose ids have gaps: runs without one are offered one after another."""
    breaks = np.flatnonzero(np.diff(names) != 1) + 1
    bounds = [0, *breaks.tolist(), len(names)]
    for low, high in pairwise(bounds):
        _offer(queries, rows[low:high], int(names[low]), found, slice(None), tile)
