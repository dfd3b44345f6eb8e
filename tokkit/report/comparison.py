"""The page of a comparison of two tokenizers."""

from __future__ import annotations

from typing import Any

from tokkit.report import formatting, generic, tokenizer_figures
from tokkit.report.arms import mapping, records
from tokkit.report.blocks import Block, Chip, ChipRow, Chips, Figure, Run, Text, grid_of
from tokkit.report.canvas import BLUE, draw
from tokkit.report.subjects import MAX_LABEL_CHARACTERS, Record, pick, points
from tokkit.report.tokenizers import metric_rows
from tokkit.results import Result

KIND = "tokenizer.compare"
_MAX_CHIPS = 128
_MAX_CHIP_CHARACTERS = 48
_SHORT = {
    "same_words": "Words cut identically",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "jaccard": "Jaccard",
}
_SPACE = "\N{OPEN BOX}"


def build(result: Result, run_id: str) -> Run:
    """The page of one comparison; parts that it has no text for are left out."""
    sections = (
        generic.section("text", "The same text", (_text_chips(result),)),
        generic.section("words", "Words on which they differ most", (_word_chips(result),)),
        generic.section("cuts", "How alike they cut", _cut_blocks(result, run_id)),
        generic.section(
            "overlap",
            "What the vocabularies share",
            (_overlap(f"{run_id}-overlap", records(result, "at_rank", ("k", "jaccard"))),),
        ),
        generic.section(
            "numbers",
            "All numbers",
            tuple(
                grid_of(table, folded=name not in ("efficiency", "agreement"))
                for name, table in result.tables.items()
            ),
        ),
        *generic.origin_sections(result, mapping(result.values.get("corpus"))),
    )
    opening = tuple(
        Text(text, lead=place == 0) for place, text in enumerate(sentences(result)) if text
    )
    return Run(
        run_id,
        result.title,
        generic.facts(result),
        opening,
        tuple(part for part in sections if part.blocks),
    )


def names(result: Result) -> tuple[str, str]:
    """The labels of both, safe to show."""
    first, second = (
        formatting.visible(str(result.settings.get(which, which)), MAX_LABEL_CHARACTERS)
        for which in ("first", "second")
    )
    return first, second


def sentences(result: Result) -> list[str]:
    """What was found, in words: the vocabularies, then the corpus or why it says nothing."""
    first, second = names(result)
    about = mapping(result.values.get("vocabulary"))
    said = []
    if about:
        share = formatting.quantity(about.get("jaccard"), "proportion")
        said.append(
            f"{first} and {second} share {formatting.number(about.get('shared'))} tokens, {share} "
            f"of all that either has; {second} lacks {formatting.number(about.get('lost'))} and "
            f"adds {formatting.number(about.get('gained'))}."
        )
    same = metric_rows(result, "agreement", {"metric": "same_words"})
    compressed = metric_rows(result, "efficiency", {"metric": "bytes_per_token"})
    if len(compressed) == 2:
        values = " and ".join(
            formatting.estimate(row["value"], row.get("low"), row.get("high")) for row in compressed
        )
        said.append(f"They take {values} bytes a token.")
    if same:
        row = same[0]
        share = formatting.estimate(row["value"], row.get("low"), row.get("high"), "proportion")
        said.append(f"Of the words of two bytes or more {share} are cut identically.")
    corpus = mapping(result.values.get("corpus"))
    if corpus.get("reason"):
        said.append(f"How they cut the same words is not compared: {corpus['reason']}.")
    return said


def main_numbers(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and the main numbers as text: what, of which, value, interval."""
    first, second = names(result)
    about = mapping(result.values.get("vocabulary"))
    lines = [
        [label, "", formatting.number(about.get(name), unit), ""]
        for label, name, unit in (
            ("shared tokens", "shared", ""),
            ("shared / all tokens (%)", "jaccard", "proportion"),
            (f"tokens of {first} alone", "lost", ""),
            (f"tokens of {second} alone", "gained", ""),
        )
    ]
    for table, value in (
        ("efficiency", "value"),
        ("differences", "difference"),
        ("agreement", "value"),
    ):
        for row in records(result, table, ("tokenizer", "label", "unit", value)):
            unit = str(row["unit"])
            name = formatting.visible(str(row["tokenizer"]))
            of = f"{name} minus {first}" if table == "differences" else name
            bounds = formatting.interval(row.get("low"), row.get("high"), unit)
            label = formatting.heading(str(row["label"]), unit)
            lines.append([label, of, formatting.number(row[value], unit), bounds])
    return ["what", "of", "value", "95% interval"], lines


def _cut_blocks(result: Result, run_id: str) -> tuple[Block | None, ...]:
    agreed = records(result, "agreement", ("metric", "value", "unit"))
    rows: list[Record] = [
        {**row, "short": _SHORT.get(str(row["metric"]), str(row["metric"]))} for row in agreed
    ]
    first, second = names(result)
    figure = tokenizer_figures.forest(
        f"{run_id}-agreement",
        rows,
        f"How far {second} cuts words as {first} does",
        f"Each word as often as it stands in the corpus. Precision: split points of {second} that "
        f"{first} has too; recall: the other way round. Intervals of 95%.",
        "Agreement (%)",
        by="short",
        one_colour=True,
    )
    compressed = metric_rows(result, "efficiency", {"metric": "bytes_per_token"})
    changed = pick(
        records(result, "differences", ("tokenizer", "base", "metric", "difference")),
        metric="bytes_per_token",
    )
    return (
        figure,
        tokenizer_figures.compression(f"{run_id}-compression", compressed),
        tokenizer_figures.differences(f"{run_id}-differences", changed),
    )


def _overlap(name: str, rows: list[dict[str, Any]]) -> Figure | None:
    """Shared tokens among the first k of both, against k."""
    across, up = points(rows, "k", "jaccard", 100)
    if len(across) < 2:
        return None

    def paint(figure: Any) -> None:
        axes = tokenizer_figures.one_panel(figure)
        axes.plot(across, up, color=BLUE, marker="o", lw=1.6, ms=5.5)
        axes.set_xscale("log")
        axes.set_xticks(across, labels=[f"{int(k):,}" for k in across])
        axes.set_xticks([], minor=True)
        axes.set_ylim(0, 103)
        axes.set_xlabel("First tokens of each")
        axes.set_ylabel("Shared / all of both (%)")
        axes.tick_params(axis="x", rotation=30)

    message = f"Of the first {int(across[-1]):,} tokens of each, {up[-1]:.1f}% of all stand in both"
    caption = "Tokens in order of their ids: for a byte-pair encoding, the order of its merges."
    return draw(name, message, caption, paint, height_inches=2.6)


def _text_chips(result: Result) -> Chips | None:
    shown = mapping(result.values.get("text"))
    rows = _chip_rows(mapping(shown.get("tokens")), "")
    return Chips(rows, ()) if rows else None


def _word_chips(result: Result) -> Chips | None:
    words = result.values.get("words")
    rows: list[ChipRow] = []
    for word in words if isinstance(words, list) else []:
        about = mapping(word)
        times = formatting.plural(int(about.get("occurrences") or 0), "time")
        rows += _chip_rows(mapping(about.get("tokens")), f"{_spaced(about.get('word'))}, {times}")
    return Chips(tuple(rows), ()) if rows else None


def _chip_rows(of_names: Any, note: str) -> tuple[ChipRow, ...]:
    rows = []
    for name, tokens in of_names.items():
        chips = tuple(_chip(mapping(token)) for token in (tokens or [])[:_MAX_CHIPS])
        label = formatting.visible(str(name), MAX_LABEL_CHARACTERS)
        count = formatting.plural(len(tokens or []), "token")
        rows.append(ChipRow(label, f"{note}: {count}" if note else count, chips))
    return tuple(rows)


def _chip(token: Any) -> Chip:
    text = _spaced(token.get("text"))
    return Chip(text=text, shown=text, ids=str(token.get("id", "")), letters="visible")


def _spaced(text: Any) -> str:
    """Foreign text with spaces that can be seen."""
    return formatting.visible(str(text), _MAX_CHIP_CHARACTERS).replace(" ", _SPACE)
