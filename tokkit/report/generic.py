"""The parts that every kind of result has: claims, their evidence, tables, settings, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokkit.report import formatting
from tokkit.report.blocks import (
    Block,
    Bullets,
    Cell,
    ClaimHead,
    Grid,
    Run,
    Section,
    Text,
    grid_of,
    pairs,
)
from tokkit.results import Claim, Control, Evidence, Result


def build(result: Result, run_id: str) -> Run:
    """The page of any kind of result: what was claimed, every table, settings, provenance."""
    tables = tuple(grid_of(table) for table in result.tables.values())
    # What a table of the same name shows already is not shown again, as a line of raw records.
    rest = {name: value for name, value in result.values.items() if name not in result.tables}
    values = (pairs("Values", rest, ("Value", "")),) if rest else ()
    sections = (
        section("tables", "Tables", (*tables, *values)),
        *evidence_sections(result),
        *origin_sections(result),
    )
    return Run(
        run_id,
        result.title,
        facts(result),
        tuple(ClaimHead(claim) for claim in result.claims),
        tuple(part for part in sections if part.blocks),
    )


def section(name: str, title: str, blocks: tuple[Block | None, ...]) -> Section:
    """A section of the blocks that are there."""
    return Section(name, title, tuple(block for block in blocks if block is not None))


def facts(result: Result) -> tuple[str, ...]:
    """The line under the title: kind, profile, seeds, version, commit."""
    parts = [result.kind]
    if result.settings.get("profile"):
        parts.append(f"profile {result.settings['profile']}")
    seeds = result.settings.get("seeds")
    count = len(seeds) if isinstance(seeds, list) else seeds
    if isinstance(count, int):
        parts.append(formatting.plural(count, "seed"))
    if result.provenance.get("tokkit_version"):
        parts.append(f"tokkit {result.provenance['tokkit_version']}")
    commit = result.provenance.get("git_commit")
    if isinstance(commit, str):
        changed = " with changes" if result.provenance.get("git_dirty") else ""
        parts.append(f"commit {commit[:10]}{changed}")
    return tuple(parts)


def evidence_sections(result: Result, control_unit: str = "") -> tuple[Section, ...]:
    """Evidence, controls (their values in `control_unit`), rule and limits of each claim."""
    blocks: list[Block] = []
    for claim in result.claims:
        if len(result.claims) > 1:
            blocks.append(Text(claim.statement, lead=True))
        blocks += claim_blocks(claim, control_unit)
    return (section("evidence", "Evidence, controls, rule, limits", tuple(blocks)),)


def claim_blocks(claim: Claim, control_unit: str = "") -> list[Block]:
    """Evidence, controls, rule and limits of one claim."""
    blocks: list[Block] = []
    if claim.evidence:
        blocks.append(_evidence_grid(claim.evidence))
    if claim.controls:
        blocks.append(_control_grid(claim.controls, control_unit))
    blocks.append(Bullets("Rule, fixed before the run", (claim.rule,)))
    if claim.limits:
        blocks.append(Bullets("What this does not show", claim.limits))
    return blocks


def _evidence_grid(evidence: tuple[Evidence, ...]) -> Grid:
    names = ("Evidence", "Value", "Interval", "n", "Test", "p")
    numeric = (False, True, True, True, False, True)
    rows = tuple(
        (
            Cell(item.name),
            Cell(formatting.quantity(item.value, item.unit), numeric=True),
            Cell(formatting.interval(item.low, item.high, item.unit), numeric=True),
            Cell(formatting.number(item.n), numeric=True),
            Cell(item.test or formatting.MISSING),
            Cell(formatting.p_value(item.p), numeric=True),
        )
        for item in evidence
    )
    headings = tuple(Cell(name, flag) for name, flag in zip(names, numeric, strict=True))
    return Grid("Evidence", headings, rows)


def _control_grid(controls: tuple[Control, ...], unit: str) -> Grid:
    headings = (
        Cell("Control"),
        Cell(formatting.heading("Value", unit), numeric=True),
        Cell(formatting.heading("Minimum", unit), numeric=True),
        Cell("Holds"),
    )
    rows = tuple(
        (
            Cell(control.name),
            Cell(formatting.number(control.value, unit), numeric=True),
            Cell(formatting.number(control.minimum, unit), numeric=True),
            Cell("✓ holds", tone="good") if control.holds else Cell("✗ fails", tone="bad"),
        )
        for control in controls
    )
    note = "Where a control fails, the verdict is inconclusive."
    return Grid("Controls", headings, rows, note)


def origin_sections(result: Result, data: Mapping[str, Any] | None = None) -> tuple[Section, ...]:
    """Settings (with `data`, values that describe the data) and provenance."""
    settings: tuple[Block | None, ...] = (
        pairs("", result.settings, ("Setting", "Value")) if result.settings else None,
        pairs("Data", data, ("Name", "Value")) if data else None,
    )
    provenance: tuple[Block | None, ...] = (
        pairs("", result.provenance, ("What", "Value")) if result.provenance else None,
    )
    return (
        section("settings", "Settings", settings),
        section("provenance", "Provenance", provenance),
    )
