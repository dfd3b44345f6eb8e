"""The tables of agreement: means over sentences with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.agreement.items import SUBJECT, Item
from tokkit.analysis.agreement.measures import (
    CUT_ROLES,
    DIRECTIONS,
    PATCH_ROLES,
    WEIGHT_ROLES,
    Caused,
    Looked,
    role_weights,
)
from tokkit.analysis.intervals import Ratios, plain, resampling
from tokkit.results import Column, Table
from tokkit.stats import wilson

Floats = NDArray[np.float64]
LOOKS = 0.2  # of a head's weight on the subject
MATTERS = 0.05  # of the way between the two of a pair, restored by a head
BOTH, ONLY_LOOKS, ONLY_MATTERS, NEITHER = (
    "looks and matters", "looks, does not matter", "matters, does not look", "neither",
)  # fmt: skip
_BOUNDS = (Column("low", "Low"), Column("high", "High"))
_RESAMPLED_RANKS = 200


def _means(values: Floats, generator: np.random.Generator) -> Ratios:
    """Means over sentences (N, ...), those with NaN left out, with intervals."""
    present = ~np.isnan(values)
    return resampling(np.arange(len(values)), generator).ratios(
        np.where(present, values, 0.0), present.astype(np.float64)
    )


def _shares(effects: Floats, apart: Floats, generator: np.random.Generator) -> Ratios:
    """Effects (N, ...) as shares of the whole way (N,): sums over sums, with intervals."""
    present = ~np.isnan(effects)
    whole = np.where(present, apart.reshape(-1, *(1,) * (effects.ndim - 1)), 0.0)
    drawn = resampling(np.arange(len(effects)), generator)
    return drawn.ratios(np.where(present, effects, 0.0), whole)


def _bounds(found: Ratios, place: Any) -> tuple[float | None, float | None, float | None]:
    return tuple(plain(x[place]) for x in (found.estimate, found.low, found.high))  # type: ignore[return-value]


def accuracy_table(items: Sequence[Item], right: Floats) -> Table:
    """Right verbs by number of attractors and split, with Wilson intervals."""
    rows = []
    for attractors, split in sorted({(item.attractors, item.split) for item in items}):
        of = [
            bool(r)
            for item, r in zip(items, right, strict=True)
            if (item.attractors, item.split) == (attractors, split)
        ]
        found = wilson(sum(of), len(of))
        rows.append((attractors, split, len(of), found.estimate, found.low, found.high))
    columns = (
        Column("attractors", "Nouns between subject and verb"),
        Column("split", "Sentences"),
        Column("n", "Asked", "sentences"),
        Column("accuracy", "Right verb preferred", "share"),
        *_BOUNDS,
    )
    return Table("Right verbs by the nouns in between", columns, tuple(rows))


def weights_table(looked: Sequence[Looked], generator: np.random.Generator) -> Table:
    """Weight on each role by layer and head, before the verb and from it, beside two nulls.

    `even`: dealt evenly to all that is seen. `by_distance`: what the head gives to columns as far
    off in the other sentences.
    """
    rows = []
    for where, at_verb in (("before the verb", False), ("from the verb", True)):
        found = _means(np.stack([role_weights(one, at_verb=at_verb) for one in looked]), generator)
        even, distance = _nulls(looked, at_verb=at_verb)
        for place in np.ndindex(found.estimate.shape):
            layer, head, role = place
            rows.append(
                (where, layer, head, WEIGHT_ROLES[role], *_bounds(found, place),
                 float(even[role]), float(distance[place]))
            )  # fmt: skip
    columns = (
        Column("where", "From"),
        Column("layer", "Layer"),
        Column("head", "Head"),
        Column("role", "To"),
        Column("weight", "Weight", "share"),
        *_BOUNDS,
        Column("even", "Dealt evenly", "share"),
        Column("by_distance", "By distance in other sentences", "share"),
    )
    return Table("Where each head looks, by what stands there", columns, tuple(rows))


def _nulls(looked: Sequence[Looked], *, at_verb: bool) -> tuple[Floats, Floats]:
    """Even weight of each role (roles,), and by distance (L, H, roles), means over sentences."""
    longest = max(len(one.roles) for one in looked) + 1
    layers, heads = looked[0].at_last.shape[:2]
    total = np.zeros((len(looked), layers, heads, longest))
    seen = np.zeros((len(looked), longest))
    for number, one in enumerate(looked):
        weights = (one.at_verb if at_verb else one.at_last)[..., ::-1]
        total[number, ..., : weights.shape[-1]] = weights
        seen[number, : weights.shape[-1]] = 1
    even = np.zeros(len(WEIGHT_ROLES))
    distance = np.zeros((layers, heads, len(WEIGHT_ROLES)))
    for number, one in enumerate(looked):
        others = (total.sum(0) - total[number]) / np.maximum(seen.sum(0) - seen[number], 1)
        columns = len(one.roles) + at_verb
        backwards = others[..., :columns][..., ::-1]
        for role in range(len(WEIGHT_ROLES)):
            at = np.flatnonzero(one.roles == role)
            even[role] += len(at) / columns
            distance[..., role] += backwards[..., at].sum(-1)
    return even / len(looked), distance / len(looked)


def chosen_table(
    items: Sequence[Item], looked: Sequence[Looked], head: tuple[int, int],
    generator: np.random.Generator,
) -> Table:  # fmt: skip
    """What the chosen head gives to each role by number of attractors, on unseen sentences."""
    rows = []
    for attractors in sorted({item.attractors for item in items}):
        of = [one for one, item in zip(looked, items, strict=True) if item.attractors == attractors]
        found = _means(np.stack([role_weights(one)[head] for one in of]), generator)
        rows += [
            (attractors, len(of), role, *_bounds(found, place))
            for place, role in enumerate(WEIGHT_ROLES)
        ]
    columns = (
        Column("attractors", "Nouns between subject and verb"),
        Column("n", "Sentences"),
        Column("role", "To"),
        Column("weight", "Weight", "share"),
        *_BOUNDS,
    )
    title = f"Where layer {head[0]}, head {head[1]} looks before the verb"
    return Table(title, columns, tuple(rows))


def patching_table(
    caused: Sequence[Caused], layers: Sequence[int], generator: np.random.Generator
) -> Table:
    """States by layer and role, and parts of a layer at the last column, in both directions."""
    apart = np.array([one.apart for one in caused])
    rows: list[tuple[Any, ...]] = []
    for direction in DIRECTIONS:
        states = _shares(np.stack([one.states[direction] for one in caused]), apart, generator)
        for q, layer in enumerate(layers):
            rows += [
                (direction, "states", layer, role, *_bounds(states, (q, r)))
                for r, role in enumerate(PATCH_ROLES)
            ]
        for part in ("attention", "feedforward"):
            values = np.stack([one.outputs[direction][part] for one in caused])
            found = _shares(values, apart, generator)
            rows += [
                (direction, part, layer, PATCH_ROLES[-1], *_bounds(found, layer))
                for layer in range(values.shape[1])
            ]
    columns = (
        Column("direction", "Direction"),
        Column("what", "Patched"),
        Column("layer", "Layer"),
        Column("role", "At"),
        Column("effect", "Of the whole difference", "share"),
        *_BOUNDS,
    )
    return Table("Activation patching: what carries the subject's number", columns, tuple(rows))


def knockout_table(caused: Sequence[Caused], generator: np.random.Generator) -> Table:
    """Drop of the logit difference where edges are cut, by layer, and in all layers."""
    by_layer = _means(np.stack([one.cut_layers for one in caused]), generator)
    rows: list[tuple[Any, ...]] = [
        (str(place[0]), CUT_ROLES[place[1]], *_bounds(by_layer, place), None)
        for place in np.ndindex(by_layer.estimate.shape)
    ]
    right = _means(np.stack([one.right_after for one in caused]), generator).estimate
    for name, values in (
        ("all", [one.cut_all for one in caused]),
        ("all, from every token", [one.cut_everywhere for one in caused]),
    ):
        found = _means(np.stack(values), generator)
        for r, role in enumerate(CUT_ROLES):
            after = plain(right[r]) if name == "all" else None
            rows.append((name, role, *_bounds(found, r), after))
    columns = (
        Column("layers", "Layers"),
        Column("role", "Edges to"),
        Column("drop", "Drop of the logit difference", "nats"),
        *_BOUNDS,
        Column("right", "Right verb after the cut", "share"),
    )
    return Table("Knock-out: what the verb needs to see", columns, tuple(rows))


def _look_and_matter(
    looked: Sequence[Looked], caused: Sequence[Caused]
) -> tuple[Floats, Floats, Floats, Floats]:
    """Weight on the subject, restored logits, cut logits, (N, L, H) each, and apart (N,)."""
    subject = WEIGHT_ROLES.index(SUBJECT)
    return (
        np.stack([role_weights(one)[..., subject] for one in looked]),
        np.stack([one.heads["restoring"] for one in caused]),
        np.stack([one.cut_heads for one in caused]),
        np.array([one.apart for one in caused]),
    )


def heads_table(
    looked: Sequence[Looked], caused: Sequence[Caused], generator: np.random.Generator
) -> Table:
    """Of each head, how much it looks at the subject, what it restores, and what its edge decides.

    A head looks where the interval of its weight lies above LOOKS, and matters where the interval
    of what it restores lies beyond MATTERS on one side.
    """
    weights, effects, cuts, apart = _look_and_matter(looked, caused)
    look, matter = _means(weights, generator), _shares(effects, apart, generator)
    cut = _means(cuts, generator)
    rows = [
        (*place, *_bounds(look, place), *_bounds(matter, place), *_bounds(cut, place),
         _kind(look.low[place], matter.low[place], matter.high[place]))
        for place in np.ndindex(look.estimate.shape)
    ]  # fmt: skip
    columns = (
        Column("layer", "Layer"),
        Column("head", "Head"),
        Column("weight", "Weight on the subject", "share"),
        Column("weight_low", "Low"),
        Column("weight_high", "High"),
        Column("effect", "Restored by its output", "share"),
        Column("effect_low", "Low"),
        Column("effect_high", "High"),
        Column("cut", "Drop where its edge is cut", "nats"),
        Column("cut_low", "Low"),
        Column("cut_high", "High"),
        Column("kind", "Kind"),
    )
    return Table("Heads: looking and mattering", columns, tuple(rows))


def _kind(look_low: float, matter_low: float, matter_high: float) -> str:
    looks = look_low > LOOKS
    matters = matter_low > MATTERS or matter_high < -MATTERS
    if looks:
        return BOTH if matters else ONLY_LOOKS
    return ONLY_MATTERS if matters else NEITHER


def head_values(
    looked: Sequence[Looked], caused: Sequence[Caused], generator: np.random.Generator
) -> dict[str, Any]:
    """Spearman's rank correlation of looking and mattering over heads, and heads of each kind."""
    from scipy.stats import spearmanr

    weights, effects, _, apart = _look_and_matter(looked, caused)
    drawn = generator.integers(0, len(weights), (_RESAMPLED_RANKS, len(weights)))

    def rank(rows: Any) -> float:
        restored = effects[rows].sum(0) / apart[rows].sum()
        return float(spearmanr(weights[rows].mean(0).ravel(), restored.ravel()).statistic)

    low, high = np.quantile([rank(rows) for rows in drawn], [0.025, 0.975])
    kinds = [row["kind"] for row in heads_table(looked, caused, generator).records()]
    return {
        "agreement_rank_correlation_of_looking_and_mattering": {
            "estimate": plain(rank(slice(None))), "low": plain(low), "high": plain(high),
        },
        "agreement_heads_by_kind": {
            kind: kinds.count(kind) for kind in (BOTH, ONLY_LOOKS, ONLY_MATTERS, NEITHER)
        },
    }  # fmt: skip


def sentences_table(items: Sequence[Item], caused: Sequence[Caused]) -> Table:
    """The sentences that were patched and cut, and what each was worth."""
    columns = (
        Column("text", "Sentence"),
        Column("attractors", "Nouns between"),
        Column("split", "Sentences"),
        Column("difference", "Right minus wrong verb", "nats"),
        Column("apart", "Minus the same in its twin", "nats"),
    )
    rows = tuple(
        (item.text, item.attractors, item.split, one.clean, one.apart)
        for item, one in zip(items, caused, strict=True)
    )
    return Table("Sentences", columns, rows)
