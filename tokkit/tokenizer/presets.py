"""Pre-tokenizers: where text is cut before any merge, so that no token crosses a cut.

Each is built wholly from components of the `tokenizers` library, so that tokenizer.json alone
holds it and gives the same ids wherever it is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tokenizers
from tokenizers import pre_tokenizers

from tokkit.errors import ConfigError, unknown_choice

# Radford et al. 2019, the regular expression of GPT-2's released encoder.
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_ANY_CHARACTER = r"[\s\S]"


@dataclass(frozen=True, slots=True)
class Pretokenizer:
    r"""A rule for cutting text: each match of `pattern` is a piece, and so is what lies between.

    `pattern` is an Oniguruma regular expression (Ruby syntax), or None for no cut at all. With
    `of_bytes` it runs over the bytes as spelled in the byte alphabet, one character a byte,
    instead of over the text.
    """

    name: str
    pattern: str | None
    of_bytes: bool = False

    def components(self) -> list[Any]:
        """The `tokenizers` components, in order; ConfigError when the pattern does not compile."""
        to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        if self.pattern is None:
            return [to_bytes]
        try:
            split = pre_tokenizers.Split(tokenizers.Regex(self.pattern), "isolated")
        except Exception as error:
            raise ConfigError(
                f"the pattern of pre-tokenizer {self.name!r} must be an Oniguruma regular "
                f"expression, got {self.pattern!r} ({error}); correct it"
            ) from error
        return [to_bytes, split] if self.of_bytes else [split, to_bytes]


PRETOKENIZERS: dict[str, Pretokenizer] = {
    preset.name: preset
    for preset in (
        Pretokenizer("gpt2", GPT2_PATTERN),
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
