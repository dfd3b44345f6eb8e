"""Meaning in the rows of an embedding: categories of words, analogies, maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tokkit.analysis.embeddings import meaning_tables
from tokkit.analysis.embeddings.maps import MIN_POINTS, Map, pca_map, shuffled_columns, tsne_map
from tokkit.analysis.embeddings.meaning_analogies import (
    ALL_WORDS,
    WITHIN,
    AnalogyFinding,
    ask,
    findings,
    relation,
)
from tokkit.analysis.embeddings.meaning_claim import meaning_claim
from tokkit.analysis.embeddings.meaning_measures import (
    INITIAL,
    RANDOM,
    Structure,
    category_structure,
    same_spectrum,
)
from tokkit.analysis.embeddings.meaning_words import (
    PREPARED,
    CategoryWords,
    Quadruple,
    Rows,
    category_words,
    common_words,
    mean_row,
    prepared,
    rows_of_words,
    word_rows,
    word_tokens,
)
from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.matrix import Matrix
from tokkit.analysis.section import Section
from tokkit.errors import ConfigError
from tokkit.results import Table

MOST_WORDS = 1200
"""Words that are measured; of more, as many are drawn."""
MOST_ON_MAP = 400
TRAINED, SHUFFLED = "trained rows", "rows with shuffled columns"
Analogies = Mapping[str, Sequence[tuple[str, str]] | Sequence[Quadruple]]


@dataclass(frozen=True, slots=True)
class DrawnMap:
    """A map, and whose rows it shows: trained ones, or a null."""

    rows: str
    map: Map


def meaning_section(
    subject: Subject,
    *,
    seed: int,
    categories: Mapping[str, Sequence[str]] | None = None,
    analogies: Analogies | None = None,
    bit_equal: bool | None = None,
    largest_deviation: float | None = None,
    mean_of_several: bool = False,
) -> Section | None:
    """What the rows of words say of categories and analogies, with maps and the claim "lookup".

    `categories` map names to words, `analogies` kinds to pairs (a, b) or to quadruples
    (a, b, c, d); without them, those of the subject's world are taken, else the common English
    words of tokkit. `bit_equal` and `largest_deviation` are what the lookup showed, None where no
    model was at hand. Returns None where no tokens are known; values["reason"] says why
    categories could not be measured. Raises ConfigError for lists of another form and for initial
    rows of another shape.
    """
    if subject.tokens is None:
        return None
    _check_initial(subject)
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4)]
    lists = categories or subject.world or common_words().categories
    words = _at_most(
        category_words(subject, lists, mean_of_several=mean_of_several), MOST_WORDS, streams[0]
    )
    mean = mean_row(subject.rows, subject.usable)
    initial = None
    if subject.initial is not None:
        initial = (subject.initial, mean_row(subject.initial, subject.usable))
    measured = (
        None if words.fault else _measure_categories(subject, words, mean, initial, streams[1])
    )
    pairs = analogies if analogies is not None else _own_analogies(subject, categories)
    asked, pairs_out = _measure_analogies(subject, pairs, mean, initial, streams[2])
    drawn = _maps(words, measured, seed, streams[3])
    structure = None if measured is None else measured.structure
    return Section(
        values=_values(words, measured, asked),
        tables=_tables(words, measured, asked, drawn),
        claims=(meaning_claim(bit_equal, largest_deviation, structure),),
        left_out={**words.left_out, **pairs_out},
    )


def _check_initial(subject: Subject) -> None:
    if subject.initial is not None and subject.initial.shape != subject.rows.shape:
        raise ConfigError(
            "initial rows are compared one by one with the trained ones and need their shape "
            f"{list(subject.rows.shape)}, got {list(subject.initial.shape)}: make them from the "
            "same settings"
        )


def _at_most(words: CategoryWords, most: int, generator: np.random.Generator) -> CategoryWords:
    """At most `most` words, from each category in proportion, at least five."""
    if len(words) <= most:
        return words
    share = most / len(words)
    kept: list[int] = []
    for place in range(len(words.categories)):
        members = np.flatnonzero(words.labels == place)
        count = min(len(members), max(5, int(len(members) * share)))
        kept.extend(int(member) for member in generator.choice(members, count, replace=False))
    kept.sort()
    return CategoryWords(
        tuple(words.words[place] for place in kept),
        tuple(words.tokens[place] for place in kept),
        words.labels[kept],
        words.categories,
        {**words.left_out, f"words beyond {most}, not drawn": len(words) - len(kept)},
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """Category structure and the prepared rows (n, D) that it was measured on."""

    structure: Structure
    rows: Rows
    baseline: Rows


def _measure_categories(
    subject: Subject,
    words: CategoryWords,
    mean: Rows,
    initial: tuple[Matrix, Rows] | None,
    generator: np.random.Generator,
) -> _Measured:
    rows = prepared(word_rows(subject.rows, words.tokens), mean)
    if initial is None:
        name, baseline = RANDOM, same_spectrum(rows, generator)
    else:
        name, baseline = INITIAL, prepared(word_rows(initial[0], words.tokens), initial[1])
    counts = None
    if subject.counts is not None:
        # A word of several tokens is at most as frequent as its rarest one.
        counts = np.array([subject.counts[list(ids)].min() for ids in words.tokens], dtype=float)
    structure = category_structure(
        rows,
        baseline,
        words.labels,
        words.categories,
        generator,
        baseline_name=name,
        counts=counts,
    )
    return _Measured(structure, rows, baseline)


def _own_analogies(subject: Subject, categories: Mapping[str, Sequence[str]] | None) -> Analogies:
    """The subject's own; the common pairs, unless its words are those of another language."""
    if categories or subject.world:
        return subject.analogies
    return common_words().analogies


def _measure_analogies(
    subject: Subject,
    analogies: Analogies,
    mean: Rows,
    initial: tuple[Matrix, Rows] | None,
    generator: np.random.Generator,
) -> tuple[list[AnalogyFinding], dict[str, int]]:
    """All relations among two sets of candidates, on trained rows and on initial ones."""
    known = _one_row_each(subject, analogies)
    posed = [relation(kind, given, known, generator) for kind, given in analogies.items()]
    left: Counter[str] = Counter()
    for one in posed:
        left.update(one.left_out)
    posed = [one for one in posed if len(one.asked)]
    if not posed:
        return [], dict(left)
    own = [np.array([known[word] for word in one.words], dtype=np.int64) for one in posed]
    # Asked words are answers too, also where their form is not that of most words.
    everywhere = np.union1d(rows_of_words(subject), np.concatenate(own))
    found = []
    for name, candidates in ((WITHIN, own), (ALL_WORDS, [everywhere] * len(posed))):
        answers = ask(posed, known, subject.rows, mean, candidates)
        before = None
        if initial is not None:
            before = ask(posed, known, initial[0], initial[1], candidates)
            found += findings(posed, before, generator, candidates=name, rows=INITIAL)
        found += findings(posed, answers, generator, candidates=name, rows=TRAINED, initial=before)
    return sorted(found, key=lambda one: one.rows != TRAINED), dict(left)


def _one_row_each(subject: Subject, analogies: Analogies) -> dict[str, int]:
    """The words of all pairs that one usable row stands for; of words with one row the first."""
    listed = [word for given in analogies.values() for words in given for word in words]
    known: dict[str, int] = {}
    taken: set[int] = set()
    for word, tokens in word_tokens(subject, listed).items():
        if len(tokens) == 1 and subject.usable[tokens[0]] and tokens[0] not in taken:
            known[word] = tokens[0]
            taken.add(tokens[0])
    return known


def _maps(
    words: CategoryWords, measured: _Measured | None, seed: int, generator: np.random.Generator
) -> tuple[tuple[int, ...], list[DrawnMap]]:
    """The places of the words that are drawn, and both maps of trained rows and of a null."""
    if measured is None or len(words) < MIN_POINTS or measured.rows.shape[1] < 2:
        return (), []
    places = np.arange(len(words))
    if len(words) > MOST_ON_MAP:
        places = np.sort(generator.choice(places, MOST_ON_MAP, replace=False))
    labels = words.labels[places].tolist()
    rows = measured.rows[places]
    if measured.structure.baseline == INITIAL:
        null_name, null = INITIAL, measured.baseline[places]
    else:
        null_name, null = SHUFFLED, shuffled_columns(rows, generator)
    drawn = [
        DrawnMap(name, made)
        for name, shown in ((TRAINED, rows), (null_name, null))
        for made in (pca_map(shown, labels), tsne_map(shown, seed, labels))
    ]
    return tuple(places.tolist()), drawn


def _values(
    words: CategoryWords, measured: _Measured | None, asked: Sequence[AnalogyFinding]
) -> dict[str, Any]:
    values: dict[str, Any] = {
        "rows_prepared": PREPARED,
        "words": len(words),
        "analogies_asked": sum(
            one.questions
            for one in asked
            if one.rows == TRAINED
            and one.candidates == WITHIN
            and one.excluded
            and one.kind
            and one.method == asked[0].method
        ),
    }
    if measured is None:
        return {**values, "reason": words.fault}
    structure = measured.structure
    return {
        **values,
        "categories": len(structure.categories),
        "neighbours": structure.neighbours,
        "chance_purity": structure.chance_purity,
        "largest_category_share": structure.largest_share,
        "baseline": structure.baseline,
    }


def _tables(
    words: CategoryWords,
    measured: _Measured | None,
    asked: Sequence[AnalogyFinding],
    drawn: tuple[tuple[int, ...], list[DrawnMap]],
) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    if measured is not None:
        tables["category_measures"] = meaning_tables.measures_table(measured.structure)
        tables["categories"] = meaning_tables.categories_table(measured.structure)
        tables["category_words"] = meaning_tables.words_table(words, measured.structure)
    if asked:
        tables["analogies"] = meaning_tables.analogies_table(asked)
    places, maps = drawn
    if maps:
        named = [(one.rows, one.map) for one in maps]
        tables["map_pca"] = meaning_tables.map_table(words, places, named, "PCA")
        tables["map_tsne"] = meaning_tables.map_table(words, places, named, "t-SNE")
        tables["map_quality"] = meaning_tables.quality_table(named)
    return tables
