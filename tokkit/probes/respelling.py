"""The claim ids-not-words: other letters behind the same ids, other ids behind the same letters.

A byte-level tokenizer is respelled: every token that holds certain letters gets other letters in
their place, merges and all, and so does the text. Its ids are then the old ones, of words that
no one ever saw. The other way round the text stays and some of its tokens are split into two (as
Sims et al. 2025 do in training). What a model makes of both says which of the two it reads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tokkit.errors import ConfigError, InputError
from tokkit.model.transformer import Transformer
from tokkit.probes.models import AnyTokenizer, tokenizer_of
from tokkit.results import (
    Claim,
    Column,
    Control,
    Evidence,
    Result,
    Table,
    Verdict,
    collect_provenance,
)
from tokkit.stats import hierarchical_bootstrap
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.stochastic import Splits, splits_of

KIND = "probe.ids"
SPLIT_SHARE = 0.3  # of the tokens that can be split
LEAST_TEXTS = 10
MOST_CHARACTERS = 200  # of one text
MOST_TOKENS = 96
_MAPPED = "abcfghijknopquwxyz"
"""Letters that change places; those of English contractions stay, as patterns of splitting name
them."""

_OTHER_KIND = (
    "respelling needs a byte-level BPE tokenizer, got another kind: there a letter is no byte that "
    "could stand for another; give another model"
)

STATEMENT = "A model reads ids from a fixed vocabulary, never letters."
RULE = (
    "Supported if every text written in other letters gives the same ids through a tokenizer whose "
    "tokens are written in these letters, the model's logits are the same to the bit, and the "
    "control holds: the same text as other ids changes the prediction of the next token, by a "
    "total variation distance whose 95% interval lies above 0.01. Contradicted if logits differ "
    "where ids are the same. Inconclusive otherwise."
)
LIMITS = (
    "That only ids go in follows from how the model is built; what this adds is that nothing on "
    "the way, tokenizer or model, looks at letters after all.",
    "It does not say that a model knows nothing of spelling: what training text tells of the "
    "letters of a token can be learned for each id.",
)


@dataclass(frozen=True, slots=True)
class Respelling:
    """One text both ways.

    same_ids    whether the other letters gave the same ids
    difference  the largest difference of its logits, 0.0 where they are the same to the bit
    distance    total variation between next-token predictions after the text's usual and its
                other ids, 0 to 1
    """

    text: str
    respelled: str
    tokens: int
    other_tokens: int
    same_ids: bool
    difference: float
    distance: float
    changes_the_likeliest: bool


def letter_table(step: int = 9) -> dict[int, int]:
    """Each of the letters, small and capital, to the one `step` places on among them."""
    pairs = zip(_MAPPED, _MAPPED[step:] + _MAPPED[:step], strict=True)
    return {ord(a): ord(b) for x, y in pairs for a, b in ((x, y), (x.upper(), y.upper()))}


def respelled_tokenizer(tokenizer: AnyTokenizer) -> AnyTokenizer:
    """The same ids and merges, with the letters of every token but the added ones replaced.

    Raises ConfigError for a tokenizer that is not byte-level BPE: there letters are no bytes.
    """
    text = tokenizer.to_json() if isinstance(tokenizer, Tokenizer) else _content(tokenizer)
    table, record = letter_table(), json.loads(text)
    model = record.get("model", {})
    if model.get("type") != "BPE" or '"ByteLevel"' not in json.dumps(record.get("pre_tokenizer")):
        raise ConfigError(_OTHER_KIND)
    added = {entry["content"] for entry in record.get("added_tokens", ())}
    model["vocab"] = {
        text if text in added else text.translate(table): token
        for text, token in model["vocab"].items()
    }
    model["merges"] = [
        merge.translate(table) if isinstance(merge, str) else [s.translate(table) for s in merge]
        for merge in model["merges"]
    ]
    return tokenizer_of(json.dumps(record, ensure_ascii=False))


def _content(tokenizer: LibraryTokenizer) -> str:
    if not tokenizer.is_tokenizer_json:
        raise ConfigError(_OTHER_KIND)
    return tokenizer.content().decode("utf-8")


def pick_texts(texts: Iterable[str], count: int) -> list[str]:
    """The beginnings of the first `count` texts that hold letters.

    Raises InputError where fewer than LEAST_TEXTS do.
    """
    found: list[str] = []
    for text in texts:
        start = text[:MOST_CHARACTERS].strip()
        if any(letter in start.lower() for letter in _MAPPED):
            found.append(start)
        if len(found) == count:
            break
    if len(found) < LEAST_TEXTS:
        raise InputError(f"needs {LEAST_TEXTS} texts with letters, got {len(found)}: give more")
    return found


@torch.inference_mode()
def respell(
    model: Transformer,
    tokenizer: AnyTokenizer,
    texts: Sequence[str],
    *,
    start_ids: Sequence[int] = (),
    seed: int = 0,
) -> list[Respelling]:
    """Put every text to the test; only its first MOST_TOKENS tokens go through the model."""
    other, table = respelled_tokenizer(tokenizer), letter_table()
    splits, generator = splits_of(tokenizer), np.random.default_rng([seed, 5])
    found = []
    for text in texts:
        usual = tokenizer.encode(text)
        again = other.encode(text.translate(table))
        spread = cut_otherwise(usual, splits, generator)
        room = min(MOST_TOKENS, model.config.context - len(start_ids))
        if usual == again:
            logits = [_logits(model, [*start_ids, *ids[:room]]) for ids in (usual, again)]
            difference = float((logits[0] - logits[1]).abs().max())
        else:
            difference = float("nan")
        # Predictions after the whole text, or as much of its end as the context has room for.
        ends = [_logits(model, [*start_ids, *ids[-room:]])[-1] for ids in (usual, spread)]
        p, q = (end.double().softmax(-1) for end in ends)
        found.append(
            Respelling(
                text, text.translate(table), len(usual), len(spread), usual == again, difference,
                float((p - q).abs().sum() / 2), bool(p.argmax() != q.argmax()),
            )
        )  # fmt: skip
    return found


def cut_otherwise(ids: Sequence[int], splits: Splits, generator: np.random.Generator) -> list[int]:
    """The same bytes as other tokens: SPLIT_SHARE of those that can are split into two."""
    found: list[int] = []
    for token in ids:
        first, end = splits.starts[token : token + 2]
        if first < end and generator.random() < SPLIT_SHARE:
            way = generator.integers(first, end)
            found += [int(splits.left[way]), int(splits.right[way])]
        else:
            found.append(token)
    return found


def _logits(model: Transformer, ids: Sequence[int]) -> Tensor:
    found: Tensor = model(torch.tensor([list(ids)], device=model.embedding.device))[0]
    return found


def ids_claim(found: Sequence[Respelling], seed: int = 0) -> Claim:
    """The claim with its evidence."""
    same = sum(record.same_ids for record in found) / len(found)
    differences = [record.difference for record in found if record.same_ids]
    largest = max(differences, default=None)
    distance = hierarchical_bootstrap(
        np.array([[record.distance for record in found]]), np.random.default_rng([seed, 6])
    )
    control = Control(
        "the same letters as other ids change the prediction, lower bound", distance.low, 0.01,
        distance.low > 0.01,
    )  # fmt: skip
    changed = sum(record.changes_the_likeliest for record in found) / len(found)
    return Claim(
        id="ids-not-words",
        statement=STATEMENT,
        verdict=_verdict(same, largest, control),
        rule=RULE,
        evidence=(
            Evidence("other letters, same ids", same, "share", n=len(found)),
            Evidence("largest difference of their logits", largest, "logits", n=len(differences)),
            Evidence(
                "same letters, other ids: distance of predictions", distance.estimate,
                "total variation", distance.low, distance.high, len(found), "bootstrap over texts",
            ),
            Evidence("same letters, other ids: another likeliest token", changed, "share",
                     n=len(found)),
        ),
        controls=(control,),
        limits=LIMITS,
    )  # fmt: skip


def _verdict(same: float, largest: float | None, control: Control) -> Verdict:
    if largest is not None and largest > 0:
        return "contradicted"
    return "supported" if same == 1 and control.holds else "inconclusive"


def respelling_table(found: Sequence[Respelling]) -> Table:
    """A row a text."""
    columns = (
        Column("text", "Text"),
        Column("respelled", "In other letters"),
        Column("tokens", "Tokens", "tokens"),
        Column("other_tokens", "Tokens, cut otherwise", "tokens"),
        Column("same_ids", "Same ids in other letters"),
        Column("difference", "Largest difference of logits", "logits"),
        Column("distance", "Distance of predictions after other ids", "total variation"),
    )
    rows = tuple(
        (
            record.text[:80], record.respelled[:80], record.tokens, record.other_tokens,
            record.same_ids, record.difference if record.same_ids else None, record.distance,
        )
        for record in found
    )  # fmt: skip
    title = "Other letters behind the same ids, other ids behind the same letters"
    return Table(title, columns, rows)


def respelling_result(
    model: Transformer,
    tokenizer: AnyTokenizer,
    texts: Iterable[str],
    *,
    count: int = 100,
    start_ids: Sequence[int] = (),
    seed: int = 0,
    name: str = "model",
) -> Result:
    """The whole probe, of `count` texts; raises ConfigError and InputError as its parts do."""
    started = time.monotonic()
    found = respell(model, tokenizer, pick_texts(texts, count), start_ids=start_ids, seed=seed)
    claim = ids_claim(found, seed)
    return Result(
        kind=KIND,
        title=f"What {name} reads: ids, or letters",
        settings={"model": name, "texts": len(found), "split_share": SPLIT_SHARE, "seed": seed},
        values={"texts_of_same_ids": sum(record.same_ids for record in found)},
        tables={"texts": respelling_table(found)},
        claims=(claim,),
        provenance=collect_provenance(
            seeds=[seed],
            inputs={"tokenizer": tokenizer.digest},
            wall_seconds={"probe": time.monotonic() - started},
        ),
    )
