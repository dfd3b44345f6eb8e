"""Count one shard: its distinct pretokens, with their counts by block of documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.corpus.shards import Shard
from tokkit.tokenizer.presets import Pretokenizer
from tokkit.tokenizer.splitting import atom_ends, pretoken_ends
from tokkit.tokenizer.table import Blocks


@dataclass(frozen=True, slots=True)
class CountedShard:
    """The distinct pretokens of a shard (see counting_kernels), with compressed rows of counts."""

    data: NDArray[np.uint8]
    entries: NDArray[np.uint64]
    pointers: NDArray[np.int64]
    columns: NDArray[np.int32]
    counts: NDArray[np.int32]
    blocks: Blocks
    goes_on_with_a_word: bool
    ends_in_a_word: bool
    first_row: int


def count_shard(shard: Shard, rule: Pretokenizer | None, block_bytes: int) -> CountedShard:
    """Count one shard; a pure function, without the interpreter's lock for nearly all of it."""
    from tokkit.tokenizer import counting_kernels as kernels

    ends = (
        atom_ends(shard.data, shard.starts)
        if rule is None
        else pretoken_ends(shard.data, shard.starts, rule)
    )
    rows, order = _rows_of_pieces(shard, block_bytes)
    bounds = np.searchsorted(ends, shard.starts, side="right")
    n_rows = int(rows.max()) + 1 if len(rows) else 0
    entries, pointers, columns, counts = kernels.count_pretokens(
        shard.data, ends, order, bounds, rows, n_rows
    )
    measures = kernels.measure_pieces(shard.data, shard.starts, shard.continued)
    characters, words, lines, begins_in_word, ends_in_word = measures
    group = np.zeros(n_rows, dtype=np.int64)
    group[rows] = shard.groups

    def by_row(values: NDArray[Any]) -> NDArray[np.int64]:
        return np.bincount(rows, weights=values, minlength=n_rows).astype(np.int64)

    blocks = Blocks(
        group=group,
        documents=by_row(~shard.continued),
        bytes=by_row(np.diff(shard.starts)),
        characters=by_row(characters),
        words=by_row(words),
        lines=by_row(lines),
    )
    return CountedShard(
        shard.data,
        entries,
        pointers,
        columns,
        counts,
        blocks,
        bool(len(rows) and shard.continued[0] and begins_in_word),
        bool(ends_in_word),
        int(rows[0]) if len(rows) else 0,
    )


def _rows_of_pieces(shard: Shard, block_bytes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The row of each piece, and the pieces in the order of rows: by group, then as they come."""
    order = np.argsort(shard.groups, kind="stable")
    sizes = np.diff(shard.starts)[order]
    before = np.cumsum(sizes) - sizes
    groups = shard.groups[order]
    is_first = np.concatenate(([True], groups[1:] != groups[:-1])) if len(groups) else groups
    # Bytes of the same group before each piece.
    before -= np.maximum.accumulate(np.where(is_first, before, 0))
    block = before // block_bytes
    is_new = is_first.copy()
    is_new[1:] |= block[1:] != block[:-1]
    rows = np.empty(len(order), dtype=np.int64)
    rows[order] = np.cumsum(is_new) - 1
    return rows, order
