"""Texts cut into windows of one length, so that every position is averaged over the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import InputError
from tokkit.stats import MIN_BLOCKS

SHORTEST = 8  # tokens of a window
MOST_CHARACTERS = 1 << 20  # of one text that are read
MOST_HELD = 1 << 20  # tokens of texts that are looked at for windows
_BATCH = 32  # texts encoded at once
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Windows:
    """Rows of text, none padded.

    ids        (N, T) tokens, without `start_ids`, which stand before each row
    sizes      (N, T) bytes of each token
    documents  (N,) number of the text that a row was cut from
    left_out   what was not looked at, and how many of it
    """

    ids: Ids
    sizes: Ids
    documents: Ids
    start_ids: tuple[int, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Tokens of a row."""
        return int(self.ids.shape[1])

    def with_start(self) -> Ids:
        """The rows as the model reads them, `start_ids` first: (N, S + T)."""
        start = np.tile(np.array(self.start_ids, dtype=np.int64), (len(self.ids), 1))
        return np.concatenate((start, self.ids), axis=1)


def cut_windows(
    tokenizer: Any,
    texts: Iterable[str],
    *,
    length: int,
    rows: int,
    generator: np.random.Generator,
    start_ids: Sequence[int] = (),
) -> Windows:
    """At most `rows` windows of `length` tokens, one a text before any text gives a second.

    A window begins at a random place of its text: what stands late in a window is no other kind
    of text than what stands early. Where too few texts are long enough for stats.MIN_BLOCKS
    windows, the length is halved until they are, or as far as SHORTEST. Raises InputError where no
    text has SHORTEST tokens.
    """
    encoded, left_out = _read(tokenizer, texts, length, rows)
    length = _fitting(encoded, length, rows)
    if length == 0:
        raise InputError(
            f"the texts give no window of {SHORTEST} tokens, the longest has "
            f"{max(map(len, encoded), default=0)}: give longer texts"
        )
    short = sum(len(ids) < length for ids in encoded)
    if short:
        left_out["texts shorter than a window"] = short
    long = [number for number, ids in enumerate(encoded) if len(ids) >= length]
    wanted = _shared(np.array([len(encoded[n]) // length for n in long]), rows)
    cut, owners = [], []
    for number, count in zip(long, wanted, strict=True):
        ids = encoded[number]
        first = int(generator.integers(0, len(ids) - count * length + 1))
        cut += [ids[first + part * length :][:length] for part in range(count)]
        owners += [number] * int(count)
    table = np.array(cut, dtype=np.int64)
    distinct, places = np.unique(table, return_inverse=True)
    sizes = np.array([len(tokenizer.token_bytes(int(token))) for token in distinct])
    return Windows(
        ids=table,
        sizes=sizes[places].reshape(table.shape).astype(np.int64),
        documents=np.array(owners, dtype=np.int64),
        start_ids=tuple(start_ids),
        left_out=left_out,
    )


def _read(
    tokenizer: Any, texts: Iterable[str], length: int, rows: int
) -> tuple[list[list[int]], dict[str, int]]:
    """Encode texts until enough are long enough, or MOST_HELD tokens are held."""
    encoded: list[list[int]] = []
    held, enough, cut = 0, 0, 0
    for batch in _batches(texts):
        cut += sum(len(text) > MOST_CHARACTERS for text in batch)
        for ids in tokenizer.encode_batch([text[:MOST_CHARACTERS] for text in batch]):
            encoded.append(ids)
            held += len(ids)
            enough += len(ids) >= length
        if enough >= rows or held >= MOST_HELD:
            break
    reason = f"texts of which the first {MOST_CHARACTERS:,} characters were read"
    return encoded, {reason: cut} if cut else {}


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _fitting(encoded: Sequence[Sequence[int]], length: int, rows: int) -> int:
    """The longest window of which there are enough, else of which there is one; 0 for none."""
    lengths = [length]
    half = 1 << (max(1, length - 1).bit_length() - 1)
    while half >= SHORTEST:
        lengths.append(half)
        half //= 2
    counts = [sum(len(ids) // size for ids in encoded) for size in lengths]
    for needed in (min(rows, MIN_BLOCKS), 1):
        for size, count in zip(lengths, counts, strict=True):
            if count >= needed:
                return size
    return 0


def _shared(available: Ids, rows: int) -> Ids:
    """How many windows each text gives: `rows` in all, dealt one a text, round after round."""
    given = np.zeros_like(available)
    while rows > 0 and (open_ := np.flatnonzero(given < available)).size:
        given[open_[:rows]] += 1
        rows -= min(rows, open_.size)
    return given
