"""The page of an audit of tokenizers: from the main numbers to every one behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokkit.report import formatting, generic, tokenizer_figures, vocabulary_figures
from tokkit.report.arms import mapping, records
from tokkit.report.blocks import Block, Bullets, Cell, Grid, Run, Section, Text, grid_of
from tokkit.report.subjects import MAX_LABEL_CHARACTERS, MAX_SUBJECTS, Record, pick
from tokkit.results import Result

KIND = "tokenizer.audit"
_METRIC_COLUMNS = ("tokenizer", "metric", "denominator", "average", "value")
_POOLED = "micro"
_DECLARED = "log2(declared vocabulary)"
# Heading, table, what picks the row, unit.
_MAIN: tuple[tuple[str, str, dict[str, str], str], ...] = (
    ("Bytes a token", "efficiency", {"metric": "bytes_per_token", "average": _POOLED}, ""),
    ("Tokens a word", "efficiency", {"metric": "tokens_per_word", "average": _POOLED}, ""),
    ("Vocabulary used (%)", "efficiency", {"metric": "vocabulary_used", "average": _POOLED},
     "proportion"),
    ("Rényi efficiency (%)", "efficiency",
     {"metric": "renyi_efficiency", "average": _POOLED, "denominator": _DECLARED}, "proportion"),
    ("Letters hidden (%)", "spelling", {"metric": "hidden_letters", "average": _POOLED},
     "proportion"),
)  # fmt: skip
_FIGURE_TABLES = {
    "differences": ("tokenizer", "base", "metric", "average", "difference"),
    "groups": ("tokenizer", "group", "basis", "premium"),
    "lorenz": ("tokenizer", "basis", "share_of_groups", "share_of_cost"),
    "token_lengths": ("tokenizer", "length", "share"),
    "frequencies": ("tokenizer", "rank", "share"),
    "numbers": ("tokenizer", "digits", "irregular"),
}
_OPEN_TABLES = ("alignment",)


def build(result: Result, run_id: str) -> Run:
    """The page of one audit; parts whose table is absent are left out."""
    main = main_grid(result)
    sections = (
        generic.section("main", "Main numbers", (main,)),
        *_figure_sections(result, run_id),
        generic.section("notes", "What the numbers do not heed", _notes(result)),
        generic.section("numbers", "All numbers", tuple(_all_numbers(result))),
        *generic.origin_sections(result, mapping(result.values.get("corpus"))),
    )
    opening = [Text(text, lead=True) for text in (found(result),) if text]
    if main is not None and len(main.rows) > MAX_SUBJECTS:
        opening.append(Text(f"The figures show the first {MAX_SUBJECTS} tokenizers."))
    return Run(
        run_id,
        result.title,
        generic.facts(result),
        tuple(opening),
        tuple(part for part in sections if part.blocks),
    )


def found(result: Result) -> str:
    """The audit in a sentence: what was measured on, and which compresses best."""
    corpus = mapping(result.values.get("corpus"))
    size = formatting.as_number(corpus.get("bytes"))
    rows = metric_rows(result, "efficiency", {"metric": "bytes_per_token", "average": _POOLED})
    known = [row for row in rows if formatting.as_number(row.get("value")) is not None]
    if size is None or not known:
        return ""
    best = max(known, key=lambda row: float(row["value"]))
    documents = formatting.plural(int(corpus.get("documents") or 0), "document")
    where = f"On {int(size):,} bytes of text in {documents}"
    label = formatting.visible(str(best["tokenizer"]), MAX_LABEL_CHARACTERS)
    estimate = formatting.estimate(best["value"], best.get("low"), best.get("high"))
    last = " the most of all" if len(known) > 1 else ""
    return f"{where}, {label} takes {estimate} bytes a token{',' if last else ''}{last}."


def metric_rows(result: Result, table: str, wanted: Mapping[str, str]) -> list[Record]:
    """The rows of one metric, one a tokenizer."""
    return pick(records(result, table, _METRIC_COLUMNS), **wanted)


def main_numbers(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and, for each tokenizer, its label and main numbers with intervals, as text."""
    columns = [
        (heading, metric_rows(result, table, wanted), unit)
        for heading, table, wanted, unit in (*_MAIN, *_fairness_column(result))
    ]
    columns = [column for column in columns if column[1]]
    names = list(dict.fromkeys(str(row["tokenizer"]) for _, rows, _ in columns for row in rows))
    sizes = mapping(result.values.get("vocabulary"))
    lines = []
    for name in names:
        cells = [formatting.visible(name, MAX_LABEL_CHARACTERS), formatting.number(sizes.get(name))]
        for _, rows, unit in columns:
            row = next((row for row in rows if str(row["tokenizer"]) == name), {})
            cells.append(_estimate(row, unit))
        lines.append(cells)
    return ["Tokenizer", "Vocabulary", *(heading for heading, _, _ in columns)], lines


def _fairness_column(result: Result) -> list[tuple[str, str, dict[str, str], str]]:
    basis = tokenizer_figures.best_basis(
        records(result, "groups", _FIGURE_TABLES["groups"]), "premium"
    )
    single = tokenizer_figures.SINGLE[basis]
    wanted = {"metric": "gini", "denominator": f"tokens a {single}"}
    return [(f"Gini over groups, a {single} (%)", "fairness", wanted, "proportion")]


def _estimate(row: Record, unit: str) -> str:
    text = formatting.number(row.get("value"), unit)
    bounds = formatting.interval(row.get("low"), row.get("high"), unit)
    return text if bounds == formatting.MISSING else f"{text} {bounds}"


def main_grid(result: Result) -> Grid | None:
    """The main numbers as a table."""
    headings, lines = main_numbers(result)
    if not lines:
        return None
    rows = tuple(
        tuple(Cell(text, numeric=place > 0) for place, text in enumerate(line)) for line in lines
    )
    cells = tuple(Cell(text, numeric=place > 0) for place, text in enumerate(headings))
    note = "In brackets: intervals of 95% over blocks of documents. Denominators stand below."
    return Grid("", cells, rows, note)


def _figure_sections(result: Result, run_id: str) -> tuple[Section, ...]:
    tables = {name: records(result, name, columns) for name, columns in _FIGURE_TABLES.items()}

    def metric(table: str, name: str) -> list[Record]:
        return metric_rows(result, table, {"metric": name, "average": _POOLED})

    reference = str(result.settings.get("reference") or "")
    compressed = pick(tables["differences"], metric="bytes_per_token", average=_POOLED)
    often = metric("efficiency", "vocabulary_used_often")
    often_label = str(next((row.get("label") for row in often), ""))
    often_label = often_label.replace("Vocabulary used", "Met")
    exponents = metric("efficiency", "zipf_exponent")
    return (
        generic.section(
            "compression",
            "Compression",
            (
                tokenizer_figures.compression(
                    f"{run_id}-compression", metric("efficiency", "bytes_per_token")
                ),
                tokenizer_figures.differences(f"{run_id}-differences", compressed),
            ),
        ),
        generic.section(
            "fairness",
            "What groups pay",
            (
                tokenizer_figures.premiums(f"{run_id}-premiums", tables["groups"], reference),
                tokenizer_figures.lorenz(
                    f"{run_id}-lorenz",
                    tables["lorenz"],
                    pick(records(result, "fairness", _METRIC_COLUMNS), metric="gini"),
                ),
            ),
        ),
        generic.section(
            "vocabulary",
            "How the vocabulary is used",
            (
                tokenizer_figures.vocabulary_use(
                    f"{run_id}-use", metric("efficiency", "vocabulary_used"), often, often_label
                ),
                vocabulary_figures.lengths(f"{run_id}-lengths", tables["token_lengths"]),
                vocabulary_figures.frequencies(
                    f"{run_id}-frequencies", tables["frequencies"], exponents
                ),
            ),
        ),
        generic.section(
            "cuts",
            "Numbers and letters",
            (
                vocabulary_figures.numbers(f"{run_id}-numbers", tables["numbers"]),
                tokenizer_figures.hidden_letters(
                    f"{run_id}-letters", metric("spelling", "hidden_letters")
                ),
            ),
        ),
    )


def _notes(result: Result) -> tuple[Block, ...]:
    notes = mapping(result.values.get("notes"))
    return tuple(
        Bullets(formatting.visible(str(name), MAX_LABEL_CHARACTERS), tuple(map(str, said)))
        for name, said in notes.items()
        if isinstance(said, Sequence) and not isinstance(said, str) and said
    )


def _all_numbers(result: Result) -> list[Block]:
    return [
        grid_of(table, folded=name not in _OPEN_TABLES) for name, table in result.tables.items()
    ]
