"""Read documents as Python strings, exactly as they stand in the files.

Nothing is stripped, collapsed or normalised: line ends, trailing spaces and a byte-order mark are
part of a text. Memory stays bounded by the size of a part, or of one record.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from tokkit.corpus.document import Document
from tokkit.corpus.faults import FaultPolicy
from tokkit.corpus.inputs import PLAIN, Source, find_sources
from tokkit.corpus.parts import Part, read_parts
from tokkit.corpus.records import RecordFields


def read_documents(
    paths: Iterable[str | os.PathLike[str]],
    *,
    text_field: str = "text",
    part_characters: int | None = None,
    errors: str = "strict",
) -> Iterator[Document]:
    """Yield the documents of each file in turn.

    `paths` are files, folders, globs, URLs or "-", as `tokkit.corpus.inputs` says. A .jsonl or
    .ndjson file holds one document a line, as an object with the string field `text_field`, blank
    lines being passed over; a .parquet file one a row. Any other file is one document. With
    `part_characters` a plain file comes in parts of at least that many characters, cut after a line
    end (or inside a line that is sixteen times longer), so that it may be larger than memory. A
    name that ends in .gz, .bz2, .xz or .zst is unpacked on the way. `errors` says what is done
    about text that is not Unicode: strict, replace or skip, as in `tokkit.corpus.faults`.

    Raises InputError for a file that is missing, empty, not UTF-8 (with the offset in bytes and the
    line), cut short, or not of its form (with the line number), and for a folder without text.
    """
    fields = RecordFields(text_field)
    policy = FaultPolicy(errors)
    for source in find_sources(paths):
        parts = read_parts([source], fields, policy)
        if source.form == PLAIN:
            yield from _plain_documents(parts, source, part_characters)
        else:
            yield from (Document(part.data.decode(), part.origin) for part in parts)


def _plain_documents(
    parts: Iterator[Part], source: Source, part_characters: int | None
) -> Iterator[Document]:
    texts = (part.data.decode() for part in parts)
    if part_characters is None:
        yield Document("".join(texts), source.name)
        return
    for index, text in enumerate(_line_parts(texts, part_characters)):
        yield Document(text, source.name, continued=index > 0)


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
