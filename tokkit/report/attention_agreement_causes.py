"""What decides the verb: patches, cuts, and heads that look against heads that matter.

Each function takes rows of a table of the record and returns a rendered figure, or None when there
is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
from tokkit.report.canvas import BLUE, GREEN, GREY, INK, PAPER, SKY, VERMILLION, draw, panels
from tokkit.report.formatting import as_number, estimate, number, plural, visible
from tokkit.report.subjects import Record, known, pick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_MOST_HEADS = 4096
_CUT = ("subject", "attractors", "adverb", "another token")
_STATES = ("subject", "attractors", "adverb", "last token")
_DIRECTIONS = ("restoring", "breaking")
_EDGES = ("last token", "every later token")
_KINDS: dict[str, tuple[str, str]] = {
    "looks and matters": (BLUE, "o"),
    "looks, does not matter": (VERMILLION, "s"),
    "matters, does not look": (GREEN, "^"),
    "neither": (GREY, "."),
}


def states(name: str, rows: Sequence[Record]) -> Figure | None:
    """Share of the way that states of a role move, by layer, both ways."""
    drawn = [
        row for row in known(rows, "layer", "share")
        if str(row.get("role")) in _STATES and str(row.get("direction")) in _DIRECTIONS
    ]  # fmt: skip
    layers = sorted({int(row["layer"]) for row in drawn})
    if not drawn or len(layers) > MOST_LAYERS:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes, _ = panels(figure, len(_DIRECTIONS), sharey=True)
        mesh: Any = None
        for at, direction in zip(axes, _DIRECTIONS, strict=True):
            mesh = _state_map(at, pick(drawn, direction=direction), layers)
            at.set_title("Restored" if direction == "restoring" else "Broken")
        axes[0].set_ylabel("Patched after layer")
        bar = figure.colorbar(mesh, ax=axes, fraction=0.05, pad=0.02)
        bar.set_label("Share (%)")
        bar.outline.set_visible(False)

    def whole(role: str) -> list[Record]:
        own = pick(drawn, role=role, direction="restoring")
        return sorted(own, key=lambda row: int(row["layer"]))

    over = next((int(row["layer"]) for row in whole("last token") if row["share"] >= 0.5), None)
    message = (
        "The number stays at the subject in every layer looked at"
        if over is None
        else f"By layer {over} most of the number has reached the token before the verb"
    )
    caption = (
        "States of the same sentence with the subject in the other number put in, role by role. "
        "0: as without; 100: wholly the other sentence's verb. The last token stands apart, "
        "whatever its word."
    )
    height = 1.6 + 0.26 * len(layers)
    return draw(name, message, caption, paint, height_inches=min(height, 6.0))


def _state_map(axes: Axes, rows: Sequence[Record], layers: Sequence[int]) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    cells = [[float("nan")] * len(_STATES) for _ in layers]
    for row in rows:
        cells[layers.index(int(row["layer"]))][_STATES.index(str(row["role"]))] = 100 * float(
            row["share"]
        )
    colours = LinearSegmentedColormap.from_list("share", ["#f4f2ee", SKY, BLUE, "#0b2545"])
    mesh = axes.pcolormesh(cells, cmap=colours.with_extremes(bad=PAPER), vmin=0, vmax=100,
                           rasterized=True)  # fmt: skip
    for line, values in enumerate(cells):
        for place, value in enumerate(values):
            if value == value and len(layers) <= 24:
                axes.annotate(
                    f"{round(value)}", (place + 0.5, line + 0.5), ha="center", va="center",
                    fontsize=8, color="white" if value > 55 else "black",
                )  # fmt: skip
    axes.set_ylim(len(layers), 0)
    axes.grid(visible=False)
    axes.set_yticks([line + 0.5 for line in range(len(layers))], labels=[str(x) for x in layers])
    axes.set_xticks(
        [place + 0.5 for place in range(len(_STATES))], labels=list(_STATES), rotation=40,
        ha="right", rotation_mode="anchor",
    )  # fmt: skip
    axes.tick_params(length=0)
    return mesh


def knockout(name: str, rows: Sequence[Record]) -> Figure | None:
    """What cutting one layer costs, by role."""
    drawn = [row for row in known(rows, "layer", "drop") if str(row.get("role")) in _CUT]
    if not drawn or layers_of(drawn) > MOST_LAYERS:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        by_layer(axes, drawn, _CUT, "drop", 1)
        axes.axhline(0, color=INK, lw=0.8)
        axes.set_ylabel("Logit difference lower by")
        legend_below(figure, axes, 2)

    top = max(drawn, key=lambda row: float(row["drop"]))
    message = (
        f"Of single layers, cutting layer {number(top['layer'])}'s sight of the "
        f"{visible(str(top['role']), 20)} costs most: "
        f"{estimate(top['drop'], top.get('drop_low'), top.get('drop_high'), 'logits')}"
    )
    caption = (
        "Edges from the token before the verb to a role, taken away in one layer; the other "
        "weights are scaled up. Another token: of no role, nearest to the subject. Intervals of "
        "95% over sentences."
    )
    return draw(name, message, caption, paint, height_inches=3.5)


def windows(name: str, rows: Sequence[Record]) -> Figure | None:
    """What cutting several layers costs, by role."""
    drawn = [row for row in known(rows, "first", "last", "drop")
             if str(row.get("role")) in _CUT and str(row.get("edges")) in _EDGES]  # fmt: skip
    spans = sorted({(int(row["first"]), int(row["last"])) for row in drawn},
                   key=lambda span: (span[1] - span[0], span))  # fmt: skip
    if not drawn or len(spans) > 12:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes, _ = panels(figure, len(_EDGES), sharey=True)
        for at, edges in zip(axes, _EDGES, strict=True):
            _window_dots(at, pick(drawn, edges=edges), spans)
            at.set_title("Edges of the token\nbefore the verb" if edges == "last token"
                         else "Edges of every\nlater token")  # fmt: skip
        legend_below(figure, axes[0], 2)

    subject = [row for row in pick(drawn, role="subject", edges="last token")
               if (int(row["first"]), int(row["last"])) == spans[-1]]  # fmt: skip
    message = (
        "Without sight of the subject in any layer the verb is right in "
        f"{number(subject[0].get('right'), 'proportion')}% of the sentences"
        if subject
        else "What cutting edges costs, by the layers that are cut"
    )
    caption = "Other weights are scaled up. Intervals of 95% over sentences."
    return draw(name, message, caption, paint, height_inches=1.9 + 0.42 * len(spans))


def _window_dots(
    axes: Axes, rows: Sequence[Record], spans: Sequence[tuple[int, int]]
) -> None:  # fmt: skip
    for place, role in enumerate(_CUT):
        colour, marker, _ = ROLES[role]
        own = pick(rows, role=role)
        for row in own:
            line = spans.index((int(row["first"]), int(row["last"]))) + 0.17 * (place - 1.5)
            low, high = (as_number(row.get(f"drop_{bound}")) for bound in ("low", "high"))
            if low is not None and high is not None:
                axes.plot([low, high], [line, line], color=colour, **WHISKER)
            axes.plot([float(row["drop"])], [line], marker, color=colour, ms=5, mec=PAPER, mew=0.4,
                      zorder=4, label=role if row is own[0] else None)  # fmt: skip
    axes.axvline(0, color=INK, lw=0.8)
    labels = [
        "all layers" if place == len(spans) - 1 and len(spans) > 1
        else f"layer {first}" if first == last else f"layers {first}–{last}"
        for place, (first, last) in enumerate(spans)
    ]  # fmt: skip
    axes.set_yticks(range(len(spans)), labels=labels)
    axes.set_ylim(len(spans) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Logit difference\nlower by")


def heads(name: str, rows: Sequence[Record], ranks: Sequence[Record]) -> Figure | None:
    """Every head: how it looks at the subject against what its output does."""
    drawn = [row for row in known(rows, "layer", "head", "subject", "restores")
             if str(row.get("kind")) in _KINDS]  # fmt: skip
    if not drawn or len(drawn) > _MOST_HEADS:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for kind, (colour, marker) in reversed(_KINDS.items()):
            own = pick(drawn, kind=kind)
            if not own:
                continue
            for row in own if kind != "neither" else ():
                whisker(axes, row, "restores", 100 * float(row["subject"]), colour)
            axes.plot([100 * float(row["subject"]) for row in own],
                      [100 * float(row["restores"]) for row in own], marker, color=colour,
                      ms=6, mec=PAPER, mew=0.4, zorder=4, label=f"{kind}: {len(own)}")  # fmt: skip
        _name_heads(axes, drawn)
        axes.axhline(0, color=INK, lw=0.8)
        axes.set_xlim(left=-1)
        axes.set_xlabel("Weight on the subject, from the token before the verb (%)")
        axes.set_ylabel("Its output restores (%)")
        figure.legend(loc="outside lower center", ncols=2, handlelength=1.2)

    counts = {kind: len(pick(drawn, kind=kind)) for kind in _KINDS}
    looking = counts["looks and matters"] + counts["looks, does not matter"]
    message = (
        f"Of {plural(len(drawn), 'head')} {looking} look at the subject, of which "
        f"{_matter(counts['looks and matters'])}; {counts['matters, does not look']} of the "
        f"others {_matter(counts['matters, does not look']).split(' ')[1]} too"
    )
    rank = next(iter(pick(ranks, effect="output restores")), {})
    told = estimate(rank.get("correlation"), rank.get("low"), rank.get("high"))
    caption = (
        "A mark a head: its output at the token before the verb, put into the sentence with the "
        f"other number. Rank correlation over heads: {told}. Intervals of 95% over sentences."
    )
    return draw(name, message, caption, paint, height_inches=4.0)


def _matter(count: int) -> str:
    return f"{count} matters" if count == 1 else f"{count} matter"


def _name_heads(axes: Axes, rows: Sequence[Record]) -> None:
    """Layer and head beside the marks that stand out, those that do most first."""
    told = [row for row in rows if row["kind"] != "neither"]
    told.sort(key=lambda row: -max(abs(float(row["restores"])), float(row["subject"])))
    for row in told[:8]:
        axes.annotate(
            f"{int(row['layer'])}.{int(row['head'])}",
            (100 * float(row["subject"]), 100 * float(row["restores"])),
            xytext=(5, 4), textcoords="offset points", fontsize=8,
        )  # fmt: skip
