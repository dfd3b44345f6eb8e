"""The documents of any sources as valid UTF-8, in parts that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

from tokkit.corpus.faults import FaultPolicy
from tokkit.corpus.inputs import JSONL, PARQUET, Source
from tokkit.corpus.opening import open_source
from tokkit.corpus.records import RecordFields, read_jsonl
from tokkit.errors import InputError

BLOCK_BYTES = 1 << 18


class Part(NamedTuple):
    """A document, or a stretch of one that is cut between two characters: valid UTF-8.

    A tuple, for there are many and a frozen dataclass takes three times as long to make.
    """

    data: bytes | bytearray
    origin: str
    group: str
    continued: bool


def read_parts(
    sources: Sequence[Source], fields: RecordFields, policy: FaultPolicy, *, by_folder: bool = False
) -> Iterator[Part]:
    """Yield the parts of the documents of each source in turn; every document has at least one.

    A record of JSONL or Parquet is one part. A plain file is one document, in parts of at most
    BLOCK_BYTES (three more after a replacement). The group is that of `fields`, or the folder.

    Raises InputError for a source that is missing, empty, damaged, not UTF-8 under a strict policy,
    or not of the form that its name tells.
    """
    for source in sources:
        group = source.folder if by_folder else ""
        empty = True
        try:
            for part in _parts_of(source, fields, policy, group):
                empty = False
                yield part
            if empty:
                raise InputError(f"{source.name} is empty: give a file that holds text")
        except InputError as error:
            policy.refuse(error)


def _parts_of(
    source: Source, fields: RecordFields, policy: FaultPolicy, group: str
) -> Iterator[Part]:
    if source.form == PARQUET:
        from tokkit.corpus.parquet import read_parquet

        records = read_parquet(source, fields, policy)
    elif source.form == JSONL:
        records = _jsonl_records(source, fields, policy)
    else:
        if fields.group is not None:
            raise InputError(
                f"{source.name} is plain text, which has no field {fields.group!r} to group by; "
                f"give JSONL or Parquet, or group by folder"
            )
        with open_source(source) as file:
            yield from _plain_parts(file, source, policy, group)
        return
    name = source.name
    for data, line, named in records:
        yield Part(data, f"{name}:{line}", named or group, False)


def _jsonl_records(
    source: Source, fields: RecordFields, policy: FaultPolicy
) -> Iterator[tuple[bytes, int, str]]:
    with open_source(source) as file:
        yield from read_jsonl(file, source, fields, policy)


def _plain_parts(
    file: IO[bytes], source: Source, policy: FaultPolicy, group: str
) -> Iterator[Part]:
    held = b""
    offset, line = 0, 1
    continued = False
    while True:
        block = file.read(BLOCK_BYTES)
        data = held + block if held else block
        if not data:
            return
        clean, taken = policy.clean(
            data,
            final=not block,
            name=source.name,
            offset=offset,
            line=line,
            unpacked=bool(source.packing),
        )
        if clean or not continued:
            yield Part(clean, source.name, group, continued)
        continued = True
        offset += taken
        line += data.count(b"\n", 0, taken)
        held = data[taken:]
