"""Learn merges from counted pretokens (Gage 1994; Sennrich et al. 2016).

At each step the most frequent pair of neighbouring tokens becomes one token. Ties go to the pair
whose left, then right, token is older; single bytes are as old as their place in the byte alphabet.
The merges are those of the BpeTrainer of `tokenizers`, to the last one, with counts of 64 bits.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ConfigError, InputError
from tokkit.tokenizer.alphabet import byte_characters
from tokkit.tokenizer.learning_state import first_state, load_state, save_state, with_room

NO_LIMIT = 2**62
_MOST_TOKENS = 2**31 - 1
CHECKPOINT_SECONDS = 60.0
MERGES_A_CALL = 512
"""How many merges are made between two looks at the clock and at Ctrl-C: a few milliseconds."""


@dataclass(frozen=True, slots=True)
class LearningOptions:
    """How merges are learned; the same names and meanings as the BpeTrainer of `tokenizers`.

    `vocab_size` counts the alphabet and the merges. A pair must stand `min_frequency` times, and
    save at least the share `min_gain` of the text's bytes. Tokens stay shorter than
    `max_token_length` bytes (but for pairs of single bytes). The alphabet is `initial_alphabet` and
    the bytes that occur; `limit_alphabet` keeps only so many of them, those of `initial_alphabet`
    first, then the most frequent, ties in the order of the byte alphabet; other bytes are left out
    of the pretokens. `alphabet_ids` is how many ids the alphabet takes up in the vocabulary, where
    that is more than the bytes that were kept. A merge whose bytes `veto` matches anywhere is not
    made.
    """

    vocab_size: int
    min_frequency: int = 2
    min_gain: float = 0.0
    max_token_length: int | None = None
    initial_alphabet: bytes = bytes(range(256))
    limit_alphabet: int | None = None
    alphabet_ids: int | None = None
    veto: re.Pattern[bytes] | None = None

    def __post_init__(self) -> None:
        if self.vocab_size > _MOST_TOKENS:
            raise ConfigError(
                f"a vocabulary holds {_MOST_TOKENS:,} tokens at most, got {self.vocab_size:,}; ask "
                f"for fewer"
            )
        if self.min_frequency < 1:
            raise ConfigError(f"min_frequency must be at least 1, got {self.min_frequency}")
        if not 0 <= self.min_gain < 1:
            raise ConfigError(
                f"min_gain is a share of the text's bytes, from 0 to below 1, got {self.min_gain}"
            )
        if self.max_token_length is not None and self.max_token_length < 1:
            raise ConfigError(f"max_token_length must be 1 or more, got {self.max_token_length}")
        if self.limit_alphabet is not None and self.limit_alphabet < 1:
            raise ConfigError(f"limit_alphabet must be 1 or more, got {self.limit_alphabet}")


@dataclass(frozen=True)
class LearnedMerges:
    """What was learned: every merge that was made, in order, and what it did.

    `steps` (steps, 3) int32 holds the left token, the right token and the result, numbered within
    `tokens`: the alphabet first, then one token a step, unless its bytes were there already.
    `counts` (steps,) int64 is how often the pair stood in the text; `tokens_left` (steps,) int64 is
    how many tokens the text has after the step, of `symbols` before the first. `ran_out` tells that
    learning ended for want of pairs, not because the vocabulary was full.
    """

    tokens: tuple[bytes, ...]
    alphabet_size: int
    alphabet_ids: int
    steps: NDArray[np.int32]
    counts: NDArray[np.int64]
    tokens_left: NDArray[np.int64]
    symbols: int
    ran_out: bool

    @cached_property
    def merges(self) -> tuple[tuple[bytes, bytes], ...]:
        """The merges in order of rank, each as the bytes of its two parts."""
        return self._ranked(len(self.steps))

    def merges_at(self, vocab_size: int) -> tuple[tuple[bytes, bytes], ...]:
        """The merges that training to a smaller vocabulary would have given.

        `vocab_size` counts the alphabet and the merges, as in the options. A pair that was merged
        in several steps has the rank of its last one.
        """
        if vocab_size < self.alphabet_ids:
            raise ConfigError(
                f"a vocabulary size of {vocab_size} is below the alphabet's {self.alphabet_ids}; "
                f"ask for more"
            )
        # A step belongs to the smaller training as long as the vocabulary was not full before it.
        tokens = (
            np.maximum.accumulate(self.steps[:, 2]) + 1 + self.alphabet_ids - self.alphabet_size
        )
        before = np.concatenate(([self.alphabet_ids], tokens))[:-1]
        return self._ranked(int(np.searchsorted(before, vocab_size, side="left")))

    @cached_property
    def _pairs(self) -> tuple[tuple[bytes, bytes], ...]:
        """The parts of every step; a training has many sizes, so they are spelled once."""
        tokens = self.tokens
        return tuple((tokens[left], tokens[right]) for left, right in self.steps[:, :2].tolist())

    @cached_property
    def _merges_twice(self) -> bool:
        return len(set(self._pairs)) < len(self._pairs)

    def _ranked(self, steps: int) -> tuple[tuple[bytes, bytes], ...]:
        pairs = self._pairs[:steps]
        if not self._merges_twice:
            return pairs
        # The last making of a pair counts: dictionaries keep first places, hence backwards.
        return tuple(dict.fromkeys(reversed(pairs)))[::-1]


def learn(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
    options: LearningOptions,
    *,
    extend: Sequence[tuple[bytes, bytes]] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LearnedMerges:
    """Learn merges from pretokens, each with how often it stands in the text.

    Pretoken i is data[offsets[i]:offsets[i + 1]]; counts (n,) int64, those of 0 are passed over.
    The merges of `extend` are made first, wherever they apply, and count among those learned. The
    state is kept in the file `checkpoint`, now and then and when learning is interrupted; where
    that file is there already, learning goes on from it, to the same merges.
    `progress` is called with (tokens so far, tokens wanted) every few milliseconds.

    Raises ConfigError for a `vocab_size` below the alphabet or merges of `extend` with unknown
    parts, InputError for more text than fits into 2^31 places or counts that add up to 2^62.
    """
    learner = _Learner(data, offsets, counts, options, extend)
    if checkpoint is None:
        return learner.run(progress)
    return learner.run_with_checkpoint(checkpoint, progress)


class _Learner:
    """The state of one training: its arrays, which grow as needed."""

    def __init__(
        self,
        data: NDArray[np.uint8],
        offsets: NDArray[np.int64],
        counts: NDArray[np.int64],
        options: LearningOptions,
        extend: Sequence[tuple[bytes, bytes]],
    ) -> None:
        from tokkit.tokenizer import learning_kernels as kernels

        self.options = options
        data, offsets, counts = _counted_only(data, offsets, counts)
        _require_countable(offsets, counts)
        self._inputs = (data, offsets, counts, options, tuple(extend))
        self.alphabet = _alphabet(data, offsets, counts, options)
        self.alphabet_ids = max(len(self.alphabet), options.alphabet_ids or 0)
        if options.vocab_size < self.alphabet_ids:
            raise ConfigError(
                f"a vocabulary of {options.vocab_size} cannot hold the {self.alphabet_ids} bytes "
                f"of the alphabet; ask for more"
            )
        self.state = first_state(
            data, offsets, counts, self.alphabet, options.vocab_size, len(extend)
        )
        self.state.counters[kernels.N_VOCAB] = self.alphabet_ids
        self.symbols = self._counter("TOKENS_LEFT")
        self._replay(extend)

    def _counter(self, name: str) -> int:
        from tokkit.tokenizer import learning_kernels as kernels

        return int(self.state.counters[getattr(kernels, name)])

    @property
    def _length_limit(self) -> int:
        limit = self.options.max_token_length
        return NO_LIMIT if limit is None else min(limit, NO_LIMIT)

    def _replay(self, merges: Sequence[tuple[bytes, bytes]]) -> None:
        """Make the given merges first."""
        from tokkit.tokenizer import learning_kernels as kernels

        number_of = {bytes([byte]): number for number, byte in enumerate(self.alphabet)}
        pairs = np.empty((len(merges), 2), dtype=np.int32)
        for rank, (left, right) in enumerate(merges):
            if left not in number_of or right not in number_of:
                raise ConfigError(
                    f"a merge to start from joins bytes of the alphabet or results of earlier "
                    f"merges, got {(left, right)!r} as merge {rank}"
                )
            pairs[rank] = number_of[left], number_of[right]
            number_of.setdefault(left + right, len(number_of))
        if len(number_of) - len(self.alphabet) + self.alphabet_ids > self.options.vocab_size:
            raise ConfigError(
                f"the vocabulary to start from has {len(number_of)} tokens with its bytes, more "
                f"than the {self.options.vocab_size} to reach; ask for more"
            )
        done = 0
        while done < len(merges):
            done, outcome = kernels.replay_merges(self.state, pairs, done, self._length_limit)
            self.state = with_room(self.state, outcome)

    def run_with_checkpoint(
        self, path: str | os.PathLike[str], progress: Callable[[int, int], None] | None
    ) -> LearnedMerges:
        """As `run`, from the state in `path` where there is one; it is removed in the end."""
        fingerprint = _fingerprint(*self._inputs)
        self.state = load_state(self.state, fingerprint, path) or self.state
        saved_at = time.monotonic()

        def watch(tokens: int, wanted: int) -> None:
            nonlocal saved_at
            if progress:
                progress(tokens, wanted)
            if time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                save_state(self.state, fingerprint, path)
                saved_at = time.monotonic()

        try:
            learned = self.run(watch)
        except KeyboardInterrupt:
            save_state(self.state, fingerprint, path)
            raise
        Path(path).unlink(missing_ok=True)
        return learned

    def run(self, progress: Callable[[int, int], None] | None) -> LearnedMerges:
        """Learn until the vocabulary is full or no pair is left."""
        from tokkit.tokenizer import learning_kernels as kernels

        options = self.options
        least = max(options.min_frequency, int(np.ceil(options.min_gain * self.symbols)))
        least = min(least, NO_LIMIT)
        decision = kernels.UNDECIDED
        while True:
            outcome = kernels.learn_merges(
                self.state,
                options.vocab_size,
                least,
                self._length_limit,
                MERGES_A_CALL,
                options.veto is not None,
                decision,
            )
            decision = kernels.UNDECIDED
            if progress and outcome in (kernels.PAUSED, kernels.CANDIDATE, kernels.DONE):
                progress(self._counter("N_VOCAB"), options.vocab_size)
            if outcome == kernels.DONE:
                return self._learned()
            if outcome == kernels.CANDIDATE:
                decision = kernels.REFUSED if self._is_vetoed() else kernels.ACCEPTED
            else:
                self.state = with_room(self.state, outcome)

    def _is_vetoed(self) -> bool:
        state, veto = self.state, self.options.veto
        pair = int(state.entry_pairs[state.heap_entries[0]])
        spelled = b"".join(
            state.token_data[start : start + length].tobytes()
            for start, length in (
                (int(state.token_starts[part]), int(state.token_lengths[part]))
                for part in (pair >> 32, pair & 0xFFFFFFFF)
            )
        )
        return veto is not None and veto.search(spelled) is not None

    def _learned(self) -> LearnedMerges:
        state = self.state
        n_tokens, n_merges = self._counter("N_TOKENS"), self._counter("N_MERGES")
        spelled = state.token_data.tobytes()
        ends = state.token_starts[:n_tokens] + state.token_lengths[:n_tokens]
        return LearnedMerges(
            tokens=tuple(
                spelled[start:end]
                for start, end in zip(
                    state.token_starts[:n_tokens].tolist(), ends.tolist(), strict=True
                )
            ),
            alphabet_size=len(self.alphabet),
            alphabet_ids=self.alphabet_ids,
            steps=state.merges[:n_merges].copy(),
            counts=state.trace[:n_merges, 0].copy(),
            tokens_left=state.trace[:n_merges, 1].copy(),
            symbols=self.symbols,
            ran_out=self._counter("N_VOCAB") < self.options.vocab_size,
        )


def _fingerprint(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
    options: LearningOptions,
    extend: Sequence[tuple[bytes, bytes]],
) -> str:
    veto = options.veto.pattern if options.veto else None
    digest = hashlib.sha256(repr((replace(options, veto=None), veto, extend)).encode())
    for array in (data, offsets, counts):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _counted_only(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """The pretokens that stand in the text at all."""
    counted = counts > 0
    if counted.all():
        return data, offsets, np.ascontiguousarray(counts, dtype=np.int64)
    lengths = np.diff(offsets)
    kept = data[np.repeat(counted, lengths)]
    return kept, np.concatenate(([0], np.cumsum(lengths[counted]))), counts[counted]


def _require_countable(offsets: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    # No pair can stand more often than there are symbols, so nothing overflows below this.
    symbols = float(counts.astype(np.float64) @ np.diff(offsets))
    if symbols >= NO_LIMIT:
        raise InputError(
            f"the text may have 2^62 bytes at most, but its counts add up to {symbols:.2g}; weigh "
            f"the groups by smaller numbers"
        )


def _alphabet(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
    options: LearningOptions,
) -> list[int]:
    """The bytes that are symbols, in the order of the byte alphabet."""
    order = sorted(range(256), key=lambda byte: byte_characters()[byte])
    initial = set(options.initial_alphabet)
    limit = options.limit_alphabet
    if len(initial) == 256 and (limit is None or limit >= 256):
        return order
    occurrences = np.bincount(
        data, weights=np.repeat(counts, np.diff(offsets)), minlength=256
    ).astype(np.int64)
    frequency = {
        byte: NO_LIMIT if byte in initial else int(occurrences[byte])
        for byte in order
        if byte in initial or occurrences[byte]
    }
    kept = sorted(frequency, key=lambda byte: -frequency[byte])[:limit]
    return [byte for byte in order if byte in set(kept)]
