"""Add shards and tables up to one table of pretokens, in the order of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.tokenizer.memory import require_memory
from tokkit.tokenizer.presets import Pretokenizer
from tokkit.tokenizer.shard_counts import CountedShard
from tokkit.tokenizer.table import Blocks, Origin, PretokenTable

_MOST_ROWS_HELD = 16
_SLOT_EMPTY = 2**64 - 1


class Accumulator:
    """The table of all shards so far, with at most `most_blocks` blocks a group in the end."""

    def __init__(self, most_blocks: int) -> None:
        self.count = 0
        self._most_blocks = most_blocks
        self._filled = 0
        self._slots = np.full(1 << 16, _SLOT_EMPTY, dtype=np.uint64)
        self._entries = np.empty((1 << 15, 4), dtype=np.uint64)
        self._known = np.empty(1 << 20, dtype=np.uint8)
        self._rows: dict[int, list[_Rows]] = {}
        self._ends_in_a_word = False
        self._last_blocks: Blocks | None = None

    def add_shard(self, counted: CountedShard) -> None:
        """Add the next shard of the text."""
        if counted.goes_on_with_a_word and self._ends_in_a_word:
            # The word was cut between two shards: it has been counted already.
            counted.blocks.words[counted.first_row] -= 1
        if len(counted.blocks):
            self._ends_in_a_word = counted.ends_in_a_word
        numbers = self._absorb(counted.data, counted.entries)
        columns = numbers[counted.columns]
        for row in range(len(counted.blocks)):
            inside = slice(counted.pointers[row], counted.pointers[row + 1])
            self._add_row(columns[inside], counted.counts[inside], counted.blocks, row)

    def add_table(self, table: PretokenTable, group_of: Sequence[int]) -> None:
        """Add a whole table; `group_of` gives the new index of each of its groups."""
        from tokkit.tokenizer import counting_kernels as kernels

        numbers = self._absorb(table.data, kernels.keys_of(table.data, table.offsets))
        counts = table.block_counts
        blocks = Blocks(
            np.asarray(group_of, dtype=np.int64)[table.blocks.group],
            *(getattr(table.blocks, name.name) for name in fields(Blocks)[1:]),
        )
        columns = numbers[counts.indices]
        for row in range(len(blocks)):
            inside = slice(counts.indptr[row], counts.indptr[row + 1])
            self._add_row(columns[inside], counts.data[inside], blocks, row)

    def _add_row(
        self, columns: NDArray[np.int32], counts: NDArray[Any], blocks: Blocks, row: int
    ) -> None:
        group = int(blocks.group[row])
        rows = self._rows.setdefault(group, [])
        rows.append(
            _Rows(
                columns,
                counts.astype(np.int64, copy=False),
                np.array([getattr(blocks, name.name)[row] for name in fields(Blocks)[1:]]),
            )
        )
        if len(rows) > max(self._most_blocks, _MOST_ROWS_HELD):
            self._rows[group] = self._halved(rows)

    def _halved(self, rows: list[_Rows]) -> list[_Rows]:
        """Add neighbours up, two by two."""
        target = np.arange(len(rows)) // 2
        pointers, columns, counts = self._sum_rows(rows, target)
        measures = np.add.reduceat([row.measures for row in rows], range(0, len(rows), 2), axis=0)
        return [
            _Rows(
                columns[pointers[row] : pointers[row + 1]].copy(),
                counts[pointers[row] : pointers[row + 1]].copy(),
                measures[row],
            )
            for row in range(len(measures))
        ]

    def _sum_rows(
        self, rows: Sequence[_Rows], target: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
        from tokkit.tokenizer import counting_kernels as kernels

        pointers = np.concatenate(([0], np.cumsum([len(row.columns) for row in rows])))
        summed: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]] = kernels.sum_rows(
            pointers,
            np.concatenate([row.columns for row in rows]),
            np.concatenate([row.counts for row in rows]),
            target,
            self.count,
        )
        return summed

    def _absorb(self, data: NDArray[np.uint8], entries: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Number the pretokens of a shard within the table of all."""
        from tokkit.tokenizer import counting_kernels as kernels

        more_bytes = int((entries[:, 2] & np.uint64(2**32 - 1)).sum())
        self._make_room(len(entries), more_bytes)
        numbers = np.empty(len(entries), dtype=np.int32)
        self.count, self._filled = kernels.absorb(
            self._slots,
            self._entries,
            self._known,
            self.count,
            self._filled,
            data,
            entries,
            numbers,
        )
        return numbers

    def _make_room(self, more: int, more_bytes: int) -> None:
        from tokkit.tokenizer import counting_kernels as kernels

        if self._filled + more_bytes > len(self._known):
            self._known = _grown(self._known, self._filled, more_bytes)
        if self.count + more > len(self._entries):
            self._entries = _grown(self._entries, self.count, more)
        size = len(self._slots)
        while 2 * (self.count + more) > size:
            size *= 2
        if size > len(self._slots):
            require_memory(8 * size, what=f"{self.count:,} distinct pretokens")
            self._slots = np.empty(size, dtype=np.uint64)
            kernels.rehash_wide(self._slots, self._entries, self.count)

    def table(
        self, group_names: tuple[str, ...], rule: Pretokenizer | None, origin: Origin
    ) -> PretokenTable:
        """The table of everything added so far, blocks by group."""
        from scipy.sparse import csr_array

        for group, held in self._rows.items():
            while len(held) > self._most_blocks:
                held = self._halved(held)
            self._rows[group] = held
        rows = [(group, row) for group in sorted(self._rows) for row in self._rows[group]]
        lengths = self._entries[: self.count, 3].astype(np.int64)
        pointers = np.concatenate(([0], np.cumsum([len(row.columns) for _, row in rows])))
        empty = np.empty(0, dtype=np.int64)
        counts = csr_array(
            (
                np.concatenate([empty, *(row.counts for _, row in rows)]),
                np.concatenate([empty.astype(np.int32), *(row.columns for _, row in rows)]),
                pointers.astype(np.int64),
            ),
            shape=(len(rows), self.count),
        )
        measures = np.array([row.measures for _, row in rows], dtype=np.int64).reshape(-1, 5)
        blocks = Blocks(np.array([group for group, _ in rows], dtype=np.int64), *measures.T)
        return PretokenTable(
            self._known[: self._filled].copy(),
            np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
            counts,
            blocks,
            group_names,
            rule,
            origin,
        )


@dataclass(frozen=True, slots=True)
class _Rows:
    """The counts of one block, and its measures in the order of `Blocks`."""

    columns: NDArray[np.int32]
    counts: NDArray[np.int64]
    measures: NDArray[np.int64]


def _grown(array: NDArray[Any], filled: int, more: int) -> NDArray[Any]:
    size = max(2 * len(array), filled + more)
    require_memory(
        size * array.itemsize * int(np.prod(array.shape[1:])),
        what=f"{filled:,} distinct pretokens",
    )
    larger = np.empty((size, *array.shape[1:]), dtype=array.dtype)
    larger[:filled] = array[:filled]
    return larger
