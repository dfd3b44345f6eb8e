"""Count a corpus into a table of pretokens: one pass, shard by shard, merged exactly.

Shards are counted in threads, each into a small table of its own; these are added to the table of
all in the order of the text, so the result does not depend on the number of threads. Memory grows
with the distinct pretokens and the number of blocks, not with the text.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.corpus.document import CorpusDigest, Document
from tokkit.corpus.inputs import find_sources, stored_bytes
from tokkit.corpus.pieces import Cut
from tokkit.corpus.shards import Shard, ShardReader, shards_of_documents
from tokkit.errors import ConfigError
from tokkit.parallel import map_in_threads, run_all
from tokkit.tokenizer.memory import require_memory, return_freed_memory
from tokkit.tokenizer.presets import Pretokenizer, resolve_pretokenizer
from tokkit.tokenizer.splitting import atom_ends, last_cut, pretoken_ends
from tokkit.tokenizer.table import ATOMS, Blocks, Origin, PretokenTable

SHARD_BYTES = 1 << 22
BLOCKS_WANTED = 256
MAX_BLOCKS_A_GROUP = 512
MAX_GROUPS = 1000
_MOST_ROWS_HELD = 16
_SMALLEST_BLOCK_BYTES = 1 << 12
_UNKNOWN_SIZE_BLOCK_BYTES = 1 << 16
_ONE_BLOCK = 1 << 62
_OF_ATOM_FAMILY = "gpt2"
_PART_BYTES = 1 << 18
_SLOT_EMPTY = 2**64 - 1


@dataclass(frozen=True, slots=True)
class CountProgress:
    """How far counting has come: bytes and documents read, distinct pretokens so far."""

    bytes: int
    documents: int
    pretokens: int


def count(
    paths: Sequence[str | os.PathLike[str]],
    pretokenizer: Pretokenizer | str = ATOMS,
    *,
    by_blocks: bool = True,
    removed_texts: Sequence[str] = (),
    text_field: str = "text",
    group_field: str | None = None,
    group_by_folder: bool = False,
    errors: str = "strict",
    jobs: int | None = None,
    progress: Callable[[CountProgress], None] | None = None,
    block_bytes: int | None = None,
) -> PretokenTable:
    """Count the pretokens of files, or their atoms, from which those of many presets follow.

    `by_blocks` keeps the counts apart by block of documents, some 256 blocks, which intervals
    need; without it there is one block a group. `removed_texts` are cut out of the text first, as
    special tokens are before training. `jobs` is the number of threads. The other options are those
    of `ShardReader`.

    Raises what reading raises, ConfigError for an unknown pre-tokenizer, and InputError, before
    memory runs out, when there are too many distinct pretokens.
    """
    rule = None if pretokenizer == ATOMS else resolve_pretokenizer(pretokenizer)
    block_bytes = _block_bytes(paths) if by_blocks else _ONE_BLOCK
    removed = _as_bytes(removed_texts)
    reader = ShardReader(
        paths,
        text_field=text_field,
        group_field=group_field,
        group_by_folder=group_by_folder,
        errors=errors,
        cut=_cut_of(rule),
        shard_bytes=SHARD_BYTES,
        part_bytes=min(block_bytes, _PART_BYTES),
        remove=removed,
    )
    total = _Accumulator(MAX_BLOCKS_A_GROUP if by_blocks else 1)

    def work(shard: Shard) -> _CountedShard:
        return count_shard(shard, rule, block_bytes)

    for counted in map_in_threads(work, reader, workers=jobs):
        total.add_shard(counted)
        _require_few_groups(reader.group_names)
        if progress:
            progress(CountProgress(reader.bytes, reader.documents, total.count))
    origin = Origin(
        files=tuple(str(path) for path in paths),
        corpus_sha256=(reader.hexdigest(),),
        documents=reader.documents,
        bytes=reader.bytes,
        replaced=reader.replaced,
        skipped=reader.skipped,
        removed_texts=tuple(removed_texts),
        settings={"text_field": text_field, "group_field": group_field, "errors": errors},
    )
    table = total.table(tuple(reader.group_names), rule, origin)
    del total
    return_freed_memory()
    return table


def count_in_processes(
    paths: Sequence[str | os.PathLike[str]],
    pretokenizer: Pretokenizer | str = ATOMS,
    *,
    jobs: int | None = None,
    by_blocks: bool = True,
    **options: Any,
) -> PretokenTable:
    """As `count`, each file in a process of joblib: on other machines where it is set up so.

    For many files whose reading holds the interpreter's lock, as JSONL does, and for clusters (dask
    or ray as joblib's backend, with the files on a shared disk). The tables are added up in the
    order of the files; groups, counts and totals are those of `count`, blocks end at files' ends.
    """
    if options.get("group_by_folder"):
        raise ConfigError(
            "groups by folder are counted in threads: which folder a file counts for is told by "
            "the paths taken together; leave --processes out"
        )
    sources = [source.path for source in find_sources(paths)]
    block_bytes = _block_bytes(paths) if by_blocks else _ONE_BLOCK
    settings = {"by_blocks": by_blocks, "block_bytes": block_bytes, **options}
    found = dict(
        run_all(_count_one, [(path, pretokenizer, settings) for path in sources], workers=jobs)
    )
    tables = [found[place] for place in range(len(sources))]
    return add_tables(tables, MAX_BLOCKS_A_GROUP if by_blocks else 1)


def _count_one(
    path: str, pretokenizer: Pretokenizer | str, settings: dict[str, Any]
) -> PretokenTable:
    return count([path], pretokenizer, jobs=1, **settings)


def count_texts(
    texts: Iterable[str],
    pretokenizer: Pretokenizer | str = ATOMS,
    *,
    removed_texts: Sequence[str] = (),
    by_blocks: bool = False,
) -> PretokenTable:
    """Count texts that are at hand, each a document; see `count`."""
    rule = None if pretokenizer == ATOMS else resolve_pretokenizer(pretokenizer)
    digest = CorpusDigest()
    documents = digest.watch(Document(text, f"text {n}") for n, text in enumerate(texts))
    block_bytes = _SMALLEST_BLOCK_BYTES if by_blocks else _ONE_BLOCK
    removed = _as_bytes(removed_texts)
    shards = shards_of_documents(
        documents,
        cut=_cut_of(rule),
        shard_bytes=SHARD_BYTES,
        part_bytes=min(block_bytes, _PART_BYTES),
        remove=removed,
    )
    total = _Accumulator(MAX_BLOCKS_A_GROUP if by_blocks else 1)
    for shard in shards:
        total.add_shard(count_shard(shard, rule, block_bytes))
    origin = Origin(
        corpus_sha256=(digest.hexdigest(),),
        documents=digest.documents,
        bytes=digest.bytes,
        removed_texts=tuple(removed_texts),
    )
    return total.table(("",), rule, origin)


def _as_bytes(texts: Sequence[str]) -> list[bytes]:
    try:
        return [text.encode() for text in texts]
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"a text to remove must be Unicode, got {error.object!r} with half of a surrogate "
            f"pair; correct it"
        ) from error


def _require_few_groups(names: Sequence[str]) -> None:
    if len(names) > MAX_GROUPS:
        raise ConfigError(
            f"groups are kinds of text, such as languages, {MAX_GROUPS:,} at the most, but there "
            f"are more (the first are {', '.join(map(repr, names[:3]))}); group by another field"
        )


def _cut_of(rule: Pretokenizer | None) -> Cut:
    # All of the atoms' family are cut between atoms.
    cut_as = rule or resolve_pretokenizer(_OF_ATOM_FAMILY)
    return lambda data: last_cut(data, cut_as)


def _block_bytes(paths: Sequence[str | os.PathLike[str]]) -> int:
    """The size of a block that gives some 256 of them, where the files' sizes tell."""
    size = stored_bytes(find_sources(paths))
    if not size:
        return _UNKNOWN_SIZE_BLOCK_BYTES
    return max(_SMALLEST_BLOCK_BYTES, size // BLOCKS_WANTED)


@dataclass(frozen=True, slots=True)
class _CountedShard:
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


def count_shard(shard: Shard, rule: Pretokenizer | None, block_bytes: int) -> _CountedShard:
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
    return _CountedShard(
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


class _Accumulator:
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

    def add_shard(self, counted: _CountedShard) -> None:
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


def add_tables(
    tables: Sequence[PretokenTable], most_blocks: int = MAX_BLOCKS_A_GROUP
) -> PretokenTable:
    """One table of several of the same unit; see `table.merge_tables`."""
    names = list(dict.fromkeys(name for table in tables for name in table.group_names))
    total = _Accumulator(most_blocks)
    for table in tables:
        total.add_table(table, [names.index(name) for name in table.group_names])
    origins = [table.origin for table in tables]
    origin = Origin(
        files=tuple(file for origin in origins for file in origin.files),
        corpus_sha256=tuple(digest for origin in origins for digest in origin.corpus_sha256),
        documents=sum(origin.documents for origin in origins),
        bytes=sum(origin.bytes for origin in origins),
        replaced=sum(origin.replaced for origin in origins),
        skipped=sum(origin.skipped for origin in origins),
        removed_texts=origins[0].removed_texts,
        settings=origins[0].settings,
    )
    return total.table(tuple(names), tables[0].pretokenizer, origin)


def split_table(table: PretokenTable, rule: Pretokenizer) -> PretokenTable:
    """From a table of atoms to the pretokens of `rule`; see `PretokenTable.split`."""
    from scipy.sparse import csr_array

    from tokkit.tokenizer import counting_kernels as kernels

    n_atoms = len(table)
    if len(table.data) >= 2**31:
        raise ConfigError(
            f"the distinct atoms may hold {2**31 - 1:,} bytes, but hold {len(table.data):,}; count "
            f"the text with --pretokenizer {rule.name}"
        )
    ends = pretoken_ends(table.data, table.offsets, rule)
    rows = np.arange(n_atoms, dtype=np.int64)
    bounds = np.searchsorted(ends, table.offsets, side="right")
    entries, pointers, columns, counts = kernels.count_pretokens(
        table.data, ends, rows, bounds, rows, n_atoms
    )
    inside = csr_array((counts.astype(np.int64), columns, pointers), shape=(n_atoms, len(entries)))
    data, offsets = kernels.gather_pretokens(table.data, entries)
    return PretokenTable(
        data,
        offsets,
        csr_array(table.block_counts @ inside),
        table.blocks,
        table.group_names,
        rule,
        table.origin,
    )
