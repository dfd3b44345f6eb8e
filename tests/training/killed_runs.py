"""Train runs that are killed again and again, until one start comes through.

    python killed_runs.py FOLDER KILLS SAVE_SECONDS...

Each start is a forked process that SIGKILL stops at a random moment; after KILLS of them the last
is let through. FOLDER/SAVE_SECONDS holds what such a run leaves, FOLDER/whole what a run never
killed does. Prints a line for each: the steps that its starts left behind.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors import safe_open
from tiny_runs import batch_at, evaluate, tiny_model, training_config

from tokkit.training.loop import STATE_FILE, train

STEPS = 149


def run(folder: Path, save_seconds: float, steps: int = STEPS) -> None:
    config = training_config(steps=steps, save_seconds=save_seconds)
    train(tiny_model(), batch_at, config, folder, evaluate=evaluate)


def steps_done(folder: Path) -> int:
    if not (folder / STATE_FILE).exists():
        return 0
    with safe_open(folder / STATE_FILE, framework="pt") as state:
        return int(state.metadata()["step"])


def wait_for(folder: Path, step: int) -> None:
    deadline = time.monotonic() + 60
    while steps_done(folder) < step:
        assert time.monotonic() < deadline, f"step {step} was not reached in a minute"
        time.sleep(0.002)


def run_killed(folder: Path, kills: int, save_seconds: float) -> list[int]:
    moments = random.Random(kills)
    left: list[int] = []
    while len(left) <= kills:
        child = os.fork()
        if child == 0:
            run(folder, save_seconds)
            os._exit(0)
        if len(left) < kills:
            wait_for(folder, step=(left or [0])[-1] + moments.randint(2, 10))
            time.sleep(moments.uniform(0, 0.02))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        assert status == (signal.SIGKILL if len(left) < kills else 0), status
        left.append(steps_done(folder))
    return left


def main(folder: Path, kills: int, pauses: list[str]) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as elsewhere:
        run(Path(elsewhere), 0, steps=1)  # torch loads a second's worth of itself at a first step
    print(*run_killed(folder / "whole", 0, 1000.0))  # noqa: T201
    for pause in pauses:
        print(*run_killed(folder / pause, kills, float(pause)))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
