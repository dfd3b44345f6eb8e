"""The rungs from the transformer of 2017 to that of today, at equal parameters.

The base is the decoder of Vaswani et al. (2017): norms after each addition, LayerNorm (Ba et al.
2016), absolute positions, here a learned table (their section 3.5 finds it as good), as many
key-value heads as query heads, and two linear maps in the feed-forward layer, here with GELU
(Hendrycks and Gimpel 2016); linear maps have biases, as in the decoders that followed (Radford et
al. 2018). Each step changes one thing; the hidden width of the feed-forward layer then is the
whole number that brings the parameters a token uses closest to the base's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tokkit.errors import ConfigError
from tokkit.model.config import ModelConfig

BASE = "2017"
EXPERTS, EXPERTS_PER_TOKEN, BALANCE_WEIGHT = 8, 2, 0.01


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its words, the settings it changes, and the settings that it cannot do without."""

    name: str
    label: str
    source: str
    changes: Mapping[str, Any]
    stands_on: str = ""  # the step that must have been taken, where it is taken alone


STEPS = (
    Step("pre-norm", "post-norm to pre-norm", "Xiong et al. 2020", {"norm_place": "pre"}),
    Step("rmsnorm", "LayerNorm to RMSNorm", "Zhang and Sennrich 2019", {"norm": "rmsnorm"}),
    Step("rotary", "learned to rotary positions", "Su et al. 2021", {"positions": "rope"}),
    # Gated units come without biases where they are from (Shazeer 2020, equation 6); those of
    # attention stay, so that the step is one.
    Step("swiglu", "GELU to SwiGLU", "Shazeer 2020",
         {"feedforward": "swiglu", "linear_bias": False}),
    Step("grouped", "multi-head to grouped queries", "Ainslie et al. 2023",
         {"key_value_heads": "half"}),
    Step("mixture", "dense to mixture of experts", "Shazeer et al. 2017; Fedus et al. 2021",
         {"experts": EXPERTS, "experts_per_token": EXPERTS_PER_TOKEN,
          "balance_weight": BALANCE_WEIGHT}, stands_on="swiglu"),
)  # fmt: skip
STEP_NAMES = tuple(step.name for step in STEPS)
DENSE, MIXTURE = "to-grouped", "to-mixture"
"""Today's stack: at equal parameters, and with experts at equal active parameters."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One model of the ladder.

    `taken` are the steps that lead to it; `step` is what it shows, as against the rung `minus`;
    "" for the base. `chain` and `alone` say in which comparisons that step stands.
    """

    name: str
    label: str
    config: ModelConfig
    taken: tuple[str, ...] = ()
    step: str = ""
    minus: str = ""
    chain: bool = False
    alone: bool = False


def base_config(
    *, vocab_size: int, width: int, layers: int, heads: int, length: int
) -> ModelConfig:
    """The transformer of 2017, its feed-forward layer 4 x width wide.

    Rows are multiplied by the root of the width on their way in (Vaswani et al. 2017, section
    3.4), in every rung alike.
    """
    if heads % 2:
        raise ConfigError(f"heads must be even, so that two can share a key, got {heads}")
    return ModelConfig(
        vocab_size=vocab_size,
        width=width,
        layers=layers,
        query_heads=heads,
        hidden_width=4 * width,
        context=length,
        embedding_scale=math.sqrt(width),
        norm="layernorm",
        norm_place="post",
        positions="learned",
        feedforward="gelu",
        linear_bias=True,
        attention_bias="all",
        tied=True,
    )


def rungs(base: ModelConfig) -> tuple[Rung, ...]:
    """The base, every rung of the chain, and each later step alone, in that order.

    The first step alone is the chain's first rung. A mixture has gated experts: alone it stands
    on the step to SwiGLU alone, and is compared with that.
    """
    found = [Rung(BASE, "2017", base)]
    for count, step in enumerate(STEPS, start=1):
        taken = STEP_NAMES[:count]
        before = f"to-{STEP_NAMES[count - 2]}" if count > 1 else BASE
        found.append(
            Rung(f"to-{step.name}", f"+ {step.name}", with_steps(base, taken), taken, step.name,
                 before, chain=True, alone=count == 1)
        )  # fmt: skip
    for step in STEPS[1:]:
        on = (step.stands_on,) if step.stands_on else ()
        taken = (*on, step.name)
        label = f"2017 with {' and '.join(taken)}"
        minus = f"only-{step.stands_on}" if on else BASE
        found.append(
            Rung(f"only-{step.name}", label, with_steps(base, taken), taken, step.name, minus,
                 alone=True)
        )  # fmt: skip
    return tuple(found)


def with_steps(base: ModelConfig, taken: tuple[str, ...]) -> ModelConfig:
    """The base after the named steps, with as many active parameters as whole widths allow."""
    changes: dict[str, Any] = {}
    for step in STEPS:
        if step.name in taken:
            changes |= step.changes
    if changes.get("key_value_heads") == "half":
        changes["key_value_heads"] = base.query_heads // 2
    if "experts" in changes:
        changes["expert_width"] = 1
    return _fitted(replace(base, **changes), active_parameters(base))


def _fitted(config: ModelConfig, parameters: int) -> ModelConfig:
    """The config with the hidden width that brings its active parameters closest to a number."""
    least = _with_hidden(config, 1)
    each = active_parameters(_with_hidden(config, 2)) - active_parameters(least)
    hidden = 1 + round((parameters - active_parameters(least)) / each)
    return _with_hidden(config, max(1, hidden))


def _with_hidden(config: ModelConfig, hidden: int) -> ModelConfig:
    if not config.experts:
        return replace(config, hidden_width=hidden)
    # What is unused is set alike, so that the record does not show a width that nothing has.
    return replace(config, expert_width=hidden, hidden_width=hidden)


def total_parameters(config: ModelConfig) -> int:
    """The parameters of a dense or all-mixture config of this ladder, worked out from its shapes.

    Embedding V D, table T D where learned; a layer: attention 2 D H K + 2 D G K, feed-forward
    2 D M or, gated, 3 D M, biases H K + 2 G K + D and, not gated, M + D, router D E, two norms; a
    final norm where norms come first.
    """
    width, hidden = config.width, config.hidden_width
    norm = width * (2 if config.norm == "layernorm" else 1)
    keys = config.key_value_heads * config.head_width
    queries = config.query_heads * config.head_width
    attention = 2 * width * (queries + keys)
    feedforward = (3 if config.gated else 2) * width * hidden
    biases = queries + 2 * keys + width + (width + hidden if config.linear_bias else 0)
    if config.experts:
        feedforward = config.experts * 3 * width * config.expert_width + width * config.experts
    table = config.context * width if config.positions == "learned" else 0
    final = 0 if config.norm_place == "post" else norm
    layer = attention + feedforward + biases + 2 * norm
    return config.vocab_size * width + table + config.layers * layer + final


def active_parameters(config: ModelConfig) -> int:
    """The parameters that one token uses: all but those of the experts that are not chosen."""
    idle = config.experts - config.experts_per_token
    unused = config.layers * idle * 3 * config.width * config.expert_width
    return total_parameters(config) - unused
