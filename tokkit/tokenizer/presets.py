r"""Pre-tokenizers: where text is cut before any merge, so that no token crosses a cut.

Each is built wholly from components of the `tokenizers` library, so that tokenizer.json alone
holds it and gives the same ids wherever it is loaded. The patterns are those that the models
publish in their own tokenizer.json:

- gpt2: Radford et al. 2019, the regular expression of GPT-2's released encoder;
- cl100k, o200k: OpenAI's encodings of these names, as spelled for `tokenizers` (GPT-4, GPT-4o);
- llama3: the same pattern as cl100k; qwen2: the same but for single digits. What Qwen2 does
  before it, Unicode normalisation to NFC, is not a cut and no part of this;
- deepseek-v3: three cuts, one after the other, each within the pieces of the one before.

whitespace is ours: words with the one space before them, and every character kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tokenizers
from tokenizers import pre_tokenizers

from tokkit.errors import ConfigError, unknown_choice

_SPACES = r"\s+(?!\S)|\s+"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + _SPACES
CL100K_PATTERN = (
    _CONTRACTION + rf"|{_BEFORE}\p{{L}}+|\p{{N}}{{1,3}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|" + _SPACES
)
QWEN2_PATTERN = CL100K_PATTERN.replace("{1,3}", "")
O200K_PATTERN = (
    rf"{_BEFORE}{_UPPER}*{_LOWER}+{_CONTRACTION}?|{_BEFORE}{_UPPER}+{_LOWER}*{_CONTRACTION}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|" + _SPACES
)
DEEPSEEK_PATTERNS = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|" + _SPACES,
)
WHITESPACE_PATTERN = r" ?\S+|" + _SPACES
_ANY_CHARACTER = r"[\s\S]"


@dataclass(frozen=True, slots=True)
class Pretokenizer:
    r"""A rule for cutting text: each match of `pattern` is a piece, and so is what lies between.

    `pattern` is an Oniguruma regular expression (Ruby syntax), or several that cut one after the
    other, each within the pieces of the one before, or None for no cut at all. With `of_bytes` it
    runs over the bytes as spelled in the byte alphabet, one character a byte, instead of over the
    text.
    """

    name: str
    pattern: str | tuple[str, ...] | None
    of_bytes: bool = False

    @property
    def patterns(self) -> tuple[str, ...]:
        """The regular expressions in their order; empty for no cut."""
        if self.pattern is None:
            return ()
        return (self.pattern,) if isinstance(self.pattern, str) else self.pattern

    def components(self) -> list[Any]:
        """The `tokenizers` components, in order; ConfigError when a pattern does not compile."""
        to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        splits = [self._split(pattern) for pattern in self.patterns]
        return [to_bytes, *splits] if self.of_bytes else [*splits, to_bytes]

    def _split(self, pattern: str) -> Any:
        try:
            return pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
        except Exception as error:
            raise ConfigError(
                f"the pattern of pre-tokenizer {self.name!r} must be an Oniguruma regular "
                f"expression, got {pattern!r} ({error}); correct it"
            ) from error


PRETOKENIZERS: dict[str, Pretokenizer] = {
    preset.name: preset
    for preset in (
        Pretokenizer("gpt2", GPT2_PATTERN),
        Pretokenizer("cl100k", CL100K_PATTERN),
        Pretokenizer("o200k", O200K_PATTERN),
        Pretokenizer("llama3", CL100K_PATTERN),
        Pretokenizer("qwen2", QWEN2_PATTERN),
        Pretokenizer("deepseek-v3", DEEPSEEK_PATTERNS),
        Pretokenizer("whitespace", WHITESPACE_PATTERN),
        Pretokenizer("chars", _ANY_CHARACTER),
        Pretokenizer("bytes", _ANY_CHARACTER, of_bytes=True),
        Pretokenizer("none", None),
    )
}


def resolve_pretokenizer(pretokenizer: Pretokenizer | str) -> Pretokenizer:
    """The preset of that name, or the pre-tokenizer itself; ConfigError for an unknown name."""
    if isinstance(pretokenizer, Pretokenizer):
        return pretokenizer
    if pretokenizer not in PRETOKENIZERS:
        raise ConfigError(unknown_choice("pre-tokenizer", pretokenizer, PRETOKENIZERS))
    return PRETOKENIZERS[pretokenizer]
