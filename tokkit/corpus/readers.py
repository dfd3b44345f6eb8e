"""Read documents from plain text and JSONL files, gzipped or not, byte for byte as they stand.

Nothing is stripped, collapsed or normalised: line ends, trailing spaces and a byte-order mark are
part of a text. Memory stays bounded by the size of a part, or of one JSONL line.
"""

from __future__ import annotations

import codecs
import contextlib
import difflib
import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

from tokkit.corpus.document import Document, encode_utf8
from tokkit.errors import InputError

_BLOCK_BYTES = 1 << 18
_MAX_LINE_BYTES = 1 << 28
_JSONL_SUFFIXES = (".jsonl", ".ndjson")
_GZIP_SUFFIX = ".gz"


def read_documents(
    paths: Iterable[str | os.PathLike[str]],
    *,
    text_field: str = "text",
    part_characters: int | None = None,
) -> Iterator[Document]:
    """Yield the documents of each file in turn.

    A .jsonl or .ndjson file holds one document a line, as an object with the string field
    `text_field`; blank lines are passed over. Any other file is one document. With
    `part_characters` a plain file comes in parts of at least that many characters, cut after a line
    end (or inside a line that is sixteen times longer), so that it may be larger than memory. A
    name that ends in .gz is unpacked on the way.

    Raises InputError for a file that is missing, empty, a folder, not UTF-8 (with the offset in
    bytes), cut short, or not JSONL of this form (with the line number).
    """
    for path in map(Path, paths):
        yield from _read_file(path, text_field, part_characters)


def _read_file(path: Path, text_field: str, part_characters: int | None) -> Iterator[Document]:
    name = path.name.lower().removesuffix(_GZIP_SUFFIX)
    with _open(path) as file:
        if name.endswith(_JSONL_SUFFIXES):
            documents = _read_jsonl(file, path, text_field)
        else:
            documents = _read_plain(file, path, part_characters)
        empty = True
        for document in documents:
            empty = False
            yield document
    if empty:
        raise InputError(f"{path} is empty: give a file that holds text")


@contextlib.contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for reading bytes, unpacked; what goes wrong on the way becomes InputError."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: name the files in it, for example {path}/*.txt")
    packed = path.name.lower().endswith(_GZIP_SUFFIX)
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            yield cast("IO[bytes]", file)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist{_near_match(path)}") from None
    except EOFError as error:
        raise InputError(
            f"{path} is cut short: its gzip stream has no end; copy it again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file ({error}); copy it again") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read {path}: {reason}; check the file and its rights") from error


def _near_match(path: Path) -> str:
    """The name in the same folder that is nearest to a missing one, as the end of a message."""
    try:
        names = sorted(entry.name for entry in os.scandir(path.parent) if not entry.is_dir())
    except OSError:
        return f": there is no folder {path.parent}"
    near = difflib.get_close_matches(path.name, names, n=1)
    return f": did you mean {path.parent / near[0]}?" if near else ": check the path"


def _read_plain(file: IO[bytes], path: Path, part_characters: int | None) -> Iterator[Document]:
    parts = _decoded_blocks(file, path)
    if part_characters is not None:
        parts = _line_parts(parts, part_characters)
        for index, part in enumerate(parts):
            yield Document(part, str(path), continued=index > 0)
        return
    text = "".join(parts)
    if text:
        yield Document(text, str(path))


def _decoded_blocks(file: IO[bytes], path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    while True:
        block = file.read(_BLOCK_BYTES)
        held_back = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise _not_utf8(path, offset - held_back + error.start, error) from error
        if text:
            yield text
        if not block:
            return
        offset += len(block)


def _line_parts(blocks: Iterator[str], part_characters: int) -> Iterator[str]:
    held = ""
    for block in blocks:
        held += block
        while len(held) >= part_characters:
            cut = held.find("\n", part_characters - 1) + 1
            if cut == 0 and len(held) < 16 * part_characters:
                break
            cut = cut or 16 * part_characters
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def _read_jsonl(file: IO[bytes], path: Path, text_field: str) -> Iterator[Document]:
    offset = 0
    number = 0
    while line := file.readline(_MAX_LINE_BYTES):
        number += 1
        if len(line) == _MAX_LINE_BYTES:
            raise InputError(
                f"{path}, line {number}: a JSONL line may hold at most {_MAX_LINE_BYTES} bytes; "
                f"split the document"
            )
        try:
            content = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(path, offset + error.start, error) from error
        offset += len(line)
        # A mark before the first object belongs to the file, not to any text in it.
        content = content.removeprefix("\ufeff") if number == 1 else content
        if content.strip():
            yield _parse_line(content, path, number, text_field)


def _parse_line(content: str, path: Path, number: int, text_field: str) -> Document:
    place = f"{path}:{number}"
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}, line {number}: a JSONL line must be one JSON object ({error}); repair it"
        ) from error
    if not isinstance(record, dict):
        raise InputError(
            f"{path}, line {number}: a JSONL line must be an object with the field "
            f"{text_field!r}, got {_json_type(record)}; repair the line"
        )
    if text_field not in record:
        near = difflib.get_close_matches(text_field, record, n=1)
        hint = near[0] if near else (", ".join(map(repr, list(record)[:5])) or "no field")
        raise InputError(
            f"{path}, line {number}: no field {text_field!r} (the line has {hint}); "
            f"name the field with --text-field"
        )
    text = record[text_field]
    if not isinstance(text, str):
        raise InputError(
            f"{path}, line {number}: field {text_field!r} must be a string, got "
            f"{_json_type(text)}; repair the line or name another field with --text-field"
        )
    document = Document(text, place)
    encode_utf8(document)
    return document


def _json_type(value: object) -> str:
    names = {list: "an array", dict: "an object", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")


def _not_utf8(path: Path, offset: int, error: UnicodeDecodeError) -> InputError:
    unpacked = " of the unpacked text" if path.name.lower().endswith(_GZIP_SUFFIX) else ""
    value = error.object[error.start] if error.start < len(error.object) else None
    byte = f" (0x{value:02x})" if value is not None else ""
    return InputError(
        f"{path} is not UTF-8: {error.reason} at byte {offset}{byte}{unpacked}; "
        f"convert it, for example with iconv -t UTF-8"
    )
