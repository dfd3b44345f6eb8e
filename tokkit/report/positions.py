"""The page of positions: what is added or rotated, what is exact, and what the model does."""

from __future__ import annotations

from collections.abc import Sequence

from tokkit.report import formatting, generic, position_figures, position_heat_figures
from tokkit.report.arms import mapping
from tokkit.report.blocks import Block, Cell, ClaimHead, Grid, Run, Text, grid_of, pairs
from tokkit.report.formatting import as_number
from tokkit.report.subjects import Record, known
from tokkit.results import Result

KIND = "analysis.positions"
# Name among the values, label, unit.
_MAIN = (
    ("scheme", "Scheme", ""),
    ("context_tokens", "Context (tokens)", ""),
    ("pairs", "Rotary pairs", ""),
    ("pairs_that_never_turn_once", "... that never turn once in the context", ""),
    ("longest_wavelength_tokens", "Longest wavelength (tokens)", ""),
    ("table_components_that_count", "Components of the table that count", ""),
    ("table_components_of_a_random_table", "... of a random table", ""),
    ("table_is_periodic", "Table is periodic", ""),
    ("table_largest_share_of_power", "... largest share of power (%)", "proportion"),
    ("table_largest_share_when_shuffled", "... when shuffled (%)", "proportion"),
    ("windows", "Windows read", ""),
    ("window_tokens", "Tokens of a window", ""),
    ("loss_nats", "Loss (nats a token)", ""),
    ("bits_per_byte", "Bits per byte", ""),
    ("shuffled_more_nats", "Shuffled throughout, more (nats a token)", ""),
    ("heads", "Heads", ""),
    (
        "heads_with_half_of_attention_on_the_first_token",
        "... with more than half of attention on the first token",
        "",
    ),
    (
        "heads_with_half_of_the_rest_at_one_distance",
        "... with half of the rest at one distance",
        "",
    ),
)
_TITLES = (
    ("scheme", "What is added or rotated"),
    ("exact", "What is exact, and what rounding leaves"),
    ("losses", "Loss and order"),
    ("heads", "How far the heads look"),
    ("bands", "Which frequencies the heads use"),
)


def build(result: Result, run_id: str) -> Run:
    """The page of one model, or of a scheme without weights."""
    blocks = _figures(result, run_id)
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


def _figures(result: Result, run_id: str) -> dict[str, tuple[Block | None, ...]]:
    plain, heat, values = position_figures, position_heat_figures, result.values
    rows = {name: table.records() for name, table in result.tables.items()}

    def of(name: str) -> list[dict[str, object]]:
        return rows.get(name, [])

    context = as_number(values.get("context_tokens"))
    return {
        "scheme": (
            plain.wavelengths(f"{run_id}-wavelengths", of("frequencies"), context),
            plain.slopes(f"{run_id}-slopes", of("slopes")),
            heat.alike(f"{run_id}-alike", of("gram")),
            plain.power(
                f"{run_id}-power",
                of("fourier"),
                periodic=values.get("table_is_periodic"),
                p=values.get("p_table_periodic"),
                shuffles=values.get("table_shuffles"),
            ),
        ),
        "exact": (
            exact_grid(of("exact")),
            plain.rounding(f"{run_id}-rounding", of("rounding")),
        ),
        "losses": (
            plain.loss_by_position(f"{run_id}-loss", of("loss_by_position")),
            plain.shuffled(f"{run_id}-shuffled", of("shuffled")),
        ),
        "heads": (
            heat.by_distance(f"{run_id}-distance", of("attention_by_distance")),
            heat.reaches(f"{run_id}-reach", of("heads")),
            heat.sinks(f"{run_id}-sinks", of("heads")),
        ),
        "bands": (heat.bands(f"{run_id}-bands", of("bands")),),
    }


def exact_grid(rows: Sequence[Record]) -> Grid | None:
    """A line a property, scheme and type, with the control that deviates least."""
    weakest: dict[tuple[str, ...], Record] = {}
    for row in known(rows, "deviation", "tolerance", "control_deviation"):
        key = tuple(str(row.get(name)) for name in ("property", "scheme", "dtype"))
        other = weakest.get(key)
        if other is None or row["control_deviation"] < other["control_deviation"]:
            weakest[key] = row
    if not weakest:
        return None
    words = ("Property", "Scheme, type", "Deviation", "Tolerance", "Holds", "Control", "", "Fails")
    numeric = (False, False, True, True, False, False, True, False)
    headings = tuple(Cell(word, flag) for word, flag in zip(words, numeric, strict=True))
    note = (
        "Largest deviations, as shares of what each is compared with. Of several controls the one "
        "that deviates least; all are in the table below."
    )
    lines = tuple(_exact_line(key, row) for key, row in weakest.items())
    return Grid("Checks, each with a control that must fail", headings, lines, note)


def _exact_line(key: tuple[str, ...], row: Record) -> tuple[Cell, ...]:
    return (
        Cell(key[0]),
        Cell(f"{key[1]}, {key[2]}"),
        Cell(f"{float(row['deviation']):.1e}", numeric=True),
        Cell(f"{float(row['tolerance']):.0e}", numeric=True),
        _verdict(row.get("holds"), "holds", "does not"),
        Cell(str(row.get("control"))),
        Cell(formatting.number(row["control_deviation"]), numeric=True),
        _verdict(row.get("control_fails"), "fails", "does not fail"),
    )


def _verdict(holds: object, yes: str, no: str) -> Cell:
    return Cell(f"✓ {yes}", tone="good") if holds is True else Cell(f"✗ {no}", tone="bad")


def _all_tables(result: Result) -> tuple[Block | None, ...]:
    _, lines = main_numbers(result)
    main = pairs("Main numbers", {line[0]: line[1] for line in lines}, ("What", "Value"))
    rest = [grid_of(table, folded=True) for table in result.tables.values() if table.rows]
    return (main, *rest)


def sentences(result: Result) -> list[str]:
    """What was looked at, in words."""
    values = result.values
    windows, tokens = values.get("windows"), values.get("window_tokens")
    if windows is None:
        return ["Settings alone, no weights: nothing is said of what a model does with order."]
    return [
        f"{formatting.number(windows)} windows of {formatting.number(tokens)} tokens were read; "
        f"intervals are over {formatting.number(values.get('resampled'))} "
        f"{formatting.visible(str(values.get('intervals_over')), 20)}."
    ]


def main_numbers(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and a line for each main number that the record has, as text."""
    lines = [
        [label, formatting.visible(formatting.cell(result.values[name], "", unit))]
        for name, label, unit in _MAIN
        if result.values.get(name) is not None
    ]
    return ["What", "Value"], lines
