"""Which settings a family's config.json can hold: those that read back as they were.

One rule for all families. Two configs are compared by what has a part in the logits: the base of a
rotation means nothing without rotation, a zero and the usual value that it stands for are equal.
"""

from __future__ import annotations

import math
from typing import Any

from tokkit.errors import ArtifactError, ConfigError
from tokkit.model.config import ModelConfig
from tokkit.model.families.settings import Settings
from tokkit.model.families.table import Family
from tokkit.model.strict_json import shown

_ROPE = ("rope_base", "rope_local_base", "rope_share", "rope_scaling")
_SCALINGS = {
    "none": (),
    "linear": ("rope_factor",),
    "llama3": ("rope_factor", "rope_original_context", "rope_low_frequency", "rope_high_frequency"),
    "yarn": (
        *("rope_factor", "rope_original_context", "rope_magnitude"),
        *("rope_fast_turns", "rope_slow_turns", "rope_whole_pairs"),
    ),
}
_OF_EXPERTS = (
    *("experts_per_token", "expert_width", "expert_pattern", "shared_expert_width"),
    *("routing_normalised", "balance_weight"),
)


def effective(config: ModelConfig) -> dict[str, Any]:
    """The settings that have a part in what the model computes or learns, in one form each."""
    found = config.to_dict()
    layers = range(config.layers)
    found["attention_pattern"] = "".join("fs"[config.is_sliding(layer)] for layer in layers)
    found["expert_pattern"] = "".join("de"[config.has_experts(layer)] for layer in layers)
    found["attention_scale"] = config.score_scale
    if config.linear_bias:
        found["attention_bias"] = "all"
    if config.norm == "layernorm":
        found["norm_offset"] = False
    if config.experts and "d" not in found["expert_pattern"]:
        del found["hidden_width"]
    if not config.experts:
        for name in _OF_EXPERTS:
            del found[name]
    rope = {name: found[name] for name in _ROPE} | _scaling(config)
    if "s" not in found["attention_pattern"]:
        del rope["rope_local_base"]
    elif config.rope_scaling == "none" and not config.rope_local_base:
        rope["rope_local_base"] = config.rope_base
    others = {name: value for name, value in found.items() if not name.startswith("rope_")}
    return others | (rope if config.positions == "rope" else {})


def _scaling(config: ModelConfig) -> dict[str, Any]:
    found = {name: getattr(config, name) for name in _SCALINGS[config.rope_scaling]}
    if "rope_original_context" in found:
        found["rope_original_context"] = config.rope_original_context or config.context
    if "rope_magnitude" in found and not config.rope_magnitude:
        found["rope_magnitude"] = 0.1 * math.log(config.rope_factor) + 1
    return found


def inexpressible(config: ModelConfig, family: Family) -> list[str]:
    """The settings that `family` cannot hold, each as "name value"; none where it can be written.

    What the family would write is read back and compared; what transformers asks for beyond is
    added.
    """
    wanted = effective(config)
    if bool(config.experts) != bool(family.names.experts):
        return [f"experts {config.experts}"]
    try:
        read = effective(ModelConfig(**family.read(Settings(family.write(config)))))
    except (ArtifactError, ConfigError) as error:
        return [str(error)]
    # What one of them has no use for depends on a setting in which they differ.
    names = [name for name in wanted if name in read and not _equal(wanted[name], read[name])]
    faults = [f"{name} {shown(getattr(config, name))}" for name in names]
    if family.whole_heads and config.width % config.query_heads:
        faults.append(f"width {config.width}, no multiple of query_heads {config.query_heads}")
    return faults


def _equal(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9)
    return one == other
