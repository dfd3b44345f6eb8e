"""The text of the positions experiment: a stream of ids to train on, and windows to be asked about.

Documents stand one after another, an end token behind each, as one stream; a model is trained on
windows of L tokens from anywhere in it. What is asked are windows of 4 L tokens of documents held
out:

- `trained`   every token, in contexts of at most L tokens, as in training;
- `matched`   the same last L / 2 tokens of a window with 1, 1.5, 2 and 4 L tokens in all, so that
              lengths differ in what is before the scored tokens and in where these stand, and in
              nothing else;
- `by place`  every token with all that is before it in the window, by its place.

Bits per byte are those of the scored text tokens, end tokens left out, over their own bytes: the
tokenizer is byte-level and loses nothing, so these are the bytes of the text.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.corpus.document import CorpusDigest, Document
from tokkit.errors import ArtifactError, ConfigError, unknown_choice
from tokkit.experiments.position_schemes import LENGTHS
from tokkit.files import atomic_file, read_json, write_json

if TYPE_CHECKING:
    from tokkit.model.transformer import Transformer
    from tokkit.training.objective import Batch

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

FOLDER, RECORD = "text", "text.json"
END = "<|end|>"
_SPLIT_SEED = 1
_BATCH_TOKENS = 4096


def _english() -> Iterator[Document]:
    from tokkit.corpus.sources import english_documents

    return english_documents()


def _world() -> Iterator[Document]:
    from tokkit.corpus.world import WorldConfig, build_world, world_documents

    return iter(world_documents(build_world(WorldConfig())))


TEXTS: dict[str, tuple[Callable[[], Iterator[Document]], ...]] = {
    "english": (_english,),
    "world": (_world,),
    "world and english": (_world, _english),
}
"""Where the text comes from, by name; of several sources each gives as many bytes."""


@dataclass(frozen=True, slots=True)
class Text:
    """What `prepare_text` left on the disk.

    training     the stream to train on, (N,) int64
    windows      held-out windows, (W, 4 L + 1): inputs and, one to the right, targets
    token_bytes  of each id, (V,); 0 for the end token
    unigram      nats of each id under the training stream's frequencies, (V,)
    """

    training: Ids
    windows: Ids
    token_bytes: Ids
    unigram: Floats
    record: dict[str, Any]


def prepare_text(
    place: Path, *, source: str, megabytes: float, vocab_size: int, trained: int, windows: int
) -> None:
    """Collect, cut and encode the text below `place`, unless that is done.

    Raises ConfigError for an unknown source, and where the held-out tenth has too few tokens for
    the windows.
    """
    if source not in TEXTS:
        raise ConfigError(unknown_choice("text", source, TEXTS))
    folder = place / FOLDER
    if (folder / RECORD).exists():
        return
    from tokkit.tokenizer.train import train
    from tokkit.training.packing import split_documents

    digest = CorpusDigest()
    each = int(megabytes * 1e6 / len(TEXTS[source]))
    found = itertools.chain.from_iterable(_first_bytes(make(), each) for make in TEXTS[source])
    documents = [document.text for document in digest.watch(found)]
    held_out = set(split_documents(len(documents), 0.1, _SPLIT_SEED).tolist())
    learned = [text for place_, text in enumerate(documents) if place_ not in held_out]
    kept = [documents[place_] for place_ in sorted(held_out)]
    tokenizer = train(learned, vocab_size=vocab_size, pretokenizer="gpt2", special_tokens=(END,))
    end = tokenizer.token_id(END) or 0
    training, asked = (_stream(tokenizer, texts, end) for texts in (learned, kept))
    size = int(LENGTHS[-1] * trained)
    cut = cut_windows(asked, windows, size + 1)
    tokenizer.save(folder / "tokenizer.json")
    for name, ids in (("training", training), ("windows", cut)):
        with atomic_file(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, ids.astype(np.int32), allow_pickle=False)
    record = {
        "source": source,
        "documents": digest.documents,
        "bytes": digest.bytes,
        "documents_sha256": digest.hexdigest(),
        "training_tokens": len(training),
        "held_out_tokens": len(asked),
        "vocab_size": tokenizer.vocab_size,
        "end_id": end,
        "token_bytes": [0 if i == end else len(tokenizer.token_bytes(i))
                        for i in range(tokenizer.vocab_size)],
        "tokenizer": tokenizer.digest,
    }  # fmt: skip
    write_json(folder / RECORD, record)


def _first_bytes(documents: Iterator[Document], most: int) -> Iterator[Document]:
    """Documents until `most` bytes are reached: evenly through a source would read all of it."""
    so_far = 0
    for document in documents:
        yield document
        so_far += len(document.text.encode())
        if so_far >= most:
            return


def _stream(tokenizer: Any, texts: list[str], end: int) -> Ids:
    encoded = tokenizer.encode_batch(texts)
    return np.fromiter(
        itertools.chain.from_iterable((*ids, end) for ids in encoded), dtype=np.int64
    )


def cut_windows(stream: Ids, count: int, size: int) -> Ids:
    """`count` windows of `size` tokens spread evenly through a stream, none overlapping: (W, size).

    >>> cut_windows(np.arange(10), 2, 4).tolist()
    [[0, 1, 2, 3], [6, 7, 8, 9]]
    """
    if len(stream) < count * size:
        raise ConfigError(
            f"{count} windows of {size} tokens need {count * size:,} held-out tokens, but the text "
            f"has {len(stream):,}: give more text, or fewer or shorter windows"
        )
    starts = np.linspace(0, len(stream) - size, count).astype(np.int64)
    return np.asarray(stream[starts[:, None] + np.arange(size)])


def load_text(place: Path) -> Text:
    """Read what `prepare_text` wrote; ArtifactError when it is broken."""
    folder = place / FOLDER
    record = read_json(folder / RECORD, what="text record")
    try:
        training, windows = (
            np.load(folder / f"{name}.npy", allow_pickle=False).astype(np.int64)
            for name in ("training", "windows")
        )
        token_bytes = np.asarray(record["token_bytes"], dtype=np.int64)
        counts = np.bincount(training, minlength=len(token_bytes))
        counts[record["end_id"]] = 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder} is not whole ({error}): delete it and start over") from error
    unigram = -np.log((counts + 1) / (counts.sum() + len(counts)))
    return Text(training, windows, token_bytes, unigram, record)


def text_batch(text: Text, *, rows: int, trained: int, seed: int, step: int) -> Batch:
    """The windows of a step: `rows` of `trained` tokens from anywhere, drawn from seed and step."""
    import torch

    from tokkit.training.objective import Batch

    generator = np.random.default_rng([seed, step])
    starts = generator.integers(0, len(text.training) - trained, rows)
    tokens = torch.from_numpy(text.training[starts[:, None] + np.arange(trained + 1)])
    return Batch(tokens[:, :-1].contiguous(), None, None, tokens[:, 1:].contiguous())


# Asking -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model makes of rows of tokens, each (rows, scored): nats, and 1 where it is right."""

    nats: Floats
    right: Floats


def score(model: Transformer, rows: Ids, scored: int) -> Scores:
    """Read `rows` (N, T + 1), and score the last `scored` tokens of each."""
    import torch
    from torch.nn import functional

    each = max(1, _BATCH_TOKENS // rows.shape[1])
    nats, right = [], []
    with torch.no_grad():
        for start in range(0, len(rows), each):
            part = torch.from_numpy(rows[start : start + each])
            inputs, targets = part[:, :-1].contiguous(), part[:, -scored:]
            hidden = model.hidden(inputs)[:, -scored:]
            logits = model.unembed(hidden).flatten(0, 1).float()
            flat = targets.flatten()
            spent = functional.cross_entropy(logits, flat, reduction="none")
            nats.append(spent.view(targets.shape).double().numpy())
            right.append((logits.argmax(1) == flat).view(targets.shape).double().numpy())
    return Scores(np.concatenate(nats), np.concatenate(right))


def matched_rows(windows: Ids, length: float, trained: int) -> Ids:
    """The windows' ends with `length` x `trained` tokens of input: the same last targets in all."""
    return windows[:, -(round(length * trained) + 1) :]


def trained_rows(windows: Ids, trained: int) -> Ids:
    """The windows cut into rows of `trained` tokens, every token a target once: (4 W, L + 1)."""
    pieces = (windows.shape[1] - 1) // trained
    starts = np.arange(pieces)[:, None] * trained + np.arange(trained + 1)
    return windows[:, starts].reshape(-1, trained + 1)


def text_tokens(text: Text, targets: Ids) -> Floats:
    """1 for text tokens, 0 for end tokens."""
    return np.asarray(targets != text.record["end_id"], dtype=np.float64)
