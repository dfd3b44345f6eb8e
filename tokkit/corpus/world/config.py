"""What a world is made from: a seed and a size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tokkit.errors import ConfigError

MEGABYTES_MIN, MEGABYTES_MAX = 1.0, 20.0
SEED_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """seed: of everything random, 0 to 2**31 - 1. megabytes: of training text, 10**6 bytes each.

    Raises ConfigError for a value out of range.
    """

    seed: int = 0
    megabytes: float = 4.0

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ConfigError(f"the seed of a world is a whole number, got {self.seed!r}")
        if not 0 <= self.seed <= SEED_MAX:
            raise ConfigError(
                f"the seed of a world is from 0 to {SEED_MAX}, got {self.seed}: choose one of those"
            )
        if isinstance(self.megabytes, bool) or not isinstance(self.megabytes, int | float):
            raise ConfigError(f"megabytes of a world is a number, got {self.megabytes!r}")
        size = float(self.megabytes)
        if not (math.isfinite(size) and MEGABYTES_MIN <= size <= MEGABYTES_MAX):
            raise ConfigError(
                f"a world has from {MEGABYTES_MIN:g} to {MEGABYTES_MAX:g} megabytes, got {size:g}: "
                "choose a size between them; for more text, add documents of other sources"
            )
        object.__setattr__(self, "megabytes", size)
