"""Seconds a training step against transformers' Llama of equal shape. Nothing is asserted.

pytest tests/benchmarks/test_training_step.py -s
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer

transformers = pytest.importorskip("transformers")

ROUNDS, STEPS = 7, 5
SHAPES = {
    # the strawberry experiment's own, and one of more width and length
    "batch 192 x 24, width 64": (192, 24, 64, 2, 4, 4),
    "batch 16 x 128, width 192": (16, 128, 192, 4, 6, 2),
}
VOCAB = 4001


def step_of(model: torch.nn.Module, logits_of: Callable[[], torch.Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        logits = logits_of()
        loss = functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def seconds_a_step(step: Callable[[], None]) -> float:
    started = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - started) / STEPS


@pytest.mark.parametrize("shape", SHAPES)
def test_training_step(shape):
    batch, length, width, layers, heads, groups = SHAPES[shape]
    config = ModelConfig(
        vocab_size=VOCAB,
        width=width,
        layers=layers,
        query_heads=heads,
        key_value_heads=groups,
        context=length,
    )
    ours = Transformer(config)
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=width,
            intermediate_size=config.hidden_width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=groups,
            max_position_embeddings=length,
            use_cache=False,
            tie_word_embeddings=False,
        )
    )
    assert ours.parameter_count()["total"] == sum(p.numel() for p in theirs.parameters())
    ids = torch.randint(VOCAB, (batch, length))
    last = torch.arange(batch), torch.full((batch,), length - 1)
    steps = {
        "tokkit": step_of(ours, lambda: ours(ids, at=last)),
        "llama": step_of(theirs, lambda: theirs(ids, logits_to_keep=1).logits[:, 0]),
        "tokkit, every logit": step_of(ours, lambda: ours(ids).flatten(0, 1)),
        "llama, every logit": step_of(theirs, lambda: theirs(ids).logits.flatten(0, 1)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(ROUNDS + 1):
        for name, step in steps.items():  # in turn, so that other work on the machine hits all
            spent = seconds_a_step(step)
            if round_:
                seconds[name].append(spent)
    print(f"\n{shape}, {torch.get_num_threads()} threads")
    for kind in ("", ", every logit"):
        pairs = zip(seconds[f"tokkit{kind}"], seconds[f"llama{kind}"], strict=True)
        ratios = sorted(mine / peer for mine, peer in pairs)
        print(
            f"  {'last logits' if not kind else kind[2:]}: tokkit "
            f"{statistics.median(seconds[f'tokkit{kind}']) * 1e3:.1f} ms, llama "
            f"{statistics.median(seconds[f'llama{kind}']) * 1e3:.1f} ms, ratio "
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
