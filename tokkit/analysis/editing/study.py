"""Many facts edited, each by itself and in a row: how well it works, and what it breaks."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from tokkit.analysis.editing import study_tables as tables
from tokkit.analysis.editing.known_facts import (
    KNOWN_RULE,
    Knowledge,
    KnownFact,
    read_known_facts,
    shown_to_know,
    world_facts,
)
from tokkit.analysis.editing.metrics import (
    unrelated_text,
)
from tokkit.analysis.editing.moments import (
    TOKENS,
    WINDOW,
    moments_name,
    packed_rows,
    second_moments,
    weights_digest,
)
from tokkit.analysis.editing.passes import editable_layers
from tokkit.analysis.editing.prefixes import random_prefixes
from tokkit.analysis.editing.study_edits import (
    ARMS,
    Bench,
)
from tokkit.analysis.editing.study_records import Records
from tokkit.analysis.editing.study_stages import Stages
from tokkit.analysis.editing.study_verdict import LAYER_RULE, choose_layer, judge
from tokkit.analysis.editing.sweep import layers_to_try
from tokkit.analysis.editing.value import EditSettings
from tokkit.analysis.threads import suited_threads
from tokkit.corpus.world import World
from tokkit.errors import ConfigError, InputError
from tokkit.model.transformer import Transformer
from tokkit.results import Claim, Result, Table, collect_provenance

KIND = "analysis.editing-study"
WORLD_FACTS, REAL_FACTS = 200, 40
LEAST_KNOWN = 4
_ALL_LAYERS = 8  # a model with no more layers to edit is swept whole
_MOST_TEXTS = 8192
_HELD_OUT = 8  # one in so many texts is not used for the moments
_VERSION = 1  # of what a record holds
Told = Callable[[str, str, int, int], None]


def _silent(stage: str, unit: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class StudySettings:
    """How much is measured besides the facts.

    orders             random orders in which facts are edited in a row
    stops              numbers of edits after which all edits so far are asked again
    moment_tokens      tokens of text for the second moments
    unrelated_tokens   tokens of text that names no subject
    traces             facts of the choosing half that are traced besides
    value              how a value is looked for
    """

    orders: int = 3
    stops: tuple[int, ...] = (1, 10, 50)
    moment_tokens: int = TOKENS
    unrelated_tokens: int = 4096
    traces: int = 30
    value: EditSettings = field(default_factory=EditSettings)

    def __post_init__(self) -> None:
        """Check that there is something to do."""
        if (
            min(self.orders, self.traces) < 0
            or min((*self.stops, self.moment_tokens, self.unrelated_tokens)) < 1
        ):
            raise ConfigError(
                f"stops and tokens must be 1 or more, orders and traces not negative, got {self}"
            )


FOR_REAL_MODELS = StudySettings(orders=2, unrelated_tokens=1024, traces=0)
"""What a model of a hundred million parameters can be asked in half an hour on two cores."""


@dataclass(frozen=True, slots=True)
class Material:
    """The facts of a study, and the texts of its moments and of its unrelated text."""

    facts: Sequence[KnownFact]
    texts: Sequence[str]
    unrelated: Sequence[str]
    says: bool


@suited_threads
def run_study(
    model: Transformer,
    tokenizer: Any,
    *,
    world: World | None = None,
    start_ids: Sequence[int] = (),
    facts: int | None = None,
    layers: Sequence[int] | None = None,
    seed: int = 0,
    told: Told = _silent,
    moments_folder: str | os.PathLike[str] | None = None,
    records_folder: str | os.PathLike[str] | None = None,
    name: str = "model",
    settings: StudySettings | None = None,
    material: Material | None = None,
) -> Result:
    """Edit the facts that the model knows, of its `world` or else of corpora/known_facts.toml.

    `facts` is how many (WORLD_FACTS, REAL_FACTS), of which one half chooses the layer among
    `layers` (all, or six of a deep model) by LAYER_RULE; what is claimed is measured on the other.
    With a `records_folder` (by default beside the moments) a study that was stopped goes on. The
    model is left as it is. Raises InputError where it knows fewer than LEAST_KNOWN facts,
    ConfigError for a layer that cannot be edited.
    """
    started = time.monotonic()
    settings = settings or (FOR_REAL_MODELS if world is None else StudySettings())
    layers = _layers(model, layers)
    material = material or _material(world, seed)
    known = shown_to_know(
        model, tokenizer, material.facts, start_ids=start_ids, says=material.says, told=told
    )
    wanted = facts or (REAL_FACTS if world is None else WORLD_FACTS)
    choosing, testing = _halves(known, wanted, seed)
    bench, depends_on = _bench(
        model, tokenizer, material, [*choosing, *testing], layers, tuple(start_ids), seed, settings,
        moments_folder, told,
    )  # fmt: skip
    records = Records(records_folder or moments_folder, depends_on)
    stages = Stages(bench, records, told)
    values, found, claim = _measured(stages, choosing, testing, layers, settings, seed)
    return Result(
        KIND,
        f"Facts edited in {name}",
        {
            "model": name, "seed": seed, "facts": facts, "layers": list(layers),
            "start_ids": list(start_ids), "prefixes": list(bench.prefixes),
            "world": None if world is None else asdict(world.config), **asdict(settings),
        },
        {
            "layer_rule": LAYER_RULE, "known_rule": KNOWN_RULE,
            "facts_asked": sum(known.asked.values()), "facts_known": len(known.known),
            "facts_choosing": len(choosing), "facts_tested": len(testing),
            "facts_without_room": known.unanswerable, "facts_wanted": wanted,
            "unrelated_bytes": bench.unrelated.text_bytes, "records": records.digest, **values,
        },
        {**found, "known": tables.knowledge(known)},
        (claim,),
        collect_provenance(
            seeds=[seed], inputs={"weights": depends_on["weights"]},
            wall_seconds={"analysis": time.monotonic() - started},
        ),
    )  # fmt: skip


def _measured(
    stages: Stages, choosing: Sequence[KnownFact], testing: Sequence[KnownFact],
    layers: Sequence[int], settings: StudySettings, seed: int,
) -> tuple[dict[str, Any], dict[str, Table], Claim]:  # fmt: skip
    """Every stage: the values, tables and claim that come of it."""
    by_layer = stages.sweep(choosing, layers)
    sweep = tables.sweep(by_layer, seed)
    layer = choose_layer(tables.harmonic_by_layer(sweep))
    found = stages.test(testing, layer)
    rows = stages.rows([*testing, *choosing], layer, orders=settings.orders, stops=settings.stops)
    traces, how_they_go_together = stages.traces(choosing, by_layer, settings.traces)
    values = {
        "layer": layer, "bits_per_byte_before": found.bits_before, **found.values(seed),
        **how_they_go_together, "rows_ended_early": [row["ended"] for row in rows if row["ended"]],
    }  # fmt: skip
    kept = {
        "sweep": sweep,
        "arms": tables.arms(found.by_arm, ARMS, seed),
        "kinds": tables.kinds(found.facts, seed),
        "probabilities": tables.probabilities(found.facts, seed),
        "rows": tables.rows_of_edits(rows, found.bits_before, seed),
        "worst": tables.worst(found.facts),
        "facts": tables.facts_of(found.facts),
        **traces,
    }
    return values, kept, judge(found.for_verdict(), seed)


def _layers(model: Transformer, layers: Sequence[int] | None) -> tuple[int, ...]:
    possible = editable_layers(model)
    if layers is None:
        every = 1 if len(possible) <= _ALL_LAYERS else None
        return layers_to_try(model, layer=None, every=every)
    wrong = [layer for layer in layers if layer not in possible]
    if wrong or not layers:
        raise ConfigError(
            f"the layers must be some of {list(possible)}, got {list(layers)}: a fact is written "
            "into a dense layer that is not the last"
        )
    return tuple(dict.fromkeys(layers))


def _material(world: World | None, seed: int) -> Material:
    from tokkit.corpus.sources import english_documents
    from tokkit.corpus.world import world_documents

    source: Iterable[Any] = english_documents() if world is None else world_documents(world)
    texts = [document.text for document in islice(source, _MOST_TEXTS)]
    return Material(
        read_known_facts(seed) if world is None else world_facts(world, seed),
        [text for n, text in enumerate(texts) if n % _HELD_OUT],
        texts[::_HELD_OUT],
        says=world is not None,
    )


def _halves(known: Knowledge, wanted: int, seed: int) -> tuple[list[KnownFact], list[KnownFact]]:
    """Known facts by lot: one half chooses the layer, the other is measured."""
    if min(len(known.known), wanted) < LEAST_KNOWN:
        raise InputError(
            f"a study needs {LEAST_KNOWN} facts or more that the model knows, got "
            f"{len(known.known)} of {sum(known.asked.values())} and was asked for {wanted}: give "
            "another model, or more facts"
        )
    order = np.random.default_rng([seed, 1]).permutation(len(known.known))[:wanted]
    chosen = [known.known[int(n)] for n in order]
    return chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]


def _bench(
    model: Transformer, tokenizer: Any, material: Material, facts: Sequence[KnownFact],
    layers: Sequence[int], start_ids: tuple[int, ...], seed: int, settings: StudySettings,
    moments_folder: str | os.PathLike[str] | None, told: Told,
) -> tuple[Bench, dict[str, Any]]:  # fmt: skip
    """What all edits share, and all that a record depends on besides its fact and layer."""
    length = min(WINDOW, model.config.context - len(start_ids))
    rows = packed_rows(
        tokenizer, material.texts, tokens=settings.moment_tokens, length=length,
        start_ids=start_ids,
    )  # fmt: skip
    unrelated = unrelated_text(
        tokenizer, material.unrelated, [fact.subject for fact in facts],
        tokens=settings.unrelated_tokens, length=length, start_ids=start_ids,
    )  # fmt: skip
    moments = second_moments(
        model, rows, layers, given=len(start_ids), folder=moments_folder, told=told
    )
    prefixes = random_prefixes(model, tokenizer, seed=seed, start_ids=start_ids)
    bench = Bench(model, tokenizer, start_ids, moments, prefixes, unrelated, settings.value, seed)
    return bench, {
        "version": _VERSION, "weights": weights_digest(model),
        "moments": moments_name(model, rows, len(start_ids)), "prefixes": list(prefixes),
        "unrelated": hashlib.sha256(np.ascontiguousarray(unrelated.rows).data).hexdigest(),
        "value": asdict(settings.value), "seed": seed, "start_ids": list(start_ids),
    }  # fmt: skip
