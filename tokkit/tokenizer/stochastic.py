"""Encodings at random, for training on many segmentations of a text: BPE-dropout, StochasTok.

Both give the same ids for the same seed, whatever the number of threads and however the text was
cut into pieces: random words depend on the seed, the document's number, and the place in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ConfigError
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.encoding import Bytes, Encoder, Ids, Places

_WINDOW_TOKENS = 1 << 16
_MAX_PROPORTION = 100.0


@dataclass(frozen=True, slots=True)
class DropoutEncoding:
    """What BPE-dropout gave.

    ids         (tokens,) int32
    id_offsets  (pieces + 1,) int64: where each piece's ids begin, and the end
    considered  how many possible merges were drawn for; `left_out`: how many of them were left out
    """

    ids: Ids
    id_offsets: Places
    considered: int
    left_out: int


def encode_with_dropout(
    encoder: Encoder,
    data: Bytes,
    starts: Places,
    *,
    dropout: float,
    seed: int,
    documents: Places | None = None,
    positions: Places | None = None,
) -> DropoutEncoding:
    """Encode pieces of text with BPE-dropout (Provilkov et al. 2020, algorithm 1).

    At each step each possible merge is left out with probability `dropout`, anew; the best that
    stays is done, and merging ends where none stays. 0 gives the ids without dropout, 1 single
    bytes. Whole pretokens are never taken as they are, as in `tokenizers`, unless `dropout` is 0.
    The cost of a pretoken grows with 1 / (1 - dropout).

    Piece i is data[starts[i]:starts[i + 1]]. It lies in document documents[i] int64 (left out:
    each piece is a document, counted from 0), from its byte positions[i] int64 on (left out: 0).

    Raises ConfigError for `dropout` outside 0 to 1, and where `encoder` cannot split.
    """
    check_dropout(dropout, encoder)
    if dropout == 0:
        return DropoutEncoding(*encoder.encode_pieces(data, starts), 0, 0)
    from tokkit.tokenizer.stochastic_kernels import encode_segments_with_dropout

    pieces = len(starts) - 1
    documents = np.arange(pieces, dtype=np.int64) if documents is None else documents
    positions = np.zeros(pieces, dtype=np.int64) if positions is None else positions
    cut = encoder.segments(data, starts)
    out = np.empty(len(data) + 2, dtype=np.int32)
    id_offsets = np.zeros(len(cut.bounds), dtype=np.int64)
    tally = np.zeros(2, dtype=np.int64)
    n = encode_segments_with_dropout(
        *(data, cut.ends, cut.bounds, cut.fixed, documents[cut.source]),
        positions[cut.source] + cut.bounds[:-1] - starts[cut.source],
        *(encoder.model, float(dropout), int(seed), tally, out, id_offsets),
    )
    return DropoutEncoding(
        out[:n].copy(), cut.of_pieces(id_offsets, pieces), int(tally[0]), int(tally[1])
    )


def check_dropout(dropout: float, encoder: Encoder) -> None:
    """Raise ConfigError where BPE-dropout cannot be done."""
    if not 0 <= dropout <= 1:
        raise ConfigError(f"dropout is a probability from 0 to 1, got {dropout}; change it")
    if dropout > 0 and not encoder.can_split:
        raise ConfigError(
            "dropout needs a byte-level BPE whose pretokens can be told by patterns, got a "
            "tokenizer that only the library can use; leave dropout out, or use another tokenizer"
        )


class StochasTok:
    """Splits tokens at random (Sims et al. 2025): documents in, expanded documents out.

    floor(`proportion` * n) times, for a document of n tokens, a position of the sequence as it is
    then is drawn, and the token there is replaced by two ordinary tokens whose bytes join to it,
    drawn from all such pairs; a token without one stays. A longer document than 65,536 tokens is
    expanded in windows of as many, so that it may be larger than memory.

    Documents may be given in parts, to `add`; `attempted` and `made` count the splits. Raises
    ConfigError for a `proportion` outside 0 to 100, and for a tokenizer that is no byte-level BPE.
    """

    def __init__(self, tokenizer: Tokenizer | Any, proportion: float, seed: int) -> None:
        if not 0 <= proportion <= _MAX_PROPORTION:
            raise ConfigError(
                f"stochastok is a proportion of the tokens from 0 to {_MAX_PROPORTION:g}, "
                f"got {proportion}; change it"
            )
        if not isinstance(tokenizer, Tokenizer):
            raise ConfigError(
                "stochastok needs a byte-level BPE, whose tokens' bytes join to the text; "
                "got another kind of tokenizer"
            )
        self.splits = splits_of(tokenizer)
        self.attempted = 0
        self.made = 0
        self._proportion = proportion
        self._seed = seed
        self._document = -1
        self._window = 0
        self._pending: Ids = np.empty(0, dtype=np.int32)

    def add(self, ids: Ids, starts: Places, *, final: bool = False) -> tuple[Ids, Places]:
        """Take in further ids; return those that are done, and where documents begin in them.

        Documents begin at ids[starts]; what stands before the first goes on with the last one. Ids
        are held back until their window is full or their document ends, the last ones until
        `final`.
        """
        from tokkit.tokenizer.stochastic_kernels import split_tokens

        held = np.concatenate([self._pending, ids])
        bounds = np.concatenate([[0], starts + len(self._pending), [len(held)]])
        lengths = np.diff(bounds)
        counts = -(-lengths // _WINDOW_TOKENS)
        if not final:
            counts[-1] = lengths[-1] // _WINDOW_TOKENS
        numbers = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        begins = np.repeat(bounds[:-1], counts) + numbers * _WINDOW_TOKENS
        done = int(bounds[-2] + min(counts[-1] * _WINDOW_TOKENS, lengths[-1]))
        windows = np.append(begins, done).astype(np.int64)
        # Only the first stretch goes on with a document, some windows of which may be done.
        numbers[: counts[0]] += self._window
        steps = self._steps(numbers * _WINDOW_TOKENS, np.diff(windows))
        out = np.empty(done + int(steps.sum()), dtype=np.int32)
        new_bounds = np.zeros(len(windows), dtype=np.int64)
        documents = self._document + np.repeat(np.arange(len(counts)), counts)
        filled, made = split_tokens(
            *(held[:done].copy(), windows, steps, documents, numbers, self._seed),
            *(*self.splits.arrays, out, new_bounds),
        )
        self.attempted += int(steps.sum())
        self.made += int(made)
        self._window = int(counts[-1]) + (self._window if len(starts) == 0 else 0)
        self._document += len(starts)
        self._pending = held[done:]
        return out[:filled], new_bounds[np.cumsum(counts)[:-1]]

    def _steps(self, first: Places, lengths: Places) -> Places:
        """How many splits to try in windows that begin at these tokens of their documents."""
        whole = np.floor(self._proportion * (first + lengths)) - np.floor(self._proportion * first)
        steps: Places = whole.astype(np.int64)
        return steps


def expand(tokenizer: Tokenizer, ids: Ids, proportion: float, seed: int) -> Ids:
    """The ids of one document, int32, expanded; see `StochasTok`."""
    return StochasTok(tokenizer, proportion, seed).add(ids, np.zeros(1, np.int64), final=True)[0]


@dataclass(frozen=True, slots=True)
class Splits:
    """All ways to split a token into two: left[s], right[s] for s in starts[id] to starts[id + 1].

    starts  (vocab_size + 1,) int64; left, right (splits,) int32
    """

    starts: Places
    left: NDArray[np.int32]
    right: NDArray[np.int32]

    @property
    def arrays(self) -> tuple[Places, NDArray[np.int32], NDArray[np.int32]]:
        """The three, as kernels take them."""
        return self.starts, self.left, self.right


def splits_of(tokenizer: Tokenizer | Any) -> Splits:
    """The splits of each ordinary token into two ordinary tokens; added tokens have none."""
    ordinary = [token for token in range(tokenizer.vocab_size) if tokenizer.kind(token) == "token"]
    ids = {tokenizer.token_bytes(token): token for token in reversed(ordinary)}
    starts = np.zeros(tokenizer.vocab_size + 1, dtype=np.int64)
    left, right = [], []
    for token in ordinary:
        data = tokenizer.token_bytes(token)
        for place in range(1, len(data)):
            first, second = ids.get(data[:place]), ids.get(data[place:])
            if first is not None and second is not None:
                left.append(first)
                right.append(second)
                starts[token + 1] += 1
    return Splits(
        np.cumsum(starts), np.array(left, dtype=np.int32), np.array(right, dtype=np.int32)
    )
