"""Causal tracing: which state, restored, brings a spoilt answer back (Meng et al. 2022, section 2).

The subject's embeddings are spoilt by noise. Then one thing is put back to what it was in the
clean run: the residual stream after a layer at one token, or what attention or feed-forward added
there, in a window of layers. That a state restores the answer says that it carries the fact, not
that an edit belongs there (Hase et al. 2023).

What is restored at a token leaves every earlier token and every lower layer as it was in the
spoilt run. So a token's runs share one climb through the layers: each joins at its own layer, at
the columns from its token on, with the keys and values of the spoilt run before them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokkit.analysis.editing.passes import normed
from tokkit.analysis.editing.request import Located
from tokkit.errors import ConfigError
from tokkit.model.cache import Cache, LayerCache
from tokkit.model.intervention import Change, intervene
from tokkit.model.layout import Layout
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer, seeded_generator

KINDS = ("residual", "attention", "feedforward")
SPREADS = 3.0  # of the noise, in standard deviations of the embeddings
_ROW_FLOATS = 1 << 26  # about what the widest activation of a climb may hold
Cell = tuple[str, int]
"""What is restored, and the layer, or the one in the middle of its window."""
Told = Callable[[str, str, int, int], None]


def _silent(stage: str, unit: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Draws of noise, its spread in that of the embeddings, and layers in a window.

    `window` is for attention and feed-forward; 0 is a third of the layers, the 10 of 30 or so of
    the paper.
    """

    draws: int = 5
    spreads: float = SPREADS
    window: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.draws < 1 or self.spreads <= 0 or self.window < 0:
            raise ConfigError(
                "a trace needs draws of at least 1, noise above 0 and a window of 0 or more, got "
                f"{self.draws}, {self.spreads} and {self.window}"
            )

    def layers_of(self, kind: str, layer: int, layers: int) -> range:
        """The layers that are restored for the cell of `layer`."""
        if kind == "residual":
            return range(layer, layer + 1)
        window = self.window or max(1, round(layers / 3))
        first = layer - window // 2
        return range(max(0, first), min(layers, first + window))


@dataclass(frozen=True, slots=True)
class Traced:
    """Probabilities of the answer's first token, and its logit less that of the alternative.

    clean, clean_difference            of the plain run
    corrupted, corrupted_difference    (R,) of the spoilt run, a draw of noise each
    restored, restored_difference      (3, L, T, R): KINDS, layers, tokens, draws
    """

    clean: float
    clean_difference: float
    corrupted: Tensor
    corrupted_difference: Tensor
    restored: Tensor
    restored_difference: Tensor


@dataclass(frozen=True, slots=True)
class _Run:
    """The streams that enter each layer and leave the last, and what each part added: (R, T, D)."""

    streams: list[Tensor]
    attention: list[Tensor]
    feedforward: list[Tensor]
    cache: Cache


@torch.no_grad()
def trace_fact(
    model: Transformer,
    place: Located,
    *,
    answer: int,
    alternative: int,
    settings: TraceSettings | None = None,
    seed: int = 0,
    told: Told = _silent,
) -> Traced:
    """Trace the token `answer` after the prompt of `place`, against the token `alternative`.

    The same draws of noise stand behind every cell. Raises ConfigError where the answer is the
    alternative.
    """
    if answer == alternative:
        raise ConfigError(f"answer and alternative must be two tokens, got {answer} twice")
    settings = settings or TraceSettings()
    ids = torch.tensor([place.ids], device=model.embedding.device)
    start = model.tap_embedding(model.embed(ids))
    clean = _pass(model, start)
    spoilt = start.repeat(settings.draws, 1, 1)
    spoilt[:, list(place.subject)] += subject_noise(model, place, settings, seed).to(spoilt)
    corrupted = _pass(model, spoilt)

    def measure(stream: Tensor) -> tuple[Tensor, Tensor]:
        logits = model.unembed(normed(model, stream[:, -1])).float()
        return (
            logits.softmax(-1)[:, answer],
            logits[:, answer] - logits[:, alternative],
        )

    layers, tokens = model.config.layers, len(place.ids)
    chances, differences = (torch.empty(2, len(KINDS), layers, tokens, settings.draws)).unbind()
    whole, whole_difference = measure(clean.streams[-1])
    bad, bad_difference = measure(corrupted.streams[-1])
    chances[:], differences[:] = bad, bad_difference
    # Before the subject both runs are the same: nothing is to be restored there.
    for token in range(place.subject[0], tokens):
        told("causal tracing", "tokens", token - place.subject[0], tokens - place.subject[0])
        for draws in _draws_at_once(model, settings.draws, tokens - token):
            cells, last = _climb(model, clean, corrupted, token, draws, settings)
            found = [part.view(len(cells), -1) for part in measure(last)]
            kinds = torch.tensor([KINDS.index(kind) for kind, _ in cells])[:, None]
            places = torch.tensor([layer for _, layer in cells])[:, None]
            at = kinds, places, token, torch.tensor(draws)
            chances[at], differences[at] = (part.cpu() for part in found)
    return Traced(
        float(whole), float(whole_difference), bad.cpu(), bad_difference.cpu(), chances, differences
    )


def subject_noise(model: Transformer, place: Located, settings: TraceSettings, seed: int) -> Tensor:
    """What is added to the subject's embeddings: (R, S, D), Gaussian, fixed by `seed`."""
    spread = float(model.embedding.detach().std()) * model.config.embedding_scale
    shape = (settings.draws, len(place.subject), model.config.width)
    noise = torch.randn(shape, generator=seeded_generator(seed, "tracing"))
    return settings.spreads * spread * noise


def _pass(model: Transformer, stream: Tensor) -> _Run:
    """Run all layers over (R, T, D), keeping what the climbs start from."""
    rows, tokens = stream.shape[:2]
    cache = Cache(model.config, rows, tokens, dtype=stream.dtype, device=stream.device)
    layout = Layout(model.config, tokens, stream.device)
    layers = range(model.config.layers)
    names = {kind: [f"blocks.{layer}.{kind}" for layer in layers] for kind in KINDS[1:]}
    streams = [stream]
    with trace(model, [name for of_kind in names.values() for name in of_kind]) as seen:
        for layer, block in enumerate(model.blocks):
            streams.append(block(streams[-1], None, layout, cache.layers[layer]))
    added = {kind: [seen[name] for name in of_kind] for kind, of_kind in names.items()}
    return _Run(streams, added["attention"], added["feedforward"], cache)


def _draws_at_once(model: Transformer, draws: int, columns: int) -> Iterator[list[int]]:
    """Draws in groups, so that the rows of a climb fit into memory."""
    config = model.config
    floats = len(KINDS) * config.layers * columns * max(config.hidden_width, config.width)
    step = max(1, _ROW_FLOATS // floats)
    for start in range(0, draws, step):
        yield list(range(start, min(draws, start + step)))


def _climb(
    model: Transformer,
    clean: _Run,
    corrupted: _Run,
    token: int,
    draws: Sequence[int],
    settings: TraceSettings,
) -> tuple[list[Cell], Tensor]:
    """All cells of one token, and the streams that leave the last layer, (cells x R, T', D)."""
    layers, tokens = model.config.layers, corrupted.streams[0].shape[1]
    slides = any(len(layer.columns) < tokens for layer in corrupted.cache.layers)
    first = 0 if slides else token  # a window that has moved on holds no keys of the beginning
    layout = Layout(model.config, tokens - first, clean.streams[0].device, start=first)
    rows, here = list(draws), token - first
    cells: list[Cell] = []
    stream = corrupted.streams[0][:0, first:]
    for layer in range(layers):
        joining = [cell for cell in _cells(layers) if settings.layers_of(*cell, layers)[0] == layer]
        entering = corrupted.streams[layer][rows, first:]
        stream = torch.cat((stream, *[entering] * len(joining)))
        cells += joining
        kept = corrupted.cache.layers[layer]
        cache = _held(model, kept, layer, rows, len(cells), first, tokens) if first else None
        active = [layer in settings.layers_of(*cell, layers) for cell in cells]
        added = {"attention": clean.attention[layer], "feedforward": clean.feedforward[layer]}
        changes = {
            f"blocks.{layer}.{kind}": _putting(
                [on and cell[0] == kind for cell, on in zip(cells, active, strict=True)],
                len(rows), here, value[0, token],
            )
            for kind, value in added.items()
        }  # fmt: skip
        with intervene(model, changes):
            stream = model.blocks[layer](stream, None, layout, cache)
        restored = corrupted.streams[layer + 1][rows, first:].clone()
        restored[:, here] = clean.streams[layer + 1][0, token]
        stream = torch.cat((stream, restored))
        cells.append(("residual", layer))
    return cells, stream


def _cells(layers: int) -> list[Cell]:
    """Those that are restored inside of layers; the residual stream is, between two."""
    return [(kind, layer) for kind in KINDS[1:] for layer in range(layers)]


def _putting(chosen: Sequence[bool], draws: int, column: int, value: Tensor) -> Change:
    """Put `value` (D,) at the column of every row of the chosen cells."""
    rows = torch.tensor(chosen).repeat_interleave(draws).to(value.device)

    def change(values: Tensor) -> Tensor:
        values = values.clone()
        values[rows, column] = value
        return values

    return change


def _held(
    model: Transformer, kept: LayerCache, layer: int, rows: Sequence[int], cells: int, first: int,
    tokens: int,
) -> LayerCache:  # fmt: skip
    """The spoilt run's keys and values of the columns before `first`, for every cell's rows."""
    shape = (cells * len(rows), tokens)
    cache = LayerCache(model.config, layer, shape, kept.keys.dtype, kept.keys.device)
    sides = (side[rows, :, :first].repeat(cells, 1, 1, 1) for side in (kept.keys, kept.values))
    cache.append(*sides)
    return cache
