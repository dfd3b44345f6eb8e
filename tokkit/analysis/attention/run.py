"""The whole analysis of attention: every part into one result record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokkit.analysis.attention.agreement import agreement_section
from tokkit.analysis.attention.copying import Text, Told, induction_section
from tokkit.analysis.attention.corpus import corpus_values, distance_table, heads_table
from tokkit.analysis.attention.induction import FOUND_RULE
from tokkit.analysis.attention.mask_claim import mask_section
from tokkit.analysis.attention.one_weight import weight_section
from tokkit.analysis.attention.sentence import (
    SHOWN_RULE,
    Sentence,
    check_head,
    read_sentence,
    sentence_patterns,
    sentence_tables,
    shown_head,
    world_sentence,
)
from tokkit.analysis.intervals import resampling
from tokkit.analysis.patterns import Traced
from tokkit.analysis.positions.heads import look
from tokkit.analysis.positions.losses import check_finite, nats_after
from tokkit.analysis.positions.run import window_length
from tokkit.analysis.section import Section
from tokkit.analysis.threads import suited_threads
from tokkit.analysis.windows import cut_windows
from tokkit.analysis.world import world_of
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.results import Result, collect_provenance

KIND = "analysis.attention"
_MULTIPLICATIONS = 3e11  # of weights with tokens of the corpus
_FEWEST_TOKENS, _MOST_TOKENS = 4096, 32_768


def _silent(stage: str, unit: str, done: int, total: int) -> None:
    """Say nothing."""


def default_tokens(config: ModelConfig, parameters: int) -> int:
    """Tokens of the corpus that are read unless told otherwise: fewer of a larger model."""
    outside = max(1, parameters - config.vocab_size * config.width)
    return int(min(_MOST_TOKENS, max(_FEWEST_TOKENS, _MULTIPLICATIONS / outside)))


@suited_threads
def analyze_attention(
    model: Transformer,
    tokenizer: Any,
    texts: Iterable[str],
    *,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
    name: str = "model",
    start_ids: Sequence[int] = (),
    sentence: str | None = None,
    layer: int | None = None,
    head: int | None = None,
    tokens: int = 0,
    inputs: Mapping[str, str] | None = None,
    told: Told = _silent,
) -> Result:
    """Where attention looks, what it may not see, and what of it the answers need.

    `sentence` is what patterns are shown of (None: an agreement sentence, of the model's world
    where it has one); `layer` and `head` pick the head that is shown large; `tokens` bounds how
    many of the corpus are read (0: by the model's size); `start_ids` stand before each text.
    Raises ConfigError for a layer or head that the model lacks, InputError for a sentence without
    at least two tokens or beyond the context and for texts that give no window, ArtifactError
    where weights are not finite.
    """
    started = time.monotonic()
    check_head(model.config, layer, head)
    world = world_of(about or {})
    chosen = world_sentence(world) if sentence is None else sentence
    own = read_sentence(tokenizer, chosen, model.config, start_ids)
    told("sentence", "parts", 0, 1)
    sections = sentence_sections(model, own, layer, head)
    corpus, text = corpus_section(
        model, tokenizer, texts, seed=seed, start_ids=start_ids, tokens=tokens, told=told
    )
    told("mask", "parts", 0, 1)
    sections += [corpus, mask_section(model, own.ids, seed)]
    sections.append(
        induction_section(model, tokenizer, text, seed=seed, start_ids=start_ids, told=told)
    )
    sections.append(
        agreement_section(
            model, tokenizer, world=world, seed=seed, start_ids=start_ids, name=name, told=told
        )
    )
    return _result(
        name, sections,
        settings={
            "model": name, "sentence": sentence, "layer": layer, "head": head, "seed": seed,
            "tokens": int(text.rows.numel()), "start_ids": list(start_ids),
            "found_rule": FOUND_RULE,
        },
        seed=seed, inputs=inputs or {}, started=started,
    )  # fmt: skip


def sentence_sections(
    model: Transformer, sentence: Sentence, layer: int | None, head: int | None
) -> list[Section]:
    """The patterns of one sentence, and the numbers behind a weight of the head shown large."""
    weights = sentence_patterns(model, sentence)
    shown = shown_head(weights, layer, head)
    values = {
        "sentence_text": sentence.text,
        "sentence_tokens": len(sentence.words),
        "shown_layer": shown[0],
        "shown_head": shown[1],
        "shown_rule": SHOWN_RULE if None in (layer, head) else "",
    }
    return [
        Section(values, sentence_tables(sentence, weights, shown)),
        weight_section(model, sentence, *shown),
    ]


def corpus_section(
    model: Transformer,
    tokenizer: Any,
    texts: Iterable[str],
    *,
    seed: int,
    start_ids: Sequence[int] = (),
    tokens: int = 0,
    told: Told = _silent,
) -> tuple[Section, Text]:
    """Every head over windows of the texts, and those windows with their losses."""
    config, generator = model.config, np.random.default_rng([seed, 0])
    count = tokens or default_tokens(config, sum(p.numel() for p in model.parameters()))
    length = window_length(config.context - len(start_ids), count)
    windows = cut_windows(
        tokenizer, texts, length=length, rows=max(1, count // length), generator=generator,
        start_ids=start_ids,
    )  # fmt: skip
    drawn = resampling(windows.documents, generator)
    rows = torch.from_numpy(windows.with_start())
    given = max(1, len(start_ids))
    nats = np.zeros((len(rows), rows.shape[1] - given))
    done = [0]

    def watch(numbers: NDArray[np.int64], found: Traced) -> None:
        ids = rows[torch.from_numpy(numbers)]
        nats[numbers] = nats_after(model, found.hidden, ids, given).double().numpy()
        done[0] += len(numbers)
        told("reading", "windows", done[0], len(rows))

    looks = look(model, rows, windows.documents, seed, [watch])
    check_finite(nats)
    table = heads_table(looks, drawn, config, rows.shape[1])
    values = {
        **corpus_values(table),
        "windows": len(windows.ids),
        "window_tokens": windows.length,
        "intervals_over": drawn.unit,
        "resampled": len(drawn),
        "loss_nats": float(nats.mean()),
    }
    tables = {"heads": table, "distances": distance_table(looks, drawn, rows.shape[1])}
    section = Section(values, tables, left_out=windows.left_out)
    return section, Text(rows, given, nats, windows.documents, drawn)


def _result(
    name: str, sections: Sequence[Section], *, settings: Mapping[str, Any], seed: int,
    inputs: Mapping[str, str], started: float,
) -> Result:  # fmt: skip
    left_out: dict[str, int] = {}
    for section in sections:
        left_out |= section.left_out
    return Result(
        kind=KIND,
        title=f"Attention of {name}",
        settings=settings,
        values={
            **{key: value for section in sections for key, value in section.values.items()},
            "left_out": left_out,
        },
        tables={key: table for section in sections for key, table in section.tables.items()},
        claims=tuple(claim for section in sections for claim in section.claims),
        provenance=collect_provenance(
            seeds=[seed], inputs=inputs, wall_seconds={"analysis": time.monotonic() - started}
        ),
    )
