"""Tables of agreement: where heads look, what patches and cuts do, and where the two disagree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit import stats
from tokkit.analysis.attention.agreement_claim import choosing, chosen_head, cut_drops
from tokkit.analysis.attention.agreement_data import (
    QUERIES,
    Measured,
    means,
    rank_correlation,
    shares,
)
from tokkit.analysis.attention.agreement_items import NEAREST, SUBJECT, Item
from tokkit.analysis.attention.agreement_measures import (
    CUT_ROLES,
    DIRECTIONS,
    OUTPUTS,
    PATCH_ROLES,
    WEIGHT_ROLES,
)
from tokkit.analysis.intervals import Ratios, Resampling, plain, resampling
from tokkit.results import Column, Table

Floats = NDArray[np.float64]
LOOKS = 0.1
MATTERS = 0.02
HEADS_RULE = (
    f"A head looks where its mean weight on the subject is {LOOKS} or more above that of even "
    "dealing, and above that of equal distance where there is one, with intervals above 0; it "
    f"matters where its output at the last token restores {MATTERS} or more of the difference, or "
    "takes away as much, by interval."
)
KINDS = ("looks and matters", "looks, does not matter", "matters, does not look", "neither")
_BOUNDS = ("low", "high")


def accuracy_table(items: Sequence[Item], clean: Floats) -> Table:
    """Share of right verbs by split, attractors and the number of the nearest, with intervals."""
    rows = []
    for split in dict.fromkeys(item.split for item in items):
        own = [(item, value) for item, value in zip(items, clean, strict=True)
               if item.split == split]  # fmt: skip
        for n in sorted({item.attractors for item, _ in own}):
            for nearest in NEAREST:
                values = [value for item, value in own
                          if (item.attractors, item.nearest) == (n, nearest)]  # fmt: skip
                if values:
                    found = stats.wilson(sum(value > 0 for value in values), len(values))
                    rows.append((split, n, nearest, len(values), found.estimate, found.low,
                                 found.high, _short(np.mean(values))))  # fmt: skip
    return Table(
        "Agreement: share of right verbs",
        (
            Column("split", "Sentences"), Column("attractors", "Attractors"),
            Column("nearest", "The nearest has"), Column("items", "Items"),
            Column("right", "Right verb likelier", "proportion"),
            Column("low", "low", "proportion"), Column("high", "high", "proportion"),
            Column("difference", "Right less wrong verb", "logits"),
        ),
        tuple(rows),
    )  # fmt: skip


def weights_table(measured: Measured, drawn: Resampling) -> Table:
    """Mass by role and layer, mean over heads, from the last token and from the verb."""
    mass = measured.weights.mass
    found = means(drawn, mass.mean(3))  # queries, L, roles
    even = means(drawn, measured.weights.even).estimate
    rows = [
        (query, layer, role, *_told(found, (q, layer, r)), _short(even[q, r]))
        for q, query in enumerate(QUERIES)
        for layer in range(mass.shape[2])
        for r, role in enumerate(WEIGHT_ROLES)
    ]
    return Table(
        "Attention by layer, mean over heads",
        (
            Column("query", "From"), Column("layer", "Layer"), Column("role", "To"),
            *_bounded("weight", "Weight"), Column("even", "Dealt evenly", "proportion"),
        ),
        tuple(rows),
    )  # fmt: skip


def weights_by_attractors_table(measured: Measured, generator: np.random.Generator) -> Table:
    """Mass by role and number of attractors: mean over all heads, and the chosen head's.

    The chosen head's is of the sentences that did not choose it.
    """
    chooses = choosing(len(measured.items))
    layer, head = chosen_head(measured.weights, chooses)
    mass, attractors = measured.weights.mass, measured.attractors
    if measured.more_weights is not None:
        mass = np.concatenate((mass, measured.more_weights.mass))
        attractors = np.append(attractors, [item.attractors for item in measured.more_items])
        chooses = np.append(chooses, np.zeros(len(measured.more_items), dtype=bool))
    rows = []
    for what, values, free in (
        ("all heads, mean", mass.mean((2, 3)), np.ones_like(chooses)),
        (f"layer {layer}, head {head}", mass[:, :, layer, head], ~chooses),
    ):
        for n in np.unique(attractors[free]):
            own = values[free & (attractors == n)]
            found = means(resampling(np.arange(len(own)), generator), own)
            rows += [
                (what, query, int(n), role, len(own), *_told(found, (q, r)))
                for q, query in enumerate(QUERIES)
                for r, role in enumerate(WEIGHT_ROLES)
            ]
    return Table(
        "Attention by number of attractors",
        (
            Column("heads", "Heads"), Column("query", "From"), Column("attractors", "Attractors"),
            Column("role", "To"), Column("items", "Items"), *_bounded("weight", "Weight"),
        ),
        tuple(rows),
    )  # fmt: skip


def states_table(measured: Measured, drawn: Resampling) -> Table:
    """Share of the way that a role's states move, by layer, in both directions."""
    rows = []
    for direction in DIRECTIONS:
        found = shares(drawn, measured.moved(direction, "states"), measured.apart)
        rows += [
            (direction, layer, role, *_told(found, (q, r)))
            for q, layer in enumerate(measured.plan.layers)
            for r, role in enumerate(PATCH_ROLES)
        ]
    return Table(
        "Residual stream patched after a layer",
        (
            Column("direction", "Direction"), Column("layer", "Layer"), Column("role", "At"),
            *_bounded("share", "Share of the way"),
        ),
        tuple(rows),
    )  # fmt: skip


def outputs_table(measured: Measured, drawn: Resampling) -> Table:
    """Share of the way that what attention or feed-forward adds at the last token moves."""
    rows = []
    for direction in DIRECTIONS:
        found = shares(drawn, measured.moved(direction, "outputs"), measured.apart)
        rows += [
            (direction, part, layer, *_told(found, (p, layer)))
            for p, part in enumerate(OUTPUTS)
            for layer in range(found.estimate.shape[1])
        ]
    return Table(
        "Output of a layer's parts patched at the last token",
        (
            Column("direction", "Direction"), Column("part", "Part"), Column("layer", "Layer"),
            *_bounded("share", "Share of the way"),
        ),
        tuple(rows),
    )  # fmt: skip


def knockout_table(measured: Measured, drawn: Resampling) -> Table:
    """Loss of logit difference where the last token's edges are cut in one layer."""
    found = means(drawn, np.stack([of.cut_layers for of in measured.caused]))
    rows = [
        (layer, role, *_told(found, (layer, r)))
        for layer in range(found.estimate.shape[0])
        for r, role in enumerate(CUT_ROLES)
    ]
    return Table(
        "The last token's edges cut in one layer",
        (
            Column("layer", "Layer"), Column("role", "Edges to"),
            *_bounded("drop", "Lower by", "logits"),
        ),
        tuple(rows),
    )  # fmt: skip


def windows_table(measured: Measured, drawn: Resampling) -> Table:
    """Loss of logit difference and accuracy where edges are cut in several layers at once."""
    clean = np.array([of.knocked.clean for of in measured.caused])
    rows = []
    for edges in ("last token", "every later token"):
        after = np.stack([
            of.knocked.at_last if edges == "last token" else of.knocked.everywhere
            for of in measured.caused
        ])  # fmt: skip
        found = means(drawn, clean[:, None, None] - after)
        for w, (first, last) in enumerate(measured.plan.windows):
            for r, role in enumerate(CUT_ROLES):
                values = after[:, w, r][np.isfinite(after[:, w, r])]
                right: tuple[Any, ...] = (None,) * 3
                if values.size:
                    share = stats.wilson(int((values > 0).sum()), len(values))
                    right = share.estimate, share.low, share.high
                rows.append((edges, first, last, role, len(values), *_told(found, (w, r)), *right))
    return Table(
        "Edges cut in several layers",
        (
            Column("edges", "Edges of"), Column("first", "First layer"),
            Column("last", "Last layer"), Column("role", "To"), Column("items", "Items"),
            *_bounded("drop", "Lower by", "logits"), *_bounded("right", "Right verb likelier"),
        ),
        tuple(rows),
    )  # fmt: skip


def heads_table(measured: Measured, drawn: Resampling) -> Table:
    """Every head: what it looks at, what its output does, and which of KINDS it is."""
    mass = measured.weights.mass
    at_last, at_verb = (means(drawn, mass[:, q]) for q in range(len(QUERIES)))
    subject = WEIGHT_ROLES.index(SUBJECT)
    by_distance = means(drawn, measured.weights.by_distance).estimate
    patched = [
        shares(drawn, measured.moved(direction, "heads"), measured.apart)
        for direction in DIRECTIONS
    ]
    everywhere = [_everywhere(measured, direction) for direction in DIRECTIONS]
    cuts = means(drawn, np.stack([of.cut_heads for of in measured.caused]))
    kinds = head_kinds(measured, drawn)
    rows = [
        (
            *at, *_told(at_last, (*at, subject)),
            *(_short(at_last.estimate[(*at, r)]) for r in range(1, len(WEIGHT_ROLES))),
            _short(by_distance[at]), _short(at_verb.estimate[(*at, subject)]),
            *_told(patched[0], at), *_told(patched[1], at),
            *(_short(each[at]) for each in everywhere), *_told(cuts, at), kinds[at],
        )
        for at in np.ndindex(*at_last.estimate.shape[:2])
    ]  # fmt: skip
    names = ("attractors", "adverb", "first", "other")
    return Table(
        "Heads: where they look and what they do",
        (
            Column("layer", "Layer"), Column("head", "Head"),
            *_bounded("subject", "Weight on the subject"),
            *(Column(name, f"... on {role}", "proportion")
              for name, role in zip(names, WEIGHT_ROLES[1:], strict=True)),
            Column("distance", "... on others as far", "proportion"),
            Column("from_verb", "... on the subject, from the verb", "proportion"),
            *_bounded("restores", "Restores"), *_bounded("breaks", "Breaks"),
            Column("restores_everywhere", "Restores at all tokens", "proportion"),
            Column("breaks_everywhere", "Breaks at all tokens", "proportion"),
            *_bounded("cut", "Its edge cut: lower by", "logits"), Column("kind", "Kind"),
        ),
        tuple(rows),
    )  # fmt: skip


def _everywhere(measured: Measured, direction: str) -> Floats:
    """Share of the way that a head's output at all tokens moves, (L, H), of the first items."""
    n = measured.n_everywhere
    moved = measured.moved(direction, "heads_everywhere")[:n].sum(0)
    found: Floats = moved / measured.apart[:n].sum()
    return found


def head_kinds(measured: Measured, drawn: Resampling) -> dict[tuple[int, ...], str]:
    """Which of KINDS each (layer, head) is, by HEADS_RULE."""
    subject = WEIGHT_ROLES.index(SUBJECT)
    weight = measured.weights.mass[:, 0, :, :, subject]
    even = measured.weights.even[:, 0, subject, None, None]
    over, beside = (means(drawn, weight - null) for null in (even, measured.weights.by_distance))
    looks = (over.estimate >= LOOKS) & (over.low > 0)
    looks &= ((beside.estimate >= LOOKS) & (beside.low > 0)) | np.isnan(beside.estimate)
    effect = shares(drawn, measured.moved("restoring", "heads"), measured.apart)
    matters = (np.abs(effect.estimate) >= MATTERS) & ((effect.low > 0) | (effect.high < 0))
    return {at: KINDS[2 * (not looks[at]) + (not matters[at])] for at in np.ndindex(*looks.shape)}


def ranks_table(measured: Measured, drawn: Resampling) -> Table:
    """Rank correlation, over heads, of weight on the subject with what the head does."""
    weight = measured.weights.mass[:, 0, :, :, WEIGHT_ROLES.index(SUBJECT)]
    ones = np.ones(len(weight))
    cuts = np.stack([of.cut_heads for of in measured.caused])
    rows = []
    for name, moved, whole in (
        ("output restores", measured.moved("restoring", "heads"), measured.apart),
        ("output breaks", measured.moved("breaking", "heads"), measured.apart),
        ("its edge to the subject, cut", cuts, ones),
    ):
        found = rank_correlation(drawn, weight, moved, whole)
        rows.append((name, weight[0].size, len(weight), *(_short(value) for value in found)))
    return Table(
        "Rank correlation of a head's weight on the subject with its effect",
        (
            Column("effect", "Effect"), Column("heads", "Heads"), Column("items", "Items"),
            Column("correlation", "Spearman's"), Column("low", "low"), Column("high", "high"),
        ),
        tuple(rows),
    )  # fmt: skip


def strongest_window(measured: Measured) -> float:
    """The mean loss of logit difference with the subject cut from the last token, all layers."""
    return float(cut_drops(measured)[:, CUT_ROLES.index(SUBJECT)].mean())


def _bounded(name: str, label: str, unit: str = "proportion") -> Iterator[Column]:
    yield Column(name, label, unit)
    for bound in _BOUNDS:
        yield Column(f"{name}_{bound}", bound, unit)


def _told(found: Ratios, at: tuple[int, ...]) -> tuple[float | None, ...]:
    return tuple(_short(side[at]) for side in (found.estimate, found.low, found.high))


def _short(value: object) -> float | None:
    """Five digits: more would be noise, and there are many cells."""
    number = plain(value)
    return None if number is None else float(f"{number:.5g}")
