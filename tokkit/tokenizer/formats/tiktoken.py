"""Read and write the rank files of tiktoken, with what the file itself does not hold.

A rank file holds neither the pattern nor the special tokens. They are known for the encodings that
OpenAI publishes; for files of ours they stand beside the ranks, in `<file>.json`, as the arguments
of `tiktoken.Encoding`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokkit.errors import ArtifactError, ConfigError
from tokkit.files import read_json
from tokkit.tokenizer.alphabet import spell
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.formats.building import byte_level
from tokkit.tokenizer.formats.ranks import merges_of_ranks, parse_ranks
from tokkit.tokenizer.presets import PRETOKENIZERS, Pretokenizer

# tiktoken drops what its pattern does not match, so each of these matches all of a text.
TIKTOKEN_PATTERNS: dict[str, str] = {
    **{
        name: str(PRETOKENIZERS[name].pattern)
        for name in ("gpt2", "cl100k", "o200k", "llama3", "qwen2", "whitespace", "chars")
    },
    "none": r"[\s\S]+",
}


@dataclass(frozen=True, slots=True)
class KnownEncoding:
    """A published rank file: its pre-tokenizer, and special tokens where they are one fixed set."""

    pretokenizer: str
    special_tokens: dict[str, int] = field(default_factory=dict)


_END = "<|endoftext|>"
_FIM = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")


def _fim(first: int) -> dict[str, int]:
    return {token: first + place for place, token in enumerate(_FIM)}


# As published with tiktoken (OpenAI), with Llama 3 (Meta) and with Qwen (Alibaba). Llama's special
# tokens differ between releases that share one rank file, so none is taken for granted.
KNOWN_ENCODINGS: dict[str, KnownEncoding] = {
    "gpt2": KnownEncoding("gpt2", {_END: 50256}),
    "r50k_base": KnownEncoding("gpt2", {_END: 50256}),
    "p50k_base": KnownEncoding("gpt2", {_END: 50256}),
    "p50k_edit": KnownEncoding("gpt2", {_END: 50256, **_fim(50281)}),
    "cl100k_base": KnownEncoding(
        "cl100k", {_END: 100257, **_fim(100258), "<|endofprompt|>": 100276}
    ),
    "o200k_base": KnownEncoding("o200k", {_END: 199999, "<|endofprompt|>": 200018}),
    "qwen": KnownEncoding("qwen2"),
    "llama3": KnownEncoding("llama3"),
}
_LLAMA3_RANKS = 128_000


def load_rank_file(
    content: bytes,
    source: Path,
    *,
    pretokenizer: Pretokenizer | None,
    special_tokens: Mapping[str, int] | None,
) -> Tokenizer:
    """The tokenizer that tiktoken makes of these ranks.

    What is not given is taken from `<source>.json`, else from the name of a published file.
    Raises ArtifactError for a file that is wrong, and ConfigError where the pattern is not known.
    """
    ranks = parse_ranks(content)
    beside = _beside(source)
    known = _known(source, len(ranks))
    rule = pretokenizer or (beside and beside[0]) or (known and PRETOKENIZERS[known.pretokenizer])
    if not rule:
        raise ConfigError(
            f"a rank file does not say how text is cut, and {source.name!r} is not the name of a "
            f"published one ({', '.join(KNOWN_ENCODINGS)}); name the pre-tokenizer"
        )
    if special_tokens is None:
        special_tokens = beside[1] if beside else known.special_tokens if known else {}
    return tokenizer_of_ranks(ranks, pretokenizer=rule, special_tokens=special_tokens)


def tokenizer_of_ranks(
    ranks: Mapping[bytes, int], *, pretokenizer: Pretokenizer, special_tokens: Mapping[str, int]
) -> Tokenizer:
    """The tokenizer that gives the ids of tiktoken with these ranks, exactly.

    Where no merging reaches a token, the tokenizer ignores merges as tiktoken does: a pretoken that
    is just that token becomes it.
    """
    merges, unreached = merges_of_ranks(ranks)
    return byte_level(
        {spell(token): rank for token, rank in ranks.items()},
        [(spell(left), spell(right)) for left, right in merges],
        pretokenizer=pretokenizer,
        special_tokens=special_tokens,
        ignore_merges=bool(unreached),
    )


def description(pretokenizer: Pretokenizer, special_tokens: Mapping[str, int], name: str) -> str:
    """The JSON that stands beside a rank file: arguments of `tiktoken.Encoding`."""
    arguments = {
        "name": name,
        "pat_str": TIKTOKEN_PATTERNS[pretokenizer.name],
        "special_tokens": dict(special_tokens),
    }
    return json.dumps(arguments, ensure_ascii=False, indent=2) + "\n"


def description_path(source: Path) -> Path:
    """Where the description of a rank file stands."""
    return source.with_name(f"{source.name}.json")


def _known(source: Path, size: int) -> KnownEncoding | None:
    stem = source.name.removesuffix(".tiktoken").lower()
    if stem == "tokenizer.model" and size == _LLAMA3_RANKS:
        stem = "llama3"
    return KNOWN_ENCODINGS.get(stem)


def _beside(source: Path) -> tuple[Pretokenizer, dict[str, int]] | None:
    path = description_path(source)
    return (
        read_description(read_json(path, what="rank file description")) if path.is_file() else None
    )


def read_description(record: Any) -> tuple[Pretokenizer, dict[str, int]]:
    """The pre-tokenizer and the special tokens of a description; ArtifactError if it is none."""
    pattern = record.get("pat_str") if isinstance(record, dict) else None
    names = [name for name, known in TIKTOKEN_PATTERNS.items() if known == pattern]
    if not names:
        raise ArtifactError(
            "the description beside the rank file must hold the pat_str of a pre-tokenizer that "
            "is known here; name the pre-tokenizer instead, and remove the description"
        )
    special = record.get("special_tokens") or {}
    if not isinstance(special, dict) or any(type(token) is not int for token in special.values()):
        raise ArtifactError("special_tokens beside the rank file must give each text an id")
    return PRETOKENIZERS[names[0]], special
