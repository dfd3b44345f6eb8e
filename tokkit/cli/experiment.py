"""`tokkit experiment`: the group of its commands, each imported when it is called."""

from __future__ import annotations

import click

from tokkit.cli.lazy import LazyGroup

COMMANDS: dict[str, tuple[str, str, str]] = {
    "strawberry": (
        "experiment_strawberry",
        "strawberry",
        "Is the failure to count letters caused by tokenization?",
    ),
    "positions": ("experiment_positions", "positions", "How does a transformer know order?"),
    "heads": ("experiment_heads", "heads", "What are attention heads, and how few will do?"),
    "ladder": ("experiment_ladder", "ladder", "What does each step of the modern stack bring?"),
    "list": ("experiment_list", "list_", "The experiments: what they claim, cost and need."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def experiment() -> None:
    """Train models side by side and test a claim."""
