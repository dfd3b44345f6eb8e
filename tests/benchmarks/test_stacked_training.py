"""Seconds a model-step: several seeds trained one by one, in processes, and stacked.

pytest tests/benchmarks/test_stacked_training.py -s

Every way of training does the same work, in turn, in worker processes that stay; one worker works
alone, or two at once as in the experiments. Ratios are of rounds side by side, so that other work
on the machine hits all ways alike; where that work takes a core, two threads suffer most, and the
CPU seconds of one thread suffer least. Nothing is asserted but that the rule of `worth_stacking`
is not refuted by half.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import torch

from tokkit.model.config import ModelConfig
from tokkit.model.stacked import StackedTransformer
from tokkit.model.transformer import Transformer
from tokkit.training import stacked
from tokkit.training.config import TrainingConfig
from tokkit.training.loop import new_optimizer
from tokkit.training.objective import Batch, next_token_loss

# batch, time, width, heads, vocabulary, places with logits
SHAPES = {
    "strawberry: 192 x 24, width 64": (192, 24, 64, 8, 4517, 240),
    "64 x 32, width 64": (64, 32, 64, 8, 509, 64),
    "32 x 32, width 64": (32, 32, 64, 8, 509, 64),
    "32 x 16, width 32": (32, 16, 32, 4, 101, 64),
    "8 x 16, width 64": (8, 16, 64, 8, 509, 16),
    "8 x 16, width 16": (8, 16, 16, 2, 53, 16),
}
STACKS = (2, 4, 8)
MODELS = 8  # model-steps in one measurement, however they are stacked
ROUNDS, SECONDS = 9, 15.0  # of a shape: so many rounds, or as many as fit, at least 2

# how -> (threads, processes)
PLACES = {"1 thread": (1, 1), "2 threads": (2, 1), "2 processes": (1, 2)}
WAYS = {
    f"{'apart' if size == 1 else f'stack of {size}'}, {how}": (size, *place)
    for how, place in PLACES.items()
    for size in (1, *STACKS)
}
Step = Callable[[], None]


def some_batch(shape: str) -> Batch:
    batch, length, _, _, vocab, places = SHAPES[shape]
    return Batch(
        torch.randint(vocab, (batch, length)),
        torch.arange(places) % batch,
        torch.randint(length, (places,)),
        torch.randint(vocab, (places,)),
    )


def steps_of(shape: str) -> dict[int, list[Step]]:
    """For each size of stack, the steps that train MODELS models once."""
    _, _, width, heads, vocab, _ = SHAPES[shape]
    config = ModelConfig(
        vocab_size=vocab,
        width=width,
        layers=2,
        query_heads=heads,
        hidden_width=3 * width // 2,
        positions="learned",
        context=64,
    )

    def models() -> list[Transformer]:
        return [Transformer(config, seed=seed) for seed in range(MODELS)]

    steps = {1: [step_apart(model, some_batch(shape)) for model in models()]}
    for size in STACKS:
        made, batches = models(), [some_batch(shape) for _ in range(size)]
        groups = [made[first : first + size] for first in range(0, MODELS, size)]
        steps[size] = [step_stacked(StackedTransformer(group), batches) for group in groups]
    return steps


def step_apart(model: Transformer, batch: Batch) -> Step:
    """As `loop.train` does it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = next_token_loss(model, batch)
        loss.backward()
        float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        float(loss.detach())
        optimizer.step()

    return step


def step_stacked(stack: StackedTransformer, batches: list[Batch]) -> Step:
    config = TrainingConfig(steps=10**6, learning_rate=1e-4)
    optimizer = new_optimizer(stack, config, axes=3)
    return lambda: stacked._take_step(stack, optimizer, batches, config, 0) and None


def work(pipe: Connection) -> None:
    """A worker: told (shape, size, threads), train MODELS models once; None ends it."""
    shape, steps = "", {}
    while (order := pipe.recv()) is not None:
        wanted, size, threads = order
        if wanted != shape:
            torch.set_num_threads(1)
            shape, steps = wanted, steps_of(wanted)
        torch.set_num_threads(threads)
        started = time.process_time()
        for step in steps[size]:
            step()
        pipe.send(time.process_time() - started)


@contextmanager
def two_workers() -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(2):
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs,), daemon=True)
        process.start()
        pipes.append(ours)
        processes.append(process)
    try:
        yield pipes
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.send(None)
            process.join(10)


def measured(pipes: list[Connection], shape: str, way: str) -> tuple[float, float]:
    """Seconds a model-step: of the clock, and of the CPU where one thread works."""
    size, threads, processes = WAYS[way]
    started = time.perf_counter()
    for pipe in pipes[:processes]:
        pipe.send((shape, size, threads))
    cpu = sum(pipe.recv() for pipe in pipes[:processes]) / processes
    wall = time.perf_counter() - started
    return wall / (MODELS * processes), cpu / MODELS


def measure(pipes: list[Connection], shape: str) -> dict[str, list[float]]:
    """Seconds a model-step by way, a number a round; those of the CPU under "way, CPU"."""
    for pipe in pipes:  # both build their models before the clock runs
        pipe.send((shape, 1, 1))
    for pipe in pipes:
        pipe.recv()
    seconds: dict[str, list[float]] = {}
    until = time.monotonic() + SECONDS
    for round_ in range(ROUNDS + 1):
        for way in WAYS:
            wall, cpu = measured(pipes, shape, way)
            if round_:
                seconds.setdefault(way, []).append(wall)
                seconds.setdefault(f"{way}, CPU", []).append(cpu)
        if round_ >= 2 and time.monotonic() > until:
            break
    return seconds


def times_as_fast(seconds: dict[str, list[float]], size: int, how: str) -> list[float]:
    pairs = zip(seconds[f"stack of {size}, {how}"], seconds[f"apart, {how}"], strict=True)
    return sorted(apart / stack for stack, apart in pairs)


def table(shape: str, seconds: dict[str, list[float]]) -> str:
    lines = [f"{shape}: ms a model-step (times as fast as apart in the same place, range)"]
    for how in (*PLACES, "1 thread, CPU", "2 processes, CPU"):
        line = f"  {how:16} apart {statistics.median(seconds[f'apart, {how}']) * 1e3:7.2f}"
        for size in STACKS:
            ratios = times_as_fast(seconds, size, how)
            spent = statistics.median(seconds[f"stack of {size}, {how}"]) * 1e3
            line += f"   S={size} {spent:7.2f} ({statistics.median(ratios):4.2f}, "
            line += f"{ratios[0]:4.2f} to {ratios[-1]:4.2f})"
        lines.append(line)
    return "\n".join(lines)


def test_stacked_training():
    with two_workers() as pipes:
        for shape, (batch, length, width, heads, vocab, places) in SHAPES.items():
            seconds = measure(pipes, shape)
            config = ModelConfig(vocab_size=vocab, width=width, layers=2, query_heads=heads)
            worth = stacked.worth_stacking(config, batch, length, models=4, places=places)
            print(f"\n{table(shape, seconds)}\n  worth stacking, says the rule: {worth}")
            ratio = statistics.median(times_as_fast(seconds, 4, "1 thread, CPU"))
            assert ratio > 0.67 if worth else ratio < 1.5
