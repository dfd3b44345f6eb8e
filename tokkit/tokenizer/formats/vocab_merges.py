"""vocab.json and merges.txt, the two files in which GPT-2 was released (Radford et al. 2019).

The first gives each token, spelled in the byte alphabet, its id; the second holds one merge a line,
in order of rank, under a line with a version. The cuts are GPT-2's unless another reader knows
better. Special tokens stand among the others, unmarked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tokkit.errors import ArtifactError
from tokkit.tokenizer.alphabet import byte_characters
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.formats.building import byte_level
from tokkit.tokenizer.presets import PRETOKENIZERS, Pretokenizer
from tokkit.tokenizer.records import MAX_TOKENS, shown

VOCAB_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
VERSION_MARK = "#version"
_VERSION_LINE = "#version: 0.2"
_BRACKETED = re.compile(r"<[^<>]+>|\[[^\[\]]+\]")


def load_vocab_merges(
    vocab: Any,
    merges: bytes,
    *,
    pretokenizer: Pretokenizer | None = None,
    special_tokens: Mapping[str, int] | None = None,
) -> Tokenizer:
    """The tokenizer of a vocabulary (the value of vocab.json) and merges (the file's content).

    Cuts are GPT-2's unless a pre-tokenizer is given. Unless given, special tokens are those that
    are neither bytes nor results of merges and either stand in angle or square brackets, as
    `<|endoftext|>`, or cannot be spelled in the byte alphabet.
    """
    if not isinstance(vocab, dict) or any(type(token) is not int for token in vocab.values()):
        raise ArtifactError(f"{VOCAB_FILE} must give each token a whole number as id")
    pairs = parse_merges(merges)
    if special_tokens is None:
        special_tokens = _unmarked_special(vocab, pairs)
    return byte_level(
        vocab,
        pairs,
        pretokenizer=pretokenizer or PRETOKENIZERS["gpt2"],
        special_tokens=special_tokens,
    )


def parse_merges(content: bytes) -> list[tuple[str, str]]:
    """The merges of a merges.txt; ArtifactError, with the line, for what is none."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{MERGES_FILE} is not UTF-8 at byte {error.start}") from None
    pairs = []
    for number, line in enumerate(text.split("\n"), 1):
        merge = line.removesuffix("\r")
        if not merge or merge.startswith(VERSION_MARK):
            continue
        parts = merge.split(" ")
        if len(parts) != 2 or not all(parts):
            raise ArtifactError(
                f"line {number} of {MERGES_FILE}: expected two tokens with a space between, got "
                f"{shown(repr(merge), 60)}"
            )
        pairs.append((parts[0], parts[1]))
    if len(pairs) > MAX_TOKENS:
        raise ArtifactError(f"{len(pairs):,} merges, and no more than {MAX_TOKENS:,} are taken")
    return pairs


def write_vocab(vocab: Mapping[str, int]) -> str:
    """The content of vocab.json, in order of id."""
    ordered = dict(sorted(vocab.items(), key=lambda entry: entry[1]))
    return json.dumps(ordered, ensure_ascii=False) + "\n"


def write_merges(merges: Iterable[tuple[str, str]]) -> str:
    """The content of merges.txt."""
    return "".join(f"{line}\n" for line in (_VERSION_LINE, *map(" ".join, merges)))


def _unmarked_special(vocab: Mapping[str, int], pairs: list[tuple[str, str]]) -> dict[str, int]:
    alphabet = frozenset(byte_characters())
    made = {left + right for left, right in pairs} | alphabet
    return {
        text: token
        for text, token in vocab.items()
        if text not in made and (_BRACKETED.fullmatch(text) or not alphabet.issuperset(text))
    }
