"""What every experiment does while it runs: tells how far its trainings are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

Progress = Callable[[int, int, str], None]
"""Called with the steps done, the steps in all, and the names of what is being trained."""


@contextmanager
def watch(trainings: Mapping[Path, int], progress: Progress | None) -> Iterator[None]:
    """Report the steps done by all workers, read off their metrics, about once a second.

    `trainings` maps the folder of each training, whose name is told, to its number of steps.
    """
    if progress is None:
        yield
        return
    from tokkit.training.loop import read_metrics

    stop = threading.Event()

    def report() -> None:
        steps, running = 0, []
        for folder, wanted in trainings.items():
            lines = read_metrics(folder)
            done = int(lines[-1]["step"]) if lines else 0
            steps += done
            if 0 < done < wanted:
                running.append(folder.name)
        progress(steps, sum(trainings.values()), ", ".join(running))

    def keep_watch() -> None:
        while not stop.wait(1.0):
            report()

    thread = threading.Thread(target=keep_watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        report()
