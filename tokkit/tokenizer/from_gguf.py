"""The tokenizer and the chat template that a GGUF file's metadata hold.

Two kinds of vocabulary are read: "gpt2", byte-level merges, with cuts known by a name alone; and
"llama", SentencePiece pieces whose scores say what is merged first. Keys and token types are those
of the format (docs/gguf.md of ggml, "Tokenizer"). Both become the text of a tokenizer.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import pre_tokenizers

from tokkit.errors import ArtifactError, unknown_choice
from tokkit.tokenizer.presets import PRETOKENIZERS, Pretokenizer
from tokkit.tokenizer.records import MAX_TOKENS, shown
from tokkit.tokenizer.spellings import METASPACE

_KEY = "tokenizer.ggml."
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_LONGEST_PIECE = 512  # characters; a piece of n has n - 1 places to be merged at

_TEKKEN_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DIGITS_APART = "digits apart, then gpt2"
# The names that converters give to the cuts of the models they know, and tokkit's presets.
_CUTS: Mapping[str, str] = {
    **dict.fromkeys(("default", "gpt-2", "phi-2", "olmo", "mpt"), "gpt2"),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), _DIGITS_APART
    ),
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "smaug-bpe", "dbrx"), "llama3"
    ),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen", "megrez"), "qwen2"),
    **dict.fromkeys(("gpt-4o", "llama4"), "o200k"),
    "deepseek-v3": "deepseek-v3",
    "tekken": "tekken",
}
# Whole pretokens that are tokens are taken as they are, before any merge.
_IGNORE_MERGES = ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "tekken")


def tokenizer_json(metadata: Mapping[str, Any]) -> str:
    """The text of the tokenizer.json that the metadata of a GGUF file amount to.

    Tokens of type control become special tokens, those that users defined added ones; unused ids
    stay without a token. What Qwen does before its cuts, normalisation to NFC, is in no GGUF file
    and no part of it. Raises ArtifactError for a kind of tokenizer or a name of cuts that tokkit
    does not have, and for tables that contradict each other.
    """
    kind = metadata.get(f"{_KEY}model")
    if kind not in ("gpt2", "llama"):
        raise ArtifactError(
            f"GGUF metadata: {unknown_choice('kind of tokenizer', kind, ('gpt2', 'llama'))}: give "
            "the tokenizer as a file of its own"
        )
    tokens = _texts(metadata, "tokens")
    types = _numbers(metadata, "token_type", len(tokens), _NORMAL)
    _check_repeats(tokens, types)
    make = _byte_level if kind == "gpt2" else _sentencepiece
    record = make(metadata, tokens, types)
    begin = _begin_token(metadata, kind, tokens)
    record["post_processor"] = None if begin is None else _template(*begin)
    return json.dumps(record, ensure_ascii=False)


def chat_template(metadata: Mapping[str, Any]) -> str | None:
    """The chat template of a GGUF file; None where it has none.

    Raises ArtifactError where it is no text.
    """
    template = metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise ArtifactError(
            f"GGUF metadata: tokenizer.chat_template must be a text, got {type(template).__name__}"
        )
    return template or None


def special_id(metadata: Mapping[str, Any], name: str) -> int | None:
    """The id under a name such as "eos" or "bos", or None; ArtifactError for what is no id."""
    value = metadata.get(f"{_KEY}{name}_token_id")
    if value is None:
        return None
    tokens = metadata.get(f"{_KEY}tokens")
    size = len(tokens) if isinstance(tokens, list) else 0
    if type(value) is not int or not 0 <= value < size:
        raise ArtifactError(
            f"GGUF metadata: {_KEY}{name}_token_id must be an id below {size}, got "
            f"{shown(repr(value), 40)}"
        )
    return value


def _texts(metadata: Mapping[str, Any], name: str) -> list[str]:
    texts = metadata.get(f"{_KEY}{name}")
    if not isinstance(texts, list) or not 0 < len(texts) <= MAX_TOKENS:
        got = f"{len(texts):,}" if isinstance(texts, list) else type(texts).__name__
        raise ArtifactError(
            f"GGUF metadata: {_KEY}{name} must be 1 to {MAX_TOKENS:,} texts, got {got}"
        )
    return texts


def _numbers(metadata: Mapping[str, Any], name: str, count: int, default: float) -> list[Any]:
    values = metadata.get(f"{_KEY}{name}")
    if values is None:
        return [default] * count
    fits = isinstance(values, np.ndarray) and values.dtype.kind in "iuf" and len(values) == count
    if not fits or not np.isfinite(values).all():
        raise ArtifactError(
            f"GGUF metadata: {_KEY}{name} must be {count:,} finite numbers, one a token, got "
            f"{len(values) if isinstance(values, np.ndarray | list) else type(values).__name__}"
        )
    return list(values.tolist())


def _check_repeats(tokens: Sequence[str], types: Sequence[int]) -> None:
    seen: dict[str, int] = {}
    for token, (text, kind) in enumerate(zip(tokens, types, strict=True)):
        if kind == _UNUSED:
            continue
        if text in seen:
            raise ArtifactError(
                f"GGUF metadata: tokens {seen[text]} and {token} are both {shown(repr(text), 60)}: "
                "the file was altered"
            )
        seen[text] = token


def _byte_level(
    metadata: Mapping[str, Any], tokens: Sequence[str], types: Sequence[int]
) -> dict[str, Any]:
    name = metadata.get(f"{_KEY}pre", "default")
    if name not in _CUTS:
        raise ArtifactError(
            f"GGUF metadata: {unknown_choice('name of cuts', name, _CUTS)}: give the tokenizer as "
            "a file of its own"
        )
    merges = [_pair(merge) for merge in _texts(metadata, "merges")]
    needed: set[str] = set()
    if _UNUSED in types:
        needed.update(part for left, right in merges for part in (left, right, left + right))
    vocab = {
        text: token
        for token, (text, kind) in enumerate(zip(tokens, types, strict=True))
        if kind != _UNUSED or text in needed
    }
    return {
        "version": "1.0",
        "added_tokens": _added(tokens, types),
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(_CUTS[name]),
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True,
        },
        "model": {
            "type": "BPE", "vocab": vocab, "merges": merges,
            "ignore_merges": name in _IGNORE_MERGES,
        },
    }  # fmt: skip


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    if not left or not right or " " in right:
        raise ArtifactError(
            f"GGUF metadata: a merge must be two tokens with a space between, got "
            f"{shown(repr(merge), 60)}"
        )
    return left, right


def _pre_tokenizer(cuts: str) -> dict[str, Any]:
    if cuts == _DIGITS_APART:
        # The library's own table of digits, as in the models' own files.
        digits = pre_tokenizers.Digits(individual_digits=True)
        parts = [digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    elif cuts == "tekken":
        parts = Pretokenizer("tekken", _TEKKEN_PATTERN).components()
    else:
        parts = PRETOKENIZERS[cuts].components()
    return dict(json.loads(pre_tokenizers.Sequence(parts).__getstate__()))


def _added(tokens: Sequence[str], types: Sequence[int]) -> list[dict[str, Any]]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return [
        {"id": token, "content": text, **flags, "special": kind != _USER_DEFINED}
        for token, (text, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED) and text
    ]


def _sentencepiece(
    metadata: Mapping[str, Any], tokens: Sequence[str], types: Sequence[int]
) -> dict[str, Any]:
    """Spaces become a sign of their own, one before the text where the file says so."""
    unknown = special_id(metadata, "unknown")
    vocab = {
        text: token
        for token, (text, kind) in enumerate(zip(tokens, types, strict=True))
        if kind != _UNUSED
    }
    prefix = metadata.get(f"{_KEY}add_space_prefix", True) is True
    to_sign = {"type": "Replace", "pattern": {"String": " "}, "content": METASPACE}
    to_space = {"type": "Replace", "pattern": {"String": METASPACE}, "content": " "}
    before = [{"type": "Prepend", "prepend": METASPACE}] if prefix else []
    after = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    return {
        "version": "1.0",
        "added_tokens": _added(tokens, types),
        "normalizer": {"type": "Sequence", "normalizers": [*before, to_sign]},
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [to_space, {"type": "ByteFallback"}, {"type": "Fuse"}, *after],
        },
        "model": {
            "type": "BPE",
            "vocab": vocab,
            "merges": _merges(metadata, tokens, types),
            "unk_token": None if unknown is None else tokens[unknown],
            "fuse_unk": True,
            "byte_fallback": types.count(_BYTE) == 256,
        },
    }


def _merges(
    metadata: Mapping[str, Any], tokens: Sequence[str], types: Sequence[int]
) -> list[tuple[str, str]]:
    """Every way to make a piece of two, those of the highest score first (Kudo 2018, BPE mode).

    Gemma's scores do not follow its merges, but the order of its pieces does. Longer left parts go
    first among equals, as in the converters of the `transformers` library.
    """
    count = len(tokens)
    scores = _numbers(metadata, "scores", count, 0.0)
    if str(metadata.get("general.architecture")).startswith("gemma"):
        scores = [-float(token) for token in range(count)]
    elif f"{_KEY}scores" not in metadata:
        raise ArtifactError(f"GGUF metadata: {_KEY}scores are missing: convert the model again")
    parts = {text: t for t, text in enumerate(tokens) if types[t] == _NORMAL}
    found = []
    for text, token in parts.items():
        if len(text) > _LONGEST_PIECE:
            raise ArtifactError(
                f"GGUF metadata: token {token} may have {_LONGEST_PIECE} characters, got "
                f"{len(text):,}"
            )
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in parts and right in parts:
                found.append((-scores[token], -cut, token, left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def _begin_token(
    metadata: Mapping[str, Any], kind: str, tokens: Sequence[str]
) -> tuple[str, int] | None:
    """The token that stands before every text, where one does."""
    usual = kind == "llama" or metadata.get(f"{_KEY}pre") in ("llama-bpe", "llama3", "llama-v3")
    begin = special_id(metadata, "bos")
    if metadata.get(f"{_KEY}add_bos_token", usual) is not True or begin is None:
        return None
    return tokens[begin], begin


def _template(text: str, token: int) -> dict[str, Any]:
    begin = {"SpecialToken": {"id": text, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, begin, second],
        "special_tokens": {text: {"id": text, "ids": [token], "tokens": [text]}},
    }
