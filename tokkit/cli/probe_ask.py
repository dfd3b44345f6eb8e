"""`tokkit probe ask`: the way of a question through a whole model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tokkit.cli.common import escape, json_option, print_json, say, verbosity_options

if TYPE_CHECKING:
    from rich.console import Console

    from tokkit.probes.ask import Journey, StepView, TokenView

_PIPE_WIDTH = 110
_SHOWN_CANDIDATES = 3


@click.command()
@click.argument("question")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    required=True,
    help="A checkpoint, or a run folder for all of its arms side by side.",
)
@click.option("--seed", type=click.IntRange(0), help="Which seed of a run. [default: the lowest]")
@click.option(
    "--neighbours", type=click.IntRange(0, 50), default=3, show_default=True, help="Nearest rows."
)
@json_option
@verbosity_options
def ask(
    question: str,
    model: Path,
    seed: int | None,
    neighbours: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Follow QUESTION through the whole model, from its tokens to the answer.

    For each token: its ids, the letters that they hide, the norm of its embedding row and the
    rows nearest to it. For each predicted token: what was likeliest. Then the answer, the truth,
    and the same question spelled out.
    """
    from tokkit.probes.ask import follow
    from tokkit.probes.targets import find_checkpoints, load_target
    from tokkit.probes.tasks import parse_question

    paths = find_checkpoints(model)
    if seed is not None or len(paths) > 1:
        wanted = seed if seed is not None else min(_seed_of(path) for path in paths)
        paths = find_checkpoints(model, seed=wanted)
    journeys = [follow(load_target(path), question, neighbours=neighbours) for path in paths]
    if parse_question(question) is None:
        say(
            "this is no counting question that tokkit knows, so its truth is not known; it knows "
            '"How many r\'s are in strawberry?"',
            quiet=quiet,
        )
    if as_json:
        print_json({"question": question, "models": [_record(*pair) for pair in journeys]})
        return
    console = _console()
    if len(journeys) > 1:
        _print_side_by_side(console, journeys)
        if verbose:
            for journey, _ in journeys:
                _print_journey(console, journey)
        else:
            say(
                "for the whole way through one model: --model RUN/models/ARM-SEED, or -v",
                quiet=quiet,
            )
        return
    for found in journeys[0]:
        if found is not None:
            _print_journey(console, found)


def _seed_of(path: Path) -> int:
    last = path.name.rpartition("-")[2]
    return int(last) if last.isdecimal() else 0


def _record(journey: Journey, spelled: Journey | None) -> dict[str, Any]:
    return {"asked": asdict(journey), "spelled": None if spelled is None else asdict(spelled)}


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def _print_side_by_side(console: Console, journeys: list[tuple[Journey, Journey | None]]) -> None:
    from rich.table import Table

    first = journeys[0][0]
    console.print(_plain(first.question), style="bold")
    if first.truth is not None:
        console.print(f"truth: {first.truth}")
    table = Table("model", "the tokens it reads", "ids", "answer", "p", "spelled out", "p")
    for journey, spelled in journeys:
        table.add_row(
            _plain(journey.model),
            _tokens_line(journey.tokens),
            str(sum(len(view.ids) for view in journey.tokens)),
            _verdict(journey),
            f"{journey.probability:.3f}",
            "" if spelled is None else _verdict(spelled),
            "" if spelled is None else f"{spelled.probability:.3f}",
        )
    console.print(table)


def _print_journey(console: Console, journey: Journey) -> None:
    from rich.table import Table

    console.print(_plain(f"{journey.model}: {journey.question}"), style="bold")
    tokens = Table("token", "ids", "letters it hides", "row norm", "nearest rows (cosine)")
    for view in journey.tokens:
        tokens.add_row(
            _plain(_visible(view.text)),
            " ".join(map(str, view.ids)),
            _hidden(view),
            " ".join(f"{norm:.2f}" for norm in view.norms),
            _plain("; ".join(
                ", ".join(f"{_visible(n.text)} {n.cosine:.2f}" for n in near)
                for near in view.nearest
            )),
        )  # fmt: skip
    console.print(tokens)
    steps = Table("step", "predicted", "p", "likeliest tokens")
    for number, step in enumerate(journey.steps, start=1):
        steps.add_row(
            str(number), _plain(_visible(step.text)), f"{step.probability:.3f}", _likeliest(step)
        )
    console.print(steps)
    truth = "unknown" if journey.truth is None else str(journey.truth)
    console.print("answer:", _verdict(journey), f" truth: {truth}\n")


def _likeliest(step: StepView) -> Any:
    shown = step.candidates[:_SHOWN_CANDIDATES]
    return _plain(", ".join(f"{_visible(text)} {p:.3f}" for text, p in shown))


def _hidden(view: TokenView) -> Any:
    from rich.text import Text

    if view.told and view.kind == "token":
        return _plain(f"{view.hidden} told {view.told!r}".lstrip())
    return Text(view.hidden, "bold red") if view.hidden else Text("")


def _tokens_line(tokens: tuple[TokenView, ...]) -> Any:
    from rich.text import Text

    parts: list[Any] = []
    for view in tokens:
        parts += [Text(_visible(view.text), "black on white" if view.hidden else ""), " | "]
    return Text.assemble(*parts[:-1])


def _verdict(journey: Journey) -> Any:
    from rich.text import Text

    said = _visible(journey.answer) or "(nothing)"
    if journey.correct is None:
        return Text(said)
    return Text(
        f"{said} {'right' if journey.correct else 'wrong'}", "green" if journey.correct else "red"
    )


def _visible(text: str) -> str:
    return escape(text).replace(" ", "\N{OPEN BOX}")


def _plain(text: str) -> Any:
    """Foreign text for rich: no markup is read in it, nothing reaches the terminal raw."""
    from rich.text import Text

    return Text(escape(text))
