"""How long a command takes to start: what a person waits for before anything happens."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest

from tokkit.cli.main import COMMANDS

_RUNS = 7
_ALLOWED_SECONDS = 0.6


def median_seconds(*arguments: str) -> float:
    seconds = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


@pytest.mark.parametrize("arguments", [["--help"], *[[noun, "--help"] for noun in COMMANDS]])
def test_help_starts_quickly(arguments: list[str]) -> None:
    bare = median_seconds("-c", "pass")
    seconds = median_seconds("-m", "tokkit", *arguments)
    print(f"tokkit {' '.join(arguments)}: {seconds:.3f} s (bare Python: {bare:.3f} s)")
    assert seconds - bare < _ALLOWED_SECONDS
