"""The small model that the analyses share: its text, its tokenizer and its settings.

It learns the generated world and the built-in English. Its tokenizer is learned on these and on
Python source besides, which the model never reads: tokens of source alone are never trained, so
that a search for untrained tokens has something to find whose truth is known.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokkit.corpus.sources import code_documents, english_documents, make_source
from tokkit.corpus.world import WorldConfig, build_world, make_world, world_documents
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.train import SPECIAL_TOKENS, train

NAME = "tiny-world"
TEXT_FOLDER = "text"
WORLD = WorldConfig(seed=0, megabytes=5.0)
VOCAB_SIZE = 4096
CODE_BYTES = 3_000_000  # about as much as English, or identifiers would fill the vocabulary
MODEL = {"width": 128, "layers": 4, "heads": 4, "key_value_heads": 2, "context": 128}
TRAINING = {"steps": 3000, "sequences": 16, "evaluate_every": 500}
FAMILY = "llama"


@dataclass(frozen=True, slots=True)
class TinyWorld:
    """What the model is trained with: its tokenizer, the files of its text, what is told of it."""

    tokenizer: Tokenizer
    corpus: tuple[Path, ...]
    about: dict[str, Any]


def prepare(folder: Path, told: Callable[[str], None] | None = None) -> TinyWorld:
    """Make the text and the tokenizer in `folder`/text, always anew: they follow from the code.

    `told(message)` says what is being made. Raises OutputError where nothing can be written.
    """
    place = folder / TEXT_FOLDER
    tell = told or (lambda message: None)
    world, english = place / "world", place / "english.jsonl"
    tell("making the world and the English text")
    record = make_world(world, WORLD)
    make_source("english", english)
    tell("learning the tokenizer")
    tokenizer = learn_tokenizer()
    about = {
        "preset": NAME,
        "world": {**asdict(WORLD), "documents_sha256": record["documents_sha256"]},
        "tokenizer_text": "world, english, code",
    }
    return TinyWorld(tokenizer, (world / "world.jsonl", english), about)


def learn_tokenizer() -> Tokenizer:
    """The tokenizer, learned on the model's text and on source code."""
    world = (document.text for document in world_documents(build_world(WORLD)))
    english = (document.text for document in english_documents())
    texts = itertools.chain(world, english, _some_code())
    return train(texts, vocab_size=VOCAB_SIZE, pretokenizer="gpt2", special_tokens=SPECIAL_TOKENS)


def _some_code() -> Iterator[str]:
    total = 0
    for document in code_documents():
        if total >= CODE_BYTES:
            return
        total += len(document.text.encode())
        yield document.text
