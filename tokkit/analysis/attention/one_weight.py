"""The arithmetic behind the weights of one query: q, k and v, product, scale, cap, mask, softmax.

What Vaswani et al. 2017 write as softmax(q k / sqrt(K)) v (section 3.2.1), worked out again number
by number in float64 and compared with what the model's own attention gave.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tokkit.analysis.attention.sentence import Sentence
from tokkit.analysis.patterns import attention_of, bias_of
from tokkit.analysis.section import Section
from tokkit.model.layout import Layout
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer
from tokkit.results import Column, Table

ROUNDING = 1e-5
"""Weights and the head's output (a share of its largest number) may differ by as much."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Weighing:
    """One query of one head, T keys of K numbers each, all float64.

    query (K,), keys and values (T, K); products, scaled, capped, mask, scores and weights (T,);
    the model's own weights (T,); output (K,) the mix of the values, and the model's own.
    """

    query: Floats
    keys: Floats
    values: Floats
    products: Floats
    scaled: Floats
    capped: Floats
    mask: Floats
    weights: Floats
    own_weights: Floats
    output: Floats
    own_output: Floats

    @property
    def weights_apart(self) -> float:
        """The largest difference from the model's weights."""
        return float(np.abs(self.weights - self.own_weights).max())

    @property
    def output_apart(self) -> float:
        """The largest difference from the model's output, as a share of its largest number."""
        size = max(float(np.abs(self.own_output).max()), 1e-30)
        return float(np.abs(self.output - self.own_output).max()) / size


def weigh(model: Transformer, sentence: Sentence, layer: int, head: int, query: int) -> Weighing:
    """Work out again what the token at place `query` gives to each key in one head."""
    config, name = model.config, f"blocks.{layer}.attention"
    sides = [f"{name}.{side}" for side in ("query", "key", "value", "pattern", "heads")]
    with torch.inference_mode(), trace(model, sides) as found:
        model.hidden(sentence.ids)
        layout = Layout(config, sentence.ids.shape[1], sentence.ids.device)
        attention = attention_of(model, layer)
        bias = bias_of(attention, layout)[0]
    group = head * config.key_value_heads // config.query_heads
    asked, keys, values = (
        found[side][0, which].double().numpy()
        for side, which in zip(sides[:3], (head, group, group), strict=True)
    )
    products = keys @ asked[query]
    scaled = products * config.score_scale
    cap = config.attention_softcap
    capped = cap * np.tanh(scaled / cap) if cap else scaled
    mask = bias[head if len(bias) > 1 else 0, query].double().numpy()
    raised = np.exp(capped + mask - (capped + mask).max())
    weights = raised / raised.sum()
    return Weighing(
        query=asked[query], keys=keys, values=values, products=products, scaled=scaled,
        capped=capped, mask=mask, weights=weights,
        own_weights=found[sides[3]][0, head, query].double().numpy(),
        output=weights @ values,
        own_output=found[sides[4]][0, head, query].double().numpy(),
    )  # fmt: skip


def weight_section(model: Transformer, sentence: Sentence, layer: int, head: int) -> Section:
    """The last token's weights in one head, and the vectors behind the largest of them.

    Not of the first token's or its own, where there is another: these say least.
    """
    query = len(sentence.words) - 1
    found = weigh(model, sentence, layer, head, query)
    between = found.weights[1:query]
    key = 1 + int(between.argmax()) if len(between) else 0
    values = {
        "weight_query": sentence.words[query],
        "weight_key": sentence.words[key],
        "weight_key_place": key,
        "weight_scale": model.config.score_scale,
        "weight_softcap": model.config.attention_softcap,
        "weight": float(found.weights[key]),
        "weight_of_model": float(found.own_weights[key]),
        "weights_largest_difference": found.weights_apart,
        "output_largest_difference": found.output_apart,
        "weight_arithmetic_holds": max(found.weights_apart, found.output_apart) <= ROUNDING,
    }
    tables = {"scores": _scores(found, sentence), "vectors": _vectors(found, key)}
    return Section(values, tables)


def _scores(found: Weighing, sentence: Sentence) -> Table:
    columns = (
        Column("key", "Key, its place"),
        Column("token", "Token"),
        Column("product", "Query times key"),
        Column("scaled", "... scaled"),
        Column("capped", "... after the soft cap"),
        Column("mask", "Added by mask or slope; empty where hidden"),
        Column("weight", "Softmax", "proportion"),
        Column("model_weight", "The model's own", "proportion"),
        Column("value_norm", "Length of the value"),
    )
    norms = np.linalg.norm(found.values, axis=-1)
    rows = tuple(
        (
            place, word, float(found.products[place]), float(found.scaled[place]),
            float(found.capped[place]),
            float(found.mask[place]) if np.isfinite(found.mask[place]) else None,
            float(found.weights[place]), float(found.own_weights[place]), float(norms[place]),
        )
        for place, word in enumerate(sentence.words)
    )  # fmt: skip
    return Table("From products to weights, of the last token", columns, rows)


def _vectors(found: Weighing, key: int) -> Table:
    columns = (
        Column("number", "Number"),
        Column("query", "Query"),
        Column("key", "Key"),
        Column("product", "Query times key"),
        Column("value", "Value"),
    )
    product = found.query * found.keys[key]
    rows = tuple(
        (at, *(float(side[at]) for side in (found.query, found.keys[key], product,
                                            found.values[key])))
        for at in range(len(found.query))
    )  # fmt: skip
    return Table("The vectors behind the largest weight", columns, rows)
