"""A run of the strawberry experiment, read for its rows: each arm before and after training.

All arms are compared on the same tokens, those of the BPE tokenizer that have two letters or
more. What an arm is given for such a token is the sum of the rows of all ids that stand for it:
its own row, with the letters that are shown added (letters, placebo), the rows of its opaque ids
(opaque), or those of its letters (char).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.probing import Floats, Ints
from tokkit.errors import ArtifactError
from tokkit.files import read_json
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.opaque import OpaqueIds

if TYPE_CHECKING:
    from torch import Tensor

    from tokkit.model.transformer import Transformer

_LETTERS = re.compile(rb"[a-z]{2,}")
MEASURES = {"count R": "known", "count C": "novel"}
"""Measures of the experiment, and the tokens that their words are made of."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions of one measure: letter and tokens of each, the same for every arm and seed.

    `tokens` are places among the tokens of the run; letters that stand alone are left out, as
    every arm can see them.
    """

    letters: Ints
    truths: Ints
    tokens: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Trained:
    """One arm with one seed: what it is given for each token, and which answers were right."""

    arm: str
    seed: int
    before: Floats
    after: Floats
    right: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class ArmsRun:
    """The tokens of a run, (T,): their letters, which were trained on, which were kept apart."""

    words: tuple[str, ...]
    known: NDArray[np.bool_]
    novel: NDArray[np.bool_]
    asked: Mapping[str, Asked]
    trained: tuple[Trained, ...]

    def arms(self) -> tuple[str, ...]:
        """Names of the arms, each once, in the order of the experiment."""
        return tuple(dict.fromkeys(one.arm for one in self.trained))

    def of(self, arm: str) -> list[Trained]:
        """All seeds of an arm."""
        return [one for one in self.trained if one.arm == arm]


def read_arms(folder: str | Path) -> ArmsRun:
    """Read a finished run; ArtifactError, naming the file, where it is not one or not whole."""
    place = Path(folder)
    settings = read_json(place / "settings.json", what="settings of a strawberry run")
    questions = read_json(place / "questions.json", what="questions of a strawberry run")
    tokenizer = Tokenizer.load(place / "tokenizers" / "bpe" / "tokenizer.json")
    try:
        arms, seeds = list(settings["arms"]), list(settings["seeds"])
        novel = set(questions["novel_tokens"])
        trained_on = {t for ids in tokenizer.encode_batch(questions["splits"]["A"]) for t in ids}
        rows_of = {measure: questions["questions"][measure] for measure in MEASURES}
        ids = [t for t in range(tokenizer.vocab_size) if _is_word(tokenizer, t)]
        asked = {m: _asked(rows, tokenizer, ids) for m, rows in rows_of.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{place} is not a whole strawberry run ({error!r}): run the experiment again"
        ) from error
    words = [tokenizer.token_bytes(token).decode("ascii") for token in ids]
    return ArmsRun(
        tuple(words),
        np.array([token in trained_on and token not in novel for token in ids]),
        np.array([token in novel for token in ids]),
        asked,
        tuple(
            _trained(place, str(arm), int(seed), words, rows_of) for arm in arms for seed in seeds
        ),
    )


def _is_word(tokenizer: Tokenizer, token: int) -> bool:
    if tokenizer.kind(token) != "token":
        return False
    return bool(_LETTERS.fullmatch(tokenizer.token_bytes(token)))


def _asked(rows: Sequence[Sequence[Any]], tokenizer: Tokenizer, ids: Sequence[int]) -> Asked:
    place = {token: at for at, token in enumerate(ids)}
    pieces = tokenizer.encode_batch([subject for _, _, subject, _ in rows])
    return Asked(
        np.array([ord(letter) - ord("a") for _, letter, _, _ in rows], dtype=np.int64),
        np.array([truth for *_, truth in rows], dtype=np.int64),
        tuple(tuple(place[t] for t in tokens if t in place) for tokens in pieces),
    )


def _trained(
    place: Path,
    arm: str,
    seed: int,
    words: Sequence[str],
    asked: Mapping[str, Sequence[Sequence[Any]]],
) -> Trained:
    from tokkit.model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(place / "models" / f"{arm}-{seed}")
    tokenizer = Tokenizer.load(checkpoint.tokenizer_path)
    opaque = OpaqueIds(tokenizer) if checkpoint.about.get("ids") == "opaque" else None
    ids = [_ids(word, tokenizer, opaque) for word in words]
    return Trained(
        arm,
        seed,
        given(before_training(checkpoint.model, seed), ids),
        given(checkpoint.model, ids),
        _right(place / "answers" / f"{arm}-{seed}.jsonl", asked),
    )


def _ids(word: str, tokenizer: Tokenizer, opaque: OpaqueIds | None) -> list[int]:
    """The ids that stand for a token in an arm."""
    token = tokenizer.token_id(word)
    if token is None:
        return tokenizer.encode(word)
    return [token] if opaque is None else opaque.expand([token])


def before_training(model: Transformer, seed: int) -> Transformer:
    """The same model as it was made, exactly: its weights depend on seed and name alone."""
    from tokkit.model.transformer import Transformer

    told = model.token_features if model.config.token_features else None
    return Transformer(model.config, seed=seed, token_features=told)


def given(model: Transformer, ids: Sequence[Sequence[int]]) -> Floats:
    """The sum of the rows of each list of ids, token features included: (T, D)."""
    import torch

    with torch.no_grad():
        table: Tensor = model.embedding
        if model.feature_embedding is not None:
            table = table + model.token_features @ model.feature_embedding
        rows: Floats = table.float().numpy()
    return np.stack([rows[list(of)].sum(axis=0) for of in ids])


def _right(
    path: Path, asked: Mapping[str, Sequence[Sequence[Any]]]
) -> dict[str, NDArray[np.float64]]:
    """1 where the answer was right, by measure, in the order of the questions."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found = {}
        for measure, questions in asked.items():
            said = {row["subject"]: row for row in lines if row["measure"] == measure}
            if any(said[word]["asked"] != letter for _, letter, word, _ in questions):
                raise ValueError(f"the answers of {measure} are to other questions")
            found[measure] = np.array(
                [float(said[word]["value"] == truth) for _, _, word, truth in questions]
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"answers {path} cannot be read ({error!r}): run the experiment again"
        ) from error
    return found
