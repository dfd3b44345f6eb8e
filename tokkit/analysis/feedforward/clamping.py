"""What setting the units of a category does to the words that the model expects next.

At the last token of a context units are set; the context before is run once for all settings,
which are rows of one batch. Effects are differences of logs of probabilities: of all held-out
words of a category, minus the mean over the other categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.analysis.feedforward.concepts import Found, HalfActivations
from tokkit.analysis.feedforward.reading import LayerReading, Told
from tokkit.analysis.feedforward.words import ConceptWords, Contexts, continued
from tokkit.analysis.intervals import Ratios, Resampling, resampling
from tokkit.model.intervention import Patch, patched
from tokkit.model.transformer import Transformer
from tokkit.stats import MIN_BLOCKS

MOST_UNITS = 8  # of a category, set together
CONTROLS = 5  # sets of other units for each category
NEAREST = 10  # units that a control is drawn from
CONTEXTS = 32
DOSES = {"high": 1.0, "four times high": 4.0, "zero": 0.0}
MAIN_DOSE = "high"
_ROWS = 128  # settings that go through at once


@dataclass(frozen=True, slots=True)
class Setting:
    """Units that are set: numbers over all layers, as in `Found`, and the values at dose 1."""

    category: int
    dose: str
    control: int  # 0 for the category's own units
    units: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Clamped:
    """Effects on the log-probability of each category's words against the others'.

    settings  S of them
    effects   (contexts, S, C), nats
    drawn     resamples of the contexts by document
    """

    settings: tuple[Setting, ...]
    effects: NDArray[np.float64]
    drawn: Resampling

    def of(self, category: int, dose: str, *, control: bool = False) -> NDArray[np.float64]:
        """Effects of a category's settings on its own words: (contexts, settings)."""
        at = [
            place
            for place, s in enumerate(self.settings)
            if (s.category, s.dose, s.control > 0) == (category, dose, control)
        ]
        return self.effects[:, at, category]

    def signed(self, category: int, dose: str, *, control: bool = False) -> Ratios:
        """The mean effect, with its sign."""
        return self.drawn.means(self.of(category, dose, control=control).mean(1))

    def beyond_controls(self, categories: Sequence[int], dose: str) -> Ratios:
        """|effect| minus the controls' mean |effect|, a mean over the categories.

        |...| is of the mean over contexts, within each resample, so that noise raises both alike.
        """
        weights = np.concatenate((np.ones((1, len(self.drawn))), self.drawn.weights))
        sizes = self.drawn.sums(np.ones(len(self.effects)))
        more = np.mean([self._beyond(c, dose, weights, sizes) for c in categories], axis=0)
        if len(self.drawn) < MIN_BLOCKS:
            return Ratios(more[0], np.array(np.nan), np.array(np.nan))
        low, high = np.quantile(more[1:], [0.025, 0.975])
        return Ratios(more[0], np.asarray(low), np.asarray(high))

    def _beyond(
        self, category: int, dose: str, weights: NDArray[np.float64], sizes: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        own, null = (
            np.abs(weights @ self.drawn.sums(self.of(category, dose, control=control)))
            / (weights @ sizes)[:, None]
            for control in (False, True)
        )
        return np.asarray(own.mean(1) - null.mean(1))


def chosen_units(found: Found, category: int) -> tuple[int, ...]:
    """The units of a category to be set: those that pass, best on the choosing half first."""
    passing = np.flatnonzero(found.passes[:, category])
    strength = np.abs(found.chosen[passing, category] - 0.5)
    return tuple(int(u) for u in passing[np.argsort(-strength, kind="stable")][:MOST_UNITS])


def high_value(first: HalfActivations, unit: int, category: int, area: float) -> float:
    """The farthest activation, on the side that tells, of a word of the choosing half."""
    own = first.activations[first.labels == category, unit]
    return float(own.max() if area > 0.5 else own.min())


def settings_for(
    model: Transformer, layers: Sequence[LayerReading], found: Found, first: HalfActivations,
    generator: np.random.Generator,
) -> tuple[Setting, ...]:  # fmt: skip
    """Each category's units and their controls, at each dose.

    A control unit is of the same layer, passes for no category, and is drawn from the NEAREST by
    length of value and mean |activation|. It is set so that what it writes is as long as what its
    unit writes.
    """
    lengths = np.concatenate([_value_lengths(model, layer.layer) for layer in layers])
    means = np.concatenate([layer.mean_abs for layer in layers])
    per_layer = len(lengths) // len(layers)
    free = np.asarray(~found.passes.any(1))
    made: list[Setting] = []
    for category in range(found.passes.shape[1]):
        units = chosen_units(found, category)
        values = tuple(
            high_value(first, unit, category, found.chosen[unit, category]) for unit in units
        )
        sets = [(units, values)] if units else []
        for _ in range(CONTROLS if units else 0):
            others = _controls(units, free, np.stack((lengths, means)), per_layer, generator)
            scaled = (
                value * lengths[unit] / max(lengths[other], 1e-12)
                for unit, value, other in zip(units, values, others, strict=True)
            )
            sets.append((others, tuple(float(value) for value in scaled)))
        made += [
            Setting(category, dose, number, *pair)
            for dose in DOSES
            for number, pair in enumerate(sets)
        ]
    return tuple(made)


def _value_lengths(model: Transformer, layer: int) -> NDArray[np.float64]:
    weight = model.get_parameter(f"blocks.{layer}.feedforward.down.weight").detach()
    return np.asarray(weight.double().norm(dim=0).numpy())


def _controls(
    units: Sequence[int], free: NDArray[np.bool_], alike: NDArray[np.float64], per_layer: int,
    generator: np.random.Generator,
) -> tuple[int, ...]:  # fmt: skip
    """A control for each unit, none twice where there are enough."""
    logs = np.log(np.maximum(alike, 1e-12))
    taken: list[int] = []
    for unit in units:
        of_layer = np.arange(per_layer) + unit // per_layer * per_layer
        open_ = np.array([u for u in of_layer if free[u] and u not in taken], dtype=np.int64)
        if not open_.size:
            open_ = of_layer[of_layer != unit] if per_layer > 1 else of_layer
        distance = np.abs(logs[:, open_] - logs[:, [unit]]).sum(0)
        near = open_[np.argsort(distance, kind="stable")[:NEAREST]]
        taken.append(int(generator.choice(near)))
    return tuple(taken)


@torch.no_grad()
def clamp(
    model: Transformer, contexts: Contexts, words: ConceptWords, settings: tuple[Setting, ...],
    layers: Sequence[LayerReading], generator: np.random.Generator, told: Told,
) -> Clamped:  # fmt: skip
    """Measure every setting in every context, against the same context left alone."""
    numbers = [layer.layer for layer in layers]
    per_layer = len(layers[0].places)
    masks = _held_out(words, model.config.vocab_size)
    effects = np.zeros((len(contexts.ids), len(settings), len(words.categories)))
    for place, context in enumerate(contexts.ids):
        told("clamping", "contexts", place, len(contexts.ids))
        masses = []
        for start in range(0, len(settings), _ROWS):
            part = settings[start : start + _ROWS]
            masses.append(_masses(model, context, part, numbers, per_layer, masks))
        found = torch.cat([m[1:] - m[:1] for m in masses]).double().numpy()
        count = found.shape[1]
        others = (found.sum(1, keepdims=True) - found) / max(1, count - 1)
        effects[place] = found - others
    return Clamped(settings, effects, resampling(contexts.documents, generator))


def _held_out(words: ConceptWords, vocab_size: int) -> list[Tensor]:
    """The tokens of each category's words that units were not chosen on."""
    return [torch.from_numpy(words.of(c, 1)) for c in range(len(words.categories))]


def _masses(
    model: Transformer, context: NDArray[np.int64], settings: Sequence[Setting],
    numbers: Sequence[int], per_layer: int, tokens: Sequence[Tensor],
) -> Tensor:  # fmt: skip
    """Log-probability of each category's words: (1 + settings, C), the first row left alone."""
    patches = [
        Patch(
            row, f"blocks.{numbers[unit // per_layer]}.feedforward.hidden",
            (0, unit % per_layer), DOSES[setting.dose] * value,
        )
        for row, setting in enumerate(settings, start=1)
        for unit, value in zip(setting.units, setting.values, strict=True)
    ]  # fmt: skip
    cache = continued(model, context[:-1], len(settings) + 1)
    last = torch.full((len(settings) + 1, 1), int(context[-1]))
    with patched(model, patches):
        logs = model(last, cache=cache)[:, 0].log_softmax(-1)
    return torch.stack([logs[:, of].logsumexp(-1) for of in tokens], dim=1)
