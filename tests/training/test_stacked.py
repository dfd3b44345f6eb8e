"""A stack of models trains each as if it were alone: losses, parameters, clipping, resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import FEATURES, VOCAB, tiny_model, training_config
from torch import Tensor

from tokkit.errors import ArtifactError, ConfigError, InputError
from tokkit.model.stacked import StackedTransformer, release
from tokkit.model.transformer import Transformer
from tokkit.training.loop import STATE_FILE, Batch, DivergedError, read_metrics, train
from tokkit.training.objective import IGNORED
from tokkit.training.stacked import stacked_loss, train_stacked, worth_stacking

MODELS = 3


@pytest.fixture(autouse=True)
def one_thread():
    """The models are tiny: a second thread is waited for longer than it works."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "token features": {"token_features": FEATURES, "positions": "learned"},
    "tied": {"tied": True, "feedforward": "gelu", "linear_bias": True, "norm": "layernorm"},
    "grouped": {"query_heads": 6, "key_value_heads": 3, "head_width": 10, "qk_norm": True},
    "gemma": {
        "norm_place": "sandwich",
        "norm_offset": True,
        "logit_softcap": 5.0,
        "attention_softcap": 9.0,
        "embedding_scale": 4.5,
        "feedforward": "geglu",
        "attention_pattern": "sf",
        "window": 3,
    },
    "post-norm": {"norm_place": "post", "positions": "sinusoidal", "attention_bias": "all"},
    "alibi": {"positions": "alibi"},
}


def some_models(**changed: Any) -> list[Transformer]:
    """One config, other parameters and, where there are any, other token features."""
    models = [tiny_model(seed=seed, **changed) for seed in range(MODELS)]
    for seed, model in enumerate(models):
        if model.config.token_features:
            model.token_features.add_(seed)
    return models


def placed(step: int, model: int, length: int = 7) -> Batch:
    generator = torch.Generator().manual_seed(100 * step + model)
    ids = torch.randint(VOCAB, (5, length), generator=generator)
    rows = torch.arange(5).repeat(2)
    positions = torch.tensor([length - 1] * 5 + [3] * 5)
    return Batch(ids, rows, positions, torch.cat([ids[:, 0], ids[:, 2]]))


def uneven(step: int, model: int) -> Batch:
    return placed(step, model, length=5 + (step + model) % 3)


def dense(step: int, model: int) -> Batch:
    """Packed rows of which some targets are ignored, more in one model than in another."""
    ids = uneven(step, model).ids
    targets = ids.roll(1, dims=1)
    targets[: 1 + model, 0] = IGNORED
    documents = torch.zeros_like(ids)
    documents[:, 2 + model % 2 :] = 1
    return Batch(ids, None, None, targets, documents)


def run_apart(models: list[Transformer], config: Any, batch: Any, folder: Path) -> Tensor:
    """Train one after the other with `loop.train`; the losses, (steps, S)."""
    for place, model in enumerate(models):
        train(model, lambda step, m=place: batch(step, m), config, folder / str(place))
    lines = [read_metrics(folder / str(place)) for place in range(len(models))]
    return torch.tensor([[line["loss"] for line in of] for of in lines], dtype=torch.float64).T


def run_stacked(models: list[Transformer], config: Any, batch: Any, folder: Path) -> Tensor:
    count = len(models)
    train_stacked(models, lambda step: [batch(step, m) for m in range(count)], config, folder)
    losses = [line["losses"] for line in read_metrics(folder)]
    return torch.tensor(losses, dtype=torch.float64)


@torch.no_grad()
def largest_difference(ours: list[Transformer], theirs: list[Transformer]) -> float:
    """Of any parameter, as a share of the largest number of its tensor.

    Left out are biases of keys: one number added to every score of a query changes no attention,
    so that their gradient is rounding noise (with rotary positions, almost), which Adam divides
    by its own size. No two orders of adding up agree there, and nothing depends on it.
    """
    found = [
        float((p - q).abs().max() / q.abs().max())
        for mine, other in zip(ours, theirs, strict=True)
        for (name, p), q in zip(mine.named_parameters(), other.parameters(), strict=True)
        if not name.endswith("key.bias")
    ]
    return max(found)


@pytest.mark.parametrize("batch", [placed, uneven, dense])
@pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS.keys())
def test_equals_separate_runs(settings, batch, tmp_path):
    # Weight decay is large, so that decaying another set of parameters could not pass.
    config = training_config(steps=50, log_every=1, learning_rate=3e-3, weight_decay=0.3)
    apart, stacked = some_models(**settings), some_models(**settings)
    expected = run_apart(apart, config, batch, tmp_path / "apart")
    got = run_stacked(stacked, config, batch, tmp_path / "stacked")
    assert got.shape == expected.shape == (50, MODELS)
    assert float(((got - expected) / expected).abs().max()) < 1e-5
    assert largest_difference(stacked, apart) < 1e-4


@pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS.keys())
def test_only_rounding_differs_from_separate_runs(settings, tmp_path):
    """In float64 the differences shrink as its precision does: by a factor of a million or more."""
    config = training_config(steps=20, log_every=1, weight_decay=0.3)
    apart = [model.double() for model in some_models(**settings)]
    stacked = [model.double() for model in some_models(**settings)]
    expected = run_apart(apart, config, uneven, tmp_path / "apart")
    got = run_stacked(stacked, config, uneven, tmp_path / "stacked")
    assert float(((got - expected) / expected).abs().max()) < 1e-12
    assert largest_difference(stacked, apart) < 1e-11


def test_each_model_is_clipped_by_its_own_norm(tmp_path):
    def loud(step: int, model: int) -> Batch:
        """Model 1 gets a gradient many times as large: its unembedding is scaled below."""
        return placed(step, model)

    def models() -> list[Transformer]:
        made = some_models()
        with torch.no_grad():
            made[1].unembedding.mul_(30)
        return made

    stack = StackedTransformer(made := models())
    stacked_loss(stack, [loud(0, m) for m in range(MODELS)]).sum().backward()
    norms = [
        torch.stack([p.grad[m].norm() for p in stack.parameters()]).norm() for m in range(MODELS)
    ]
    release(made)
    limit = float(norms[0] + norms[2])  # clips model 1 alone
    assert norms[1] > 2 * limit
    # Large beside the gradients, epsilon would hide a scale, which Adam takes back: hence betas.
    config = training_config(steps=4, log_every=1, clip_norm=limit, beta1=0.9, beta2=0.5)
    apart, stacked = models(), models()
    run_apart(apart, config, loud, tmp_path / "apart")
    run_stacked(stacked, config, loud, tmp_path / "stacked")
    assert largest_difference(stacked, apart) < 1e-4
    unclipped = models()
    free = training_config(steps=4, log_every=1, clip_norm=1e6, beta1=0.9, beta2=0.5)
    run_stacked(unclipped, free, loud, tmp_path / "unclipped")
    assert largest_difference(unclipped[1:2], apart[1:2]) > 1e-3
    assert largest_difference(unclipped[::2], apart[::2]) < 1e-4


@pytest.mark.parametrize("save_seconds", [0.0, 1e9])
@pytest.mark.parametrize("stop_at", [1, 17, 28])
def test_a_stopped_stack_ends_with_the_same_bits(stop_at, save_seconds, tmp_path):
    config = training_config(save_seconds=save_seconds)

    def accuracy(place: int, model: Transformer) -> dict[str, float]:
        return {"first weight": model.embedding[0, 0].item(), "place": place}

    def run(models: list[Transformer], folder: Path, stop: int | None) -> None:
        def batches(step: int) -> list[Batch]:
            if step == stop:
                raise KeyboardInterrupt
            return [uneven(step, m) for m in range(MODELS)]

        train_stacked(models, batches, config, folder, evaluate=accuracy)

    whole, parts = some_models(), some_models()
    run(whole, tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        run(some_models(), tmp_path / "parts", stop_at)
    run(parts, tmp_path / "parts", None)
    for mine, other in zip(parts, whole, strict=True):
        assert all(map(torch.equal, mine.parameters(), other.parameters()))
    assert read_metrics(tmp_path / "parts") == read_metrics(tmp_path / "whole")
    last = read_metrics(tmp_path / "whole")[-1]
    assert [told["place"] for told in last["evaluations"]] == [0, 1, 2]
    assert [told["first weight"] for told in last["evaluations"]] == [
        model.embedding[0, 0].item() for model in whole
    ]


def test_models_have_memory_of_their_own_afterwards(tmp_path):
    models = some_models()
    run_stacked(models, training_config(steps=1), placed, tmp_path)
    for model in models:
        for parameter in model.parameters():
            assert parameter.untyped_storage().nbytes() == 4 * parameter.numel()


def test_a_model_that_diverges_is_named(tmp_path):
    models = some_models()
    with torch.no_grad():
        models[1].unembedding[0, 0] = float("inf")
    before = [parameter.clone() for parameter in models[2].parameters()]
    with pytest.raises(DivergedError, match=r"loss of model 1 of 3 is nan .* step 1: training div"):
        run_stacked(models, training_config(), placed, tmp_path)
    assert all(map(torch.equal, models[2].parameters(), before))


def test_another_runs_state_and_one_model_less_are_refused(tmp_path):
    run_stacked(some_models(), training_config(steps=1), placed, tmp_path)
    assert (tmp_path / STATE_FILE).exists()
    with pytest.raises(ArtifactError, match="a run with other settings"):
        run_stacked(some_models()[:2], training_config(steps=1), placed, tmp_path)


def test_what_cannot_be_stacked_is_told(tmp_path):
    def refused(models: list[Transformer], says: str, **changed: Any) -> None:
        with pytest.raises(ConfigError, match=says):
            run_stacked(models, training_config(**changed), placed, tmp_path)

    refused([], "at least 1 model, got 0")
    refused([tiny_model(), tiny_model(layers=1)], "layers is 2 in model 0 and 1 in model 1")
    refused([tiny_model(experts=4, experts_per_token=2)], "cannot be stacked, got 4 experts")
    refused([tiny_model()], "float32, got precision 'bf16'", precision="bf16")
    refused([tiny_model()], "got 5: set it to 0", patience_steps=5)


def test_batches_that_do_not_fit_are_told():
    models = some_models()
    stack = StackedTransformer(models)
    with pytest.raises(InputError, match="3 models need 3 batches a step, got 2"):
        stacked_loss(stack, [placed(0, 0)] * 2)
    with pytest.raises(InputError, match="one shape, got 5 rows and 10 places, 5 rows and None"):
        stacked_loss(stack, [placed(0, 0), dense(0, 1), placed(0, 2)])
    beyond = placed(0, 0)
    beyond.rows[0] = 5
    with pytest.raises(InputError, match=r"rows must lie in 0\.\.4, got 0\.\.5"):
        stacked_loss(stack, [beyond] * 3)


def test_worth_stacking():
    config = tiny_model(vocab_size=2048).config  # width 20
    assert worth_stacking(config, 8, 16, models=4)
    assert not worth_stacking(config, 8, 16, models=1)
    assert not worth_stacking(config, 192, 24, models=4, places=240)
    assert worth_stacking(config, 20, 100, models=2, places=256)
    assert not worth_stacking(config, 20, 100, models=2)  # logits at every place
