"""`tokkit edit`: change one fact in a model, or many one after the other, and take one back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tokkit.cli.common import escape, json_option, print_json, say, seed_option, verbosity_options
from tokkit.cli.texts import documents_of, texts_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokkit.cli.progress import Update
    from tokkit.probes.models import OpenModel
    from tokkit.results import Result

_PATH = click.Path(path_type=Path)
_ONE_FACT = ("subject", "prompt", "target")


@click.command()
@click.argument("source", metavar="MODEL|RUN")
@click.option("--subject", help='Whom or what the fact is about, as "Eiffel Tower".')
@click.option("--prompt", help='The fact up to its answer, {} for the subject: "{} is in".')
@click.option("--target", help="What the model shall answer.")
@click.option("--answer", help="What it must answer now, or nothing is changed.")
@click.option("--layer", type=int, help="Layer to edit. [default: chosen by a sweep over six]")
@click.option(
    "--sweep", "every", type=click.IntRange(1), metavar="K", help="Sweep over every K-th layer."
)
@click.option("--paraphrase", "paraphrases", multiple=True, help="The fact asked otherwise.")
@click.option("--neighbour", "neighbours", multiple=True, help="What must stay as it is.")
@texts_option
@click.option(
    "--tokens",
    type=click.IntRange(256, 1 << 24),
    default=24_576,
    show_default=True,
    help="Tokens for the second moments.",
)
@click.option(
    "--moments", type=_PATH, help="Folder of second moments, kept. [default: moments in --out]"
)
@click.option(
    "--steps",
    type=click.IntRange(1, 1000),
    default=25,
    show_default=True,
    help="Updates of the search at most.",
)
@click.option("--trace/--no-trace", "traced", default=True, help="Causal tracing. [default: yes]")
@click.option(
    "--draws",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Draws of noise in the tracing.",
)
@click.option(
    "--window",
    type=click.IntRange(0),
    default=0,
    help="Layers restored at once of attention and feed-forward. [default: a third]",
)
@click.option("--study", is_flag=True, help="Edit many known facts, and measure what it does.")
@click.option("--facts", type=click.IntRange(1), help="Facts in the study.")
@click.option("--layers", metavar="N,N", help="Layers in the study. [default: all, or six]")
@click.option("--undo", is_flag=True, help="Take the edit of RUN back, exactly.")
@click.option("--out", type=_PATH, required=True, help="Folder for the new model and the page.")
@seed_option
@json_option
@verbosity_options
def edit(source: str, as_json: bool, quiet: bool, verbose: bool, **given: Any) -> None:
    """Change one fact in a model, and measure what else changed.

    One matrix gets one rank-one change (r-ROME). The new model is an ordinary checkpoint, in
    model of --out; MODEL is not touched, and --undo gives its weights back bit for bit. --text is
    what the change shall spare; without it, for a model of the generated world, that world's text.
    """
    _check_combination(given)
    given["quiet"] = quiet
    if given["undo"]:
        _undo(source, given["out"], as_json=as_json)
        return
    from tokkit.cli.progress import progress

    with progress(quiet=quiet) as update:
        run = _study if given["study"] else _one_fact
        result = run(source, given, update)
    from tokkit.report.outputs import save_outputs

    paths = save_outputs(result, given["out"], "edit")
    if verbose:
        for path in paths:
            say(f"wrote {escape(str(path))}", quiet=quiet)
    say(f"page: {escape(str(paths[-1]))}", quiet=quiet)
    if as_json:
        print_json(asdict(result))
    else:
        _print(result)


def _check_combination(given: Mapping[str, Any]) -> None:
    """One of the three: a whole fact, --study, --undo."""
    fact = [name for name in _ONE_FACT if given[name] is not None]
    if sum((bool(fact), given["study"], given["undo"])) != 1:
        raise click.UsageError(
            "give --subject, --prompt and --target for one fact, or --study, or --undo"
        )
    if fact and len(fact) < len(_ONE_FACT):
        missing = next(name for name in _ONE_FACT if name not in fact)
        raise click.UsageError(f"one fact takes --subject, --prompt and --target: give --{missing}")
    if given["layer"] is not None and given["every"] is not None:
        raise click.UsageError("--layer edits one layer and --sweep tries many: give one of them")
    asked = [name for name in ("answer", "paraphrases", "neighbours") if given[name]]
    if asked and not fact:
        raise click.UsageError(f"--{asked[0].removesuffix('s')} is about one fact: give that too")
    for name in ("facts", "layers"):
        if given[name] is not None and not given["study"]:
            raise click.UsageError(f"--{name} is of --study: give both")


def _one_fact(source: str, given: Mapping[str, Any], update: Update) -> Result:
    """Edit, then write the new model."""
    from tokkit.analysis.editing.checkpointing import EDITS, check_place, save_edited
    from tokkit.analysis.editing.request import EditRequest
    from tokkit.analysis.editing.run import edit_fact
    from tokkit.files import ensure_folder
    from tokkit.probes.conversion import import_model

    request = EditRequest(given["subject"], given["prompt"], given["target"])
    if given["layer"] is None and not (given["paraphrases"] and given["neighbours"]):
        say(
            "the sweep over layers sees only what it is given: add --paraphrase and --neighbour",
            quiet=given["quiet"],
        )
    place = check_place(given["out"], source)
    update("opening", "models", 0, 1)
    opened, name = _opened(source)
    ensure_folder(given["out"])
    texts, unrelated = _texts(opened, given["texts"])
    found = edit_fact(
        opened.model, opened.tokenizer, request, texts, _plan(given), unrelated=unrelated,
        start_ids=opened.start_ids, end_ids=opened.end_ids, name=name,
        inputs={"tokenizer": opened.tokenizer.digest}, told=update,
    )  # fmt: skip
    update("writing the model", "models", 0, 1)

    def write(folder: Path, more: Mapping[str, Any]) -> None:
        import_model(replace(opened, about={**opened.about, **more}), source, folder)

    digest = save_edited(
        place, opened.model, found.edit, write, earlier=opened.about.get(EDITS, ())
    )
    values = {**found.result.values, "weights_sha256": digest}
    return replace(found.result, values=values)


def _plan(given: Mapping[str, Any]) -> Any:
    from tokkit.analysis.editing.run import Plan
    from tokkit.analysis.editing.tracing import TraceSettings
    from tokkit.analysis.editing.value import EditSettings

    return Plan(
        layer=given["layer"],
        every=given["every"],
        answer=given["answer"],
        paraphrases=given["paraphrases"],
        neighbours=given["neighbours"],
        tokens=given["tokens"],
        moments_folder=_moments_folder(given),
        trace=TraceSettings(draws=given["draws"], window=given["window"])
        if given["traced"]
        else None,
        value=EditSettings(steps=given["steps"]),
        seed=given["seed"],
    )


def _moments_folder(given: Mapping[str, Any]) -> Path:
    folder: Path = given["moments"] or given["out"] / "moments"
    return folder


def _opened(source: str) -> tuple[OpenModel, str]:
    from tokkit.probes.models import open_model

    opened = open_model(source)
    return opened, Path(source).name if opened.name == "model" else opened.name


def _texts(opened: OpenModel, paths: tuple[str, ...]) -> tuple[Iterable[str], Iterable[str] | None]:
    """What the second moments are of, and unrelated text where that is another.

    A model of the generated world reads that world, and the built-in English is unrelated.
    """
    from tokkit.analysis.world import world_of

    world = None if paths else world_of(opened.about)
    if world is None:
        return documents_of(paths), None
    from tokkit.corpus.world import world_documents

    return (document.text for document in world_documents(world)), documents_of(())


def _undo(source: str, out: Path, *, as_json: bool) -> None:
    """Write the model of before the edit, whole or not at all."""
    from tokkit.analysis.editing.checkpointing import folder_of_edit, take_back, without_last_edit
    from tokkit.errors import OutputError
    from tokkit.probes.conversion import import_model
    from tokkit.probes.models import open_model

    folder = folder_of_edit(source)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"cannot write {out}: it is not empty; choose another place with --out")
    opened = open_model(folder)
    kept = take_back(opened.model, folder)
    opened = replace(opened, about=without_last_edit(opened.about))
    converted = import_model(opened, str(folder), out)
    if as_json:
        record = {"layer": kept.layer, "weights_sha256": kept.weights_before}
        print_json({**converted.record(), **record})
        return
    click.echo(escape(str(out)))


def _study(source: str, given: Mapping[str, Any], update: Update) -> Result:
    from tokkit.analysis.editing.study import run_study
    from tokkit.analysis.editing.sweep import layers_to_try
    from tokkit.analysis.world import world_of
    from tokkit.files import ensure_folder

    ensure_folder(given["out"])
    update("opening", "models", 0, 1)
    opened, name = _opened(source)
    layers: Sequence[int] | None = _layer_list(given["layers"])
    if given["layer"] is not None or given["every"] is not None:
        layers = layers_to_try(opened.model, layer=given["layer"], every=given["every"])
    return run_study(
        opened.model,
        opened.tokenizer,
        world=world_of(opened.about),
        start_ids=opened.start_ids,
        facts=given["facts"],
        layers=layers,
        seed=given["seed"],
        told=update,
        moments_folder=_moments_folder(given),
        records_folder=given["out"] / "records",
        name=name,
    )


def _layer_list(text: str | None) -> list[int] | None:
    """Layers as "2,4,8"."""
    if text is None:
        return None
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise click.UsageError(f"--layers is a list as 2,4,8, got {text!r}") from None


def _print(result: Result) -> None:
    """The main numbers, and the verdicts."""
    from tokkit.cli.tokenizer_audit import print_table
    from tokkit.report.editing import KIND, main_numbers, prompt_lines

    if result.kind == KIND:
        for headings, lines in (prompt_lines(result), main_numbers(result)):
            print_table(headings, lines)
            click.echo()
    for claim in result.claims:
        click.echo(f"{claim.id}: {claim.verdict}")
