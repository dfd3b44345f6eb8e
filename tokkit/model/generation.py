"""Text comes out one next-token prediction after another.

The keys and values of what was read are kept (`tokkit.model.cache`), so that a step reads one new
token; with `cached=False` every step reads the whole text anew, and says the same: the oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tokkit.errors import ArtifactError, ConfigError, InputError
from tokkit.model.cache import Cache
from tokkit.model.config import ModelConfig
from tokkit.model.row_stepping import RowStepper, can_step_rows
from tokkit.model.sampling import GREEDY, LARGEST_SEED, Chooser, SamplingConfig
from tokkit.model.stepping import Stepper, can_step
from tokkit.model.transformer import Transformer

BATCH_BYTES = 1 << 29  # about what one batch may take, beside the model
BATCH_ROWS = 256  # more rows are no faster a row
_FINISHED_SHARE = 4  # a batch is packed anew when one in so many of its rows has finished

Stop = Callable[[int, int], bool]
"""Called with the number of a prompt and its newest id: whether its text ends there."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that could come next, with the probability that the model gives it."""

    id: int
    probability: float


@dataclass(frozen=True, slots=True)
class Step:
    """One generated token, its probability, and the likeliest tokens at that place, best first."""

    id: int
    probability: float
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is asked of every prompt."""

    max_new_tokens: int
    stop_ids: frozenset[int]
    sampling: SamplingConfig
    seed: int
    stop: Stop | None
    cached: bool

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ConfigError(f"seed must lie in 0..{LARGEST_SEED}, got {self.seed}")

    def ends(self, row: int, token: int) -> bool:
        """Whether the text of prompt `row` ends with this token."""
        return token in self.stop_ids or (self.stop is not None and self.stop(row, token))


def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    sampling: SamplingConfig = GREEDY,
    seed: int = 0,
    candidates: int = 1,
    stop: Stop | None = None,
    cached: bool = True,
) -> list[list[Step]]:
    """Continue each prompt (a list of ids) by up to `max_new_tokens` tokens, each with its odds.

    Prompts of any lengths share batches, bounded in memory and padded on the left, where padding
    is not seen. A token of `stop_ids` ends its row and is the row's last step, and so does one for
    which `stop(row, id)` says so. Probabilities are those of the model itself, whatever `sampling`
    makes of them; `candidates` of them are listed at each step.

    What prompt n draws comes from a generator of its own with the seed `seed + n`, one number a
    step: it depends neither on the other prompts nor on how long the text may become. (Logits do
    depend on the size of the batch, in their last bits: a draw that falls this near to the border
    of two tokens can differ.)

    Raises ConfigError for settings out of range, InputError for an empty prompt or one that does
    not leave room for an answer in the model's context.
    """
    steps: list[list[Step]] = [[] for _ in prompts]
    for row, step in stream(
        model,
        prompts,
        max_new_tokens=max_new_tokens,
        stop_ids=stop_ids,
        sampling=sampling,
        seed=seed,
        candidates=candidates,
        stop=stop,
        cached=cached,
    ):
        steps[row].append(step)
    return steps


def stream(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    sampling: SamplingConfig = GREEDY,
    seed: int = 0,
    candidates: int = 1,
    stop: Stop | None = None,
    cached: bool = True,
) -> Iterator[tuple[int, Step]]:
    """As `generate`, but each step comes as soon as it is known: the prompt's number, the step.

    `stop(row, id)` is called after the step was handed out, so a reader can decide by what it saw.
    Wrong settings and prompts are told here, before anything is read.
    """
    plan = _Plan(
        max_new_tokens=max_new_tokens,
        stop_ids=frozenset(stop_ids),
        sampling=sampling,
        seed=seed,
        stop=stop,
        cached=cached,
    )
    if candidates < 1:
        raise ConfigError(f"candidates must be at least 1, got {candidates}")
    _check_prompts(model.config, prompts, max_new_tokens)
    return _stream(model, prompts, plan, candidates)


@torch.inference_mode()
def _stream(
    model: Transformer, prompts: Sequence[Sequence[int]], plan: _Plan, candidates: int
) -> Iterator[tuple[int, Step]]:
    for batch in batches(model.config, [len(prompt) for prompt in prompts], plan.max_new_tokens):
        for rows, chosen, logits in _decode(model, prompts, batch, plan):
            for row, step in zip(rows, _steps(logits, chosen, candidates), strict=True):
                if row >= 0:
                    yield row, step


@torch.inference_mode()
def generate_ids(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    sampling: SamplingConfig = GREEDY,
    seed: int = 0,
    stop: Stop | None = None,
    cached: bool = True,
) -> list[list[int]]:
    """As `generate`, but the ids alone, without their odds: the fastest way."""
    plan = _Plan(
        max_new_tokens=max_new_tokens,
        stop_ids=frozenset(stop_ids),
        sampling=sampling,
        seed=seed,
        stop=stop,
        cached=cached,
    )
    _check_prompts(model.config, prompts, max_new_tokens)
    found: list[list[int]] = [[] for _ in prompts]
    for batch in batches(model.config, [len(prompt) for prompt in prompts], max_new_tokens):
        for rows, chosen, _ in _decode(model, prompts, batch, plan):
            for row, token in zip(rows, chosen.tolist(), strict=True):
                if row >= 0:
                    found[row].append(token)
    return found


def batches(config: ModelConfig, lengths: Sequence[int], new_tokens: int) -> Iterator[list[int]]:
    """Numbers of rows that fit into one batch together, rows of like length beside each other.

    A batch has at most BATCH_ROWS rows and takes about BATCH_BYTES at most, or has one row.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        rows = BATCH_BYTES // _row_bytes(config, lengths[row], new_tokens)
        if len(batch) >= min(max(rows, 1), BATCH_ROWS):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _row_bytes(config: ModelConfig, length: int, new_tokens: int) -> int:
    """About what a row takes at most: keys and values, activations of its prompt, logits."""
    cache = 2 * config.layers * config.key_value_heads * config.head_width
    hidden = config.hidden_width * max(1, config.experts_per_token)
    activations = 8 * config.width + 3 * hidden + 4 * config.query_heads * config.head_width
    floats = (length + new_tokens) * cache + length * activations + 4 * config.vocab_size
    return 4 * floats


def _check_prompts(config: ModelConfig, prompts: Sequence[Sequence[int]], new_tokens: int) -> None:
    check_ids(config, prompts, what="a prompt")
    longest = max((len(prompt) for prompt in prompts), default=0)
    if longest + new_tokens - 1 > config.context:
        raise InputError(
            f"the longest prompt has {longest} tokens and {new_tokens} are to "
            f"follow, but the model's context is {config.context}: shorten the text"
        )


def check_ids(config: ModelConfig, texts: Sequence[Sequence[int]], *, what: str) -> None:
    """Raise InputError when one of some lists of ids is empty or holds what is no id."""
    for ids in texts:
        if len(ids) == 0:
            raise InputError(
                f"{what} must have at least one token, got an empty one: give some text"
            )
        low, high = min(ids), max(ids)
        if low < 0 or high >= config.vocab_size:
            raise InputError(
                f"ids must lie in 0..{config.vocab_size - 1}, got {low if low < 0 else high}: "
                "the tokenizer does not belong to this model"
            )


def left_padded(texts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Texts as one (B, T) int64, and how many columns at the left of each row are none, (B,)."""
    longest = max(len(ids) for ids in texts)
    rows = [[0] * (longest - len(ids)) + list(ids) for ids in texts]
    padding = [longest - len(ids) for ids in texts]
    return torch.tensor(rows, device=device), torch.tensor(padding, device=device)


class _Reader(Protocol):
    """What reads a batch of prompts, then one new token of each row after the other."""

    def begin(self) -> Tensor:
        """The logits (B, V) after each prompt."""
        ...

    def read(self, chosen: Tensor) -> Tensor:
        """The logits (B, V) after one more token of each row, (B,) int64."""
        ...

    def select(self, rows: Tensor) -> None:
        """Keep these rows."""
        ...


class _CachedReader:
    """Reads each token once."""

    def __init__(self, model: Transformer, prompts: Sequence[Sequence[int]], new: int) -> None:
        self._model = model
        self._ids, padding = left_padded(prompts, model.embedding.device)
        self._padding = padding if bool(padding.any()) else None
        rows, length = self._ids.shape
        self._cache = Cache(
            model.config,
            rows,
            length + new - 1,
            dtype=model.embedding.dtype,
            device=model.embedding.device,
        )
        self._stepper: Stepper | RowStepper | None = None

    def begin(self) -> Tensor:
        rows, length = self._ids.shape
        device = self._ids.device
        last = torch.arange(rows, device=device), torch.full((rows,), length - 1, device=device)
        logits: Tensor = self._model(self._ids, at=last, padding=self._padding, cache=self._cache)
        if can_step_rows(self._model, rows):
            self._stepper = RowStepper(self._model, self._cache)
        elif can_step(self._model):
            self._stepper = Stepper(self._model, self._cache)
        return logits

    def read(self, chosen: Tensor) -> Tensor:
        if self._stepper is not None:
            return self._stepper(chosen)
        logits: Tensor = self._model(chosen[:, None], cache=self._cache)
        return logits[:, 0]

    def select(self, rows: Tensor) -> None:
        (self._stepper or self._cache).select(rows)


class _WholeReader:
    """Reads the whole text at every step; padded on the right, where the causal mask hides it."""

    def __init__(self, model: Transformer, prompts: Sequence[Sequence[int]], new: int) -> None:
        self._model = model
        device = model.embedding.device
        self._lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        self._ids = torch.zeros(
            len(prompts), int(self._lengths.max()) + new, dtype=torch.long, device=device
        )
        for row, prompt in enumerate(prompts):
            self._ids[row, : len(prompt)] = torch.as_tensor(prompt)

    def begin(self) -> Tensor:
        rows = torch.arange(len(self._ids), device=self._ids.device)
        logits: Tensor = self._model(
            self._ids[:, : int(self._lengths.max())], at=(rows, self._lengths - 1)
        )
        return logits

    def read(self, chosen: Tensor) -> Tensor:
        self._ids.scatter_(1, self._lengths[:, None], chosen[:, None])
        self._lengths += 1
        return self.begin()

    def select(self, rows: Tensor) -> None:
        self._ids, self._lengths = self._ids[rows], self._lengths[rows]


def _decode(
    model: Transformer, prompts: Sequence[Sequence[int]], batch: Sequence[int], plan: _Plan
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield the rows of a batch step by step: their numbers, their new ids, their logits.

    A row that has finished shows the number -1 until the batch is packed anew.
    """
    texts = [prompts[row] for row in batch]
    reader: _Reader = (_CachedReader if plan.cached else _WholeReader)(
        model, texts, plan.max_new_tokens
    )
    chooser = Chooser(
        plan.sampling,
        texts,
        [plan.seed + row for row in batch],
        vocab_size=model.config.vocab_size,
        max_new_tokens=plan.max_new_tokens,
        device=model.embedding.device,
    )
    rows = list(batch)
    logits = reader.begin()
    if not bool(logits.isfinite().all()):
        raise ArtifactError("the model's logits are not finite: its weights are damaged")
    for step in range(plan.max_new_tokens):
        chosen = chooser(logits, step)
        yield rows, chosen, logits
        ended = [
            row < 0 or plan.ends(row, token)
            for row, token in zip(rows, chosen.tolist(), strict=True)
        ]
        if all(ended) or step + 1 == plan.max_new_tokens:
            return
        rows = [-1 if end else row for row, end in zip(rows, ended, strict=True)]
        if sum(ended) * _FINISHED_SHARE >= len(rows):
            kept = torch.tensor([place for place, end in enumerate(ended) if not end])
            kept = kept.to(chosen.device)
            reader.select(kept)
            chooser.select(kept)
            chosen, rows = chosen[kept], [row for row in rows if row >= 0]
        logits = reader.read(chosen)


def _steps(logits: Tensor, chosen: Tensor, candidates: int) -> Iterator[Step]:
    """The steps of all rows, from logits (N, V) and the ids chosen (N,)."""
    logits = logits.float()
    totals = logits.logsumexp(-1, keepdim=True)
    best = (
        logits.topk(min(candidates, logits.shape[-1]))
        if candidates > 1
        else logits.max(-1, keepdim=True)
    )
    values = torch.cat((logits.gather(1, chosen[:, None]), best.values), dim=1)
    probabilities = (values - totals).exp().tolist()
    for token, (own, *others), ids in zip(
        chosen.tolist(), probabilities, best.indices.tolist(), strict=True
    ):
        yield Step(token, own, tuple(map(Candidate, ids, others)))
