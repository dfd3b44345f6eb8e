"""Train on text and be killed again and again, at any moment, until one start comes through.

    python killed_texts.py FOLDER KILLS

FOLDER/killed holds what such a run leaves, FOLDER/whole what a run never killed does. A start is a
forked process that SIGKILL stops at a random moment, be it encoding, training, saving, or writing
its checkpoints. Prints how many steps each start had saved in the end.
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
from killed_runs import steps_done
from tiny_texts import corpus_file, run_text, text_config


def start(folder: Path, corpus: Path, pause: float, steps: int) -> None:
    config = text_config(steps=steps, evaluate_every=7, save_seconds=pause, keep=1)
    run_text(folder, corpus, config)


def wait_for_more(folder: Path, before: int, more: int) -> None:
    """Until so many further steps are saved; none: the start itself, encoding too, is cut."""
    deadline = time.monotonic() + 60
    while steps_done(folder / "training") < before + more:
        assert time.monotonic() < deadline, f"no {more} steps in a minute"
        time.sleep(0.002)


def main(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    corpus, steps = corpus_file(folder), 30 + 4 * kills
    with tempfile.TemporaryDirectory() as elsewhere:
        start(Path(elsewhere), corpus, 0.0, 7)  # loads and compiles for the forks
    start(folder / "whole", corpus, 0.0, steps)
    moments, left = random.Random(kills), []
    while len(left) <= kills:
        child = os.fork()
        if child == 0:
            start(folder / "killed", corpus, moments.choice([0.0, 0.0, 0.02]), steps)
            os._exit(0)
        if len(left) < kills:
            wait_for_more(folder / "killed", (left or [0])[-1], moments.randint(0, steps // kills))
            time.sleep(moments.uniform(0, 0.05))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        assert status == (signal.SIGKILL if len(left) < kills else 0), status
        left.append(steps_done(folder / "killed" / "training"))
    assert left == sorted(left), "no start may lose what an earlier one had saved"
    print(*left)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
