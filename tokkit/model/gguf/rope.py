"""How a GGUF file says that rotary positions are scaled.

Linear and YaRN scaling have keys. Llama 3's has none: converters write what each pair's wavelength
is multiplied by into the tensor rope_freqs.weight, from which the settings are worked out here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tokkit.errors import ArtifactError
from tokkit.model.strict_json import shown

if TYPE_CHECKING:
    from tokkit.model.gguf.settings import Keys

_CLOSE = 1e-4  # relative; factors are float32, and the settings behind them whole numbers
_USUAL = (1.0, 4.0, 8192)  # low and high frequency and original context of Llama 3


def read_scaling(
    keys: Keys, base: float, rotated: int, factors: np.ndarray | None
) -> dict[str, Any]:
    """The rope_ settings that scale, from the keys, or from one factor a pair, (rotated / 2,)."""
    kind = keys.get("rope.scaling.type", None)
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 1.0))
    original = keys.count("rope.scaling.original_context_length", 0)
    if kind is None:
        kind = "linear" if factor > 1 else "none"
    if factors is not None and bool((factors != 1).any()):
        if kind != "none":
            raise keys.refuse("rope.scaling.type", "none beside the factors of rope_freqs.weight")
        return llama3_settings(factors, base, rotated, original)
    if kind == "none" or (kind == "linear" and factor in (0.0, 1.0)):
        return {}
    if kind == "linear":
        return {"rope_scaling": "linear", "rope_factor": factor}
    if kind != "yarn":
        raise keys.refuse("rope.scaling.type", "none, linear or yarn")
    found = {
        "rope_scaling": "yarn",
        "rope_factor": factor,
        "rope_original_context": original,
        "rope_fast_turns": keys.number("rope.scaling.yarn_beta_fast", 32.0),
        "rope_slow_turns": keys.number("rope.scaling.yarn_beta_slow", 1.0),
    }
    magnitude = keys.number("rope.scaling.attn_factor", 1.0)
    magnitude *= keys.number("rope.scaling.yarn_attn_factor", 1.0)
    if magnitude != 1:
        found["rope_magnitude"] = magnitude * (0.1 * math.log(max(1.0, factor)) + 1)
    return found


def llama3_settings(
    factors: np.ndarray, base: float, rotated: int, original: int = 0
) -> dict[str, Any]:
    """Llama 3's scaling from what each pair's wavelength is multiplied by, (rotated / 2,).

    Between the pairs that keep their frequency and those that are divided by the whole factor F,
    the part kept, (1/f - 1/F) / (1 - 1/F), rises with the turns in the original context: a line
    whose slope and height give two of the three settings. Only their ratios count, so the low
    frequency is set to 1, as in Llama 3. Raises ArtifactError where the factors are of no such
    scaling.
    """
    pairs = np.asarray(factors, np.float64)
    if pairs.shape != (rotated // 2,) or not np.isfinite(pairs).all() or pairs.min() < 1 - _CLOSE:
        raise ArtifactError(
            f"rope_freqs.weight must hold {rotated // 2} factors of 1 or above, got "
            f"{pairs.shape} from {shown(float(pairs.min(initial=np.inf)))}: get the model again"
        )
    whole = float(pairs.max())
    frequencies = base ** (-np.arange(0, rotated, 2) / rotated) / (2 * math.pi)  # turns a token
    guesses = [(low, high, original or context) for low, high, context in (_USUAL,)]
    kept = (1 / pairs - 1 / whole) / (1 - 1 / whole)
    between = (kept > _CLOSE) & (kept < 1 - _CLOSE)
    if between.sum() >= 2:
        slope, height = np.polyfit(frequencies[between], kept[between], 1)
        if slope > 0 > height:
            high = _rounded(1 - 1 / height)
            guesses.append((1.0, high, round(slope * (high - 1))))
    for low, high, context in guesses:
        made = _factors(frequencies, whole, low, high, context)
        if np.allclose(made, pairs, rtol=_CLOSE):
            return {
                "rope_scaling": "llama3",
                "rope_factor": _rounded(whole),
                "rope_low_frequency": low,
                "rope_high_frequency": high,
                "rope_original_context": context,
            }
    raise ArtifactError(
        "rope_freqs.weight scales the rotary positions in another way than Llama 3's, which tokkit "
        f"cannot express (factors {shown(pairs.round(3).tolist())}): use another model"
    )


def _factors(
    frequencies: np.ndarray, whole: float, low: float, high: float, context: int
) -> np.ndarray:
    kept = ((context * frequencies - low) / (high - low)).clip(0, 1)
    return np.asarray(1 / (kept + (1 - kept) / whole))


def _rounded(value: float) -> float:
    """The whole number beside a value that a fit came near to, else the value."""
    return float(round(value)) if abs(value - round(value)) < 1e-3 * value else float(value)
