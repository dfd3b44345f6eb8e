"""The settings of models in words: what differs from the plain skeleton, side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import fields

from tokkit.model.config import ModelConfig
from tokkit.model.presets import Preset

PLAIN = "plain"
# Sizes of one model, not what makes its family.
_SIZES = (
    "vocab_size", "width", "layers", "query_heads", "key_value_heads", "head_width",
    "hidden_width", "context", "expert_width", "token_features",
)  # fmt: skip
_ZERO = {
    "rope_local_base": "as others",
    "rope_original_context": "context",
    "rope_magnitude": "0.1 ln factor + 1",
    "attention_softcap": "none",
    "logit_softcap": "none",
    "window": "none",
    "experts": "none",
    "experts_per_token": "none",
    "shared_expert_width": "none",
    "expert_width": "hidden_width",
    "token_features": "none",
    "balance_weight": "none",
    "attention_scale": "1/\u221ahead",
}
_GROUP, _FILL = "heads per key head", "heads fill width"  # of sizes, what makes a family
_LETTERS = {"f": "full", "s": "sliding", "e": "experts", "d": "dense"}


def plain(config: ModelConfig) -> ModelConfig:
    """The plain skeleton at the sizes of `config`: all that is no size as it is by itself."""
    names = ("vocab_size", "width", "layers", "query_heads")
    sizes = {name: getattr(config, name) for name in names}
    # The nearest even number below, where the heads do not divide the width: rope needs pairs.
    even = max(2, config.width // config.query_heads // 2 * 2)
    return ModelConfig(**sizes, head_width=even)


def setting_rows(
    configs: Sequence[ModelConfig], *, whole: bool = False
) -> list[tuple[str, str, tuple[str, ...]]]:
    """Name, plain value and the value of each model, of settings that any changes, or of all.

    The sizes that the plain skeleton has no values for stand first.
    """
    skeletons = [plain(config) for config in configs]
    needed = ("vocab_size", "width", "layers", "query_heads")
    rows = [
        (name, "", tuple(f"{getattr(config, name):,}" for config in configs)) for name in needed
    ]
    for name in (field.name for field in fields(ModelConfig) if field.name not in needed):
        usual = {words_of(skeleton, name) for skeleton in skeletons}
        own = tuple(words_of(config, name) for config in configs)
        # By words: a file may hold 1e-5 as a float32 that is not quite that.
        changed = any(
            word != words_of(skeleton, name) for word, skeleton in zip(own, skeletons, strict=True)
        )
        if changed or whole:
            rows.append((name, usual.pop() if len(usual) == 1 else _rule_of(name), own))
    return rows


def _rule_of(name: str) -> str:
    """What the skeleton does where its value follows from another: differs by model."""
    return {
        "key_value_heads": "query_heads",
        "head_width": "width / query_heads",
        "hidden_width": "8/3 width, rounded",
    }.get(name, "by size")


def family_rows(presets: Sequence[Preset]) -> list[tuple[str, ...]]:
    """A row a setting that any family changes: its name, the plain value, each family's values.

    Families are in the order of their first preset; where presets of one family differ, each value
    stands once.
    """
    families: dict[str, list[ModelConfig]] = {}
    for preset in presets:
        families.setdefault(preset.family, []).append(preset.config)
    skeleton = plain(presets[0].config)
    rows = []
    names = [field.name for field in fields(ModelConfig) if field.name not in _SIZES]
    for name in (_GROUP, _FILL, *names):
        usual = _family_words(skeleton, name)
        values = [
            " / ".join(dict.fromkeys(_family_words(config, name) for config in configs))
            for configs in families.values()
        ]
        if any(value != usual for value in values):
            rows.append((name, usual, *values))
    return rows


def families_of(presets: Sequence[Preset]) -> tuple[str, ...]:
    """The families of presets, in the order of `family_rows`."""
    return tuple(dict.fromkeys(preset.family for preset in presets))


def _family_words(config: ModelConfig, name: str) -> str:
    if name == _GROUP:
        return str(config.query_heads // config.key_value_heads)
    if name == _FILL:
        return _word(config.head_width * config.query_heads == config.width)
    return words_of(config, name)


def words_of(config: ModelConfig, name: str) -> str:
    """One setting in words: what a 0 stands for, patterns of layers, square roots.

    >>> words_of(ModelConfig(vocab_size=8, width=64, layers=2, query_heads=4), "logit_softcap")
    'none'
    """
    value = getattr(config, name)
    if isinstance(value, bool):
        return _word(value)
    if value == 0 and name in _ZERO:
        return _ZERO[name]
    if name.endswith("_pattern"):
        return _pattern(value)
    if name in ("rope_base", "rope_local_base"):
        return _round(value)
    if name == "embedding_scale" and math.isclose(value, config.width**0.5):
        return "1" if value == 1 else "\u221awidth"
    if name == "attention_scale" and 1e-6 < value < 1:
        inverse = value**-2
        if math.isclose(inverse, round(inverse)):
            return f"1/\u221a{round(inverse)}"
    if isinstance(value, float):
        return f"{value:,.12g}" if value.is_integer() else f"{value:g}"
    return value if isinstance(value, str) else f"{value:,}"


def _round(value: float) -> str:
    """A round number as it is said: 10k, 1M."""
    for scale, letter in ((1e6, "M"), (1e3, "k")):
        if value >= scale and (value / scale).is_integer():
            return f"{value / scale:g}{letter}"
    return f"{value:,.12g}"


def _word(value: bool) -> str:
    return "yes" if value else "no"


def _pattern(letters: str) -> str:
    """Letters as runs: "sssssf" is five sliding layers, then a full one, and so on again."""
    runs = [(_LETTERS[letter], len(list(run))) for letter, run in itertools.groupby(letters)]
    if len(runs) == 1:
        return runs[0][0]
    if len(runs) > 4:
        return letters
    return ", ".join(word if count == 1 else f"{count} {word}" for word, count in runs)
