"""The page of what the strawberry arms' rows know of letters."""

from __future__ import annotations

from tokkit.report import embedding_spelling_figures as drawing
from tokkit.report import generic
from tokkit.report.arms import records
from tokkit.report.blocks import Block, ClaimHead, Run, Text, grid_of
from tokkit.report.formatting import number
from tokkit.results import Result

KIND = "analysis.spelling-arms"


def build(result: Result, run_id: str) -> Run:
    """The page of one run of arms."""
    knowledge = records(result, "arms_knowledge", ("arm", "tokens", "stage", "value"))
    prediction = records(result, "arms_prediction", ("arm", "measure", "slope"))
    accuracy = records(result, "arms_accuracy", ("arm", "measure", "tokens", "after", "accuracy"))
    sections = (
        generic.section(
            "knowledge",
            "What the rows know",
            (
                drawing.arms_knowledge(f"{run_id}-knowledge", knowledge),
                _grid(result, "arms_knowledge"),
            ),
        ),
        generic.section(
            "counting",
            "Whether knowing predicts counting",
            (
                drawing.arms_prediction(f"{run_id}-prediction", prediction),
                drawing.arms_accuracy(f"{run_id}-accuracy", accuracy),
                _grid(result, "arms_prediction"),
                _grid(result, "arms_accuracy"),
            ),
        ),
        *generic.evidence_sections(result),
        *generic.origin_sections(result),
    )
    opening: tuple[Block, ...] = tuple(ClaimHead(claim) for claim in result.claims)
    return Run(
        run_id,
        result.title,
        generic.facts(result),
        (Text(opening_sentence(result), lead=True), *opening),
        tuple(section for section in sections if section.blocks),
    )


def opening_sentence(result: Result) -> str:
    """How many tokens were read."""
    known, novel = (result.values.get(f"{name}_tokens") for name in ("known", "novel"))
    return (
        f"{number(known)} tokens that were trained on and {number(novel)} that were never, "
        "as each arm is given them."
    )


def _grid(result: Result, name: str) -> Block | None:
    table = result.tables.get(name)
    return grid_of(table, folded=True) if table and table.rows else None
