"""Regroup a document into pieces: some texts left out, the rest cut where a rule allows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tokkit.corpus.parts import Part
from tokkit.errors import ConfigError, InputError

Cut = Callable[[NDArray[np.uint8]], int]
"""The largest p, 0 < p <= len(data), at which text may be cut so that both sides are split into the
same pretokens as the whole; 0 where there is none."""

MAX_PIECE_BYTES = (1 << 31) - 1


class PieceCutter:
    """Turns the parts of documents into pieces, as `ShardReader` describes them."""

    def __init__(self, remove: Sequence[bytes], cut: Cut | None, part_bytes: int) -> None:
        for text in remove:
            _require_text(text)
        self._remove = _any_of(remove) if remove else None
        self._longest = max(map(len, remove), default=0)
        self._cut = cut
        self._part_bytes = part_bytes
        self._document: Part | None = None
        self._unsearched = b""
        self._held: list[bytes | bytearray] = []
        self._held_bytes = 0
        self._wanted_bytes = part_bytes
        self._given = 0

    def pieces(self, parts: Iterable[Part]) -> Iterator[Part]:
        """Yield the pieces of all documents in turn; each document gives at least one."""
        for part in parts:
            if not part.continued:
                yield from self._end()
                self._document = part
            yield from self._add(part.data, final=False)
        yield from self._end()

    def _end(self) -> Iterator[Part]:
        if self._document is None:
            return
        if self._unsearched:
            yield from self._add(b"", final=True)
        if self._held or not self._given:
            yield self._piece(self._take())
        self._given = 0

    def _add(self, data: bytes | bytearray, *, final: bool) -> Iterator[Part]:
        if self._remove is None:
            yield from self._hold(data)
            return
        for stretch in self._without_removed(data, final):
            if stretch is not None:
                yield from self._hold(stretch)
            elif self._held:
                yield self._piece(self._take())

    def _without_removed(
        self, data: bytes | bytearray, final: bool
    ) -> Iterator[bytes | bytearray | None]:
        """The stretches between the texts to remove, with None for each of those."""
        text = self._unsearched + data
        # A text that starts later might not have been seen to its end, or be part of a longer one.
        certain = len(text) if final else max(0, len(text) - self._longest + 1)
        while 0 < certain < len(text) and text[certain] & 0xC0 == 0x80:
            certain -= 1
        done = 0
        assert self._remove is not None
        for match in self._remove.finditer(text):
            if match.start() >= certain:
                break
            yield text[done : match.start()]
            yield None
            done = match.end()
        rest = max(done, certain)
        yield text[done:rest]
        self._unsearched = text[rest:]

    def _hold(self, data: bytes | bytearray) -> Iterator[Part]:
        if self._cut is None or self._held_bytes + len(data) <= self._part_bytes:
            self._keep(data)
            return
        for stretch in _characters(data, self._part_bytes):
            self._keep(stretch)
            if self._held_bytes > self._wanted_bytes:
                yield from self._cut_held(self._cut)

    def _cut_held(self, cut: Cut) -> Iterator[Part]:
        text = bytearray().join(self._held)
        # A bytearray, for numba compiles anew for arrays that cannot be written to.
        place = cut(np.frombuffer(text, np.uint8))
        if place:
            yield self._piece(text[:place])
        rest = text[place:]
        self._take()
        self._keep(rest)
        # Where no cut is found, looking again each time would cost the square of the length.
        self._wanted_bytes = max(self._part_bytes, 2 * len(rest))

    def _keep(self, data: bytes | bytearray) -> None:
        if data:
            self._held.append(data)
            self._held_bytes += len(data)
        if self._held_bytes > MAX_PIECE_BYTES:
            raise InputError(
                f"{self._origin()}: text without a place to cut it may have {MAX_PIECE_BYTES} "
                f"bytes at most, got more; break it into lines or documents, or choose another "
                f"pre-tokenizer"
            )

    def _take(self) -> bytes | bytearray:
        data = self._held[0] if len(self._held) == 1 else bytearray().join(self._held)
        self._held = []
        self._held_bytes = 0
        self._wanted_bytes = self._part_bytes
        return data

    def _piece(self, data: bytes | bytearray) -> Part:
        assert self._document is not None
        self._given += 1
        return Part(data, self._document.origin, self._document.group, continued=self._given > 1)

    def _origin(self) -> str:
        return self._document.origin if self._document else "text"


def _characters(data: bytes | bytearray, size: int) -> Iterator[bytes | bytearray]:
    """Stretches of at most `size` bytes, at least 4, that end between two characters."""
    start = 0
    while start < len(data):
        end = start + size
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        yield data[start:end]
        start = end


def _any_of(texts: Sequence[bytes]) -> re.Pattern[bytes]:
    longest_first = sorted(set(texts), key=lambda text: (-len(text), text))
    return re.compile(b"|".join(map(re.escape, longest_first)))


def _require_text(text: bytes) -> None:
    try:
        is_text = bool(text.decode("utf-8"))
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        raise ConfigError(
            f"a text to remove must be UTF-8 and not empty, got {text!r}; leave it out"
        )
