"""A tokenizer as the rest of tokkit sees it: text to ids, ids to bytes, each token's bytes.

tokenizer.json, in the Hugging Face format, is the only source of truth; everything here is derived
from it. Only byte-level byte-pair encodings are taken, in which every text has ids and every
sequence of ids has exact bytes.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tokenizers
from numpy.typing import NDArray

from tokkit.errors import ArtifactError, InputError
from tokkit.files import read_json, write_text
from tokkit.tokenizer.alphabet import byte_characters, unspell
from tokkit.tokenizer.presets import Pretokenizer
from tokkit.tokenizer.recognition import keeps_all_text, recognise
from tokkit.tokenizer.records import backend_of, build, checked, components, panics_as_errors, parse

TOKENIZER_FILE = "tokenizer.json"
# The largest tokenizers in use have files of some 35 MB.
_MAX_FILE_BYTES = 1 << 27
_LOSSLESS_SPLITS = frozenset(["ByteLevel", "Split", "Digits"])

Kind = Literal["token", "added", "special", "unused"]


@dataclass(frozen=True, slots=True)
class Piece:
    r"""One token of a text: its id, bytes and text, with \xNN for bytes that are no text."""

    id: int
    bytes: bytes
    text: str
    kind: Kind


class Tokenizer:
    """A byte-level BPE tokenizer. Ids run from 0 to `vocab_size` - 1, added tokens included.

    A file from outside may leave ids without a token: their kind is "unused", and they have no
    bytes. Those that tokkit trains have none.

    Wraps a `tokenizers.Tokenizer`, whose padding and truncation are switched off. Safe to share
    between threads: nothing changes after construction. Raises ArtifactError when the wrapped
    tokenizer would lose or change text (a normalizer, a prefix space, splits that remove) or is no
    byte-level BPE.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._record: dict[str, Any] = json.loads(backend.to_str())
        fault = _fault(self._record)
        if fault:
            raise ArtifactError(f"this is not a byte-level BPE tokenizer that keeps text: {fault}")
        self._added = {token["id"]: token["content"] for token in self._record["added_tokens"]}
        self.special_ids: frozenset[int] = frozenset(
            token["id"] for token in self._record["added_tokens"] if token["special"]
        )
        """Ids of special tokens: never produced by `encode` unless it is asked to."""
        self.added_ids: frozenset[int] = frozenset(self._added) - self.special_ids
        """Ids of added tokens that are not special: matched in any text before it is cut."""
        self._bytes = _token_bytes(self._record, self._added)
        self.unused_ids: frozenset[int] = frozenset(
            token for token, data in enumerate(self._bytes) if data is None
        )
        """Ids below `vocab_size` that no token has."""
        self._plain = _without_specials(self._record, self.special_ids)
        # It serves special tokens around a text, never asked for here, and can drop or repeat text.
        # Last: a tokenizer that was refused above goes on whole, to those who can use it.
        backend.post_processor = None

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """Read the content of a tokenizer.json; ArtifactError when it is not one."""
        try:
            backend = backend_of(checked(parse(text)))
        except ArtifactError as error:
            raise ArtifactError(f"this is not a tokenizer.json: {error}") from error
        return cls(backend)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Load a tokenizer.json, or the one in a folder.

        Raises ArtifactError when it is missing, cut short, larger than 128 MiB, or not the file of
        a byte-level BPE tokenizer that keeps text.
        """
        source = Path(path)
        if source.is_dir():
            source = source / TOKENIZER_FILE
        if source.exists() and not source.is_file():
            raise ArtifactError(
                f"tokenizer {source} is not a regular file: give a {TOKENIZER_FILE}"
            )
        if source.is_file() and source.stat().st_size > _MAX_FILE_BYTES:
            raise ArtifactError(
                f"tokenizer {source} has {source.stat().st_size:,} bytes, and no more than "
                f"{_MAX_FILE_BYTES:,} are read: this cannot be a {TOKENIZER_FILE}"
            )
        record = read_json(source, what="tokenizer")
        try:
            return cls.from_json(json.dumps(record))
        except ArtifactError as error:
            raise ArtifactError(
                f"cannot use tokenizer {source}: {error}; give a {TOKENIZER_FILE} of such a "
                f"tokenizer, or train one with: tokkit tokenizer train"
            ) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json()` to `path`, atomically; OutputError when it cannot be written."""
        write_text(path, self.to_json())

    def to_json(self) -> str:
        """The whole tokenizer as the canonical text of a tokenizer.json."""
        return json.dumps(self._record, ensure_ascii=False, indent=2) + "\n"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the saved file, as 64 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode("utf-8")).hexdigest()

    @property
    def vocab_size(self) -> int:
        """Number of ids: special, added and unused ones included."""
        return len(self._bytes)

    @cached_property
    def pretokenizer(self) -> Pretokenizer | None:
        """The preset that cuts text as this tokenizer does, or a rule of its own named "custom".

        None where its cuts are not splits by patterns that isolate what they match.
        """
        return recognise(self._record["pre_tokenizer"])

    @cached_property
    def byte_ids(self) -> NDArray[np.int32]:
        """The id of each single byte, int32 of shape (256,), indexed by byte."""
        vocab = self._record["model"]["vocab"]
        return np.array([vocab[character] for character in byte_characters()], dtype=np.int32)

    @cached_property
    def merge_table(self) -> NDArray[np.int32]:
        """The merges in order of rank, int32 of shape (merges, 3): left, right, resulting id."""
        vocab = self._record["model"]["vocab"]
        rows = [
            (vocab[left], vocab[right], vocab[left + right])
            for left, right in self._record["model"]["merges"]
        ]
        return np.array(rows, dtype=np.int32).reshape(-1, 3)

    @property
    def ignores_merges(self) -> bool:
        """Whether a whole pretoken that is a token is taken as it is, before any merge."""
        return bool(self._record["model"]["ignore_merges"])

    @property
    def added(self) -> tuple[tuple[int, bytes, bool], ...]:
        """Added tokens in order of id: id, bytes, and whether it is special."""
        return tuple(
            (token["id"], token["content"].encode("utf-8"), token["special"])
            for token in sorted(self._record["added_tokens"], key=operator.itemgetter("id"))
        )

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """The ids of `text`.

        Text that spells a special token is plain text, unless `allow_special`; added tokens that
        are not special are matched in either case. Raises InputError for text with half a surrogate
        pair, which has no bytes.
        """
        return self.encode_batch([text], allow_special=allow_special)[0]

    def encode_batch(self, texts: Sequence[str], *, allow_special: bool = False) -> list[list[int]]:
        """The ids of each text, worked out in parallel; see `encode`."""
        backend = self._backend if allow_special else self._plain
        try:
            with panics_as_errors():
                encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
        except (UnicodeEncodeError, TypeError):
            require_unicode(texts)
            raise
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`: their bytes joined, then read as UTF-8, U+FFFD for what is none."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The exact bytes of `ids`; InputError for an id outside the vocabulary."""
        return b"".join([self.token_bytes(token) for token in ids])

    def token_bytes(self, token: int) -> bytes:
        """The raw bytes of one token, for added and special ones the UTF-8 of their text."""
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
        """The id of the token with these bytes (text as UTF-8), or None; ordinary tokens first."""
        return self._ids.get(token.encode("utf-8") if isinstance(token, str) else token)

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        by_rank = sorted(range(self.vocab_size), key=lambda token: (token in self._added, token))
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


def require_unicode(texts: Sequence[str]) -> None:
    """InputError that names the first half of a surrogate pair in `texts`, if there is one."""
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"text must be valid Unicode, but character {error.start} is half of a surrogate "
                f"pair (U+{ord(text[error.start]):04X}); repair the text"
            ) from error


def _token_bytes(record: dict[str, Any], added: dict[int, str]) -> tuple[bytes | None, ...]:
    """The bytes of each id; None for an id that no token has."""
    spellings = {token: spelling for spelling, token in record["model"]["vocab"].items()}
    data: list[bytes | None] = [None] * (max(spellings.keys() | added.keys()) + 1)
    try:
        for token, spelling in spellings.items():
            if token not in added:
                data[token] = unspell(spelling)
    except KeyError as error:
        raise ArtifactError(f"a token holds {error}, which is not of the byte alphabet") from error
    for token, content in added.items():
        data[token] = content.encode("utf-8")
    return tuple(data)


def _without_specials(record: dict[str, Any], special_ids: frozenset[int]) -> tokenizers.Tokenizer:
    """The same tokenizer, blind to special tokens, so that their text is encoded like any other.

    `encode_special_tokens` of the library would do nearly the same, but it also hides added tokens
    that stand inside such text, and it is a switch on an object that threads share.
    """
    added = record["added_tokens"]
    vocab = {**record["model"]["vocab"], **{token["content"]: token["id"] for token in added}}
    for token in added:
        if token["id"] in special_ids:
            # Keeps the id taken under a key that no text has: the byte alphabet has no space, and
            # no added token spells it.
            del vocab[token["content"]]
            key = f" {token['id']}"
            while key in vocab:
                key = f" {key}"
            vocab[key] = token["id"]
    blind = {
        **record,
        "post_processor": None,
        "added_tokens": [token for token in added if token["id"] not in special_ids],
        "model": {**record["model"], "vocab": vocab},
    }
    try:
        return build(blind)
    except ArtifactError as error:
        raise ArtifactError(f"plain text could turn into a special token: {error}") from error


def _fault(record: dict[str, Any]) -> str | None:
    """What stands against taking this tokenizer, or None."""
    model = record["model"]
    parts = list(components(record["pre_tokenizer"]))
    names = {part["type"] for part in parts}
    if model["type"] != "BPE":
        return f"its model is {model['type']}, not BPE"
    if "ByteLevel" not in names:
        return "it has no byte-level pre-tokenizer"
    if record["normalizer"] is not None:
        return f"its normalizer {record['normalizer']['type']} changes text"
    if names - _LOSSLESS_SPLITS or not all(map(keeps_all_text, parts)):
        return "a pre-tokenizer of its own removes text"
    if [part["type"] for part in parts].count("ByteLevel") > 1:
        return "it spells bytes as bytes once more"
    if any(part.get("add_prefix_space") for part in parts):
        return "it puts a space before the text"
    if model["dropout"] or model["byte_fallback"]:
        return "it encodes at random, or falls back to byte tokens"
    if model["continuing_subword_prefix"] or model["end_of_word_suffix"]:
        return "its tokens carry marks of word parts"
    if any(
        token["lstrip"] or token["rstrip"]
        for token in record["added_tokens"]
        if not token["special"]
    ):
        return "an added token swallows the space beside it"
    return _byte_fault(model["vocab"])


def _byte_fault(vocab: dict[str, int]) -> str | None:
    missing = [byte for byte, character in enumerate(byte_characters()) if character not in vocab]
    return f"byte 0x{missing[0]:02x} has no token" if missing else None
