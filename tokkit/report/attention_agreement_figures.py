"""Figures of agreement: where the verb looks, what decides it, and where the two disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure
from tokkit.report.canvas import BLUE, GREEN, GREY, INK, ORANGE, PAPER, VERMILLION, draw
from tokkit.report.formatting import number, quantity
from tokkit.report.subjects import Record, known

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

# Role -> colour, marker, dash: told apart without colour too.
_ROLES: dict[str, tuple[str, str, Any]] = {
    "subject": (VERMILLION, "o", "-"),
    "attractors": (BLUE, "s", (0, (5, 1.5))),
    "adverb": (GREEN, "D", (0, (1.2, 1.2))),
    "another token": (GREY, "^", (0, (6, 1.5, 1.2, 1.5))),
    "last token": (ORANGE, "v", (0, (3, 1.5))),
}
_SHOWN_WEIGHTS = ("subject", "attractors", "adverb")
_KINDS: dict[str, tuple[str, str]] = {
    "looks and matters": (VERMILLION, "o"),
    "looks, does not matter": (BLUE, "s"),
    "matters, does not look": (GREEN, "D"),
    "neither": (GREY, "."),
}
_BESIDE = 0.18


def agreement_figures(
    tables: Mapping[str, Sequence[Record]], prefix: str = "attention"
) -> list[Figure]:
    """Every figure whose table is among `tables` and not empty."""
    made = (
        chosen_head(f"{prefix}-agreement-look", tables.get("agreement_chosen", ())),
        states(f"{prefix}-agreement-states", tables.get("agreement_patching", ())),
        parts(f"{prefix}-agreement-parts", tables.get("agreement_patching", ())),
        knockout(f"{prefix}-agreement-knockout", tables.get("agreement_knockout", ())),
        heads(f"{prefix}-agreement-heads", tables.get("agreement_heads", ())),
        accuracy(f"{prefix}-agreement-accuracy", tables.get("agreement_accuracy", ())),
    )
    return [figure for figure in made if figure is not None]


def _percent(share: float) -> str:
    return quantity(share, "proportion")


def _spans(rows: Sequence[Record], value: str) -> list[list[float]]:
    """Distances from each value down and up to its bounds; 0 where there are none."""
    below, above = [], []
    for row in rows:
        has = row.get("low") is not None and row.get("high") is not None
        below.append(max(0.0, row[value] - row["low"]) if has else 0.0)
        above.append(max(0.0, row["high"] - row[value]) if has else 0.0)
    return [below, above]


def _marks(role: str, *, line: bool) -> dict[str, Any]:
    colour, marker, dash = _ROLES[role]
    return {
        "color": colour, "marker": marker, "ms": 5, "lw": 1.4, "elinewidth": 1.2, "capsize": 2,
        "ls": dash if line else "none", "label": role,
    }  # fmt: skip


def chosen_head(name: str, rows: Sequence[Record]) -> Figure | None:
    """What the chosen head gives to subject, attractors and adverb, by number of attractors."""
    drawn = [r for r in known(rows, "attractors", "weight") if r["role"] in _SHOWN_WEIGHTS]
    if not drawn:
        return None
    numbers = sorted({row["attractors"] for row in drawn})

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for place, role in enumerate(_SHOWN_WEIGHTS):
            own = [
                r for r in drawn if r["role"] == role
                and not (role == "attractors" and r["attractors"] == 0)
            ]  # fmt: skip
            axes.errorbar(
                [row["attractors"] + (place - 1) * _BESIDE for row in own],
                [row["weight"] for row in own],
                _spans(own, "weight"), **_marks(role, line=False),
            )  # fmt: skip
        axes.set_xticks(numbers)
        axes.set_ylim(0, 1)
        axes.set_xlabel("Nouns between subject and verb")
        axes.set_ylabel("Weight before the verb (share)")
        axes.legend(loc="upper right", handlelength=1.2)

    def mean(role: str) -> float:
        own = [row for row in drawn if row["role"] == role]
        return float(sum(r["weight"] * r["n"] for r in own) / sum(r["n"] for r in own))

    message = (
        f"Before the verb the chosen head gives {_percent(mean('subject'))} of its weight to the "
        f"subject, {_percent(mean('adverb'))} to the adverb"
    )
    caption = (
        "Means over sentences that did not choose the head, with 95% intervals; without one where "
        "sentences are few."
    )
    return draw(name, message, caption, paint, height_inches=3.0)


def states(name: str, rows: Sequence[Record]) -> Figure | None:
    """What patched states restore, by layer and role."""
    drawn = [
        row for row in known(rows, "layer", "effect")
        if row["what"] == "states" and row["direction"] == "restoring"
    ]  # fmt: skip
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        _lines(axes, drawn, "effect", ("subject", "attractors", "last token"))
        axes.set_xlabel("Layer after which states are patched")
        axes.set_ylabel("Restored (share of the difference)")

    last = max(row["layer"] for row in drawn)
    subject = {row["layer"]: row["effect"] for row in drawn if row["role"] == "subject"}
    half = next((layer for layer in sorted(subject) if subject[layer] < 0.5), None)
    message = "The subject's number is carried by the subject's states up to the last layer"
    if half is not None:
        message = (
            f"By layer {half} of {last} less than half of the number is still in the subject's "
            "states: it has moved to where the verb is predicted"
        )
    caption = (
        "States of the sentence put into its twin, whose subject has the other number, in one "
        "place after one layer; 1 is the sentence's own answer, 0 its twin's. The last token is "
        "the adverb. 95% intervals over sentences. Breaking, the other direction, is in the table."
    )
    return draw(name, message, caption, paint, height_inches=3.2)


def _lines(axes: Any, rows: Sequence[Record], value: str, roles: Sequence[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    for role in roles:
        own = sorted((r for r in rows if r["role"] == role), key=lambda row: row["layer"])
        if own:
            axes.errorbar(
                [row["layer"] for row in own], [row[value] for row in own], _spans(own, value),
                **_marks(role, line=True),
            )  # fmt: skip
    axes.axhline(0, color=INK, lw=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="best", handlelength=2.4)


def parts(name: str, rows: Sequence[Record]) -> Figure | None:
    """What attention and feed-forward outputs of each layer restore at the last token."""
    drawn = [
        row for row in known(rows, "layer", "effect")
        if row["what"] in ("attention", "feedforward") and row["direction"] == "restoring"
    ]  # fmt: skip
    if not drawn:
        return None
    looks = {"attention": ("subject", "Attention"), "feedforward": ("attractors", "Feed-forward")}

    def paint(figure: MatplotlibFigure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        for what, (like, label) in looks.items():
            own = sorted((r for r in drawn if r["what"] == what), key=lambda row: row["layer"])
            axes.errorbar(
                [row["layer"] for row in own], [row["effect"] for row in own],
                _spans(own, "effect"), **(_marks(like, line=True) | {"label": label}),
            )  # fmt: skip
        axes.axhline(0, color=INK, lw=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("Layer")
        axes.set_ylabel("Restored (share of the difference)")
        axes.legend(loc="upper left", handlelength=2.4)

    most = max((r for r in drawn if r["what"] == "attention"), key=lambda row: row["effect"])
    message = (
        f"Attention of layer {most['layer']} brings the number to the last token: its output "
        f"alone restores {_percent(most['effect'])}"
    )
    caption = (
        "The output of one part of one layer, at the token before the verb, put into the twin "
        "sentence. Shares need not add up to 1. 95% intervals over sentences."
    )
    return draw(name, message, caption, paint, height_inches=3.0)


def knockout(name: str, rows: Sequence[Record]) -> Figure | None:
    """How far the logit difference falls where edges to a role are cut, in one layer or in all."""
    order = ("subject", "attractors", "adverb", "another token")
    drawn = [row for row in known(rows, "drop") if str(row["layers"]).startswith("all")]
    if not drawn:
        return None
    ways = list(dict.fromkeys(str(row["layers"]) for row in drawn))
    labels = {"all": "from the token before the verb", "all, from every token": "from every token"}

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for place, way in enumerate(ways):
            own = [row for role in order for row in drawn
                   if row["role"] == role and row["layers"] == way]  # fmt: skip
            axes.errorbar(
                [row["drop"] for row in own],
                [order.index(row["role"]) + (place - 0.5) * _BESIDE for row in own],
                xerr=_spans(own, "drop"), ls="none", ms=5.5, elinewidth=1.3, capsize=2,
                color=(VERMILLION, BLUE)[place % 2], marker="os"[place % 2],
                mfc=(VERMILLION, PAPER)[place % 2], label=labels.get(way, way),
            )  # fmt: skip
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_yticks(range(len(order)), labels=[f"to {role}" for role in order])
        axes.invert_yaxis()
        axes.set_xlabel("Drop of right minus wrong verb (nats)")
        axes.legend(loc="lower right", title="Edges cut in all layers", handlelength=1.2)

    by_role = {row["role"]: row["drop"] for row in drawn if row["layers"] == "all"}
    message = "What the verb needs to see"
    if {"subject", "adverb"} <= by_role.keys():
        message = (
            f"Without its edges to the subject the verb loses {number(by_role['subject'])} nats, "
            f"without those to the adverb {number(by_role['adverb'])}"
        )
    caption = (
        "Means over sentences with 95% intervals. Another token: the one of no role nearest to "
        "the subject."
    )
    return draw(name, message, caption, paint, height_inches=2.8)


def heads(name: str, rows: Sequence[Record]) -> Figure | None:
    """Each head: how much it looks at the subject, and how much its output restores."""
    drawn = known(rows, "weight", "effect")
    if not drawn:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for kind, (colour, marker) in _KINDS.items():
            own = [row for row in drawn if row["kind"] == kind]
            axes.plot(
                [row["weight"] for row in own], [row["effect"] for row in own], marker, ms=5.5,
                color=colour, label=f"{kind} ({len(own)})",
            )  # fmt: skip
        telling = sorted(
            (row for row in drawn if row["kind"] != "neither"), key=lambda r: -abs(r["effect"])
        )[:6]
        for row in telling:
            axes.annotate(
                f"{row['layer']}.{row['head']}", (row["weight"], row["effect"]), xytext=(5, 3),
                textcoords="offset points", fontsize=8.5,
            )  # fmt: skip
        axes.axhline(0, color=INK, lw=0.8)
        axes.set_xlabel("Weight on the subject (share)")
        axes.set_ylabel("Restored by its output (share)")
        axes.set_xlim(left=0)
        axes.legend(loc="best", handlelength=1.2)

    counts = {kind: sum(row["kind"] == kind for row in drawn) for kind in _KINDS}
    looking = counts["looks and matters"] + counts["looks, does not matter"]
    message = (
        f"Of {len(drawn)} heads {looking} look at the subject and "
        f"{counts['looks and matters']} of these decide the verb"
    )
    if counts["matters, does not look"]:
        message += f"; {counts['matters, does not look']} more matter without looking"
    caption = (
        "Looks: the interval of its weight lies above .2. Matters: the interval of what it "
        "restores lies beyond .05 on one side. Layer.head beside those that tell most."
    )
    return draw(name, message, caption, paint, height_inches=3.3)


def accuracy(name: str, rows: Sequence[Record]) -> Figure | None:
    """Right verbs by number of attractors, a mark for each kind of sentence."""
    drawn = known(rows, "attractors", "accuracy")
    if not drawn:
        return None
    splits = list(dict.fromkeys(str(row["split"]) for row in drawn))[: len(_ROLES)]
    looks = dict(zip(splits, _ROLES, strict=False))

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        for place, split in enumerate(splits):
            own = [row for row in drawn if row["split"] == split]
            shift = (place - (len(splits) - 1) / 2) * 0.12
            axes.errorbar(
                [row["attractors"] + shift for row in own], [row["accuracy"] for row in own],
                _spans(own, "accuracy"),
                **(_marks(looks[split], line=False) | {"label": split.replace("_", " ")}),
            )  # fmt: skip
        axes.axhline(0.5, color=INK, lw=0.8, ls=(0, (4, 2)))
        axes.set_xticks(sorted({row["attractors"] for row in drawn}))
        axes.set_ylim(0, 1.04)
        axes.set_xlabel("Nouns between subject and verb")
        axes.set_ylabel("Right verb preferred (share)")
        axes.legend(loc="lower left", handlelength=1.2)

    right = sum(row["accuracy"] * row["n"] for row in drawn) / sum(row["n"] for row in drawn)
    message = f"The model prefers the verb that agrees in {_percent(right)} of the sentences"
    caption = "95% Wilson intervals; the dashed line is chance."
    return draw(name, message, caption, paint, height_inches=2.8)
