"""The page of models by their settings: parameters, caches, operations, and what families set."""

from __future__ import annotations

from typing import Any

from tokkit.report import formatting, generic, model_figures
from tokkit.report.arms import mapping, records
from tokkit.report.blocks import MAX_ROWS, Block, Cell, ClaimHead, Grid, Run, Text, grid_of, pairs
from tokkit.report.model_figures import large
from tokkit.results import Result, Table

KIND = "model.info"
SAME = "\u00b7"
_MODEL_COLUMNS = ("model", "parameters", "cache_bytes", "cache_bytes_multi_head")
_PART_COLUMNS = ("model", "part", "parameters", "share")


def build(result: Result, run_id: str) -> Run:
    """The page of one or several models."""
    rows = records(result, "models", _MODEL_COLUMNS)
    parts = records(result, "parameters", _PART_COLUMNS)
    dtype = str(result.settings.get("dtype", ""))
    sections = (
        generic.section(
            "parameters",
            "Where the parameters sit",
            (model_figures.shares(f"{run_id}-shares", parts), _grid(result, "parameters")),
        ),
        generic.section(
            "cache",
            "What the cache takes",
            (model_figures.caches(f"{run_id}-caches", rows, dtype),),
        ),
        generic.section("families", "What each family sets", (_families(result),)),
        generic.section(
            "differences",
            "Settings of the model" if len(rows) == 1 else "Settings of the models",
            (_settings_grid(result.tables.get("settings")),),
        ),
        generic.section("numbers", "All numbers", _all_numbers(result)),
        *generic.evidence_sections(result, "models"),
        *generic.origin_sections(result),
    )
    opening: tuple[Block, ...] = tuple(ClaimHead(claim) for claim in result.claims)
    return Run(
        run_id,
        result.title,
        generic.facts(result),
        opening + tuple(Text(text) for text in sentences(result)),
        tuple(part for part in sections if part.blocks),
    )


def _families(result: Result) -> Block | None:
    return _settings_grid(result.tables.get("families"), title="")


def _all_numbers(result: Result) -> tuple[Block | None, ...]:
    """Of one model below each other, of several side by side."""
    one = len(records(result, "models", _MODEL_COLUMNS)) == 1
    numbers = _numbers(result) if one else _grid(result, "models")
    return (numbers, _grid(result, "flops"), _sources(result))


def _sources(result: Result) -> Block | None:
    found = mapping(result.values.get("sources"))
    return pairs("Where the published totals are from", found, ("Model", "")) if found else None


def _numbers(result: Result) -> Grid:
    headings, lines = down(result)
    rows = tuple((Cell(name), Cell(value, numeric=True)) for name, value in lines)
    return Grid("", tuple(Cell(heading, bool(at)) for at, heading in enumerate(headings)), rows)


def _grid(result: Result, name: str) -> Block | None:
    table = result.tables.get(name)
    return grid_of(table, folded=len(table.rows) > 12) if table and table.rows else None


def _settings_grid(table: Table | None, title: str | None = None) -> Block | None:
    """Settings down, models or families across; a dot where one is as the plain skeleton."""
    if table is None or not table.rows or len(table.columns) < 3:
        return None
    rows = tuple(_settings_row(row) for row in table.rows[:MAX_ROWS])
    headings = tuple(Cell(column.label or column.name) for column in table.columns)
    note = f"{SAME} stands for what is as in the plain skeleton."
    if any(column.name.startswith("family_") for column in table.columns):
        note += " Where the presets of a family differ, each value is named."
    return Grid(table.title if title is None else title, headings, rows, note)


def _settings_row(row: tuple[Any, ...]) -> tuple[Cell, ...]:
    name, plain, *values = (formatting.cell(value) for value in row)
    return (
        Cell(name),
        Cell(plain),
        *(Cell(SAME if value == plain else value) for value in values),
    )


def sentences(result: Result) -> list[str]:
    """What was looked at, in words."""
    rows = records(result, "models", _MODEL_COLUMNS)
    if len(rows) != 1:
        return []
    (row,) = rows
    model, total = str(row["model"]), row["parameters"]
    said = [f"{model} has {formatting.number(total)} parameters"]
    if row.get("active") != total and row.get("active") is not None:
        said.append(f"of which one token uses {formatting.number(row['active'])}")
    texts = [f"{', '.join(said)}."]
    if row.get("published") is not None:
        same = row["published"] == total
        texts.append(
            "That is what its published files hold."
            if same
            else f"Its published files hold {formatting.number(row['published'])}."
        )
    texts.append(
        f"Each token adds {formatting.number(row['cache_bytes'])} bytes to its cache "
        f"({result.settings.get('dtype')}); with a key-value head for each query head it would be "
        f"{formatting.number(row['cache_bytes_multi_head'])}."
    )
    return texts


def main_numbers(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and a line for each model, as text."""
    headings = [
        "Model", "Parameters", "Active", "Feed-forward (%)", "of the layers (%)", "Heads",
        "Cache a token (bytes)", "multi-head", "Length", "Cache there (bytes)",
        "Forward (FLOPs)", "Training (FLOPs a token)",
    ]  # fmt: skip
    lines = [
        [
            formatting.visible(str(row["model"])),
            large(row["parameters"]),
            large(row.get("active")),
            formatting.number(row.get("feedforward_share"), "proportion"),
            formatting.number(row.get("feedforward_share_of_layers"), "proportion"),
            f"{row.get('query_heads')}/{row.get('key_value_heads')}",
            formatting.number(row["cache_bytes"]),
            formatting.number(row["cache_bytes_multi_head"]),
            formatting.number(row.get("length")),
            formatting.number(row.get("cache_bytes_text")),
            large(row.get("forward_flops")),
            large(row.get("training_flops")),
        ]
        for row in records(result, "models", _MODEL_COLUMNS)
    ]
    return headings, lines


def down(result: Result) -> tuple[list[str], list[list[str]]]:
    """The numbers of the first model one below the other, in full, as text."""
    table = result.tables["models"]
    lines = [
        [
            formatting.visible(formatting.heading(column.label, column.unit)),
            formatting.visible(formatting.cell(value, column.name, column.unit)),
        ]
        for column, value in zip(table.columns, table.rows[0], strict=True)
    ]
    return ["What", "Value"], lines


def part_lines(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and a line for each part of each model, as text."""
    lines = [
        [
            formatting.visible(str(row["model"])),
            formatting.visible(str(row["part"])),
            formatting.number(row["parameters"]),
            formatting.number(row["share"], "proportion"),
        ]
        for row in records(result, "parameters", _PART_COLUMNS)
    ]
    return ["Model", "Part", "Parameters", "Share (%)"], lines


def setting_lines(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and a line for each setting, as text."""
    table = result.tables.get("settings") or result.tables.get("families")
    if table is None:
        return [], []
    headings = [column.label or column.name for column in table.columns]
    return headings, [[formatting.cell(value) for value in row] for row in table.rows]
