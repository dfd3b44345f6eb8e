"""Two processes train as one does; where one is lost the other ends, and the state is good."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_resume import assert_same_run
from tiny_texts import corpus_file, run_text, text_config

from tokkit.errors import ConfigError
from tokkit.training.loop import read_metrics
from tokkit.training.processes import find_device

SCRIPT = Path(__file__).with_name("ranks.py")


@pytest.mark.slow
def test_two_processes_are_one_and_a_lost_one_ends_the_run(tmp_path):
    corpus = corpus_file(tmp_path)
    run_text(tmp_path / "one", corpus, text_config(log_every=1))
    outcome = subprocess.run(
        [sys.executable, SCRIPT, tmp_path, corpus],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    two, lost, again, hung = (
        [float(word) for word in line.split()] for line in outcome.stdout.splitlines()
    )
    assert two[:2] == again[:2] == [0, 0], outcome.stderr

    lines, other = (read_metrics(tmp_path / name / "training") for name in ("one", "two"))
    assert [line["step"] for line in lines] == [line["step"] for line in other]
    for first, second in zip(lines, other, strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-5)
        for name, value in first.get("evaluation", {}).items():
            assert second["evaluation"][name] == pytest.approx(value, rel=1e-5)

    for name, (first_status, other_status, seconds) in (("lost", lost), ("hung", hung)):
        assert first_status == 1
        assert other_status == -signal.SIGKILL
        assert seconds < 60
        said = (tmp_path / f"{name}.said").read_text()
        assert said.startswith("process 0 of 2 cannot go on: another was lost or hangs (")
        assert said.endswith("; the state of step 6 is kept: give the same command again to go on")
    assert_same_run(tmp_path / "lost" / "training", tmp_path / "two" / "training")


def test_devices():
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="unknown device 'cdua': did you mean 'cuda'"):
        find_device("cdua")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="this machine has no cuda device that torch can use"):
            find_device("cuda")
