"""Units as a reader sees them: which are shown, what excites them, what they write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.feedforward.concepts import Found
from tokkit.analysis.feedforward.reading import LayerReading
from tokkit.analysis.feedforward.value_words import first_tokens, following, value_scores
from tokkit.analysis.windows import Windows
from tokkit.model.transformer import Transformer
from tokkit.results import Column, Table

SELECTIVE = 16
MOST_OF_A_CATEGORY = 2
RANDOM = 16
WORDS = 8  # of the vocabulary, at each end of what a unit writes
BEFORE, AFTER = 12, 4  # tokens of context shown
Ids = NDArray[np.int64]

ASKED, PASSES, NEAR, ORDINARY = (
    "asked for",
    "answers to a category",
    "most selective, did not pass",
    "drawn by chance",
)

_UNITS = (
    Column("layer", "Layer"),
    Column("unit", "Unit"),
    Column("why", "Shown because"),
    Column("category", "Nearest category"),
    Column("area_chosen", "Area, choosing half"),
    Column("area_measured", "Area, measuring half"),
    Column("p", "p, familywise"),
    Column("excited_by", "Excited most at"),
    Column("promotes", "Its value raises"),
    Column("lowers", "Its value lowers"),
    Column("mean_abs", "Mean |activation|"),
    Column("positive", "Exciting tokens with a positive activation", "proportion"),
    Column("gate_times", "Gate there, times its usual size", "times"),
    Column("up_times", "Up there, times its usual size", "times"),
)
_EXCITING = (
    Column("layer", "Layer"),
    Column("unit", "Unit"),
    Column("order", "Order"),
    Column("activation", "Activation"),
    Column("gate", "Gate"),
    Column("up", "Up"),
    Column("before", "Text before"),
    Column("token", "Token"),
    Column("after", "Text after"),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A unit, numbered over all dense layers, and why it is shown."""

    number: int
    why: str


def select(
    units: int, per_layer: int, found: Found | None, asked: tuple[int | None, int | None],
    generator: np.random.Generator,
) -> tuple[Shown, ...]:  # fmt: skip
    """The unit that was asked for, the most selective ones, and RANDOM ordinary ones.

    `asked` is the place of a layer among the dense ones, which bounds all of the selection, and a
    unit in it. At most MOST_OF_A_CATEGORY of the selective ones are of one category.
    """
    place, unit = asked
    first, last = (0, units) if place is None else (place * per_layer, (place + 1) * per_layer)
    shown = [] if unit is None else [Shown(first + unit, ASKED)]
    if found is not None:
        shown += _selective(found, first, last)
    drawn = generator.choice(last - first, min(RANDOM, last - first), replace=False) + first
    shown += [Shown(int(number), ORDINARY) for number in np.sort(drawn)]
    once: dict[int, Shown] = {}
    for one in shown:
        once.setdefault(one.number, one)
    return tuple(once.values())


def _selective(found: Found, first: int, last: int) -> list[Shown]:
    strength = np.abs(found.chosen[first:last] - 0.5)
    passes = found.passes[first:last]
    shown: dict[int, Shown] = {}
    given = np.zeros(strength.shape[1], dtype=np.int64)
    # Those that pass come first, then the strongest on the half that chooses.
    order = np.lexsort((-strength.reshape(-1), ~passes.reshape(-1)))
    for pair in order[: 64 * SELECTIVE]:
        unit, category = divmod(int(pair), strength.shape[1])
        if given[category] >= MOST_OF_A_CATEGORY or unit in shown:
            continue
        given[category] += 1
        shown[unit] = Shown(first + unit, PASSES if passes[unit, category] else NEAR)
        if len(shown) == SELECTIVE:
            break
    return list(shown.values())


def text_of(tokenizer: Any, ids: Sequence[int] | Ids) -> str:
    """Tokens as text; bytes that are none are replaced."""
    return b"".join(bytes(tokenizer.token_bytes(int(i))) for i in ids).decode("utf-8", "replace")


def listed(tokenizer: Any, ids: Sequence[int] | Ids) -> str:
    """Tokens as words between bars, spaces kept apart from them."""
    return " | ".join(text_of(tokenizer, [i]).strip() or "␣" for i in ids)


def tables(
    model: Transformer, tokenizer: Any, layers: Sequence[LayerReading], windows: Windows,
    shown: Sequence[Shown], found: Found | None, categories: Sequence[str],
) -> dict[str, Table]:  # fmt: skip
    """A row a unit, and a row a unit and exciting token."""
    per_layer = len(layers[0].places)
    units, exciting = [], []
    for one in shown:
        place, unit = divmod(one.number, per_layer)
        layer = layers[place]
        scores = value_scores(model, layer.layer, [unit])
        concept: tuple[Any, ...] = (None, None, None, None)
        if found is not None:
            concept = _concept(found, one, categories)
        tokens = windows.ids.reshape(-1)[layer.places[unit]]
        units.append(
            (
                layer.layer, unit, one.why, *concept, listed(tokenizer, tokens),
                listed(tokenizer, first_tokens(scores, WORDS)[0]),
                listed(tokenizer, first_tokens(-scores, WORDS)[0]),
                float(layer.mean_abs[unit]), float((layer.hidden[unit] > 0).mean()),
                *_times(layer, unit),
            )
        )  # fmt: skip
        exciting += _exciting(tokenizer, layer, unit, windows)
    return {
        "units": Table("Units", _UNITS, tuple(units)),
        "exciting": Table("The tokens that excite them most", _EXCITING, tuple(exciting)),
    }


def _concept(found: Found, one: Shown, categories: Sequence[str]) -> tuple[Any, ...]:
    strength = np.abs(found.chosen[one.number] - 0.5)
    if one.why == PASSES:
        strength = np.where(found.passes[one.number], strength, -1)
    best = int(strength.argmax())
    at = (one.number, best)
    return categories[best], float(found.chosen[at]), float(found.measured[at]), float(found.p[at])


def _times(layer: LayerReading, unit: int) -> tuple[float | None, float | None]:
    """The median size of gate and up at the exciting tokens, times their root mean squares."""
    if layer.gate is None or layer.gate_rms is None:
        return None, None
    gate = np.median(np.abs(layer.gate[unit])) / max(float(layer.gate_rms[unit]), 1e-30)
    return float(gate), float(np.median(np.abs(layer.up[unit])) / max(layer.up_rms[unit], 1e-30))


def _exciting(
    tokenizer: Any, layer: LayerReading, unit: int, windows: Windows
) -> list[tuple[Any, ...]]:
    rows = []
    for order, place in enumerate(layer.places[unit].tolist()):
        row, at = divmod(place, windows.length)
        line = windows.ids[row]
        gate = None if layer.gate is None else float(layer.gate[unit, order])
        rows.append(
            (
                layer.layer, unit, order + 1, float(layer.hidden[unit, order]), gate,
                float(layer.up[unit, order]), text_of(tokenizer, line[max(0, at - BEFORE) : at]),
                text_of(tokenizer, line[at : at + 1]),
                text_of(tokenizer, line[at + 1 : at + 1 + AFTER]),
            )
        )  # fmt: skip
    return rows


def all_units(
    layers: Sequence[LayerReading], windows: Windows, found: Found | None
) -> dict[str, NDArray[Any]]:
    """Every unit in compact form: L dense layers, M units, k places, C categories.

    layers (L,); tokens, following (-1: the window ends), places and activations (L, M, k);
    windows (N, T), which the places number; area_chosen, area_measured, passes (L, M, C).
    """
    places = np.stack([layer.places for layer in layers])
    made: dict[str, NDArray[Any]] = {
        "layers": np.array([layer.layer for layer in layers]),
        "places": places,
        "activations": np.stack([layer.hidden for layer in layers]),
        "tokens": windows.ids.reshape(-1)[places].astype(np.int32),
        "following": following(windows, places).astype(np.int32),
        "windows": windows.ids.astype(np.int32),
    }
    if found is not None:
        shape = (*places.shape[:2], -1)
        made |= {
            "area_chosen": found.chosen.astype(np.float32).reshape(shape),
            "area_measured": found.measured.astype(np.float32).reshape(shape),
            "passes": found.passes.reshape(shape),
        }
    return made
