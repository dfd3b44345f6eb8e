"""The page of experiment.ladder: from 2017 to today, from the claim to every number behind it."""

from __future__ import annotations

from typing import Any

from tokkit.report import formatting, generic
from tokkit.report import ladder_figures as figures
from tokkit.report.arms import mapping, records
from tokkit.report.blocks import Block, ClaimHead, Grid, Run, Section, Text, grid_of, pairs
from tokkit.report.formatting import as_number
from tokkit.results import Result

KIND = "experiment.ladder"
_COLUMNS = {
    "rungs": ("rung", "label", "step", "chain", "alone", "bits_per_byte", "minus_2017"),
    "chain_steps": ("step", "difference", "low", "high", "outcome"),
    "alone_steps": ("step", "difference", "low", "high", "outcome"),
    "rates": ("rung", "rate", "bits_per_byte", "trains", "chosen"),
    "costs": ("rung", "label", "speed", "low", "high", "parameter_bytes"),
}
_TABLES = ("rungs", "rates", "costs")
_NOTE = (
    "Every model uses as many parameters for a token as the transformer of 2017 and has seen the "
    "same text, each at its own best learning rate of one grid: the hidden width of the "
    "feed-forward layer makes up for what a step saves or adds. On the chain a step is compared "
    "with the model before it, alone with 2017; a mixture alone, whose experts are gated, with "
    "2017 and SwiGLU."
)


def build(result: Result, run_id: str) -> Run:
    """The page of one run; parts whose table is absent are left out and named."""
    absent = [name for name in _COLUMNS if name not in result.tables]
    notes = [f"Not in this record: {formatting.listing(absent)}."] if absent else []
    sections = (
        *_figure_sections(result, run_id),
        generic.section("steps", "The steps", (_steps(result),)),
        *generic.evidence_sections(result),
        generic.section("numbers", "All numbers", _all_numbers(result)),
        *generic.origin_sections(result, mapping(result.values.get("text")) or None),
    )
    return Run(
        run_id,
        result.title,
        generic.facts(result),
        (*(ClaimHead(claim) for claim in result.claims), *map(Text, (*notes, _NOTE))),
        tuple(part for part in sections if part.blocks),
    )


def _steps(result: Result) -> Grid | None:
    named = mapping(result.values.get("steps_of_the_stack"))
    return pairs("", named, ("Step", "What changes, and where it is from")) if named else None


def _figure_sections(result: Result, run_id: str) -> tuple[Section, ...]:
    rows = {name: records(result, name, columns) for name, columns in _COLUMNS.items()}
    unigram = as_number(result.values.get("unigram_bits_per_byte"))
    return (
        generic.section("losses", "From 2017 to today", (
            figures.losses(f"{run_id}-losses", rows["rungs"], unigram),
            _table(result, "ends"),
        )),
        generic.section("each", "What each step brings", (
            figures.steps(f"{run_id}-steps", rows["chain_steps"], rows["alone_steps"]),
            _table(result, "chain_steps"),
            _table(result, "alone_steps"),
        )),
        generic.section("stability", "Stability", (
            figures.rates(f"{run_id}-rates", rows["rates"], rows["rungs"], unigram),
            _table(result, "stability"),
        )),
        generic.section("costs", "Speed and memory", (
            figures.speed(f"{run_id}-speed", rows["costs"]),
            figures.memory(f"{run_id}-memory", rows["costs"]),
        )),
    )  # fmt: skip


def _table(result: Result, name: str) -> Grid | None:
    table = result.tables.get(name)
    return grid_of(table, folded=True) if table and table.rows else None


def _all_numbers(result: Result) -> tuple[Block | None, ...]:
    blocks: list[Block | None] = [_table(result, name) for name in _TABLES]
    values: dict[str, Any] = {
        name: value
        for name, value in result.values.items()
        if name not in ("text", "steps_of_the_stack")
    }
    return (*blocks, pairs("Values", values, ("Value", "")) if values else None)
