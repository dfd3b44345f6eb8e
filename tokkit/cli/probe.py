"""`tokkit probe`: the group of its commands, each imported when it is called."""

from __future__ import annotations

import click

from tokkit.cli.lazy import LazyGroup

COMMANDS: dict[str, tuple[str, str, str]] = {
    "ask": ("probe_ask", "ask", "Follow a question through the whole model, to its answer."),
    "ids": ("probe_ids", "ids", "Show that a model reads ids, not letters."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def probe() -> None:
    """Ask trained models questions and watch them answer."""
