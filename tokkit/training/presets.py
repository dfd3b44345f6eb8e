"""The families at sizes for training: what each one sets, with the sizes given."""

from __future__ import annotations

from typing import Any

from tokkit.errors import ConfigError, unknown_choice
from tokkit.model.config import ModelConfig

_LLAMA: dict[str, Any] = {
    "positions": "rope",
    "norm": "rmsnorm",
    "feedforward": "swiglu",
    "norm_epsilon": 1e-5,
}
FAMILIES: dict[str, dict[str, Any]] = {
    # Radford et al. 2019.
    "gpt2": {
        "positions": "learned",
        "norm": "layernorm",
        "feedforward": "gelu",
        "linear_bias": True,
        "tied": True,
    },
    # Touvron et al. 2023.
    "llama": _LLAMA,
    # Jiang et al. 2023: every layer slides.
    "mistral": _LLAMA | {"attention_pattern": "s"},
    # Gemma team 2024 (Gemma 2): every second layer slides.
    "gemma": {
        "positions": "rope",
        "norm": "rmsnorm",
        "norm_place": "sandwich",
        "norm_offset": True,
        "norm_epsilon": 1e-6,
        "feedforward": "geglu",
        "attention_pattern": "sf",
        "attention_softcap": 50.0,
        "logit_softcap": 30.0,
        "tied": True,
    },
    # Qwen team 2024 (Qwen 2.5).
    "qwen": _LLAMA
    | {
        "attention_bias": "query_key_value",
        "norm_epsilon": 1e-6,
        "rope_base": 1_000_000.0,
        "tied": True,
    },
    # Jiang et al. 2024.
    "mixtral": _LLAMA
    | {
        "rope_base": 1_000_000.0,
        "experts": 8,
        "experts_per_token": 2,
        "balance_weight": 0.02,
    },
}


def training_preset(
    name: str,
    *,
    vocab_size: int,
    width: int = 128,
    layers: int = 4,
    heads: int = 4,
    key_value_heads: int = 0,
    hidden_width: int = 0,
    context: int = 256,
    window: int = 0,
    experts: int = 0,
) -> ModelConfig:
    """The settings of a family in FAMILIES at the sizes given.

    0 is the usual: as many key-value heads as heads; the hidden width of `ModelConfig`, which of
    a mixture's expert is divided by the experts a token gets; half the context as the window of
    layers that slide; 8 experts. Raises ConfigError for an unknown name, and for a window or
    experts where the family has none.
    """
    if name not in FAMILIES:
        raise ConfigError(unknown_choice("preset", name, FAMILIES))
    family = dict(FAMILIES[name])
    if "s" in family.get("attention_pattern", ""):
        family["window"] = window or max(1, context // 2)
    elif window:
        raise ConfigError(f"no layer of {name} slides, got a window of {window}: leave it out")
    if "experts" in family:
        family["experts"] = experts or family["experts"]
        usual = ModelConfig(vocab_size=1, width=width, layers=1, query_heads=heads).hidden_width
        hidden_width = hidden_width or max(1, usual // family["experts_per_token"])
    elif experts:
        raise ConfigError(f"{name} is no mixture, got {experts} experts: leave them out")
    if name == "gemma":
        family["embedding_scale"] = float(width) ** 0.5
    return ModelConfig(
        vocab_size=vocab_size,
        width=width,
        layers=layers,
        query_heads=heads,
        key_value_heads=key_value_heads,
        hidden_width=hidden_width,
        context=context,
        **family,
    )
