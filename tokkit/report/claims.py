"""The page of the fifteen claims: where each stands, and every result behind it."""

from __future__ import annotations

from typing import Any

from tokkit.report import formatting, generic
from tokkit.report.blocks import Block, Bullets, Cell, ClaimHead, Grid, Run, Section, Text, grid_of
from tokkit.results import Claim, Result

KIND = "claims"
_TONES = {"supported": "good", "contradicted": "bad"}
_MARKS = {"supported": "✓", "contradicted": "✗", "no run": "–"}


def build(result: Result, run_id: str) -> Run:
    """One section a claim, with all of its results, under a table of where each stands."""
    claims = result.tables["claims"].records()
    results = result.tables["results"].records()
    pairs = list(zip(results, result.claims, strict=True))
    known = [row["id"] for row in claims]
    sections = [
        generic.section(
            row["id"], row["id"], _blocks(row, [p for p in pairs if p[0]["id"] == row["id"]])
        )
        for row in claims
    ]
    others = [pair for pair in pairs if pair[0]["id"] not in known]
    if others:
        blocks = tuple(block for pair in others for block in _result_blocks(*pair))
        sections.append(Section("others", "Claims beside the fifteen", blocks))
    unread = result.values.get("results_unread") or []
    opening: tuple[Block, ...] = (
        Text(_summary(result.values), lead=True),
        _overview(claims),
        Text(f"Standing: {result.settings['rule']}"),
        *((Bullets("Could not be read", tuple(map(str, unread))),) if unread else ()),
    )
    return Run(
        run_id,
        result.title,
        generic.facts(result),
        opening,
        (
            *sections,
            generic.section("results", "All results", (grid_of(result.tables["results"]),)),
            *generic.origin_sections(result),
        ),
    )


def _summary(values: Any) -> str:
    words = {
        "supported": "supported",
        "contradicted": "contradicted",
        "mixed": "mixed",
        "inconclusive": "inconclusive",
        "no_run": "without a run",
    }
    counts = [f"{values[name]} {word}" for name, word in words.items() if values.get(name)]
    return f"Of {values['claims']} claims: {formatting.listing(counts)}."


def _overview(claims: list[dict[str, Any]]) -> Grid:
    rows = tuple(
        (
            Cell(row["id"]),
            Cell(row["statement"]),
            Cell(_marked(row["standing"]), tone=_TONES.get(row["standing"], "note")),
            Cell(formatting.number(row["results"]), numeric=True),
        )
        for row in claims
    )
    headings = (Cell("Claim"), Cell("What it says"), Cell("Standing"), Cell("Results", True))
    return Grid("Where each stands", headings, rows)


def _marked(standing: str) -> str:
    return f"{_MARKS.get(standing, '~')} {standing}"


def _blocks(
    row: dict[str, Any], results: list[tuple[dict[str, Any], Claim]]
) -> tuple[Block | None, ...]:
    commands = Bullets("Judged by", tuple(str(row["commands"]).split("; ")))
    lead = Text(f"{row['statement']} {_marked(row['standing'])}.", lead=True)
    found = [block for pair in results for block in _result_blocks(*pair)]
    return (lead, commands, *found)


def _result_blocks(row: dict[str, Any], claim: Claim) -> list[Block]:
    made = f", made by: {row['command']}" if row["command"] else ""
    return [
        ClaimHead(claim),
        Text(f"{row['title']} ({row['kind']}), in {row['source']}{made}"),
        *generic.claim_blocks(claim),
    ]
