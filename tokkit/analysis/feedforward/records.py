"""The tables of the record, from what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tokkit.analysis.feedforward.clamping import DOSES, MAIN_DOSE, Clamped, chosen_units
from tokkit.analysis.feedforward.concepts import Found, by_layer
from tokkit.analysis.feedforward.value_words import Agreement
from tokkit.analysis.feedforward.words import ConceptWords, share_of_category
from tokkit.analysis.intervals import Ratios, plain
from tokkit.results import Column, Table

_COUNTS = (
    Column("category", "Category"),
    Column("units", "Units that answer"),
    Column("initial", "... at initial weights"),
    Column("permuted", "... with labels permuted, mean"),
)
_CONCEPTS = (Column("layer", "Layer"), *_COUNTS)
_CATEGORIES = (
    *_COUNTS,
    Column("higher", "... higher at the category"),
    Column("words_chosen", "Words, choosing half"),
    Column("words_measured", "Words, measuring half"),
    Column("layer", "Best unit: layer"),
    Column("unit", "Unit"),
    Column("area_chosen", "Area, choosing half"),
    Column("area_measured", "Area, measuring half"),
    Column("p", "p, familywise"),
    Column("in_text", "Exciting tokens of the text that are its words", "proportion"),
    Column("in_text_all", "... of all units", "proportion"),
)
_CLAMPED = (
    Column("category", "Category"),
    Column("dose", "Set to"),
    Column("times", "Times the high value"),
    Column("units", "Units"),
    Column("effect", "Effect on its held-out words", "nats"),
    Column("effect_low", "... low", "nats"),
    Column("effect_high", "... high", "nats"),
    Column("control", "Control units", "nats"),
    Column("control_low", "... low", "nats"),
    Column("control_high", "... high", "nats"),
    Column("beyond", "|Effect| beyond the controls'", "nats"),
    Column("beyond_low", "... low", "nats"),
    Column("beyond_high", "... high", "nats"),
)
_ACROSS = (
    Column("category", "Units of"),
    Column("words", "Words of"),
    Column("effect", "Effect", "nats"),
)


def three(found: Ratios) -> tuple[float | None, float | None, float | None]:
    """An estimate with its bounds, as the record holds them."""
    return plain(found.estimate), plain(found.low), plain(found.high)


def agreement_table(found: Sequence[Agreement]) -> Table:
    """A row a layer: how often values promote what follows."""
    columns = (
        Column("layer", "Layer"),
        Column("units", "Units looked at"),
        Column("own", "What follows is promoted", "proportion"),
        Column("own_low", "... low", "proportion"),
        Column("own_high", "... high", "proportion"),
        Column("shuffled", "... with another unit's texts", "proportion"),
        Column("shuffled_low", "... low", "proportion"),
        Column("shuffled_high", "... high", "proportion"),
        Column("more", "More than that", "proportion"),
        Column("more_low", "... low", "proportion"),
        Column("more_high", "... high", "proportion"),
        Column("first", "What follows is the first word of all", "proportion"),
    )
    rows = tuple(
        (a.layer, a.units, *three(a.own), *three(a.shuffled), *three(a.more), a.first)
        for a in found
    )
    return Table("Do values promote the token that follows what excites the unit?", columns, rows)


def concept_tables(
    words: ConceptWords, found: Found, initial: Found | None, layers: Sequence[int], tokens: Any
) -> dict[str, Table]:
    """Units that pass by layer and category, and a row a category.

    `tokens` (M, k) are those of the text that excite each unit most.
    """
    count = len(layers)
    own, null = by_layer(found, count), found.by_chance.mean(0)
    first = None if initial is None else by_layer(initial, count)
    per_layer = tuple(
        (
            layer, name, int(own[at, c]), None if first is None else int(first[at, c]),
            float(null[at, c]),
        )
        for at, layer in enumerate(layers)
        for c, name in enumerate(words.categories)
    )  # fmt: skip
    share = share_of_category(tokens, words)
    per_category = tuple(
        (
            *_category(words, found, first, null, layers, c),
            float(share[found.passes[:, c], c].mean()) if found.passes[:, c].any() else None,
            float(share[:, c].mean()),
        )
        for c in range(len(words.categories))
    )
    return {
        "concepts": Table("Units that answer to a category", _CONCEPTS, per_layer),
        "categories": Table("Categories", _CATEGORIES, per_category),
    }


def _category(
    words: ConceptWords, found: Found, first: Any, null: Any, layers: Sequence[int], c: int
) -> tuple[Any, ...]:
    per_layer = len(found.chosen) // len(layers)
    passing = chosen_units(found, c)
    best = passing[0] if passing else int(np.abs(found.chosen[:, c] - 0.5).argmax())
    place, unit = divmod(best, per_layer)
    return (
        words.categories[c], int(found.passes[:, c].sum()),
        None if first is None else int(first[:, c].sum()), float(null[:, c].sum()),
        int((found.passes[:, c] & (found.chosen[:, c] > 0.5)).sum()),
        len(words.of(c, 0)), len(words.of(c, 1)), layers[place], unit,
        float(found.chosen[best, c]), float(found.measured[best, c]), float(found.p[best, c]),
    )  # fmt: skip


def clamp_tables(clamped: Clamped, categories: Sequence[str]) -> dict[str, Table]:
    """Effects on a category's own words by dose, and on every category's words at MAIN_DOSE."""
    set_ = sorted({setting.category for setting in clamped.settings})
    rows = [
        (
            categories[c], dose, DOSES[dose], _set_units(clamped, c),
            *three(clamped.signed(c, dose)), *three(clamped.signed(c, dose, control=True)),
            *three(clamped.beyond_controls([c], dose)),
        )
        for dose in DOSES
        for c in set_
    ]  # fmt: skip
    across = [
        (categories[c], categories[other], float(clamped.effects[:, place, other].mean()))
        for place, setting in enumerate(clamped.settings)
        for c in (setting.category,)
        if setting.dose == MAIN_DOSE and setting.control == 0
        for other in range(len(categories))
    ]
    return {
        "clamped": Table("Setting units: what it does to the words", _CLAMPED, tuple(rows)),
        "clamped_across": Table(
            "Setting units of one category, on words of all", _ACROSS, tuple(across)
        ),
    }


def _set_units(clamped: Clamped, category: int) -> int:
    return next(len(s.units) for s in clamped.settings if s.category == category)
