"""Figures of agreement: where the verb looks, and how often it is right.

`agreement_figures` takes the records of the tables whose names begin with agreement_ and returns
all that can be drawn of them; what decides is drawn in `attention_agreement_causes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tokkit.report.attention_agreement_causes import heads, knockout, states, windows
from tokkit.report.attention_agreement_marks import (
    MOST_LAYERS,
    ROLES,
    WHISKER,
    by_layer,
    layers_of,
    legend_below,
    whisker,
)
from tokkit.report.blocks import Figure
from tokkit.report.canvas import BLUE, GREY, INK, PAPER, VERMILLION, draw, panels
from tokkit.report.formatting import as_number, number, plural, visible
from tokkit.report.subjects import Record, known, pick
from tokkit.report.tokenizer_figures import one_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_MOST_SPLITS = 6
_QUERIES = ("last token", "verb")
_LOOKED = ("subject", "attractors", "adverb")
_NEAREST: dict[str, tuple[str, str]] = {
    "none": (GREY, "D"),
    "same number": (BLUE, "o"),
    "other number": (VERMILLION, "s"),
}


def agreement_figures(
    tables: Mapping[str, Sequence[Record]], *, run_id: str = "attention"
) -> list[Figure]:
    """Every figure that the tables have the numbers for; names begin with `run_id`."""
    drawn = (
        _weights(f"{run_id}-agreement-weights", tables.get("agreement_weights", ())),
        _by_attractors(
            f"{run_id}-agreement-attractors", tables.get("agreement_weights_by_attractors", ())
        ),
        states(f"{run_id}-agreement-states", tables.get("agreement_states", ())),
        knockout(f"{run_id}-agreement-knockout", tables.get("agreement_knockout", ())),
        windows(f"{run_id}-agreement-cut", tables.get("agreement_knockout_windows", ())),
        heads(
            f"{run_id}-agreement-heads",
            tables.get("agreement_heads", ()),
            tables.get("agreement_ranks", ()),
        ),
        _accuracy(f"{run_id}-agreement-accuracy", tables.get("agreement_accuracy", ())),
    )
    return [figure for figure in drawn if figure is not None]


def _weights(name: str, rows: Sequence[Record]) -> Figure | None:
    drawn = [row for row in known(rows, "layer", "weight")
             if str(row.get("role")) in _LOOKED and str(row.get("query")) in _QUERIES]  # fmt: skip
    if not drawn or layers_of(drawn) > MOST_LAYERS:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes, _ = panels(figure, len(_QUERIES), sharey=True)
        for at, query in zip(axes, _QUERIES, strict=True):
            own = pick(drawn, query=query)
            by_layer(at, own, _LOOKED, "weight", 100)
            for role in _LOOKED:
                even = as_number(next(iter(pick(own, role=role)), {}).get("even"))
                if even is not None:
                    at.axhline(100 * even, color=ROLES[role][0], lw=0.9, ls=(0, (1, 2)))
            at.set_title("From the token before the verb" if query == "last token"
                         else "From the verb")  # fmt: skip
        axes[0].set_ylabel("Attention, mean over heads (%)")
        axes[0].set_ylim(bottom=0)
        legend_below(figure, axes[0], 3)

    first = pick(drawn, query="last token") or drawn
    top = max(first, key=lambda row: float(row["weight"]))
    message = (
        f"Of the three, the {visible(str(top['role']), 20)} gets most: "
        f"{number(top['weight'], 'proportion')}% in layer {number(top['layer'])}, on average over "
        "heads"
    )
    caption = (
        "Weight summed over the tokens of a role. Thin dotted lines: what even dealing would give "
        "it. What is not shown goes to the first and to other tokens. Intervals of 95% over "
        "sentences."
    )
    return draw(name, message, caption, paint, height_inches=3.4)


def _by_attractors(name: str, rows: Sequence[Record]) -> Figure | None:
    drawn = [row for row in known(rows, "attractors", "weight")
             if str(row.get("role")) in _LOOKED and row.get("query") == "last token"
             and str(row.get("heads")).startswith("layer ")]  # fmt: skip
    counts = sorted({int(row["attractors"]) for row in drawn})
    if not drawn or len(counts) > MOST_LAYERS:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for place, role in enumerate(_LOOKED):
            colour, marker, _ = ROLES[role]
            own = pick(drawn, role=role)
            for row in own:
                at = float(row["attractors"]) + 0.16 * (place - 1)
                axes.plot([at], [100 * float(row["weight"])], marker, color=colour, ms=6,
                          mec=PAPER, mew=0.5, label=role if row is own[0] else None)  # fmt: skip
                whisker(axes, row, "weight", at, colour)
        axes.set_xticks(counts)
        axes.set_ylim(0, 100)
        axes.set_xlabel("Attractors between subject and verb")
        axes.set_ylabel("Attention (%)")
        legend_below(figure, axes, 3)

    subject = pick(drawn, role="subject")
    head = visible(str(drawn[0]["heads"]), 40)
    ends = f"{head}: " + (
        f"{number(subject[0]['weight'], 'proportion')}% of its weight on the subject with "
        f"{plural(int(subject[0]['attractors']), 'attractor')}, "
        f"{number(subject[-1]['weight'], 'proportion')}% with {int(subject[-1]['attractors'])}"
        if subject
        else "no sentence has a subject"
    )
    message = ends[0].upper() + ends[1:]
    caption = (
        "The head with the most weight on the subject over the adverb, chosen on half of the "
        "sentences and measured on the other, from the token before the verb. Intervals of 95%."
    )
    return draw(name, message, caption, paint, height_inches=3.2)


def _accuracy(name: str, rows: Sequence[Record]) -> Figure | None:
    drawn = [row for row in known(rows, "attractors", "right", "items")
             if str(row.get("nearest")) in _NEAREST]  # fmt: skip
    splits = list(dict.fromkeys(str(row.get("split")) for row in drawn))[:_MOST_SPLITS]
    drawn = [row for row in drawn if str(row.get("split")) in splits]
    lines = sorted({(splits.index(str(row.get("split"))), int(row["attractors"])) for row in drawn})
    if not drawn or len(lines) > 40:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        _accuracy_dots(axes, drawn, splits, lines)
        axes.axvline(50, color=INK, lw=1, ls=(0, (4, 2)))
        axes.set_yticks(range(len(lines)), labels=[
            f"{visible(splits[split].replace('_', ' '), 16)}, {n}" for split, n in lines
        ])  # fmt: skip
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 101)
        axes.set_xlabel("Right verb likelier than the wrong one (%)")
        legend_below(figure, axes, 3)

    counts = sorted({n for _, n in lines})
    ends = [number(_pooled(drawn, n), "proportion") for n in (counts[0], counts[-1])]
    message = (
        f"The right verb is likelier in {ends[0]}% of the sentences with "
        f"{plural(counts[0], 'attractor')}, in {ends[1]}% with {counts[-1]}"
    )
    caption = (
        "Sentences and number of attractors at the left. Shape and colour: whether the noun next "
        "to the verb has the subject's number. The dashed line is chance. Intervals of 95%."
    )
    return draw(name, message, caption, paint, height_inches=1.5 + 0.4 * len(lines))


def _accuracy_dots(
    axes: Axes, rows: Sequence[Record], splits: Sequence[str], lines: Sequence[tuple[int, int]]
) -> None:
    for place, (nearest, (colour, marker)) in enumerate(_NEAREST.items()):
        own = pick(rows, nearest=nearest)
        for row in own:
            line = lines.index((splits.index(str(row.get("split"))), int(row["attractors"])))
            line_at = line + (0.17 * (2 * place - 3) if place else 0)
            low, high = as_number(row.get("low")), as_number(row.get("high"))
            if low is not None and high is not None:
                axes.plot([100 * low, 100 * high], [line_at] * 2, color=colour, **WHISKER)
            axes.plot([100 * float(row["right"])], [line_at], marker, color=colour, ms=6,
                      mec=PAPER, mew=0.4, zorder=4,
                      label=nearest if row is own[0] else None)  # fmt: skip


def _pooled(rows: Sequence[Record], attractors: int) -> float | None:
    """The share right of all sentences with so many attractors."""
    own = [row for row in rows if int(row["attractors"]) == attractors]
    items = sum(float(row["items"]) for row in own)
    return sum(float(row["items"]) * float(row["right"]) for row in own) / items if items else None
