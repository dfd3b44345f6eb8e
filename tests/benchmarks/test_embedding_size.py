"""The geometry of 256,000 rows of 4,096 in bfloat16: seconds, and memory beside the file."""

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from record import keep, machine

ROWS, WIDTH = int(os.environ.get("TOKKIT_SIZE_ROWS", 256_000)), 4096
GROUP = 4
"""Rows that stand near each other: every 1,000th row has copies of itself, a little moved."""
MOST_SECONDS, MOST_SHARE = 180, 1.3
CHILD = """
import json, pathlib, resource, sys, time
from tokkit.analysis.embeddings.geometry import geometry_section
from tokkit.analysis.embeddings.opening import file_subject
def peak_bytes():  # getrusage counts what the parent held when it forked
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
started = time.perf_counter()
subject = file_subject(sys.argv[1])
opened = time.perf_counter() - started
found = geometry_section(subject, seed=0, named=json.loads(sys.argv[2]))
seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_SELF)
listed = [r["neighbour_id"] for r in found.tables["geometry_neighbours"].records() if r["rank"] < 4]
measured = {r["measure"] + "_" + r["rows"]: r["value"]
            for r in found.tables["geometry_measures"].records()}
print(json.dumps({"seconds": seconds, "opening_s": opened,
                  "cpu_s": used.ru_utime + used.ru_stime, "peak_bytes": peak_bytes(),
                  "listed": listed, "measured": measured,
                  "neighbours": found.values["neighbours"],
                  "left_out": dict(found.left_out)}))
"""


def write_planted(path, generator):
    """A spectrum that falls as real ones do, groups of near rows, a zero row and a NaN row.

    Written a block at a time: no more of it is held.
    """
    header = {"embedding": {"dtype": "BF16", "shape": [ROWS, WIDTH],
                            "data_offsets": [0, 2 * ROWS * WIDTH]}}  # fmt: skip
    told = json.dumps(header).encode()
    spread = torch.from_numpy((np.arange(1, WIDTH + 1) ** -0.35).astype(np.float32))
    mean = 0.3 * torch.from_numpy(generator.standard_normal(WIDTH).astype(np.float32))
    draws = torch.Generator().manual_seed(5)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(told)) + told)
        for start in range(0, ROWS, 1000):
            rows = torch.randn(1000, WIDTH, generator=draws) * spread
            near = rows[:1] + 0.3 * torch.randn(GROUP, WIDTH, generator=draws) * spread
            rows[:GROUP] = near
            rows = (rows + mean).to(torch.bfloat16)
            if start == 0:
                rows[10], rows[11, 5] = 0, float("nan")
            file.write(rows.view(torch.int16).numpy().tobytes())


def test_a_vocabulary_of_256_000_rows_in_three_minutes_and_1_3_times_its_file(tmp_path):
    path = Path(os.environ.get("TOKKIT_SIZE_FILE", tmp_path / "model.safetensors"))
    if not path.exists():
        write_planted(path, np.random.default_rng(5))
    planted = [place * 1000 for place in range(1, 9)]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), json.dumps([str(row) for row in planted])],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    whole = time.perf_counter() - started
    share = found["peak_bytes"] / path.stat().st_size
    keep(
        "embedding-size",
        "The geometry of a real vocabulary's size, measured",
        f"{ROWS:,} rows of {WIDTH:,} in bfloat16, a file of {path.stat().st_size / 1e9:.2f} GB, "
        "in a fresh process; the peak is of all memory that the process held, the pages of the "
        "mapped file among it, as a share of the file.",
        machine(),
        [
            {
                "seconds": whole,
                "analysis_s": found["seconds"],
                "opening_s": found["opening_s"],
                "cpu_s": found["cpu_s"],
                "peak_GB": found["peak_bytes"] / 1e9,
                "peak_share_of_file": share,
                "directions": found["neighbours"]["directions"],
                "recall": found["neighbours"]["recall"]["value"],
                "iso_score": found["measured"]["iso_score_centred"],
            }
        ],
    )
    near = [row + place for row in planted for place in range(1, GROUP)]
    assert sorted(found["listed"]) == sorted(near)
    assert found["left_out"] == {"rows that hold NaN": 1, "rows of zeros alone": 1}
    assert whole <= MOST_SECONDS
    assert share <= MOST_SHARE
