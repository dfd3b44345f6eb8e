"""The settings of Gemma 1, 2 and 3 (text), in and out of config.json.

Sources: the Gemma team, Mesnard et al. 2024; Riviere et al. 2024; Kamath et al. 2025.
"""

from __future__ import annotations

from collections.abc import Mapping

from tokkit.model.config import ModelConfig
from tokkit.model.families.common import (
    ACTIVATION,
    GATED,
    Record,
    layer_types,
    read_common,
    read_pattern,
    write_common,
)
from tokkit.model.families.rope import read_local_rope, read_rope, write_local_rope, write_rope
from tokkit.model.families.settings import Settings


def _read_gemma(settings: Settings, activations: Mapping[str, str] = GATED) -> Record:
    read = read_common(settings, tied=True, activations=activations)
    for name in ("hidden_act", "hidden_activation"):  # readers differ in which one they take
        if name in settings:
            read["feedforward"] = settings.choice(name, activations)
    if "hidden_act" not in settings and "hidden_activation" not in settings:
        read["feedforward"] = "geglu"
    elif "hidden_act" in settings and (
        settings.choice("hidden_act", activations) != read["feedforward"]
    ):
        raise settings.refuse("hidden_act", "what hidden_activation is, or null")
    read["attention_bias"] = "all" if settings.flag("attention_bias", False) else "none"
    return read | {
        "head_width": settings.count("head_dim", 256),
        "embedding_scale": read["width"] ** 0.5,
        "norm_offset": True,
    }


def read_gemma1(settings: Settings) -> Record:
    """Gemma 1: Llama with GeGLU, (1 + weight) norms and scaled embeddings."""
    # The first files say gelu and mean its tanh form.
    return _read_gemma(settings, {**GATED, "gelu": "geglu"}) | read_rope(settings)


def _write_gemma(config: ModelConfig) -> Record:
    return write_common(config) | {
        "hidden_activation": ACTIVATION[config.feedforward],
        "attention_bias": config.attention_bias == "all",
    }


def write_gemma1(config: ModelConfig) -> Record:
    """Gemma 1."""
    return _write_gemma(config) | write_rope(config)


def read_gemma2(settings: Settings) -> Record:
    """Gemma 2: norms on both sides, soft caps, every second layer slides, the first among them."""
    read = _read_gemma(settings) | read_rope(settings)
    sliding = ["fs"[layer % 2 == 0] for layer in range(read["layers"])]
    return read | _read_sandwich(settings, "".join(sliding), caps=(50.0, 30.0))


def read_gemma3(settings: Settings) -> Record:
    """Gemma 3's text model: queries and keys normed, five sliding layers to each full one."""
    read = _read_gemma(settings) | read_local_rope(settings) | {"qk_norm": True}
    every = settings.count("sliding_window_pattern", 6)
    settings.get("_sliding_window_pattern")
    sliding = ["sf"[(layer + 1) % every == 0] for layer in range(read["layers"])]
    if "attn_logit_softcapping" in settings:  # transformers 5 passes it over in Gemma 3
        raise settings.refuse("attn_logit_softcapping", "null in Gemma 3")
    return read | _read_sandwich(settings, "".join(sliding), caps=(0.0, 0.0))


def _read_sandwich(settings: Settings, usual: str, *, caps: tuple[float, float]) -> Record:
    """What Gemma 2 and 3 share; `usual` is the pattern of layers where none is told."""
    return {
        "norm_place": "sandwich",
        "attention_scale": settings.number("query_pre_attn_scalar", 256.0) ** -0.5,
        "attention_softcap": settings.cap("attn_logit_softcapping", caps[0]),
        "logit_softcap": settings.cap("final_logit_softcapping", caps[1]),
        **read_pattern(settings, usual, settings.count("sliding_window", 4096)),
    }


def _write_sandwich(config: ModelConfig) -> Record:
    scale = max(config.score_scale, 1e-100)  # a smaller one has no square
    return _write_gemma(config) | {
        "query_pre_attn_scalar": max(1, round(scale**-2)),  # an int there
        "attn_logit_softcapping": config.attention_softcap or None,
        "final_logit_softcapping": config.logit_softcap or None,
        "sliding_window": config.window or 4096,
        "layer_types": layer_types(config),
    }


def write_gemma2(config: ModelConfig) -> Record:
    """Gemma 2."""
    return _write_sandwich(config) | write_rope(config)


def write_gemma3(config: ModelConfig) -> Record:
    """Gemma 3; it has no cap on scores."""
    written = _write_sandwich(config) | write_local_rope(config)
    return written | {"attn_logit_softcapping": None}
