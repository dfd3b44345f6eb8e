"""The page of analysis.editing: one fact changed, what else changed, and where it was held."""

from __future__ import annotations

from tokkit.report import editing_figures, formatting, generic
from tokkit.report.arms import mapping
from tokkit.report.blocks import Block, Run, Text, grid_of, pairs
from tokkit.report.formatting import estimate, number, quantity, visible
from tokkit.results import Result

KIND = "analysis.editing"
# Name among the values, label, unit.
_MAIN = (
    ("present_answer", "The model said", ""),
    ("present_probability", "... with probability (%)", "proportion"),
    ("layer", "Layer that was edited", ""),
    ("layers_tried", "Layers tried", ""),
    ("updates", "Updates of the search", ""),
    ("change_norm", "Norm of the change", ""),
    ("matrix_norm", "Norm of the matrix", ""),
    ("moment_tokens", "Tokens behind the second moments", ""),
    ("bits_per_byte_before", "Bits per byte of unrelated text, before", ""),
    ("bits_per_byte_after", "... after", ""),
    ("bits_per_byte_difference", "... difference", ""),
    ("bits_per_byte_difference_low", "... low", ""),
    ("bits_per_byte_difference_high", "... high", ""),
    ("trace_clean_probability", "Answer in the clean run (%)", "proportion"),
    ("trace_corrupted_probability", "Answer with the subject spoilt (%)", "proportion"),
)
_SHOWN = 60  # characters of what a model says


def build(result: Result, run_id: str) -> Run:
    """The page of one edit."""
    rows = {name: table.records() for name, table in result.tables.items()}
    cells, tokens = rows.get("trace", []), rows.get("trace_tokens", [])
    figures, values = editing_figures, result.values
    asked = rows.get("prompts", [])
    said: tuple[Block | None, ...] = (
        figures.target(f"{run_id}-target", asked, result.settings.get("target")),
        figures.neighbours(f"{run_id}-neighbours", asked),
        grid_of(result.tables["prompts"]) if "prompts" in result.tables else None,
    )
    traced: tuple[Block | None, ...] = (
        *(
            figures.trace(f"{run_id}-trace-{kind}", kind, cells, tokens, values)
            for kind in editing_figures.KINDS
        ),
        figures.trace_lines(f"{run_id}-trace-lines", cells, tokens, values),
    )
    swept = (figures.sweep(f"{run_id}-sweep", rows.get("sweep", [])),)
    left_out = mapping(values.get("left_out"))
    parts = (
        generic.section("said", "What the model says", said),
        generic.section("trace", "Where the fact was held", traced),
        generic.section("sweep", "Which layer", swept),
        generic.section("numbers", "All numbers", _numbers(result)),
        *generic.evidence_sections(result),
        *generic.origin_sections(result, {"Left out": left_out} if left_out else None),
    )
    return Run(
        run_id,
        result.title,
        generic.facts(result),
        tuple(Text(text) for text in sentences(result)),
        tuple(part for part in parts if part.blocks),
    )


def sentences(result: Result) -> list[str]:
    """What was done and what came of it, in words."""
    values, settings = result.values, result.settings
    prompt = str(settings.get("prompt")).replace("{}", str(settings.get("subject")))
    rows = result.tables["prompts"].records() if "prompts" in result.tables else []
    found = []
    if rows:
        found.append(
            f"After “{visible(prompt)}” the model said “{_said(rows[0]['said_before'])}”; edited "
            f"it says “{_said(rows[0]['said_after'])}”."
        )
    layer = number(values.get("layer"))
    tried = values.get("layers_tried")
    why = "as was asked" if tried == 1 else f"chosen of {number(tried)} that were tried"
    found.append(f"One matrix of layer {layer} was changed, by one outer product; {why}.")
    difference, low, high = (
        values.get(f"bits_per_byte_difference{end}") for end in ("", "_low", "_high")
    )
    if difference is not None:
        found.append(
            f"Text that does not name the subject costs {quantity(values['bits_per_byte_before'])} "
            f"bits per byte before and {estimate(difference, low, high)} more after."
        )
    found.append("One fact is one fact: what edits do in general is `tokkit edit --study`.")
    return found


def _said(text: object) -> str:
    return visible(str(text).strip(), _SHOWN)


def _numbers(result: Result) -> tuple[Block | None, ...]:
    _, lines = main_numbers(result)
    main = pairs("Main numbers", {line[0]: line[1] for line in lines}, ("What", "Value"))
    rest = [
        grid_of(table, folded=True)
        for name, table in result.tables.items()
        if table.rows and name != "prompts"
    ]
    return (main, *rest)


def main_numbers(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and a line for each main number that the record has, as text."""
    lines = [
        [label, visible(formatting.cell(result.values[name], "", unit))]
        for name, label, unit in _MAIN
        if result.values.get(name) is not None
    ]
    return ["What", "Value"], lines


def prompt_lines(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and a line for each prompt, as text for a terminal."""
    rows = result.tables["prompts"].records() if "prompts" in result.tables else []
    lines = [
        [
            str(row["text"]),
            f"{number(row['target_before'], 'proportion')}%",
            f"{number(row['target_after'], 'proportion')}%",
            _said(row["said_before"]),
            _said(row["said_after"]),
        ]
        for row in rows
    ]
    return ["Prompt", "Target before", "After", "Says before", "After"], lines
