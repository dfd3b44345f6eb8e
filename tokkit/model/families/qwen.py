"""The settings of Qwen 2, 2.5 and 3, dense and mixtures, in and out of config.json.

Sources: Yang et al. 2024 (Qwen 2 and 2.5); the Qwen team, Yang et al. 2025 (Qwen 3).
"""

from __future__ import annotations

from tokkit.model.config import ModelConfig
from tokkit.model.families.common import (
    GATED,
    Record,
    balance,
    layer_types,
    read_common,
    read_pattern,
    shortest_pattern,
    window_everywhere,
    write_common,
)
from tokkit.model.families.rope import SLIDING, read_rope, write_rope
from tokkit.model.families.settings import REQUIRED, Settings


def read_qwen2(settings: Settings) -> Record:
    """Qwen 2 and 2.5: Llama with biases on queries, keys and values."""
    read = read_common(settings, tied=False, activations=GATED) | read_rope(settings)
    return read | {"attention_bias": "query_key_value"} | _read_qwen_window(settings, read)


def read_qwen3(settings: Settings) -> Record:
    """Qwen 3: queries and keys normed, head width apart from width."""
    read = read_common(settings, tied=False, activations=GATED) | read_rope(settings)
    read["head_width"] = settings.count("head_dim", 128)
    read["attention_bias"] = "all" if settings.flag("attention_bias", False) else "none"
    return read | {"qk_norm": True} | _read_qwen_window(settings, read)


def _read_qwen_window(settings: Settings, read: Record) -> Record:
    """Qwen's layers above the lowest `max_window_layers` slide, where windows are used at all."""
    slides = settings.flag("use_sliding_window", False)
    window = settings.count("sliding_window", 4096, least=0) if slides else 0
    settings.get("sliding_window")
    lowest = settings.count("max_window_layers", 28, least=0)
    usual = ["fs"[bool(window) and layer >= lowest] for layer in range(read["layers"])]
    return read_pattern(settings, "".join(usual), window)


def write_qwen(config: ModelConfig) -> Record:
    """Qwen 2; `max_window_layers` says the same as the types of layers, to older readers."""
    types = layer_types(config)
    return (
        write_common(config)
        | write_rope(config)
        | {
            "use_sliding_window": config.window > 0,
            "sliding_window": config.window or None,
            "max_window_layers": types.index(SLIDING) if SLIDING in types else config.layers,
            "layer_types": types,
        }
    )


def write_qwen3(config: ModelConfig) -> Record:
    """Qwen 3."""
    return write_qwen(config) | {"attention_bias": config.attention_bias == "all"}


def read_qwen2_moe(settings: Settings) -> Record:
    """Qwen 2 with a mixture, and an expert that every token shares."""
    read = read_common(settings, tied=False, activations=GATED) | read_rope(settings)
    slides = settings.flag("use_sliding_window", False)
    window = settings.count("sliding_window", 4096, least=0) if slides else 0
    settings.get("sliding_window")
    below = settings.count("max_window_layers", 28, least=0)
    usual = [
        "fs"[bool(window) and layer % 2 == 0 and layer < below] for layer in range(read["layers"])
    ]
    biased = settings.flag("qkv_bias", True)
    return (
        read
        | {"attention_bias": "query_key_value" if biased else "none"}
        | {"shared_expert_width": settings.count("shared_expert_intermediate_size", 5632)}
        | read_pattern(settings, "".join(usual), window)
        | _read_qwen_experts(settings, read["layers"])
    )


def read_qwen3_moe(settings: Settings) -> Record:
    """Qwen 3 with a mixture; its window, where it has one, is of all layers."""
    read = read_common(settings, tied=False, activations=GATED) | read_rope(settings)
    slides = settings.flag("use_sliding_window", False)
    settings.get("sliding_window")
    read |= window_everywhere(settings, 4096) if slides else {}
    read["attention_bias"] = "all" if settings.flag("attention_bias", False) else "none"
    return read | {"qk_norm": True} | _read_qwen_experts(settings, read["layers"])


def _read_qwen_experts(settings: Settings, layers: int) -> Record:
    """The mixture: which layers have one, and of what; transformers 5 renamed its count."""
    dense = settings.get("mlp_only_layers", [])
    if not isinstance(dense, list) or not all(type(layer) is int for layer in dense):
        raise settings.refuse("mlp_only_layers", "a list of layers")
    step, without = settings.count("decoder_sparse_step", 1), set(dense)
    mixed = ["de"[layer not in without and (layer + 1) % step == 0] for layer in range(layers)]
    count = "num_local_experts" if "num_local_experts" in settings else "num_experts"
    experts = settings.count(count, REQUIRED)
    if settings.get("num_experts", experts) != experts:
        raise settings.refuse("num_experts", f"num_local_experts, {experts}, where both are given")
    return {
        "experts": experts,
        "experts_per_token": settings.count("num_experts_per_tok"),
        "expert_width": settings.count("moe_intermediate_size"),
        "expert_pattern": shortest_pattern("".join(mixed)),
        "routing_normalised": settings.flag("norm_topk_prob", False),
        "balance_weight": balance(settings),
    }


def _write_qwen_experts(config: ModelConfig) -> Record:
    dense = [layer for layer in range(config.layers) if not config.has_experts(layer)]
    return {
        "num_experts": config.experts,
        "num_experts_per_tok": config.experts_per_token,
        "moe_intermediate_size": config.expert_width,
        "mlp_only_layers": dense,
        "decoder_sparse_step": 1,
        "norm_topk_prob": config.routing_normalised,
        "router_aux_loss_coef": config.balance_weight,
    }


def write_qwen2_moe(config: ModelConfig) -> Record:
    """Qwen 2 with a mixture."""
    return (
        write_qwen(config)
        | _write_qwen_experts(config)
        | {
            "qkv_bias": config.attention_bias != "none",
            "shared_expert_intermediate_size": max(1, config.shared_expert_width),
        }
    )


def write_qwen3_moe(config: ModelConfig) -> Record:
    """Qwen 3 with a mixture."""
    written = write_qwen3(config) | _write_qwen_experts(config)
    del written["layer_types"]  # it has one window for all layers, or none
    return written
