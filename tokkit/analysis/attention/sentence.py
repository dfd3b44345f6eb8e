"""The patterns of every head on one sentence, and which head is shown large.

L layers, H query heads, T tokens of the sentence with what the model puts before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.analysis import patterns
from tokkit.errors import ArtifactError, ConfigError, InputError
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.results import Column, Table

if TYPE_CHECKING:
    from tokkit.corpus.world import World

DEFAULT_SENTENCE = "The cat that I saw yesterday was"
SHOWN_RULE = (
    "Shown large is the head whose last token gives the largest single weight to a token that is "
    "neither itself nor the first of the text."
)
MOST_WEIGHTS = 120_000
"""Beyond as many weights in all heads, only those of the shown head are kept."""
MOST_TOKENS = 128
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence as the model reads it.

    `ids` (1, T) int64; `words` the text of each token; `given` how many stand before the sentence.
    """

    text: str
    ids: Tensor
    words: tuple[str, ...]
    given: int


def world_sentence(world: World | None) -> str:
    """An agreement sentence of the world up to its verb; of other models DEFAULT_SENTENCE.

    The first training item with one attractor, of another number than the subject, and an adverb;
    without an adverb where there is none.
    """
    if world is None:
        return DEFAULT_SENTENCE
    single = [
        item
        for item in world.agreement_items("train")
        if item.n_attractors == 1 and item.attractor_numbers[0] != item.number
    ]
    if not single:
        return DEFAULT_SENTENCE
    chosen = next((item for item in single if item.adverb), single[0])
    return f"{chosen.prefix} {chosen.right}"


def read_sentence(
    tokenizer: Any, text: str, config: ModelConfig, start_ids: Sequence[int] = ()
) -> Sentence:
    """Encode a sentence, `start_ids` before it.

    Raises InputError for an empty sentence, one of a single token (nothing to look back at), and
    one that is longer than the model's context or MOST_TOKENS.
    """
    if not text.strip():
        raise InputError("the sentence must not be empty: give a few words, as --sentence 'a b c'")
    own = list(tokenizer.encode(text))
    ids = [*start_ids, *own]
    most = min(config.context, MOST_TOKENS)
    if len(own) < 2:
        raise InputError(
            f"the sentence must have at least 2 tokens, got {len(own)}: with one there is nothing "
            "to look back at, give more words"
        )
    if len(ids) > most:
        reason = "the model's context" if most == config.context else "what a pattern can show"
        raise InputError(
            f"the sentence is {len(ids)} tokens long, but {reason} is {most}: shorten it"
        )
    words = tuple(tokenizer.token_bytes(token).decode("utf-8", "backslashreplace") for token in ids)
    return Sentence(text, torch.tensor([ids]), words, len(start_ids))


def check_head(config: ModelConfig, layer: int | None, head: int | None) -> None:
    """Raise ConfigError, with the range, for a layer or head that the model lacks."""
    for what, value, count in (
        ("layer", layer, config.layers),
        ("head", head, config.query_heads),
    ):
        if value is not None and not 0 <= value < count:
            raise ConfigError(
                f"{what} must lie in 0..{count - 1}, got {value}: this model has {count} "
                f"{'layers' if what == 'layer' else 'heads a layer'}"
            )


def sentence_patterns(model: Transformer, sentence: Sentence) -> Floats:
    """The weights of every head, (L, H, T, T), as the model's attention deals them.

    Raises ArtifactError where queries and keys are not finite.
    """
    with torch.inference_mode():
        (found,) = patterns.traced(model, sentence.ids)
        layers = [
            patterns.pattern(patterns.attention_of(model, layer), query, key, found.layout)[0]
            for layer, (query, key) in enumerate(found.pairs)
        ]
    weights: Floats = torch.stack(layers).float().numpy()
    if not np.isfinite(weights).all():
        raise ArtifactError("attention weights must be finite: the model's weights are damaged")
    return weights


def shown_head(weights: Floats, layer: int | None, head: int | None) -> tuple[int, int]:
    """Layer and head shown large: those asked for, the rest of the choice by SHOWN_RULE."""
    last = weights[:, :, -1, 1:-1]
    most = last.max(-1) if last.shape[-1] else weights[:, :, -1, 0]
    allowed = np.ones(most.shape, dtype=bool)
    if layer is not None:
        allowed &= np.arange(most.shape[0])[:, None] == layer
    if head is not None:
        allowed &= np.arange(most.shape[1]) == head
    found = np.unravel_index(np.where(allowed, most, -1.0).argmax(), most.shape)
    return int(found[0]), int(found[1])


def sentence_tables(
    sentence: Sentence, weights: Floats, shown: tuple[int, int]
) -> dict[str, Table]:
    """The sentence's tokens, all patterns where they are not too many, and the shown one."""
    places = range(len(sentence.words))
    tokens = Table(
        "Tokens of the sentence",
        (
            Column("place", "Place"),
            Column("token", "Token"),
            Column("id", "Id"),
            Column("given", "Put before the sentence"),
        ),
        tuple(
            (place, sentence.words[place], int(sentence.ids[0, place]), place < sentence.given)
            for place in places
        ),
    )
    one = weights[shown]
    large = Table(
        f"Weights of layer {shown[0]}, head {shown[1]}",
        (
            Column("query", "Querying token, its place"),
            Column("key", "Key, its place"),
            Column("weight", "Weight", "proportion"),
        ),
        tuple(
            (query, key, round(float(one[query, key]), 4))
            for query in places
            for key in range(query + 1)
        ),
    )
    tables = {"sentence": tokens, "shown_pattern": large}
    layers, heads, length, _ = weights.shape
    if layers * heads * length * (length + 1) // 2 <= MOST_WEIGHTS:
        tables["patterns"] = _all_patterns(weights)
    return tables


def _all_patterns(weights: Floats) -> Table:
    """A row a head; weights as words, for a number a cell would make a record of megabytes."""
    columns = (
        Column("layer", "Layer"),
        Column("head", "Head"),
        Column(
            "thousandths",
            "Weights in thousandths: keys from left to right, a semicolon after each query",
        ),
    )
    rows = []
    for layer, head in np.ndindex(*weights.shape[:2]):
        whole = np.rint(1000 * weights[layer, head]).astype(int)
        lines = (" ".join(map(str, row[: query + 1])) for query, row in enumerate(whole))
        rows.append((layer, head, "; ".join(lines)))
    return Table("Patterns of all heads", columns, tuple(rows))
