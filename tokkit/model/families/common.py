"""What the families' settings have in common: names, windows, patterns of layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from tokkit.model.config import ModelConfig
from tokkit.model.families.rope import FULL, SLIDING
from tokkit.model.families.settings import Settings

GATED = {"silu": "swiglu", "swish": "swiglu", "gelu_pytorch_tanh": "geglu", "gelu_new": "geglu"}
# What has no word there is written as another, and found not to read back.
ACTIVATION = defaultdict(lambda: "silu", {"geglu": "gelu_pytorch_tanh"})

Record = dict[str, Any]


def read_common(settings: Settings, *, tied: bool, activations: Mapping[str, str]) -> Record:
    """What every family but GPT-2 calls by the same names; rotary settings aside."""
    heads = settings.count("num_attention_heads")
    return {
        "vocab_size": settings.count("vocab_size"),
        "width": settings.count("hidden_size"),
        "layers": settings.count("num_hidden_layers"),
        "query_heads": heads,
        "key_value_heads": settings.count("num_key_value_heads", heads),
        "head_width": settings.count("head_dim", 0),
        "hidden_width": settings.count("intermediate_size"),
        "context": settings.count("max_position_embeddings"),
        "norm_epsilon": settings.number("rms_norm_eps"),
        "feedforward": settings.choice("hidden_act", activations, "silu"),
        "tied": settings.flag("tie_word_embeddings", tied),
    }


def write_common(config: ModelConfig) -> Record:
    """What `read_common` reads, written."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.query_heads,
        "num_key_value_heads": config.key_value_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.hidden_width,
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_epsilon,
        "hidden_act": ACTIVATION[config.feedforward],
        "tie_word_embeddings": config.tied,
    }


def window_everywhere(settings: Settings, usual: int) -> Record:
    """One window for all layers, where there is one; `usual` where nothing is said of it."""
    window = 0 if settings.is_null("sliding_window") else settings.count("sliding_window", usual)
    return {"window": window, "attention_pattern": "s" if window else "f"}


def balance(settings: Settings) -> float:
    """The weight of the load-balancing loss; it may be 0, and is transformers' own if absent."""
    zero = settings.get("router_aux_loss_coef", 0.001) == 0
    return 0.0 if zero else settings.number("router_aux_loss_coef", 0.001)


def read_pattern(settings: Settings, usual: str, window: int) -> Record:
    """layer_types as letters, `usual` where it is absent: each layer's, then the shortest."""
    layers = len(usual)
    types = settings.words("layer_types")
    if types and (len(types) != layers or set(types) - {FULL, SLIDING}):
        raise settings.refuse("layer_types", f"{layers} words among {FULL} and {SLIDING}")
    letters = "".join("s" if word == SLIDING else "f" for word in types) or usual
    if "s" in letters and not window:
        raise settings.refuse("sliding_window", "1 or more where a layer slides")
    return {
        "attention_pattern": shortest_pattern(letters),
        "window": window if "s" in letters else 0,
    }


def shortest_pattern(letters: str) -> str:
    """The shortest beginning that, repeated, gives `letters`.

    >>> shortest_pattern("ssfssfs")
    'ssf'
    """
    # The longest border of the letters (Knuth, Morris and Pratt 1977) leaves the shortest period.
    border = [0]
    for letter in letters[1:]:
        length = border[-1]
        while length and letter != letters[length]:
            length = border[length - 1]
        border.append(length + (letter == letters[length]))
    return letters[: len(letters) - border[-1]]


def layer_types(config: ModelConfig) -> list[str]:
    """Each layer's kind of attention, in config.json's words."""
    return [SLIDING if config.is_sliding(layer) else FULL for layer in range(config.layers)]
