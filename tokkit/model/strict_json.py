"""JSON from outside, read strictly, and values from outside, shown short."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tokkit.errors import ArtifactError
from tokkit.files import plain_size

_LONGEST_SHOWN = 60
_LARGEST_FILE = 1 << 25  # bytes: an index of 200,000 tensors has less


def read_strict_json(path: Path, what: str) -> Any:
    """Read a file of UTF-8 JSON as `strict_json` does; ArtifactError names `what` and the path."""
    try:
        size = plain_size(path)
        if size > _LARGEST_FILE:
            raise ArtifactError(
                f"{what} {path} may have {_LARGEST_FILE} bytes, but has {size}: check the file"
            )
        content = path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(f"{what} {path} is missing: give the folder of a model") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ArtifactError(f"cannot read {what} {path}: {reason}; check the place") from error
    return strict_json(content, f"{what} {path}")


def strict_json(content: bytes, what: str) -> Any:
    """Parse UTF-8 JSON; ArtifactError, naming `what`, for a NaN, an infinity, a name given twice.

    >>> strict_json(b'{"a": 1, "a": 2}', "the header")
    Traceback (most recent call last):
    ...
    tokkit.errors.ArtifactError: the header is not valid JSON: 'a' is given twice; get it again
    """
    try:
        return json.loads(
            content.decode("utf-8"),
            parse_constant=_refuse,
            parse_float=_finite,
            object_pairs_hook=_unique,
        )
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{what} is not valid JSON: {error}; get it again") from error


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is too large for a number")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; told by a later value that replaces an earlier one, a reader may be misled."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{shown(name)} is given twice")
        found[name] = value
    return found


def shown(value: object) -> str:
    """A value from outside, short enough for a line of an error; a huge int as hexadecimal.

    >>> shown("a" * 100)[-6:]
    'aaa...'
    """
    text = hex(value) if isinstance(value, int) and abs(value) >> 64 else _repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def _repr(value: object) -> str:
    """repr, but of the first few members only: what is shown is cut, and a list may be long."""
    try:
        if isinstance(value, list) and len(value) > 10:
            return repr(value[:10])[:-1] + ", ...]"
        return repr(value)
    except (ValueError, RecursionError):  # an int of thousands of digits has no decimal form
        return f"a {type(value).__name__}"
