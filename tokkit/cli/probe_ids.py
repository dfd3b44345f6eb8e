"""`tokkit probe ids`: whether a model reads ids or letters."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokkit.cli.common import escape, json_option, print_json, say, seed_option, verbosity_options
from tokkit.cli.texts import documents_of, texts_option

if TYPE_CHECKING:
    from tokkit.results import Result

_SHOWN_CHARACTERS = 48


@click.command("ids")
@click.argument("source", metavar="MODEL")
@texts_option
@click.option(
    "--count", type=click.IntRange(10, 10_000), default=100, show_default=True, help="Texts."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder for result.json and a page.",
)
@seed_option
@json_option
@verbosity_options
def ids(
    source: str,
    texts: tuple[str, ...],
    count: int,
    out: Path | None,
    seed: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Show that MODEL reads ids, not letters.

    Other letters are put behind the same ids, in tokenizer and text alike: the logits must stay to
    the bit. And the same text is cut into other tokens: the prediction must change. MODEL is as in
    `tokkit analyze --help`; its tokenizer must be byte-level BPE.
    """
    from tokkit.probes.models import open_model
    from tokkit.probes.respelling import respelling_result

    opened = open_model(source)
    name = Path(source).name if opened.name == "model" else opened.name
    result = respelling_result(
        opened.model, opened.tokenizer, documents_of(texts),
        count=count, start_ids=opened.start_ids, seed=seed, name=name,
    )  # fmt: skip
    if out is not None:
        from tokkit.report.outputs import save_outputs

        paths = save_outputs(result, out, "ids")
        say(f"page: {escape(str(paths[-1]))}", quiet=quiet)
    if as_json:
        print_json(asdict(result))
    else:
        _print(result, verbose=verbose)


def _print(result: Result, *, verbose: bool) -> None:
    rows = result.tables["texts"].records()
    for row in rows if verbose else rows[:3]:
        same = "same ids" if row["same_ids"] else "other ids"
        click.echo(f"{escape(row['text'][:_SHOWN_CHARACTERS])}")
        click.echo(
            f"{escape(row['respelled'][:_SHOWN_CHARACTERS])}  {same}, logits differ by "
            f"{row['difference']}; cut otherwise: prediction moves by {row['distance']:.3f}"
        )
    for claim in result.claims:
        click.echo(f"{claim.id}: {claim.verdict}")
