"""What a tokenizer.json does to a text, told in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokkit.tokenizer.records import components

_NORMALIZERS = {
    "Lowercase": "lower-cases the text",
    "StripAccents": "takes accents away",
    "Nmt": "takes control characters away and makes all white space a space",
    "Precompiled": "normalises the text by a table of its own",
    "ByteLevel": "spells the text as bytes before it is cut",
}
_FORMS = ("NFC", "NFD", "NFKC", "NFKD")
_DROPS_SPACE = {
    "Whitespace": "white space",
    "WhitespaceSplit": "white space",
    "BertPreTokenizer": "white space",
    "CharDelimiterSplit": "the character it splits at",
}


def notes_of(record: dict[str, Any]) -> tuple[str, ...]:
    """What the tokenizer of this record changes in a text; empty where it changes nothing known."""
    found = [
        *_of_normalizer(record["normalizer"]),
        *_of_cuts(record["pre_tokenizer"]),
        *_of_model(record["model"]),
        *_of_added(record["added_tokens"]),
    ]
    return tuple(dict.fromkeys(found))


def _of_normalizer(normalizer: dict[str, Any] | None) -> Iterator[str]:
    if normalizer is None:
        return
    kind = normalizer["type"]
    if kind == "Sequence":
        for part in normalizer["normalizers"]:
            yield from _of_normalizer(part)
    elif kind in _FORMS:
        yield f"normalises the text to {kind}"
    elif kind == "BertNormalizer":
        yield from _of_bert(normalizer)
    elif kind == "Replace":
        yield f"replaces {_shown(normalizer.get('pattern'))} by {normalizer.get('content')!r}"
    elif kind == "Prepend":
        yield f"puts {normalizer.get('prepend')!r} before the text"
    elif kind == "Strip":
        yield "strips white space from the ends of the text"
    else:
        yield _NORMALIZERS.get(kind, f"changes the text by its normalizer {kind}")


def _of_bert(normalizer: dict[str, Any]) -> Iterator[str]:
    if normalizer.get("clean_text"):
        yield "takes control characters away and makes all white space a space"
    if normalizer.get("handle_chinese_chars"):
        yield "puts spaces around Chinese characters"
    if normalizer.get("lowercase"):
        yield "lower-cases the text"
    if normalizer.get("strip_accents") or (
        normalizer.get("strip_accents") is None and normalizer.get("lowercase")
    ):
        yield "takes accents away"


def _of_cuts(pre_tokenizer: dict[str, Any] | None) -> Iterator[str]:
    for part in components(pre_tokenizer):
        kind = part["type"]
        if kind in _DROPS_SPACE:
            yield f"does not keep {_DROPS_SPACE[kind]}"
        elif part.get("behavior") == "Removed":
            yield "takes away text at which, or between which, it splits"
        elif part.get("add_prefix_space") or part.get("prepend_scheme") in ("always", "first"):
            yield "puts a space before the text"


def _of_model(model: dict[str, Any]) -> Iterator[str]:
    unknown = model.get("unk_token") if model["type"] != "Unigram" else model.get("unk_id")
    if model.get("byte_fallback"):
        yield "spells characters without a token as bytes"
    elif unknown is not None:
        yield "makes characters or words without a token unknown"
    elif model["type"] == "BPE":
        yield "drops characters without a token"


def _of_added(added: list[dict[str, Any]]) -> Iterator[str]:
    if any(token["lstrip"] or token["rstrip"] for token in added if not token["special"]):
        yield "swallows the space beside an added token"


def _shown(pattern: Any) -> str:
    return repr(next(iter(pattern.values()))) if isinstance(pattern, dict) and pattern else "text"
