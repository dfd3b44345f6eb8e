"""Units that answer to a category: chosen on half of its words, measured on the other half.

M units of all layers together, W words, C categories. Every number of a word is a mean over its
contexts, and a word is one observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.feedforward import rank_sums
from tokkit.analysis.feedforward.rank_sums import Floats, Surprise
from tokkit.analysis.feedforward.reading import Told, dense_layers
from tokkit.analysis.feedforward.words import ConceptWords, Contexts, at_words
from tokkit.model.transformer import Transformer

CONTEXTS = 8  # of each half, none in both
CHOSEN_AREA = 0.8  # on the half that chooses; 0.2 where the unit is lower at the category
PERMUTATIONS = 500
NULL_DRAWS = 20
LEVEL = 0.05
_COLUMNS = 256  # permuted categories that are multiplied at once


@dataclass(frozen=True, slots=True)
class HalfActivations:
    """Activations (W of the half, M) at a half's words, and the words' labels."""

    activations: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Found:
    """What the test found.

    chosen, measured  (M, C) areas under the curve on the two halves
    passes            (M, C) chosen by the first, and familywise significant on the second
    p                 (M, C) familywise p-values on the second half
    threshold         surprise (-log10 of p) that is passed by chance at LEVEL for any pair at all
    by_chance         (NULL_DRAWS, M summed to layers, C) pairs that pass with permuted labels
    """

    chosen: Floats
    measured: Floats
    passes: NDArray[np.bool_]
    p: Floats
    threshold: float
    by_chance: NDArray[np.int64]


def unit_names(model: Transformer) -> list[str]:
    """The activations of every dense layer's units."""
    return [f"blocks.{layer}.feedforward.hidden" for layer in dense_layers(model)]


def both_halves(
    model: Transformer, words: ConceptWords, contexts: Contexts, told: Told, stage: str
) -> tuple[HalfActivations, HalfActivations]:
    """Activations of all units at the words of each half, in contexts of its own."""
    halves = []
    for half in (0, 1):
        told(stage, "halves of the words", half, 2)
        own = words.halves == half
        seen = at_words(
            model, contexts.part(half * CONTEXTS, (half + 1) * CONTEXTS), words.tokens[own],
            unit_names(model),
        )  # fmt: skip
        made = np.concatenate([value.numpy() for value in seen.values()], axis=1)
        halves.append(HalfActivations(made, words.labels[own]))
    return halves[0], halves[1]


def find(
    first: HalfActivations, second: HalfActivations, categories: int, layers: int,
    generator: np.random.Generator,
) -> Found:  # fmt: skip
    """Test every unit for every category; the family is all pairs of the two.

    A unit passes where its area on the first half is CHOSEN_AREA or more from chance's side and
    its surprise on the second, on the same side, is above what the largest of all pairs reaches
    in 1 - LEVEL of PERMUTATIONS of the words' labels (Westfall and Young 1993, min-p).
    `by_chance` repeats the whole procedure with labels permuted in both halves.
    """
    ranked = rank_sums.ranks(first.activations), rank_sums.ranks(second.activations)
    scales = _scales(second.labels, categories)
    maxima = _maxima(ranked[1], second.labels, scales, generator)
    threshold = float(np.quantile(maxima, 1 - LEVEL, method="higher"))
    labels = first.labels, second.labels
    sums, areas = _sums_and_areas(ranked, labels, categories)
    surprise = _surprise(sums, scales)
    by_chance = []
    for _ in range(NULL_DRAWS):
        permuted = generator.permutation(labels[0]), generator.permutation(labels[1])
        null_sums, null_areas = _sums_and_areas(ranked, permuted, categories)
        passing = _passes(null_areas, _surprise(null_sums, scales), threshold)
        by_chance.append(_by_layer(passing, layers))
    ordered = np.sort(maxima)
    beyond = len(ordered) - np.searchsorted(ordered, surprise - 1e-9, side="left")
    return Found(
        areas[0], areas[1], _passes(areas, surprise, threshold),
        (1 + beyond) / (1 + len(ordered)), threshold, np.array(by_chance),
    )  # fmt: skip


def by_layer(found: Found, layers: int) -> NDArray[np.int64]:
    """Pairs that pass, (layers, C)."""
    return _by_layer(found.passes, layers)


def _by_layer(passes: NDArray[np.bool_], layers: int) -> NDArray[np.int64]:
    return np.asarray(passes.reshape(layers, -1, passes.shape[1]).sum(1))


def _scales(labels: NDArray[np.int64], categories: int) -> list[Surprise]:
    sizes = np.bincount(labels, minlength=categories)
    return [Surprise(int(size), len(labels) - int(size)) for size in sizes]


def _sums_and_areas(ranked: Any, labels: Any, categories: int) -> tuple[Floats, list[Floats]]:
    """Centred sums of the second half, and the areas of both."""
    areas, sums = [], np.zeros(0)
    for of, own in zip(ranked, labels, strict=True):
        sums = rank_sums.centred_sums(of, rank_sums.one_hot(own, categories))
        areas.append(rank_sums.areas(sums, own, categories))
    return sums, areas


def _surprise(sums: Floats, scales: list[Surprise]) -> Floats:
    return np.stack([scale.of(sums[:, c]) for c, scale in enumerate(scales)], axis=1)


def _passes(areas: list[Floats], surprise: Floats, threshold: float) -> NDArray[np.bool_]:
    first, second = (area - 0.5 for area in areas)
    chosen = np.abs(first) >= CHOSEN_AREA - 0.5
    return np.asarray(chosen & (first * second > 0) & (surprise > threshold))


def _maxima(
    ranked: NDArray[np.float32], labels: NDArray[np.int64], scales: list[Surprise],
    generator: np.random.Generator,
) -> Floats:  # fmt: skip
    """The largest surprise over all pairs in each permutation: (PERMUTATIONS,)."""
    categories = len(scales)
    at_once = max(1, _COLUMNS // categories)
    maxima: list[float] = []
    while len(maxima) < PERMUTATIONS:
        count = min(at_once, PERMUTATIONS - len(maxima))
        permuted = [
            rank_sums.one_hot(generator.permutation(labels), categories) for _ in range(count)
        ]
        sums = rank_sums.centred_sums(ranked, np.concatenate(permuted, axis=1))
        farthest = np.abs(sums).max(0).reshape(count, categories)
        maxima += list(_surprise(farthest, scales).max(1))
    return np.array(maxima)
