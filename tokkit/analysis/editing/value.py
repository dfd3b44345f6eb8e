"""What a feed-forward layer must add at the subject so that the model says the target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokkit.analysis.editing.passes import (
    feedforward_of,
    frozen,
    hidden_after,
    right_padded,
    stream_before,
)
from tokkit.analysis.editing.request import EditRequest, Located, located
from tokkit.errors import ArtifactError, ConfigError, InputError
from tokkit.model.transformer import Transformer

ESSENCE = "{} is a"
"""After it the edited model shall say of the subject what it said before (Meng et al. 2022)."""


@dataclass(frozen=True, slots=True)
class EditSettings:
    """How the value is looked for; lengths are shares of that of the value before.

    steps          updates by Adam at most
    rate           length of an update, roughly
    largest        of the change
    decay          weight of the change's squared length in the loss
    essence        weight of the divergence (nats) after ESSENCE
    enough         it stops where -log p of the target (nats a token) is below
    """

    steps: int = 25
    rate: float = 0.3
    largest: float = 4.0
    decay: float = 0.01
    essence: float = 0.0625
    enough: float = 0.05

    def __post_init__(self) -> None:
        """Check that there is a step, and that no weight is negative."""
        if self.steps < 1 or self.rate <= 0 or self.largest <= 0:
            raise ConfigError(
                f"steps, rate and largest must be positive, got {self.steps}, {self.rate} and "
                f"{self.largest}"
            )
        if min(self.decay, self.essence, self.enough) < 0:
            raise ConfigError(
                f"decay, essence and enough must not be negative, got {self.decay}, "
                f"{self.essence} and {self.enough}"
            )


@dataclass(frozen=True, slots=True)
class Trial:
    """Where the search stood before an update: nats, and the change's length over the value's."""

    loss: float
    target_nats: float  # a token of the target
    essence_nats: float
    length: float


@dataclass(frozen=True, slots=True)
class Optimised:
    """The mean key (M,), what is to be added to its value (D,), the way there, and the prefixes.

    A prefix that the context has no room for, or that the tokenizer does not give back, is left
    out.
    """

    key: Tensor
    delta: Tensor
    trials: tuple[Trial, ...]
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows of the prompt after each prefix, and last the row of ESSENCE; places are (row, column).

    at          (R, T, 1) 1 where the subject's last token stands, else 0
    asked       places after which a token of the target shall come
    targets     those tokens
    essence     the place after which nothing shall change
    """

    ids: Tensor
    at: Tensor
    asked: tuple[Tensor, Tensor]
    targets: Tensor
    essence: tuple[int, int]
    prefixes: tuple[str, ...]


def optimise_value(
    model: Transformer,
    tokenizer: Any,
    request: EditRequest,
    *,
    layer: int,
    prefixes: Sequence[str],
    start_ids: Sequence[int],
    settings: EditSettings,
) -> Optimised:
    """Look for what the feed-forward of `layer` must add at the subject's last token.

    The loss is the mean of -log p over the target's tokens and the prompt after each prefix and
    after none, with the divergence after ESSENCE and the change's length (Meng et al. 2022,
    section 3.1). Only the layers from `layer` on are computed. The value before is the mean over
    the same texts as the key, so that the value sought is W k + delta.
    """
    batch = _batch(model, tokenizer, request, prefixes, start_ids)
    with frozen(model), torch.enable_grad():
        with torch.no_grad():
            stream = stream_before(model, batch.ids, layer)
            keys, values = _keys_and_values(model, stream, batch, layer)
        length = values[:-1].norm(dim=-1).mean()
        if not bool(length.isfinite()) or float(length) == 0:
            raise ArtifactError(
                f"the feed-forward of layer {layer} adds nothing finite at the subject: the "
                "weights are damaged, or choose another layer"
            )
        delta, trials = _search(model, stream, batch, layer, length, settings)
    return Optimised(keys[:-1].mean(0), delta, tuple(trials), batch.prefixes)


def _search(
    model: Transformer,
    stream: Tensor,
    batch: _Batch,
    layer: int,
    length: Tensor,
    settings: EditSettings,
) -> tuple[Tensor, list[Trial]]:
    delta = torch.zeros(stream.shape[-1], device=stream.device, requires_grad=True)
    rate = settings.rate * float(length) / len(delta) ** 0.5
    adam = torch.optim.Adam([delta], lr=rate)
    trials: list[Trial] = []
    before: Tensor | None = None
    while True:
        with _added(model, layer, batch.at, delta):
            hidden = hidden_after(model, stream, layer)
        here = model.unembed(hidden[batch.essence]).float().log_softmax(-1)
        before = here.detach() if before is None else before
        chances = model.unembed(hidden[batch.asked]).float().log_softmax(-1)
        target = -chances.gather(-1, batch.targets[:, None]).mean()
        essence = (before.exp() * (before - here)).sum()
        share = delta.norm() / length if len(trials) else delta.sum() * 0  # no slope at 0
        loss = target + settings.essence * essence + settings.decay * share**2
        trials.append(Trial(*(float(part.detach()) for part in (loss, target, essence, share))))
        if len(trials) > settings.steps or trials[-1].target_nats < settings.enough:
            return delta.detach(), trials
        (delta.grad,) = torch.autograd.grad(loss, delta)
        adam.step()
        with torch.no_grad():
            longest = settings.largest * length
            delta *= (longest / delta.norm().clamp(min=float(longest))).clamp(max=1)


def _batch(
    model: Transformer,
    tokenizer: Any,
    request: EditRequest,
    prefixes: Sequence[str],
    start_ids: Sequence[int],
) -> _Batch:
    context = model.config.context
    found, used = [located(tokenizer, request, start_ids, context=context)], []
    for prefix in prefixes:
        try:
            found.append(located(tokenizer, request, start_ids, context=context, before=prefix))
        except InputError:  # the bare prompt is fine
            continue
        used.append(prefix)
    plain = EditRequest(request.subject, ESSENCE, request.target)
    essence = located(tokenizer, plain, start_ids, context=context)
    return _rows(found, essence, tuple(used), model.embedding.device)


def _rows(
    found: Sequence[Located], essence: Located, used: tuple[str, ...], device: torch.device
) -> _Batch:
    texts = [[*one.ids, *one.target[:-1]] for one in found] + [list(essence.ids)]
    ids = right_padded(texts, device)
    at = torch.zeros(*ids.shape, 1, device=device)
    for row, one in enumerate([*found, essence]):
        at[row, one.subject_end] = 1
    rows = [row for row, one in enumerate(found) for _ in one.target]
    columns = [len(one.ids) - 1 + n for one in found for n in range(len(one.target))]
    targets = [token for one in found for token in one.target]
    asked = (torch.tensor(rows, device=device), torch.tensor(columns, device=device))
    last = (len(found), len(essence.ids) - 1)
    return _Batch(ids, at, asked, torch.tensor(targets, device=device), last, used)


def _keys_and_values(
    model: Transformer, stream: Tensor, batch: _Batch, layer: int
) -> tuple[Tensor, Tensor]:
    """What the down projection is given and gives at the subject's end: (R, M) and (R, D)."""
    seen: list[Tensor] = []

    def look(_module: object, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.extend((inputs[0], output))

    handle = feedforward_of(model, layer).down.register_forward_hook(look)
    try:
        hidden_after(model, stream, layer)
    finally:
        handle.remove()
    places = batch.at[..., 0] == 1
    return seen[0][places], seen[1][places]


@contextmanager
def _added(model: Transformer, layer: int, at: Tensor, delta: Tensor) -> Iterator[None]:
    """Add `delta` (D,) to what the down projection gives at the places of `at`, (R, T, 1)."""

    def add(_module: object, _inputs: object, output: Tensor) -> Tensor:
        return output + at * delta

    handle = feedforward_of(model, layer).down.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
