"""Category structure of rows with intervals, and what it must be held against.

Three measures; beside each: shuffled labels, the rows before training (else random rows of the
same spectrum), and what the frequency of a word alone would give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tokkit.analysis.embeddings.meaning_structure import (
    Labels,
    chance_purity,
    coordinates,
    cosine_distances,
    fold_of,
    gaps,
    nearest,
    neighbours_asked,
    purities,
    separated,
    silhouettes,
    weighted_purity,
    weighted_silhouettes,
)
from tokkit.analysis.embeddings.meaning_words import Rows
from tokkit.stats import Interval, block_weights, holm, sign_flip_p, wilson

SILHOUETTE, PURITY, SEPARABILITY = "silhouette", "neighbour purity", "linear separability"
MEASURES = (SILHOUETTE, PURITY, SEPARABILITY)
UNITS: Mapping[str, str] = {SILHOUETTE: "", PURITY: "proportion", SEPARABILITY: "proportion"}
INITIAL, RANDOM = "initial rows", "random rows of the same spectrum"
RESAMPLES = 1000
SHUFFLES: Mapping[str, int] = {SILHOUETTE: 999, PURITY: 999, SEPARABILITY: 99}
"""How often labels are shuffled: a boundary costs five fits each time."""
LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureFinding:
    """One measure: what it is, and what it is under each condition that carries no meaning.

    shuffled        mean over shuffled labels; `shuffled_high` the value that 5% of them exceed
    p               one-sided: how often shuffled labels reach the trained value; Holm over measures
    baseline        on the rows that were not trained; `baseline_p` against shuffled labels
                    (None for the linear boundary, whose fits would double the time)
    gain            trained less baseline on the same words; `gain_p` two-sided, by flipping the
                    sign of each word's difference
    frequency       on the logarithm of the words' counts alone, where counts are known
    beyond          trained less frequency
    """

    measure: str
    trained: Interval
    shuffled: float
    shuffled_high: float
    p: float
    p_holm: float
    baseline: Interval
    baseline_p: float | None
    gain: Interval
    gain_p: float
    gain_p_holm: float
    frequency: Interval | None = None
    beyond: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryFinding:
    """The neighbour purity of one category's words beside chance and beside the baseline rows.

    The interval resamples the category's words and holds their neighbours.
    `nearest_other` is the category that its wrong neighbours come from most often, None if none.
    """

    category: str
    words: int
    purity: Interval
    chance: float
    baseline: float
    silhouette: float
    separated: float
    nearest_other: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """Category structure of one embedding: `neighbours` is the k of purity.

    `by_word` and `baseline_by_word` hold each measure for each word, (n,).
    """

    words: int
    categories: tuple[str, ...]
    neighbours: int
    chance_purity: float
    largest_share: float
    baseline: str
    measures: tuple[MeasureFinding, ...]
    by_category: tuple[CategoryFinding, ...]
    by_word: Mapping[str, Rows]
    baseline_by_word: Mapping[str, Rows]

    def measure(self, name: str) -> MeasureFinding:
        """The finding of one of MEASURES."""
        return next(found for found in self.measures if found.measure == name)


@dataclass(frozen=True, slots=True)
class _View:
    """One way to place the words: distances, neighbours, and points for a linear boundary."""

    distances: Rows
    order: Labels
    points: Rows
    scores: Mapping[str, Rows]
    draws: Mapping[str, Rows]


@dataclass(frozen=True, slots=True)
class _Design:
    """What all views share, so that they are compared on the same words, folds and resamples."""

    labels: Labels
    k: int
    folds: Labels
    ties: Labels
    weights: Rows


def category_structure(
    rows: Rows,
    baseline: Rows,
    labels: Labels,
    names: tuple[str, ...],
    generator: np.random.Generator,
    *,
    baseline_name: str = INITIAL,
    counts: Rows | None = None,
) -> Structure:
    """Measure how far the rows of words lie together by category.

    `rows` and `baseline` (n, D) are prepared (centred, unit length) rows of the same n words;
    `labels` (n,) place each word in `names`; `counts` (n,) say how often it stood in training.
    Intervals resample the words within each category; those of neighbours and silhouettes let
    the neighbours vary too, those of the linear boundary hold the fits. They are recentred: a
    resample holds fewer distinct words, which alone lowers purity.
    """
    n = len(labels)
    design = _Design(
        labels,
        neighbours_asked(labels),
        fold_of(labels, generator),
        generator.permutation(n),
        block_weights(labels, RESAMPLES, generator),
    )
    trained = _view(cosine_distances(rows), coordinates(rows), design)
    untrained = _view(cosine_distances(baseline), coordinates(baseline), design)
    often = None if counts is None else _frequency_view(counts, design)
    nulls = _shuffled(trained, design, generator)
    base_nulls = _shuffled(untrained, design, generator, measures=(SILHOUETTE, PURITY))
    return Structure(
        words=n,
        categories=names,
        neighbours=design.k,
        chance_purity=chance_purity(labels),
        largest_share=float(np.bincount(labels).max() / n),
        baseline=baseline_name,
        measures=_findings(trained, untrained, often, nulls, base_nulls, generator),
        by_category=_by_category(trained, untrained, design, names),
        by_word=trained.scores,
        baseline_by_word=untrained.scores,
    )


def same_spectrum(rows: Rows, generator: np.random.Generator) -> Rows:
    """Random rows whose singular values and directions are those of `rows`, then of unit length.

    U S V' becomes Q S V' with Q drawn evenly among matrices of orthonormal columns: the spread of
    the cloud stays, which word lies where in it does not.
    """
    left, sizes, axes = np.linalg.svd(rows, full_matrices=False)
    drawn, triangle = np.linalg.qr(generator.standard_normal(left.shape))
    # Signs by the diagonal of R, without which Q is not evenly drawn (Mezzadri 2007).
    mixed = ((drawn * np.sign(np.diag(triangle))) * sizes) @ axes
    lengths = np.linalg.norm(mixed, axis=1, keepdims=True)
    return np.asarray(np.divide(mixed, lengths, out=np.zeros_like(mixed), where=lengths > 0))


def _frequency_view(counts: Rows, design: _Design) -> _View:
    """The words placed on a line by the logarithm of 1 + count."""
    logs = np.log1p(counts.astype(np.float64))
    spread = logs.std()
    standard = (logs - logs.mean()) / (spread if spread > 0 else 1.0)
    return _view(gaps(logs), standard[:, None], design)


def _view(distances: Rows, points: Rows, design: _Design) -> _View:
    order = nearest(distances, design.ties)
    scores = {
        SILHOUETTE: silhouettes(distances, design.labels),
        PURITY: purities(order, design.labels, design.k),
        SEPARABILITY: separated(points, design.labels, design.folds),
    }
    totals = design.weights.sum(axis=1)
    draws = {
        SILHOUETTE: np.array(
            [
                (drawn * weighted_silhouettes(distances, design.labels, drawn)).sum()
                for drawn in design.weights
            ]
        )
        / totals,
        PURITY: weighted_purity(order, design.labels, design.k, design.weights),
        SEPARABILITY: design.weights @ scores[SEPARABILITY] / totals,
    }
    return _View(distances, order, points, scores, draws)


def _shuffled(
    view: _View,
    design: _Design,
    generator: np.random.Generator,
    measures: tuple[str, ...] = MEASURES,
) -> dict[str, Rows]:
    """Each measure where the labels are dealt anew: what no structure gives."""

    def boundary(labels: Labels) -> Rows:
        return separated(view.points, labels, fold_of(labels, generator))

    asked: dict[str, Callable[[Labels], Rows]] = {
        SILHOUETTE: lambda labels: silhouettes(view.distances, labels),
        PURITY: lambda labels: purities(view.order, labels, design.k),
        SEPARABILITY: boundary,
    }
    return {
        name: np.array(
            [
                float(asked[name](generator.permutation(design.labels)).mean())
                for _ in range(SHUFFLES[name])
            ]
        )
        for name in measures
    }


def _findings(
    trained: _View,
    untrained: _View,
    often: _View | None,
    nulls: Mapping[str, Rows],
    base_nulls: Mapping[str, Rows],
    generator: np.random.Generator,
) -> tuple[MeasureFinding, ...]:
    ps = [_reached(nulls[name], trained.scores[name].mean()) for name in MEASURES]
    change = np.stack([trained.scores[name] - untrained.scores[name] for name in MEASURES], axis=1)
    gain_ps = [float(p) for p in sign_flip_p(change, generator)]
    adjusted, gain_adjusted = holm(ps), holm(gain_ps)
    return tuple(
        MeasureFinding(
            measure=name,
            trained=_interval(trained, name),
            shuffled=float(nulls[name].mean()),
            shuffled_high=float(np.quantile(nulls[name], LEVEL)),
            p=ps[place],
            p_holm=float(adjusted[place] or 0.0),
            baseline=_interval(untrained, name),
            baseline_p=(
                _reached(base_nulls[name], untrained.scores[name].mean())
                if name in base_nulls
                else None
            ),
            gain=_interval(trained, name, untrained),
            gain_p=gain_ps[place],
            gain_p_holm=float(gain_adjusted[place] or 0.0),
            frequency=None if often is None else _interval(often, name),
            beyond=None if often is None else _interval(trained, name, often),
        )
        for place, name in enumerate(MEASURES)
    )


def _reached(null: Rows, value: float) -> float:
    """The share of `null` that is at least `value`, which counts as one of them."""
    return float((1 + (null >= value - 1e-12).sum()) / (1 + len(null)))


def _interval(view: _View, name: str, less: _View | None = None) -> Interval:
    values, draws = view.scores[name], view.draws[name]
    least = -1.0 if less is not None or name == SILHOUETTE else 0.0
    if less is not None:
        values, draws = values - less.scores[name], draws - less.draws[name]
    return _recentred(values, draws, least)


def _recentred(values: Rows, draws: Rows, least: float) -> Interval:
    """The quantiles of `draws` around their mean, put around that of `values`, in `least` to 1.

    Where every word of a share is at 0, or every word at 1, resamples say nothing, and the
    interval is Wilson's.
    """
    estimate, n = float(values.mean()), len(values)
    if least == 0 and estimate in (0.0, 1.0):
        bounds = wilson(round(estimate) * n, n, LEVEL)
        return Interval(estimate, bounds.low, bounds.high, 1, n, LEVEL)
    tail = (1 - LEVEL) / 2
    low, high = estimate + np.quantile(draws, [tail, 1 - tail]) - draws.mean()
    return Interval(estimate, max(least, float(low)), min(1.0, float(high)), 1, n, LEVEL)


def _by_category(
    trained: _View, untrained: _View, design: _Design, names: tuple[str, ...]
) -> tuple[CategoryFinding, ...]:
    found = []
    for place, name in enumerate(names):
        own = design.labels == place
        purity = trained.scores[PURITY][own]
        weights = design.weights[:, own]
        around = design.labels[trained.order[own][:, : design.k]]
        others = np.bincount(around[around != place], minlength=len(names))
        found.append(
            CategoryFinding(
                category=name,
                words=int(own.sum()),
                purity=_recentred(purity, weights @ purity / weights.sum(axis=1), least=0.0),
                chance=float((own.sum() - 1) / (len(own) - 1)),
                baseline=float(untrained.scores[PURITY][own].mean()),
                silhouette=float(trained.scores[SILHOUETTE][own].mean()),
                separated=float(trained.scores[SEPARABILITY][own].mean()),
                nearest_other=names[int(others.argmax())] if others.any() else None,
            )
        )
    return tuple(found)
