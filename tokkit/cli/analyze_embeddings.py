"""`tokkit analyze embeddings`: what is in the rows of an embedding."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokkit.cli.common import escape, json_option, print_json, say, seed_option, verbosity_options
from tokkit.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from tokkit.analysis.embeddings.subject import Subject
    from tokkit.results import Result

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("source", metavar="MODEL|FILE|RUN")
@click.option("--tensor", help="Matrix of the file to look at. [default: found by its name]")
@click.option("--tokenizer", type=_PATH, help="Names the rows of a bare FILE.")
@click.option(
    "--counts",
    type=_PATH,
    help="How often each token was trained: a table of `tokenizer count`, ids of `tokenizer "
    "encode`, or the folder of a training run. [default: of the run that trained MODEL]",
)
@click.option(
    "--neighbours",
    type=click.IntRange(1, 100),
    default=10,
    show_default=True,
    help="Nearest rows of each row.",
)
@click.option("--named", multiple=True, metavar="TOKEN", help="Show its nearest rows; repeatable.")
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Prompt the model for the tokens that look untrained.",
)
@click.option("--out", type=_PATH, default=None, help="Folder for result.json, figures and a page.")
@seed_option
@json_option
@verbosity_options
def embeddings(
    source: str,
    tensor: str | None,
    tokenizer: Path | None,
    counts: Path | None,
    neighbours: int,
    named: tuple[str, ...],
    verify: bool,
    out: Path | None,
    seed: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Measure what is in the rows of an embedding, and how much of it training brought.

    Geometry (norms, isotropy, spectrum, neighbours, hubs), meaning (categories, analogies, maps),
    untrained tokens, and what a row knows of its token's letters; each beside the rows before
    training, or random ones, and shuffled labels.

    MODEL is as in `tokkit analyze --help`. FILE is a .safetensors file, or with --tensor a folder
    of them: nothing but the rows is read, a block at a time. RUN is the folder of a strawberry
    run: what each arm's rows know of letters, and whether that is what counting needs.
    """
    if out is not None:
        from tokkit.files import ensure_folder

        ensure_folder(out)
    if _is_strawberry(Path(source)):
        _refuse_beside_run(tensor, tokenizer, counts)
        result = _arms(Path(source), seed)
    else:
        from tokkit.analysis.embeddings.run import analyze_embeddings

        subject, inputs = _subject(source, tensor, tokenizer, counts)
        result = analyze_embeddings(
            subject,
            seed=seed,
            neighbours=neighbours,
            named=named,
            verify=verify,
            inputs=inputs,
            told=lambda part: say(f"measuring: {part}", quiet=quiet),
        )
    if out is not None:
        from tokkit.report.outputs import save_outputs

        paths = save_outputs(result, out, "embeddings")
        if verbose:
            for path in paths:
                say(f"wrote {escape(str(path))}", quiet=quiet)
        say(f"page: {escape(str(paths[-1]))}", quiet=quiet)
    if as_json:
        print_json(asdict(result))
    else:
        _print(result)


def _subject(
    source: str, tensor: str | None, tokenizer: Path | None, counts: Path | None
) -> tuple[Subject, dict[str, str]]:
    """What is looked at, and the digests of what was read for it."""
    from dataclasses import replace

    from tokkit.analysis.embeddings.token_counts import token_counts

    path = Path(source)
    if tensor is not None or path.suffix == ".safetensors":
        subject, inputs = _of_file(path, tensor, tokenizer)
    else:
        if tokenizer is not None:
            raise ConfigError(
                "--tokenizer is for a bare file, and a model has its own: leave it out"
            )
        subject, inputs = _of_model(source)
        counts = counts or _run_of(path)
    if counts is None:
        return subject, inputs
    if subject.tokenizer is None:
        raise ConfigError("counts are of tokens: give --tokenizer beside --counts")
    counted = token_counts(counts, subject.tokenizer, len(subject.rows))
    return replace(subject, counts=counted), inputs


def _of_file(
    path: Path, tensor: str | None, tokenizer: Path | None
) -> tuple[Subject, dict[str, str]]:
    from tokkit.analysis.embeddings.opening import file_subject
    from tokkit.tokenizer.formats import load_tokenizer

    opened = None if tokenizer is None else load_tokenizer(tokenizer)
    inputs = {} if opened is None else {"tokenizer": opened.digest}
    return file_subject(path, tensor=tensor, tokenizer=opened), inputs


def _of_model(source: str) -> tuple[Subject, dict[str, str]]:
    from tokkit.analysis.embeddings.opening import model_subject
    from tokkit.probes.models import NAMES, open_model

    if source not in NAMES and not Path(source).exists():
        raise ArtifactError(
            f"{source} does not exist: give a model, a strawberry run, or a .safetensors file"
        )
    opened = open_model(source)
    subject = model_subject(
        opened.model,
        opened.tokenizer,
        name=_name(source, opened.name),
        about=opened.about,
        start_ids=opened.start_ids,
    )
    return subject, {"tokenizer": opened.tokenizer.digest}


def _name(source: str, opened: str) -> str:
    """What the model is called: the folder of its run, where its own says nothing."""
    path = Path(source).absolute()
    if opened != "model":
        return opened
    return path.parent.name if path.name == "model" else path.name


def _run_of(path: Path) -> Path | None:
    """The run that trained the model at `path`, where its encoded text is still there."""
    return next(
        (place for place in (path, path.parent) if (place / "corpus" / "ids.npy").exists()), None
    )


def _is_strawberry(path: Path) -> bool:
    return all((path / name).exists() for name in ("questions.json", "answers", "models"))


def _refuse_beside_run(*given: object) -> None:
    if any(value is not None for value in given):
        raise ConfigError(
            "--tensor, --tokenizer and --counts are for a model or a file: a strawberry run has "
            "its own; leave them out"
        )


def _arms(run: Path, seed: int) -> Result:
    from tokkit.analysis.embeddings.arms import analyze_arms

    return analyze_arms(run, seed=seed)


def _print(result: Result) -> None:
    """The main numbers, and the verdicts."""
    from tokkit.cli.tokenizer_audit import print_table
    from tokkit.report import embeddings as page

    headings, lines = page.main_numbers(result)
    if lines:
        print_table(headings, lines)
    for claim in result.claims:
        click.echo(f"{claim.id}: {claim.verdict}")
