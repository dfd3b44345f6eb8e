"""Count the tokens of tokenizers that a table of pretokens cannot follow, from the text itself.

Each document is encoded whole, a longer one than a megabyte in parts that are cut at white space; a
tokenizer that marks the beginning of a text may then count a token too many a part. Tokens go to
the table's blocks by the bytes they spell: a block is a run of bytes of its group.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.corpus.shards import Shard, ShardReader
from tokkit.errors import InputError
from tokkit.tokenizer.encoding import Encoder
from tokkit.tokenizer.presets import PRETOKENIZERS
from tokkit.tokenizer.splitting import ATOM_FAMILY, last_cut

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from tokkit.tokenizer.table import PretokenTable

Ints = NDArray[np.int64]

PART_BYTES = 1 << 20
_SHARD_BYTES = 1 << 23
_ROUNDING = 1e-6
NOTE = "counted from the text, which is encoded a document, or a megabyte of one, at a time"


def follows_from(tokenizer: Any, table: PretokenTable) -> bool:
    """Whether the tokens of a tokenizer can be counted from the table, without the text."""
    rule = tokenizer.pretokenizer
    if rule is None:
        return False
    if table.pretokenizer is not None:
        return bool(rule == table.pretokenizer)
    return rule.name in ATOM_FAMILY


def count_from_text(
    tokenizers: Mapping[str, Any],
    paths: Sequence[str | os.PathLike[str]],
    table: PretokenTable,
    *,
    text_field: str = "text",
    group_field: str | None = None,
    group_by_folder: bool = False,
    errors: str = "strict",
    progress: Callable[[int], None] | None = None,
) -> dict[str, csr_array]:
    """How often each token of each tokenizer stands in each block of `table`.

    `paths` and the options are those that the table was counted with. Returns int64 arrays
    (blocks, vocab_size), what `audit(counted=...)` takes. `progress` is told the bytes read.

    Raises InputError when the text is not that of the table, or a tokenizer has no ids for it, and
    what reading raises.
    """
    reader = ShardReader(
        paths,
        text_field=text_field,
        group_field=group_field,
        group_by_folder=group_by_folder,
        errors=errors,
        cut=lambda data: last_cut(data, PRETOKENIZERS["whitespace"]),
        shard_bytes=_SHARD_BYTES,
        part_bytes=PART_BYTES,
        remove=[text.encode() for text in table.origin.removed_texts],
    )
    places = _Places(table)
    counters = {name: _Counter(tokenizer) for name, tokenizer in tokenizers.items()}
    for shard in reader:
        starts = places.of_pieces(shard, reader.group_names)
        for counter in counters.values():
            counter.add(shard, starts, places)
        if progress:
            progress(reader.bytes)
    places.require_all_met()
    return {name: counter.table(len(table.blocks)) for name, counter in counters.items()}


class _Places:
    """Where the blocks of a table lie: all groups one after the other, each in the text's order."""

    def __init__(self, table: PretokenTable) -> None:
        sizes, group = table.blocks.bytes, table.blocks.group
        self._order = np.argsort(group, kind="stable")
        self._ends = np.cumsum(sizes[self._order])
        of_group = np.bincount(group, weights=sizes, minlength=len(table.group_names))
        self._group_ends = np.cumsum(of_group).astype(np.int64)
        self._next = self._group_ends - of_group.astype(np.int64)
        self._number = {name: number for number, name in enumerate(table.group_names)}

    def of_pieces(self, shard: Shard, names: Sequence[str]) -> Ints:
        """Where each piece of the next shard starts: (pieces,)."""
        sizes = np.diff(shard.starts)
        starts = np.empty(len(sizes), dtype=np.int64)
        for met in np.unique(shard.groups):
            number = self._number.get(names[int(met)])
            if number is None:
                raise InputError(_other_text(f"the table has no group {names[int(met)]!r}"))
            members = np.flatnonzero(shard.groups == met)
            ends = self._next[number] + np.cumsum(sizes[members])
            starts[members] = ends - sizes[members]
            self._next[number] = ends[-1]
            if ends[-1] > self._group_ends[number]:
                raise InputError(_other_text("it is longer"))
        return starts

    def blocks_at(self, ends: Ints) -> Ints:
        """The block in which the byte before each place lies."""
        return np.asarray(self._order[np.searchsorted(self._ends, ends, side="left")])

    def require_all_met(self) -> None:
        """InputError unless every byte of the table was met."""
        if (self._next != self._group_ends).any():
            raise InputError(_other_text("it is shorter"))


def _other_text(why: str) -> str:
    return f"the text is not what the table was counted from: {why}; count the text again"


class _Counter:
    """The counts of one tokenizer so far."""

    def __init__(self, tokenizer: Any) -> None:
        self._encoder = Encoder(tokenizer)
        self._vocab_size = tokenizer.vocab_size
        unused = tokenizer.unused_ids
        self._lengths = np.array(
            [
                0 if token in unused else len(tokenizer.token_bytes(token))
                for token in range(tokenizer.vocab_size)
            ],
            dtype=np.int64,
        )
        self._keys: list[Ints] = []
        self._counts: list[Ints] = []

    def add(self, shard: Shard, starts: Ints, places: _Places) -> None:
        """Encode a shard; piece i starts at place starts[i]."""
        ids, offsets = self._encoder.encode_pieces(shard.data, shard.starts)
        keys = [np.empty(0, dtype=np.int64)]
        for piece, (start, size) in enumerate(zip(starts, np.diff(shard.starts), strict=True)):
            found = ids[offsets[piece] : offsets[piece + 1]].astype(np.int64)
            ends = start + _lay_out(self._lengths[found], int(size))
            keys.append(places.blocks_at(ends) * self._vocab_size + found)
        distinct, counts = np.unique(np.concatenate(keys), return_counts=True)
        self._keys.append(distinct)
        self._counts.append(counts.astype(np.int64))

    def table(self, blocks: int) -> csr_array:
        """All counts: (blocks, vocab_size)."""
        from scipy.sparse import coo_array

        empty = np.empty(0, dtype=np.int64)
        keys = np.concatenate([empty, *self._keys])
        counts = np.concatenate([empty, *self._counts])
        cells = (counts, (keys // self._vocab_size, keys % self._vocab_size))
        return coo_array(cells, shape=(blocks, self._vocab_size)).tocsr()


def _lay_out(lengths: Ints, size: int) -> Ints:
    """Where each token ends in a text of `size` bytes, 1 to `size`.

    Tokens that do not spell the text (lower-cased, say) are stretched to its length.
    """
    reached = np.cumsum(lengths)
    if not len(reached):
        return reached
    if not reached[-1]:
        reached = np.arange(1, len(lengths) + 1)
    if reached[-1] != size:
        reached = np.ceil(reached * (size / reached[-1]) - _ROUNDING).astype(np.int64)
    return np.clip(reached, 1, size)
