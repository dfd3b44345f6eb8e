"""One of the processes that train together, or all of them, as torchrun would start them.

    python ranks.py FOLDER CORPUS

FOLDER/two holds what two of them leave, FOLDER/lost what is left where process 1 kills itself
before step 7 and the same command is given again, FOLDER/hung where it stops for good there.
Prints a line for each of the four: the return codes of both, and how many seconds it took. What
process 0 said stands in said beside the folder's name.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
from tiny_texts import run_text, text_config

from tokkit.errors import TokkitError
from tokkit.training import packing, processes, text

HUNG_SECONDS = 5


def run_one(folder: Path, corpus: Path, fault: int) -> int:
    torch.set_num_threads(1)
    seen = []

    def parts_of(*arguments, **named):
        seen.append(1)
        if fault and os.environ["RANK"] == "1" and len(seen) == 7:
            os.kill(os.getpid(), fault)
        return packing.parts_of(*arguments, **named)

    text.parts_of = parts_of
    if fault == signal.SIGSTOP:
        processes._TIMEOUT = timedelta(seconds=HUNG_SECONDS)
    try:
        run_text(folder, corpus, text_config(accumulate=2, log_every=1))
    except TokkitError as error:
        if os.environ["RANK"] == "0":
            folder.with_suffix(".said").write_text(str(error))
        return error.exit_code
    return 0


def run_two(folder: Path, corpus: Path, fault: int = 0) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    began = time.monotonic()
    first, second = (
        subprocess.Popen(
            [sys.executable, __file__, folder, corpus, str(int(fault))],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    )
    first.wait()
    if fault == signal.SIGSTOP:
        second.kill()
    print(first.returncode, second.wait(), round(time.monotonic() - began, 1), flush=True)  # noqa: T201


if __name__ == "__main__":
    place, text_file = Path(sys.argv[1]), Path(sys.argv[2])
    if len(sys.argv) > 3:
        sys.exit(run_one(place, text_file, int(sys.argv[3])))
    run_two(place / "two", text_file)
    run_two(place / "lost", text_file, signal.SIGKILL)
    run_two(place / "lost", text_file)
    run_two(place / "hung", text_file, signal.SIGSTOP)
