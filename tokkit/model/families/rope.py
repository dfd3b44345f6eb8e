"""The rotary settings of a config.json, in the older form and in that of transformers 5.

Older: rope_theta, rope_scaling {"rope_type" or "type", ...}, and Gemma 3's rope_local_base_freq.
Newer: rope_parameters, one object, or in Gemma 3 one a type of layer. What is written holds both,
so that either generation of readers understands it.
"""

from __future__ import annotations

import math
from typing import Any

from tokkit.errors import ArtifactError
from tokkit.model.config import ModelConfig
from tokkit.model.families.settings import REQUIRED, Settings
from tokkit.model.strict_json import shown

FULL, SLIDING = "full_attention", "sliding_attention"
_TYPES = {"default": "none", "linear": "linear", "llama3": "llama3", "yarn": "yarn"}
_WITHOUT_EFFECT = ("rope_type", "type", "rope_theta", "finetuned")
_TURNS = {"beta_fast": 32.0, "beta_slow": 1.0}
_LOCAL_BASE = 10_000.0  # of Gemma 3's sliding layers, where its file says nothing


def read_rope(settings: Settings, *, base: float = 10_000.0) -> dict[str, Any]:
    """The rope_ settings of ModelConfig for families with one kind of rotation.

    `base` is the family's own, where the file says nothing. Raises ArtifactError for a scaling
    that tokkit lacks, and where the two forms contradict each other.
    """
    _whole_head(settings)
    newer, older = settings.part("rope_parameters"), settings.part("rope_scaling")
    theta = settings.number("rope_theta", base)
    found = [_read_one(part, settings, theta) for part in (newer, older) if part is not None]
    if not found:
        return {"rope_base": theta}
    if found[0] != found[-1] or ("rope_theta" in settings and found[0]["rope_base"] != theta):
        raise ArtifactError(
            f"{settings.where}: rope_parameters contradicts rope_theta or rope_scaling: take the "
            "wrong one out"
        )
    return found[0]


def read_local_rope(settings: Settings) -> dict[str, Any]:
    """The same for Gemma 3, whose sliding layers have a base of their own."""
    _whole_head(settings)
    theta = settings.number("rope_theta", 1_000_000.0)
    local = settings.number("rope_local_base_freq", _LOCAL_BASE)
    newer, older = settings.part("rope_parameters"), settings.part("rope_scaling")
    found = []
    if older is not None or newer is None:
        scaled: dict[str, Any] = (
            {"rope_base": theta} if older is None else _read_one(older, settings, theta)
        )
        found.append(scaled | {"rope_local_base": local})
    if newer is not None:
        found.append(_read_two(newer, settings, theta, local))
    if found[0] != found[-1]:
        raise ArtifactError(
            f"{settings.where}: rope_parameters contradicts rope_scaling: take the wrong one out"
        )
    return found[0]


def _read_two(newer: Settings, whole: Settings, theta: float, local: float) -> dict[str, Any]:
    full, sliding = newer.part(FULL), newer.part(SLIDING)
    newer.check_all_read(())
    rope = {"rope_base": theta} if full is None else _read_one(full, whole, theta)
    if sliding is None:
        return rope | {"rope_local_base": local}
    beside = _read_one(sliding, whole, local)
    if set(beside) == {"rope_base"}:
        return rope | {"rope_local_base": beside["rope_base"]}
    if beside != rope:
        raise ArtifactError(
            f"{newer.where}: sliding layers may turn as the full ones do, or without scaling: "
            "tokkit cannot express a scaling of their own"
        )
    return rope


def _whole_head(settings: Settings) -> None:
    if settings.get("partial_rotary_factor", 1.0) != 1:
        raise settings.refuse("partial_rotary_factor", "1 in these families")


def _read_one(part: Settings, whole: Settings, theta: float) -> dict[str, Any]:
    """One object of rotary settings; only those that its kind of scaling has are in the answer."""
    if FULL in part or SLIDING in part:
        raise ArtifactError(
            f"{part.where} differs by type of layer, which only Gemma 3 can: use another model"
        )
    kinds = {shown(part.get(name)) for name in ("rope_type", "type") if name in part}
    if len(kinds) > 1:
        raise ArtifactError(
            f"{part.where}: rope_type and type contradict each other ({', '.join(sorted(kinds))}): "
            "take one out"
        )
    _whole_head(part)
    scaling = part.choice("rope_type" if "rope_type" in part else "type", _TYPES, "default")
    rope: dict[str, Any] = {"rope_base": part.number("rope_theta", theta)}
    if scaling == "none":
        part.check_all_read(_WITHOUT_EFFECT)
        return rope
    rope |= {"rope_scaling": scaling}
    if scaling == "linear":
        rope |= {"rope_factor": part.number("factor")}
        part.check_all_read(_WITHOUT_EFFECT)
        return rope
    context = whole.count("max_position_embeddings")
    rope |= {"rope_original_context": part.count("original_max_position_embeddings", context)}
    rope |= _read_llama3(part) if scaling == "llama3" else _read_yarn(part, rope, context)
    part.check_all_read(_WITHOUT_EFFECT)
    return rope


def _read_llama3(part: Settings) -> dict[str, Any]:
    return {
        "rope_factor": part.number("factor"),
        "rope_low_frequency": part.number("low_freq_factor", REQUIRED),
        "rope_high_frequency": part.number("high_freq_factor", REQUIRED),
    }


def _read_yarn(part: Settings, rope: dict[str, Any], context: int) -> dict[str, Any]:
    factor = part.number("factor", context / rope["rope_original_context"])
    magnitude = part.number("attention_factor", 0.0)
    scales = [part.number(name, 0.0) for name in ("mscale", "mscale_all_dim")]
    if not magnitude and all(scales):
        above, below = (0.1 * scale * math.log(factor) + 1 for scale in scales)
        magnitude = above / below
    turns = {name: part.number(name, usual) for name, usual in _TURNS.items()}
    for name, value in turns.items():  # the ramp's ends are logarithms of these and of the base
        if not 1e-6 <= value <= 1e6:
            raise part.refuse(name, "in 1e-6..1e6")
    if rope["rope_base"] <= 1:
        raise ArtifactError(
            f"{part.where}: yarn needs a rope_theta above 1, got {rope['rope_base']}: get the "
            "model again"
        )
    return {
        "rope_factor": factor,
        "rope_fast_turns": turns["beta_fast"],
        "rope_slow_turns": turns["beta_slow"],
        "rope_whole_pairs": part.flag("truncate", True),
        "rope_magnitude": magnitude,
    }


def write_rope(config: ModelConfig) -> dict[str, Any]:
    """config.json's rotary settings, in both forms."""
    scaling = _scaling(config)
    return {
        "rope_theta": config.rope_base,
        "rope_scaling": scaling,
        "rope_parameters": {
            "rope_theta": config.rope_base,
            **(scaling or {"rope_type": "default"}),
        },
    }


def write_local_rope(config: ModelConfig) -> dict[str, Any]:
    """The same for Gemma 3; the older form has no words for sliding layers that are scaled."""
    scaling = _scaling(config)
    full = {"rope_theta": config.rope_base, **(scaling or {"rope_type": "default"})}
    if not config.rope_local_base:
        return {"rope_parameters": {FULL: full, SLIDING: dict(full)}}
    local = {"rope_theta": config.rope_local_base, "rope_type": "default"}
    return {
        "rope_theta": config.rope_base,
        "rope_local_base_freq": config.rope_local_base,
        "rope_scaling": scaling,
        "rope_parameters": {FULL: full, SLIDING: local},
    }


def _scaling(config: ModelConfig) -> dict[str, Any] | None:
    if config.rope_scaling == "none":
        return None
    scaling: dict[str, Any] = {"rope_type": config.rope_scaling, "factor": config.rope_factor}
    if config.rope_scaling == "linear":
        return scaling
    scaling["original_max_position_embeddings"] = config.rope_original_context or config.context
    if config.rope_scaling == "llama3":
        return scaling | {
            "low_freq_factor": config.rope_low_frequency,
            "high_freq_factor": config.rope_high_frequency,
        }
    scaling |= {"beta_fast": config.rope_fast_turns, "beta_slow": config.rope_slow_turns}
    scaling |= {"truncate": config.rope_whole_pairs}
    if config.rope_magnitude:
        scaling["attention_factor"] = config.rope_magnitude
    return scaling
