"""Text as training takes it: ids mapped from the disk, documents, and the bytes each of them has.

A run folder's corpus/ holds ids.npy, ids.offsets.npy and ids.json (see `encode_files`),
ids.bytes.npy (documents,) int64 with the bytes of each document's text, and made.json, which says
what all this was made from and the digests of the files.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.corpus.document import CorpusDigest
from tokkit.corpus.faults import FaultPolicy
from tokkit.corpus.inputs import find_sources
from tokkit.corpus.parts import read_parts
from tokkit.corpus.records import RecordFields
from tokkit.errors import ArtifactError, ConfigError
from tokkit.files import atomic_file, ensure_folder, read_json, sha256, write_json
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.bulk import encode_files
from tokkit.tokenizer.encoded_files import encoded_paths, read_ids
from tokkit.training.packing import Numbers

_IDS, _BYTES, _MADE = "ids.npy", "ids.bytes.npy", "made.json"
# Names of the token that ends a text, in the vocabularies of the families and in our own.
END_TOKENS = (
    "<|end|>", "<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>",
)  # fmt: skip
Told = Callable[[str, str, int, "int | None"], None]


@dataclass(frozen=True, slots=True)
class EncodedCorpus:
    """An encoded corpus.

    ids          all documents' ids, each document's end token (if any) behind it; mapped
    offsets      (documents + 1,) int64: document d is ids[offsets[d]:offsets[d + 1]]; mapped
    text_bytes   (documents,) int64: the bytes of each document's text, in UTF-8, as it was read
    end_id       the end token, or None
    digest       of the documents (`CorpusDigest`)
    """

    ids: NDArray[np.integer[Any]]
    offsets: Numbers
    text_bytes: Numbers
    end_id: int | None
    digest: str


def end_token(tokenizer: Any, asked: str | None = None) -> tuple[str, int] | None:
    """The token that ends a document and its id: `asked`, or the first of END_TOKENS there is.

    Raises ConfigError where `asked` is no special or added token.
    """
    there = {
        tokenizer.token_bytes(token).decode("utf-8", "replace"): token
        for token in sorted(tokenizer.special_ids | tokenizer.added_ids)
    }
    if asked is not None and asked not in there:
        known = ", ".join(list(there)[:10]) or "it has none"
        raise ConfigError(f"the tokenizer has no special token {asked!r}: choose from {known}")
    for name in END_TOKENS if asked is None else (asked,):
        if name in there:
            return name, there[name]
    return None


def tokenizer_json(tokenizer: Any) -> str:
    """The text of an opened tokenizer as tokenizer.json; ConfigError where that cannot hold it."""
    if isinstance(tokenizer, Tokenizer):
        return tokenizer.to_json()
    if not tokenizer.is_tokenizer_json:
        raise ConfigError(
            "a model keeps its tokenizer as tokenizer.json, which this one cannot be written as: "
            "give one that can, such as `tokkit tokenizer train` makes"
        )
    text: str = tokenizer.content().decode("utf-8")
    return text


def encode_corpus(
    tokenizer: Any,
    paths: Sequence[str | os.PathLike[str]],
    folder: Path,
    *,
    end: str | None,
    text_field: str = "text",
    errors: str = "strict",
    jobs: int | None = None,
    told: Told | None = None,
) -> bool:
    """Have the corpus encoded in `folder`; False where it already was, with the same tokenizer.

    The text is read once to know it by its digest; what is there is used if it was made from the
    same text by the same tokenizer, and is whole. Raises InputError for text that cannot be read,
    ConfigError for "-", and OutputError.
    """
    if any(os.fspath(path) == "-" for path in paths):
        raise ConfigError("training reads its text again to go on, which stdin cannot: give a file")
    place = ensure_folder(folder)
    tell = told or (lambda stage, unit, done, total: None)
    lengths, digest = _document_bytes(paths, text_field, errors, tell)
    wanted = {
        "tokenizer_sha256": tokenizer.digest,
        "corpus_sha256": digest,
        "end": end,
        "errors": errors,
    }
    if _is_made(place, wanted):
        return False
    (place / _MADE).unlink(missing_ok=True)
    record = encode_files(
        tokenizer,
        paths,
        place / _IDS,
        end=end,
        text_field=text_field,
        errors=errors,
        jobs=jobs,
        progress=lambda done: tell("encoding", "bytes", done.bytes, int(lengths.sum())),
    )
    if record["corpus_sha256"] != digest:
        raise ArtifactError("the corpus changed while it was encoded: leave it alone, start again")
    with atomic_file(place / _BYTES) as temporary, temporary.open("wb") as file:
        np.save(file, lengths, allow_pickle=False)
    write_json(place / _MADE, wanted | {"sha256": {n: sha256(place / n) for n in _files(place)}})
    return True


def open_corpus(folder: Path, end_id: int | None) -> EncodedCorpus:
    """Map what `encode_corpus` wrote. Raises ArtifactError where it is not there or not whole."""
    paths = encoded_paths(folder / _IDS)
    ids = read_ids(paths.ids)
    offsets, lengths = (
        read_ids(path, what=what).astype(np.int64, copy=False)
        for path, what in ((paths.offsets, "offsets"), (folder / _BYTES, "lengths"))
    )
    if len(lengths) != len(offsets) - 1 or offsets[-1] != len(ids):
        raise ArtifactError(f"the files in {folder} do not fit together: delete it, start again")
    made = read_json(folder / _MADE, what="record of the corpus")
    return EncodedCorpus(ids, offsets, lengths, end_id, str(made["corpus_sha256"]))


def _files(place: Path) -> list[str]:
    paths = encoded_paths(place / _IDS)
    return [paths.ids.name, paths.offsets.name, _BYTES]


def _is_made(place: Path, wanted: dict[str, Any]) -> bool:
    """Whether the files here are the ones, to the last byte; if not, they are made again."""
    with contextlib.suppress(ArtifactError, OSError):
        made = read_json(place / _MADE)
        if isinstance(made, dict) and isinstance(made.get("sha256"), dict):
            same = all(made.get(name) == value for name, value in wanted.items())
            return same and all(
                made["sha256"].get(name) == sha256(place / name) for name in _files(place)
            )
    return False


def _document_bytes(
    paths: Sequence[str | os.PathLike[str]], text_field: str, errors: str, tell: Told
) -> tuple[Numbers, str]:
    """The bytes of each document's text, as they are read in bounded memory, and their digest."""
    digest, lengths = CorpusDigest(), array("q")
    fields, policy = RecordFields(text_field, None), FaultPolicy(errors)
    for part in read_parts(find_sources(paths), fields, policy, by_folder=False):
        digest.add_bytes(part.data, continued=part.continued)
        if part.continued:
            lengths[-1] += len(part.data)
        else:
            lengths.append(len(part.data))
        tell("reading text", "bytes", digest.bytes, None)
    return np.array(lengths, dtype=np.int64), digest.hexdigest()
