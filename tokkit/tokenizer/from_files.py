"""Train a tokenizer from files, and keep beside it how it came about."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

from tokkit import __version__
from tokkit.corpus.document import CorpusDigest
from tokkit.corpus.readers import read_documents
from tokkit.errors import OutputError
from tokkit.files import ensure_folder, write_json
from tokkit.tokenizer.artifact import TOKENIZER_FILE
from tokkit.tokenizer.presets import Pretokenizer, resolve_pretokenizer
from tokkit.tokenizer.train import SPECIAL_TOKENS, Progress, train

TRAINING_FILE = "training.json"
# A plain file reaches the trainer in parts of this size, so that it may be larger than memory.
PART_CHARACTERS = 1 << 20


def train_from_files(
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    vocab_size: int,
    pretokenizer: Pretokenizer | str,
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
    added_tokens: Sequence[str] = (),
    min_frequency: int = 2,
    text_field: str = "text",
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Train on the documents in `paths`; write tokenizer.json to `out` and training.json beside it.

    `out` is a file or a standing folder. The record, which is returned too, holds the options, the
    digest of the corpus, documents, bytes, the vocabulary reached, the time taken, and versions.
    An `out` of another name than tokenizer.json gets its record as `<stem>.training.json`.

    Raises what `read_documents` and `train` raise, and OutputError, before any work, when the
    folder of `out` cannot be written.
    """
    target = tokenizer_path(out)
    ensure_folder(target.parent)
    rule = resolve_pretokenizer(pretokenizer)
    digest = CorpusDigest()
    documents = read_documents(paths, text_field=text_field, part_characters=PART_CHARACTERS)
    started = time.perf_counter()
    tokenizer = train(
        (document.text for document in digest.watch(documents)),
        vocab_size=vocab_size,
        pretokenizer=rule,
        special_tokens=special_tokens,
        added_tokens=added_tokens,
        min_frequency=min_frequency,
        progress=progress,
    )
    record = {
        "options": {
            "vocab_size": vocab_size,
            "pretokenizer": rule.name,
            "pattern": rule.pattern,
            "special_tokens": list(special_tokens),
            "added_tokens": list(added_tokens),
            "min_frequency": min_frequency,
            "text_field": text_field,
            "part_characters": PART_CHARACTERS,
        },
        "files": [str(path) for path in paths],
        "corpus_sha256": digest.hexdigest(),
        "documents": digest.documents,
        "bytes": digest.bytes,
        "vocab_size": tokenizer.vocab_size,
        "ran_out_of_pairs": tokenizer.vocab_size < vocab_size,
        "tokenizer_sha256": tokenizer.digest,
        "wall_seconds": round(time.perf_counter() - started, 3),
        "versions": {
            "tokkit": __version__,
            "python": python_version(),
            "tokenizers": metadata.version("tokenizers"),
        },
    }
    # The tokenizer last: where it stands under its name, its record does too.
    write_json(training_path(target), record)
    tokenizer.save(target)
    return record


def tokenizer_path(out: str | os.PathLike[str]) -> Path:
    """The file to write for `out`: itself, or tokenizer.json in it when it is a folder."""
    target = Path(out)
    if target.is_dir():
        return target / TOKENIZER_FILE
    if target.exists() and not target.is_file():
        raise OutputError(
            f"cannot write {target}: it is no regular file; choose another with --out"
        )
    return target


def training_path(tokenizer: Path) -> Path:
    """Where the record of the tokenizer at this path stands."""
    is_default = tokenizer.name == TOKENIZER_FILE
    return tokenizer.with_name(TRAINING_FILE if is_default else f"{tokenizer.stem}.{TRAINING_FILE}")
