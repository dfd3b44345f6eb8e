"""Figures of the heads experiment: one message each, intervals drawn.

Each function takes rows of a table of the record and returns a rendered figure, or None when there
is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure
from tokkit.report.canvas import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PAPER,
    PURPLE,
    SKY,
    VERMILLION,
    draw,
)
from tokkit.report.formatting import as_number, number, plural, visible
from tokkit.report.subjects import Record, known

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

FREE = "free"
_MOST_MODELS, _MOST_ROWS, _MOST_HEADS = 12, 12, 64
_MAPS = {"query": (BLUE, "o"), "key": (VERMILLION, "^"), "value": (GREEN, "s")}
_ORDERS = {"greedy": (BLUE, "o", "-"), "random": (VERMILLION, "^", (0, (4, 2)))}
_REPLACED = {"mean": (BLUE, "o"), "zero": (ORANGE, "D")}
_WHISKER: dict[str, Any] = {"lw": 1.2, "mew": 1.2, "ms": 7}


def _label(name: object) -> str:
    return visible(str(name), 16)


def _models(rows: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(str(row["model"]) for row in rows))[:_MOST_MODELS]


def _down(axes: Axes, labels: Sequence[str]) -> None:
    """The y axis as a list of names, the first on top."""
    axes.set_yticks(range(len(labels)), labels=labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def reading(name: str, rows: Sequence[Record]) -> Figure | None:
    """Coordinates that each map of each head reads, a line a model, between slice and random."""
    drawn = [row for row in known(rows, "participation", "slice", "null_mean", "width")
             if row.get("map") in _MAPS]  # fmt: skip
    models = _models(drawn)
    if not models:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for line, model in enumerate(models):
            own = [row for row in drawn if str(row["model"]) == model]
            _reference(axes, own[0], line, first=line == 0)
            for order, (which, (colour, marker)) in enumerate(_MAPS.items()):
                values = [100 * float(row["participation"]) / float(row["width"])
                          for row in own if row["map"] == which]  # fmt: skip
                axes.plot(values, [line + 0.24 * (order - 1)] * len(values), marker, color=colour,
                          ms=4, mec=PAPER, mew=0.4, alpha=0.8,
                          label=which.capitalize() if line == 0 else None)  # fmt: skip
        _down(axes, [_label(model) for model in models])
        axes.set_xlim(0, 104)
        axes.set_xlabel("Coordinates of the stream that a map reads (%)")
        figure.legend(loc="outside lower center", ncols=3, handlelength=2)

    caption = (
        "A mark a head and seed: participation ratio of a map's columns, over the stream's width. "
        "What a random matrix reads is less than all, for its columns are not equally long."
    )
    height = 1.5 + 0.46 * len(models)
    return draw(name, _reading_message(drawn), caption, paint, height_inches=height)


def _reference(axes: Axes, row: Record, line: int, *, first: bool) -> None:
    """What a slice reads at most, and random matrices on average, on one line."""
    width = float(row["width"])
    for column, style, label in (
        ("slice", "-", "A slice, at most"), ("null_mean", (0, (1, 1.5)), "Random matrix"),
    ):  # fmt: skip
        at = 100 * float(row[column]) / width
        axes.plot([at, at], [line - 0.42, line + 0.42], color=INK, lw=1.4, ls=style,
                  label=label if first else None)  # fmt: skip


def _reading_message(rows: Sequence[Record]) -> str:
    own = [row for row in rows if row["model"] == FREE] or list(rows)
    least = min(own, key=lambda row: float(row["participation"]))
    return (
        f"Free heads read {float(least['participation']):.0f} or more of "
        f"{int(least['width'])} coordinates; a slice would read {int(least['slice'])}"
    )


def bases(name: str, rows: Sequence[Record]) -> Figure | None:
    """Coordinates read before and after a change of basis, the mean over maps, a line a model."""
    drawn = known(rows, "read_before", "read_after", "slice")
    models = _models(drawn)
    if not models:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for line, model in enumerate(models):
            before, after = _read_means(drawn, model)
            first = line == 0
            axes.plot([before, after], [line, line], color=GREY, lw=1.4, zorder=2)
            axes.plot([before], [line], "o", color=BLUE, ms=7, mec=PAPER, mew=0.6, zorder=4,
                      label="As trained" if first else None)  # fmt: skip
            axes.plot([after], [line], "D", color=ORANGE, ms=5.5, mec=PAPER, mew=0.6, zorder=5,
                      label="In a random basis" if first else None)  # fmt: skip
            size = next(float(row["slice"]) for row in drawn if str(row["model"]) == model)
            axes.plot([size, size], [line - 0.4, line + 0.4], color=INK, lw=1.4,
                      label="A slice, at most" if first else None)  # fmt: skip
        _down(axes, [_label(model) for model in models])
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("Coordinates read, mean over heads and maps")
        figure.legend(loc="outside lower center", ncols=3, handlelength=2)

    caption = (
        "The logits are the same in both bases (see the checks). Free heads read as many "
        "coordinates in any; slices are slices in one basis only."
    )
    height = 1.5 + 0.34 * len(models)
    return draw(name, _bases_message(drawn, models), caption, paint, height_inches=height)


def _read_means(rows: Sequence[Record], model: str) -> tuple[float, float]:
    """Coordinates read before and after, the mean over a model's seeds."""
    own = [row for row in rows if str(row["model"]) == model]
    before, after = (
        sum(float(row[column]) for row in own) / len(own)
        for column in ("read_before", "read_after")
    )
    return before, after


def _bases_message(rows: Sequence[Record], models: Sequence[str]) -> str:
    told = [model for model in (FREE, "slices") if model in models] or models[:2]
    parts = [
        f"{_label(model)} {before:.0f} and {after:.0f}"
        for model in told
        for before, after in (_read_means(rows, model),)
    ]
    return f"Coordinates read as trained and in a random basis: {', '.join(parts)}"


def costs(name: str, rows: Sequence[Record]) -> Figure | None:
    """What slicing costs against each comparison, with intervals."""
    drawn = known(rows, "difference", "low", "high")[:_MOST_ROWS]
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for line, row in enumerate(drawn):
            axes.plot([row["low"], row["high"]], [line, line], color=BLUE, marker="|", **_WHISKER)
            axes.plot([row["difference"]], [line], "o", color=BLUE, ms=6, zorder=4)
        axes.axvline(0, color=INK, lw=1)
        _down(axes, [f"{_label(row['first'])} minus {_label(row['second'])}" for row in drawn])
        axes.set_xlabel("More bits per byte of held-out text")

    what = "; ".join(
        f"{_label(row['first'])} minus {_label(row['second'])}: {visible(str(row['cost_of']), 60)}"
        for row in drawn
    )
    caption = f"Right of 0: the first is worse. Whiskers: 95% over seeds and windows. {what}."
    first = drawn[0]
    message = (
        f"What slicing costs: {_label(first['first'])} minus {_label(first['second'])} is "
        f"{number(first['difference'])} bits per byte [{number(first['low'])}, "
        f"{number(first['high'])}]"
    )
    return draw(name, message, caption, paint, height_inches=0.9 + 0.34 * len(drawn))


def cache(name: str, rows: Sequence[Record]) -> Figure | None:
    """Bits per byte against the bytes of the running cache, by number of key-value heads."""
    drawn = known(rows, "cache_bytes", "bits_per_byte", "low", "high", "key_value_heads")
    drawn = [row for row in drawn if float(row["cache_bytes"]) > 0][:_MOST_ROWS]
    if len(drawn) < 2:
        return None
    plain = [row for row in drawn if not str(row["arm"]).endswith("-wide")]

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        at = [float(row["cache_bytes"]) / 1024 for row in plain]
        axes.plot(at, [float(row["bits_per_byte"]) for row in plain], color=BLUE, lw=1.4, zorder=2)
        for row in drawn:
            wide = row not in plain
            colour, marker = (ORANGE, "D") if wide else (BLUE, "o")
            x = float(row["cache_bytes"]) / 1024 * (1.06 if wide else 1)
            axes.plot([x, x], [row["low"], row["high"]], color=colour, marker="_", **_WHISKER)
            label = "Weights given back" if wide else "As it is"
            axes.plot([x], [row["bits_per_byte"]], marker, color=colour, ms=6.5, mec=PAPER,
                      mew=0.6, zorder=4,
                      label=label if row in (plain[0], drawn[-1]) else None)  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_xticks(
            at, labels=[f"{x:g}\n{plural(int(row['key_value_heads']), 'head')}"
                        for x, row in zip(at, plain, strict=True)]
        )  # fmt: skip
        axes.minorticks_off()
        axes.set_xlabel("Keys and values held (KiB); key-value heads")
        axes.set_ylabel("Bits per byte")
        figure.legend(loc="outside lower center", ncols=2, handlelength=2)

    tokens = as_number(plain[0].get("tokens"))
    caption = (
        f"The cache of {number(int(tokens)) if tokens else 'a few'} tokens in float32, counted in "
        "the running model's tensors. Whiskers: 95% over seeds and windows; most of their width "
        "is the same for all arms (the costs, paired, are in the table)."
    )
    return draw(name, _cache_message(plain), caption, paint, height_inches=3.6)


def _cache_message(rows: Sequence[Record]) -> str:
    fewest = min(rows, key=lambda row: float(row["key_value_heads"]))
    if as_number(fewest.get("cost")) is None or as_number(fewest.get("times_less")) is None:
        return "Bits per byte against the bytes of the cache"
    return (
        f"{plural(int(fewest['key_value_heads']), 'key-value head')} shrinks the cache "
        f"{float(fewest['times_less']):g} times and costs {number(fewest['cost'])} bits per byte "
        f"[{number(fewest.get('cost_low'))}, {number(fewest.get('cost_high'))}]"
    )


def pruning(name: str, rows: Sequence[Record]) -> Figure | None:
    """Rise in bits per byte as heads are taken out, in greedy and in random order."""
    drawn = [row for row in known(rows, "removed", "rise", "low", "high", "heads")
             if row.get("order") in _ORDERS]  # fmt: skip
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for order, (colour, marker, line) in _ORDERS.items():
            own = sorted((row for row in drawn if row["order"] == order),
                         key=lambda row: int(row["removed"]))  # fmt: skip
            at = [int(row["removed"]) for row in own]
            low, middle, high = (
                [float(row[column]) for row in own] for column in ("low", "rise", "high")
            )
            axes.fill_between(at, low, high, color=colour, alpha=0.18, lw=0)
            axes.plot(at, middle, color=colour, marker=marker, ls=line, lw=1.5, ms=5, mec=PAPER,
                      mew=0.5, label=f"{order.capitalize()} order")  # fmt: skip
        axes.axhline(0, color=INK, lw=0.8)
        axes.set_xlabel(f"Heads taken out, of {int(drawn[0]['heads'])}")
        axes.set_ylabel("Rise (bits per byte)")
        axes.legend(loc="upper left", handlelength=3)

    caption = (
        "A head taken out gives its mean. Order and means are of one half of the held-out windows, "
        "what is drawn of the other. Bands: 95% over seeds and windows."
    )
    return draw(name, _pruning_message(drawn), caption, paint, height_inches=3.4)


def _pruning_message(rows: Sequence[Record]) -> str:
    half = int(rows[0]["heads"]) // 2
    rise = {str(row["order"]): row["rise"] for row in rows if int(row["removed"]) == half}
    return (
        f"Without half of the heads: {number(rise.get('greedy'))} bits per byte more in greedy "
        f"order, {number(rise.get('random'))} in random order"
    )


def alone(name: str, rows: Sequence[Record]) -> Figure | None:
    """What each head costs when it alone is taken out, heads in order of that."""
    drawn = [row for row in known(rows, "seed", "layer", "head", "rise", "low", "high")
             if row.get("replaced_by") in _REPLACED]  # fmt: skip
    means = sorted((row for row in drawn if row["replaced_by"] == "mean"),
                   key=lambda row: float(row["rise"]))  # fmt: skip
    if not means:
        return None
    places = {(r["seed"], r["layer"], r["head"]): at for at, r in enumerate(means, start=1)}

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for kind, (colour, marker) in _REPLACED.items():
            own = [row for row in drawn if row["replaced_by"] == kind
                   and (row["seed"], row["layer"], row["head"]) in places]  # fmt: skip
            at = [places[row["seed"], row["layer"], row["head"]] for row in own]
            axes.vlines(at, [row["low"] for row in own], [row["high"] for row in own],
                        color=colour, lw=0.9, alpha=0.6)  # fmt: skip
            label = "Replaced by its mean" if kind == "mean" else "Replaced by zeros"
            axes.plot(at, [row["rise"] for row in own], marker, color=colour, ms=4, mec=PAPER,
                      mew=0.4, label=label)  # fmt: skip
        axes.axhline(0, color=INK, lw=0.8)
        axes.set_xlabel("Heads of all seeds, least needed first")
        axes.set_ylabel("Rise (bits per byte)")
        axes.legend(loc="upper left", handlelength=1.5)

    spare = sum(float(row["low"]) <= 0 for row in means)
    message = (
        f"{spare} of {plural(len(means), 'head')} can each be taken out alone without a rise that "
        "can be told from 0"
    )
    caption = "One head at a time. Lines: 95% over held-out windows of its model."
    return draw(name, message, caption, paint, height_inches=3.2)


def agreement(name: str, rows: Sequence[Record]) -> Figure | None:
    """CKA of every pair of heads of one model: after training above the diagonal, before below."""
    drawn = known(rows, "seed", "first_layer", "first_head", "second_layer", "second_head", "cka",
                  "untrained")  # fmt: skip
    if not drawn:
        return None
    seed = drawn[0]["seed"]
    drawn = [row for row in drawn if row["seed"] == seed]
    ends = [((int(row["first_layer"]), int(row["first_head"])),
             (int(row["second_layer"]), int(row["second_head"]))) for row in drawn]  # fmt: skip
    heads = sorted({head for pair in ends for head in pair})
    if len(heads) > _MOST_HEADS:
        return None
    index = {head: at for at, head in enumerate(heads)}
    cells = [[float("nan")] * len(heads) for _ in heads]
    for row, (first, second) in zip(drawn, ends, strict=True):
        cells[index[first]][index[second]] = float(row["cka"])
        cells[index[second]][index[first]] = float(row["untrained"])

    def paint(figure: MatplotlibFigure) -> None:
        _agreement_map(figure, cells, heads)

    trained, before = (
        sum(float(row[column]) for row in drawn) / len(drawn) for column in ("cka", "untrained")
    )
    null = max((as_number(row.get("null_high")) or 0.0) for row in drawn)
    message = (
        f"Two heads of a model agree by {number(trained)} on average (CKA), {number(before)} "
        "before training"
    )
    caption = (
        f"Seed {number(seed)}: above the diagonal after training, below it before. Debiased linear "
        f"CKA of what heads give for the same tokens; with shuffled tokens 97.5% of values lie "
        f"below {number(null)}. Lines part the layers."
    )
    return draw(name, message, caption, paint, height_inches=4.4)


def _agreement_map(
    figure: MatplotlibFigure, cells: list[list[float]], heads: Sequence[tuple[int, int]]
) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    axes = figure.subplots()
    colours = LinearSegmentedColormap.from_list("agree", ["#f4f2ee", SKY, BLUE, "#2b1b4a"])
    drawn = axes.pcolormesh(cells, cmap=colours.with_extremes(bad=PAPER), vmin=0, vmax=1,
                            rasterized=True)  # fmt: skip
    axes.set_ylim(len(heads), 0)
    axes.set_aspect("equal")
    axes.grid(visible=False)
    for at in range(1, len(heads)):
        if heads[at][0] != heads[at - 1][0]:
            axes.axhline(at, color=PURPLE, lw=1.5)
            axes.axvline(at, color=PURPLE, lw=1.5)
    step = max(1, len(heads) // 16)
    named = range(0, len(heads), step)
    labels = [f"{heads[place][0]}.{heads[place][1]}" for place in named]
    axes.set_xticks([place + 0.5 for place in named], labels=labels, rotation=90)
    axes.set_yticks([place + 0.5 for place in named], labels=labels)
    axes.tick_params(length=0)
    axes.set_xlabel("Head (layer.head)")
    axes.set_ylabel("Head (layer.head)")
    bar = figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02)
    bar.set_label("CKA")
    bar.outline.set_visible(False)
