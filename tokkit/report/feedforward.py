"""The page of the feed-forward layers: shares, keys and values, concepts, experts."""

from __future__ import annotations

from collections.abc import Sequence

from tokkit.report import feedforward_figures as figures
from tokkit.report import formatting, generic
from tokkit.report.arms import mapping
from tokkit.report.blocks import Block, Cell, ClaimHead, Grid, Run, Text, grid_of, pairs
from tokkit.report.formatting import as_number
from tokkit.report.subjects import Record
from tokkit.results import Result

KIND = "analysis.feedforward"
# Name among the values, label, unit.
_MAIN = (
    ("parameters", "Parameters", ""),
    ("feedforward_share", "Feed-forward, of all (%)", "proportion"),
    ("feedforward_share_of_layers", "Feed-forward, of the layers (%)", "proportion"),
    ("tables_share", "Tables of tokens and positions, of all (%)", "proportion"),
    ("tokens_read", "Tokens read", ""),
    ("texts", "... from texts", ""),
    ("units", "Units", ""),
    ("words", "Words of categories", ""),
    ("categories", "Categories", ""),
    ("categories_with_units", "... that units answer to", ""),
    ("units_that_answer", "Units that answer to a category", ""),
    ("units_that_answer_to_several", "... to several", ""),
    ("units_that_answer_at_initial_weights", "... at initial weights", ""),
    ("pairs_with_labels_permuted", "... with labels permuted, mean", ""),
    ("mixture_layers", "Layers that are mixtures of experts", ""),
    ("experts", "Experts of such a layer", ""),
    ("experts_per_token", "... that a token goes to", ""),
    ("dead_experts", "Experts that no token chose", ""),
)
_TITLES = (
    ("shares", "How much of the model they are"),
    ("concepts", "Units that answer to a category"),
    ("clamping", "What setting them does"),
    ("units", "Units, what excites them and what they write"),
    ("agreement", "Do values promote what follows?"),
    ("gates", "Gate and up apart"),
    ("routing", "Mixture of experts: who is routed where"),
)
_UNIT_WORDS = 150  # characters of a list of words


def build(result: Result, run_id: str) -> Run:
    """The page of one model."""
    blocks = _blocks(result, run_id)
    sections = [generic.section(name, title, blocks[name]) for name, title in _TITLES]
    opening: tuple[Block, ...] = tuple(ClaimHead(claim) for claim in result.claims)
    left_out = mapping(result.values.get("left_out"))
    return Run(
        run_id,
        result.title,
        generic.facts(result),
        opening + tuple(Text(text) for text in sentences(result)),
        tuple(
            part
            for part in (
                *sections,
                generic.section("numbers", "All numbers", _all_tables(result)),
                *generic.evidence_sections(result),
                *generic.origin_sections(result, {"Left out": left_out} if left_out else None),
            )
            if part.blocks
        ),
    )


def _blocks(result: Result, run_id: str) -> dict[str, tuple[Block | None, ...]]:
    rows = {name: table.records() for name, table in result.tables.items()}

    def of(name: str) -> list[dict[str, object]]:
        return rows.get(name, [])

    return {
        "shares": (figures.shares(f"{run_id}-shares", of("shares_by_width"), of("shares")),),
        "concepts": (
            figures.found(f"{run_id}-concepts", of("concepts")),
            _grid(result, "categories"),
        ),
        "clamping": (
            figures.clamped(f"{run_id}-clamped", of("clamped")),
            figures.across(f"{run_id}-across", of("clamped_across")),
        ),
        "units": (unit_grid(of("units")),),
        "agreement": (figures.agreement(f"{run_id}-agreement", of("agreement")),),
        "gates": (figures.gates(f"{run_id}-gates", of("gates")),),
        "routing": (
            _routing_words(result),
            figures.loads(f"{run_id}-loads", of("loads")),
            _grid(result, "routing"),
        ),
    }  # fmt: skip


def _grid(result: Result, name: str) -> Grid | None:
    table = result.tables.get(name)
    return grid_of(table) if table is not None and table.rows else None


def _routing_words(result: Result) -> Text | None:
    layers = as_number(result.values.get("mixture_layers"))
    if layers is None:
        return None
    if layers == 0:
        return Text("No layer is a mixture of experts: nothing is routed.")
    return Text(
        "Load is the share of all choices of an expert. Information is between a token's first "
        "expert and the token, or between a word's first expert and its category; as counted it "
        "is above 0 by chance alone, so its mean under permutation stands beside it."
    )


def unit_grid(rows: Sequence[Record]) -> Grid | None:
    """A line a unit shown: why, what excites it, what it writes."""
    if not rows:
        return None
    headings = ("Unit", "Shown because", "Area", "Excited most at", "Raises", "Lowers")
    lines = tuple(_unit_line(row) for row in rows)
    note = (
        "Layer.unit. Area under the curve at words of the category, on the measuring half; below "
        "0.5 the unit is lower there. A negative activation turns raises and lowers about. "
        "Texts of every unit are in units.npz."
    )
    cells = tuple(Cell(word, word == "Area") for word in headings)
    return Grid("Units", cells, lines, note)


def _unit_line(row: Record) -> tuple[Cell, ...]:
    positive = as_number(row.get("positive"))
    sign = "" if positive is None else " (+)" if positive > 0.5 else " (−)"
    why = str(row.get("why"))
    category = row.get("category")
    if category is not None:
        joined = "to" if why.endswith("a category") else "nearest:"
        said = f"answers to {category}" if joined == "to" else f"{why}; {joined} {category}"
    else:
        said = why

    def words(column: str) -> Cell:
        return Cell(formatting.visible(str(row.get(column)), _UNIT_WORDS))

    return (
        Cell(f"{formatting.number(row.get('layer'))}.{row.get('unit')}{sign}"),
        Cell(formatting.visible(said, 60)),
        Cell(formatting.number(row.get("area_measured")), numeric=True),
        words("excited_by"), words("promotes"), words("lowers"),
    )  # fmt: skip


def _all_tables(result: Result) -> tuple[Block | None, ...]:
    _, lines = main_numbers(result)
    main = pairs("Main numbers", {line[0]: line[1] for line in lines}, ("What", "Value"))
    rest = [grid_of(table, folded=True) for table in result.tables.values() if table.rows]
    return (main, *rest)


def sentences(result: Result) -> list[str]:
    """What was looked at, in words."""
    values = result.values
    said = [
        f"{formatting.number(values.get('tokens_read'))} tokens of "
        f"{formatting.visible(str(result.settings.get('text')), 30)} were read, in windows of "
        f"{formatting.number(values.get('window_tokens'))}, from "
        f"{formatting.number(values.get('texts'))} texts."
    ]
    if values.get("categories") is not None:
        said.append(
            f"{formatting.number(values.get('words'))} words of "
            f"{formatting.number(values.get('categories'))} categories, each one token, all in "
            "the same contexts cut from that text."
        )
    if values.get("units") == 0:
        said.append("No layer has units of its own: all are mixtures of experts.")
    return said


def main_numbers(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and a line for each main number that the record has, as text."""
    lines = [
        [label, formatting.visible(formatting.cell(result.values[name], "", unit))]
        for name, label, unit in _MAIN
        if result.values.get(name) is not None
    ]
    return ["What", "Value"], lines
