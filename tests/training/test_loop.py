"""What the loop takes beside one batch: parts, schedules, the guard, an end asked for, a digest."""

from __future__ import annotations

import errno
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_resume import assert_same_run
from tiny_runs import batch_at, evaluate, tiny_model, training_config

from tokkit.errors import ArtifactError, OutputError
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.training import loop, state
from tokkit.training.config import TrainingConfig
from tokkit.training.loop import STATE_FILE, DivergedError, read_metrics, train
from tokkit.training.objective import IGNORED, Batch, next_token_loss
from tokkit.training.packing import parts_of
from tokkit.training.state import Watch


def test_stable_decay_by_hand():
    config = TrainingConfig(
        steps=11, learning_rate=2.0, warmup_steps=2, schedule="stable-decay", decay_share=0.4
    )  # four steps down: 0.75, 0.5, 0.25, 0 of what is above the last rate, 0.2
    rates = [config.rate_at(step) for step in range(11)]
    expected = [1.0, 2.0, *[2.0] * 5, 1.55, 1.1, 0.65, 0.2]
    assert rates == pytest.approx(expected)
    flat = replace(config, decay_share=0.0)
    assert {flat.rate_at(step) for step in range(2, 11)} == {2.0}
    line = replace(config, decay_share=1.0, warmup_steps=0)
    assert line.rate_at(10) == pytest.approx(0.2)
    assert line.rate_at(0) == pytest.approx(0.2 + 1.8 * 10 / 11)


def dense_batch(step: int) -> Batch:
    """Eight rows; some places predict nothing, more in some rows than in others."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(13, (8, 7), generator=generator)
    targets = torch.randint(13, (8, 7), generator=generator)
    targets[torch.rand(8, 7, generator=generator) < torch.linspace(0, 0.9, 8)[:, None]] = IGNORED
    return Batch(ids, None, None, targets, torch.zeros_like(ids))


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_accumulated_steps_are_the_large_ones(tmp_path, parts):
    config = training_config(steps=9, log_every=1)
    whole, cut = tiny_model(), tiny_model()
    train(whole, dense_batch, config, tmp_path / "whole")
    train(cut, lambda s: parts_of(dense_batch(s), parts=parts), config, tmp_path / "cut")
    losses = [[line["loss"] for line in read_metrics(tmp_path / name)] for name in ("whole", "cut")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for name, parameter in whole.named_parameters():
        assert torch.allclose(parameter, cut.get_parameter(name), rtol=1e-3, atol=1e-4), name


def test_a_dense_batch_is_the_same_as_naming_its_places():
    batch, model = dense_batch(0), tiny_model()
    rows, positions = (batch.targets != IGNORED).nonzero(as_tuple=True)
    named = Batch(batch.ids, rows, positions, batch.targets[rows, positions])
    losses = [float(next_token_loss(model, b).detach()) for b in (batch, named)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    nothing = replace(batch, targets=torch.full_like(batch.targets, IGNORED))
    assert next_token_loss(model, nothing).item() == 0.0


def test_experts_are_decayed_as_matrices_and_balanced(tmp_path):
    settings = {"experts": 3, "experts_per_token": 2, "balance_weight": 0.5}
    model = Transformer(
        ModelConfig(vocab_size=13, width=20, layers=2, query_heads=2, context=11, **settings)
    )
    groups = loop.new_optimizer(model, training_config(weight_decay=0.1)).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    decayed = {names[id(p)] for p in groups[0]["params"]}
    assert {"blocks.0.feedforward.gate.weight", "blocks.0.feedforward.router.weight"} <= decayed
    assert "embedding" not in decayed
    assert not [name for name in decayed if "norm" in name]
    config = training_config(steps=3, log_every=1)
    train(model, dense_batch, config, tmp_path / "balanced")
    other = Transformer(replace(model.config, balance_weight=0.0))
    train(other, dense_batch, config, tmp_path / "not")
    first, second = (read_metrics(tmp_path / name) for name in ("balanced", "not"))
    assert first[0]["loss"] == second[0]["loss"], "the balance is not part of the loss that is told"
    assert first[2]["loss"] != second[2]["loss"]


def test_bf16_products_change_losses_a_little(tmp_path):
    for name in ("float32", "bf16"):
        config = training_config(steps=5, log_every=1, precision=name)
        train(tiny_model(), dense_batch, config, tmp_path / name)
    one, other = (
        [line["loss"] for line in read_metrics(tmp_path / n)] for n in ("float32", "bf16")
    )
    assert one == pytest.approx(other, rel=0.02)
    assert one != other


# The guard ---------------------------------------------------------------------------------------


def test_the_watch_by_hand():
    watch = Watch()
    for loss in (4.0, 4.0, 2.0):
        watch = watch.after(loss)
    assert watch == Watch(3.9, 3.9, 0, begun=True)  # 4 + (2 - 4) / 20
    assert watch.limit == pytest.approx(3.9 * 1.25)
    assert [watch.after(4.8).high_steps, watch.after(4.9).high_steps] == [0, 1]
    assert watch.after(4.9).after(4.9).after(1.0).high_steps == 0
    assert Watch(1.0, 0.4, 0, begun=True).limit == 0.9


def poisoned(step: int) -> Batch:
    """From step 60 on every answer is replaced by one that was never right before."""
    batch = batch_at(0)
    return replace(batch, targets=(batch.targets + (step >= 60)) % 13)


def test_a_divergence_that_was_planted_is_stopped_and_the_state_is_from_before(tmp_path):
    config = training_config(
        steps=200, patience_steps=10, save_seconds=0.0, warmup_steps=1, learning_rate=0.003
    )
    lower = 1e-9  # once poisoned nothing is learned, so that the loss stays where it is

    class Stuck(TrainingConfig):
        def rate_at(self, step):
            return lower if step >= 60 else super().rate_at(step)

    stuck = Stuck(**{name: getattr(config, name) for name in config.__slots__})
    with pytest.raises(DivergedError) as caught:
        train(tiny_model(), poisoned, stuck, tmp_path)
    assert "for 10 steps at step 70 (it is" in str(caught.value)
    assert "training diverged, and the state of step 60 is kept" in str(caught.value)
    assert "use a lower learning rate than 0.003" in str(caught.value)


def test_the_guard_goes_on_where_it_was(tmp_path):
    """Stopped and gone on with while the loss is high, it ends at the same step."""
    config = training_config(steps=200, patience_steps=10, save_seconds=0.0, learning_rate=1e-7)

    def high_from_5(step: int) -> Batch:
        if step == 7 and not (tmp_path / "again").exists():
            (tmp_path / "again").touch()
            raise KeyboardInterrupt
        return batch_at(0)

    model = tiny_model()
    with pytest.raises(KeyboardInterrupt):
        train(model, high_from_5, config, tmp_path)
    kept = tmp_path / STATE_FILE
    assert kept.exists()
    restored = tiny_model()
    optimizer = loop.new_optimizer(restored, config)
    fingerprint = loop._fingerprint(restored, config, "")
    done, watch = state.restore_state(kept, restored, optimizer, fingerprint)
    assert done == 7
    assert watch.begun
    assert watch.running == pytest.approx(watch.level, rel=0.01)


def test_an_evaluation_that_is_not_finite_stops_the_run(tmp_path):
    config = training_config(save_seconds=0.0)
    with pytest.raises(DivergedError, match="the evaluation after step 7 gave loss = nan"):
        train(tiny_model(), batch_at, config, tmp_path, evaluate=lambda _: {"loss": math.nan})
    train(tiny_model(), batch_at, config, tmp_path, evaluate=evaluate)


# An end that is asked for, and a disk ------------------------------------------------------------


def test_an_end_asked_for_saves_first(tmp_path):
    train(tiny_model(), batch_at, training_config(), tmp_path / "whole", evaluate=evaluate)
    asked = []

    def stop() -> bool:
        asked.append(len(asked))
        return len(asked) in (4, 5, 19)

    folder = tmp_path / "stopped"
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            train(tiny_model(), batch_at, training_config(), folder, evaluate=evaluate, stop=stop)
    train(tiny_model(), batch_at, training_config(), folder, evaluate=evaluate, stop=stop)
    assert len(asked) == 29, "no step was lost"
    assert_same_run(folder, tmp_path / "whole")


def test_steps_and_lines_are_told(tmp_path):
    steps, lines = [], []
    train(
        tiny_model(),
        batch_at,
        training_config(),
        tmp_path,
        on_step=lambda step, loss: steps.append((step, loss)),
        on_line=lines.append,
    )
    assert [step for step, _ in steps] == list(range(1, 30))
    assert lines == read_metrics(tmp_path)
    assert lines[0]["loss"] == steps[2][1]


@pytest.mark.parametrize("broken", ["state", "metrics"])
def test_a_full_disk_keeps_the_last_state(tmp_path, monkeypatch, broken):
    train(tiny_model(), batch_at, training_config(), tmp_path / "whole")
    config, folder = training_config(save_seconds=0.0), tmp_path / "full"
    calls = []

    def full(*arguments, **named):
        calls.append(1)
        if len(calls) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **named)

    module, name = (state, "write_tensors") if broken == "state" else (loop.os, "fsync")
    real = getattr(module, name)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, full)
        with pytest.raises(OutputError, match="no space left on device"):
            train(tiny_model(), batch_at, config, folder)
    left = list(folder.iterdir())
    assert {path.name for path in left} <= {STATE_FILE, "metrics.jsonl"}
    train(tiny_model(), batch_at, training_config(), folder)
    assert_same_run(folder, tmp_path / "whole")


def test_any_flipped_byte_of_a_state_is_told(tmp_path):
    train(tiny_model(), batch_at, training_config(steps=3), tmp_path)
    path = Path(tmp_path / STATE_FILE)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    chosen = [*range(0, header, 37), *range(header, len(content), 997), len(content) - 1]
    for place in chosen:
        flipped = bytearray(content)
        flipped[place] ^= 0x41
        path.write_bytes(flipped)
        with pytest.raises(ArtifactError, match="to start over") as caught:
            train(tiny_model(), batch_at, training_config(steps=3), tmp_path)
        assert "\n" not in str(caught.value)
    path.write_bytes(content)
    train(tiny_model(), batch_at, training_config(steps=3), tmp_path)
