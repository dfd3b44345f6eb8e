"""Compiled parts of the search for neighbours: the best so far, and exact inner products.

Lists of the best are kept in order, best first; of equal scores the smaller id comes first, as
long as ids are offered in ascending order. Inner loops go over whole slices from 0: only those
run in the processor's wide registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tokkit.jit import kernel, summing_kernel

_CHUNK, _PART = 256, 32  # scores that one test looks at, then those of a chunk that has some
_COLUMNS = 1024  # of a row that are widened at once: they stay in the nearest cache
_ONE, _NONE = np.int32(1), np.int32(0)


@kernel
def keep_best(scores: Any, first: int, own: Any, best: Any, ids: Any) -> None:
    """Offer scores (Q, N) of the ids first.. to the lists `best` and `ids`, both (Q, K).

    `own` (Q,) is the id of each query, which is not its own neighbour; -1 for none. Scores are
    float32, or the bits of bfloat16 as int16: those of positive numbers stand in their order, and
    below them, in any order, stand the negative ones.
    """
    last = best.shape[1] - 1
    for query in range(scores.shape[0]):
        top, names = best[query], ids[query]
        for start in range(0, scores.shape[1], _CHUNK):
            chunk = scores[query][start : start + _CHUNK]
            if _how_many_above(chunk, top[last]) == 0:
                continue
            for at in range(0, len(chunk), _PART):
                part = chunk[at : at + _PART]
                if _how_many_above(part, top[last]) == 0:
                    continue
                for place in range(len(part)):
                    name = first + start + at + place
                    if part[place] > top[last] and name != own[query]:
                        _insert(top, names, part[place], name)


@kernel
def keep_best_of_columns(
    scores: Any, first: int, low: int, high: int, best: Any, ids: Any, worst: Any
) -> None:
    """Offer the scores (Q, N) of the ids first.. to the lists of columns `low` to `high`.

    `best` and `ids` are (N, K); `worst` (N,) is the last of each list, side by side. No column
    is among the ids offered.
    """
    for query in range(scores.shape[0]):
        for start in range(low, high, _CHUNK):
            stop = min(start + _CHUNK, high)
            chunk, limits = scores[query][start:stop], worst[start:stop]
            if _how_many_above_each(chunk, limits) == 0:
                continue
            for at in range(0, len(chunk), _PART):
                part, bounds = chunk[at : at + _PART], limits[at : at + _PART]
                if _how_many_above_each(part, bounds) == 0:
                    continue
                for place in range(len(part)):
                    if part[place] > bounds[place]:
                        column = start + at + place
                        _insert(best[column], ids[column], part[place], first + query)
                        bounds[place] = best[column][-1]


@kernel
def _insert(top: Any, names: Any, score: Any, name: int) -> None:
    """Put a score that is above the last of `top` (K,) in its place, behind its equals."""
    at = len(top) - 1
    while at > 0 and top[at - 1] < score:
        top[at] = top[at - 1]
        names[at] = names[at - 1]
        at -= 1
    top[at] = score
    names[at] = name


@kernel
def _how_many_above(scores: Any, worst: Any) -> Any:
    count = _NONE
    for place in range(len(scores)):
        count += _ONE if scores[place] > worst else _NONE
    return count


@kernel
def _how_many_above_each(scores: Any, limits: Any) -> Any:
    count = _NONE
    for place in range(len(scores)):
        count += _ONE if scores[place] > limits[place] else _NONE
    return count


@kernel
def friends_of_friends(
    nearest: Any, reverse: Any, seen: Any, first: int, stamps: Any, out: Any
) -> None:
    """Rows next to the rows next to each query: out (Q, E), -1 where there are fewer.

    The queries are first..; `nearest` (n, K) and `reverse` (n, R) say which rows a row has near
    it, and which have it near them; `seen` (Q, C) are left out. `stamps` (n,) int32 holds nothing
    but -1 and queries of earlier calls.
    """
    most = out.shape[1]
    for query in range(out.shape[0]):
        own, count = first + query, 0
        stamps[own] = own
        for place in range(seen.shape[1]):
            if seen[query, place] >= 0:
                stamps[seen[query, place]] = own
        for step in range(nearest.shape[1] + reverse.shape[1]):
            friend = (
                nearest[own, step]
                if step < nearest.shape[1]
                else reverse[own, step - nearest.shape[1]]
            )
            if friend < 0:
                continue
            for further in range(nearest.shape[1] + reverse.shape[1]):
                other = (
                    nearest[friend, further]
                    if further < nearest.shape[1]
                    else reverse[friend, further - nearest.shape[1]]
                )
                if other >= 0 and stamps[other] != own and count < most:
                    stamps[other] = own
                    out[query, count] = other
                    count += 1
        for place in range(count, most):
            out[query, place] = -1


@kernel
def products_float32(rows: Any, queries: Any, candidates: Any, out: Any) -> None:
    """Inner products of rows[queries] (Q,) with rows[candidates] (Q, C), float32; -1 gives 0."""
    for query in range(len(queries)):
        own = rows[queries[query]]
        for place in range(candidates.shape[1]):
            candidate = candidates[query, place]
            out[query, place] = _product(own, rows[candidate]) if candidate >= 0 else 0


@kernel
def products_bfloat16(
    bits: Any, queries: Any, candidates: Any, own: Any, other: Any, out: Any
) -> None:
    """The same for rows whose bits are those of bfloat16, uint16 (V, D).

    `own` (D,) and `other` (D,), float32, hold two rows at work.
    """
    for query in range(len(queries)):
        _widen(bits[queries[query]], own.view(np.uint32))
        for place in range(candidates.shape[1]):
            candidate = candidates[query, place]
            total = np.float32(0)
            if candidate >= 0:
                for start in range(0, bits.shape[1], _COLUMNS):
                    part = bits[candidate][start : start + _COLUMNS]
                    _widen(part, other.view(np.uint32))
                    total += _product(own[start : start + _COLUMNS], other[: len(part)])
            out[query, place] = total


@kernel
def _widen(bits: Any, wide: Any) -> None:
    """A bfloat16 is the upper half of a float32."""
    for column in range(len(bits)):
        wide[column] = np.uint32(bits[column]) << np.uint32(16)


@summing_kernel
def _product(first: Any, second: Any) -> Any:
    total = np.float32(0)
    for column in range(len(second)):
        total += first[column] * second[column]
    return total
