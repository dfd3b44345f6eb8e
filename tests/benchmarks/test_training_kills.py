"""Fifty kills: a training on text always goes on, and ends with the bits of one never killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

TESTS = Path(__file__).parent.parent / "training"
KILLS = 50


def test_fifty_kills_at_random_moments(tmp_path):
    outcome = subprocess.run(
        [sys.executable, TESTS / "killed_texts.py", tmp_path, str(KILLS)],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    saved = [int(steps) for steps in outcome.stdout.split()]
    print(f"steps saved after each of {KILLS} kills and at the end: {saved}")
    assert len(saved) == KILLS + 1
    compared = 0
    for path in sorted((tmp_path / "whole").rglob("*")):
        twin = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
        if path.suffix == ".safetensors":
            one, other = load_file(path), load_file(twin)
            assert one.keys() == other.keys()
            assert all(torch.equal(tensor, other[name]) for name, tensor in one.items()), path
        elif path.suffix in (".jsonl", ".npy"):
            assert path.read_bytes() == twin.read_bytes(), path
        else:
            continue
        compared += 1
    print(f"{compared} files hold the same bits")
    assert compared >= 7
