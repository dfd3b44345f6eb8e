"""The tables of meaning: findings as rows under labelled columns."""

from __future__ import annotations

from collections.abc import Sequence

from tokkit.analysis.embeddings.maps import Map
from tokkit.analysis.embeddings.meaning_analogies import AnalogyFinding
from tokkit.analysis.embeddings.meaning_measures import (
    PURITY,
    SEPARABILITY,
    SILHOUETTE,
    UNITS,
    Structure,
)
from tokkit.analysis.embeddings.meaning_words import CategoryWords
from tokkit.results import Column, Table
from tokkit.stats import Interval

_SHARE = "proportion"


def measures_table(structure: Structure) -> Table:
    """One row a measure: trained rows, and everything that they are held against."""
    columns = (
        Column("measure", "Measure"),
        Column("unit", "Unit"),
        *_three("trained", "Trained rows"),
        Column("shuffled", "Shuffled labels, mean"),
        Column("shuffled_high", "Shuffled labels, 95th percentile"),
        Column("p", "p against shuffled labels"),
        Column("p_holm", "p (Holm)"),
        Column("baseline_rows", "Baseline"),
        *_three("baseline", "Baseline rows"),
        Column("baseline_p", "p of baseline rows against shuffled labels"),
        *_three("gain", "Trained less baseline"),
        Column("gain_p", "p of the gain"),
        Column("gain_p_holm", "p of the gain (Holm)"),
        *_three("frequency", "Log count alone"),
        *_three("beyond", "Trained less log count alone"),
    )
    rows = tuple(
        (
            one.measure,
            UNITS[one.measure],
            *_numbers(one.trained),
            one.shuffled,
            one.shuffled_high,
            one.p,
            one.p_holm,
            structure.baseline,
            *_numbers(one.baseline),
            one.baseline_p,
            *_numbers(one.gain),
            one.gain_p,
            one.gain_p_holm,
            *_numbers(one.frequency),
            *_numbers(one.beyond),
        )
        for one in structure.measures
    )
    return Table("Category structure of the rows of words", columns, rows)


def categories_table(structure: Structure) -> Table:
    """One row a category: its neighbour purity beside chance and baseline rows."""
    columns = (
        Column("category", "Category"),
        Column("words", "Words"),
        *_three("purity", "Neighbour purity", _SHARE),
        Column("chance", "Chance", _SHARE),
        Column("baseline_rows", "Baseline"),
        Column("baseline", "Baseline rows", _SHARE),
        Column("silhouette", "Silhouette"),
        Column("separated", "Put right by a linear boundary", _SHARE),
        Column("nearest_other", "Most wrong neighbours from"),
    )
    rows = tuple(
        (
            one.category,
            one.words,
            *_numbers(one.purity),
            one.chance,
            structure.baseline,
            one.baseline,
            one.silhouette,
            one.separated,
            one.nearest_other,
        )
        for one in structure.by_category
    )
    title = f"Share of each word's {structure.neighbours} nearest words that are of its category"
    return Table(title, columns, rows)


def words_table(words: CategoryWords, structure: Structure) -> Table:
    """One row a word: its ids, and each measure for it."""
    columns = (
        Column("word", "Word"),
        Column("category", "Category"),
        Column("ids", "Token ids"),
        Column("purity", "Neighbour purity", _SHARE),
        Column("baseline_purity", "Neighbour purity, baseline rows", _SHARE),
        Column("silhouette", "Silhouette"),
        Column("separated", "Put right by a linear boundary"),
    )
    own, before = structure.by_word, structure.baseline_by_word
    rows = tuple(
        (
            word,
            words.categories[int(words.labels[place])],
            " ".join(str(token) for token in words.tokens[place]),
            float(own[PURITY][place]),
            float(before[PURITY][place]),
            float(own[SILHOUETTE][place]),
            bool(own[SEPARABILITY][place]),
        )
        for place, word in enumerate(words.words)
    )
    return Table("Words in categories", columns, rows)


def analogies_table(asked: Sequence[AnalogyFinding]) -> Table:
    """One row a relation, method, set of candidates and way to count."""
    columns = (
        Column("kind", "Relation"),
        Column("method", "Method"),
        Column("rows", "Rows"),
        Column("candidates", "Looked for among"),
        Column("excluded", "Given words left out"),
        Column("questions", "Questions"),
        Column("pairs", "Pairs"),
        *_three("accuracy", "Right", _SHARE),
        Column("given", "Answer is a given word", _SHARE),
        *_three("over_nearest", "More than nearest to c", "proportion difference"),
        *_three("over_initial", "More than initial rows", "proportion difference"),
    )
    rows = tuple(
        (
            one.kind or "all",
            one.method,
            one.rows,
            one.candidates,
            one.excluded,
            one.questions,
            one.pairs,
            *_numbers(one.accuracy),
            one.given,
            *_numbers(one.over_nearest),
            *_numbers(one.over_initial),
        )
        for one in asked
    )
    return Table("Analogies: a is to b as c is to which word", columns, rows)


def map_table(
    words: CategoryWords, places: Sequence[int], maps: Sequence[tuple[str, Map]], method: str
) -> Table:
    """Coordinates of the words at `places` on the maps of one method, by whose rows they show."""
    columns = (
        Column("rows", "Rows"),
        Column("word", "Word"),
        Column("category", "Category"),
        Column("x", "First axis"),
        Column("y", "Second axis"),
    )
    rows = tuple(
        (
            name,
            words.words[place],
            words.categories[int(words.labels[place])],
            float(x),
            float(y),
        )
        for name, drawn in maps
        if drawn.method == method
        for place, (x, y) in zip(places, drawn.points, strict=True)
    )
    return Table(f"Map of words by {method}", columns, rows)


def quality_table(maps: Sequence[tuple[str, Map]]) -> Table:
    """What each map keeps of its rows, and whether it shows purer groups than they hold."""
    columns = (
        Column("method", "Map"),
        Column("rows", "Rows"),
        Column("words", "Words"),
        Column("trustworthiness", "Trustworthiness"),
        Column("kept_neighbours", "Neighbours kept", _SHARE),
        Column("chance_neighbours", "Neighbours kept by chance", _SHARE),
        Column("rows_purity", "Neighbour purity of the rows", _SHARE),
        Column("map_purity", "Neighbour purity on the map", _SHARE),
        Column("explained_first", "Variance on the first axis", _SHARE),
        Column("explained_second", "Variance on the second axis", _SHARE),
        Column("perplexity", "Perplexity", "neighbours"),
    )
    rows = tuple(
        (
            drawn.method,
            name,
            len(drawn.points),
            drawn.trustworthiness,
            drawn.kept_neighbours,
            drawn.chance_neighbours,
            drawn.rows_purity,
            drawn.map_purity,
            *(drawn.explained_variance or (None, None)),
            drawn.perplexity,
        )
        for name, drawn in maps
    )
    return Table("How far the maps are to be trusted", columns, rows)


def _three(name: str, label: str, unit: str = "") -> tuple[Column, Column, Column]:
    return (
        Column(name, label, unit),
        Column(f"{name}_low", f"{label}, lower bound", unit),
        Column(f"{name}_high", f"{label}, upper bound", unit),
    )


def _numbers(interval: Interval | None) -> tuple[float | None, float | None, float | None]:
    if interval is None:
        return (None, None, None)
    return (interval.estimate, interval.low, interval.high)
