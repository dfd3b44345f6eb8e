"""Where a mixture sends its tokens: load, dead experts, entropy, and what decides.

E experts, k of them for a token. Source of the measures of load: Shazeer et al. 2017, section 4;
Fedus et al. 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokkit.analysis.feedforward.reading import Reading
from tokkit.analysis.feedforward.words import ConceptWords, Contexts, at_words
from tokkit.analysis.section import Section
from tokkit.model.transformer import Transformer
from tokkit.results import Column, Table

PERMUTATIONS = 500
MOST_TABLED = 4_096  # rows of loads
Ids = NDArray[np.int64]

_LAYERS = (
    Column("layer", "Layer"),
    Column("experts", "Experts"),
    Column("dead", "Experts that no token chose"),
    Column("largest", "Largest load", "proportion"),
    Column("even", "Even load", "proportion"),
    Column("load_entropy", "Entropy of the load", "nats"),
    Column("even_entropy", "... if even", "nats"),
    Column("token_entropy", "Entropy of one token's shares", "nats"),
    Column("token_information", "Information on the token", "nats"),
    Column("token_information_null", "... with tokens permuted", "nats"),
    Column("p_token", "p"),
    Column("category_information", "Information on the category", "nats"),
    Column("category_information_null", "... with labels permuted", "nats"),
    Column("p_category", "p"),
)
_LOADS = (
    Column("layer", "Layer"),
    Column("expert", "Expert"),
    Column("load", "Load", "proportion"),
    Column("even", "Even load", "proportion"),
    Column("share", "Mean share of the router", "proportion"),
)


def information(first: Ids, second: Ids) -> float:
    """Mutual information of two labellings of the same things, in nats, as counted (plug-in).

    It is above 0 by chance alone: compare it with permuted labels.
    """
    a, b = (np.unique(labels, return_inverse=True)[1] for labels in (first, second))
    shape = (int(a.max()) + 1, int(b.max()) + 1)
    counts = np.bincount(a * shape[1] + b, minlength=shape[0] * shape[1])
    joint = counts.reshape(shape) / len(a)
    expected = joint.sum(1, keepdims=True) * joint.sum(0)
    at = joint > 0
    return float((joint[at] * np.log(joint[at] / expected[at])).sum())


def against_permuted(
    first: Ids, second: Ids, generator: np.random.Generator, permutations: int = PERMUTATIONS
) -> tuple[float, float, float]:
    """The information, its mean with `second` permuted, and a one-sided p-value."""
    own = information(first, second)
    null = np.array(
        [information(first, generator.permutation(second)) for _ in range(permutations)]
    )
    p = (1 + int((null >= own - 1e-12).sum())) / (1 + permutations)
    return own, float(null.mean()), p


def loads(routed: Ids, experts: int) -> NDArray[np.float64]:
    """The share of choices that each expert gets, (E,), of chosen experts (tokens, k)."""
    counts = np.bincount(routed.reshape(-1), minlength=experts)
    return np.asarray(counts / max(1, routed.size), dtype=np.float64)


def routing_section(
    model: Transformer, reading: Reading, tokens: Ids, words: ConceptWords | None,
    contexts: Contexts | None, generator: np.random.Generator,
) -> Section:  # fmt: skip
    """Load by expert and layer, and what the first choice tells of token and category.

    `tokens` are the tokens of `reading.counted`. Tokens are permuted over places, labels over
    whole words, each with the expert that its mean shares over the contexts put first.
    """
    if not reading.routed:
        return Section({"mixture_layers": 0})
    first = _first_by_word(model, reading, words, contexts)
    rows: list[tuple[Any, ...]] = []
    per_expert: list[tuple[Any, ...]] = []
    experts = model.config.experts
    for layer, routed in reading.routed.items():
        load = loads(routed, experts)
        labels = None if words is None else words.labels
        rows.append(
            (
                layer, experts, int((load == 0).sum()), float(load.max()), 1 / experts,
                _entropy(load), float(np.log(experts)), reading.sharpness[layer],
                *against_permuted(routed[:, 0], tokens, generator, PERMUTATIONS // 5),
                *_of_words(first.get(layer), labels, generator),
            )
        )  # fmt: skip
        per_expert += [
            (layer, expert, float(load[expert]), 1 / experts, float(reading.shares[layer][expert]))
            for expert in range(experts)
        ]
    dead = sum(row[2] for row in rows)
    return Section(
        {
            "mixture_layers": len(rows),
            "experts": experts,
            "experts_per_token": model.config.experts_per_token,
            "dead_experts": dead,
        },
        {
            "routing": Table("Routing by layer", _LAYERS, tuple(rows)),
            "loads": Table("Load of each expert", _LOADS, tuple(per_expert[:MOST_TABLED])),
        },
        left_out={"experts beyond the table of loads": len(per_expert) - MOST_TABLED}
        if len(per_expert) > MOST_TABLED
        else {},
    )


def _of_words(
    chosen: Ids | None, labels: Ids | None, generator: np.random.Generator
) -> tuple[float | None, float | None, float | None]:
    if chosen is None or labels is None:
        return None, None, None
    return against_permuted(chosen, labels, generator)


def _first_by_word(
    model: Transformer, reading: Reading, words: ConceptWords | None, contexts: Contexts | None
) -> Mapping[int, Ids]:
    """The expert that each word's mean shares put first, by layer."""
    if words is None or contexts is None:
        return {}
    names = {layer: f"blocks.{layer}.feedforward.router" for layer in reading.routed}
    seen = at_words(model, contexts, words.tokens, list(names.values()))
    return {layer: seen[name].argmax(-1).to(torch.int64).numpy() for layer, name in names.items()}


def _entropy(load: NDArray[np.float64]) -> float:
    at = load[load > 0]
    return float(-(at * np.log(at)).sum())
