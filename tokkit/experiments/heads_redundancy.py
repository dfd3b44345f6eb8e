"""How many heads a trained model needs: each taken out alone, and one after another.

Michel et al. 2019 and Voita et al. 2019 asked it of translation models. A head is taken out by
putting zeros, or its mean output over text, in the place of what it gives. Means, and the order of
greedy pruning, come from one half of the held-out windows; everything told is of the other half.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.experiments.heads_agreement import agreement, debiased_cka
from tokkit.experiments.position_text import score, text_tokens, trained_rows

if TYPE_CHECKING:
    from torch import Tensor

    from tokkit.experiments.text_arms import WindowText
    from tokkit.model.transformer import Transformer

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
Head = tuple[int, int]  # layer, head
WindowNats = Callable[[], Floats]

RANDOM_ORDERS = 5
AGREEMENT_TOKENS = 2048
ZERO, MEAN = "zero", "mean"
_ORDER_SEED, _TOKEN_SEED = 1, 2


@dataclass(frozen=True, slots=True)
class Half:
    """Windows of one half, cut to rows as trained: ids (N, T + 1), and 1 for text tokens."""

    rows: Ids
    told: Floats
    windows: int

    def nats(self, model: Transformer) -> Floats:
        """Of each window: (windows,)."""
        found = score(model, self.rows, self.rows.shape[1] - 1).nats * self.told
        return np.asarray(found.reshape(self.windows, -1).sum(1))


def halves(asked: WindowText) -> tuple[Half, Half]:
    """Every other window to choose by, and the rest to measure on."""
    found = []
    for first in (0, 1):
        windows = asked.text.windows[first::2]
        rows = trained_rows(windows, asked.length)
        found.append(Half(rows, text_tokens(asked.text, rows[:, 1:]), len(windows)))
    return found[0], found[1]


def measure_redundancy(
    model: Transformer, untrained: Transformer, asked: WindowText, seed: int
) -> dict[str, Any]:
    """Everything about the heads of one model, as JSON: nats are of the measured half's windows.

    {"bytes": (W,), "nats": (W,), "alone": {kind: {"layer.head": (W,)}}, "order": heads as pruned,
    "greedy": (heads + 1, W), "random": (heads + 1, W) the mean over random orders,
    "random_orders": (orders, heads + 1) sums, "cka", "cka_null", "cka_untrained": (heads, heads)}
    """
    chosen, measured = halves(asked)
    outputs = head_outputs(model, chosen.rows[:, :-1])
    means = outputs.mean(1)  # heads, K
    heads = all_heads(model)
    size = asked.text.token_bytes[asked.text.windows[1::2, 1:]].sum(1)
    order = greedy_order(model, heads, means, chosen.nats)
    draws = np.random.default_rng([_ORDER_SEED, seed])
    orders = [[heads[place] for place in draws.permutation(len(heads))]
              for _ in range(RANDOM_ORDERS)]  # fmt: skip
    curves = np.array([pruned_curve(model, o, means, measured.nats) for o in orders])
    return {
        "bytes": size.tolist(),
        "nats": measured.nats(model).tolist(),
        "alone": {
            kind: {
                f"{layer}.{head}": _without(model, [(layer, head)], of, measured.nats).tolist()
                for layer, head in heads
            }
            for kind, of in ((ZERO, np.zeros_like(means)), (MEAN, means))
        },
        "order": [list(head) for head in order],
        "greedy": pruned_curve(model, order, means, measured.nats).tolist(),
        "random": curves.mean(0).tolist(),
        "random_orders": curves.sum(2).tolist(),
        **_agreement(model, untrained, measured, seed),
    }


def all_heads(model: Transformer) -> list[Head]:
    """Every query head, layer by layer."""
    config = model.config
    return [(layer, head) for layer in range(config.layers) for head in range(config.query_heads)]


def head_outputs(model: Transformer, ids: Ids) -> Floats:
    """What each head gives for each token, before the output map: (layers H, tokens, K)."""
    import torch

    from tokkit.model.trace import trace

    names = [f"blocks.{layer}.attention.heads" for layer in range(model.config.layers)]
    found = []
    with torch.no_grad(), trace(model, names) as activations:
        for first in range(0, len(ids), 64):
            model.hidden(torch.from_numpy(ids[first : first + 64]))
            found.append(torch.cat([
                activations[name].transpose(0, 1).flatten(1, 2) for name in names
            ]))  # fmt: skip
    return np.asarray(torch.cat(found, dim=1).double().numpy())


@contextlib.contextmanager
def heads_replaced(model: Transformer, heads: Collection[Head], by: Floats) -> Iterator[None]:
    """Let heads give the same numbers for every token; `by` (layers H, K) of all heads."""
    import torch

    from tokkit.model.intervention import intervene

    count = model.config.query_heads
    values = torch.from_numpy(by).to(model.embedding)

    def change(layer: int, own: list[int]) -> Callable[[Tensor], Tensor]:
        def apply(given: Tensor) -> Tensor:
            given = given.clone()
            given[:, own] = values[[layer * count + head for head in own]][:, None]
            return given

        return apply

    by_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        by_layer.setdefault(layer, []).append(head)
    changes = {
        f"blocks.{layer}.attention.heads": change(layer, own) for layer, own in by_layer.items()
    }
    with intervene(model, changes):
        yield


NatsOf = Callable[["Transformer"], Floats]


def _without(model: Transformer, heads: Sequence[Head], by: Floats, nats: NatsOf) -> Floats:
    with heads_replaced(model, heads, by):
        return nats(model)


def greedy_order(
    model: Transformer, heads: Sequence[Head], means: Floats, nats: NatsOf
) -> list[Head]:
    """Heads in the order in which each costs least, those before it replaced by their means."""
    order: list[Head] = []
    left = list(heads)
    while left:
        costs = [float(_without(model, [*order, head], means, nats).sum()) for head in left]
        order.append(left.pop(int(np.argmin(costs))))
    return order


def pruned_curve(model: Transformer, order: Sequence[Head], means: Floats, nats: NatsOf) -> Floats:
    """Nats of each window with the first 0, 1, ... all heads of an order replaced by their means:
    (heads + 1, windows).
    """
    return np.array([
        _without(model, order[:count], means, nats) for count in range(len(order) + 1)
    ])  # fmt: skip


def _agreement(
    model: Transformer, untrained: Transformer, measured: Half, seed: int
) -> dict[str, Any]:
    """CKA on a sample of tokens, with two baselines: tokens shuffled, and the untrained model."""
    generator = np.random.default_rng([_TOKEN_SEED, seed])
    outputs = head_outputs(model, measured.rows[:, :-1])
    count = min(AGREEMENT_TOKENS, outputs.shape[1])
    places = np.sort(generator.permutation(outputs.shape[1])[:count])
    found = agreement(outputs[:, places], generator)
    before = debiased_cka(head_outputs(untrained, measured.rows[:, :-1])[:, places])
    return {
        "cka": np.round(found.cka, 5).tolist(),
        "cka_null": np.round(np.quantile(found.shuffled, 0.975, axis=0), 5).tolist(),
        "cka_untrained": np.round(before, 5).tolist(),
    }
