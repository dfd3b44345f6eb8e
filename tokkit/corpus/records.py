"""Records with fields: JSONL, and the rules that it shares with Parquet."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from tokkit.corpus.faults import FaultPolicy
from tokkit.corpus.inputs import Source
from tokkit.errors import InputError

MAX_LINE_BYTES = 1 << 28
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class RecordFields:
    """The names of the fields that hold the text and, if any, the group of a record."""

    text: str = "text"
    group: str | None = None


def read_jsonl(
    file: IO[bytes], source: Source, fields: RecordFields, policy: FaultPolicy
) -> Iterator[tuple[bytes, int, str]]:
    """Yield (UTF-8 text, line number, group) of each object; blank lines are passed over.

    Raises InputError with file and line for a line that is no object with the fields.
    """
    name = source.name
    offset = 0
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES:
            raise InputError(
                f"{name}, line {number}: a JSONL line may hold at most {MAX_LINE_BYTES} bytes; "
                f"split the document"
            )
        content = _decoded(line, offset, number, source, policy)
        offset += len(line)
        # A mark before the first object belongs to the file, not to any text in it.
        content = content.removeprefix("\ufeff") if number == 1 else content
        if content.isspace() or not content:
            continue
        try:
            record = _parsed(content, name, number, fields.text)
            text = policy.clean_text(text_of(record, fields.text, name, number), name, number)
            group = ""
            if fields.group is not None:
                group = group_of(record, fields.group, name, number)
                group = policy.clean_text(group, name, number).decode("utf-8")
            yield text, number, group
        except InputError as error:
            policy.refuse(error)


def _decoded(line: bytes, offset: int, number: int, source: Source, policy: FaultPolicy) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return policy.clean(
            line,
            final=True,
            name=source.name,
            offset=offset,
            line=number,
            unpacked=bool(source.packing),
        )[0].decode("utf-8")


def _parsed(content: str, name: str, number: int, text_field: str) -> dict[str, Any]:
    try:
        record, end = _DECODER.raw_decode(content)
        if end < len(content) and not content[end:].isspace():
            record = json.loads(content)
    except (ValueError, RecursionError):
        record = _parsed_with_spaces(content, f"{name}, line {number}")
    if not isinstance(record, dict):
        raise InputError(
            f"{name}, line {number}: a JSONL line must be an object with the field "
            f"{text_field!r}, got {_type_name(record)}; repair the line"
        )
    return record


def _parsed_with_spaces(content: str, place: str) -> Any:
    """The slower way, for a line that begins with spaces or is wrong."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{place}: a JSONL line must be one JSON object ({error}); repair it"
        ) from error


def text_of(record: dict[str, Any], field: str, name: str, number: int) -> str:
    """The string in `field` of a record; InputError for another type or no such field."""
    if field not in record:
        raise InputError(missing_field(record, field, f"{name}, line {number}", "--text-field"))
    text = record[field]
    if not isinstance(text, str):
        raise InputError(
            f"{name}, line {number}: field {field!r} must be a string, got {_type_name(text)}; "
            f"repair the line or name another field with --text-field"
        )
    return text


def group_of(record: dict[str, Any], field: str, name: str, number: int, unit: str = "line") -> str:
    """The group in `field` of a record.

    A string stands for itself, a whole number or boolean for what JSON writes for it, null for the
    group without a name, "". InputError for another type or no such field.
    """
    if field not in record:
        place = f"{name}, {unit} {number}"
        raise InputError(missing_field(record, field, place, "--group-field"))
    group = record[field]
    if isinstance(group, str):
        return group
    if group is None:
        return ""
    if isinstance(group, int):
        return json.dumps(group)
    raise InputError(
        f"{name}, {unit} {number}: field {field!r}, which names the group, must be a string, a "
        f"whole number, a boolean or null, got {_type_name(group)}; name another field with "
        f"--group-field"
    )


def missing_field(names: Iterable[str], field: str, place: str, option: str) -> str:
    """Say that a record has no such field, and what it has."""
    near = difflib.get_close_matches(field, names, n=1)
    hint = near[0] if near else (", ".join(map(repr, list(names)[:5])) or "no field")
    return f"{place}: no field {field!r} (the line has {hint}); name the field with {option}"


def _type_name(value: object) -> str:
    names = {list: "an array", dict: "an object", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
