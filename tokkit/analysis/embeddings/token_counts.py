"""How often each token stood in a text: from a table, from ids, or from the run of a model.

What is counted is what was encoded before: no text is read again. A special token stands in no
table of pretokens; in the ids of an encoding it stands wherever it was put.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ArtifactError, ConfigError, TokkitError
from tokkit.files import read_json

Ints = NDArray[np.int64]

_BLOCK_IDS = 1 << 22
_MADE = "made.json"


def token_counts(source: str | os.PathLike[str], tokenizer: Any, vocab_size: int) -> Ints:
    """How often each of `vocab_size` rows was used: int64 (vocab_size,).

    `source` is one of: a counted table (.npz of `tokkit tokenizer count`); the ids of an encoding
    (.npy of `tokkit tokenizer encode --out`); the folder of a run of `tokkit model train`, whose
    documents held out for validation are not counted. `tokenizer` may be None but for a table.
    A run of less than an epoch has met fewer tokens than its documents hold.

    Raises ArtifactError for what is missing, cut or of another vocabulary, and ConfigError for a
    source that is none of these or was made with another tokenizer.
    """
    path = Path(source)
    if path.is_dir():
        return _of_run(path, tokenizer, vocab_size)
    if not path.exists():
        raise ArtifactError(f"token counts {path} do not exist: check the path")
    if path.suffix == ".npz":
        return _of_table(path, tokenizer, vocab_size)
    if path.suffix == ".npy":
        return _of_ids(path, tokenizer, vocab_size)
    raise ConfigError(
        "token counts come from a table (.npz of: tokkit tokenizer count), from ids (.npy of: "
        f"tokkit tokenizer encode --out) or from the folder of a run, got {str(path)!r}"
    )


def _of_table(path: Path, tokenizer: Any, vocab_size: int) -> Ints:
    from tokkit.tokenizer.audit.counts import token_counts as counts_in_blocks
    from tokkit.tokenizer.table import PretokenTable

    if tokenizer is None:
        raise ConfigError(
            f"a table of pretokens is counted with the model's tokenizer, which is not known: "
            f"give it with --tokenizer, or ids in place of {path}"
        )
    if tokenizer.vocab_size > vocab_size:
        raise ConfigError(
            f"the tokenizer has {tokenizer.vocab_size} ids, but the embedding {vocab_size} rows: "
            "they do not belong together"
        )
    table = PretokenTable.load(path)
    try:
        counted = counts_in_blocks(tokenizer, table)
    except TokkitError as error:
        raise ConfigError(f"the table {path} does not fit the tokenizer: {error}") from error
    found = np.zeros(vocab_size, dtype=np.int64)
    found[: tokenizer.vocab_size] = np.asarray(counted.sum(axis=0)).ravel()
    return found


def _of_ids(path: Path, tokenizer: Any, vocab_size: int) -> Ints:
    from tokkit.tokenizer.encoded_files import RECORD_KIND, encoded_paths, read_ids

    ids = read_ids(path)
    record = encoded_paths(path).record
    if record.exists():
        written = read_json(record, what="record of the ids")
        if isinstance(written, dict) and written.get("kind") == RECORD_KIND:
            _require_tokenizer(written, tokenizer, path)
    return _counted(iter([ids]), vocab_size, path)


def _of_run(folder: Path, tokenizer: Any, vocab_size: int) -> Ints:
    from tokkit.training.corpus import open_corpus
    from tokkit.training.run_folder import CORPUS_FOLDER, SPLIT_FILE

    corpus_folder = folder / CORPUS_FOLDER
    if not (corpus_folder / _MADE).exists():
        raise ArtifactError(
            f"{folder} holds no encoded corpus ({CORPUS_FOLDER}/{_MADE}): give the folder of a run "
            "of: tokkit model train"
        )
    made = read_json(corpus_folder / _MADE, what="record of the corpus")
    if not (isinstance(made, dict) and isinstance(made.get("corpus_sha256"), str)):
        raise ArtifactError(f"{corpus_folder / _MADE} is no record of a corpus: train again")
    _require_tokenizer(made, tokenizer, folder)
    corpus = open_corpus(corpus_folder, None)
    offsets, documents = corpus.offsets, len(corpus.text_bytes)
    if offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise ArtifactError(f"the offsets in {corpus_folder} do not rise from 0: train again")
    held_out = _held_out(folder / SPLIT_FILE, documents)
    kept = np.delete(np.arange(documents), held_out)
    return _counted(_documents(corpus.ids, offsets, kept), vocab_size, corpus_folder)


def _held_out(path: Path, documents: int) -> Ints:
    """The documents of split.json, checked: whole numbers from 0 on, below `documents`."""
    split = read_json(path, what="split of the run")
    listed = split.get("validation") if isinstance(split, dict) else None
    if not isinstance(listed, list) or not all(type(number) is int for number in listed):
        raise ArtifactError(f"{path} lists no documents for validation: train again")
    if split.get("documents") != documents or not all(0 <= n < documents for n in listed):
        raise ArtifactError(
            f"{path} is of a corpus of {split.get('documents')!r} documents, but {documents} are "
            "there: train again"
        )
    return np.array(sorted(set(listed)), dtype=np.int64)


def _documents(ids: NDArray[Any], offsets: Ints, kept: Ints) -> Iterator[NDArray[Any]]:
    """The ids of the documents kept, runs of neighbours at once."""
    if not len(kept):
        return
    breaks = np.flatnonzero(np.diff(kept) != 1) + 1
    for run in np.split(kept, breaks):
        yield ids[offsets[run[0]] : offsets[run[-1] + 1]]


def _counted(parts: Iterator[NDArray[Any]], vocab_size: int, where: Path) -> Ints:
    found = np.zeros(vocab_size, dtype=np.int64)
    for part in parts:
        for start in range(0, len(part), _BLOCK_IDS):
            block = np.asarray(part[start : start + _BLOCK_IDS])
            low, high = int(block.min()), int(block.max())
            if low < 0 or high >= vocab_size:
                raise ArtifactError(
                    f"the ids in {where} must lie in 0..{vocab_size - 1}, the rows of the "
                    f"embedding, got {low if low < 0 else high}: they are of another tokenizer"
                )
            found += np.bincount(block.astype(np.int64), minlength=vocab_size)
    return found


def _require_tokenizer(record: dict[str, Any], tokenizer: Any, where: Path) -> None:
    """The digest in a record, if there is one, must be that of the model's tokenizer."""
    written = record.get("tokenizer_sha256")
    if tokenizer is None or not isinstance(written, str) or written == tokenizer.digest:
        return
    raise ConfigError(
        f"the ids of {where} were made by another tokenizer ({written[:12]}..., the model's is "
        f"{tokenizer.digest[:12]}...): encode the text with the model's"
    )
