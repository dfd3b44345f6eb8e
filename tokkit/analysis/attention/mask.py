"""What later tokens can change of earlier ones: logits and gradients, over all pairs of places.

A causal model must give nothing at all: the same bits. T tokens are read, each but the first is
changed by itself, and then all from it on; every logit to the left is compared. The gradient of
the logits at each place, along a random direction, is taken with respect to what enters the first
block, and must be exactly 0 to the right. The same is measured with the mask taken away, which
must show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.analysis.positions.order import Unmasked
from tokkit.model.cache import Cache
from tokkit.model.intervention import intervene
from tokkit.model.layout import Places
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer

Floats = NDArray[np.float64]
MIXTURE_ROUNDING = 1e-5
"""A mixture multiplies the tokens of one expert together: how many they are is not the same after
a change, and the kernel may round another way. A share of the logits' spread."""


@dataclass(frozen=True, slots=True)
class Path:
    """A way that tokens go through a model.

    `cached` of the tokens are read before, into a cache; `documents` packs two texts into the row;
    `padding` counts columns at the left that are no text; `stepwise` computes attention without
    the fused kernel.
    """

    name: str
    cached: int = 0
    documents: bool = False
    padding: int = 0
    stepwise: bool = False


@dataclass(slots=True)
class UnmaskedCache(Unmasked):
    """Every token sees every other, those that the cache holds too."""

    def bias(
        self, *, sliding: bool, slopes: Tensor | None, key_columns: Tensor | None, at: Places | None
    ) -> Tensor:
        """Zeros, (1, 1, T, S); with slopes the penalty for distance to either side."""
        own = torch.arange(self.start, self.start + self.time, device=self.device)
        columns = own if key_columns is None else key_columns
        distance = (own[:, None] - columns).abs()[None, None]
        if slopes is None:
            return torch.zeros(distance.shape, device=self.device)
        return -slopes[:, None, None] * distance


@dataclass(frozen=True, slots=True)
class Leak:
    """What came from the right; 0 throughout where the mask is whole.

    logits     (T, T) largest change of the logits at t by a change of token p alone, a share of
               their spread; whatever p is
    jointly    the same by a change of all tokens from p on, the largest of t < p; 0 of a control
    gradients  (T, T) largest gradient of the logits at t with respect to what enters at p, a share
               of the largest of all
    pairs      how many (t, p) with t < p
    """

    logits: Floats
    jointly: float
    gradients: Floats

    @property
    def pairs(self) -> int:
        """Pairs of a place and one to its right."""
        length = len(self.logits)
        return length * (length - 1) // 2

    @property
    def largest_logit(self) -> float:
        """The largest change at a place left of what was changed."""
        return max(float(np.triu(self.logits, 1).max()), self.jointly)

    @property
    def largest_gradient(self) -> float:
        """The largest gradient to the right."""
        return float(np.triu(self.gradients, 1).max())

    @property
    def sees_itself(self) -> float:
        """The smallest change of a place's own logits by its own token: the change is one."""
        return float(self.logits.diagonal().min())


def leak(model: Transformer, ids: Tensor, path: Path, seed: int, *, masked: bool = True) -> Leak:
    """Measure one path on ids (1, T): pairs are those of the tokens that are not `path.cached`.

    Each change is a pass of its own, of the same shape as the first: nothing but the token differs.
    """
    generator = torch.Generator().manual_seed(seed)
    other = _changed(ids, model.config.vocab_size, generator)
    first, length = path.cached, ids.shape[1] - path.cached

    def logits(row: Tensor) -> Tensor:
        with torch.no_grad():
            return read(model, row, path, masked=masked)[0].double()

    base = logits(ids)
    spread = float(base.std()) or 1.0
    alone, jointly = np.zeros((length, length)), 0.0
    for place in range(length):
        row = ids.clone()
        row[:, first + place] = other[:, first + place]
        alone[:, place] = (logits(row) - base).abs().amax(-1).numpy() / spread
        if place and masked:
            row[:, first + place :] = other[:, first + place :]
            apart = (logits(row) - base)[:place].abs().max()
            jointly = max(jointly, float(apart) / spread)
    return Leak(alone, jointly, gradients(model, ids, path, generator, masked=masked))


def _changed(ids: Tensor, vocabulary: int, generator: torch.Generator) -> Tensor:
    """Another token at every place."""
    return (ids + torch.randint(1, vocabulary, ids.shape, generator=generator)) % vocabulary


def gradients(
    model: Transformer, ids: Tensor, path: Path, generator: torch.Generator, *, masked: bool
) -> Floats:
    """Largest gradient (T, T) of the logits at t, along one direction, by what enters at p."""
    leaves: list[Tensor] = []

    def as_leaf(x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return x
        leaves.append(x.detach().requires_grad_())
        return leaves[-1]

    with torch.enable_grad(), intervene(model, {"embedding": as_leaf}):
        logits = read(model, ids, path, masked=masked)[0]
        direction = torch.randn(logits.shape[-1], generator=generator)
        found = [
            torch.autograd.grad(row @ direction.to(row), leaves[-1], retain_graph=True)[0]
            for row in logits
        ]
    sizes = torch.stack([one[0].abs().amax(-1) for one in found]).double().numpy()
    return np.asarray(sizes / max(float(sizes.max()), 1e-30))


def read(model: Transformer, ids: Tensor, path: Path, *, masked: bool = True) -> Tensor:
    """The logits (1, T, V) of ids (1, cached + T) by one path."""
    config, cache = model.config, None
    if path.cached:
        cache = Cache(config, 1, ids.shape[1], dtype=model.embedding.dtype)
        with torch.no_grad():
            model.hidden(ids[:, : path.cached], cache=cache)
    ids = ids[:, path.cached :]
    half = ids.shape[1] // 2
    documents = (torch.arange(ids.shape[1])[None] >= half).long() if path.documents else None
    padding = torch.tensor([path.padding]) if path.padding else None
    names = [f"blocks.{n}.attention.pattern" for n in range(config.layers)]
    with trace(model, names) if path.stepwise else nullcontext():
        if masked:
            logits: Tensor = model(ids, documents=documents, padding=padding, cache=cache)
            return logits
        layout = UnmaskedCache(config, ids.shape[1], ids.device, path.cached, documents, padding)
        x = model.tap_embedding(model.embed(ids, layout))
        for layer, block in enumerate(model.blocks):
            x = block(x, None, layout, None if cache is None else cache.layers[layer])
        return model.unembed(x if model.final_norm is None else model.final_norm(x))


@dataclass(frozen=True, slots=True)
class CacheCheck:
    """Reading by a cache against reading in one pass.

    `difference` is the largest of the logits, a share of their spread; `control` the same where
    the first token that the cache holds was another; `changed` the largest change that later
    tokens made to keys and values that the cache held.
    """

    engine: str
    tokens: int
    difference: float
    control: float
    changed: float


Engine = Callable[[Transformer, Cache], Callable[[Tensor], Tensor]]


def engines(model: Transformer) -> Sequence[tuple[str, int, Engine]]:
    """The ways that tokens are read into a cache: name, tokens at a time, and the way."""
    from tokkit.model.row_stepping import RowStepper, can_step_rows
    from tokkit.model.stepping import Stepper, can_step

    def whole(model: Transformer, cache: Cache) -> Callable[[Tensor], Tensor]:
        return lambda ids: model(ids, cache=cache)[0]

    found: list[tuple[str, int, Engine]] = [("one token at a time", 1, whole)]
    found.append(("three tokens at a time", 3, whole))
    if can_step(model):
        found.append(("the stepper of generation", 1, lambda m, c: _stepping(Stepper(m, c))))
    if can_step_rows(model, 1):
        found.append(
            ("the compiled stepper of generation", 1, lambda m, c: _stepping(RowStepper(m, c)))
        )
    return found


def _stepping(step: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda ids: step(ids[0])


def cache_checks(model: Transformer, ids: Tensor, seed: int) -> list[CacheCheck]:
    """Every engine on ids (1, T), the first two of which are read at once."""
    other = _changed(ids, model.config.vocab_size, torch.Generator().manual_seed(seed))
    wrong = torch.cat((other[:, :1], ids[:, 1:]), dim=1)
    found = []
    with torch.inference_mode():
        plain = model(ids)[0, 2:].double()
        spread = float(plain.std()) or 1.0
        for name, size, engine in engines(model):
            own, changed = _by_cache(model, ids, size, engine)
            false, _ = _by_cache(model, wrong, size, engine)
            apart, control = (
                float((logits.double() - plain).abs().max()) / spread for logits in (own, false)
            )
            found.append(CacheCheck(name, ids.shape[1], apart, control, changed))
    return found


def _by_cache(model: Transformer, ids: Tensor, size: int, engine: Engine) -> tuple[Tensor, float]:
    """Logits (T - 2, V) after each token but the first two, and what changed in the cache."""
    cache = Cache(model.config, 1, ids.shape[1], dtype=model.embedding.dtype)
    model(ids[:, :2], cache=cache)
    whole = [layer for layer in cache.layers if not layer.slides]
    read_on, parts, changed, held = engine(model, cache), [], 0.0, 2
    while held < ids.shape[1]:
        before = [side[:, :, :held].clone() for x in whole for side in (x.keys, x.values)]
        parts.append(read_on(ids[:, held : held + size]).clone())
        after = [side[:, :, :held] for x in whole for side in (x.keys, x.values)]
        changed = max(
            changed, *(float((a - b).abs().max()) for a, b in zip(after, before, strict=True)), 0.0
        )
        held += size
    return torch.cat(parts), changed
