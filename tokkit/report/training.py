"""The page of a training on text: the loss curve, bits per byte, and what the run was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report import formatting, generic
from tokkit.report.arms import records
from tokkit.report.blocks import Cell, Figure, Grid, Run, Text, grid_of
from tokkit.report.canvas import BLUE, INK, PAPER, VERMILLION, draw
from tokkit.report.formatting import as_number, number
from tokkit.report.subjects import Record, points
from tokkit.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

KIND = "model.train"
_CURVE_COLUMNS = ("step", "loss")
_EVALUATION_COLUMNS = ("step", "loss", "bits_per_byte")
_SMOOTHED = 40  # parts of the curve, each drawn as its mean
# Label, name among the values, unit.
_MAIN = (
    ("Bits per byte, validation", "bits_per_byte", ""),
    ("Bits per byte, unigram baseline", "unigram_bits_per_byte", ""),
    ("Bits per byte at the best step", "best_bits_per_byte", ""),
    ("Best step", "best_step", ""),
    ("Validation loss (nats a token)", "validation_loss", ""),
    ("Training loss of the last step (nats a token)", "training_loss", ""),
    ("Parameters", "parameters", ""),
    ("Steps", "steps", ""),
    ("Tokens a step", "tokens_a_step", ""),
    ("Epochs", "epochs", ""),
    ("Documents", "documents", ""),
    ("Documents held out", "validation_documents", ""),
    ("Bytes held out", "validation_bytes", ""),
    ("Tokens to train on", "training_tokens", ""),
    ("Tokens held out", "validation_tokens", ""),
    ("Processes", "processes", ""),
    ("Threads a process", "threads", ""),
)


def build(result: Result, run_id: str) -> Run:
    """The page of one training."""
    curve = records(result, "curve", _CURVE_COLUMNS)
    evaluations = records(result, "evaluations", _EVALUATION_COLUMNS)
    baseline = as_number(result.values.get("unigram_bits_per_byte"))
    sections = (
        generic.section("loss", "Loss", (loss_figure(f"{run_id}-loss", curve, evaluations),)),
        generic.section(
            "bits",
            "Bits per byte",
            (bits_figure(f"{run_id}-bits", evaluations, baseline), _note(evaluations)),
        ),
        generic.section("main", "Main numbers", (_main_numbers(result),)),
        generic.section(
            "numbers",
            "All numbers",
            tuple(grid_of(table, folded=True) for table in result.tables.values() if table.rows),
        ),
        *generic.origin_sections(result),
    )
    opening = [Text(text, lead=True) for text in (found(result),) if text]
    return Run(
        run_id,
        result.title,
        generic.facts(result),
        tuple(opening),
        tuple(part for part in sections if part.blocks),
    )


def found(result: Result) -> str:
    """The run in a sentence: bits per byte beside the baseline."""
    value, baseline = (
        as_number(result.values.get(name)) for name in ("bits_per_byte", "unigram_bits_per_byte")
    )
    if value is None:
        return ""
    against = "" if baseline is None else f", where token frequencies alone take {number(baseline)}"
    steps = formatting.plural(int(result.values.get("steps") or 0), "step")
    return f"After {steps} a byte of held-out text takes {number(value)} bits{against}."


def _note(evaluations: Sequence[Record]) -> Text | None:
    if not evaluations:
        return None
    return Text(
        "Nats of the held-out text's tokens, divided by ln 2 and by the bytes of the text as it "
        "was read. End tokens and padding are left out."
    )


def _main_numbers(result: Result) -> Grid | None:
    rows = tuple(
        (Cell(label), Cell(number(result.values[name], unit), numeric=True))
        for label, name, unit in _MAIN
        if as_number(result.values.get(name)) is not None
    )
    return Grid("", (Cell("What"), Cell("Value", numeric=True)), rows) if rows else None


def loss_figure(name: str, curve: Sequence[Record], evaluations: Sequence[Record]) -> Figure | None:
    """The training loss, faint, its running mean, and the validation loss, against the step."""
    steps, losses = points(curve, "step", "loss")
    if not steps:
        return None
    held = points(evaluations, "step", "loss")

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        axes.plot(steps, losses, color=BLUE, lw=0.8, alpha=0.45, label="Training, each line")
        axes.plot(*_means(steps, losses), color=BLUE, lw=2, label="Training, mean of stretches")
        if held[0]:
            axes.plot(*held, "o-", color=VERMILLION, mec=PAPER, ms=6, lw=1.4, label="Validation")
        _axes(axes, "Loss (nats a token)")
        axes.legend(loc="upper right")

    last = f"{number(losses[-1])} nats a token"
    message = f"The training loss ends at {last}"
    if held[0]:
        message += f", the validation loss at {number(held[1][-1])}"
    return draw(name, message, "", paint, height_inches=3.2)


def bits_figure(name: str, evaluations: Sequence[Record], baseline: float | None) -> Figure | None:
    """Bits per byte of the held-out text against the step, with the unigram baseline."""
    steps, bits = points(evaluations, "step", "bits_per_byte")
    if not steps:
        return None

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        marks: dict[str, Any] = {"mec": PAPER, "ms": 6, "clip_on": False}
        axes.plot(steps, bits, "o-", color=BLUE, lw=1.6, label="Model", **marks)
        if baseline is not None:
            axes.axhline(baseline, color=INK, lw=1.2, ls=(0, (5, 1.5)), label="Unigram baseline")
        _axes(axes, "Bits per byte")
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower left")

    message = f"Held-out text takes {number(min(bits))} bits per byte at best"
    if baseline is not None:
        message += f", token frequencies alone {number(baseline)}"
    return draw(name, message, "", paint, height_inches=3.0)


def _axes(axes: Axes, label: str) -> None:
    axes.set_xlabel("Training step")
    axes.locator_params("x", integer=True)
    axes.set_ylabel(label)
    axes.set_xlim(left=0)


def _means(steps: Sequence[float], losses: Sequence[float]) -> tuple[list[Any], list[Any]]:
    """The mean step and loss of each of at most _SMOOTHED stretches of equal length."""
    size = max(1, -(-len(steps) // _SMOOTHED))
    stretches = [slice(start, start + size) for start in range(0, len(steps), size)]
    return (
        [sum(steps[part]) / len(steps[part]) for part in stretches],
        [sum(losses[part]) / len(losses[part]) for part in stretches],
    )
