"""A small corpus of lines that a small model can learn something of, and a run on it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.train import train
from tokkit.training.config import TrainingConfig
from tokkit.training.presets import training_preset
from tokkit.training.text import train_on_text
from tokkit.training.text_data import TextConfig

WORDS = [
    "the",
    "red",
    "fox",
    "saw",
    "a",
    "blue",
    "bird",
    "near",
    "old",
    "stone",
    "walls",
    "and",
    "ran",
]
CONTEXT = 13


def texts(count: int = 61) -> list[str]:
    """Sentences of 2 to 22 words, each word half determined by the one before; one is empty."""
    draw = random.Random(3)
    found = []
    for _ in range(count):
        at, words = draw.randrange(len(WORDS)), []
        for _ in range(draw.randint(2, 22)):
            words.append(WORDS[at % len(WORDS)])
            at = at + 1 if draw.random() < 0.8 else draw.randrange(len(WORDS))
        found.append(" ".join(words) + " é.")
    found[7] = ""
    return found


def corpus_file(folder: Path, lines: list[str] | None = None) -> Path:
    path = folder / "corpus.jsonl"
    written = (json.dumps({"text": text}) for text in (texts() if lines is None else lines))
    path.write_text("\n".join(written) + "\n")
    return path


def tiny_tokenizer(*, special: tuple[str, ...] = ("<|end|>",)) -> Tokenizer:
    return train(texts(), vocab_size=280, pretokenizer="gpt2", special_tokens=special)


def text_config(*, vocab_size: int = 280, preset: str = "llama", **changed: Any) -> TextConfig:
    sizes = {"width": 16, "layers": 2, "heads": 2, "context": CONTEXT}
    sizes = {name: changed.pop(name, value) for name, value in sizes.items()}
    model = training_preset(preset, vocab_size=vocab_size, **sizes)
    run = {"sequences": 4, "validation_share": 0.2, "keep": 2, "accumulate": 1, "seed": 0}
    run = {name: changed.pop(name, value) for name, value in run.items()}
    settings = {
        "steps": 12,
        "learning_rate": 0.01,
        "warmup_steps": 3,
        "log_every": 2,
        "evaluate_every": 4,
        "save_seconds": 0.0,
        "patience_steps": 50,
    }
    return TextConfig(model=model, training=TrainingConfig(**(settings | changed)), **run)


def run_text(folder: Path, corpus: Path, config: TextConfig | None = None, **options: Any) -> Any:
    tokenizer = options.pop("tokenizer", None) or tiny_tokenizer()
    config = config or text_config()
    return train_on_text(tokenizer, [corpus], config, folder, device="cpu", **options)
