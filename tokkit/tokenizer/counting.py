"""Count a corpus into a table of pretokens: one pass, shard by shard, merged exactly.

Shards are counted in threads, each into a small table of its own; these are added to the table of
all in the order of the text, so the result does not depend on the number of threads. Memory grows
with the distinct pretokens and the number of blocks, not with the text.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tokkit.corpus.document import CorpusDigest, Document
from tokkit.corpus.inputs import find_sources, stored_bytes
from tokkit.corpus.pieces import Cut
from tokkit.corpus.shards import Shard, ShardReader, shards_of_documents
from tokkit.errors import ConfigError
from tokkit.parallel import map_in_threads, run_all
from tokkit.tokenizer.accumulator import Accumulator
from tokkit.tokenizer.memory import return_freed_memory
from tokkit.tokenizer.presets import Pretokenizer, resolve_pretokenizer
from tokkit.tokenizer.shard_counts import CountedShard, count_shard
from tokkit.tokenizer.splitting import last_cut, pretoken_ends
from tokkit.tokenizer.table import ATOMS, Origin, PretokenTable

SHARD_BYTES = 1 << 22
BLOCKS_WANTED = 256
MAX_BLOCKS_A_GROUP = 512
MAX_GROUPS = 1000
_SMALLEST_BLOCK_BYTES = 1 << 12
_UNKNOWN_SIZE_BLOCK_BYTES = 1 << 16
_ONE_BLOCK = 1 << 62
_OF_ATOM_FAMILY = "gpt2"
_PART_BYTES = 1 << 18


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
    total = Accumulator(MAX_BLOCKS_A_GROUP if by_blocks else 1)

    def work(shard: Shard) -> CountedShard:
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
    total = Accumulator(MAX_BLOCKS_A_GROUP if by_blocks else 1)
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


def add_tables(
    tables: Sequence[PretokenTable], most_blocks: int = MAX_BLOCKS_A_GROUP
) -> PretokenTable:
    """One table of several of the same unit; see `table.merge_tables`."""
    names = list(dict.fromkeys(name for table in tables for name in table.group_names))
    total = Accumulator(most_blocks)
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
