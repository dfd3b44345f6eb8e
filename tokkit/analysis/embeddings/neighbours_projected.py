"""Neighbours of all rows where exact ones cost too much: candidates, checked exactly.

1. Each row is projected on the first P principal directions. Inner products of the projections,
   over the rows' whole norms, differ from the cosines by what lies outside of these directions.
   All pairs are looked at so, each once, and the best C of each row kept.
2. The true cosines of the candidates, from the rows as they are stored, decide.
3. The rows next to a row's neighbours, in either direction, are looked at as well: who is near a
   neighbour is often near (Dong, Moses and Li 2011, NN-descent, one round).

What that misses is measured: see `recall`. Rows are numbered by their places among the usable.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.geometry_moments import Moments, usable_blocks
from tokkit.analysis.embeddings.neighbours import Ids, Nearest, in_parts
from tokkit.analysis.matrix import PASS_BYTES, Floats, Matrix

FURTHER = 96
"""Rows near a row's neighbours that are looked at, at most."""
_SCANNED = 1024  # rows of one tile of scores of two bytes, which stays in the last-level cache
_TILE = 8192
_QUERIES = 1024
_TAKEN_ROWS = 1 << 13  # rows copied at once where no kernel reads them as they are stored
_ROUNDING = 2e-6  # of a cosine in float32


def projected_neighbours(
    matrix: Matrix,
    usable: NDArray[np.bool_],
    moments: Moments,
    basis: NDArray[np.floating],
    k: int,
    candidates: int,
) -> Nearest:
    """The k nearest of every usable row, by the cosine of rows without the mean.

    `basis` is (D, P), orthonormal. Ids are those of rows.
    """
    ids = _scan(_projections(matrix, usable, moments, basis), candidates)
    count = len(moments.rows)
    found = _empty(count, k)
    for start in range(0, count, _QUERIES):
        here = slice(start, min(start + _QUERIES, count))
        _check_exactly(matrix, moments, here, ids[here], found)
    del ids
    matrix.release()  # all of the file's pages were touched: room for what follows
    _look_further(matrix, moments, found)
    matrix.release()
    rows = moments.rows
    names = np.where(found.ids >= 0, rows[found.ids], -1).astype(np.int32)
    return Nearest(rows, names, found.cosines)


def _empty(count: int, k: int) -> Nearest:
    ids, cosines = np.full((count, k), -1, np.int32), np.full((count, k), -np.inf, np.float32)
    return Nearest(np.arange(count), ids, cosines)


def _projections(
    matrix: Matrix, usable: NDArray[np.bool_], moments: Moments, basis: NDArray[np.floating]
) -> Any:
    """(n, P) bfloat16: coordinates along `basis` about the mean, over the whole rows' norms."""
    import torch

    held = torch.empty(len(moments.rows), basis.shape[1], dtype=torch.bfloat16)
    directions = np.ascontiguousarray(basis, dtype=np.float32)
    shift = moments.mean.astype(np.float32) @ directions
    at = 0
    for ids, rows in usable_blocks(matrix, usable, 4 * PASS_BYTES):
        lengths = moments.centred_norms[ids]
        scale = np.divide(1, lengths, out=np.zeros(len(ids)), where=lengths > 0)
        placed = (rows @ directions - shift) * scale[:, None].astype(np.float32)
        held[at : at + len(ids)] = torch.from_numpy(placed)
        at += len(ids)
    return held


def _scan(held: Any, candidates: int) -> Ids:
    """The best candidates of every row, (n, C) places, -1 for none: each pair is scored once."""
    import torch

    count = len(held)
    best = np.full((count, candidates), np.iinfo(np.int16).min, np.int16)
    ids = np.full((count, candidates), -1, np.int32)
    worst = np.full(count, np.iinfo(np.int16).min, np.int16)
    memory = torch.empty(_SCANNED * _TILE, dtype=torch.bfloat16)
    for start in range(0, count, _SCANNED):
        stop = min(start + _SCANNED, count)
        bounds = [start, *range(stop, count, _TILE), count]
        for low, high in pairwise(bounds):
            if low == high:
                continue
            scores = memory[: (stop - start) * (high - low)].view(stop - start, high - low)
            torch.mm(held[start:stop], held[low:high].T, out=scores)
            bits = scores.view(torch.int16).numpy()
            _offer(bits, start, low, (best, ids, worst), columns_too=low >= stop)
        worst[start:stop] = best[start:stop, -1]
    return ids


def _offer(
    bits: NDArray[np.int16],
    start: int,
    low: int,
    lists: tuple[NDArray[np.int16], Ids, NDArray[np.int16]],
    *,
    columns_too: bool,
) -> None:
    from tokkit.analysis.embeddings.neighbours_kernels import keep_best, keep_best_of_columns

    best, ids, worst = lists
    rows, columns = bits.shape
    own = np.arange(start, start + rows)

    def by_rows(part: slice) -> None:
        here = slice(start + part.start, start + part.stop)
        keep_best(bits[part], low, own[part], best[here], ids[here])

    def by_columns(part: slice) -> None:
        there = slice(low, low + columns)
        keep_best_of_columns(
            bits, start, part.start, part.stop, best[there], ids[there], worst[there]
        )

    in_parts(by_rows, rows)
    if columns_too:
        in_parts(by_columns, columns)


def _check_exactly(
    matrix: Matrix,
    moments: Moments,
    here: slice,
    candidates: Ids,
    found: Nearest,
) -> None:
    """Put the best of the candidates (Q, C) into `found`, beside what is there already."""
    own = moments.rows[here]
    known = candidates >= 0
    names = np.where(known, moments.rows[candidates], -1).astype(np.int32)
    products = _products(matrix, own, names).astype(np.float64)
    along, lengths = moments.along_mean, moments.centred_norms
    about = products - along[own][:, None] - along[names] + float(moments.mean @ moments.mean)
    scale = lengths[own][:, None] * lengths[names]
    cosines = np.divide(about, scale, out=np.zeros_like(about), where=scale > 0)
    cosines[~known] = -np.inf
    _merge(found, here, candidates, cosines.astype(np.float32))


def _merge(kept: Nearest, here: slice, candidates: Ids, cosines: Floats) -> None:
    """Keep the best of old and new; equal cosines stand in the order of their ids."""
    ids = np.concatenate([kept.ids[here], candidates], axis=1)
    scores = np.concatenate([kept.cosines[here], cosines], axis=1)
    k = kept.ids.shape[1]
    if ids.shape[1] > 4 * k:  # the far ones need no order
        near = np.argpartition(-scores, 2 * k, axis=1)[:, : 2 * k]
        ids, scores = (np.take_along_axis(side, near, axis=1) for side in (ids, scores))
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    kept.ids[here] = np.take_along_axis(ids, order, axis=1)
    kept.cosines[here] = np.take_along_axis(scores, order, axis=1)


def _look_further(matrix: Matrix, moments: Moments, found: Nearest) -> None:
    from tokkit.analysis.embeddings.neighbours_kernels import friends_of_friends

    nearest = found.ids.copy()
    reverse = _reverse(nearest)
    count = len(nearest)
    stamps = np.full(count, -1, np.int32)
    for start in range(0, count, _QUERIES):
        here = slice(start, min(start + _QUERIES, count))
        out = np.empty((here.stop - start, FURTHER), np.int32)
        friends_of_friends(nearest, reverse, found.ids[here], start, stamps, out)
        _check_exactly(matrix, moments, here, out, found)


def _reverse(nearest: Ids) -> Ids:
    """Up to as many rows that have a row near them as it has neighbours, (n, k), -1 for none."""
    count, k = nearest.shape
    owners = np.repeat(np.arange(count, dtype=np.int32), k)
    targets = nearest.ravel()
    kept = targets >= 0
    # By rank first, so that a row is kept by those that have it nearest.
    ranks = np.tile(np.arange(k, dtype=np.int32), count)[kept]
    owners, targets = owners[kept], targets[kept]
    order = np.lexsort((ranks, targets))
    owners, targets = owners[order], targets[order]
    first = np.searchsorted(targets, np.arange(count))
    place = np.arange(len(targets)) - first[targets]
    reverse = np.full((count, k), -1, np.int32)
    few = place < k
    reverse[targets[few], place[few]] = owners[few]
    return reverse


def _products(matrix: Matrix, own: NDArray[np.int64], names: Ids) -> Floats:
    """Inner products (Q, C) of rows with their candidates, float32, from the rows as stored."""
    import torch

    from tokkit.analysis.embeddings import neighbours_kernels as kernels

    out = np.empty(names.shape, np.float32)
    held = matrix.held
    if held is not None and held.dtype == torch.bfloat16:
        bits = held.contiguous().view(torch.uint16).numpy()

        def widened(part: slice) -> None:
            work = np.empty((2, matrix.width), np.float32)
            kernels.products_bfloat16(bits, own[part], names[part], work[0], work[1], out[part])

        in_parts(widened, len(own))
    elif held is not None and held.dtype == torch.float32:
        rows = held.contiguous().numpy()
        in_parts(
            lambda part: kernels.products_float32(rows, own[part], names[part], out[part]),
            len(own),
        )
    else:
        step = max(1, _TAKEN_ROWS // names.shape[1])
        for start in range(0, len(own), step):
            here = slice(start, start + step)
            taken = matrix.take(np.maximum(names[here], 0).ravel())
            taken = taken.reshape(*names[here].shape, matrix.width)
            out[here] = np.einsum("qd,qcd->qc", matrix.take(own[here]), taken)
    return out


def recall(found: Nearest, exact: Nearest) -> NDArray[np.float64]:
    """The share of the exact neighbours of each of some queries (Q,) that was found: (Q,).

    Of rows that are equal, which have equal cosines, either may stand for the other.
    """
    places = np.searchsorted(found.queries, exact.queries)
    shares = np.ones(len(exact.queries))
    for row, place in enumerate(places):
        wanted = exact.ids[row] >= 0
        missed = ~np.isin(exact.ids[row][wanted], found.ids[place])
        tied = exact.cosines[row][wanted] <= found.cosines[place].min() + _ROUNDING
        if wanted.any():
            shares[row] = 1 - (missed & ~tied).mean()
    return shares
