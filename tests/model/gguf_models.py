"""Small GGUF files: models of transformers, written as llama.cpp's converters write them.

Names come from the gguf package's own table. What the converters change is done here again: rows
of Llama's queries and keys are interleaved, 1 is added to Gemma's norms, GPT-2's matrices turned.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Q
from model.hf_models import MODELS, VOCAB, hf_config
from torch import nn

CASES: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    # name -> the case of hf_models, the architecture, changes
    "gpt2": ("gpt2", "gpt2", {}),
    "llama": ("llama", "llama", {}),
    "llama tied biased": ("llama tied biased", "llama", {}),
    "llama llama3": ("llama llama3", "llama", {"head_dim": 40}),
    "llama linear": ("llama linear", "llama", {}),
    "llama yarn": ("llama yarn", "llama", {}),
    "mistral": ("mistral", "llama", {}),
    "mixtral": ("mixtral", "llama", {}),
    "gemma": ("gemma", "gemma", {}),
    "gemma2": ("gemma2", "gemma2", {}),
    "gemma3": ("gemma3", "gemma3", {}),
    "qwen2": ("qwen2", "qwen2", {}),
    "qwen2moe": ("qwen2_moe", "qwen2moe", {"norm_topk_prob": False}),
    "qwen3": ("qwen3", "qwen3", {}),
    "qwen3moe": ("qwen3_moe", "qwen3moe", {"norm_topk_prob": True}),
}
_ARCHITECTURES = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}


def reference(case: str) -> nn.Module:
    """The model of transformers, with noise on every parameter."""
    name, _, changes = CASES[case]
    model_type, settings = MODELS[name]
    torch.manual_seed(3)
    model = _made(hf_config(model_type, settings | changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.15)
    return model.eval()


def _made(config: Any) -> nn.Module:
    import transformers

    made: nn.Module = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", experts_implementation="eager"
    )
    return made


def write_model(
    path: Path,
    model: nn.Module,
    architecture: str,
    *,
    kind: Q = Q.F32,
    extra: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray | None] | None = None,
) -> Path:
    """Write `model`; matrices as `kind`. `tensors` replaces tensors, or with None leaves them out.

    `extra` holds metadata behind "ARCH.", or under their whole name where it has a colon before it.
    """
    writer = gguf.GGUFWriter(path, architecture)
    values = settings_of(model.config, architecture) | dict(extra or {})
    for name, value in values.items():
        add_value(writer, name[1:] if name[0] == ":" else f"{architecture}.{name}", value)
    found = tensors_of(model, architecture) | dict(tensors or {})
    for name, tensor in found.items():
        if tensor is not None:
            add_tensor(writer, name, tensor, kind if tensor.ndim > 1 else Q.F32)
    return finish(writer, path)


def add_tensor(writer: gguf.GGUFWriter, name: str, tensor: np.ndarray, kind: Q) -> None:
    if kind in (Q.F32, Q.F16):
        writer.add_tensor(name, tensor.astype(np.float32 if kind == Q.F32 else np.float16))
    else:
        packed = gguf.quants.quantize(np.ascontiguousarray(tensor, np.float32), kind)
        writer.add_tensor(name, packed, raw_dtype=kind)


def add_value(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    kinds = {bool: "bool", int: "uint32", float: "float32", str: "string", list: "array"}
    getattr(writer, f"add_{kinds[type(value)]}")(name, value)


def finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def settings_of(config: Any, architecture: str) -> dict[str, Any]:
    """The metadata that converters write, without the name of the architecture before each."""
    if architecture == "gpt2":
        return {
            "block_count": config.n_layer,
            "context_length": config.n_positions,
            "embedding_length": config.n_embd,
            "feed_forward_length": config.n_inner,
            "attention.head_count": config.n_head,
            "attention.layer_norm_epsilon": config.layer_norm_epsilon,
        }
    found = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "vocab_size": VOCAB,
    }
    if head := getattr(config, "head_dim", None):
        found |= {"attention.key_length": head, "attention.value_length": head}
    rope = config.rope_parameters
    found |= _rope(rope.get("full_attention", rope))
    if "sliding_attention" in rope:
        found["rope.freq_base_swa"] = float(rope["sliding_attention"]["rope_theta"])
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True):
        found["attention.sliding_window"] = window
    if scalar := getattr(config, "query_pre_attn_scalar", None):
        found["attention.scale"] = float(scalar) ** -0.5
    caps = {
        "attn_logit_softcapping": "attn_logit_softcapping",
        "final_logit_softcapping": "final_logit_softcapping",
    }
    found |= {ours: float(getattr(config, theirs)) for ours, theirs in caps.items()
              if getattr(config, theirs, None)}  # fmt: skip
    return found | _experts(config)


def _rope(rope: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"rope.freq_base": float(rope["rope_theta"])}
    if rope["rope_type"] in ("linear", "yarn"):
        found |= {"rope.scaling.type": rope["rope_type"], "rope.scaling.factor": rope["factor"]}
    if rope["rope_type"] == "yarn":
        found["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
        found["rope.scaling.yarn_beta_fast"] = rope["beta_fast"]
        found["rope.scaling.yarn_beta_slow"] = rope["beta_slow"]
    return found


def _experts(config: Any) -> dict[str, Any]:
    count = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    if not count:
        return {}
    found = {"expert_count": count, "expert_used_count": config.num_experts_per_tok}
    if width := getattr(config, "moe_intermediate_size", None):
        found["expert_feed_forward_length"] = width
    if width := getattr(config, "shared_expert_intermediate_size", None):
        found["expert_shared_feed_forward_length"] = width
    return found


def tensors_of(model: nn.Module, architecture: str) -> dict[str, np.ndarray]:
    """The tensors that converters make of a model, by their names in the file."""
    config = model.config
    table = gguf.get_tensor_name_map(_ARCHITECTURES[architecture], config.num_hidden_layers)
    found: dict[str, np.ndarray] = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy()
        if ".experts." in name or name.endswith(("mlp.gate.weight", "shared_expert_gate.weight")):
            found |= _expert_tensors(name, values)
            continue
        theirs = table.get_name(name, try_suffixes=(".weight", ".bias"))
        assert theirs is not None, name
        found[theirs] = _converted(name, values, config, architecture)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "llama3":
        found["rope_freqs.weight"] = rope_factors(rope, config.head_dim)
    return found


def _converted(name: str, values: np.ndarray, config: Any, architecture: str) -> np.ndarray:
    if architecture == "llama" and (".q_proj." in name or ".k_proj." in name):
        heads = config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads
        halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
        return halves.swapaxes(1, 2).reshape(values.shape)
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return values + 1
    turned = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return values.T if name.endswith(turned) else values


def _expert_tensors(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    layer = name.split(".")[2]
    if name.endswith("shared_expert_gate.weight"):
        return {f"blk.{layer}.ffn_gate_inp_shexp.weight": values[0]}
    if name.endswith("gate.weight"):
        return {f"blk.{layer}.ffn_gate_inp.weight": values}
    if name.endswith("down_proj"):
        return {f"blk.{layer}.ffn_down_exps.weight": values}
    gate, up = np.split(values, 2, axis=1)
    return {f"blk.{layer}.ffn_gate_exps.weight": gate, f"blk.{layer}.ffn_up_exps.weight": up}


def rope_factors(rope: Mapping[str, Any], width: int) -> np.ndarray:
    """What Llama 3's scaling multiplies each pair's wavelength by, pair after pair."""
    found = []
    original = rope["original_max_position_embeddings"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    for pair in range(width // 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (2 * pair / width)
        if wavelength < original / high:
            found.append(1.0)
        elif wavelength > original / low:
            found.append(rope["factor"])
        else:
            smooth = (original / wavelength - low) / (high - low)
            found.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(found, np.float32)


def smollm2() -> Path | None:
    """The file of SmolLM2, where TOKKIT_SMOLLM2 or the installed package says it is."""
    from tokkit.errors import ArtifactError
    from tokkit.probes.models import find_smollm2

    if given := os.environ.get("TOKKIT_SMOLLM2"):
        return Path(given) if Path(given).is_file() else None
    try:
        return find_smollm2()
    except ArtifactError:
        return None
