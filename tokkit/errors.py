"""Every error that tokkit raises on purpose.

    TokkitError           exit 1: the work failed
    +-- ConfigError       exit 2: settings that are unknown or contradict each other
    +-- InputError        exit 1: text or a file from outside cannot be used
    +-- ArtifactError     exit 1: a tokenizer, checkpoint or result is missing, cut or mismatched
    +-- OutputError       exit 1: a result cannot be written where it was asked for

A message is one sentence or two: the rule, the value received, the way out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TokkitError(Exception):
    """The root: catch it to catch all of them."""

    exit_code = 1


class ConfigError(TokkitError):
    """Settings that are unknown, out of range, or contradict each other."""

    exit_code = 2


class InputError(TokkitError):
    """Text or a file from outside that cannot be used as it is."""


class ArtifactError(TokkitError):
    """A tokenizer, checkpoint or result that is missing, cut short, altered or mismatched."""


class OutputError(TokkitError):
    """A file or folder that cannot be written."""


def unknown_choice(what: str, value: object, choices: Iterable[str]) -> str:
    """Say that `value` is none of `choices`, and name the nearest one.

    >>> unknown_choice("arm", "carh", ["bpe", "char"])
    "unknown arm 'carh': did you mean 'char'? (choose from bpe, char)"
    """
    names = list(choices)
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {value!r}{hint} (choose from {', '.join(names)})"
