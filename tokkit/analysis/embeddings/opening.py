"""Subjects made of what there is: a whole model, or a bare file of weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokkit.analysis.embeddings.meaning_words import analogies_by_kind
from tokkit.analysis.embeddings.subject import Counts, Subject
from tokkit.analysis.matrix import Matrix, matrix_of, row_faults, stored_matrix
from tokkit.analysis.world import world_of
from tokkit.errors import ConfigError

if TYPE_CHECKING:
    from tokkit.model.transformer import Transformer
    from tokkit.model.weights import Weights

EMBEDDING_NAMES = (
    "embedding", "model.embed_tokens.weight", "transformer.wte.weight", "wte.weight",
    "tok_embeddings.weight", "token_embd.weight", "embeddings.word_embeddings.weight",
    "gpt_neox.embed_in.weight", "model.language_model.embed_tokens.weight",
)  # fmt: skip
"""What families call their input embedding, as far as the name tells it."""
UNEMBEDDING_NAMES = (
    "unembedding", "lm_head.weight", "output.weight", "embed_out.weight",
)  # fmt: skip
_NAMES_TOLD = 8


def model_subject(
    model: Transformer,
    tokenizer: Any,
    *,
    name: str = "model",
    about: Mapping[str, Any] | None = None,
    counts: Counts | None = None,
    start_ids: tuple[int, ...] = (),
) -> Subject:
    """A whole model with its tokenizer.

    The initial rows are made again where `about` has the seed of a training here, and the words
    of the generated world where it says that the model learned one. Raises ConfigError where the
    tokenizer has more ids than the model has rows, and for counts that are not one a row.
    """
    told = dict(about or {})
    world = world_of(told)
    config, rows = model.config, matrix_of(model.embedding, "embedding")
    output = None if config.tied else matrix_of(model.unembedding_matrix, "unembedding")
    return with_tokens(
        Subject(
            name=name,
            rows=rows,
            usable=row_faults(rows)[0],
            output=output,
            tied=config.tied,
            initial=_initial_rows(model, told.get("seed")),
            counts=_checked(counts, len(rows)),
            model=model,
            start_ids=start_ids,
            world={} if world is None else world.categories,
            analogies=(
                {} if world is None else analogies_by_kind(world.analogies, world.analogy_kinds)
            ),
            about=told,
        ),
        tokenizer,
    )


def file_subject(
    path: str | os.PathLike[str],
    *,
    tensor: str | None = None,
    tokenizer: Any = None,
    counts: Counts | None = None,
) -> Subject:
    """An embedding in a .safetensors file, or in the folder of one or many, without its model.

    `tensor` names it; else it is the one of EMBEDDING_NAMES that is there, or the only matrix,
    and one of UNEMBEDDING_NAMES of the same shape is its output. Raises ArtifactError for a file
    that cannot be used, and ConfigError where no tensor, or not one, can be meant.
    """
    from tokkit.model.weights import open_weights

    weights = open_weights(path)
    name = tensor or _embedding_in(weights)
    rows = stored_matrix(weights, name)
    output = None if tensor else _output_in(weights, rows)
    subject = Subject(
        name=Path(path).name,
        rows=rows,
        usable=row_faults(rows)[0],
        output=output,
        tied=None if output is None else False,
        counts=_checked(counts, len(rows)),
    )
    return subject if tokenizer is None else with_tokens(subject, tokenizer)


def with_tokens(subject: Subject, tokenizer: Any) -> Subject:
    """The subject with the tokens of its rows; rows behind the tokenizer's last id have none."""
    ids, rows = tokenizer.vocab_size, len(subject.rows)
    if ids > rows:
        raise ConfigError(
            f"the tokenizer has {ids} ids, but {subject.rows.name!r} only {rows} rows: they do not "
            "belong together; give the tokenizer of this model"
        )
    kinds = [tokenizer.kind(token) for token in range(ids)]
    tokens = [
        b"" if kind == "unused" else tokenizer.token_bytes(token)
        for token, kind in enumerate(kinds)
    ]
    special = frozenset(token for token, kind in enumerate(kinds) if kind == "special")
    return replace(
        subject, tokens=tokens + [b""] * (rows - ids), special=special, tokenizer=tokenizer
    )


def _embedding_in(weights: Weights) -> str:
    for name in EMBEDDING_NAMES:
        if name in weights and len(weights.shape(name)) == 2:
            return name
    matrices = [name for name in weights.names if len(weights.shape(name)) == 2]
    if len(matrices) == 1:
        return matrices[0]
    told = ", ".join(map(repr, matrices[:_NAMES_TOLD])) or "no matrix at all"
    more = f" and {len(matrices) - _NAMES_TOLD} more" if len(matrices) > _NAMES_TOLD else ""
    raise ConfigError(
        f"{weights.place} does not say which of its tensors is the embedding: name one with "
        f"--tensor; it holds {told}{more}"
    )


def _output_in(weights: Weights, rows: Matrix) -> Matrix | None:
    for name in UNEMBEDDING_NAMES:
        if name in weights and weights.shape(name) == rows.shape and weights.is_float(name):
            return stored_matrix(weights, name)
    return None


def _initial_rows(model: Transformer, seed: object) -> Matrix | None:
    """The rows as they were before training: each parameter follows from the seed and its name."""
    from tokkit.model.transformer import initial_embedding

    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 1 << 63:
        return None
    return matrix_of(initial_embedding(model.config, seed), "initial embedding")


def _checked(counts: Counts | None, rows: int) -> Counts | None:
    if counts is not None and counts.shape != (rows,):
        raise ConfigError(f"counts must be one a row, {rows}, got an array of {counts.shape}")
    return counts
