"""Figures of one edit: the causal trace, what was said before and after, the sweep over layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure
from tokkit.report.canvas import BLUE, GREEN, GREY, INK, ORANGE, PERCENT_TICKS, VERMILLION, draw
from tokkit.report.formatting import as_number, number, plural, visible
from tokkit.report.subjects import Record, known
from tokkit.report.tokenizer_figures import list_down, one_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_MOST_TOKENS = 40
_MOST_LAYERS = 200
_MOST_PROMPTS = 24
_LABEL = 30  # characters of a line of a prompt
# Kind -> what is restored, colour, marker, dash.
KINDS: dict[str, tuple[str, str, str, Any]] = {
    "residual": ("residual stream", BLUE, "o", "-"),
    "feedforward": ("feed-forward", GREEN, "s", (0, (5, 1.5))),
    "attention": ("attention", VERMILLION, "^", (0, (1.2, 1.2))),
}
_NONE = "#f4f2ee"
_OF_SUBJECT = "• "


def trace(
    name: str, kind: str, rows: Sequence[Record], tokens: Sequence[Record], values: Record
) -> Figure | None:
    """Tokens down, layers across: how probable the answer is with one thing restored."""
    drawn = [r for r in known(rows, "layer", "position", "probability") if r.get("kind") == kind]
    layers = sorted({int(row["layer"]) for row in drawn})
    places = sorted({int(row["position"]) for row in drawn})
    clean = as_number(values.get("trace_clean_probability"))
    spoilt = as_number(values.get("trace_corrupted_probability"))
    if not 0 < len(layers) <= _MOST_LAYERS or not 0 < len(places) <= _MOST_TOKENS:
        return None
    if len(drawn) != len(layers) * len(places) or clean is None or spoilt is None:
        return None
    chance = {(int(r["position"]), int(r["layer"])): float(r["probability"]) for r in drawn}
    cells = [[100 * chance.get((at, layer), 0.0) for layer in layers] for at in places]
    names, subject = _names(tokens)
    _, colour, _, _ = KINDS[kind]

    def paint(figure: MatplotlibFigure) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        axes = figure.subplots()
        shades = LinearSegmentedColormap.from_list(kind, [_NONE, colour])
        most = 100 * max(clean, *(row["probability"] for row in drawn))
        painted = axes.pcolormesh(cells, cmap=shades, vmin=0, vmax=most, rasterized=True)
        axes.set_ylim(len(places), 0)
        axes.grid(visible=False)
        axes.set_yticks(
            [at + 0.5 for at in range(len(places))], labels=[names.get(at, "") for at in places]
        )
        step = max(1, len(layers) // 8)
        axes.set_xticks(
            [at + 0.5 for at in range(0, len(layers), step)],
            labels=[str(layer) for layer in layers[::step]],
        )
        single = "Layer" if kind == "residual" else "Layer in the middle of the window"
        axes.set_xlabel(single)
        axes.set_ylabel("Token (• of the subject)")
        bar = figure.colorbar(painted, ax=axes, fraction=0.05, pad=0.02)
        bar.set_label("Probability of the answer (%)")
        bar.outline.set_visible(False)
        bar.ax.axhline(100 * spoilt, color=INK, lw=1.2)
        bar.ax.axhline(100 * clean, color=INK, lw=1.2, ls=(0, (2, 1)))

    best = _best(chance, names, subject)
    message = f"Restoring {_restored(kind, values)} brings the answer back {best}"
    answer = visible(str(values.get("trace_answer", "")).strip(), 24)
    caption = (
        f"Answer “{answer}”: {number(clean, 'proportion')}% in the clean run (dashed in the "
        f"scale), {number(spoilt, 'proportion')}% with the subject spoilt by noise (solid), a mean "
        f"of {number(values.get('trace_draws'))} draws. • tokens of the subject; those before it "
        "cannot bring anything back."
    )
    return draw(name, message, caption, paint, height_inches=1.0 + 0.24 * len(places))


def _names(tokens: Sequence[Record]) -> tuple[dict[int, str], list[int]]:
    """What stands at each position, and which positions are the subject's."""
    known_tokens = known(tokens, "position")
    subject = [int(row["position"]) for row in known_tokens if row.get("subject") is True]
    names = {}
    for row in known_tokens:
        at = int(row["position"])
        text = visible(str(row.get("text")).strip() or "␣", 16)
        names[at] = f"{_OF_SUBJECT}{text}" if at in subject else text
    return names, subject


def _restored(kind: str, values: Record) -> str:
    if kind == "residual":
        return "the residual stream after one layer"
    layers = plural(int(as_number(values.get("trace_window_layers")) or 1), "layer")
    return f"what {KINDS[kind][0]} adds in {layers}"


def _best(
    chance: dict[tuple[int, int], float], names: dict[int, str], subject: Sequence[int]
) -> str:
    """Where it is most among the subject's tokens, and among the last one's layers."""
    parts = []
    last = max(at for at, _ in chance)
    for among in (subject, [last]):
        found = [(value, -at, -layer) for (at, layer), value in chance.items() if at in among]
        if found:
            value, at, layer = max(found)
            name = names.get(-at, "").removeprefix(_OF_SUBJECT)
            parts.append(f"to {number(value, 'proportion')}% at “{name}” (layer {-layer})")
    return " and ".join(dict.fromkeys(parts))


def trace_lines(
    name: str, rows: Sequence[Record], tokens: Sequence[Record], values: Record
) -> Figure | None:
    """At the subject's token that brings most back: the three kinds by layer, with intervals."""
    names, subject = _names(tokens)
    drawn = known(rows, "layer", "position", "probability")
    drawn = [row for row in drawn if int(row["position"]) in subject]
    if not drawn:
        return None
    best = int(max(drawn, key=lambda row: float(row["probability"]))["position"])
    drawn = [row for row in drawn if int(row["position"]) == best]
    spoilt = as_number(values.get("trace_corrupted_probability"))
    clean = as_number(values.get("trace_clean_probability"))
    by_kind = {kind: [row for row in drawn if row.get("kind") == kind] for kind in KINDS}
    if not all(by_kind.values()) or spoilt is None or clean is None:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for kind, (what, colour, marker, dash) in KINDS.items():
            line = sorted(by_kind[kind], key=lambda row: int(row["layer"]))
            across = [int(row["layer"]) for row in line]
            up = [100 * float(row["probability"]) for row in line]
            _band(axes, across, line, colour)
            axes.plot(across, up, color=colour, ls=dash, marker=marker, ms=3.5, label=what)
        for level, word in ((clean, "clean"), (spoilt, "spoilt")):
            axes.axhline(100 * level, color=GREY, lw=1, ls=(0, (4, 2)))
            axes.annotate(
                word, (1, 100 * level), xycoords=("axes fraction", "data"), xytext=(5, 0),
                textcoords="offset points", va="center", fontsize=9,
            )  # fmt: skip
        axes.set_ylim(bottom=0)
        axes.locator_params("x", integer=True)
        axes.set_xlabel("Layer (of a window: the one in its middle)")
        axes.set_ylabel("Probability of the answer (%)")
        figure.legend(loc="outside lower center", ncols=3)

    tops = {
        kind: max(float(row["probability"]) for row in by_kind[kind])
        for kind in ("feedforward", "attention")
    }
    where = names[best].removeprefix(_OF_SUBJECT)
    message = (
        f"At “{where}” feed-forward layers bring the answer back to "
        f"{number(tops['feedforward'], 'proportion')}%, attention to "
        f"{number(tops['attention'], 'proportion')}%"
    )
    caption = (
        "The subject's token that brings most back; the edit is made at its last one. 95% "
        f"intervals over {number(values.get('trace_draws'))} draws of noise (Student's). That a "
        "layer carries a fact does not say that an edit belongs there."
    )
    return draw(name, message, caption, paint, height_inches=3.4)


def _band(axes: Axes, across: Sequence[int], line: Sequence[Record], colour: str) -> None:
    lows, highs = (
        [as_number(row.get(f"probability_{end}")) for row in line] for end in ("low", "high")
    )
    ends = [(a, b) for a, b in zip(lows, highs, strict=True) if a is not None and b is not None]
    if len(ends) == len(across):
        axes.fill_between(
            across, [100 * a for a, _ in ends], [100 * b for _, b in ends],
            color=colour, alpha=0.18, lw=0,
        )  # fmt: skip


def target(name: str, rows: Sequence[Record], answer: object) -> Figure | None:
    """The new answer's probability after the prompt and its paraphrases, before and after."""
    drawn = [
        row
        for row in known(rows, "target_before", "target_after")
        if row.get("kind") in ("prompt", "paraphrase")
    ][:_MOST_PROMPTS]
    if not drawn:
        return None
    word = visible(str(answer).strip(), 24)
    over = sum(float(row["target_after"]) > 0.5 for row in drawn)
    message = f"“{word}” is the likelier answer after {over} of {len(drawn)} prompts"
    caption = "The first line is the prompt that was edited, the others ask the same otherwise."
    label = f"Probability of “{word}” (%)"
    return _dumbbells(name, drawn, "target", message, caption, label)


def neighbours(name: str, rows: Sequence[Record]) -> Figure | None:
    """What the model answered to the neighbours, and how probable that is after the edit."""
    drawn = [
        row
        for row in known(rows, "answer_before", "answer_after", "divergence")
        if row.get("kind") == "neighbour"
    ][:_MOST_PROMPTS]
    if not drawn:
        return None
    most = max(float(row["divergence"]) for row in drawn)
    message = f"Neighbours: what comes next diverges by {number(most)} nats at most"
    caption = "The likeliest next token before the edit, and its probability before and after."
    return _dumbbells(name, drawn, "answer", message, caption, "Probability of the answer (%)")


def _dumbbells(
    name: str, rows: Sequence[Record], part: str, message: str, caption: str, label: str
) -> Figure:
    def paint(figure: MatplotlibFigure) -> None:
        from textwrap import fill

        axes = one_panel(figure)
        for at, row in enumerate(rows):
            before, after = (100 * float(row[f"{part}_{when}"]) for when in ("before", "after"))
            axes.plot([before, after], [at, at], color=INK, lw=1, alpha=0.5, zorder=2)
            axes.plot([before], [at], "o", mfc="none", color=GREY, ms=6, zorder=3)
            axes.plot([after], [at], "D", color=VERMILLION, ms=5, zorder=4)
        labels = []
        for row in rows:
            answer = f" → {str(row.get('answer')).strip()}" if part == "answer" else " …"
            labels.append(fill(visible(str(row.get("text")) + answer, 3 * _LABEL), _LABEL))
        list_down(axes, labels)
        axes.set_xlim(-3, 103)
        axes.set_xticks(PERCENT_TICKS)
        axes.set_xlabel(label)
        marks = [
            axes.plot([], [], "o", mfc="none", color=GREY, ms=6, label="before")[0],
            axes.plot([], [], "D", color=VERMILLION, ms=5, label="after")[0],
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=2)

    return draw(name, message, caption, paint, height_inches=1.2 + 0.42 * len(rows))


def sweep(name: str, rows: Sequence[Record]) -> Figure | None:
    """What the edit does at each layer that was tried."""
    drawn = sorted(known(rows, "layer", "efficacy", "score"), key=lambda row: int(row["layer"]))
    if len(drawn) < 2:
        return None
    chosen = next((row for row in drawn if row.get("chosen") is True), None)
    parts = (
        ("efficacy", "target after the prompt", BLUE, "o", (0, (5, 1.5))),
        ("paraphrase", "target after paraphrases", GREEN, "s", (0, (1.2, 1.2))),
        ("neighbourhood", "neighbours kept", ORANGE, "D", (0, (6, 1.5, 1.2, 1.5))),
        ("score", "harmonic mean", INK, "v", "-"),
    )

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for column, label, colour, marker, dash in parts:
            line = known(drawn, column)
            if line:
                axes.plot(
                    [int(row["layer"]) for row in line], [100 * float(row[column]) for row in line],
                    color=colour, ls=dash, marker=marker, ms=4.5, label=label,
                )  # fmt: skip
        if chosen is not None:
            axes.axvline(int(chosen["layer"]), color=GREY, lw=1, zorder=1)
        axes.set_ylim(-3, 103)
        axes.locator_params("x", integer=True)
        axes.set_xlabel("Layer that was edited")
        axes.set_ylabel("Score (%)")
        figure.legend(loc="outside lower center", ncols=2)

    words = "" if chosen is None else f" is best at layer {int(chosen['layer'])}"
    message = f"The edit{words}, of {len(drawn)} layers tried one by one"
    caption = (
        "Each layer edited by itself. Neighbours kept: mean of exp(−divergence of the next token). "
        "One fact, so there is no interval: `tokkit edit --study` has many."
    )
    return draw(name, message, caption, paint, height_inches=3.4)
