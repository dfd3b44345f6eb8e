"""From a table of counted pretokens to how often each token stands in each block of documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ConfigError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from tokkit.tokenizer.table import PretokenTable

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tokens:
    """The bytes of all tokens: token i is pieces[i], and data[offsets[i]:offsets[i + 1]]."""

    pieces: tuple[bytes, ...]
    data: NDArray[np.uint8]
    offsets: Ints

    @property
    def lengths(self) -> Ints:
        """Bytes of each token: (vocabulary,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, token: int | np.integer[Any]) -> bytes:
        return self.pieces[token]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one tokenizer makes of a counted corpus.

    `counts` (blocks, vocabulary) holds how often each token stands in each block. `units`, `ids`
    and `id_offsets` are the distinct pretokens and their tokens, None where the counts came from
    the caller. `notes` say what the counts do not heed.
    """

    name: str
    tokenizer: Any
    encoder: Any
    tokens: Tokens
    counts: csr_array
    units: PretokenTable | None
    ids: NDArray[np.int32] | None
    id_offsets: Ints | None
    notes: tuple[str, ...]

    @property
    def declared(self) -> int:
        """How many ids have a token, special and added ones included."""
        return int(self.tokenizer.vocab_size) - len(getattr(self.tokenizer, "unused_ids", ()))

    @property
    def of_tokens(self) -> Ints:
        """How often each token stands in the whole corpus: (vocabulary,)."""
        return np.asarray(self.counts.sum(axis=0), dtype=np.int64).ravel()

    @property
    def of_blocks(self) -> Ints:
        """Tokens in each block: (blocks,)."""
        return np.asarray(self.counts.sum(axis=1), dtype=np.int64).ravel()


def token_counts(tokenizer: Any, table: PretokenTable) -> csr_array:
    """How often each token stands in each block: csr_array int64 (blocks, vocab_size).

    The distinct pretokens are encoded once each and weighted by their counts. Raises ConfigError
    when the tokenizer splits text in a way that the table does not hold.
    """
    return count_usage("tokenizer", tokenizer, table).counts


def count_usage(
    name: str,
    tokenizer: Any,
    table: PretokenTable,
    *,
    split: Mapping[Any, PretokenTable] | None = None,
) -> Usage:
    """Encode the distinct pretokens of `table` and count their tokens; see `token_counts`.

    `split` may hold the table already split, by pre-tokenizer.
    """
    from scipy.sparse import csr_array

    from tokkit.tokenizer.audit.counts_kernels import count_in_blocks
    from tokkit.tokenizer.encoding import Encoder

    rule = getattr(tokenizer, "pretokenizer", None)
    if rule is None:
        raise ConfigError(
            f"tokenizer {name!r} splits text in a way that a table of pretokens does not hold; "
            "count its tokens from the text and pass them as counted={...}"
        )
    units = split[rule] if split and rule in split else split_for(tokenizer, table)
    encoder, tokens = Encoder(tokenizer), token_table(tokenizer)
    ids, id_offsets = encoder.encode_units(units.data, units.offsets)
    rows = units.block_counts
    starts, columns, counts = count_in_blocks(
        rows.indptr.astype(np.int64),
        rows.indices.astype(np.int64),
        np.ascontiguousarray(rows.data, dtype=np.int64),
        ids,
        id_offsets,
        tokenizer.vocab_size,
    )
    shape = (rows.shape[0], tokenizer.vocab_size)
    counted = csr_array((counts, columns, starts), shape=shape)
    notes = (*getattr(tokenizer, "notes", ()), *_unheeded(tokenizer))
    return Usage(name, tokenizer, encoder, tokens, counted, units, ids, id_offsets, notes)


def given_usage(name: str, tokenizer: Any, counts: Any, table: PretokenTable) -> Usage:
    """The usage of a tokenizer whose tokens the caller counted: `counts` (blocks, vocab_size)."""
    from scipy.sparse import csr_array

    from tokkit.tokenizer.encoding import Encoder

    shape = (len(table.blocks.bytes), tokenizer.vocab_size)
    rows = csr_array(counts)
    if rows.shape != shape or rows.dtype.kind not in "iu" or (rows.data < 0).any():
        raise ConfigError(
            f"counted tokens of {name!r} must be whole numbers of 0 or more, one row for each "
            f"block and one column for each id, {shape}, not {rows.dtype} {rows.shape}"
        )
    rows = rows.astype(np.int64)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    notes = tuple(getattr(tokenizer, "notes", ()))
    tokens = token_table(tokenizer)
    return Usage(name, tokenizer, Encoder(tokenizer), tokens, rows, None, None, None, notes)


def split_for(tokenizer: Any, table: PretokenTable) -> PretokenTable:
    """`table` as the distinct pretokens of this tokenizer's own rule."""
    rule = tokenizer.pretokenizer
    return table if table.unit == rule.name else table.split(rule)


def token_table(tokenizer: Any) -> Tokens:
    """The bytes of every id of a tokenizer; none for an id that no token has."""
    unused: frozenset[int] = getattr(tokenizer, "unused_ids", frozenset())
    pieces = tuple(
        b"" if token in unused else tokenizer.token_bytes(token)
        for token in range(tokenizer.vocab_size)
    )
    return Tokens(pieces, *join(pieces))


def join(pieces: Sequence[bytes]) -> tuple[NDArray[np.uint8], Ints]:
    """All pieces in one array, and where each begins, and the end: (pieces + 1,)."""
    lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    # A copy: kernels are compiled for writeable arrays.
    data = np.frombuffer(b"".join(pieces), dtype=np.uint8).copy()
    return data, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def _unheeded(tokenizer: Any) -> tuple[str, ...]:
    added = sorted(tokenizer.added_ids)
    if not added:
        return ()
    shown = [tokenizer.token_bytes(token).decode("utf-8", "replace") for token in added[:3]]
    names = ", ".join(map(repr, shown))
    more = f" and {len(added) - 3} more" if len(added) > 3 else ""
    return (
        f"added tokens are counted as plain text, not matched before it is split: {names}{more}",
    )
