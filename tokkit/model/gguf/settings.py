"""From a GGUF file's metadata to the settings of the skeleton.

Keys are those of the format ("Standardized key-value pairs" in docs/gguf.md of ggml), each behind
the name of the architecture. Settings that the files leave unsaid, because their readers know
them, stand in the functions of the families. What is set and not read is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tokkit.errors import ArtifactError, ConfigError, unknown_choice
from tokkit.model.config import LARGEST_SIZE, ModelConfig
from tokkit.model.gguf.rope import read_scaling
from tokkit.model.strict_json import shown

Shapes = Mapping[str, tuple[int, ...]]
REQUIRED = object()

# Of the file, the tokenizer or the training, or told by the tensors themselves: set and not used.
_WITHOUT_EFFECT = (
    "vocab_size",
    "tensor_data_layout",
    "rope.scaling.finetuned",
    "rope.dimension_count",
    "attention.value_length",
)
# Settings of other models: these values leave the logits as they are.
_HARMLESS_VALUES = {
    "use_parallel_residual": False,
    "attention.causal": True,
    "attention.clamp_kqv": 0.0,
    "attention.max_alibi_bias": 0.0,
    "expert_weights_scale": 1.0,
    "expert_gating_func": 1,  # softmax
    "expert_group_count": 1,
    "expert_group_used_count": 1,
    "expert_shared_count": None,  # the width of the shared expert says it
    "leading_dense_block_count": 0,
    "nextn_predict_layers": 0,
    "logit_scale": 1.0,
    "residual_scale": 1.0,
    "embedding_scale": 1.0,
}


class Keys:
    """The metadata of one architecture, and which of its keys were read."""

    def __init__(self, architecture: str, metadata: Mapping[str, Any]) -> None:
        self.architecture = architecture
        prefix = f"{architecture}."
        self._values = {k[len(prefix) :]: v for k, v in metadata.items() if k.startswith(prefix)}
        self._read: set[str] = set(_WITHOUT_EFFECT)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str, default: Any = REQUIRED) -> Any:
        """The value; `default` where there is none; ArtifactError where it is required."""
        self._read.add(name)
        if name not in self._values and default is REQUIRED:
            raise ArtifactError(
                f"the GGUF metadata lack {self.architecture}.{name}: convert the model again"
            )
        return self._values.get(name, default)

    def count(self, name: str, default: Any = REQUIRED) -> int:
        """A whole number, or an array that says the same for every layer."""
        value = self.get(name, default)
        if isinstance(value, np.ndarray) and len(value) and bool((value == value[0]).all()):
            value = value[0].item()
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not 0 <= value <= LARGEST_SIZE:
            raise self.refuse(name, f"one whole number in 0..{LARGEST_SIZE} for all layers")
        return int(value)

    def number(self, name: str, default: Any = REQUIRED) -> float:
        """A finite number that is not negative."""
        value = self.get(name, default)
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if not real or not 0 <= value < 1e300:
            raise self.refuse(name, "a number, 0 or above")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise self.refuse(name, "true or false")
        return value

    def refuse(self, name: str, rule: str) -> ArtifactError:
        """The error for a value that breaks `rule`."""
        return ArtifactError(
            f"GGUF metadata: {self.architecture}.{name} must be {rule}, got "
            f"{shown(self._values.get(name))}: tokkit cannot express that model"
        )

    def check_all_read(self) -> None:
        """Raise ArtifactError for what is set, was not read, and may change the logits."""
        for name, value in self._values.items():
            harmless = _HARMLESS_VALUES.get(name, REQUIRED)
            if name in self._read or harmless is None:
                continue
            if harmless is REQUIRED or isinstance(value, np.ndarray) or value != harmless:
                raise ArtifactError(
                    f"GGUF metadata: {shown(f'{self.architecture}.{name}')} is set to "
                    f"{shown(value)}, which tokkit cannot express: use another model"
                )


def architecture_of(metadata: Mapping[str, Any]) -> str:
    """The name of the architecture; ArtifactError where tokkit does not have it."""
    name = metadata.get("general.architecture")
    if name not in ARCHITECTURES:
        raise ArtifactError(
            f"GGUF metadata: {unknown_choice('architecture', name, ARCHITECTURES)}: tokkit has "
            "these; use another model"
        )
    if metadata.get("split.count", 1) not in (0, 1):
        raise ArtifactError(
            f"this is one of {shown(metadata['split.count'])} parts of a model: join them with "
            "llama-gguf-split --merge"
        )
    return str(name)


def config_from_gguf(
    metadata: Mapping[str, Any], shapes: Shapes, rope_factors: np.ndarray | None = None
) -> ModelConfig:
    """The settings that metadata and tensor shapes (outermost axis first) amount to.

    `rope_factors` are the numbers of the tensor rope_freqs.weight, which hold Llama 3's scaling.
    Raises ArtifactError for an architecture, a key or a value that tokkit cannot express.
    """
    architecture = architecture_of(metadata)
    keys = Keys(architecture, metadata)
    if "token_embd.weight" not in shapes:
        raise ArtifactError("the GGUF file lacks token_embd.weight: get the whole model again")
    settings = _common(keys, shapes) | ARCHITECTURES[architecture](keys, shapes)
    if settings.get("positions", "rope") == "rope":
        settings |= _rotation(keys, settings, rope_factors)
    elif rope_factors is not None:
        raise ArtifactError(f"architecture {architecture} does not rotate, but has rope_freqs")
    keys.check_all_read()
    try:
        return ModelConfig(**settings)
    except ConfigError as error:
        raise ArtifactError(f"the GGUF metadata cannot be used: {error}") from error


def _common(keys: Keys, shapes: Shapes) -> dict[str, Any]:
    """What all architectures say."""
    heads = keys.count("attention.head_count")
    settings: dict[str, Any] = {
        "vocab_size": shapes["token_embd.weight"][0],
        "width": keys.count("embedding_length"),
        "layers": keys.count("block_count"),
        "query_heads": heads,
        "key_value_heads": keys.count("attention.head_count_kv", heads),
        "head_width": keys.count("attention.key_length", 0),
        "hidden_width": keys.count("feed_forward_length", 0),
        "context": keys.count("context_length"),
        "attention_scale": keys.number("attention.scale", 0.0),
        "tied": "output.weight" not in shapes,
        "linear_bias": "blk.0.ffn_up.bias" in shapes,
    }
    if not heads or not settings["width"]:
        raise keys.refuse("attention.head_count", "1 or more")
    if not settings["head_width"]:
        if settings["width"] % heads:
            raise keys.refuse("attention.key_length", "given where heads do not divide the width")
        settings["head_width"] = settings["width"] // heads
    if keys.count("attention.value_length", settings["head_width"]) != settings["head_width"]:
        raise keys.refuse("attention.value_length", f"{settings['head_width']}, as the keys'")
    if not settings["linear_bias"] and "blk.0.attn_q.bias" in shapes:
        everywhere = "blk.0.attn_output.bias" in shapes
        settings["attention_bias"] = "all" if everywhere else "query_key_value"
    return settings


def _rms(keys: Keys) -> dict[str, Any]:
    return {"norm_epsilon": keys.number("attention.layer_norm_rms_epsilon")}


def _llama(keys: Keys, shapes: Shapes) -> dict[str, Any]:
    """Llama, Mistral, and Mixtral where there are experts, whose shares always add up to 1."""
    found = _rms(keys) | _experts(keys, shapes)
    if window := keys.count("attention.sliding_window", 0):
        found |= {"window": window, "attention_pattern": "s"}
    return found


def _gpt2(keys: Keys, shapes: Shapes) -> dict[str, Any]:
    return {
        "norm": "layernorm",
        "norm_epsilon": keys.number("attention.layer_norm_epsilon"),
        "positions": "learned",
        "feedforward": "gelu",
        "linear_bias": True,
    }


def _gemma(keys: Keys, shapes: Shapes) -> dict[str, Any]:
    """Converters add the 1 of 1 + weight to the norms' weights, so no offset is set."""
    scale = keys.count("embedding_length") ** 0.5
    return _rms(keys) | {"feedforward": "geglu", "embedding_scale": scale}


def _gemma2(keys: Keys, shapes: Shapes) -> dict[str, Any]:
    return _gemma(keys, shapes) | {
        "norm_place": "sandwich",
        "attention_softcap": keys.number("attn_logit_softcapping", 50.0),
        "logit_softcap": keys.number("final_logit_softcapping", 30.0),
        **_sliding(keys, "sf", 4096),
        **_scale_of_the_largest(keys, 46),
    }


def _gemma3(keys: Keys, shapes: Shapes) -> dict[str, Any]:
    return _gemma(keys, shapes) | {
        "norm_place": "sandwich",
        "qk_norm": True,
        "logit_softcap": keys.number("final_logit_softcapping", 0.0),
        "rope_local_base": keys.number("rope.freq_base_swa", 10_000.0),
        **_sliding(keys, "sssssf", 0),
        **_scale_of_the_largest(keys, 62),
    }


def _qwen2(keys: Keys, shapes: Shapes) -> dict[str, Any]:
    return _rms(keys)


def _qwen3(keys: Keys, shapes: Shapes) -> dict[str, Any]:
    return _rms(keys) | {"qk_norm": True}


def _qwen2moe(keys: Keys, shapes: Shapes) -> dict[str, Any]:
    """Experts' shares stay as the router gives them; one more expert sees every token."""
    shared = shapes.get("blk.0.ffn_up_shexp.weight", (0,))[0]
    return _rms(keys) | _experts(keys, shapes) | {
        "shared_expert_width": keys.count("expert_shared_feed_forward_length", shared),
        "routing_normalised": keys.flag("expert_weights_norm", False),
    }  # fmt: skip


def _qwen3moe(keys: Keys, shapes: Shapes) -> dict[str, Any]:
    return _rms(keys) | _experts(keys, shapes) | {"qk_norm": True}


ARCHITECTURES: Mapping[str, Callable[[Keys, Shapes], dict[str, Any]]] = {
    "llama": _llama,
    "gpt2": _gpt2,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen2moe": _qwen2moe,
    "qwen3moe": _qwen3moe,
}


def _experts(keys: Keys, shapes: Shapes) -> dict[str, Any]:
    count, used = keys.count("expert_count", 0), keys.count("expert_used_count", 0)
    if not count:
        return {}
    up = shapes.get("blk.0.ffn_up_exps.weight", (0, 0, 0))
    hidden = up[1] if len(up) == 3 else 0
    width = keys.count("expert_feed_forward_length", hidden) or hidden
    return {
        "experts": count,
        "experts_per_token": used,
        "expert_width": width,
        "routing_normalised": keys.flag("expert_weights_norm", True),
    }


def _sliding(keys: Keys, usual: str, usual_window: int) -> dict[str, Any]:
    """Which layers slide: as the architecture has it, every n-th not, or told layer by layer."""
    window = keys.count("attention.sliding_window", usual_window)
    if not window:
        return {"rope_local_base": 0.0}
    told = keys.get("attention.sliding_window_pattern", None)
    if told is None:
        pattern = usual
    elif (
        isinstance(told, np.ndarray)
        and told.dtype == bool
        and len(told) == keys.count("block_count")
    ):
        pattern = "".join("s" if slides else "f" for slides in told)
    elif isinstance(told, int) and not isinstance(told, bool) and 1 <= told <= 64:
        pattern = "s" * (told - 1) + "f"
    else:
        raise keys.refuse("attention.sliding_window_pattern", "a number, or a truth value a layer")
    layers = keys.count("block_count")
    slides = any(pattern[layer % len(pattern)] == "s" for layer in range(min(layers, 64)))
    return {"window": window, "attention_pattern": pattern} if slides else {}


def _scale_of_the_largest(keys: Keys, layers: int) -> dict[str, Any]:
    """Of Gemma's 27B models alone, told by their layers, scores are scaled by width / heads."""
    if "attention.scale" in keys or keys.count("block_count") != layers:
        return {}
    width, heads = keys.count("embedding_length"), keys.count("attention.head_count")
    return {"attention_scale": (width / max(1, heads)) ** -0.5}


def _rotation(
    keys: Keys, settings: Mapping[str, Any], factors: np.ndarray | None
) -> dict[str, Any]:
    width = settings["head_width"]
    rotated = keys.count("rope.dimension_count", width)
    if not 0 < rotated <= width or (rotated != width and keys.architecture == "llama"):
        raise keys.refuse("rope.dimension_count", f"{width}, all of a head")
    usual = 1e6 if keys.architecture == "gemma3" else 1e4
    found: dict[str, Any] = {"rope_base": keys.number("rope.freq_base", usual)}
    if rotated != width:
        found["rope_share"] = rotated / width
    return found | read_scaling(keys, found["rope_base"], rotated, factors)
