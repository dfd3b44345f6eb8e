"""The page of an embedding: geometry, meaning, untrained tokens, spelling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokkit.report import (
    embedding_geometry_figures,
    embedding_map_figures,
    embedding_meaning_figures,
    embedding_spelling_figures,
    embedding_untrained_figures,
    formatting,
    generic,
)
from tokkit.report.arms import mapping
from tokkit.report.blocks import Block, Bullets, ClaimHead, Run, Section, Text, grid_of
from tokkit.report.formatting import number
from tokkit.report.subjects import Record
from tokkit.results import Result

KIND = "analysis.embeddings"
_FOLDED_ROWS = 12
_MAIN_MEASURES = ("iso_score", "mean_cosine", "effective_rank", "share_of_first_10")


def build(result: Result, run_id: str) -> Run:
    """The page of one embedding."""
    parts = (_geometry, _meaning, _untrained, _spelling)
    sections = (
        *(part(result, run_id) for part in parts),
        generic.section("left-out", "What was left out, and what was not measured",
                        (_left_out(result), _not_measured(result))),
        *generic.evidence_sections(result),
        *generic.origin_sections(result),
    )  # fmt: skip
    return Run(
        run_id,
        result.title,
        generic.facts(result),
        (Text(opening(result), lead=True), *(ClaimHead(claim) for claim in result.claims)),
        tuple(section for section in sections if section.blocks),
    )


def opening(result: Result) -> str:
    """What was looked at, in a sentence."""
    told = result.settings
    beside = [
        name
        for name, known in (
            ("its tokens", told.get("tokens_known")),
            ("how often each was trained", told.get("counts_known")),
            ("its rows before training", told.get("initial_rows_known")),
        )
        if known
    ]
    known = f"; known beside it: {formatting.listing(beside)}" if beside else ""
    return (
        f"{formatting.visible(str(told.get('tensor')))}: {number(told.get('rows'))} rows of "
        f"{number(told.get('width'))} numbers, stored as {told.get('stored_as')}{known}."
    )


def _geometry(result: Result, run_id: str) -> Section:
    rows, name = _rows(result), f"{run_id}-geometry"
    drawing = embedding_geometry_figures
    values = mapping(result.values.get("geometry"))
    seen = mapping(mapping(values.get("norm_by_count")).get("seen"))
    return generic.section(
        "geometry",
        "Geometry of the rows",
        (
            drawing.isotropy(f"{name}-isotropy", rows("geometry_measures")),
            drawing.spectrum(f"{name}-spectrum", rows("geometry_spectrum")),
            drawing.norms(f"{name}-norms", rows("geometry_norms"), seen or None),
            drawing.hubs(f"{name}-hubs", rows("geometry_occurrences"), rows("geometry_hubness")),
            *_grids(result, "geometry_"),
        ),
    )


def _meaning(result: Result, run_id: str) -> Section:
    rows, name = _rows(result), f"{run_id}-meaning"
    drawing, quality = embedding_meaning_figures, rows("map_quality")
    maps = (
        embedding_map_figures.word_map(f"{name}-{stem}", method, rows(table), quality)
        for stem, method, table in (("pca", "PCA", "map_pca"), ("tsne", "t-SNE", "map_tsne"))
    )
    return generic.section(
        "meaning",
        "Meaning of words",
        (
            drawing.measures(f"{name}-measures", rows("category_measures")),
            drawing.categories(f"{name}-categories", rows("categories")),
            drawing.analogies(f"{name}-analogies", rows("analogies")),
            *maps,
            *_grids(result, "category_", "categories", "analogies", "map_"),
        ),
    )


def _untrained(result: Result, run_id: str) -> Section:
    rows, name = _rows(result), f"{run_id}-untrained"
    label = str(mapping(result.values.get("untrained")).get("primary_label") or "indicator")
    drawing = embedding_untrained_figures
    return generic.section(
        "untrained",
        "Tokens that look untrained",
        (
            drawing.distribution(
                f"{name}-distribution", rows("untrained_histogram"), label, rows("untrained_tokens")
            ),
            drawing.by_count(f"{name}-count", rows("untrained_by_count"), label),
            drawing.areas(f"{name}-areas", rows("untrained_indicators")),
            drawing.verified(f"{name}-verified", rows("untrained_verified")),
            *_grids(result, "untrained_"),
        ),
    )


def _spelling(result: Result, run_id: str) -> Section:
    rows, name = _rows(result), f"{run_id}-spelling"
    drawing = embedding_spelling_figures
    return generic.section(
        "spelling",
        "What a row knows of its letters",
        (
            drawing.tasks(f"{name}-tasks", rows("spelling_tasks")),
            drawing.letters(f"{name}-letters", rows("spelling_letters")),
            drawing.groups(f"{name}-count", rows("spelling_by_count")),
            drawing.groups(f"{name}-length", rows("spelling_by_length")),
            drawing.codes(f"{name}-mdl", rows("spelling_mdl")),
            *_grids(result, "spelling_"),
        ),
    )


def _rows(result: Result) -> Any:
    """A function from a table's name to its rows; none where there is no such table."""

    def rows_of(name: str) -> Sequence[Record]:
        table = result.tables.get(name)
        return [] if table is None else table.records()

    return rows_of


def _grids(result: Result, *stems: str) -> tuple[Block, ...]:
    """The tables whose names begin with one of the stems, the long ones folded."""
    return tuple(
        grid_of(table, folded=len(table.rows) > _FOLDED_ROWS)
        for name, table in result.tables.items()
        if name.startswith(stems) and table.rows
    )


def _left_out(result: Result) -> Block | None:
    lines = tuple(
        f"{part}: {number(count)} {reason}"
        for part, values in result.values.items()
        for reason, count in mapping(mapping(values).get("left_out")).items()
    )
    return Bullets("Left out", lines) if lines else None


def _not_measured(result: Result) -> Block | None:
    reasons = mapping(result.values.get("not_measured"))
    lines = tuple(f"{part}: {reason}" for part, reason in reasons.items())
    return Bullets("Not measured", lines) if lines else None


def main_numbers(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and lines of the numbers that come first, as text."""
    headings = ["What", "Value", "Interval", "Before training or random"]
    rows = _rows(result)
    lines = [
        _line(row, ("measure", "rows"), "value", ("initial", "spread", "spectrum"))
        for row in rows("geometry_measures")
        if row.get("measure") in _MAIN_MEASURES
    ]
    lines += [
        _line(row, ("measure",), "trained", ("baseline", "shuffled"))
        for row in rows("category_measures")
    ]
    lines += [
        [f"Untrained tokens told apart by: {row.get('indicator')}", number(row.get("area")),
         formatting.interval(row.get("low"), row.get("high"), ""), number(row.get("null_area"))]
        for row in rows("untrained_indicators")
    ]  # fmt: skip
    lines += [
        _line(row, ("task", "metric"), "value", ("initial", "control"))
        for row in rows("spelling_tasks")
        if row.get("probe") == "logistic"
    ]
    return headings, lines


def _line(row: Record, names: Sequence[str], value: str, baselines: Sequence[str]) -> list[str]:
    beside = next((row[name] for name in baselines if row.get(name) is not None), None)
    low, high = (row.get(end, row.get(f"{value}_{end}")) for end in ("low", "high"))
    what = ", ".join(str(row[name]).replace("_", " ") for name in names if row.get(name))
    return [what, number(row.get(value)), formatting.interval(low, high, ""), number(beside)]
