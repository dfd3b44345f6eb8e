"""Save checkpoints over one another without end, and be killed at it, again and again.

    python killed_saves.py FOLDER KILLS

Each round forks a process that saves models of other seeds to FOLDER until SIGKILL stops it at a
random moment; then FOLDER is loaded. Prints one line: how many seeds were seen, and how many
temporary folders the killed left behind.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from itertools import count
from pathlib import Path

import torch
from tiny_models import tiny_config

from tokkit.model.checkpoint import load_checkpoint, save_checkpoint
from tokkit.model.transformer import Transformer


def save_one(folder: Path, seed: int) -> None:
    model = Transformer(tiny_config(), seed=seed)
    save_checkpoint(folder, model, f'{{"seed": {seed}}}', {"seed": seed})


def check(folder: Path) -> int:
    """Load what is there, which must be one of the saved models, whole; return its seed."""
    checkpoint = load_checkpoint(folder)
    seed = int(checkpoint.about["seed"])
    expected = Transformer(tiny_config(), seed=seed).state_dict()
    for name, tensor in checkpoint.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), (seed, name)
    assert checkpoint.tokenizer_path.read_text() == f'{{"seed": {seed}}}'
    return seed


def wait_for_another(folder: Path) -> None:
    """Wait until what is at the final name has been replaced."""
    before, deadline = folder.stat().st_ino, time.monotonic() + 60
    while folder.stat().st_ino == before:
        assert time.monotonic() < deadline, "no save was done in a minute"
        time.sleep(0.001)


def main(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    moments = random.Random(5)
    save_one(folder, 0)
    seen = set()
    for round_ in range(kills):
        child = os.fork()
        if child == 0:
            for turn in count(1):
                save_one(folder, 100_000 * (round_ + 1) + turn)
        wait_for_another(folder)
        time.sleep(moments.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the child must die of the kill alone"
        seen.add(check(folder))
    leftovers = [path for path in folder.parent.iterdir() if path != folder]
    assert all(path.name.startswith(".tokkit-") for path in leftovers), leftovers
    print(len(seen), len(leftovers))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
