"""Figures of tokens that look untrained: how far they lie apart, and what prompts and counts say.

Rows are those of the tables untrained_histogram, untrained_by_count, untrained_verified and
untrained_indicators; `label` names the indicator (values["untrained"]["primary_label"]).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure
from tokkit.report.canvas import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PAPER,
    PERCENT_TICKS,
    VERMILLION,
    draw,
)
from tokkit.report.subjects import Record, known
from tokkit.report.tokenizer_figures import one_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

UNDER_TRAINED = "under-trained"
KNOWN, NEVER = "known to be untrained", "never seen"
# Colour, line style and hatching of each group of rows; others are blue.
_GROUPS: dict[str, tuple[str, Any, str]] = {
    NEVER: (VERMILLION, "-", "////"),
    KNOWN: (ORANGE, (0, (1.2, 1.2)), ""),
}
_OTHERS: tuple[str, Any, str] = (BLUE, "-", "")
_CHANCE, _WANTED = 0.5, 0.95


def distribution(
    name: str, rows: Sequence[Record], label: str, tokens: Sequence[Record] = ()
) -> Figure | None:
    """Where the rows of each group lie on the indicator, each as a share of its group.

    Of `tokens`, rows of the table untrained_tokens, those that prompts verified are ticks below.
    """
    rows = [row for row in known(rows, "low", "high", "tokens", "of") if row["of"] > 0]
    groups = list(dict.fromkeys(str(row.get("group")) for row in rows))
    if not groups:
        return None
    verified_at = [
        row["indicator"]
        for row in known(tokens, "indicator")
        if row.get("verified") == UNDER_TRAINED and row.get("kind") == "ordinary"
    ]

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for group in groups:
            own = [row for row in rows if str(row.get("group")) == group]
            colour, dash, hatch = _GROUPS.get(group, _OTHERS)
            edges = [float(row["low"]) for row in own] + [float(own[-1]["high"])]
            shares = [100 * row["tokens"] / row["of"] for row in own]
            many = f"{own[0]['of']:,}"
            axes.stairs(shares, edges, color=colour, lw=1.6, ls=dash, label=f"{group} ({many})")
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.16, lw=0)
            if hatch:
                axes.stairs(
                    shares, edges, fill=True, facecolor="none", edgecolor=colour,
                    hatch=hatch, lw=0, alpha=0.55,
                )  # fmt: skip
        axes.set_ylim(bottom=0)
        if verified_at:
            bottom = -0.05 * axes.get_ylim()[1]
            axes.plot(
                verified_at, [bottom / 2] * len(verified_at), ls="", marker="|", ms=8, mew=1.1,
                color=VERMILLION, label=f"verified by prompts ({len(verified_at):,})",
            )  # fmt: skip
            axes.set_ylim(bottom=bottom)
        axes.set_xlabel(f"{label} (low: suspicious)")
        axes.set_ylabel("Rows of the group (%)")
        axes.legend(loc="best", handlelength=2.6)

    caption = "Each group's rows add up to 100%; the number of its rows stands behind its name."
    if verified_at:
        caption += " Ticks: tokens of the lowest indicator that the model does not repeat."
    return draw(name, _apart(rows, groups), caption, paint, height_inches=3.1)


def _apart(rows: Sequence[Record], groups: Sequence[str]) -> str:
    """How many other tokens lie as low as nine in ten of those never seen, or of the reference."""
    low = NEVER if NEVER in groups else KNOWN
    others = [row for row in rows if str(row.get("group")) not in _GROUPS]
    own = [row for row in rows if str(row.get("group")) == low]
    if not own or not others:
        return "How the indicator is spread over the rows"
    covered, border = 0, float(own[-1]["high"])
    for row in own:
        covered += row["tokens"]
        if covered >= 0.9 * row["of"]:
            border = float(row["high"])
            break
    below = sum(row["tokens"] for row in others if float(row["high"]) <= border)
    share = 100 * below / others[0]["of"]
    what = "tokens never seen" if low == NEVER else "rows known to be untrained"
    told = f"{share:.0f}%" if share >= 1 or not below else f"{share:.1g}%"
    return f"{told} of the other tokens lie as low as nine in ten of the {what}"


def by_count(name: str, rows: Sequence[Record], label: str) -> Figure | None:
    """The indicator by how often the token was seen: median, quartiles, 5% and 95% quantiles."""
    columns = ("count_low", "count_high", "tokens", "p5", "p25", "median", "p75", "p95")
    rows = known(rows, *columns)
    if len(rows) < 2:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for place, row in enumerate(rows):
            unseen = row["count_high"] == 0
            colour, marker = (VERMILLION, "D") if unseen else (BLUE, "o")
            axes.plot([place] * 2, [row["p5"], row["p95"]], color=colour, lw=1.1)
            axes.plot(
                [place] * 2, [row["p25"], row["p75"]],
                color=colour, lw=6, alpha=0.45, solid_capstyle="butt",
            )  # fmt: skip
            axes.plot(place, row["median"], marker=marker, color=colour, ms=6, mec=PAPER, mew=0.7)
        axes.set_xticks(range(len(rows)), [_counted(row) for row in rows])
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("Times in the training text (below: tokens)")
        axes.set_ylabel(label if len(label) <= 36 else "Indicator (low: suspicious)")

    first, last = rows[0], rows[-1]
    message = (
        f"The indicator's median goes from {_short(first['median'])} for tokens "
        f"{_seen(first)} to {_short(last['median'])} for tokens {_seen(last)}"
    )
    caption = (
        f"{label}, low where suspicious. Mark: median; thick line: half of the tokens; thin line: "
        "nine in ten. Diamond: tokens never seen."
    )
    return draw(name, message, caption, paint, height_inches=3.2)


def _counted(row: Record) -> str:
    low, high = _many(row["count_low"]), _many(row["count_high"])
    span = low if low == high else f"{low}–{high}"
    return f"{span}\n({row['tokens']:,})"


def _seen(row: Record) -> str:
    if row["count_high"] == 0:
        return "never seen"
    return f"seen {_many(row['count_low'])} times or more"


def _many(count: float) -> str:
    for size, word in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.0f}{word}"
    return f"{count:.0f}"


def _short(value: float) -> str:
    return f"{value:.2g}"


def verified(name: str, rows: Sequence[Record]) -> Figure | None:
    """The share of tokens that the model does not repeat, by the rank of their indicator."""
    columns = ("rank_low", "rank_high", "asked", "not_repeated", "low", "high")
    rows = known(rows, *columns)
    if len(rows) < 2:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for place, row in enumerate(rows):
            is_rest = place == len(rows) - 1
            low, high, value = (100 * row[column] for column in ("low", "high", "not_repeated"))
            axes.plot([place] * 2, [low, high], color=GREY if is_rest else VERMILLION, lw=1.8)
            axes.plot(
                place, value, marker="o" if is_rest else "D",
                color=GREY if is_rest else VERMILLION, ms=6.5, mec=PAPER, mew=0.7,
            )  # fmt: skip
        axes.set_xticks(range(len(rows)), [_ranked(row) for row in rows])
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.set_ylim(-3, 103)
        axes.set_yticks(PERCENT_TICKS)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("Tokens by their indicator, lowest first (% of tokens; below: asked)")
        axes.set_ylabel("Not repeated (%)")

    first, rest = rows[0], rows[-1]
    verifies = not any(row.get("can_verify") is False for row in rows)
    message = (
        f"The model fails to repeat {100 * first['not_repeated']:.0f}% of the most suspicious "
        f"tokens, and {100 * rest['not_repeated']:.0f}% of ordinary ones"
        if verifies
        else f"The model fails to repeat {100 * rest['not_repeated']:.0f}% of ordinary tokens: "
        "prompting verifies nothing"
    )
    caption = (
        "Not repeated: a probability below 1% in every prompt. Lines: 95% intervals (Wilson). "
        "Circle: a random sample of all the others, the control."
    )
    return draw(name, message, caption, paint, height_inches=3.0)


def _ranked(row: Record) -> str:
    low, high = 100 * row["rank_low"], 100 * row["rank_high"]
    return f"{low:g}–{high:g}\n({row['asked']:,})"


def areas(name: str, rows: Sequence[Record]) -> Figure | None:
    """How well each score tells tokens never seen, against weights that had not learned."""
    rows = known(rows, "area", "low", "high")
    if not rows:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = one_panel(figure)
        for place, row in enumerate(reversed(rows)):
            _area(axes, place, row)
        axes.axvline(_CHANCE, color=INK, lw=0.9, ls=(0, (1.2, 1.6)))
        axes.axvline(_WANTED, color=INK, lw=0.9, ls=(0, (5, 2)))
        axes.set_yticks(
            range(len(rows)), [_wrapped(str(row.get("indicator"))) for row in rows[::-1]]
        )
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlim(-0.02, 1.02)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("Area under the curve, never seen against seen")

    best = max(rows, key=lambda row: float(row["area"]))
    chosen = next((row for row in rows if row.get("primary") is True), best)
    message = (
        f"A token never seen looks more suspicious than a seen one in {100 * chosen['area']:.3g}% "
        "of pairs"
    )
    caption = (
        "Diamond: the score that the rule names; circles: others; hollow: the same where nothing "
        "was learned. Lines: 95% intervals. Dotted: chance; dashed: the 0.95 asked for."
    )
    return draw(name, message, caption, paint, height_inches=0.8 + 0.42 * len(rows))


def _area(axes: Axes, place: int, row: Record) -> None:
    if known([row], "null_low", "null_high", "null_area"):
        axes.plot([row["null_low"], row["null_high"]], [place - 0.2] * 2, color=GREY, lw=1.2)
        axes.plot(row["null_area"], place - 0.2, marker="o", color=GREY, ms=5, mfc=PAPER)
    colour, marker = (VERMILLION, "D") if row.get("primary") is True else (BLUE, "o")
    axes.plot([row["low"], row["high"]], [place] * 2, color=colour, lw=1.8)
    axes.plot(row["area"], place, marker=marker, color=colour, ms=6.5, mec=PAPER, mew=0.7)


def _wrapped(label: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(label, 30))
