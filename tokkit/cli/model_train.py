"""`tokkit model train`: a model of a family from text and a tokenizer."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tokkit.cli.common import (
    Choice,
    escape,
    json_option,
    print_json,
    say,
    seed_option,
    verbosity_options,
)
from tokkit.cli.training_display import draw_curve, shown

if TYPE_CHECKING:
    from tokkit.results import Result
    from tokkit.training.text_data import TextConfig

PRESETS = ("gpt2", "llama", "mistral", "gemma", "qwen", "mixtral")
TINY_WORLD = "tiny-world"
_PATH = click.Path(path_type=Path)


def _option(name: str, kind: Any, default: Any, text: str, *, shown: bool = True) -> Any:
    return click.option(name, type=kind, default=default, show_default=shown, help=text)


_COUNT, _WHOLE = click.IntRange(0), click.IntRange(1)
_OPTIONS = (
    click.option("--tokenizer", type=_PATH, help="Tokenizer file or folder."),
    click.option("--corpus", multiple=True, type=click.Path(), metavar="FILE...",
                 help="Plain text, JSONL or Parquet, packed or not; folders; globs."),
    _option("--preset", Choice((*PRESETS, TINY_WORLD)), "llama",
            "Family whose settings the model has; tiny-world brings text, tokenizer and sizes."),
    click.option("--out", type=_PATH, required=True, help="Folder of the run; made if missing."),
    _option("--width", _WHOLE, 128, "Width of the residual stream."),
    _option("--layers", _WHOLE, 4, "Layers."),
    _option("--heads", _WHOLE, 4, "Query heads."),
    _option("--key-value-heads", _COUNT, 0, "Key-value heads. [default: as many as heads]",
            shown=False),
    _option("--hidden-width", _COUNT, 0, "Of the feed-forward layer. [default: the family's]",
            shown=False),
    _option("--window", _COUNT, 0, "Of layers that slide. [default: half the context]",
            shown=False),
    _option("--experts", _COUNT, 0, "Of a mixture. [default: 8]", shown=False),
    _option("--context", _WHOLE, 256, "Tokens in a sequence."),
    _option("--steps", _WHOLE, 1000, "Changes of the parameters."),
    _option("--sequences", _WHOLE, 16, "Sequences a step, over all processes."),
    _option("--accumulate", _WHOLE, 1, "Parts of a step, one after another: less memory."),
    _option("--learning-rate", float, None,
            "The highest. [default: 0.003, above width 128 less, as 0.384 / width]", shown=False),
    _option("--warmup", _COUNT, 100, "Steps of linear warm-up; at most a tenth of all."),
    _option("--schedule", Choice(["cosine", "stable-decay"]), "cosine",
            "How the learning rate falls after the warm-up."),
    _option("--decay-share", float, 0.2, "Of the steps, at the end, with stable-decay."),
    _option("--final-fraction", float, 0.1, "Of the highest learning rate, at the last step."),
    _option("--weight-decay", float, 0.1, "Of the matrices (AdamW)."),
    _option("--clip-norm", float, 1.0, "The longest gradient."),
    _option("--evaluate-every", _COUNT, 0, "Steps between evaluations. [default: a tenth]",
            shown=False),
    _option("--log-every", _WHOLE, 10, "Steps between lines of metrics."),
    _option("--save-seconds", float, 60.0, "Seconds between states to go on from."),
    _option("--keep", _COUNT, 2, "Checkpoints of the last evaluations to keep."),
    _option("--validation-share", float, 0.05, "Of the documents, held out; 0: none."),
    _option("--patience", _COUNT, 100, "Steps that the loss may stay far above its level; 0: all."),
    click.option("--end", metavar="TOKEN", help="Token that ends a document. [default: found]"),
    _option("--text-field", str, "text", "Field of JSONL or Parquet with the text."),
    _option("--errors", Choice(["strict", "replace", "skip"]), "strict",
            "What to do with bytes that are not UTF-8."),
    _option("--device", Choice(["auto", "cpu", "cuda", "mps"]), "auto", "Where to compute."),
    _option("--dtype", Choice(["float32", "bf16"]), "float32", "Of the products; bf16 on a GPU."),
    click.option("--compile", "compiled", is_flag=True, help="Compile the model, on a GPU."),
    _option("--jobs", _WHOLE, None, "Threads to encode in. [default: all cores]", shown=False),
)  # fmt: skip


def _training_options(function: Any) -> Any:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command()
@click.argument("more", metavar="", nargs=-1, type=click.Path())
@_training_options
@seed_option
@json_option
@verbosity_options
def train(
    more: tuple[str, ...],
    tokenizer: Path | None,
    corpus: tuple[str, ...],
    out: Path,
    device: str,
    compiled: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **settings: Any,
) -> None:
    """Train a model on text: a family's settings at the size given.

    Documents are packed into sequences of --context tokens; attention stays inside a document. A
    twentieth of the documents is held out, and bits per byte are counted on their raw bytes. The
    run's folder gets model/ (the last step), best/ and checkpoints/, which other commands open,
    loss.svg, and result.json for a page. A run that was stopped goes on where it was when the
    same command is given again, and ends with the same bits on a CPU.

    --preset tiny-world needs no more than --out: it makes the small model that the analyses
    share, which learns the generated world and the built-in English, in some 10 minutes on 2
    cores.

    Several processes train together under torchrun:
    torchrun --nproc-per-node 2 -m tokkit model train ...
    """
    first = os.environ.get("RANK", "0") == "0"
    quiet = quiet or not first
    from tokkit.training.text import train_on_text

    _check_device(device, settings["dtype"], compiled=compiled)
    paths, about = (*corpus, *more), {"preset": settings["preset"]}
    if settings["preset"] == TINY_WORLD:
        opened, paths, about = _tiny_world(out, tokenizer, paths, settings, quiet=quiet)
    else:
        opened = _opened(tokenizer, paths)
    config = _text_config(opened.vocab_size, settings)
    with shown(out, config.training.steps, quiet=quiet) as display:
        result = train_on_text(
            opened,
            paths,
            config,
            out,
            end=settings["end"],
            text_field=settings["text_field"],
            errors=settings["errors"],
            jobs=settings["jobs"],
            device=device,
            compiled=compiled,
            told=display.told,
            on_step=display.step,
            on_line=display.line,
            about=about,
        )
    if result is not None:
        draw_curve(out)
        _tell(result, out, as_json=as_json, quiet=quiet)


def _opened(tokenizer: Path | None, corpus: tuple[str, ...]) -> Any:
    from tokkit.tokenizer.formats import load_tokenizer

    for name, value in (("--tokenizer", tokenizer), ("--corpus", corpus)):
        if not value:
            raise click.UsageError(
                f"Missing option '{name}': give it, or --preset {TINY_WORLD}, which brings its own."
            )
    return load_tokenizer(tokenizer)  # type: ignore[arg-type]


def _tiny_world(
    out: Path,
    tokenizer: Path | None,
    corpus: tuple[str, ...],
    settings: dict[str, Any],
    *,
    quiet: bool,
) -> tuple[Any, tuple[str, ...], dict[str, Any]]:
    """Its tokenizer, text and record; sizes and steps that were not asked for become its own."""
    from tokkit.training import tiny_world

    if tokenizer is not None or corpus:
        raise click.UsageError(
            f"--preset {TINY_WORLD} brings its tokenizer and text: leave --tokenizer and --corpus "
            "out, or name a family"
        )
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise click.UsageError(f"--preset {TINY_WORLD} trains in one process: leave torchrun out")
    context = click.get_current_context()
    own = {"preset": tiny_world.FAMILY} | {
        name: value
        for name, value in (tiny_world.MODEL | tiny_world.TRAINING).items()
        if context.get_parameter_source(name) is ParameterSource.DEFAULT
    }
    settings.update(own)
    made = tiny_world.prepare(out, lambda message: say(message, quiet=quiet))
    return made.tokenizer, tuple(map(str, made.corpus)), made.about


def _check_device(device: str, dtype: str, *, compiled: bool) -> None:
    """Refuse what helps on a GPU only: a CPU's bf16 products are slower than its float32 ones."""
    from tokkit.errors import ConfigError
    from tokkit.training.processes import find_device

    found = find_device(device).type
    if dtype == "bf16" and found == "cpu":
        raise ConfigError("--dtype bf16 is for a GPU, and this is a cpu: leave it out")
    if compiled and found != "cuda":
        raise ConfigError(
            f"--compile is for a GPU of NVIDIA or AMD, and this is a {found}: leave it out"
        )


def _text_config(vocab_size: int, given: dict[str, Any]) -> TextConfig:
    from tokkit.training.config import TrainingConfig
    from tokkit.training.presets import training_preset
    from tokkit.training.text_data import TextConfig

    sizes = ("width", "layers", "heads", "key_value_heads", "hidden_width", "context", "window",
             "experts")  # fmt: skip
    steps, rate = given["steps"], given["learning_rate"]
    if rate is None:  # about what GPT-2 takes at 768 (Yang et al. 2022: as 1 / width)
        rate = 0.384 / max(128, given["width"])
    return TextConfig(
        model=training_preset(
            given["preset"], vocab_size=vocab_size, **{name: given[name] for name in sizes}
        ),
        training=TrainingConfig(
            steps=steps,
            learning_rate=rate,
            warmup_steps=min(given["warmup"], max(1, steps // 10)),
            schedule=given["schedule"],
            decay_share=given["decay_share"],
            final_fraction=given["final_fraction"],
            weight_decay=given["weight_decay"],
            beta2=0.95,  # a shorter memory than the loop's, as in GPT-3 and Llama
            clip_norm=given["clip_norm"],
            precision=given["dtype"],
            patience_steps=given["patience"],
            log_every=given["log_every"],
            evaluate_every=given["evaluate_every"] or max(1, steps // 10),
            save_seconds=given["save_seconds"],
        ),
        sequences=given["sequences"],
        accumulate=given["accumulate"],
        validation_share=given["validation_share"],
        keep=given["keep"],
        seed=given["seed"],
    )


def _tell(result: Result, out: Path, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        print_json(asdict(result))
        return
    values = result.values
    bits = values["bits_per_byte"]
    held_out = (
        f"{bits:.4f} bits per byte of held-out text (unigram baseline "
        f"{values['unigram_bits_per_byte']:.4f})"
        if bits is not None
        else "nothing held out"
    )
    click.echo(
        f"{escape(str(out / 'model'))}: {values['parameters']:,} parameters after "
        f"{values['steps']:,} steps, training loss {values['training_loss']:.4f} nats a token, "
        f"{held_out}"
    )
    say(f"for a page of it: tokkit report {escape(str(out))}", quiet=quiet)
