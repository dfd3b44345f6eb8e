"""What a scheme of positions is made of: rotary pairs and their wavelengths, slopes of heads."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from tokkit.analysis.section import Section
from tokkit.model.config import ModelConfig
from tokkit.model.positions import alibi_slopes, rotary_frequencies
from tokkit.results import Column, Table

HALVED_NATS = math.log(2)
SMALL_NATS = math.log(100)


@dataclass(frozen=True, slots=True)
class RotaryPair:
    """One rotated pair: `radians` a token as used, `base_radians` before scaling.

    `layers` is "all", or "full" and "sliding" where these have bases of their own.
    """

    layers: str
    pair: int
    base_radians: float
    radians: float
    wavelength_tokens: float
    turns: float

    @property
    def completes(self) -> bool:
        """Whether the pair turns once or more within the context."""
        return self.turns >= 1


def rotary_pairs(config: ModelConfig) -> tuple[RotaryPair, ...]:
    """Frequencies of every pair (Su et al. 2021, equation 15), scaled as the config says.

    The wavelength is 2 pi / radians tokens; turns are those within config.context tokens.
    """
    if config.positions != "rope":
        return ()
    kinds = _layer_kinds(config)
    return tuple(pair for name, sliding in kinds for pair in _pairs(config, name, sliding))


def _layer_kinds(config: ModelConfig) -> list[tuple[str, bool]]:
    sliding = [config.is_sliding(layer) for layer in range(config.layers)]
    if config.rope_local_base > 0 and any(sliding):
        return ([] if all(sliding) else [("full", False)]) + [("sliding", True)]
    return [("all", False)]


def _pairs(config: ModelConfig, name: str, sliding: bool) -> list[RotaryPair]:
    used, _ = rotary_frequencies(config, sliding=sliding)
    plain, _ = rotary_frequencies(replace(config, rope_scaling="none"), sliding=sliding)
    return [
        RotaryPair(name, place, base, now, 2 * math.pi / now, config.context * now / (2 * math.pi))
        for place, (base, now) in enumerate(zip(plain.tolist(), used.tolist(), strict=True))
    ]


@dataclass(frozen=True, slots=True)
class HeadSlope:
    """ALiBi's penalty of one head: nats a token of distance, and where it has grown by how much."""

    head: int
    slope: float
    halved_at: float  # tokens after which the weight of a key is halved
    hundredth_at: float  # ... is a hundredth


def head_slopes(config: ModelConfig) -> tuple[HeadSlope, ...]:
    """The slopes of Press et al. 2022; none for another scheme."""
    if config.positions != "alibi":
        return ()
    return tuple(
        HeadSlope(head, slope, HALVED_NATS / slope, SMALL_NATS / slope)
        for head, slope in enumerate(alibi_slopes(config.query_heads).tolist())
    )


def scheme_section(config: ModelConfig) -> Section:
    """The tables of the scheme, and how many pairs turn within the context."""
    pairs, slopes = rotary_pairs(config), head_slopes(config)
    values: dict[str, Any] = {"scheme": config.positions, "context_tokens": config.context}
    tables = {}
    if pairs:
        incomplete = [pair for pair in pairs if not pair.completes]
        values["pairs"] = len(pairs)
        values["pairs_that_never_turn_once"] = len(incomplete)
        values["longest_wavelength_tokens"] = max(pair.wavelength_tokens for pair in pairs)
        values["rope_scaling"] = config.rope_scaling
        values["rope_base"] = config.rope_base
        tables["frequencies"] = _frequency_table(pairs)
    if slopes:
        tables["slopes"] = _slope_table(slopes)
    return Section(values, tables)


def _frequency_table(pairs: tuple[RotaryPair, ...]) -> Table:
    columns = (
        Column("layers", "Layers"),
        Column("pair", "Pair"),
        Column("base_radians", "Before scaling", "radians a token"),
        Column("radians", "As used", "radians a token"),
        Column("wavelength", "Wavelength", "tokens"),
        Column("turns", "Turns in the context"),
        Column("completes", "Turns once or more"),
    )
    rows = tuple(
        (p.layers, p.pair, p.base_radians, p.radians, p.wavelength_tokens, p.turns, p.completes)
        for p in pairs
    )
    return Table("Rotary pairs", columns, rows)


def _slope_table(slopes: tuple[HeadSlope, ...]) -> Table:
    columns = (
        Column("head", "Head"),
        Column("slope", "Slope", "nats a token"),
        Column("halved_at", "A key's weight is halved after", "tokens"),
        Column("hundredth_at", "... is a hundredth after", "tokens"),
    )
    rows = tuple((s.head, s.slope, s.halved_at, s.hundredth_at) for s in slopes)
    return Table("Penalties of the heads", columns, rows)


def own_vectors(count: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random queries and keys for a scheme without a model: (count, width) float64 each."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, count, width)
    queries, keys = torch.randn(shape, generator=generator, dtype=torch.float64)
    return queries, keys
