"""The whole analysis of an embedding: its parts, one after another, in one result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.section import Section
from tokkit.errors import ArtifactError
from tokkit.results import Result, Table, collect_provenance

KIND = "analysis.embeddings"
Told = Callable[[str], None]
Part = Callable[[], Section | None]


def analyze_embeddings(
    subject: Subject,
    *,
    seed: int = 0,
    neighbours: int = 10,
    named: tuple[str, ...] = (),
    verify: bool = True,
    inputs: Mapping[str, str] | None = None,
    told: Told | None = None,
) -> Result:
    """Measure what is in the rows: geometry, meaning, untrained tokens, spelling.

    Each part says what it left out; a part that what is at hand does not allow is named in
    values["not_measured"] with its reason. `named` are tokens whose neighbours are listed;
    `verify` prompts the model, where there is one, for the tokens that look untrained. `inputs`
    maps what was read to its SHA-256. The same seed gives the same numbers.
    Raises ConfigError where fewer than two rows can be measured.
    """
    tell = told or (lambda message: None)
    sections: dict[str, Section] = {}
    seconds: dict[str, float] = {}
    for name, part in _parts(subject, sections, seed, neighbours, named, verify=verify):
        tell(name)
        started = time.perf_counter()
        found = part()
        seconds[name] = time.perf_counter() - started
        if found is not None:
            sections[name] = found
    return Result(
        kind=KIND,
        title=f"What is in the rows of {subject.name}",
        settings={
            "subject": subject.name,
            "tensor": subject.rows.name,
            "stored_as": subject.rows.dtype,
            "rows": len(subject.rows),
            "width": subject.rows.width,
            "neighbours": neighbours,
            "seed": seed,
            "tokens_known": subject.tokens is not None,
            "counts_known": subject.counts is not None,
            "initial_rows_known": subject.initial is not None,
            "model_at_hand": subject.model is not None,
        },
        values={name: _values(found) for name, found in sections.items()}
        | {"not_measured": _not_measured(subject, sections)},
        tables=_tables(sections),
        claims=tuple(claim for found in sections.values() for claim in found.claims),
        provenance=collect_provenance(
            seeds=[seed], inputs=dict(inputs or {}), wall_seconds=seconds
        ),
    )


def _parts(
    subject: Subject,
    sections: Mapping[str, Section],
    seed: int,
    neighbours: int,
    named: tuple[str, ...],
    *,
    verify: bool,
) -> Iterator[tuple[str, Part]]:
    """The parts by name, each of which may look at the sections found before it."""
    from tokkit.analysis.embeddings.geometry import geometry_section
    from tokkit.analysis.embeddings.meaning import meaning_section
    from tokkit.analysis.embeddings.spelling import spelling_section
    from tokkit.analysis.embeddings.untrained import untrained_section

    yield (
        "geometry",
        lambda: geometry_section(subject, seed=seed, neighbours=neighbours, named=named or None),
    )
    yield "meaning", lambda: meaning_section(subject, seed=seed, **_lookup_of(sections))
    yield (
        "untrained",
        lambda: untrained_section(subject, seed=seed, verify=verify, start_ids=subject.start_ids),
    )
    yield "spelling", lambda: spelling_section(subject, seed=seed)


def _lookup_of(sections: Mapping[str, Section]) -> dict[str, Any]:
    """What the geometry says of the lookup, for the claim that the meaning decides."""
    found = sections["geometry"].values.get("lookup") or {}
    return {name: found.get(name) for name in ("bit_equal", "largest_deviation")}


def _values(found: Section) -> dict[str, Any]:
    return {**found.values, "left_out": dict(found.left_out)}


def _tables(sections: Mapping[str, Section]) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for name, found in sections.items():
        for table_name, table in found.tables.items():
            if table_name in tables:
                raise ArtifactError(f"two parts have a table {table_name!r}, the second is {name}")
            tables[table_name] = table
    return tables


def _not_measured(subject: Subject, sections: Mapping[str, Section]) -> dict[str, str]:
    reasons = {
        "meaning": "no tokens are known, or too few words of the categories are single tokens",
        "untrained": "no tokens are known: give --tokenizer",
        "spelling": "no tokens are known, or too few of them are words of letters",
    }
    return {name: reason for name, reason in reasons.items() if name not in sections}
