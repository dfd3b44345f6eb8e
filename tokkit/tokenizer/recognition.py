"""Which of tokkit's pre-tokenizers the pre_tokenizer record of a tokenizer.json amounts to."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from tokkit.tokenizer.presets import GPT2_PATTERN, PRETOKENIZERS, Pretokenizer
from tokkit.tokenizer.records import components

# What a part does to the text: ("split", pattern), or ("bytes",) where it is spelled as bytes.
Step = tuple[str, ...]
_TO_BYTES: Step = ("bytes",)

# Another published spelling of a preset's pattern, which cuts every text in the same places.
_SPELLINGS = {
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": GPT2_PATTERN,
}
# Presets whose pattern matches all of any text.
_COVERING = ("gpt2", "cl100k", "o200k", "llama3", "qwen2", "whitespace", "chars")


def recognise(pre_tokenizer: dict[str, Any] | None) -> Pretokenizer | None:
    """The preset that cuts as this record does, else a rule of its own, else None.

    A rule of its own is made where the record is splits that isolate what they match, followed by
    the step to bytes. None where the steps cannot be told as patterns in that order.
    """
    steps = _steps(pre_tokenizer)
    if steps is None:
        return None
    name = _presets().get(steps)
    if name is not None:
        return PRETOKENIZERS[name]
    return _custom(steps)


def keeps_all_text(part: dict[str, Any]) -> bool:
    """Whether a Split part, of whatever behaviour, takes away no text."""
    if part.get("behavior") != "Removed":
        return True
    # Removing what the pattern does not match is harmless where it matches everything.
    pattern = _pattern(part.get("pattern"))
    if not part.get("invert") or pattern is None:
        return False
    return _canonical(pattern) in {PRETOKENIZERS[name].pattern for name in _COVERING}


def _steps(pre_tokenizer: dict[str, Any] | None) -> tuple[Step, ...] | None:
    steps: list[Step] = []
    for part in components(pre_tokenizer):
        found = _step(part)
        if found is None:
            return None
        steps.extend(found)
    return tuple(steps)


def _step(part: dict[str, Any]) -> list[Step] | None:
    if part["type"] == "ByteLevel" and not part.get("add_prefix_space"):
        use_regex = part.get("use_regex", True)
        return [("split", _canonical(GPT2_PATTERN)), _TO_BYTES] if use_regex else [_TO_BYTES]
    if part["type"] == "Split":
        pattern = _pattern(part.get("pattern"))
        # Inverting swaps the matches and what lies between them: the cuts are the same.
        isolates = part.get("behavior") == "Isolated" or (
            part.get("behavior") == "Removed" and keeps_all_text(part)
        )
        return [("split", _canonical(pattern))] if isolates and pattern is not None else None
    # Digits asks another Unicode table than patterns do: 13 numerals differ in tokenizers 0.23.
    return None


def _pattern(record: Any) -> str | None:
    if not isinstance(record, dict):
        return None
    if isinstance(record.get("Regex"), str):
        return str(record["Regex"])
    if isinstance(record.get("String"), str) and record["String"]:
        return "".join(f"\\x{{{ord(character):x}}}" for character in record["String"])
    return None


def _canonical(pattern: str) -> str:
    """One spelling for all patterns that are known to be the same."""
    return _SPELLINGS.get(pattern, pattern)


@lru_cache(maxsize=1)
def _presets() -> dict[tuple[Step, ...], str]:
    """The steps of each preset; where two have the same ones, the first in the list."""
    found: dict[tuple[Step, ...], str] = {}
    for name, preset in PRETOKENIZERS.items():
        steps: list[Step] | None = []
        for component in preset.components():
            step = _step(json.loads(component.__getstate__()))
            steps = None if steps is None or step is None else steps + step
        if steps is not None:
            found.setdefault(tuple(steps), name)
    return found


def _custom(steps: tuple[Step, ...]) -> Pretokenizer | None:
    if not steps or steps.count(_TO_BYTES) != 1:
        return None
    if len(steps) == 2 and steps[0] == _TO_BYTES:
        return Pretokenizer("custom", steps[1][1], of_bytes=True)
    if steps[-1] != _TO_BYTES:
        return None
    patterns: Any = tuple(step[1] for step in steps[:-1])
    return Pretokenizer("custom", patterns[0] if len(patterns) == 1 else patterns)
