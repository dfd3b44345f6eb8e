"""The page of the strawberry experiment: from the claim to every number behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokkit.report import curves, figures, formatting, generic, messages
from tokkit.report.arms import LETTERS, MAX_ARMS, Arm, Record, mapping, read_arms, records
from tokkit.report.blocks import (
    Block,
    Cell,
    Chip,
    ChipRow,
    Chips,
    ClaimHead,
    Grid,
    Run,
    Section,
    Text,
    grid_of,
)
from tokkit.results import Result

KIND = "experiment.strawberry"
_MAX_CHIPS = 64
_MAX_CHIP_CHARACTERS = 48
_COLUMNS = {
    "accuracy": ("arm", "measure", "accuracy"),
    "rescue": ("arm", "n", "both", "only_spelled", "only_word"),
    "curves": ("arm", "seed", "step", "measure", "accuracy"),
    "confusion": ("arm", "measure", "truth", "answer", "n"),
    "by_length": ("arm", "measure", "letters", "accuracy"),
    "by_tokens": ("arm", "measure", "tokens", "accuracy"),
    "by_count": ("arm", "measure", "truth", "accuracy"),
    "strawberry": ("arm", "answer", "correct"),
}
_BREAKDOWNS = (
    ("by_length", "letters", "Letters in the word"),
    ("by_tokens", "tokens", "Tokens in the word"),
    ("by_count", "truth", "True count"),
)
# What the columns above hold, for records that leave the unit empty or say it less precisely.
_UNITS = dict.fromkeys(
    ("accuracy", "low", "high", "baseline", "skill", "skill_low", "skill_high", "probability"),
    "proportion",
)
_DIFFERENCE_UNITS = dict.fromkeys(("gain", "estimate", "low", "high"), "proportion difference")
_LEGEND = {
    "visible": "the letters reach the model",
    "hidden": "the model gets the ids alone; blocks stand for the letters it cannot see",
    "wrong": "the model is told the letters of another token (struck out)",
}


def build(result: Result, run_id: str) -> Run:
    """The page of one strawberry run; parts whose table is absent are left out and named."""
    arms = read_arms(result)
    tables = {name: records(result, name, columns) for name, columns in _COLUMNS.items()}
    found = messages.found(arms, tables["accuracy"], tables["rescue"])
    opening = [ClaimHead(claim) for claim in result.claims]
    absent = [name for name in (*_COLUMNS, "effects") if name not in result.tables]
    notes = f"Not in this record: {formatting.listing(absent)}." if absent else ""
    if len(arms) == MAX_ARMS:
        notes += f" The figures show {MAX_ARMS} arms at most; the tables hold all."
    sections = (
        _word_section(result, arms),
        _question_section(result, arms, tables["strawberry"]),
        *_figure_sections(arms, tables, result, run_id),
        *generic.evidence_sections(result, "proportion"),
        generic.section("numbers", "All numbers", _all_numbers(result)),
        *generic.origin_sections(result, _data(result)),
    )
    return Run(
        run_id,
        result.title,
        generic.facts(result),
        (*opening, *(Text(text, lead=text == found) for text in (found, notes) if text)),
        tuple(part for part in sections if part.blocks),
    )


def _figure_sections(
    arms: Sequence[Arm], tables: Mapping[str, Sequence[Record]], result: Result, run_id: str
) -> tuple[Section, ...]:
    splits = [(column, label, tables[name]) for name, column, label in _BREAKDOWNS]
    effects = result.tables.get("effects")
    return (
        generic.section(
            "accuracy",
            "Accuracy by arm and task",
            (figures.accuracy(f"{run_id}-accuracy", arms, tables["accuracy"]),),
        ),
        generic.section(
            "rescue",
            "The same weights, the same words spelled out",
            (figures.rescue(f"{run_id}-rescue", arms, tables["rescue"]),),
        ),
        generic.section(
            "effects",
            "Effects and their tests",
            (grid_of(effects, units=_DIFFERENCE_UNITS) if effects else None,),
        ),
        generic.section(
            "learning",
            "Learning curves",
            (
                curves.curves(f"{run_id}-curves", arms, tables["curves"]),
                curves.loss(f"{run_id}-loss", arms, tables["curves"]),
            ),
        ),
        generic.section(
            "confusion",
            "What is answered instead",
            (figures.confusion(f"{run_id}-confusion", arms, tables["confusion"]),),
        ),
        generic.section(
            "breakdown",
            "By length, tokens and true count",
            (figures.breakdown(f"{run_id}-breakdown", arms, splits),),
        ),
    )


def _word_section(result: Result, arms: Sequence[Arm]) -> Section:
    by_arm = mapping(result.values.get("chips"))
    rows = tuple(
        ChipRow(arm.label, _arm_note(arm), chips)
        for arm in arms
        if (chips := _chips(by_arm.get(arm.name)))
    )
    states = {chip.letters for row in rows for chip in row.chips}
    legend = tuple((state, text) for state, text in _LEGEND.items() if state in states)
    block = Chips(rows, legend) if rows else None
    return generic.section("word", "One word, as each arm receives it", (block,))


def _arm_note(arm: Arm) -> str:
    kind = ", ".join(
        text
        for text in (LETTERS.get(arm.letters, arm.letters), arm.length and f"{arm.length} sequence")
        if text
    )
    return f"{kind}: {arm.how}" if kind and arm.how else kind or arm.how


def _chips(raw: Any) -> tuple[Chip, ...]:
    if not isinstance(raw, list):
        return ()
    chips = []
    for item in map(mapping, raw[:_MAX_CHIPS]):
        ids = item.get("ids")
        text = str(item.get("text", ""))[:_MAX_CHIP_CHARACTERS]
        chips.append(
            Chip(
                text=text,
                shown=str(item.get("shown") or text)[:_MAX_CHIP_CHARACTERS],
                ids=" ".join(str(number) for number in ids[:_MAX_CHIPS])
                if isinstance(ids, list)
                else "",
                letters=str(item.get("letters", "visible")),
            )
        )
    return tuple(chips)


def _question_section(result: Result, arms: Sequence[Arm], rows: Sequence[Record]) -> Section:
    default = str(result.values.get("question", ""))
    questions = dict.fromkeys(str(row.get("question") or default) for row in rows)
    blocks: list[Block | None] = []
    for question in questions:
        own = [row for row in rows if str(row.get("question") or default) == question]
        blocks.append(Text(messages.strawberry(question, arms, own)))
        blocks.append(_answers(question, result.values.get("truth"), arms, own))
    return generic.section("question", "What each model answers", tuple(blocks))


def _answers(question: str, truth: Any, arms: Sequence[Arm], rows: Sequence[Record]) -> Grid:
    seeds = list(dict.fromkeys(row.get("seed") for row in rows))
    headings = (Cell("Arm"), *(Cell(f"Seed {formatting.cell(seed)}") for seed in seeds))
    lines = []
    for arm in arms:
        own = {row.get("seed"): row for row in rows if row["arm"] == arm.name}
        if own:
            lines.append((Cell(arm.short()), *(_answer(own.get(seed)) for seed in seeds)))
    truths = list(dict.fromkeys(row["truth"] for row in rows if row.get("truth") is not None))
    answer = formatting.listing([str(value) for value in truths]) or formatting.cell(truth)
    note = "In parentheses: the probability that the model gave its answer."
    return Grid(f"{question} (truth: {answer})", headings, tuple(lines), note)


def _answer(row: Record | None) -> Cell:
    if row is None:
        return Cell(formatting.MISSING)
    probability = formatting.quantity(row.get("probability"), "proportion")
    sure = "" if probability == formatting.MISSING else f" ({probability})"
    answer = formatting.cell(row["answer"])
    right = row["correct"]
    if right is None:
        return Cell(f"{answer}{sure}")
    return Cell(f"{'✓' if right else '✗'} {answer}{sure}", tone="good" if right else "bad")


def _all_numbers(result: Result) -> tuple[Block, ...]:
    blocks: list[Block] = []
    for name, table in result.tables.items():
        if name in ("curves", "effects", "strawberry"):
            continue
        units = _DIFFERENCE_UNITS if name == "rescue" else _UNITS
        blocks.append(grid_of(table, folded=name != "accuracy", units=units))
    if "curves" in result.tables:
        count = formatting.plural(len(result.tables["curves"].rows), "point")
        blocks.append(Text(f"The {count} of the learning curves are in result.json."))
    return tuple(blocks)


def _data(result: Result) -> dict[str, Any]:
    shown = ("question", "truth", "arms", "chips")
    return {name: value for name, value in result.values.items() if name not in shown}
