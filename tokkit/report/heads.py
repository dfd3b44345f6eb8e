"""The page of the heads experiment: what heads read, how many are needed, what sharing costs."""

from __future__ import annotations

from collections.abc import Sequence

from tokkit.report import formatting, generic, head_figures
from tokkit.report.arms import mapping, records
from tokkit.report.blocks import Block, Cell, ClaimHead, Grid, Run, Section, Text, grid_of, pairs
from tokkit.report.subjects import Record, known
from tokkit.results import Result

KIND = "experiment.heads"

__all__ = ["KIND", "build"]

_COLUMNS = {
    "reading": ("model", "map", "participation", "slice", "null_mean", "width"),
    "rotation": ("model", "rotated", "tolerance", "holds", "control", "read_before", "read_after"),
    "costs": ("first", "second", "cost_of", "difference", "low", "high"),
    "alone": ("seed", "layer", "head", "replaced_by", "rise", "low", "high"),
    "pruning": ("order", "removed", "heads", "rise", "low", "high"),
    "agreement": ("seed", "first_layer", "first_head", "second_layer", "second_head", "cka"),
    "cache": ("arm", "key_value_heads", "cache_bytes", "bits_per_byte", "low", "high"),
}
_ALL_NUMBERS = ("arms", "reading", "joined", "overlaps", "alone", "pruning", "agreement")


def build(result: Result, run_id: str) -> Run:
    """The page of one run; parts whose table is absent are left out and named."""
    absent = [name for name in _COLUMNS if name not in result.tables]
    notes = [f"Not in this record: {formatting.listing(absent)}."] if absent else []
    sections = (
        generic.section("arms", "What is compared", (_arms(result),)),
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


def _arms(result: Result) -> Grid | None:
    named = mapping(result.values.get("arms"))
    return pairs("", named, ("Model", "What it is")) if named else None


def _figure_sections(result: Result, run_id: str) -> tuple[Section, ...]:
    rows = {name: records(result, name, columns) for name, columns in _COLUMNS.items()}
    return (
        generic.section("reading", "What heads read of the residual stream", (
            head_figures.reading(f"{run_id}-reading", rows["reading"]),
            head_figures.bases(f"{run_id}-bases", rows["rotation"]),
            rotation_grid(rows["rotation"]),
            head_figures.costs(f"{run_id}-costs", rows["costs"]),
            _table(result, "costs"),
        )),
        generic.section("redundancy", "How many heads are needed", (
            head_figures.alone(f"{run_id}-alone", rows["alone"]),
            head_figures.pruning(f"{run_id}-pruning", rows["pruning"]),
            head_figures.agreement(f"{run_id}-agreement", rows["agreement"]),
            _table(result, "agreement_means"),
        )),
        generic.section("cache", "Key-value heads against the cache", (
            head_figures.cache(f"{run_id}-cache", rows["cache"]),
            _table(result, "cache"),
            _table(result, "llama"),
        )),
    )  # fmt: skip


def rotation_grid(rows: Sequence[Record]) -> Grid | None:
    """A line a model: of its seeds the largest deviation, and the control that deviates least."""
    by_model: dict[str, list[Record]] = {}
    for row in known(rows, "rotated", "control", "tolerance"):
        by_model.setdefault(str(row["model"]), []).append(row)
    lines = [_rotation_line(model, own) for model, own in by_model.items()]
    lines += [
        (Cell(formatting.visible(str(row["model"]), 24)),
         Cell(formatting.visible(str(row.get("reason")), 120)), *[Cell("")] * 4)
        for row in rows
        if row.get("reason") is not None
    ]  # fmt: skip
    if not lines:
        return None
    words = ("Model", "Deviation", "Tolerance", "Logits stay", "Readers not rotated back", "")
    numeric = (False, True, True, False, True, False)
    headings = tuple(Cell(word, flag) for word, flag in zip(words, numeric, strict=True))
    note = (
        "The stream is rotated by a random orthogonal matrix after the norms' gains are folded "
        "into the weights behind them, in float64. Deviations are shares of the largest logit; of "
        "several seeds the worst."
    )
    return Grid("The residual stream in another basis", headings, tuple(lines), note)


def _rotation_line(model: str, rows: Sequence[Record]) -> tuple[Cell, ...]:
    holds = all(row.get("holds") is True for row in rows)
    fails = all(row.get("control_fails") is True for row in rows)
    return (
        Cell(formatting.visible(model, 24)),
        Cell(f"{max(float(row['rotated']) for row in rows):.1e}", numeric=True),
        Cell(f"{float(rows[0]['tolerance']):.0e}", numeric=True),
        Cell("✓ yes", tone="good") if holds else Cell("✗ no", tone="bad"),
        Cell(formatting.number(min(float(row["control"]) for row in rows)), numeric=True),
        Cell("✓ fails, as it must", tone="good") if fails else Cell("✗ does not fail", tone="bad"),
    )


def _table(result: Result, name: str) -> Grid | None:
    table = result.tables.get(name)
    return grid_of(table, folded=len(table.rows) > 12) if table and table.rows else None


def _all_numbers(result: Result) -> tuple[Block, ...]:
    blocks: list[Block] = [
        grid_of(result.tables[name], folded=True)
        for name in _ALL_NUMBERS
        if name in result.tables and result.tables[name].rows
    ]
    values = {
        name: result.values[name]
        for name in ("unigram_bits_per_byte", "heads_spared_at_bits_per_byte", "training_seconds")
        if name in result.values
    }
    if values:
        blocks.append(pairs("Values", values, ("Value", "")))
    return tuple(blocks)
