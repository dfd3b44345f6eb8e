"""SentencePiece models (Kudo and Richardson 2018), through the package that defines them.

The file is a message of Protocol Buffers. What is asked of it here (pieces, their types, what the
normaliser does) is read by hand from the published numbers of its fields, in
`sentencepiece_model.proto`; encoding and decoding are the package's own.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokkit.errors import ArtifactError, ConfigError
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.presets import Pretokenizer
from tokkit.tokenizer.records import MAX_TOKENS, one_line, shown
from tokkit.tokenizer.spellings import METASPACE, byte_of

# Types of pieces, and kinds of values on the wire.
_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 2, 3, 4, 5, 6
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_MODEL_TYPES = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
_MODEL_FIELDS = frozenset(range(1, 6))


@dataclass(slots=True)
class _Model:
    """What a model file says. The defaults are those of the format."""

    pieces: list[tuple[str, int]] = field(default_factory=list)
    model_type: int = 1
    byte_fallback: bool = False
    normalization: str = ""
    has_table: bool = False
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True


class SentencePieceEngine:
    """A SentencePiece model; see `tokkit.tokenizer.library.Engine`."""

    pretokenizer: Pretokenizer | None = None

    def __init__(self, content: bytes) -> None:
        model = _read(content)
        self._content = content
        self._processor = _processor(content)
        if self._processor.get_piece_size() != len(model.pieces):
            raise ArtifactError("the package reads other pieces in it than stand in the file")
        kinds = dict(enumerate(kind for _, kind in model.pieces))
        self.tokens = tuple(_bytes(piece, kind, model) for piece, kind in model.pieces)
        self.special_ids = frozenset(t for t, k in kinds.items() if k in (_UNKNOWN, _CONTROL))
        self.added_ids = frozenset(t for t, k in kinds.items() if k == _USER_DEFINED)
        self.unk_id: int | None = next((t for t, k in kinds.items() if k == _UNKNOWN), None)
        self.notes = _notes(model)

    def encode_batch(self, texts: Sequence[str], *, allow_special: bool) -> list[list[int]]:
        """The ids of each text; SentencePiece never reads text as a control token."""
        found: list[list[int]] = self._processor.encode(list(texts), out_type=int)
        return found

    def decode_bytes(self, ids: list[int]) -> bytes:
        """The text that the package gives for these ids, in UTF-8."""
        return str(self._processor.decode(ids)).encode("utf-8")

    def content(self) -> bytes:
        """The model file as it was read."""
        return self._content


def load_sentencepiece(content: bytes) -> LibraryTokenizer:
    """The tokenizer of a model file's content.

    Raises ConfigError when the package is missing, and ArtifactError for what is no model.
    """
    return LibraryTokenizer(SentencePieceEngine(content))


def is_sentencepiece(content: bytes) -> bool:
    """Whether the first field of a file is a piece, as in every SentencePiece model."""
    try:
        number, _, value = next(_fields(content, known=_MODEL_FIELDS))
        return number == 1 and isinstance(_last_values(value).get(1), bytes)
    except (ArtifactError, StopIteration):
        return False


def _processor(content: bytes) -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise ConfigError(
            "SentencePiece models need a package of their own; install it with: "
            "pip install 'tokkit[sentencepiece]'"
        ) from None
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(content)
    except Exception as error:
        raise ArtifactError(f"this is not a SentencePiece model: {one_line(error)}") from error
    return processor


def _read(content: bytes) -> _Model:
    model = _Model()
    for number, _, value in _fields(content, known=_MODEL_FIELDS):
        if number == 1:
            model.pieces.append(_piece(value))
        elif number == 2:
            trainer = _last_values(value)
            model.model_type = _number(trainer.get(3, 1))
            model.byte_fallback = bool(_number(trainer.get(35, 0)))
        elif number == 3:
            _read_normalizer(model, _last_values(value))
    if not 0 < len(model.pieces) <= MAX_TOKENS:
        raise ArtifactError(
            f"this is not a SentencePiece model: it has {len(model.pieces):,} pieces, and 1 to "
            f"{MAX_TOKENS:,} are taken"
        )
    return model


def _read_normalizer(model: _Model, values: dict[int, Any]) -> None:
    name = values.get(1, b"")
    model.normalization = name.decode("utf-8", "replace") if isinstance(name, bytes) else ""
    model.has_table = bool(values.get(2))
    model.add_dummy_prefix = bool(_number(values.get(3, 1)))
    model.remove_extra_whitespaces = bool(_number(values.get(4, 1)))
    model.escape_whitespaces = bool(_number(values.get(5, 1)))


def _piece(message: Any) -> tuple[str, int]:
    """The text and type of a piece; its score must be a number."""
    values = _last_values(message)
    text, score, kind = values.get(1), values.get(2, b"\0" * 4), _number(values.get(3, 1))
    if not isinstance(text, bytes) or not isinstance(score, bytes) or len(score) != 4:
        raise ArtifactError("this is not a SentencePiece model: a piece has no text or no score")
    if not math.isfinite(struct.unpack("<f", score)[0]):
        raise ArtifactError(
            f"the score of each piece must be finite, and that of {shown(repr(text), 60)} is not"
        )
    try:
        return text.decode("utf-8"), kind
    except UnicodeDecodeError:
        raise ArtifactError(f"piece {shown(repr(text), 60)} is not UTF-8") from None


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise ArtifactError("this is not a SentencePiece model: a number is something else")
    return value


def _last_values(message: Any) -> dict[int, Any]:
    """The last value of each field, as the format rules where one stands twice."""
    if not isinstance(message, bytes):
        raise ArtifactError("this is not a SentencePiece model: a message is something else")
    return {number: value for number, _, value in _fields(message)}


def _fields(message: bytes, known: frozenset[int] | None = None) -> Iterator[tuple[int, int, Any]]:
    """Each field of a message: number, kind, and value (int, or bytes for all but varints)."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if number == 0 or (known is not None and number not in known and number < 200):
            raise ArtifactError(f"this is not a SentencePiece model: it has a field {number}")
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield number, kind, value
            continue
        if kind == _LENGTH:
            size, position = _varint(message, position)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ArtifactError(f"this is not a SentencePiece model: value of unknown kind {kind}")
        if size > len(message) - position:
            raise ArtifactError("this is not a whole SentencePiece model: it was cut short")
        yield number, kind, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ArtifactError("this is not a whole SentencePiece model: it was cut short")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ArtifactError("this is not a SentencePiece model: a number has more than ten bytes")


def _bytes(piece: str, kind: int, model: _Model) -> bytes | None:
    if kind == _UNUSED:
        return None
    byte = byte_of(piece) if kind == _BYTE else None
    if byte is not None:
        return byte
    text = piece.replace(METASPACE, " ") if model.escape_whitespaces else piece
    return text.encode("utf-8")


def _notes(model: _Model) -> tuple[str, ...]:
    kind = _MODEL_TYPES.get(model.model_type, "unknown")
    found = [f"is a SentencePiece {kind} model, which never reads text as a control token"]
    if model.has_table:
        name = shown(model.normalization, 40) or "no name"
        found.append(f"normalises the text by a table of its own ({name})")
        if name.endswith("_cf"):
            found.append("folds case")
    if model.add_dummy_prefix:
        found.append("puts a space before the text")
    if model.remove_extra_whitespaces:
        found.append("takes white space away at the ends and where it is doubled")
    if model.byte_fallback:
        found.append("spells characters without a token as bytes")
    else:
        found.append("makes characters without a token unknown")
    return tuple(found)
