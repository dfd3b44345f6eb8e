"""The ways of adding positions that are trained against each other, and what is asked of each.

All models of one part of the experiment have the same parameters with the same initial values
(a learned table comes on top) and see the same batches in the same order; only how positions come
in differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tokkit.model.config import ModelConfig

NONE = "none"
LENGTHS = (1.0, 1.5, 2.0, 4.0)
"""How long what is asked is, in trained lengths."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way that order comes in; `beyond` is False where it ends at the trained length."""

    name: str
    positions: str  # as in ModelConfig
    how: str
    beyond: bool = True


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme(NONE, "none", "no positions; only the causal mask tells earlier from later"),
        Scheme(
            "learned",
            "learned",
            "a learned row for each position, as many as are trained on: none beyond",
            beyond=False,
        ),
        Scheme("sinusoidal", "sinusoidal", "a fixed table of sines and cosines, added"),
        Scheme("rotary", "rope", "queries and keys turned by their position: offsets alone count"),
        Scheme("ALiBi", "alibi", "scores lowered in proportion to the offset"),
    )
}
WITH_POSITIONS = tuple(name for name in SCHEMES if name != NONE)
BEYOND = tuple(name for name, scheme in SCHEMES.items() if scheme.beyond)

BLIND = "one layer, none"
"""A model of one layer without positions: what it answers at the last place cannot depend on the
order before it, since keys and values of a first layer are those of single tokens."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """The trained rotary weights, asked with their angles changed; nothing is trained again."""

    name: str
    how: str


SCALINGS = {
    scaling.name: scaling
    for scaling in (
        Scaling("rotary + linear", "angles divided by the factor (Chen et al. 2023)"),
        Scaling("rotary + NTK", "a larger base: the slowest pair alone is divided by the factor"),
        Scaling("rotary + YaRN", "slow pairs divided, fast ones kept (Peng et al. 2023)"),
    )
}
CANNOT = "its table has a row for each trained position and none beyond: it cannot be asked"


def scheme_config(
    scheme: str, shape: Mapping[str, Any], *, trained: int, longest: int
) -> ModelConfig:
    """The config of a scheme's model of a `shape`, trained on `trained` tokens.

    The context of a learned table is what is trained; others may be asked up to `longest` tokens.
    """
    blind = scheme == BLIND
    of = SCHEMES[NONE if blind else scheme]
    depth = {"layers": 1} if blind else {}
    context = longest if of.beyond else trained
    return ModelConfig(**{**shape, **depth}, positions=of.positions, context=context)


def scaled_config(config: ModelConfig, scaling: str, factor: float, *, trained: int) -> ModelConfig:
    """A rotary config whose angles are scaled for texts of `factor` x `trained` tokens.

    With a factor of 1 all are the plain config's. NTK-aware: base x factor^(R / (R - 2)) for R
    rotated numbers, so that the fastest pair keeps its frequency and the slowest has it divided
    by the factor (Peng et al. 2023, equation 16; first by the user bloc97 in 2023).
    """
    if scaling == "rotary + NTK":
        width = config.rotary_width
        return replace(config, rope_base=config.rope_base * factor ** (width / max(1, width - 2)))
    kind = {"rotary + linear": "linear", "rotary + YaRN": "yarn"}[scaling]
    return replace(config, rope_scaling=kind, rope_factor=factor, rope_original_context=trained)
