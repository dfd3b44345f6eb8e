"""`tokkit model info`: what models hold, keep and compute, from their settings alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokkit.cli.common import Choice, escape, json_option, print_json, say, verbosity_options

if TYPE_CHECKING:
    from tokkit.results import Result

_DTYPES = ("float32", "bfloat16", "float16", "int8")


@click.command()
@click.argument("models", metavar="[MODEL|PRESET]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All presets side by side.")
@click.option(
    "--length",
    type=click.IntRange(1),
    default=None,
    help="Tokens of text for cache and operations. [default: 1024, or the context if less]",
)
@click.option(
    "--dtype",
    type=Choice(list(_DTYPES)),
    default="bfloat16",
    show_default=True,
    help="What the cache is kept in.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder for result.json, figures and a page, with claims judged.",
)
@json_option
@verbosity_options
def info(
    models: tuple[str, ...],
    every: bool,
    length: int | None,
    dtype: str,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Show what models hold, keep and compute, from their settings alone: no weights are read.

    A name of a preset is that preset (write ./NAME for a folder of that name); with several
    models, or --all, they stand side by side. One model is shown with the settings that differ
    from the plain skeleton, with -v all of them.
    """
    from tokkit.model.described import read_described
    from tokkit.model.info import describe, of_preset
    from tokkit.model.presets import PRESETS

    if not models and not every:
        names = ", ".join(PRESETS)
        raise click.UsageError(f"give a model, a preset or --all; the presets are {names}")
    described = [of_preset(preset) for preset in PRESETS.values()] if every else []
    known = {model.name for model in described}
    described += [read_described(_place(model)) for model in models if model not in known]
    if out is not None:
        from tokkit.files import ensure_folder

        ensure_folder(out)
    result = describe(
        described, length=length or 0, dtype=dtype, whole=verbose, claims=bool(out) or as_json
    )
    if out is not None:
        _save(result, out, quiet=quiet, verbose=verbose)
    if as_json:
        print_json(asdict(result))
    else:
        _print(result, len(described))


def _place(model: str) -> str:
    """The path of a model that is asked for by the name of its package."""
    if model != "smollm2" or Path(model).exists():
        return model
    from tokkit.probes.models import find_smollm2

    return str(find_smollm2())


def _save(result: Result, out: Path, *, quiet: bool, verbose: bool) -> None:
    from tokkit.report.outputs import save_outputs

    paths = save_outputs(result, out, "info")
    if verbose:
        for path in paths:
            say(f"wrote {escape(str(path))}", quiet=quiet)
    say(f"page: {escape(str(paths[-1]))}", quiet=quiet)


def _print(result: Result, count: int) -> None:
    """One model in full; several as a table, and their settings where these fit beside each other.

    Parts of the answer are apart by an empty line.
    """
    from tokkit.cli.tokenizer_audit import print_table
    from tokkit.report import models

    parts = [models.main_numbers(result)]
    if count == 1:
        parts = [models.setting_lines(result), models.part_lines(result), models.down(result)]
    elif "settings" in result.tables:
        parts.append(models.setting_lines(result))
    for place, (headings, lines) in enumerate(parts):
        if place:
            click.echo()
        print_table(headings, lines)
