"""Where two tokenizers cut the same text: split points inside words, compared byte by byte.

A word is a pretoken where both tokenizers pre-tokenize alike, else an atom: a stretch at whose ends
both cut whatever stands around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ConfigError

if TYPE_CHECKING:
    from tokkit.tokenizer.table import PretokenTable

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cuts:
    """The tokens of every distinct word.

    ids      (tokens,) int32, of all words in order
    offsets  (words + 1,) int64: word w has ids[offsets[w]:offsets[w + 1]]
    ends     (tokens,) int64: where each token ends in the table's data
    """

    ids: NDArray[np.int32]
    offsets: Ints
    ends: Ints

    @property
    def tokens(self) -> Ints:
        """Tokens of each word: (words,)."""
        return np.diff(self.offsets)

    def of(self, word: int) -> list[int]:
        """The ids of one word."""
        return [int(token) for token in self.ids[self.offsets[word] : self.offsets[word + 1]]]


@dataclass(frozen=True, slots=True)
class Agreement:
    """For each distinct word the split points inside it, int64 arrays (words,).

    `shared` are the points at which both cut; `same` is 1 where a word is cut identically.
    """

    first: Ints
    second: Ints
    shared: Ints
    same: Ints


def common_words(first: Any, second: Any, table: PretokenTable) -> PretokenTable:
    """The table whose words both tokenizers cut into whole tokens.

    Raises ConfigError, saying why, when the table holds no such words: then the tokens of one
    cannot be laid on the bytes of the text, or its pre-tokenizer does not follow from the table.
    """
    from tokkit.tokenizer.artifact import Tokenizer
    from tokkit.tokenizer.splitting import ATOM_FAMILY

    for tokenizer in (first, second):
        if not isinstance(tokenizer, Tokenizer):
            raise ConfigError("the tokens of one of them cannot be laid on the bytes of the text")
        if tokenizer.pretokenizer is None:
            raise ConfigError("one of them pre-tokenizes in a way that is no list of patterns")
    if first.pretokenizer == second.pretokenizer:
        return table.split(first.pretokenizer)
    names = {first.pretokenizer.name, second.pretokenizer.name}
    if table.pretokenizer is not None or not names <= ATOM_FAMILY:
        raise ConfigError(
            f"they pre-tokenize differently ({' and '.join(sorted(names))}) and a table of "
            f"{table.unit} holds no stretches at whose ends both cut"
        )
    return table


def cut_words(tokenizer: Any, words: PretokenTable) -> Cuts:
    """The tokens of each distinct word of a table, as plain text: added tokens are not matched."""
    from tokkit.tokenizer.encoding import Encoder
    from tokkit.tokenizer.splitting import pretoken_ends

    if words.pretokenizer == tokenizer.pretokenizer:
        starts = words.offsets
    else:
        ends = pretoken_ends(words.data, words.offsets, tokenizer.pretokenizer)
        starts = np.concatenate([np.zeros(1, np.int64), ends.astype(np.int64)])
    ids, id_offsets = Encoder(tokenizer).encode_units(words.data, starts)
    # Every word ends where a pretoken does.
    offsets = id_offsets[np.searchsorted(starts, words.offsets)]
    return Cuts(ids, offsets, np.cumsum(_lengths(tokenizer)[ids]))


def _lengths(tokenizer: Any) -> Ints:
    unused = tokenizer.unused_ids
    return np.array(
        [
            0 if token in unused else len(tokenizer.token_bytes(token))
            for token in range(tokenizer.vocab_size)
        ],
        dtype=np.int64,
    )


def agreement(first: Cuts, second: Cuts, words: PretokenTable) -> Agreement:
    """Count the split points strictly inside each word, of both tokenizers and shared."""
    ours, theirs = (_inner_points(cuts, words.offsets) for cuts in (first, second))
    one, two, both = (_within(points, words.offsets) for points in (ours, theirs, ours & theirs))
    return Agreement(one, two, both, ((one == both) & (two == both)).astype(np.int64))


def _inner_points(cuts: Cuts, offsets: Ints) -> NDArray[np.bool_]:
    marks = np.zeros(int(offsets[-1]) + 1, dtype=np.bool_)
    marks[cuts.ends] = True
    marks[offsets] = False
    return marks


def _within(marks: NDArray[np.bool_], offsets: Ints) -> Ints:
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(marks, dtype=np.int64)])
    return np.asarray(before[offsets[1:]] - before[offsets[:-1]])
