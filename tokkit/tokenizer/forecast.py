"""What training on a text will take, from how the number of distinct pretokens grows on a sample.

The growth is counted on a sample of the text and carried on by Heaps' law, n = k V^b distinct
among V pretokens (Heaps 1978, section 7.5).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokkit.corpus.shards import Shard
from tokkit.tokenizer.presets import Pretokenizer
from tokkit.tokenizer.splitting import pretoken_ends

SAMPLE_BYTES = 1 << 26
_MAX_SAMPLE_DISTINCT = 1 << 22
_STEP_PRETOKENS = 1 << 16
_SHOWN_BYTES = 60

# Fitted to trainings on two cores of an AMD EPYC, 2026-11: 1, 25 and 100 MB of source text and
# 40 MB of base64. A symbol is a byte of a distinct pretoken.
_COUNTING_PER_SPLITTING = 3.0
_LEARNING_SECONDS_PER_SYMBOL = 4.5e-7
_LEARNING_SECONDS_PER_MERGE = 1.2e-5
_FIXED_MEMORY_BYTES = 240 << 20
_MEMORY_BYTES_PER_SYMBOL = 75


@dataclass(frozen=True, slots=True)
class LongestPretoken:
    """The longest pretoken: its bytes, and how it starts."""

    bytes: int
    starts_with: str


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """What training will take. `distinct_pretokens` is counted where the sample was everything.

    `heaps_k` and `heaps_exponent` are the fit to the growth on the sample, null for less than two
    steps of it. Time and memory are estimates, good to a factor of two; `basis` says from what.
    """

    pretokenizer: str
    vocab_size: int
    pretokens: int
    sampled_bytes: int
    sampled_pretokens: int
    sampled_distinct_pretokens: int
    distinct_pretokens: int
    is_counted: bool
    heaps_k: float | None
    heaps_exponent: float | None
    wall_seconds: float
    memory_bytes: int
    basis: str


class Forecaster:
    """Splits shards; keeps the longest pretoken, and how the distinct ones grow on a sample.

    The sample is every n-th shard, so that `expected_bytes` give some SAMPLE_BYTES of it; where
    the size is not known, the beginning.
    """

    def __init__(self, rule: Pretokenizer, expected_bytes: int = 0) -> None:
        self.longest = LongestPretoken(0, "")
        self.seconds = self._splitting_seconds = 0.0
        self._rule = rule
        self._pretokens = 0
        self._bytes = 0
        self._sampled_bytes = 0
        self._symbols = 0
        self._is_sampling = True
        self._shards = 0
        self._stride = max(1, -(-expected_bytes // SAMPLE_BYTES))
        self._growth = [(0, 0)]
        self._slots = np.zeros(1 << 16, dtype=np.uint64)
        # Kernels are loaded here, so that it is not taken for the time of splitting.
        pretoken_ends(np.zeros(1, np.uint8), np.array([0, 1]), rule)

    def add(self, shard: Shard) -> None:
        """Take in the next shard."""
        started = time.perf_counter()
        ends = pretoken_ends(shard.data, shard.starts, self._rule)
        self._splitting_seconds += time.perf_counter() - started
        self._look_at(shard, ends)
        self.seconds += time.perf_counter() - started

    def _look_at(self, shard: Shard, ends: NDArray[np.int32]) -> None:
        self._is_sampling = self._is_sampling and self._sampled_bytes < SAMPLE_BYTES
        if self._is_sampling and self._shards % self._stride == 0:
            self._sample(shard.data, ends)
        self._shards += 1
        self._pretokens += len(ends)
        self._bytes += len(shard.data)
        if len(ends):
            lengths = np.diff(ends, prepend=np.int32(0))
            last = int(lengths.argmax())
            self._keep_longest(shard.data, int(ends[last] - lengths[last]), int(ends[last]))

    def _keep_longest(self, data: NDArray[np.uint8], begin: int, end: int) -> None:
        if end - begin > self.longest.bytes:
            shown = data[begin : min(end, begin + _SHOWN_BYTES)].tobytes().decode("utf-8", "ignore")
            self.longest = LongestPretoken(end - begin, shown)

    def _sample(self, data: NDArray[np.uint8], ends: NDArray[np.int32]) -> None:
        from tokkit.tokenizer import preflight_kernels as kernels

        for first in range(0, len(ends), _STEP_PRETOKENS):
            last = min(first + _STEP_PRETOKENS, len(ends))
            pretokens, distinct = self._growth[-1]
            if distinct > _MAX_SAMPLE_DISTINCT:
                self._is_sampling = False
                break
            self._make_room(distinct + last - first)
            added, symbols = kernels.add_distinct(data, ends, first, last, self._slots)
            self._growth.append((pretokens + last - first, distinct + added))
            self._symbols += symbols
            self._sampled_bytes += int(ends[last - 1]) - (int(ends[first - 1]) if first else 0)

    def _make_room(self, most: int) -> None:
        if 2 * most <= len(self._slots):
            return
        from tokkit.tokenizer import preflight_kernels as kernels

        wider = np.zeros(2 * len(self._slots), dtype=np.uint64)
        while len(wider) < 2 * most:
            wider = np.zeros(2 * len(wider), dtype=np.uint64)
        kernels.move_all(self._slots, wider)
        self._slots = wider

    def estimate(self, vocab_size: int, reading_seconds: float) -> TrainingEstimate:
        """What training on everything that was added will take."""
        sampled, distinct_sampled = self._growth[-1]
        is_counted = sampled == self._pretokens
        k, exponent = heaps_law(self._growth[1:])
        distinct = distinct_sampled
        if not is_counted:
            growth = 1.0 if exponent is None else exponent
            distinct = round(distinct_sampled * (self._pretokens / sampled) ** growth)
        symbols = distinct * self._symbols / max(distinct_sampled, 1)
        counting = reading_seconds + _COUNTING_PER_SPLITTING * self._splitting_seconds
        learning = _LEARNING_SECONDS_PER_SYMBOL * symbols + _LEARNING_SECONDS_PER_MERGE * (
            vocab_size - 256
        )
        memory = _FIXED_MEMORY_BYTES + _MEMORY_BYTES_PER_SYMBOL * symbols
        return TrainingEstimate(
            pretokenizer=self._rule.name,
            vocab_size=vocab_size,
            pretokens=self._pretokens,
            sampled_bytes=self._sampled_bytes,
            sampled_pretokens=sampled,
            sampled_distinct_pretokens=distinct_sampled,
            distinct_pretokens=distinct,
            is_counted=is_counted,
            heaps_k=k,
            heaps_exponent=exponent,
            wall_seconds=round(counting + learning, 1),
            memory_bytes=round(memory),
            basis=self._basis(is_counted, exponent),
        )

    def _basis(self, is_counted: bool, exponent: float | None) -> str:
        spread = "at the beginning" if self._stride == 1 else "from all over the text"
        how = "on the whole text"
        if not is_counted:
            law = "in proportion" if exponent is None else f"with Heaps' exponent {exponent:.3f}"
            how = f"on {self._sampled_bytes:,} bytes {spread} and carried on {law}"
        return (
            f"distinct pretokens counted {how}; time from this machine's reading and splitting of "
            f"the text, one thread"
        )


def heaps_law(growth: Sequence[tuple[int, int]]) -> tuple[float | None, float | None]:
    """(k, b) of n = k V^b by least squares on the logarithms, from the (V, n) of a growth.

    Only the last seven eighths of V count, where the frequent pretokens are known already. (None,
    None) for fewer than two points there.

    >>> k, b = heaps_law([(250, 750), (500, 1500), (1000, 3000)])
    >>> round(k, 6), round(b, 6)
    (3.0, 1.0)
    """
    points = np.array([(v, n) for v, n in growth if n and 8 * v >= growth[-1][0]], dtype=float)
    if len(points) < 2:
        return None, None
    exponent, intercept = np.polyfit(np.log(points[:, 0]), np.log(points[:, 1]), 1)
    return float(np.exp(intercept)), float(exponent)
