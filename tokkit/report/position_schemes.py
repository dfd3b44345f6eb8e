"""The page of the positions experiment: from the claims to every number behind them."""

from __future__ import annotations

from typing import Any

from tokkit.report import formatting, generic
from tokkit.report import position_scheme_figures as figures
from tokkit.report.arms import mapping, records
from tokkit.report.blocks import Block, ClaimHead, Grid, Run, Section, Text, grid_of, pairs
from tokkit.report.formatting import as_number
from tokkit.results import Result

KIND = "experiment.positions"
_COLUMNS = {
    "text_trained": ("scheme", "bits_per_byte", "unigram"),
    "text_lengths": ("arm", "length", "bits_per_byte", "low", "high"),
    "text_by_place": ("arm", "start", "end", "bits_per_byte", "low", "high"),
    "text_pairs": ("first", "second", "difference", "low", "high"),
    "order": ("arm", "task", "length", "accuracy", "low", "high", "chance"),
    "order_against_none": ("scheme", "task", "difference", "low", "high"),
    "curves": ("scheme", "seed", "step", "measure", "value"),
}


def build(result: Result, run_id: str) -> Run:
    """The page of one run; parts whose table is absent are left out and named."""
    absent = [name for name in _COLUMNS if name not in result.tables]
    notes = [f"Not in this record: {formatting.listing(absent)}."] if absent else []
    notes.append(
        "A length of 1 is what was trained on. The arms that begin with rotary + are the trained "
        "rotary weights, asked with their angles scaled for the length; nothing is trained again."
    )
    sections = (
        generic.section("schemes", "What is compared", (_schemes(result),)),
        *_figure_sections(result, run_id),
        *generic.evidence_sections(result),
        generic.section("numbers", "All numbers", _all_numbers(result)),
        *generic.origin_sections(result, mapping(result.values.get("text")) or None),
    )
    return Run(
        run_id,
        result.title,
        generic.facts(result),
        (*(ClaimHead(claim) for claim in result.claims), *map(Text, notes)),
        tuple(part for part in sections if part.blocks),
    )


def _schemes(result: Result) -> Grid | None:
    named = {**mapping(result.values.get("schemes")), **mapping(result.values.get("scalings"))}
    return pairs("", named, ("Scheme", "How order comes in")) if named else None


def _figure_sections(result: Result, run_id: str) -> tuple[Section, ...]:
    rows = {name: records(result, name, columns) for name, columns in _COLUMNS.items()}
    trained = as_number(result.values.get("trained_tokens"))
    return (
        generic.section("order", "Questions that only order answers", (
            figures.tasks(f"{run_id}-tasks", rows["order"]),
            figures.gains(f"{run_id}-gains", rows["order_against_none"]),
            _table(result, "order_against_none"),
            figures.curves(f"{run_id}-curves", rows["curves"]),
        )),
        generic.section("text", "Text at the trained length", (
            _table(result, "text_trained"),
            _table(result, "text_against_none"),
        )),
        generic.section("beyond", "Beyond the trained length", (
            figures.lengths(f"{run_id}-lengths", rows["text_lengths"]),
            figures.places(f"{run_id}-places", rows["text_by_place"], trained),
            figures.pairs(f"{run_id}-pairs", rows["text_pairs"]),
            _table(result, "text_pairs"),
            figures.order_lengths(f"{run_id}-order-lengths", rows["order"]),
        )),
    )  # fmt: skip


def _table(result: Result, name: str) -> Grid | None:
    table = result.tables.get(name)
    return grid_of(table, folded=len(table.rows) > 12) if table and table.rows else None


def _all_numbers(result: Result) -> tuple[Block, ...]:
    blocks: list[Block] = [
        grid_of(table, folded=True)
        for name, table in result.tables.items()
        if name in ("text_lengths", "text_changes", "order", "text_by_place") and table.rows
    ]
    if "curves" in result.tables:
        count = formatting.plural(len(result.tables["curves"].rows), "point")
        blocks.append(Text(f"The {count} of the learning curves are in result.json."))
    values: dict[str, Any] = {
        name: result.values[name]
        for name in ("blind", "chance", "unigram_bits_per_byte", "training_seconds")
        if name in result.values
    }
    if values:
        blocks.append(pairs("Values", values, ("Value", "")))
    return tuple(blocks)
