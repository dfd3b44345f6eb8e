"""How many threads an analysis of a model works on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import torch

from tokkit.model.transformer import Transformer

P = ParamSpec("P")
R = TypeVar("R")
SMALL_MODEL = 1 << 24  # parameters


def suited_threads(
    analyse: Callable[Concatenate[Transformer, P], R],
) -> Callable[Concatenate[Transformer, P], R]:
    """Let an analysis of a small model work on one thread, and of a larger one on as many as set.

    A small model's products are too small to share, and where cores are busy with other work the
    threads mostly wait for each other: an analysis of seconds then takes many minutes.
    """

    @functools.wraps(analyse)
    def on_suited_threads(model: Transformer, /, *args: P.args, **named: P.kwargs) -> R:
        before = torch.get_num_threads()
        if sum(parameter.numel() for parameter in model.parameters()) < SMALL_MODEL:
            torch.set_num_threads(1)
        try:
            return analyse(model, *args, **named)
        finally:
            torch.set_num_threads(before)

    return on_suited_threads
