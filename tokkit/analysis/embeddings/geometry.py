"""The geometry of an embedding: lookup, faults, norms, isotropy, spectrum, hubness, neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings import geometry_tables as tables
from tokkit.analysis.embeddings.geometry_measure import (
    Cloud,
    measure_cloud,
    null_hubness,
    sample_hubness,
    spectrum_cosines,
    spread_measures,
)
from tokkit.analysis.embeddings.geometry_norms import (
    FEWEST,
    Correlation,
    bands,
    rank_correlations,
)
from tokkit.analysis.embeddings.lookup import (
    Lookup,
    Tie,
    compare_rows,
    lookup_record,
)
from tokkit.analysis.embeddings.neighbours_search import Found, find_neighbours, places_of
from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.matrix import ALL_ZERO, HOLDS_NAN, INFINITE, REPEATED, survey_rows
from tokkit.analysis.section import Section
from tokkit.errors import ConfigError
from tokkit.results import Table

EXCLUDING = (HOLDS_NAN, INFINITE, ALL_ZERO)
NOT_A_TOKEN = "named words that are not one token of this tokenizer"
HUBS = 20
NAMED = 16
"""Tokens whose neighbours are listed where none are named."""
_LOOKED_UP = 64
_SHORTEST_WORD = 3


@dataclass(slots=True)
class _Gathered:
    values: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)


def geometry_section(
    subject: Subject, *, seed: int, neighbours: int = 10, named: Sequence[str] | None = None
) -> Section:
    """Measure the rows of a subject; tables are named geometry_*.

    `neighbours` is k, for hubness and lists; `named` are tokens (a word finds its token with a
    space before it, too) or numbers of rows. Raises ConfigError where fewer than two rows can be
    measured, where all are equal, and for k below 1 or not below the rows that can be measured.
    """
    gathered = _Gathered()
    survey = survey_rows(subject.rows)
    usable = survey.usable & subject.usable
    _check_k(neighbours, int(usable.sum()))
    gathered.left_out |= {
        reason: count for reason, count in survey.counts.items() if count and reason in EXCLUDING
    }
    gathered.tables["geometry_faults"] = tables.faults_table(survey)
    if survey.groups:
        gathered.tables["geometry_repeated"] = tables.repeated_table(subject, survey)
    _lookup(subject, usable, seed, gathered)
    cloud = measure_cloud(subject.rows, usable, seed)
    initial = _initial(subject, usable, seed)
    _shape(cloud, initial, seed, gathered)
    _norms(subject, cloud, seed, gathered)
    _hubness(subject, cloud, initial, neighbours, seed, gathered)
    chosen = _chosen(subject, usable, named, gathered)
    found = find_neighbours(
        subject.rows, usable, cloud.moments, cloud.basis, neighbours, seed, chosen
    )
    _neighbours(subject, cloud, found, gathered)
    gathered.values |= {
        "rows": len(subject.rows),
        "rows_measured": int(usable.sum()),
        "rows_repeated": survey.counts[REPEATED],
        "width": subject.rows.width,
    }
    return Section(gathered.values, gathered.tables, left_out=gathered.left_out)


def _check_k(k: int, rows: int) -> None:
    if not 1 <= k < rows:
        raise ConfigError(
            f"neighbours must be 1 or more and fewer than the {rows} rows that can be measured, "
            f"got {k}"
        )


def _initial(subject: Subject, usable: NDArray[np.bool_], seed: int) -> Cloud | None:
    if subject.initial is None:
        return None
    if subject.initial.shape != subject.rows.shape:
        raise ConfigError(
            f"initial rows must have the shape of the rows, {subject.rows.shape}, got "
            f"{subject.initial.shape}: they are of another model"
        )
    return measure_cloud(subject.initial, usable, seed)


def _lookup(subject: Subject, usable: NDArray[np.bool_], seed: int, gathered: _Gathered) -> None:
    found: Lookup | None = None
    tie: Tie | None = None
    if subject.model is not None:
        ids = np.flatnonzero(usable[: subject.model.config.vocab_size])
        size = min(_LOOKED_UP, len(ids), subject.model.config.context)
        drawn = np.random.default_rng([seed, 5]).choice(ids, size, replace=False)
        found = lookup_record(subject, drawn, seed=seed)
        gathered.values["lookup"] = asdict(found)
    if subject.output is not None and subject.output.shape == subject.rows.shape:
        tie = compare_rows(subject.rows, subject.output)
        gathered.values["output_beside_input"] = asdict(tie)
    gathered.values["tied"] = subject.tied
    table = tables.lookup_table(found, tie, tied=subject.tied)
    if table is not None:
        gathered.tables["geometry_lookup"] = table


def _shape(cloud: Cloud, initial: Cloud | None, seed: int, gathered: _Gathered) -> None:
    spread, spread_values = spread_measures(cloud, seed)
    gathered.tables["geometry_measures"] = tables.measures_table(
        cloud, initial, spread, spectrum_cosines(cloud, seed)
    )
    gathered.tables["geometry_spectrum"] = tables.spectrum_table(cloud, initial, spread_values)
    gathered.values["measures"] = {name: asdict(one) for name, one in cloud.measures.items()}


def _norms(subject: Subject, cloud: Cloud, seed: int, gathered: _Gathered) -> None:
    """Norms against training counts, of tokens that are text and whose count is known."""
    if subject.counts is None:
        return
    rows = cloud.moments.rows
    if subject.tokens is not None:
        text = np.array([bool(token) for token in subject.tokens])
        text[[row for row in subject.special if row < len(text)]] = False
        rows = rows[text[rows]]
        lengths = np.array([len(subject.tokens[row]) for row in rows])
    else:
        lengths = np.zeros(len(rows))
    counts, norms = subject.counts[rows], cloud.moments.norms[rows]
    gathered.tables["geometry_norms"] = tables.norms_table(bands(counts, norms))
    found: dict[str, Correlation | None] = {}
    for name, chosen in (("seen", counts > 0), ("all", counts >= 0)):
        enough = int(chosen.sum()) >= FEWEST
        generator = np.random.default_rng([seed, 6])
        found[name] = (
            rank_correlations(norms[chosen], counts[chosen], lengths[chosen], generator)
            if enough
            else None
        )
    gathered.values["norm_by_count"] = {
        name: None if one is None else asdict(one) for name, one in found.items()
    }


def _hubness(
    subject: Subject,
    cloud: Cloud,
    initial: Cloud | None,
    k: int,
    seed: int,
    gathered: _Gathered,
) -> None:
    found = sample_hubness(subject.rows, cloud, k, seed, about="these rows")
    k = min(k, next(iter(found.values())).n - 1)
    if initial is not None and subject.initial is not None:
        found |= sample_hubness(subject.initial, initial, k, seed, about="before training")
    found |= null_hubness(cloud, k, seed)
    gathered.tables["geometry_hubness"] = tables.hubness_table(found)
    gathered.tables["geometry_occurrences"] = tables.occurrences_table(found)


def _neighbours(subject: Subject, cloud: Cloud, found: Found, gathered: _Gathered) -> None:
    rows = cloud.moments.rows
    times = np.bincount(places_of(found.centred).ravel() + 1, minlength=len(rows) + 1)[1:]
    top = np.argsort(-times, kind="stable")[:HUBS]
    gathered.tables["geometry_hubs"] = tables.hubs_table(
        subject,
        [(int(rows[at]), int(times[at]), float(cloud.moments.norms[rows[at]])) for at in top],
    )
    gathered.values["neighbours"] = {
        "k": found.centred.ids.shape[1],
        "method": found.method,
        "directions": found.directions,
        "candidates": found.candidates,
        "recall": asdict(found.recall),
        "recall_rows": found.recall_rows,
        "mean_cosine_of_nearest_centred": float(found.centred.cosines[:, 0].mean()),
        "mean_cosine_of_nearest_raw": (
            None if found.raw is None else float(found.raw.cosines[:, 0].mean())
        ),
    }
    exact = found.asked
    if not len(exact.queries):
        return
    listed = []
    for place, row in enumerate(exact.queries):
        others = exact.ids[place][exact.ids[place] >= 0]
        raw = _raw_cosines(subject, int(row), others)
        for rank, other in enumerate(others):
            listed.append((int(row), rank + 1, int(other), float(exact.cosines[place, rank]),
                           float(raw[rank])))  # fmt: skip
    gathered.tables["geometry_neighbours"] = tables.neighbours_table(subject, listed)


def _raw_cosines(subject: Subject, row: int, others: NDArray[np.int32]) -> NDArray[np.float64]:
    own = subject.rows.take([row])[0].astype(np.float64)
    rows = subject.rows.take(others).astype(np.float64)
    cosines: NDArray[np.float64] = rows @ own / np.linalg.norm(rows, axis=1) / np.linalg.norm(own)
    return cosines


def _chosen(
    subject: Subject,
    usable: NDArray[np.bool_],
    named: Sequence[str] | None,
    gathered: _Gathered,
) -> NDArray[np.int64]:
    """The rows whose neighbours are listed, in the order asked for."""
    if named is None:
        return _by_default(subject, usable)
    places: Mapping[bytes, int] = (
        {} if subject.tokens is None else {token: row for row, token in enumerate(subject.tokens)}
    )
    found = []
    for word in named:
        raw = word.encode("utf-8", "surrogateescape")
        tries = [places.get(b" " + raw), places.get(raw)]
        if subject.tokens is None and word.isdecimal() and int(word) < len(subject.rows):
            tries = [int(word)]
        known = [row for row in tries if row is not None and usable[row]]
        found += known[:1]
        if not known:
            gathered.left_out[NOT_A_TOKEN] = gathered.left_out.get(NOT_A_TOKEN, 0) + 1
    return np.array(list(dict.fromkeys(found)), dtype=np.int64)


def _by_default(subject: Subject, usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The words trained most often; without counts those of the smallest ids, without tokens
    rows at even distances.
    """
    if subject.tokens is None:
        rows = np.flatnonzero(usable)
        return rows[np.linspace(0, len(rows) - 1, min(NAMED, len(rows))).astype(np.int64)]
    words = [row for row in np.flatnonzero(usable) if _is_word(subject.tokens[int(row)])]
    if subject.counts is not None:
        words.sort(key=lambda row: (-int(subject.counts[row]), row))  # type: ignore[index]
    return np.array(words[:NAMED], dtype=np.int64)


def _is_word(token: bytes) -> bool:
    try:
        text = token.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return text[:1] == " " and len(text) > _SHORTEST_WORD and text[1:].isalpha()
