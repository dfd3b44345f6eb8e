"""The page of attention: one sentence, the corpus, the mask, induction, agreement."""

from __future__ import annotations

from collections.abc import Sequence

from tokkit.report import attention_head_figures as of_heads
from tokkit.report import attention_sentence_figures as of_sentence
from tokkit.report import formatting, generic, position_heat_figures
from tokkit.report.arms import mapping
from tokkit.report.attention_agreement_figures import agreement_figures
from tokkit.report.blocks import Block, Cell, ClaimHead, Grid, Run, Text, grid_of, pairs
from tokkit.report.formatting import as_number
from tokkit.report.subjects import Record, known
from tokkit.results import Result

KIND = "analysis.attention"
# Name among the values, label, unit.
_MAIN = (
    ("sentence_text", "Sentence", ""),
    ("shown_layer", "Shown large: layer", ""),
    ("shown_head", "... head", ""),
    ("weight_key", "... its last token looks most at", ""),
    ("weight", "... with weight (%)", "proportion"),
    ("weights_largest_difference", "... arithmetic against the model, largest difference", ""),
    ("windows", "Windows read", ""),
    ("heads", "Heads", ""),
    ("heads_with_half_on_the_first_token", "... with half on the first token", ""),
    ("heads_with_half_on_the_previous_token", "... with half on the token before", ""),
    ("entropy_share_of_even", "Entropy, of even dealing (%)", "proportion"),
    ("mask_pairs", "Pairs of places looked at for the mask", ""),
    ("mask_largest_logit_change", "... largest change from the right", ""),
    ("mask_largest_gradient", "... largest gradient to the right", ""),
    ("induction_heads", "Induction heads", ""),
    ("induction_heads_of_a_fresh_model", "... of a freshly initialised model", ""),
    ("previous_token_heads", "Previous-token heads, on random tokens", ""),
    ("first_copy_nats", "Loss on random tokens (nats a token)", ""),
    ("second_copy_nats", "... when they are repeated", ""),
    ("in_context", "In-context score (nats a token, late less early)", ""),
)
_TITLES = (
    ("sentence", "One sentence"),
    ("weight", "The numbers behind one weight"),
    ("corpus", "Heads on average"),
    ("mask", "What the mask lets through"),
    ("induction", "Heads that copy"),
    ("agreement", "Where it looks and what decides"),
)


def build(result: Result, run_id: str) -> Run:
    """The page of one model."""
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
    values = result.values
    rows = {name: table.records() for name, table in result.tables.items()}

    def of(name: str) -> list[dict[str, object]]:
        return rows.get(name, [])

    words = of_sentence.words_of(of("sentence"))
    shown = (
        of_sentence.place_of(values.get("shown_layer")),
        of_sentence.place_of(values.get("shown_head")),
    )
    head = f"Layer {_said(shown[0])}, head {_said(shown[1])}"
    large = of("shown_pattern")
    return {
        "sentence": (
            of_sentence.pattern(f"{run_id}-pattern", words, large, head),
            of_sentence.lines(f"{run_id}-lines", words, large, head),
            of_sentence.multiples(f"{run_id}-multiples", of("patterns"), len(words), shown),
        ),
        "weight": (
            scores_grid(of("scores"), as_number(values.get("weight_softcap"))),
            of_sentence.vectors(
                f"{run_id}-vectors", of("vectors"), str(values.get("weight_query")).strip(),
                str(values.get("weight_key")).strip(), as_number(values.get("weight")),
            ),
        ),
        "corpus": (
            position_heat_figures.by_distance(f"{run_id}-distance", of("distances")),
            of_heads.entropy(f"{run_id}-entropy", of("heads")),
            position_heat_figures.reaches(f"{run_id}-reach", of("heads")),
            position_heat_figures.sinks(f"{run_id}-sinks", of("heads")),
            of_heads.previous(f"{run_id}-previous", of("heads")),
        ),
        "mask": (of_heads.mask(f"{run_id}-mask", of("mask_map"), values.get("mask_pairs")),),
        "induction": (
            Text(str(rule)) if isinstance(rule := result.settings.get("found_rule"), str) else None,
            of_heads.induction(
                f"{run_id}-induction", of("induction"), values.get("induction_chance"),
                values.get("induction_heads_of_a_fresh_model"),
            ),
            of_heads.ablation(f"{run_id}-ablation", of("ablation")),
        ),
        "agreement": tuple(agreement_figures(rows, run_id=run_id)),
    }  # fmt: skip


def _said(value: int | None) -> str:
    return formatting.MISSING if value is None else str(value)


def scores_grid(rows: Sequence[Record], softcap: float | None) -> Grid | None:
    """From the product of query and key to the weight, a line a key."""
    drawn = known(rows, "key", "product", "scaled", "capped", "weight", "model_weight")
    if not drawn:
        return None
    words = ["Key", "q · k", "scaled", *(["capped"] if softcap else []), "mask", "softmax",
             "the model's own"]  # fmt: skip
    headings = tuple(Cell(word, numeric=word != "Key") for word in words)
    lines = []
    for row in drawn[:64]:
        mask = as_number(row.get("mask"))
        cells = [
            formatting.number(row["product"]),
            formatting.number(row["scaled"]),
            *([formatting.number(row["capped"])] if softcap else []),
            "hidden" if mask is None else formatting.number(mask),
            f"{formatting.number(row['weight'], 'proportion')}%",
            f"{formatting.number(row['model_weight'], 'proportion')}%",
        ]
        token = formatting.visible(str(row.get("token")), 40)
        lines.append((Cell(token), *(Cell(text, numeric=True) for text in cells)))
    note = "Worked out in float64 from the model's queries and keys; the last column is its own."
    return Grid("The last token's weights in the head shown large", headings, tuple(lines), note)


def _all_tables(result: Result) -> tuple[Block | None, ...]:
    _, lines = main_numbers(result)
    main = pairs("Main numbers", {line[0]: line[1] for line in lines}, ("What", "Value"))
    rest = [
        grid_of(table, folded=True)
        for name, table in result.tables.items()
        if table.rows and name not in ("patterns", "mask_map", "shown_pattern")
    ]
    return (main, *rest)


def sentences(result: Result) -> list[str]:
    """What was looked at, in words."""
    values = result.values
    found = []
    text = values.get("sentence_text")
    if isinstance(text, str):
        found.append(
            f"Patterns are of “{formatting.visible(text, 200)}”. "
            f"{formatting.visible(str(values.get('shown_rule') or ''), 300)}"
        )
    if values.get("windows") is not None:
        found.append(
            f"{formatting.number(values.get('windows'))} windows of "
            f"{formatting.number(values.get('window_tokens'))} tokens were read; intervals are "
            f"over {formatting.number(values.get('resampled'))} "
            f"{formatting.visible(str(values.get('intervals_over')), 20)}."
        )
    if values.get("induction_heads") == 0:
        found.append(
            "No head of this model passes the rule for induction heads, so none is taken away."
        )
    return found


def main_numbers(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and a line for each main number that the record has, as text."""
    lines = [
        [label, formatting.visible(formatting.cell(result.values[name], "", unit))]
        for name, label, unit in _MAIN
        if result.values.get(name) is not None
    ]
    return ["What", "Value"], lines
