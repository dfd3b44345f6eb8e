"""Small random models of every family, made by transformers: the other side of parity.

Sizes are distinct primes wherever divisibility allows; windows and original contexts are shorter
than the text; every parameter is shaken, norms and biases too, so that none hides a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from tokkit.model.config import ModelConfig
from tokkit.model.families.express import effective

transformers.utils.logging.disable_progress_bar()
TIME, VOCAB = 31, 53
LIMIT = 1e-4  # of the spread of the logits

_SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 60,
    "intermediate_size": 17,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 37,
    "rms_norm_eps": 3e-3,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_APART = {"head_dim": 22}  # head width apart from width
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 3.0,
    "original_max_position_embeddings": 13,
}
_LINEAR = {"rope_type": "linear", "rope_theta": 700.0, "factor": 3.0}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 300.0,
    "factor": 2.5,
    "original_max_position_embeddings": 17,
    "beta_fast": 1.1,
    "beta_slow": 0.1,
}
_GPT2 = {
    "vocab_size": VOCAB,
    "n_embd": 42,
    "n_inner": 17,
    "n_layer": 3,
    "n_head": 6,
    "n_positions": 37,
    "layer_norm_epsilon": 3e-3,
    "bos_token_id": None,
    "eos_token_id": None,
}
_GEMMA = {**_APART, "head_dim": 26, "hidden_activation": "gelu_pytorch_tanh"}
_SANDWICH = {**_GEMMA, "query_pre_attn_scalar": 19, "sliding_window": 5, "num_hidden_layers": 5}
_EXPERTS = {"num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 11}

# The fused kernels leave soft caps out, and ask for widths in multiples of 16 bytes.
_PLAIN = {"attn_implementation": "eager", "experts_implementation": "eager"}

MODELS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", _GPT2),
    "gpt2 untied relu": (
        "gpt2",
        {**_GPT2, "tie_word_embeddings": False, "activation_function": "relu",
         "scale_attn_weights": False},
    ),
    "llama": ("llama", {}),
    "llama tied biased": (
        "llama",
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, **_APART},
    ),
    "llama attention bias": (
        "llama", {"attention_bias": True, "hidden_act": "gelu_pytorch_tanh"}
    ),
    "llama llama3": ("llama", {"rope_parameters": _LLAMA3, "num_key_value_heads": 6}),
    "llama linear": ("llama", {"rope_parameters": _LINEAR, "num_key_value_heads": 1}),
    "llama yarn": ("llama", {"rope_parameters": _YARN, **_APART}),
    "llama yarn magnitude": (
        "llama",
        {"rope_parameters": {**_YARN, "attention_factor": 1.37, "truncate": False,
                             "beta_slow": 0.3}},
    ),
    "llama yarn mscale": (
        "llama", {"rope_parameters": {**_YARN, "mscale": 0.7, "mscale_all_dim": 1.9}}
    ),
    "mistral": ("mistral", {"sliding_window": 5, **_APART}),
    "mistral full": ("mistral", {"sliding_window": None, "rope_parameters": _YARN}),
    "mixtral": (
        "mixtral",
        {"num_local_experts": 7, "num_experts_per_tok": 3, "router_aux_loss_coef": 0.13},
    ),
    "mixtral sliding": (
        "mixtral", {"num_local_experts": 3, "num_experts_per_tok": 1, "sliding_window": 7,
                    **_APART}
    ),
    "gemma": ("gemma", {**_GEMMA, "num_key_value_heads": 1}),
    "gemma untied biased": (
        "gemma", {**_GEMMA, "tie_word_embeddings": False, "attention_bias": True}
    ),
    "gemma2": (
        "gemma2", {**_SANDWICH, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
    ),
    "gemma2 uncapped": (
        "gemma2",
        {**_SANDWICH, "attn_logit_softcapping": None, "final_logit_softcapping": None,
         "layer_types": ["full_attention"] * 2 + ["sliding_attention"] * 3,
         "attention_bias": True},
    ),
    "gemma3": (
        "gemma3_text",
        {**_SANDWICH, "num_hidden_layers": 7, "final_logit_softcapping": 2.0,
         "rope_parameters": {
             "full_attention": _LINEAR,
             "sliding_attention": {"rope_type": "default", "rope_theta": 90.0},
         }},
    ),
    "gemma3 scaled alike": (
        "gemma3_text",
        {**_SANDWICH, "layer_types": ["full_attention", "sliding_attention"] * 2
         + ["full_attention"],
         "rope_parameters": {"full_attention": _LLAMA3, "sliding_attention": _LLAMA3}},
    ),
    "qwen2": ("qwen2", {"rope_parameters": _YARN}),
    "qwen2 sliding tied": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1,
         "tie_word_embeddings": True},
    ),
    "qwen2_moe": (
        "qwen2_moe", {**_EXPERTS, "shared_expert_intermediate_size": 13, "norm_topk_prob": True}
    ),
    "qwen2_moe dense layers": (
        "qwen2_moe",
        {**_EXPERTS, "shared_expert_intermediate_size": 13, "num_hidden_layers": 5,
         "decoder_sparse_step": 2, "mlp_only_layers": [3], "qkv_bias": False,
         "use_sliding_window": True, "sliding_window": 5},
    ),
    "qwen3": ("qwen3", {**_APART}),
    "qwen3 biased sliding": (
        "qwen3",
        {**_APART, "attention_bias": True, "use_sliding_window": True, "sliding_window": 7,
         "max_window_layers": 2, "tie_word_embeddings": True, "rope_parameters": _LLAMA3},
    ),
    "qwen3_moe": ("qwen3_moe", {**_EXPERTS, **_APART}),
    "qwen3_moe dense layers": (
        "qwen3_moe",
        {**_EXPERTS, "num_hidden_layers": 5, "mlp_only_layers": [1, 4], "norm_topk_prob": True,
         "use_sliding_window": True, "sliding_window": 5, "attention_bias": True},
    ),
}  # fmt: skip


def hf_config(model_type: str, changed: Mapping[str, Any]) -> Any:
    sizes = {} if model_type == "gpt2" else _SIZES
    return transformers.AutoConfig.for_model(model_type, **(sizes | dict(changed)))


def hf_model(case: str, seed: int = 0) -> nn.Module:
    """The model of one case, with noise on every parameter, in evaluation mode."""
    torch.manual_seed(seed)
    config = hf_config(*MODELS[case])
    model = transformers.AutoModelForCausalLM.from_config(config, **_PLAIN)
    generator = torch.Generator().manual_seed(seed + 5)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise, alpha=0.15)
    return model.eval()


def some_text(seed: int = 1, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCAB, (batch, TIME), generator=generator)


@torch.no_grad()
def hf_logits(model: nn.Module, ids: Tensor) -> Tensor:
    logits: Tensor = model(ids, use_cache=False).logits
    return logits


def hf_read(folder: Path) -> nn.Module:
    """The folder as transformers reads it; its report of names must be empty."""
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32, **_PLAIN
    )
    left = {kind: names for kind, names in report.items() if names}
    assert not left, left
    return model.eval()


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of two sets of logits, as a share of their spread."""
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.1, "logits without a spread would prove nothing"
    return float((ours - theirs).abs().max() / theirs.std())


def wrong_configs(config: ModelConfig) -> dict[str, ModelConfig]:
    """The config with one setting after another told wrong, where weights still fit: by setting.

    What the config does not use is left out. Each must change the logits far beyond `LIMIT`.
    """
    used = effective(config)
    changed: dict[str, Any] = {
        name: factor * used[name] for name, factor in _FACTORS.items() if used.get(name)
    }
    changed |= {name: not used[name] for name in _FLAGS if name in used}
    changed |= {name: used[name] + 1 for name in ("window", "experts_per_token") if used.get(name)}
    changed["feedforward"] = _OTHER[config.feedforward]
    if config.norm == "layernorm":
        del changed["norm_offset"]
    if config.window:
        flipped = used["attention_pattern"].translate(str.maketrans("sf", "fs"))
        changed["attention_pattern"] = flipped if "s" in flipped else "s" + flipped[1:]
        if set(used["attention_pattern"]) == {"s"}:
            changed["attention_pattern"] = "fs"
    return {name: replace(config, **{name: value}) for name, value in changed.items()}


_FACTORS = {
    "norm_epsilon": 9.0,
    "rope_base": 1.5,
    "rope_local_base": 1.5,
    "rope_factor": 1.5,
    "rope_original_context": 2,
    "rope_low_frequency": 0.5,
    "rope_high_frequency": 2.0,
    "rope_fast_turns": 0.6,
    "rope_slow_turns": 3.0,
    "rope_magnitude": 1.1,
    "attention_scale": 1.2,
    "attention_softcap": 1.5,
    "logit_softcap": 1.5,
    "embedding_scale": 1.3,
}
_FLAGS = ("norm_offset", "routing_normalised", "rope_whole_pairs")
_OTHER = {"swiglu": "geglu", "geglu": "swiglu", "gelu": "relu", "relu": "gelu"}


def family_name(case: str) -> str:
    return MODELS[case][0].removesuffix("_text")
