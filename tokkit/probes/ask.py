"""The way of one question through the whole model: tokens, letters, rows, predictions, answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from tokkit.errors import InputError
from tokkit.model.generation import Candidate
from tokkit.model.transformer import Transformer
from tokkit.probes.targets import Answer, Target, decode_ids
from tokkit.probes.tasks import LETTERS, Question, parse_answer, parse_question
from tokkit.tokenizer.opaque import OpaqueIds


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A row near another one: the text of its token and the cosine between the two."""

    text: str
    cosine: float


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token of the question, as the model receives it.

    `hidden` are the letters inside that the ids do not say; `told` the letters that the model is
    told beside them (None where it is told nothing). One row for each id: its Euclidean norm, and
    the rows nearest to it.
    """

    text: str
    ids: tuple[int, ...]
    kind: str
    hidden: str
    told: str | None
    norms: tuple[float, ...]
    nearest: tuple[tuple[Neighbour, ...], ...]


@dataclass(frozen=True, slots=True)
class StepView:
    """One predicted token: its text, its probability, and the likeliest tokens at that place."""

    text: str
    probability: float
    candidates: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Journey:
    """What happened to one question in one model. `truth` is None where it is not known."""

    model: str
    arm: str | None
    seed: int | None
    question: str
    tokens: tuple[TokenView, ...]
    steps: tuple[StepView, ...]
    answer: str
    probability: float
    truth: int | None
    correct: bool | None


def follow(
    target: Target, text: str, *, neighbours: int = 3, candidates: int = 5
) -> tuple[Journey, Journey | None]:
    """Ask `text`; where it is a question about a word, ask it again with the letters set apart.

    Raises InputError for an empty question or one longer than the model's context.
    """
    if not text.strip():
        raise InputError(
            'the question is empty: ask for example "How many r\'s are in strawberry?"'
        )
    question = parse_question(text)
    journey = _journey(target, text, question, neighbours, candidates)
    if question is None or question.task != "word":
        return journey, None
    spelled = question.spelled()
    return journey, _journey(target, spelled.text, spelled, neighbours, candidates)


def _journey(
    target: Target, text: str, question: Question | None, neighbours: int, candidates: int
) -> Journey:
    answer = target.answer([text], candidates=candidates)[0]
    truth = None if question is None else question.truth
    return Journey(
        model=target.name,
        arm=target.arm,
        seed=target.seed,
        question=text,
        tokens=_view_tokens(target, text, neighbours),
        steps=_view_steps(target, answer),
        answer=answer.text,
        probability=answer.probability,
        truth=truth,
        correct=None if truth is None else parse_answer(answer.text) == truth,
    )


def _view_tokens(target: Target, text: str, neighbours: int) -> tuple[TokenView, ...]:
    codec, tokenizer = target.codec, target.tokenizer
    labels, table = row_labels(target), target.model.embedding.detach()
    pieces = tokenizer.pieces(text)
    expanded = [codec.expand([p.id]) if isinstance(codec, OpaqueIds) else [p.id] for p in pieces]
    asked = [token for ids in expanded for token in ids]
    near_rows = iter(nearest_rows(table[: len(labels)], asked, neighbours))
    views = []
    for piece, ids in zip(pieces, expanded, strict=True):
        letters = "".join(c for c in piece.text.lower() if c in LETTERS)
        told = told_letters(target.model, ids[0])
        true = told is not None and sorted(told) == sorted(letters)
        hides = piece.kind == "token" and len(letters) > 1 and not true
        near = list(islice(near_rows, len(ids)))
        views.append(
            TokenView(
                text=piece.text,
                ids=tuple(ids),
                kind=piece.kind,
                hidden=letters if hides else "",
                told=told,
                norms=tuple(table[ids].norm(dim=1).tolist()),
                nearest=tuple(
                    tuple(Neighbour(labels[row], cosine) for row, cosine in rows) for rows in near
                ),
            )
        )
    return tuple(views)


def told_letters(model: Transformer, token: int) -> str | None:
    """The letters that a model with token features is told of a token; None without features."""
    if model.feature_embedding is None:
        return None
    counts = model.token_features[token].int().tolist()
    return "".join(letter * count for letter, count in zip(LETTERS, counts, strict=False))


def row_labels(target: Target) -> list[str]:
    """What to call each embedding row that an id can name: its token's text, and the part of it.

    Rows beyond, there only so that all arms have as many, have no label.
    """
    tokenizer = target.tokenizer
    names = [
        b"" if tokenizer.kind(token) == "unused" else tokenizer.token_bytes(token)
        for token in range(tokenizer.vocab_size)
    ]
    labels = [name.decode("utf-8", "backslashreplace") for name in names]
    if isinstance(target.codec, OpaqueIds):
        for token in range(tokenizer.vocab_size):
            sub_ids = target.codec.expand([token])
            if sub_ids != [token]:
                labels += [f"{labels[token]}#{part + 1}" for part in range(len(sub_ids))]
    return labels


def nearest_rows(matrix: Tensor, rows: Sequence[int], n: int) -> list[list[tuple[int, float]]]:
    """The n rows of `matrix` (V, D) with the largest cosine to each of `rows`, itself left out.

    Pairs (row, cosine), best first; equal cosines in the order of the rows.
    """
    if n == 0:
        return [[] for _ in rows]
    unit = torch.nn.functional.normalize(matrix, dim=1)
    cosines = unit[list(rows)] @ unit.T
    found = []
    for row, line in zip(rows, cosines, strict=True):
        line[row] = -torch.inf
        best = torch.sort(line, descending=True, stable=True)
        pairs = zip(best.indices[:n].tolist(), best.values[:n].tolist(), strict=True)
        found.append([(other, cosine) for other, cosine in pairs if cosine > -torch.inf])
    return found


def _view_steps(target: Target, answer: Answer) -> tuple[StepView, ...]:
    def named(candidate: Candidate) -> tuple[str, float]:
        return decode_ids(target.codec, [candidate.id]), candidate.probability

    return tuple(
        StepView(
            decode_ids(target.codec, [step.id]),
            step.probability,
            tuple(named(candidate) for candidate in step.candidates),
        )
        for step in answer.steps
    )
