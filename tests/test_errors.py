"""The tree of errors: exit codes, near matches, and safe passage between processes."""

from __future__ import annotations

import pickle

import pytest

from tokkit.errors import (
    ArtifactError,
    ConfigError,
    InputError,
    OutputError,
    TokkitError,
    unknown_choice,
)


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [(TokkitError, 1), (ConfigError, 2), (InputError, 1), (ArtifactError, 1), (OutputError, 1)],
)
def test_every_error_has_its_exit_code_and_survives_pickling(
    kind: type[TokkitError], exit_code: int
) -> None:
    error = kind("the rule, the value, the way out")
    assert isinstance(error, TokkitError)
    assert error.exit_code == exit_code
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (kind, str(error))


def test_an_unknown_choice_names_the_near_match_and_all_choices() -> None:
    told = unknown_choice("arm", "carh", ["bpe", "char"])
    assert told == "unknown arm 'carh': did you mean 'char'? (choose from bpe, char)"


def test_an_unknown_choice_without_a_near_match_names_the_choices() -> None:
    assert unknown_choice("arm", "zzz", ["bpe"]) == "unknown arm 'zzz' (choose from bpe)"


def test_control_characters_in_a_value_are_escaped() -> None:
    assert "\x1b" not in unknown_choice("arm", "\x1b[31m", ["bpe"])
