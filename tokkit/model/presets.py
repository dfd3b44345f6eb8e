"""The published shapes of known models: each the plain skeleton with a few settings changed.

A family is a set of settings, a preset a family with its sizes; what is not written here is as
`ModelConfig` has it by itself. Totals are those of the published files: every one is computed
again from the shapes (`tokkit.model.anatomy`) and compared in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tokkit.errors import ConfigError, unknown_choice
from tokkit.model.config import ModelConfig

# Radford et al. 2019: learned positions, LayerNorm, biases, GELU.
_GPT2 = {
    "norm": "layernorm",
    "positions": "learned",
    "feedforward": "gelu",
    "linear_bias": True,
    "tied": True,
    "context": 1024,
}
# Touvron et al. 2023: Llama is the plain skeleton itself. Grattafiori et al. 2024: Llama 3.
_LLAMA3 = {"vocab_size": 128_256, "key_value_heads": 8, "rope_base": 500_000.0}
_LLAMA31 = {
    "context": 131_072,
    "rope_scaling": "llama3",
    "rope_original_context": 8192,
}
# Jiang et al. 2023; Jiang et al. 2024 (Mixtral).
_MISTRAL = {"attention_pattern": "s", "window": 4096}
_MIXTRAL = {
    "rope_base": 1_000_000.0,
    "experts": 8,
    "experts_per_token": 2,
    "balance_weight": 0.02,
}
# The Gemma team, Mesnard et al. 2024; Riviere et al. 2024 (Gemma 2); Kamath et al. 2025 (Gemma 3).
_GEMMA = {
    "norm_offset": True,
    "norm_epsilon": 1e-6,
    "feedforward": "geglu",
    "tied": True,
    "vocab_size": 256_000,
    "head_width": 256,
    "context": 8192,
}
_GEMMA2 = _GEMMA | {
    "norm_place": "sandwich",
    "attention_pattern": "sf",
    "window": 4096,
    "attention_softcap": 50.0,
    "logit_softcap": 30.0,
    "attention_scale": 256**-0.5,
}
_GEMMA3 = _GEMMA | {
    "norm_place": "sandwich",
    "attention_pattern": "sssssf",
    "window": 512,
    "attention_scale": 256**-0.5,
    "qk_norm": True,
    "rope_base": 1_000_000.0,
    "rope_local_base": 10_000.0,
    "vocab_size": 262_144,
    "context": 32_768,
}
# The Qwen team, Yang et al. 2024 (Qwen 2.5), Yang et al. 2025 (Qwen 3).
_QWEN2 = {
    "norm_epsilon": 1e-6,
    "attention_bias": "query_key_value",
    "rope_base": 1_000_000.0,
    "context": 131_072,
}
_QWEN3 = {
    "norm_epsilon": 1e-6,
    "qk_norm": True,
    "rope_base": 1_000_000.0,
    "vocab_size": 151_936,
    "head_width": 128,
    "context": 40_960,
}
_QWEN3_MOE = _QWEN3 | {"experts": 128, "experts_per_token": 8, "balance_weight": 0.001}


@dataclass(frozen=True, slots=True)
class Preset:
    """A published shape: what differs from the plain skeleton, and the total of its file."""

    name: str
    family: str
    published: int  # parameters, exact
    source: str  # of that number
    settings: Mapping[str, Any] = field(repr=False)

    @property
    def config(self) -> ModelConfig:
        """The whole settings."""
        return ModelConfig(**self.settings)


def _shape(
    width: int, layers: int, query_heads: int, hidden_width: int = 0, key_value_heads: int = 0
) -> dict[str, int]:
    """The sizes that every preset has; a 0 is left to the plain skeleton."""
    sizes = {
        "width": width,
        "layers": layers,
        "query_heads": query_heads,
        "hidden_width": hidden_width,
        "key_value_heads": key_value_heads,
    }
    return {name: size for name, size in sizes.items() if size}


def _gpt2(name: str, published: int, shape: Mapping[str, int]) -> Preset:
    settings = {"vocab_size": 50_257, **_GPT2, **shape}
    source = f"model.safetensors of openai-community/{name}, without its causal masks"
    return Preset(name, "gpt2", published, source, settings)


def _preset(
    name: str, family: str, published: int, files: str, *settings: Mapping[str, Any]
) -> Preset:
    """A preset whose files, `files` on the Hugging Face Hub, hold `published` numbers."""
    merged: dict[str, Any] = {}
    for part in settings:
        merged |= part
    if family.startswith("gemma"):
        merged["embedding_scale"] = math.sqrt(merged["width"])
    return Preset(name, family, published, f"safetensors files of {files}", merged)


_LLAMA2 = {"vocab_size": 32_000, "context": 4096}
_LLAMA2_70B = _shape(8192, 80, 64, 28_672, 8)
_SMALL_CONTEXT = {"context": 8192}
_MISTRAL_SHAPE = {"vocab_size": 32_000, "context": 32_768} | _shape(4096, 32, 32, 14_336, 8)
_TIED = {"tied": True}

_ALL = (
    _gpt2("gpt2", 124_439_808, _shape(768, 12, 12)),
    _gpt2("gpt2-medium", 354_823_168, _shape(1024, 24, 16)),
    _gpt2("gpt2-large", 774_030_080, _shape(1280, 36, 20)),
    _gpt2("gpt2-xl", 1_557_611_200, _shape(1600, 48, 25)),
    _preset(
        "llama-2-7b", "llama", 6_738_415_616, "meta-llama/Llama-2-7b-hf",
        _LLAMA2, _shape(4096, 32, 32, 11_008),
    ),
    _preset(
        "llama-2-13b", "llama", 13_015_864_320, "meta-llama/Llama-2-13b-hf",
        _LLAMA2, _shape(5120, 40, 40, 13_824),
    ),
    _preset(
        "llama-2-70b", "llama", 68_976_648_192, "meta-llama/Llama-2-70b-hf",
        _LLAMA2, _LLAMA2_70B,
    ),
    _preset(
        "llama-3-8b", "llama", 8_030_261_248, "meta-llama/Meta-Llama-3-8B",
        _LLAMA3, _SMALL_CONTEXT, _shape(4096, 32, 32, 14_336, 8),
    ),
    _preset(
        "llama-3-70b", "llama", 70_553_706_496, "meta-llama/Meta-Llama-3-70B",
        _LLAMA3, _SMALL_CONTEXT, _LLAMA2_70B,
    ),
    _preset(
        "llama-3.1-8b", "llama", 8_030_261_248, "meta-llama/Llama-3.1-8B",
        _LLAMA3, _LLAMA31, {"rope_factor": 8.0}, _shape(4096, 32, 32, 14_336, 8),
    ),
    _preset(
        "llama-3.2-1b", "llama", 1_235_814_400, "meta-llama/Llama-3.2-1B",
        _LLAMA3, _LLAMA31, {"rope_factor": 32.0}, _TIED, _shape(2048, 16, 32, 8192, 8),
    ),
    _preset(
        "smollm2-135m", "llama", 134_515_008, "HuggingFaceTB/SmolLM2-135M",
        {"vocab_size": 49_152, "context": 8192, "rope_base": 100_000.0}, _TIED,
        _shape(576, 30, 9, 1536, 3),
    ),
    _preset(
        "mistral-7b", "mistral", 7_241_732_096, "mistralai/Mistral-7B-v0.1",
        _MISTRAL, _MISTRAL_SHAPE,
    ),
    _preset(
        "mixtral-8x7b", "mixtral", 46_702_792_704, "mistralai/Mixtral-8x7B-v0.1",
        _MIXTRAL, _MISTRAL_SHAPE,
    ),
    _preset(
        "gemma-2b", "gemma", 2_506_172_416, "google/gemma-2b",
        _GEMMA, _shape(2048, 18, 8, 16_384, 1),
    ),
    _preset(
        "gemma-2-2b", "gemma2", 2_614_341_888, "google/gemma-2-2b",
        _GEMMA2, _shape(2304, 26, 8, 9216, 4),
    ),
    _preset(
        "gemma-2-9b", "gemma2", 9_241_705_984, "google/gemma-2-9b",
        _GEMMA2, _shape(3584, 42, 16, 14_336, 8),
    ),
    _preset(
        "gemma-2-27b", "gemma2", 27_227_128_320, "google/gemma-2-27b",
        _GEMMA2, {"head_width": 128, "attention_scale": 144**-0.5},
        _shape(4608, 46, 32, 36_864, 16),
    ),
    _preset(
        "gemma-3-1b", "gemma3", 999_885_952, "google/gemma-3-1b-pt",
        _GEMMA3, _shape(1152, 26, 4, 6912, 1),
    ),
    _preset(
        "qwen-2.5-0.5b", "qwen2", 494_032_768, "Qwen/Qwen2.5-0.5B",
        _QWEN2, {"vocab_size": 151_936, "context": 32_768}, _TIED, _shape(896, 24, 14, 4864, 2),
    ),
    _preset(
        "qwen-2.5-1.5b", "qwen2", 1_543_714_304, "Qwen/Qwen2.5-1.5B",
        _QWEN2, {"vocab_size": 151_936}, _TIED, _shape(1536, 28, 12, 8960, 2),
    ),
    _preset(
        "qwen-2.5-7b", "qwen2", 7_615_616_512, "Qwen/Qwen2.5-7B",
        _QWEN2, {"vocab_size": 152_064}, _shape(3584, 28, 28, 18_944, 4),
    ),
    _preset(
        "qwen-2.5-72b", "qwen2", 72_706_203_648, "Qwen/Qwen2.5-72B",
        _QWEN2, {"vocab_size": 152_064, "norm_epsilon": 1e-5}, _shape(8192, 80, 64, 29_568, 8),
    ),
    _preset(
        "qwen-3-0.6b", "qwen3", 596_049_920,
        "Qwen/Qwen3-0.6B, less the copy of the tied rows that they also hold",
        _QWEN3, _TIED, _shape(1024, 28, 16, 3072, 8),
    ),
    _preset(
        "qwen-3-8b", "qwen3", 8_190_735_360, "Qwen/Qwen3-8B",
        _QWEN3, _shape(4096, 36, 32, 12_288, 8),
    ),
    _preset(
        "qwen-3-30b-a3b", "qwen3_moe", 30_532_122_624, "Qwen/Qwen3-30B-A3B",
        _QWEN3_MOE, {"expert_width": 768}, _shape(2048, 48, 32, 6144, 4),
    ),
)  # fmt: skip

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}


def preset(name: str) -> Preset:
    """The preset of that name; raises ConfigError, with the nearest name, where there is none.

    >>> preset("llama-2-70b").config.key_value_heads
    8
    """
    if name not in PRESETS:
        raise ConfigError(unknown_choice("preset", name, PRESETS))
    return PRESETS[name]
