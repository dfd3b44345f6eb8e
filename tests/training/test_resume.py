"""A run that was stopped, however it was, ends with the bits of one that never was."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import batch_at, evaluate, tiny_model, training_config

from tokkit.errors import ArtifactError, OutputError, TokkitError
from tokkit.training.loop import METRICS_FILE, STATE_FILE, read_metrics, train


def assert_same_run(one: Path, other: Path) -> None:
    assert (one / METRICS_FILE).read_bytes() == (other / METRICS_FILE).read_bytes()
    states = load_file(one / STATE_FILE), load_file(other / STATE_FILE)
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


def finished(folder: Path, **changed):
    model = tiny_model()
    train(model, batch_at, training_config(**changed), folder, evaluate=evaluate)
    return model


def stopped_before(step: int, error: type[BaseException] = KeyboardInterrupt):
    """Batches that end in `error` where step `step`, counted from 0, would begin."""

    def batches(at: int):
        if at == step:
            raise error
        return batch_at(at)

    return batches


def test_killed_runs_end_as_one_never_killed(tmp_path):
    kills, pauses = 5, ["0", "0.05"]
    script = Path(__file__).with_name("killed_runs.py")
    outcome = subprocess.run(
        [sys.executable, script, tmp_path, str(kills), *pauses],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    whole, *killed = ([int(n) for n in line.split()] for line in outcome.stdout.splitlines())
    for pause, left in zip(pauses, killed, strict=True):
        assert left == sorted(left), "no start may lose what an earlier one had saved"
        assert left[-1] == whole[-1]
        assert len({0, *left, whole[-1]}) == kills + 2, "each start must get further, and be cut"
        assert_same_run(tmp_path / pause, tmp_path / "whole")


@pytest.mark.parametrize("save_seconds", [0.0, math.inf])
def test_interrupted_at_several_steps(tmp_path, save_seconds):
    expected = finished(tmp_path / "whole")
    folder = tmp_path / "stopped"
    for step in (0, 1, 3, 14, 28):  # before, at and after a line of metrics and an evaluation
        model = tiny_model()
        with pytest.raises(KeyboardInterrupt):
            train(
                model,
                stopped_before(step),
                training_config(save_seconds=save_seconds),
                folder,
                evaluate=evaluate,
            )
        assert (folder / STATE_FILE).exists() == (step > 0 and save_seconds == 0)
    model = finished(folder)
    assert_same_run(folder, tmp_path / "whole")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, expected.get_parameter(name)), name


def test_a_finished_run_is_restored_without_a_step(tmp_path):
    expected = finished(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model = tiny_model(seed=5)
    train(model, stopped_before(0, AssertionError), training_config(), tmp_path, evaluate=evaluate)
    assert all(torch.equal(p, expected.get_parameter(n)) for n, p in model.named_parameters())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert set(before) == {STATE_FILE, METRICS_FILE}


def test_lines_after_the_saved_step_and_a_torn_one_are_dropped(tmp_path):
    finished(tmp_path / "whole")
    folder = tmp_path / "torn"
    with pytest.raises(KeyboardInterrupt):
        train(tiny_model(), stopped_before(10), training_config(save_seconds=0), folder)
    whole = (tmp_path / "whole" / METRICS_FILE).read_text().splitlines(keepends=True)
    kept = [line for line in whole if json.loads(line)["step"] <= 10]
    (folder / METRICS_FILE).write_text("".join(whole[: len(kept) + 3]) + whole[-1][:20])
    assert [line["step"] for line in read_metrics(folder)] == [
        json.loads(line)["step"] for line in whole[: len(kept) + 3]
    ]
    finished(folder)
    assert_same_run(folder, tmp_path / "whole")


@pytest.mark.parametrize(
    ("model", "config", "identity"),
    [
        ({}, {"learning_rate": 0.02}, ""),
        ({}, {"steps": 31}, ""),
        ({}, {}, "other data"),
        ({"positions": "alibi"}, {}, ""),
        ({"layers": 1}, {}, ""),
    ],
)
def test_a_state_of_other_settings_is_refused_and_left_alone(tmp_path, model, config, identity):
    finished(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ArtifactError) as caught:
        train(tiny_model(**model), batch_at, training_config(**config), tmp_path, identity=identity)
    assert str(caught.value) == (
        f"{tmp_path / STATE_FILE} is the state of a run with other settings: "
        f"delete {tmp_path} to start over"
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_pause_between_saves_is_no_other_setting(tmp_path):
    finished(tmp_path, save_seconds=3.0)
    finished(tmp_path, save_seconds=5.0)


@pytest.mark.parametrize("kept", [0, 7, 100, 0.5, -1])
def test_a_cut_state_is_told_with_the_way_out(tmp_path, kept):
    finished(tmp_path)
    content = (tmp_path / STATE_FILE).read_bytes()
    length = int(kept * len(content)) if isinstance(kept, float) else kept
    (tmp_path / STATE_FILE).write_bytes(content[:length])
    with pytest.raises(ArtifactError) as caught:
        finished(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / STATE_FILE} is not a whole training state (")
    assert message.endswith(f"): delete {tmp_path} to start over")
    assert "\n" not in message


@pytest.mark.parametrize("content", [b'{"step": 1}\n{]\n', b"\xff\xfe\n", b"7\n", b'{"loss": 1}\n'])
def test_metrics_that_are_none(tmp_path, content):
    finished(tmp_path)
    (tmp_path / METRICS_FILE).write_bytes(content)
    with pytest.raises(ArtifactError, match="does not hold one JSON record a line") as caught:
        finished(tmp_path)
    assert str(tmp_path / METRICS_FILE) in str(caught.value)


def test_a_loss_that_is_not_finite_keeps_the_last_good_state(tmp_path):
    model = tiny_model()

    def spoiled(step: int):
        if step == 10:  # no line of metrics is due here: 12 is the next
            with torch.no_grad():
                model.embedding[:] = math.nan
        return batch_at(step)

    config = training_config(save_seconds=0.0)
    with pytest.raises(TokkitError) as caught:
        train(model, spoiled, config, tmp_path)
    assert str(caught.value) == (
        "the loss is nan and the norm of its gradient nan at step 11: training diverged, "
        "and the state of step 10 is kept; use a lower learning rate than 0.01"
    )
    state = load_file(tmp_path / STATE_FILE)
    assert float(state["optimizer.step.embedding"]) == 10
    assert all(bool(tensor.isfinite().all()) for tensor in state.values())
    train(tiny_model(), batch_at, config, tmp_path)
    train(tiny_model(), batch_at, config, tmp_path / "whole")
    assert_same_run(tmp_path, tmp_path / "whole")


def test_a_gradient_that_overflows_is_told_before_it_spoils_a_weight(tmp_path):
    model = tiny_model(norm_place="post")
    with torch.no_grad():
        model.unembedding.mul_(1e30)
    before = {name: p.clone() for name, p in model.named_parameters()}
    with pytest.raises(TokkitError, match="at step 1: training diverged"):
        train(model, batch_at, training_config(), tmp_path)
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())
    assert not (tmp_path / STATE_FILE).exists()


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="it is a file; give the name of a folder"):
        train(tiny_model(), stopped_before(0, AssertionError), training_config(), tmp_path / "file")
