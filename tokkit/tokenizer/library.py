"""Tokenizers that are no byte-level BPE, used through the library that defines them.

They answer the same calls as `Tokenizer`, but promise less: text may be changed before it is cut,
may be unknown, and may not come back. `notes` says which.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Protocol

import tokenizers

from tokkit.errors import ArtifactError, InputError
from tokkit.files import atomic_file
from tokkit.tokenizer.artifact import Kind, Piece, require_unicode
from tokkit.tokenizer.notes import notes_of
from tokkit.tokenizer.presets import Pretokenizer
from tokkit.tokenizer.recognition import recognise
from tokkit.tokenizer.records import backend_of, build, checked, one_line, panics_as_errors, parse
from tokkit.tokenizer.spellings import bytes_of_tokens


class Engine(Protocol):
    """What a library gives: the tables of its vocabulary, and the way there and back."""

    tokens: tuple[bytes | None, ...]
    """The bytes of each id, None for an id that no token has."""
    special_ids: frozenset[int]
    added_ids: frozenset[int]
    unk_id: int | None
    notes: tuple[str, ...]
    pretokenizer: Pretokenizer | None

    def encode_batch(self, texts: Sequence[str], *, allow_special: bool) -> list[list[int]]:
        """The ids of each text."""
        ...

    def decode_bytes(self, ids: list[int]) -> bytes:
        """The bytes that the library gives for known ids."""
        ...

    def content(self) -> bytes:
        """The file that holds all of it."""
        ...


class LibraryTokenizer:
    """A tokenizer of any kind, with the calls of `Tokenizer` and `notes` on what it changes.

    Token bytes are as well known as the kind of vocabulary allows: marks of words and word parts
    (`##`, `▁`) are read, byte tokens are bytes. Joined, they are not always the text; decoding is
    the library's own.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._bytes = engine.tokens
        self.special_ids = engine.special_ids
        """Ids of special tokens, that of the unknown token included where it is marked so."""
        self.added_ids = engine.added_ids
        """Ids of added tokens that are not special."""
        self.unused_ids: frozenset[int] = frozenset(
            token for token, data in enumerate(engine.tokens) if data is None
        )
        """Ids below `vocab_size` that no token has."""
        self.unk_id = engine.unk_id
        """Id that stands for text without a token of its own; None where there is none."""
        self.notes = engine.notes
        """What it changes in a text, each as a sentence without a full stop."""
        self.pretokenizer = engine.pretokenizer
        """The preset that cuts text as this tokenizer does; None where there is none."""

    @classmethod
    def from_json(cls, text: str) -> LibraryTokenizer:
        """Read the content of any tokenizer.json; ArtifactError when it is not one."""
        try:
            return cls(HuggingFaceEngine(backend_of(checked(parse(text)))))
        except ArtifactError as error:
            raise ArtifactError(f"this is not a tokenizer.json: {error}") from error

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the saved file, as 64 hexadecimal digits."""
        return hashlib.sha256(self._engine.content()).hexdigest()

    @property
    def vocab_size(self) -> int:
        """Number of ids: special, added and unused ones included."""
        return len(self._bytes)

    @property
    def is_tokenizer_json(self) -> bool:
        """Whether `content()` is a tokenizer.json."""
        return isinstance(self._engine, HuggingFaceEngine)

    def content(self) -> bytes:
        """The whole tokenizer in its own format: a tokenizer.json or a SentencePiece model."""
        return self._engine.content()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `content()` to `path`, atomically; OutputError when it cannot be written."""
        with atomic_file(path) as temporary:
            temporary.write_bytes(self._engine.content())

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """The ids of `text`; text that spells a special token is plain, unless `allow_special`."""
        return self.encode_batch([text], allow_special=allow_special)[0]

    def encode_batch(self, texts: Sequence[str], *, allow_special: bool = False) -> list[list[int]]:
        """The ids of each text.

        Raises InputError for text with half a surrogate pair, and for text that has no ids because
        the vocabulary lacks both its characters and an unknown token.
        """
        require_unicode(texts)
        try:
            with panics_as_errors():
                return self._engine.encode_batch(texts, allow_special=allow_special)
        except Exception as error:
            raise InputError(
                f"this tokenizer has no ids for the text: {one_line(error)}"
            ) from error

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, with U+FFFD for bytes that are none."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that the library decodes `ids` to; InputError for an id without a token."""
        known = [operator.index(token) for token in ids]
        for token in known:
            self.token_bytes(token)
        try:
            with panics_as_errors():
                return self._engine.decode_bytes(known)
        except Exception as error:
            raise InputError(f"the library cannot decode these ids: {one_line(error)}") from error

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token, as well as they can be known; InputError where there is none."""
        index = operator.index(token)
        if not 0 <= index < len(self._bytes):
            raise InputError(
                f"unknown token id {index}: ids of this tokenizer run from 0 to "
                f"{len(self._bytes) - 1}"
            )
        data = self._bytes[index]
        if data is None:
            raise InputError(f"id {index} is unused in this tokenizer: no token has it, nor bytes")
        return data

    def token_id(self, token: bytes | str) -> int | None:
        """The lowest id of an ordinary token with these bytes, else of any token, else None."""
        return self._ids.get(token.encode("utf-8") if isinstance(token, str) else token)

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        fixed = self.special_ids | self.added_ids
        by_rank = sorted(range(self.vocab_size), key=lambda token: (token in fixed, token))
        known = ((self._bytes[token], token) for token in reversed(by_rank))
        return {data: token for data, token in known if data is not None}

    def kind(self, token: int) -> Kind:
        """Whether a token is ordinary ("token"), "added", "special", or no token ("unused")."""
        if token in self.special_ids:
            return "special"
        if token in self.unused_ids:
            return "unused"
        return "added" if token in self.added_ids else "token"

    def pieces(self, text: str, *, allow_special: bool = False) -> tuple[Piece, ...]:
        """The tokens of `text` in order, each with its bytes and kind."""
        return tuple(
            Piece(token, data, data.decode("utf-8", errors="backslashreplace"), self.kind(token))
            for token in self.encode(text, allow_special=allow_special)
            for data in [self.token_bytes(token)]
        )


class HuggingFaceEngine:
    """Any tokenizer.json, through `tokenizers`; padding and truncation are switched off."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        backend.no_truncation()
        backend.no_padding()
        # A random choice of merges would make every later number a number of chance.
        has_dropout = bool(getattr(backend.model, "dropout", None))
        if has_dropout:
            backend.model.dropout = None
        self._backend = backend
        with panics_as_errors():
            record: dict[str, Any] = json.loads(backend.to_str())
        self._record = record
        # It serves special tokens around a text, never asked for here, and can drop or repeat text.
        backend.post_processor = None
        added = record["added_tokens"]
        self.special_ids = frozenset(token["id"] for token in added if token["special"])
        self.added_ids = frozenset(token["id"] for token in added) - self.special_ids
        self.unk_id = _unknown_id(record["model"])
        self.tokens, exact = bytes_of_tokens(record)
        self._joins = exact
        self.pretokenizer = None if record["normalizer"] else _recognised(record)
        self._plain, self._renumbered, blind = _without_specials(record, self.special_ids)
        self.notes = (
            *notes_of(record),
            *(("drops merges at random, which is switched off here",) if has_dropout else ()),
            *(() if blind else ("plain text that spells a special token may become that token",)),
        )

    def encode_batch(self, texts: Sequence[str], *, allow_special: bool) -> list[list[int]]:
        """The ids of each text, worked out in parallel."""
        backend = self._backend if allow_special else self._plain
        batch = backend.encode_batch_fast(texts, add_special_tokens=False)
        found = [encoding.ids for encoding in batch]
        if allow_special or not self._renumbered:
            return found
        return [[self._renumbered.get(token, token) for token in ids] for ids in found]

    def decode_bytes(self, ids: list[int]) -> bytes:
        """Exact bytes where tokens spell bytes, else the library's text."""
        if self._joins:
            return b"".join([self.tokens[token] or b"" for token in ids])
        text: str = self._backend.decode(ids, skip_special_tokens=False)
        return text.encode("utf-8")

    def content(self) -> bytes:
        """The text of the tokenizer.json."""
        text = json.dumps(self._record, ensure_ascii=False, indent=2)
        return f"{text}\n".encode()


def _recognised(record: dict[str, Any]) -> Pretokenizer | None:
    return recognise(record["pre_tokenizer"])


def _unknown_id(model: dict[str, Any]) -> int | None:
    if model["type"] == "Unigram":
        unknown = model["unk_id"]
    else:
        unknown = model["vocab"].get(model.get("unk_token"))
    return None if unknown is None else int(unknown)


def _without_specials(
    record: dict[str, Any], special_ids: frozenset[int]
) -> tuple[tokenizers.Tokenizer, dict[int, int], bool]:
    """The same tokenizer, blind to special tokens, and how its ids must be renumbered.

    The unknown token stays in the vocabulary. The last value is false where the library refuses a
    vocabulary without the special tokens; text can then still become one of them.
    """
    kept = [token for token in record["added_tokens"] if token["id"] not in special_ids]
    blind = {**record, "added_tokens": kept, "post_processor": None}
    hidden = {token["content"] for token in record["added_tokens"] if token["special"]}
    try:
        backend, is_blind = build({**blind, "model": _renamed(record["model"], hidden)}), True
    except ArtifactError:
        backend, is_blind = build(blind), not hidden
    pairs = ((backend.token_to_id(token["content"]), token["id"]) for token in kept)
    renumbered = {found: wanted for found, wanted in pairs if found is not None and found != wanted}
    return backend, renumbered, is_blind


def _renamed(model: dict[str, Any], hidden: set[str]) -> dict[str, Any]:
    """The model with other spellings, which no text has, for hidden tokens of its vocabulary."""
    if model["type"] == "Unigram":
        # Scores stay: the lowest one sets what an unknown character costs.
        pieces = [
            [f"\0{index}\0" if piece in hidden and index != model["unk_id"] else piece, score]
            for index, (piece, score) in enumerate(model["vocab"])
        ]
        return {**model, "vocab": pieces}
    unknown = model.get("unk_token")
    vocab = {
        f"\0{token}\0" if spelling in hidden and spelling != unknown else spelling: token
        for spelling, token in model["vocab"].items()
    }
    return {**model, "vocab": vocab}
