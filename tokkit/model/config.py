"""The settings of one transformer: flat, frozen, and checked when made."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tokkit.errors import ConfigError, unknown_choice

NORMS = ("rmsnorm", "layernorm")
NORM_PLACES = ("pre", "post")
POSITIONS = ("rope", "learned", "sinusoidal", "alibi", "none")
FEEDFORWARDS = ("swiglu", "gelu", "relu")

LARGEST_SIZE = 1 << 20  # of any one count: a config from a file is data, and memory is dear

_CHOICES = {
    "norm": NORMS,
    "norm_place": NORM_PLACES,
    "positions": POSITIONS,
    "feedforward": FEEDFORWARDS,
}


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
    hidden_width: int = 0  # of the feed-forward layer; 0: 4 x width, or 8/3 x width when gated
    context: int = 256  # the longest sequence, in tokens
    norm: str = "rmsnorm"
    norm_place: str = "pre"
    norm_epsilon: float = 1e-5
    positions: str = "rope"
    rope_base: float = 10_000.0
    feedforward: str = "swiglu"
    linear_bias: bool = False  # biases on every linear map but the unembedding
    tied: bool = False  # unembedding rows are the embedding rows
    token_features: int = 0  # fixed numbers known of each token, embedded beside its row

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_type(field.name, getattr(self, field.name), str(field.type))
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(unknown_choice(name, getattr(self, name), choices))
        for name in ("vocab_size", "width", "layers", "query_heads", "context"):
            _check_size(name, getattr(self, name), least=1)
        for name in ("key_value_heads", "hidden_width", "token_features"):
            _check_size(name, getattr(self, name), least=0)
        for name in ("norm_epsilon", "rope_base"):
            if not 0 < getattr(self, name) <= sys.float_info.max:
                raise ConfigError(
                    f"{name} must be above 0 and finite, got {_shown(getattr(self, name))}"
                )
        # The two zeros that mean "the usual" are settled here, so that what is saved is explicit.
        if self.key_value_heads == 0:
            object.__setattr__(self, "key_value_heads", self.query_heads)
        if self.hidden_width == 0:
            usual = round(8 * self.width / 3) if self.gated else 4 * self.width
            object.__setattr__(self, "hidden_width", usual)
        self._check_shapes()

    def _check_shapes(self) -> None:
        if self.width % self.query_heads:
            raise ConfigError(
                f"width must be a multiple of query_heads, got {self.width} and "
                f"{self.query_heads}: try width {self.query_heads * max(1, self.head_width)}"
            )
        if self.query_heads % self.key_value_heads:
            raise ConfigError(
                "query_heads must be a multiple of key_value_heads, got "
                f"{self.query_heads} and {self.key_value_heads}: try key_value_heads "
                f"{math.gcd(self.query_heads, self.key_value_heads)}"
            )
        if self.positions == "rope" and self.head_width % 2:
            raise ConfigError(
                f"rope rotates pairs, so width / query_heads must be even, got {self.head_width}"
            )
        if self.positions == "sinusoidal" and self.width % 2:
            raise ConfigError(
                f"sinusoidal positions come in pairs, so width must be even, got {self.width}"
            )

    @property
    def head_width(self) -> int:
        """Numbers in one query, key or value vector."""
        return self.width // self.query_heads

    @property
    def gated(self) -> bool:
        """Whether the feed-forward layer has a gate beside its up projection."""
        return self.feedforward == "swiglu"

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


def _shown(value: object) -> str:
    """A value from outside, short enough for a line; a huge int has no decimal form."""
    text = hex(value) if isinstance(value, int) and abs(value) >> 64 else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
