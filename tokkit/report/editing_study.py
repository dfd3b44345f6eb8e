"""The page of analysis.editing-study: many facts edited, how well it worked, what it broke."""

from __future__ import annotations

from tokkit.report import editing_study_figures as figures
from tokkit.report import formatting, generic
from tokkit.report.blocks import Block, ClaimHead, Run, Text, grid_of, pairs
from tokkit.report.formatting import estimate, number, visible
from tokkit.report.subjects import Record, pick
from tokkit.results import Result

KIND = "analysis.editing-study"
# Name among the values, label, unit.
_MAIN = (
    ("layer", "Layer, chosen on one half of the facts", ""),
    ("facts_asked", "Facts asked for", ""),
    ("facts_known", "Facts that the model is shown to know", ""),
    ("facts_choosing", "Facts that chose the layer", ""),
    ("facts_tested", "Facts of the test half", ""),
    ("facts_without_room", "Facts that this tokenizer cannot ask", ""),
    ("bits_per_byte_before", "Unrelated text before (bits per byte)", ""),
    ("bits_per_byte_rise", "Rise after one edit, mean (bits per byte)", ""),
    ("bits_per_byte_rise_low", "Rise, low", ""),
    ("bits_per_byte_rise_high", "Rise, high", ""),
    ("bits_per_byte_rise_largest", "Rise, largest", ""),
    ("bits_per_byte_rise_largest_of", "Fact with the largest rise", ""),
    ("fluency_entropy_bits_before", "Entropy of n-grams written, before (bits)", ""),
    ("fluency_entropy_bits_after", "Entropy, after (bits)", ""),
    ("fluency_entropy_bits_difference", "Entropy, difference (bits)", ""),
    ("fluency_entropy_bits_difference_low", "Entropy, difference, low", ""),
    ("fluency_entropy_bits_difference_high", "Entropy, difference, high", ""),
    ("repeated_trigrams_before", "Repeated trigrams, before (%)", "proportion"),
    ("repeated_trigrams_after", "Repeated trigrams, after (%)", "proportion"),
)
_FOLDED = ("sweep", "arms", "probabilities", "kinds", "rows", "facts", "known")


def build(result: Result, run_id: str) -> Run:
    """The page of one study."""
    rows = {name: table.records() for name, table in result.tables.items()}
    layer = result.values.get("layer")

    def of(name: str) -> list[Record]:
        return list(rows.get(name, []))

    def table(name: str) -> Block | None:
        found = result.tables.get(name)
        return grid_of(found) if found is not None and found.rows else None

    parts = (
        generic.section("test", "What the edit does", (
            figures.probabilities(f"{run_id}-probabilities", of("probabilities")),
            table("kinds"),
        )),
        generic.section("arms", "Against doing it otherwise", (
            figures.arms(f"{run_id}-arms", of("arms")),
        )),
        generic.section("sweep", "Which layer", (
            figures.sweep(f"{run_id}-sweep-token", of("sweep"), "token", layer),
            figures.sweep(f"{run_id}-sweep-probability", of("sweep"), "probability", layer),
            Text(traced) if (traced := _traced(result)) else None,
            table("traced"),
        )),
        generic.section("row", "Many edits in a row", (
            figures.in_a_row(f"{run_id}-row", of("rows")),
            figures.rise(f"{run_id}-rise", of("rows")),
        )),
        generic.section("worst", "What fails", (table("worst"),)),
        generic.section("numbers", "All numbers", _numbers(result)),
        *generic.evidence_sections(result),
        *generic.origin_sections(result),
    )  # fmt: skip
    opening: tuple[Block, ...] = tuple(ClaimHead(claim) for claim in result.claims)
    return Run(
        run_id,
        result.title,
        generic.facts(result),
        opening + tuple(Text(text) for text in sentences(result)),
        tuple(part for part in parts if part.blocks),
    )


def sentences(result: Result) -> list[str]:
    """How many facts, where they were edited, and how well, in words."""
    values = result.values
    found = [
        f"The model is shown to know {number(values.get('facts_known'))} of "
        f"{number(values.get('facts_asked'))} facts; {number(values.get('facts_choosing'))} chose "
        f"layer {number(values.get('layer'))}; {number(values.get('facts_tested'))} others were "
        "edited there, each by itself."
    ]
    rows = result.tables["arms"].records() if "arms" in result.tables else []
    edited = {(row["basis"], row["measure"]): row for row in pick(rows, arm="edit")}
    said = []
    for measure, (label, *_) in figures.MEASURES.items():
        both = [edited.get((basis, measure)) for basis in ("token", "probability")]
        if both[0] is not None and both[1] is not None:
            token, probability = (
                estimate(row["value"], row["low"], row["high"], "proportion")
                for row in both
                if row is not None
            )
            said.append(f"{label} {token} by token, {probability} by probability")
    if said:
        found.append(f"On those: {'; '.join(said)}.")
    mean, low, high = (values.get(f"bits_per_byte_rise{end}") for end in ("", "_low", "_high"))
    if mean is not None:
        found.append(
            f"Unrelated text costs {estimate(mean, low, high)} bits per byte more after one edit, "
            f"at worst {number(values.get('bits_per_byte_rise_largest'))} "
            f"({visible(str(values.get('bits_per_byte_rise_largest_of')), 60)})."
        )
    return found


def _traced(result: Result) -> str:
    """Whether tracing tells the layer, in words; empty where nothing was traced."""
    values = result.values
    if values.get("traced_facts") is None:
        return ""
    same, chance = (
        number(values.get(f"traced_peak_is_best_edit{end}"), "proportion")
        for end in ("", "_by_chance")
    )
    value, low, high = (values.get(f"traced_correlation{end}") for end in ("", "_low", "_high"))
    return (
        f"Tracing {number(values['traced_facts'])} of these facts peaks at layer "
        f"{number(values.get('traced_peak_layer'))} of those edited. The layer that a fact's trace "
        f"peaks at is the one where its edit works best in {same}% of them ({chance}% by chance); "
        f"over facts and layers the two correlate by {estimate(value, low, high)}."
    )


def _numbers(result: Result) -> tuple[Block | None, ...]:
    main = {
        label: formatting.cell(result.values[name], "", unit)
        for name, label, unit in _MAIN
        if result.values.get(name) is not None
    }
    rest = [
        grid_of(result.tables[name], folded=True)
        for name in _FOLDED
        if name in result.tables and result.tables[name].rows
    ]
    return (pairs("Main numbers", main, ("What", "Value")), *rest)
