"""Ids in, one at a time; text out, as soon as nothing that follows can change it.

A character's bytes can lie in several tokens; a decoder of byte tokens decides about a whole run of
them at its end; a stop string can begin in one token and end in another. What is not yet certain is
held back, so that the pieces joined are the text of all ids, and no broken character is ever shown
that the whole text does not have.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Protocol

from tokkit.errors import InputError
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.opaque import OpaqueIds

_BROKEN = "\ufffd"

Codec = Tokenizer | LibraryTokenizer | OpaqueIds


class _Decoder(Protocol):
    def feed(self, token: int) -> str: ...
    def finish(self) -> str: ...


class TextStream:
    """The text of ids that come one at a time, up to the first stop string.

    The first stop string is the one whose end comes first; of several with that end, the longest.
    The text ends before it. An id that no token has shows as U+FFFD.

    `stopped` is the stop string that was met, None until then; further ids then add nothing.

    >>> from tokkit.tokenizer.streaming import StopFinder
    >>> finder = StopFinder(["END"])
    >>> [finder.feed(piece) for piece in ("the E", "NE", "ND", "!")], finder.stopped
    (['the ', 'EN', '', ''], 'END')
    """

    def __init__(self, codec: Codec, *, stop: Sequence[str] = ()) -> None:
        """Read with `codec`; InputError where a stop string is empty."""
        self._decoder = _decoder_of(codec)
        self._finder = StopFinder(stop)

    @property
    def stopped(self) -> str | None:
        """The stop string that ended the text."""
        return self._finder.stopped

    def feed(self, token: int) -> str:
        """The text that is certain now and was not before; often "" ."""
        return self._finder.feed(self._decoder.feed(token))

    def finish(self) -> str:
        """What was held back: no more ids come."""
        text = self._finder.feed(self._decoder.finish())
        return text + self._finder.finish()


class StopFinder:
    """Text in, in any pieces; the same text out up to the first stop string, as early as can be."""

    def __init__(self, stop: Sequence[str]) -> None:
        if any(not text for text in stop):
            raise InputError("a stop string must have at least one character, got an empty one")
        self._stop = tuple(stop)
        self._longest = max(map(len, stop), default=0)
        self._held = ""
        self.stopped: str | None = None

    def feed(self, text: str) -> str:
        """What is certain now; nothing once a stop string was met."""
        if self.stopped is not None or not self._stop:
            return "" if self._stop else text
        text = self._held + text
        ends = [(start + len(s), start, s) for s in self._stop if (start := text.find(s)) >= 0]
        if ends:
            _, start, self.stopped = min(ends)
            self._held = ""
            return text[:start]
        certain = len(text) - self._beginning(text)
        self._held = text[certain:]
        return text[:certain]

    def finish(self) -> str:
        """The beginning of a stop string that was held back and never went on."""
        held, self._held = self._held, ""
        return held

    def _beginning(self, text: str) -> int:
        """How many characters at the end of `text` could be the beginning of a stop string."""
        for size in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-size:]
            if any(s.startswith(tail) for s in self._stop):
                return size
        return 0


def _decoder_of(codec: Codec) -> _Decoder:
    if isinstance(codec, Tokenizer):
        return _ByteDecoder(codec)
    if isinstance(codec, OpaqueIds):
        return _OpaqueDecoder(codec)
    return _LibraryDecoder(codec)


class _ByteDecoder:
    """Tokens that are bytes: their joined bytes are UTF-8, decoded as they come."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        return self._utf8.decode(_bytes_of(self._tokenizer, token))

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


def _bytes_of(tokenizer: Tokenizer, token: int) -> bytes:
    try:
        return tokenizer.token_bytes(token)
    except InputError:
        return _BROKEN.encode()


class _OpaqueDecoder:
    """Opaque ids: the sub-ids of one token are held back until the token is whole."""

    def __init__(self, codec: OpaqueIds) -> None:
        self._codec = codec
        self._decoder = _ByteDecoder(codec.tokenizer)
        self._held: list[int] = []

    def feed(self, token: int) -> str:
        if not self._codec.tokenizer.vocab_size <= token < self._codec.size:
            return self._flush() + self._decoder.feed(token)
        self._held.append(token)
        try:
            (whole,) = self._codec.collapse(self._held)
        except InputError:
            return ""
        self._held = []
        return self._decoder.feed(whole)

    def finish(self) -> str:
        return self._flush() + self._decoder.finish()

    def _flush(self) -> str:
        """The text of sub-ids that never became whole, in which U+FFFD stands for each."""
        if not self._held:
            return ""
        held, self._held = self._held, []
        return self._decoder.finish() + self._codec.decode(held, strict=False)


class _LibraryDecoder:
    """Any tokenizer, through its own decoding, which looks no further back than one word.

    `_held` are the ids whose text is not certain yet; `_before` are the last ones whose text is,
    for the spaces that depend on whether a token is the first. Held back are byte tokens at the
    end (the library decides about a run of them at its end: where they are no characters, all of
    them are U+FFFD), and text that ends in U+FFFD (more bytes can make a character of it).
    """

    def __init__(self, tokenizer: LibraryTokenizer) -> None:
        self._tokenizer = tokenizer
        self._before: list[int] = []
        self._held: list[int] = []
        self._is_byte: dict[int, bool] = {}
        self._no_character = tokenizer.token_id(b"\xff")

    def feed(self, token: int) -> str:
        try:
            self._tokenizer.token_bytes(token)
        except InputError:
            text = self.finish() + _BROKEN
            self._before = []
            return text
        self._held.append(token)
        if self._joins_bytes(token):
            return ""
        text = self._text()
        return "" if text.endswith(_BROKEN) else self._settle(text)

    def finish(self) -> str:
        return self._settle(self._text()) if self._held else ""

    def _settle(self, text: str) -> str:
        # Spaces at the beginning of a text are dropped, so a space alone is no beginning.
        alone = self._tokenizer.decode(self._held[-1:]).strip(" ")
        self._before = self._held[-1:] if alone else self._before + self._held
        self._held = []
        return text

    def _text(self) -> str:
        """The text that the held ids add to what stands before them."""
        before = self._tokenizer.decode(self._before)
        return self._tokenizer.decode(self._before + self._held)[len(before) :]

    def _joins_bytes(self, token: int) -> bool:
        """Whether a token is one byte, whose text depends on the bytes after it."""
        if self._no_character is None or len(self._tokenizer.token_bytes(token)) != 1:
            return False
        if token not in self._is_byte:
            together = self._tokenizer.decode([token, self._no_character])
            self._is_byte[token] = together == 2 * _BROKEN
        return self._is_byte[token]
