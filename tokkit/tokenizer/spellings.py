"""The bytes behind the spellings of vocabularies of every kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tokkit.tokenizer.alphabet import unspell
from tokkit.tokenizer.records import components

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
METASPACE = "\u2581"


def bytes_of_tokens(record: dict[str, Any]) -> tuple[tuple[bytes | None, ...], bool]:
    """The bytes of each id, None for an id without token, and whether joining them decodes.

    `record` is a whole tokenizer.json as the library writes it. Spellings in the byte alphabet
    are read where the tokenizer spells so (then joining decodes exactly), `<0xNN>` where the model
    falls back to bytes, the sign of a space where it is used, and marks of word parts are cut off.
    """
    model = record["model"]
    spellings = _spellings(model)
    added = {token["id"]: token["content"] for token in record["added_tokens"]}
    highest = max([*spellings, *added], default=-1)
    is_bytes = _spells_bytes(record)
    data: list[bytes | None] = [None] * (highest + 1)
    for token, spelling in spellings.items():
        if is_bytes:
            data[token] = _unspelled(spelling)
        else:
            data[token] = _read(spelling, model, _space_sign(record))
    for token, content in added.items():
        data[token] = content.encode("utf-8")
    return tuple(data), is_bytes and not _marks(model)


def _spellings(model: dict[str, Any]) -> dict[int, str]:
    if model["type"] == "Unigram":
        return {token: piece for token, (piece, _) in enumerate(model["vocab"])}
    return {token: spelling for spelling, token in model["vocab"].items()}


def _spells_bytes(record: dict[str, Any]) -> bool:
    cuts = {part["type"] for part in components(record["pre_tokenizer"])}
    normalizers = {part["type"] for part in _parts(record["normalizer"], "normalizers")}
    return "ByteLevel" in cuts | normalizers


def _space_sign(record: dict[str, Any]) -> str | None:
    """The character that stands for a space in spellings, or None."""
    for part in [*components(record["pre_tokenizer"]), *_parts(record["decoder"], "decoders")]:
        if part["type"] == "Metaspace":
            return str(part.get("replacement", METASPACE))
        if part["type"] == "Replace" and part.get("content") == " ":
            sign = (part.get("pattern") or {}).get("String")
            if sign:
                return str(sign)
    return None


def _parts(record: dict[str, Any] | None, within: str) -> Iterator[dict[str, Any]]:
    if record is None:
        return
    if record["type"] == "Sequence":
        for part in record[within]:
            yield from _parts(part, within)
    else:
        yield record


def _marks(model: dict[str, Any]) -> bool:
    return bool(model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"))


def _unspelled(spelling: str) -> bytes:
    try:
        return unspell(spelling)
    except KeyError:
        # As the library's decoder: a token with a character outside the alphabet is read as text.
        return spelling.encode("utf-8")


def byte_of(spelling: str) -> bytes | None:
    """The byte that a token such as `<0x0A>` stands for, or None for another spelling."""
    match = _BYTE_TOKEN.fullmatch(spelling)
    return bytes([int(match[1], 16)]) if match else None


def _read(spelling: str, model: dict[str, Any], space: str | None) -> bytes:
    byte = byte_of(spelling) if model.get("byte_fallback") else None
    if byte is not None:
        return byte
    prefix, suffix = model.get("continuing_subword_prefix"), model.get("end_of_word_suffix")
    if prefix:
        spelling = spelling.removeprefix(prefix)
    if suffix:
        spelling = spelling.removesuffix(suffix)
    if space:
        spelling = spelling.replace(space, " ")
    return spelling.encode("utf-8")
