"""How order comes into a transformer: rotary pairs, a table of sines, or a penalty for distance.

Sources: Vaswani et al. 2017 (sinusoidal); Su et al. 2021 (rotary); Press et al. 2022 (ALiBi);
Chen et al. 2023 (linear scaling of rotary positions); Peng et al. 2023 (YaRN); the Llama team,
Grattafiori et al. 2024 (scaling of low frequencies alone).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tokkit.model.config import ModelConfig


def rotary_frequencies(config: ModelConfig, *, sliding: bool = False) -> tuple[Tensor, float]:
    """Radians a token of each pair, (rotary_width / 2,) float64, and YaRN's factor of magnitude.

    Pair i of R rotated numbers turns by base^(-2i/R) (Su et al. 2021, equation 15), scaled as the
    config says; sliding layers with a base of their own are not scaled.
    """
    local = sliding and config.rope_local_base > 0
    base = config.rope_local_base if local else config.rope_base
    width = config.rotary_width
    plain = base ** (-torch.arange(0, width, 2, dtype=torch.float64, device="cpu") / width)
    if local or config.rope_scaling == "none":
        return plain, 1.0
    scaled = plain / config.rope_factor
    if config.rope_scaling == "linear":
        return scaled, 1.0
    original = config.rope_original_context or config.context
    if config.rope_scaling == "llama3":
        turns = original * plain / (2 * math.pi)
        span = config.rope_high_frequency - config.rope_low_frequency
        kept = ((turns - config.rope_low_frequency) / span).clamp(0, 1)
        return kept * plain + (1 - kept) * scaled, 1.0
    kept = 1 - _yarn_ramp(config, base, original)
    usual = 0.1 * math.log(config.rope_factor) + 1  # Peng et al. 2023, equation 22
    return kept * plain + (1 - kept) * scaled, config.rope_magnitude or usual


def _yarn_ramp(config: ModelConfig, base: float, original: int) -> Tensor:
    """0 for pairs that keep their frequency to 1 for those scaled in full (Peng et al. 2023)."""
    width = config.rotary_width

    def pair_that_turns(times: float) -> float:
        return width * math.log(original / (times * 2 * math.pi)) / (2 * math.log(base))

    low, high = pair_that_turns(config.rope_fast_turns), pair_that_turns(config.rope_slow_turns)
    if config.rope_whole_pairs:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    pairs = torch.arange(width // 2, dtype=torch.float64, device="cpu")
    return ((pairs - low) / max(high - low, 0.001)).clamp(0, 1)


def rotary_tables(frequencies: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of position times frequency, each (length, pairs) float32."""
    positions = torch.arange(length, dtype=torch.float64, device=frequencies.device)
    angles = torch.outer(positions, frequencies)
    return angles.cos().float(), angles.sin().float()


class RotaryTables:
    """The tables of one kind of layer, made for as many positions as were asked for so far."""

    def __init__(self, config: ModelConfig, *, sliding: bool) -> None:
        self._frequencies, self._magnitude = rotary_frequencies(config, sliding=sliding)
        self._context = config.context
        self._tables: tuple[Tensor, Tensor] | None = None

    def upto(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and sines of positions 0 to at least `length` - 1, (.., pairs) float32."""
        tables = self._tables
        if tables is None or len(tables[0]) < length or tables[0].device != device:
            grown = min(self._context, max(64, 2 * length))
            made = rotary_tables(self._frequencies, max(grown, length))
            # Plain tensors, even where the first to ask is in inference mode.
            with torch.inference_mode(False):
                cosines, sines = ((side * self._magnitude).to(device) for side in made)
                tables = self._tables = (cosines.clone(), sines.clone())
        return tables


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn the pairs (i, i + R/2) of the first R of the last axis of x (B, heads, T, K).

    Angles are (T, R/2), or anything that broadcasts; the numbers after the first R stay.
    """
    width = 2 * cosines.shape[-1]
    first, second = x[..., :width].chunk(2, dim=-1)
    turned = (first * cosines - second * sines, second * cosines + first * sines)
    rest = () if width == x.shape[-1] else (x[..., width:],)
    return torch.cat((*turned, *rest), dim=-1)


def sinusoidal_table(length: int, width: int) -> Tensor:
    """The fixed table of Vaswani et al. 2017, section 3.5: (length, D), sines even, cosines odd."""
    frequencies = 10_000.0 ** (
        -torch.arange(0, width, 2, dtype=torch.float64, device="cpu") / width
    )
    cosines, sines = rotary_tables(frequencies, length)
    return torch.stack((sines, cosines), dim=-1).flatten(1)


def alibi_slopes(heads: int) -> Tensor:
    """The slope of each head, (H,): a geometric series from 2^(-8/H) (Press et al. 2022).

    For a number of heads that is no power of two, the series of the power below is completed
    with every second slope of the power above, as the authors' text prescribes.
    """
    below = 2 ** int(math.log2(heads))
    slopes = [2.0 ** (-8 * i / below) for i in range(1, below + 1)]
    between = [2.0 ** (-4 * i / below) for i in range(1, 2 * below + 1, 2)]
    return torch.tensor((slopes + between)[:heads], device="cpu")
