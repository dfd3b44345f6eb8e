"""The settings of one transformer: flat, frozen, and checked when made."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tokkit.errors import ConfigError, unknown_choice

NORMS = ("rmsnorm", "layernorm")
NORM_PLACES = ("pre", "post", "sandwich")
POSITIONS = ("rope", "learned", "sinusoidal", "alibi", "none")
ROPE_SCALINGS = ("none", "linear", "llama3", "yarn")
FEEDFORWARDS = ("swiglu", "geglu", "gelu", "relu")
ATTENTION_BIASES = ("none", "query_key_value", "all")

LARGEST_SIZE = 1 << 20  # of any one count: a config from a file is data, and memory is dear
LARGEST_PATTERN = 4096

_CHOICES = {
    "norm": NORMS,
    "norm_place": NORM_PLACES,
    "positions": POSITIONS,
    "rope_scaling": ROPE_SCALINGS,
    "feedforward": FEEDFORWARDS,
    "attention_bias": ATTENTION_BIASES,
}
_PATTERNS = {"attention_pattern": "fs", "expert_pattern": "de"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What a `Transformer` is built from.

    Raises ConfigError at construction when a value is out of its range or two contradict.

    >>> ModelConfig(vocab_size=300, width=64, layers=2, query_heads=4).head_width
    16
    """

    vocab_size: int  # rows of the embedding table: ids run from 0 to vocab_size - 1
    width: int  # of the residual stream
    layers: int
    query_heads: int
    key_value_heads: int = 0  # 0: as many as query heads; 1: multi-query; between: grouped
    head_width: int = 0  # numbers in one query, key or value vector; 0: width / query_heads
    hidden_width: int = 0  # of the feed-forward layer; 0: 4 x width, or 8/3 x width when gated
    context: int = 256  # the longest sequence, in tokens
    embedding_scale: float = 1.0  # what the rows are multiplied by on their way in

    norm: str = "rmsnorm"
    norm_place: str = "pre"  # sandwich: before and after each layer
    norm_epsilon: float = 1e-5
    norm_offset: bool = False  # RMSNorm multiplies by 1 + weight

    positions: str = "rope"
    rope_base: float = 10_000.0
    rope_local_base: float = 0.0  # of the sliding layers, which then are not scaled; 0: as others
    rope_share: float = 1.0  # of each head that is rotated, its first numbers
    rope_scaling: str = "none"
    rope_factor: float = 1.0  # how many times the original context
    rope_original_context: int = 0  # llama3, yarn; 0: context
    rope_low_frequency: float = 1.0  # llama3: turns in the original context, below: all scaled
    rope_high_frequency: float = 4.0  # llama3: turns in the original context, above: unscaled
    rope_fast_turns: float = 32.0  # yarn: pairs that turn more often keep their frequency
    rope_slow_turns: float = 1.0  # yarn: pairs that turn less often are scaled in full
    rope_whole_pairs: bool = True  # yarn: the ends of its ramp are rounded outward to whole pairs
    rope_magnitude: float = 0.0  # what yarn multiplies cosines and sines by; 0: 0.1 ln factor + 1

    attention_bias: str = "none"
    attention_scale: float = 0.0  # what scores are multiplied by; 0: head_width ^ -1/2
    attention_softcap: float = 0.0  # c: scores become c tanh(score / c); 0: as they are
    attention_pattern: str = "f"  # f full, s sliding; repeated over the layers
    window: int = 0  # tokens that a sliding layer sees, the present one among them
    qk_norm: bool = False  # queries and keys are normed a head at a time, before the rotation

    feedforward: str = "swiglu"
    experts: int = 0  # of a mixture; 0: one dense feed-forward layer
    experts_per_token: int = 0
    expert_width: int = 0  # hidden width of one expert; 0: hidden_width
    expert_pattern: str = "e"  # e experts, d dense; repeated over the layers
    shared_expert_width: int = 0  # of the expert that sees every token, behind a gate; 0: none
    routing_normalised: bool = True  # the chosen experts' shares add up to 1
    balance_weight: float = 0.0  # of the load-balancing loss that training adds

    linear_bias: bool = False  # biases on every linear map but the unembedding and the router
    tied: bool = False  # unembedding rows are the embedding rows
    logit_softcap: float = 0.0  # as attention_softcap, of the logits
    token_features: int = 0  # fixed numbers known of each token, embedded beside its row

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_type(field.name, getattr(self, field.name), str(field.type))
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(unknown_choice(name, getattr(self, name), choices))
        for name in ("vocab_size", "width", "layers", "query_heads", "context"):
            _check_size(name, getattr(self, name), least=1)
        for name in _COUNTS:
            _check_size(name, getattr(self, name), least=0)
        for name in _POSITIVE:
            _check_number(name, getattr(self, name), above=True)
        for name in _NOT_NEGATIVE:
            _check_number(name, getattr(self, name), above=False)
        for name, letters in _PATTERNS.items():
            _check_pattern(name, getattr(self, name), letters)
        self._settle_defaults()
        self._check_shapes()
        self._check_rotary()
        self._check_experts()

    def _settle_defaults(self) -> None:
        """Replace the zeros that mean "the usual", so that what is saved is explicit."""
        settled = {}
        if self.key_value_heads == 0:
            settled["key_value_heads"] = self.query_heads
        if self.head_width == 0:
            if self.width % self.query_heads:
                raise ConfigError(
                    f"width must be a multiple of query_heads where head_width is not given, got "
                    f"{self.width} and {self.query_heads}: try width "
                    f"{self.query_heads * max(1, self.width // self.query_heads)}"
                )
            settled["head_width"] = self.width // self.query_heads
        if self.hidden_width == 0:
            usual = round(8 * self.width / 3) if self.gated else 4 * self.width
            settled["hidden_width"] = usual
        if self.experts and self.expert_width == 0:
            settled["expert_width"] = settled.get("hidden_width", self.hidden_width)
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    def _check_shapes(self) -> None:
        if self.query_heads % self.key_value_heads:
            raise ConfigError(
                "query_heads must be a multiple of key_value_heads, got "
                f"{self.query_heads} and {self.key_value_heads}: try key_value_heads "
                f"{math.gcd(self.query_heads, self.key_value_heads)}"
            )
        if self.positions == "sinusoidal" and self.width % 2:
            raise ConfigError(
                f"sinusoidal positions come in pairs, so width must be even, got {self.width}"
            )
        slides = any(self.is_sliding(layer) for layer in range(self.layers))
        if slides != (self.window > 0):
            raise ConfigError(
                "window must be above 0 exactly when a layer of attention_pattern slides ('s'), "
                f"got {self.window} and {self.attention_pattern!r}"
            )
        if self.norm_offset and self.norm != "rmsnorm":
            raise ConfigError("norm_offset belongs to norm 'rmsnorm', got 'layernorm'")

    def _check_rotary(self) -> None:
        if not self.rope_share <= 1:
            raise ConfigError(f"rope_share must be at most 1, got {self.rope_share}")
        if self.positions == "rope" and (self.rotary_width % 2 or self.rotary_width == 0):
            raise ConfigError(
                f"rope rotates pairs, so rope_share x head_width must be even and not 0, got "
                f"{self.rope_share} x {self.head_width}: try head_width "
                f"{2 * max(1, round(self.head_width / 2))}"
            )
        if self.rope_scaling != "none" and self.rope_factor < 1:
            raise ConfigError(f"rope_factor must be at least 1, got {self.rope_factor}")
        if self.rope_low_frequency >= self.rope_high_frequency:
            raise ConfigError(
                "rope_low_frequency must be below rope_high_frequency, got "
                f"{self.rope_low_frequency} and {self.rope_high_frequency}"
            )

        turns = self.rope_slow_turns, self.rope_fast_turns
        if self.rope_scaling == "yarn" and not (
            1e-6 <= turns[0] < turns[1] <= 1e6 and self.rope_base >= 1.001
        ):
            raise ConfigError(
                "yarn needs 1e-6 <= rope_slow_turns < rope_fast_turns <= 1e6 and a rope_base of "
                f"1.001 or more, got {turns[0]}, {turns[1]} and {self.rope_base}"
            )

    def _check_experts(self) -> None:
        if not min(1, self.experts) <= self.experts_per_token <= self.experts:
            raise ConfigError(
                "experts_per_token must lie in 1..experts, and be 0 without experts, got "
                f"{self.experts_per_token} of {self.experts}"
            )
        if self.experts and (self.linear_bias or not self.gated):
            raise ConfigError(
                "experts are gated and without biases: use feedforward 'swiglu' or 'geglu' and "
                "linear_bias false"
            )
        if self.shared_expert_width and not self.experts:
            raise ConfigError("shared_expert_width needs experts, got 0 experts: set experts")

    @property
    def gated(self) -> bool:
        """Whether the feed-forward layer has a gate beside its up projection."""
        return self.feedforward in ("swiglu", "geglu")

    @property
    def rotary_width(self) -> int:
        """How many numbers of each head are rotated, its first ones."""
        return int(self.head_width * self.rope_share)

    @property
    def score_scale(self) -> float:
        """What the products of queries and keys are multiplied by."""
        return self.attention_scale or self.head_width**-0.5

    def is_sliding(self, layer: int) -> bool:
        """Whether a layer's attention sees the last `window` tokens only."""
        return self.attention_pattern[layer % len(self.attention_pattern)] == "s"

    def has_experts(self, layer: int) -> bool:
        """Whether a layer's feed-forward is a mixture of experts."""
        return bool(self.experts) and (self.expert_pattern[layer % len(self.expert_pattern)] == "e")

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Read settings back; an unknown or missing name raises ConfigError."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigError(unknown_choice("model setting", name, known))
        missing = [n for n in ("vocab_size", "width", "layers", "query_heads") if n not in values]
        if missing:
            raise ConfigError(f"the model settings lack {', '.join(missing)}: add them")
        return cls(**values)


_COUNTS = (
    "key_value_heads",
    "head_width",
    "hidden_width",
    "rope_original_context",
    "window",
    "experts",
    "experts_per_token",
    "expert_width",
    "shared_expert_width",
    "token_features",
)
_POSITIVE = (
    "norm_epsilon",
    "rope_base",
    "rope_share",
    "rope_factor",
    "rope_low_frequency",
    "rope_high_frequency",
    "rope_fast_turns",
    "rope_slow_turns",
    "embedding_scale",
)
_NOT_NEGATIVE = (
    "rope_local_base",
    "rope_magnitude",
    "attention_scale",
    "attention_softcap",
    "logit_softcap",
    "balance_weight",
)


def _check_type(name: str, value: object, expected: str) -> None:
    fits = {
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
    }[expected]
    if not fits:
        raise ConfigError(f"{name} must be of type {expected}, got {_shown(value)}")


def _check_size(name: str, value: int, *, least: int) -> None:
    if not least <= value <= LARGEST_SIZE:
        raise ConfigError(f"{name} must lie in {least}..{LARGEST_SIZE}, got {_shown(value)}")


def _check_number(name: str, value: float, *, above: bool) -> None:
    if not (value > 0 if above else value >= 0) or value > sys.float_info.max:
        bound = "above 0" if above else "0 or above"
        raise ConfigError(f"{name} must be {bound} and finite, got {_shown(value)}")


def _check_pattern(name: str, value: str, letters: str) -> None:
    if not value or len(value) > LARGEST_PATTERN or set(value) - set(letters):
        raise ConfigError(
            f"{name} must be 1 to {LARGEST_PATTERN} letters of {' and '.join(letters)}, got "
            f"{_shown(value)}"
        )


def _shown(value: object) -> str:
    """A value from outside, short enough for a line; a huge int has no decimal form."""
    text = hex(value) if isinstance(value, int) and abs(value) >> 64 else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
