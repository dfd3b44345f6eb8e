"""Figures of models: where their parameters sit, and what their caches take.

Each function takes rows of a table of the record and returns a rendered figure, or None when there
is nothing to draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure
from tokkit.report.canvas import BLUE, GREEN, GREY, INK, ORANGE, PAPER, PURPLE, SKY, draw
from tokkit.report.formatting import as_number, number, plural, visible
from tokkit.report.subjects import Record, known
from tokkit.report.tokenizer_figures import beside, list_down, one_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

MAX_MODELS = 40
_FEEDFORWARD = ("feedforward", "experts", "router")
_MAX_LABEL_CHARACTERS = 20
_LINE_INCHES = 0.235
_MAX_TICKS = 6
# What is drawn, left to right: label, colour, hatch, and the parts of the record that it adds up.
# Neighbours differ in lightness too; a hatch tells the two greens apart without colour.
_PARTS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("Feed-forward", GREEN, "", ("feedforward",)),
    ("Experts, router", GREEN, "////", ("experts", "router")),
    ("Attention", BLUE, "", ("attention",)),
    ("Norms", PURPLE, "", ("norms",)),
    ("Tables of tokens, positions", ORANGE, "", ("embedding", "positions", "features")),
    ("Unembedding, not tied", SKY, "", ("unembedding",)),
)


def shares(name: str, rows: Sequence[Record]) -> Figure | None:
    """One bar a model, cut into the shares of its parts; a line at half."""
    counts = _counts(rows)
    if not counts:
        return None
    drawn = [part for part in _PARTS if any(_sum(own, part[3]) for own in counts.values())]

    def paint(figure: MatplotlibFigure) -> None:
        from matplotlib.patches import Patch

        axes = one_panel(figure)
        for line, own in enumerate(counts.values()):
            _bar(axes, line, own, drawn)
            beside(axes, large(sum(own.values())), line)
        axes.axvline(50, color=INK, lw=1, ls=(0, (4, 2)), zorder=6)
        list_down(axes, [visible(model, _MAX_LABEL_CHARACTERS) for model in counts])
        axes.set_xlim(0, 100)
        axes.set_xlabel("Share of all parameters (%)")
        style: dict[str, Any] = {"ec": PAPER, "lw": 0.6}
        marks = [Patch(fc=c, hatch=h or None, label=label, **style) for label, c, h, _ in drawn]
        figure.legend(handles=marks, loc="outside lower center", ncols=2, handlelength=1.6)

    caption = "At the right: all parameters. The dashed line is at half."
    height = 0.95 + 0.22 * math.ceil(len(drawn) / 2) + _LINE_INCHES * len(counts)
    return draw(name, _shares_message(counts), caption, paint, height_inches=height)


def _shares_message(counts: dict[str, dict[str, float]]) -> str:
    share = {model: _sum(own, _FEEDFORWARD) / sum(own.values()) for model, own in counts.items()}
    if len(share) == 1:
        (model,) = share
        label = visible(model, _MAX_LABEL_CHARACTERS)
        return f"Feed-forward layers hold {number(share[model], 'proportion')}% of {label}"
    dense = [model for model, own in counts.items() if not _sum(own, ("experts",))]
    if not dense:
        return "Where the parameters of mixtures of experts sit"
    holds = sum(share[model] > 0.5 for model in dense)
    return (
        "Feed-forward layers hold more than half of the parameters in "
        f"{holds} of {plural(len(dense), 'dense model')}"
    )


def _counts(rows: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Model to part to parameters, of the first MAX_MODELS models."""
    counts: dict[str, dict[str, float]] = {}
    for row in known(rows, "parameters"):
        if float(row["parameters"]) > 0:
            own = counts.setdefault(str(row["model"]), {})
            own[str(row["part"])] = own.get(str(row["part"]), 0.0) + float(row["parameters"])
    return dict(list(counts.items())[:MAX_MODELS])


def _sum(own: dict[str, float], parts: Sequence[str]) -> float:
    return sum(own.get(part, 0.0) for part in parts)


def _bar(
    axes: Axes,
    line: int,
    own: dict[str, float],
    drawn: Sequence[tuple[str, str, str, tuple[str, ...]]],
) -> None:
    left, whole = 0.0, sum(own.values())
    for _, colour, hatch, parts in drawn:
        width = 100 * _sum(own, parts) / whole
        if width:
            axes.barh(
                line, width, left=left, height=0.72, color=colour, hatch=hatch or None,
                edgecolor=PAPER, lw=0.6, zorder=4,
            )  # fmt: skip
        left += width


def caches(name: str, rows: Sequence[Record], dtype: str) -> Figure | None:
    """Bytes a token on a logarithmic axis: as many key-value as query heads, and as built."""
    drawn = [
        row
        for row in known(rows, "cache_bytes", "cache_bytes_multi_head")
        if float(row["cache_bytes"]) > 0 and float(row["cache_bytes_multi_head"]) > 0
    ][:MAX_MODELS]
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for line, row in enumerate(drawn):
            now, before = _kilobytes(row, "cache_bytes"), _kilobytes(row, "cache_bytes_multi_head")
            axes.plot([now, before], [line, line], color=GREY, lw=1.6, zorder=3)
            axes.plot([before], [line], "o", color=BLUE, mfc=PAPER, mew=1.5, ms=7, zorder=4)
            axes.plot([now], [line], "o", color=BLUE, ms=5, zorder=5)
            beside(axes, f"{times(row)}\u00d7", line)
        list_down(axes, [visible(str(row["model"]), _MAX_LABEL_CHARACTERS) for row in drawn])
        _byte_axis(axes)
        figure.legend(handles=_marks(), loc="outside lower center", ncols=2, handlelength=1.4)

    most = max(drawn, key=_ratio)
    before, now = (
        number(round(_kilobytes(most, f"cache_bytes{kind}"))) for kind in ("_multi_head", "")
    )
    message = (
        f"Grouped queries shrink the cache of {visible(str(most['model']), _MAX_LABEL_CHARACTERS)} "
        f"{times(most)}-fold: {before} to {now} KiB a token"
        if _ratio(most) > 1
        else "What one token adds to the cache"
    )
    caption = f"Keys and values of all layers in {visible(dtype, 12)}, while no window is full."
    return draw(name, message, caption, paint, height_inches=1.1 + _LINE_INCHES * len(drawn))


def _kilobytes(row: Record, column: str) -> float:
    return float(row[column]) / 1024


def _ratio(row: Record) -> float:
    return float(row["cache_bytes_multi_head"]) / float(row["cache_bytes"])


def times(row: Record) -> str:
    """How many times less the cache takes than with as many key-value as query heads."""
    return f"{_ratio(row):.3g}"


def _byte_axis(axes: Axes) -> None:
    axes.set_xscale("log", base=2)
    low, high = axes.get_xlim()
    ticks = [2.0**power for power in range(-10, 24) if low <= 2.0**power <= high]
    if len(ticks) > _MAX_TICKS:
        ticks = [tick for tick in ticks if math.log2(tick) % 2 == 0]
    axes.set_xticks(ticks, labels=[f"{tick:,.0f}" if tick >= 1 else f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("Cache a token (KiB)")


def _marks() -> list[Any]:
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"color": BLUE, "marker": "o", "ls": "none", "mew": 1.5}
    return [
        Line2D([], [], ms=5, label="As built", **style),
        Line2D([], [], ms=7, mfc=PAPER, label="A key-value head for each query head", **style),
    ]


def large(value: Any) -> str:
    """A count in millions or more, as models are called: `124M`, `8.03B`.

    >>> large(124_439_808), large(8_030_261_248), large(999_885_952), large(1_234)
    ('124M', '8.03B', '1.00B', '1,234')
    """
    plain = as_number(value)
    if plain is None or plain < 1e6:
        return number(value if plain is None else int(plain))
    for scale, letter in ((1e6, "M"), (1e9, "B"), (1e12, "T")):
        if plain < 999.5 * scale:
            return f"{plain / scale:#.3g}".rstrip(".") + letter
    return f"{plain:.3g}"
