"""The families that the one transformer expresses: what their files are called, and say.

Each is a pair of functions between the settings of a config.json and those of ModelConfig, and a
table of names. Sources: Radford et al. 2019 (GPT-2); Touvron et al. 2023 (Llama); Jiang et al. 2023
and 2024 (Mistral, Mixtral).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tokkit.model.config import ModelConfig
from tokkit.model.families.common import (
    GATED,
    Record,
    balance,
    read_common,
    window_everywhere,
    write_common,
)
from tokkit.model.families.gemma import (
    read_gemma1,
    read_gemma2,
    read_gemma3,
    write_gemma1,
    write_gemma2,
    write_gemma3,
)
from tokkit.model.families.names import GEMMA2, GPT2, LLAMA, MIXTRAL, QWEN_MOE, Names
from tokkit.model.families.qwen import (
    read_qwen2,
    read_qwen2_moe,
    read_qwen3,
    read_qwen3_moe,
    write_qwen,
    write_qwen2_moe,
    write_qwen3,
    write_qwen3_moe,
)
from tokkit.model.families.rope import read_rope, write_rope
from tokkit.model.families.settings import Settings

PLAIN = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "relu": "relu"}


@dataclass(frozen=True, slots=True)
class Family:
    """One family: what its files are called, and how its settings are read and written."""

    name: str
    model_type: str
    architectures: tuple[str, ...]  # with its unembedding, and what files without it say
    read: Callable[[Settings], Record]  # config.json to settings of ModelConfig
    write: Callable[[ModelConfig], Record]  # and back, as far as they can be expressed
    names: Names
    whole_heads: bool = False  # transformers asks that the heads divide the width


def read_llama(settings: Settings) -> Record:
    """Llama 1, 2 and 3: RMSNorm, rotary positions, SwiGLU."""
    read = read_common(settings, tied=False, activations=GATED) | read_rope(settings)
    everywhere = settings.flag("mlp_bias", False)
    read["attention_bias"] = "all" if settings.flag("attention_bias", False) else "none"
    if everywhere and read["attention_bias"] == "none":
        raise settings.refuse("mlp_bias", "false where attention_bias is")
    return read | {"linear_bias": everywhere}


def write_llama(config: ModelConfig) -> Record:
    """Llama."""
    biased = config.linear_bias or config.attention_bias == "all"
    return (
        write_common(config)
        | write_rope(config)
        | {"attention_bias": biased, "mlp_bias": config.linear_bias}
    )


def read_mistral(settings: Settings) -> Record:
    """Mistral: Llama with a window, which all layers have."""
    read = read_common(settings, tied=False, activations=GATED) | read_rope(settings)
    return read | window_everywhere(settings, 4096)


def write_mistral(config: ModelConfig) -> Record:
    """Mistral."""
    return write_common(config) | write_rope(config) | {"sliding_window": config.window or None}


def read_mixtral(settings: Settings) -> Record:
    """Mixtral: Mistral whose feed-forward layers are all mixtures."""
    read = read_common(settings, tied=False, activations=GATED)
    read |= read_rope(settings, base=1_000_000.0) | window_everywhere(settings, 0)
    return read | {
        "experts": settings.count("num_local_experts"),
        "experts_per_token": settings.count("num_experts_per_tok"),
        "expert_width": read["hidden_width"],
        "balance_weight": balance(settings),
    }


def write_mixtral(config: ModelConfig) -> Record:
    """Mixtral."""
    return write_mistral(config) | {
        "intermediate_size": config.expert_width,
        "num_local_experts": config.experts,
        "num_experts_per_tok": config.experts_per_token,
        "router_aux_loss_coef": config.balance_weight,
    }


def _read_gpt2(settings: Settings) -> Record:
    width = settings.count("n_embd")
    scaled = settings.flag("scale_attn_weights", True)
    return {
        "vocab_size": settings.count("vocab_size"),
        "width": width,
        "layers": settings.count("n_layer"),
        "query_heads": settings.count("n_head"),
        "hidden_width": settings.count("n_inner", 4 * width),
        "context": settings.count("n_positions"),
        "norm": "layernorm",
        "norm_epsilon": settings.number("layer_norm_epsilon", 1e-5),
        "positions": "learned",
        "feedforward": settings.choice("activation_function", PLAIN, "gelu_new"),
        "attention_scale": 0.0 if scaled else 1.0,
        "linear_bias": True,
        "tied": settings.flag("tie_word_embeddings", True),
    }


def _write_gpt2(config: ModelConfig) -> Record:
    return {
        "vocab_size": config.vocab_size,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.query_heads,
        "n_inner": config.hidden_width,
        "n_positions": config.context,
        "layer_norm_epsilon": config.norm_epsilon,
        "activation_function": "relu" if config.feedforward == "relu" else "gelu_new",
        "scale_attn_weights": config.score_scale != 1.0,
        "tie_word_embeddings": config.tied,
    }


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("gpt2", "gpt2", ("GPT2LMHeadModel", "GPT2Model"), _read_gpt2, _write_gpt2, GPT2),
        Family(
            "llama",
            "llama",
            ("LlamaForCausalLM", "LlamaModel"),
            read_llama,
            write_llama,
            LLAMA,
            True,
        ),
        Family(
            "mistral",
            "mistral",
            ("MistralForCausalLM", "MistralModel"),
            read_mistral,
            write_mistral,
            LLAMA,
        ),
        Family(
            "mixtral",
            "mixtral",
            ("MixtralForCausalLM", "MixtralModel"),
            read_mixtral,
            write_mixtral,
            MIXTRAL,
        ),
        Family(
            "gemma", "gemma", ("GemmaForCausalLM", "GemmaModel"), read_gemma1, write_gemma1, LLAMA
        ),
        Family(
            "gemma2",
            "gemma2",
            ("Gemma2ForCausalLM", "Gemma2Model"),
            read_gemma2,
            write_gemma2,
            GEMMA2,
            True,
        ),
        Family(
            "gemma3",
            "gemma3_text",
            ("Gemma3ForCausalLM", "Gemma3TextModel"),
            read_gemma3,
            write_gemma3,
            GEMMA2,
            True,
        ),
        Family("qwen2", "qwen2", ("Qwen2ForCausalLM", "Qwen2Model"), read_qwen2, write_qwen, LLAMA),
        Family(
            "qwen2_moe",
            "qwen2_moe",
            ("Qwen2MoeForCausalLM", "Qwen2MoeModel"),
            read_qwen2_moe,
            write_qwen2_moe,
            QWEN_MOE,
        ),
        Family(
            "qwen3", "qwen3", ("Qwen3ForCausalLM", "Qwen3Model"), read_qwen3, write_qwen3, LLAMA
        ),
        Family(
            "qwen3_moe",
            "qwen3_moe",
            ("Qwen3MoeForCausalLM", "Qwen3MoeModel"),
            read_qwen3_moe,
            write_qwen3_moe,
            QWEN_MOE,
        ),
    )
}
