"""The generated world that a model says it learned: what is true there is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokkit.corpus.world import World


def world_of(about: Mapping[str, Any]) -> World | None:
    """The world of a checkpoint's `about`, built anew from its seed; None of other models.

    Raises ConfigError where the seed or the size is out of range.
    """
    record = about.get("world")
    given = record if isinstance(record, Mapping) else {}
    seed, megabytes = given.get("seed"), given.get("megabytes")
    if not isinstance(seed, int) or not isinstance(megabytes, int | float):
        return None
    from tokkit.corpus.world import WorldConfig, build_world

    return build_world(WorldConfig(seed=seed, megabytes=megabytes))
