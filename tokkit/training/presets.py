"""The families at sizes for training: what each one sets, with the sizes given."""

from __future__ import annotations

from tokkit.errors import ConfigError, unknown_choice
from tokkit.model.config import ModelConfig
from tokkit.model.presets import preset

# Whose settings a family has here; the sizes are those asked for.
FAMILIES = {
    "gpt2": "gpt2",
    "llama": "llama-2-7b",
    "mistral": "mistral-7b",
    "gemma": "gemma-2-2b",
    "qwen": "qwen-2.5-0.5b",
    "mixtral": "mixtral-8x7b",
}
_SIZES = (
    "vocab_size",
    "width",
    "layers",
    "query_heads",
    "key_value_heads",
    "head_width",
    "hidden_width",
    "context",
    "window",
    "attention_scale",
    "embedding_scale",
)


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
    family = {k: v for k, v in preset(FAMILIES[name]).settings.items() if k not in _SIZES}
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
