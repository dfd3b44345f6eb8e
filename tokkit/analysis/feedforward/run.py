"""The whole analysis of the feed-forward layers: every part into one result record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.feedforward import clamping, concepts, records, showing
from tokkit.analysis.feedforward.claims import Concepts, concept_claim
from tokkit.analysis.feedforward.gates import gate_table
from tokkit.analysis.feedforward.reading import (
    SKIPPED,
    TOP,
    Reading,
    Told,
    dense_layers,
    read,
)
from tokkit.analysis.feedforward.routing import routing_section
from tokkit.analysis.feedforward.shares import shares_section
from tokkit.analysis.feedforward.value_words import agreement
from tokkit.analysis.feedforward.words import (
    ConceptWords,
    Contexts,
    concept_words,
    contexts_from,
)
from tokkit.analysis.section import Section
from tokkit.analysis.threads import suited_threads
from tokkit.analysis.windows import SHORTEST, Windows, cut_windows
from tokkit.analysis.world import world_of
from tokkit.errors import ConfigError
from tokkit.model.transformer import Transformer
from tokkit.results import Claim, Result, Table, collect_provenance

KIND = "analysis.feedforward"
LONGEST_WINDOW = 128  # tokens
FEWEST_WINDOWS = 20
_MULTIPLICATIONS = 8e11  # of weights with tokens of text: a minute or so on two cores
_FEWEST_TOKENS, _MOST_TOKENS = 4_096, 65_536
_FEWEST_CATEGORIES = 2
_CONTEXTS = 2 * concepts.CONTEXTS + clamping.CONTEXTS


@dataclass(frozen=True, slots=True)
class FeedforwardAnalysis:
    """The record, and every unit in compact form (see `showing.all_units`; empty without units)."""

    result: Result
    units: Mapping[str, NDArray[Any]]


def _silent(stage: str, unit: str, done: int, total: int) -> None:
    """Say nothing."""


def default_tokens(model: Transformer) -> int:
    """Tokens that are read unless told otherwise: fewer of a larger model."""
    config = model.config
    outside = sum(p.numel() for p in model.parameters()) - config.vocab_size * config.width
    return int(min(_MOST_TOKENS, max(_FEWEST_TOKENS, _MULTIPLICATIONS / max(1, outside))))


def category_lists(about: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
    """The generated world's categories where the model says it learned it, else common English."""
    from tokkit.analysis.embeddings.meaning_words import common_words

    world = world_of(about)
    return common_words().categories if world is None else world.categories


def check_unit(model: Transformer, layer: int | None, unit: int | None) -> None:
    """Raise ConfigError unless there is such a layer, with such a unit in it."""
    if layer is None and unit is not None:
        raise ConfigError(f"a unit is one of a layer, got unit {unit} alone: give the layer too")
    last = model.config.layers - 1
    if layer is not None and not 0 <= layer <= last:
        raise ConfigError(f"layers of this model are 0..{last}, got layer {layer}: choose one")
    if layer is not None and layer not in dense_layers(model):
        raise ConfigError(
            f"layer {layer} is a mixture of experts, which has no units of its own: choose a "
            f"dense layer, of {list(dense_layers(model))}"
        )
    most = model.config.hidden_width - 1
    if unit is not None and not 0 <= unit <= most:
        raise ConfigError(f"units of a layer are 0..{most}, got unit {unit}: choose one of them")


@suited_threads
def analyze_feedforward(
    model: Transformer,
    tokenizer: Any,
    texts: Iterable[str],
    *,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
    name: str = "model",
    start_ids: Sequence[int] = (),
    tokens: int = 0,
    layer: int | None = None,
    unit: int | None = None,
    lists: Mapping[str, Sequence[str]] | None = None,
    inputs: Mapping[str, str] | None = None,
    text_name: str = "texts",
    told: Told = _silent,
) -> FeedforwardAnalysis:
    """What the units of a model answer to and write, which stand for concepts, who is routed where.

    `tokens` bounds how many are read (0: by the model's size); `layer` and `unit` say which units
    are shown; `lists` are words by category (None: by `category_lists`). Raises InputError where
    the texts give no window, ConfigError for an unknown layer or unit, ArtifactError where
    activations are not finite.
    """
    started = time.monotonic()
    check_unit(model, layer, unit)
    known = about or {}
    streams = [np.random.default_rng([seed, part]) for part in range(8)]
    windows = _cut(model, tokenizer, texts, tokens, start_ids, streams[0])
    reading = read(model, windows, told)
    words = concept_words(
        tokenizer, lists or category_lists(known), model.config.vocab_size, streams[1]
    )
    contexts = contexts_from(tokenizer, windows, _CONTEXTS, model.config.context - 1, streams[2])
    found = _found(model, reading, words, contexts, known, seed, streams[3:5], told)
    parts = _Parts(model, tokenizer, windows, reading, words, contexts, found)
    asked = None if layer is None else dense_layers(model).index(layer), unit
    tables, values = _unit_tables(parts, asked, streams[6], streams[7], told)
    result = _result(
        parts, name, Section(values, tables), _routing(parts, streams[5]),
        settings={
            "model": name, "seed": seed, "text": text_name, "tokens": int(windows.ids.size),
            "layer": layer, "unit": unit, "start_ids": list(start_ids),
        },
        provenance=collect_provenance(
            seeds=[seed], inputs=inputs or {},
            wall_seconds={"analysis": time.monotonic() - started},
        ),
    )  # fmt: skip
    of = None if found is None else found.found
    kept = showing.all_units(reading.layers, windows, of) if reading.layers else {}
    return FeedforwardAnalysis(result, kept)


def _cut(
    model: Transformer, tokenizer: Any, texts: Iterable[str], tokens: int,
    start_ids: Sequence[int], generator: np.random.Generator,
) -> Windows:  # fmt: skip
    """Windows as long as the context and LONGEST_WINDOW let them be, shorter where too few."""
    count = tokens or default_tokens(model)
    length = min(LONGEST_WINDOW, model.config.context - len(start_ids))
    while length >= 2 * SHORTEST and count // length < FEWEST_WINDOWS:
        length //= 2
    return cut_windows(
        tokenizer, texts, length=length, rows=max(1, count // length), generator=generator,
        start_ids=start_ids,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Parts:
    """What was measured, for the tables."""

    model: Transformer
    tokenizer: Any
    windows: Windows
    reading: Reading
    words: ConceptWords
    contexts: Contexts
    found: Concepts | None


def _result(
    parts: _Parts, name: str, units: Section, routed: Section, *, settings: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> Result:  # fmt: skip
    shares, found = shares_section(name, parts.model.config), parts.found
    left = {**parts.windows.left_out, **parts.words.left_out, **routed.left_out}
    read_ = _read_values(parts.windows, parts.reading)
    claims: tuple[Claim, ...] = () if found is None else (concept_claim(name, found),)
    return Result(
        kind=KIND,
        title=f"Feed-forward layers of {name}",
        settings=settings,
        values={**shares.values, **read_, **units.values, **routed.values, "left_out": left},
        tables={**shares.tables, **units.tables, **routed.tables},
        claims=claims,
        provenance=provenance,
    )


def _found(
    model: Transformer, reading: Reading, words: ConceptWords, contexts: Contexts,
    about: Mapping[str, Any], seed: int, streams: Sequence[np.random.Generator], told: Told,
) -> Concepts | None:  # fmt: skip
    """The test of units, of the model and at initial weights, and clamping; None without words."""
    if not reading.layers or len(words.categories) < _FEWEST_CATEGORIES:
        return None
    count, layers = len(words.categories), len(reading.layers)
    halves = concepts.both_halves(model, words, contexts, told, "words")
    told("testing units", "models", 0, 2)
    found = concepts.find(*halves, count, layers, streams[0])
    first = about.get("seed")
    features = model.token_features if model.config.token_features else None
    initial = Transformer(
        model.config, seed=first if type(first) is int else seed, token_features=features
    ).eval()
    at_first = concepts.both_halves(initial, words, contexts, told, "words at initial weights")
    del initial
    told("testing units", "models", 1, 2)
    nothing = concepts.find(*at_first, count, layers, streams[0])
    if not found.passes.any():
        return Concepts(words, found, nothing, None)
    settings = clamping.settings_for(model, reading.layers, found, halves[0], streams[1])
    clamped = clamping.clamp(
        model, contexts.part(2 * concepts.CONTEXTS, _CONTEXTS), words, settings, reading.layers,
        streams[1], told,
    )  # fmt: skip
    return Concepts(words, found, nothing, clamped)


def _routing(parts: _Parts, generator: np.random.Generator) -> Section:
    enough = len(parts.words.categories) >= _FEWEST_CATEGORIES
    return routing_section(
        parts.model, parts.reading, parts.windows.ids.reshape(-1)[parts.reading.counted],
        parts.words if enough else None, parts.contexts.part(0, concepts.CONTEXTS), generator,
    )  # fmt: skip


def _unit_tables(
    parts: _Parts, asked: tuple[int | None, int | None], drawing: np.random.Generator,
    agreeing: np.random.Generator, told: Told,
) -> tuple[dict[str, Table], dict[str, Any]]:  # fmt: skip
    """Tables and values of what has units: all but mixtures."""
    layers = parts.reading.layers
    if not layers:
        return {}, {"units": 0}
    per_layer = len(layers[0].places)
    agreed = []
    for place, layer in enumerate(layers):
        told("values as words", "layers", place, len(layers))
        agreed.append(agreement(parts.model, layer, parts.windows, agreeing))
    of = None if parts.found is None else parts.found.found
    shown = showing.select(per_layer * len(layers), per_layer, of, asked, drawing)
    tables = {"agreement": records.agreement_table(agreed)}
    gates = gate_table(layers)
    if gates is not None:
        tables["gates"] = gates
    values: dict[str, Any] = {"units": per_layer * len(layers), "units_shown": len(shown)}
    if parts.found is not None and of is not None:
        numbers = [layer.layer for layer in layers]
        places = np.concatenate([layer.places for layer in layers])
        tables |= records.concept_tables(
            parts.words, of, parts.found.initial, numbers, parts.windows.ids.reshape(-1)[places]
        )
        values |= _concept_values(parts.found)
        if parts.found.clamped is not None:
            tables |= records.clamp_tables(parts.found.clamped, parts.words.categories)
    tables |= showing.tables(
        parts.model, parts.tokenizer, layers, parts.windows, shown, of, parts.words.categories
    )
    return tables, values


def _concept_values(found: Concepts) -> dict[str, Any]:
    passes = found.found.passes
    return {
        "categories": len(found.words.categories),
        "words": len(found.words.words),
        "contexts_of_each_half": concepts.CONTEXTS,
        "units_that_answer": int(passes.any(1).sum()),
        "units_that_answer_to_several": int((passes.sum(1) > 1).sum()),
        "units_that_answer_at_initial_weights": int(found.initial.passes.any(1).sum()),
        "pairs_with_labels_permuted": float(found.found.by_chance.sum((1, 2)).mean()),
        "categories_with_units": int(passes.any(0).sum()),
        "threshold_surprise": found.found.threshold,
        "contexts_clamped": 0 if found.clamped is None else len(found.clamped.effects),
    }


def _read_values(windows: Windows, reading: Reading) -> dict[str, Any]:
    return {
        "tokens_read": int(windows.ids.size),
        "windows": len(windows.ids),
        "window_tokens": windows.length,
        "texts": len(np.unique(windows.documents)),
        "tokens_skipped_at_the_start_of_a_window": min(SKIPPED, windows.length - 1),
        "places_kept_of_each_unit": TOP if reading.layers else 0,
    }
