"""Load a tokenizer from whatever file holds it, told by its content."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokkit.errors import ArtifactError, ConfigError, TokkitError
from tokkit.tokenizer.artifact import TOKENIZER_FILE, Tokenizer
from tokkit.tokenizer.formats.ranks import is_rank_file
from tokkit.tokenizer.formats.sentencepiece import is_sentencepiece, load_sentencepiece
from tokkit.tokenizer.formats.tiktoken import load_rank_file
from tokkit.tokenizer.formats.vocab_merges import (
    MERGES_FILE,
    VERSION_MARK,
    VOCAB_FILE,
    load_vocab_merges,
)
from tokkit.tokenizer.library import HuggingFaceEngine, LibraryTokenizer
from tokkit.tokenizer.presets import Pretokenizer, resolve_pretokenizer
from tokkit.tokenizer.records import backend_of, checked, parse

# The largest tokenizers in use have files of some 35 MB.
MAX_FILE_BYTES = 1 << 27
_IN_A_FOLDER = (TOKENIZER_FILE, VOCAB_FILE, "*.tiktoken", "*.model")


def load_tokenizer(
    path: str | os.PathLike[str],
    *,
    pretokenizer: Pretokenizer | str | None = None,
    special_tokens: Mapping[str, int] | None = None,
) -> Tokenizer | LibraryTokenizer:
    """Load a tokenizer.json, tiktoken ranks, vocab.json with merges.txt, or a SentencePiece model.

    `path` is a file, told by its content, or a folder with one of them. A byte-level BPE that keeps
    text becomes a `Tokenizer`, anything else a `LibraryTokenizer`. Rank files and merges hold no
    pattern: `pretokenizer` gives it where the file is no published one, and `special_tokens` (text
    to id) the tokens that stand beside them.

    Raises ArtifactError in one line for a file that is missing, larger than 128 MiB, cut short or
    wrong, and ConfigError where `pretokenizer` is needed, unknown, or given for a file that has its
    own.
    """
    source = _file_in(Path(path))
    rule = None if pretokenizer is None else resolve_pretokenizer(pretokenizer)
    content = read_bounded(source)
    try:
        return _load(content, source, rule, special_tokens)
    except TokkitError as error:
        raise type(error)(f"cannot use tokenizer {source}: {error}") from error


def read_bounded(source: Path) -> bytes:
    """The bytes of a tokenizer's file; ArtifactError when it is missing, no file, or too large."""
    try:
        size = source.stat().st_size
        if not source.is_file():
            raise ArtifactError(
                f"tokenizer {source} is not a regular file: give a tokenizer's file"
            )
        if size > MAX_FILE_BYTES:
            raise ArtifactError(
                f"tokenizer {source} has {size:,} bytes, and no more than {MAX_FILE_BYTES:,} are "
                f"read: check that it is the right file"
            )
        with source.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        raise ArtifactError(f"tokenizer {source} does not exist: check the path") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ArtifactError(f"cannot read tokenizer {source}: {reason}") from error


def _file_in(path: Path) -> Path:
    if not path.is_dir():
        return path
    for pattern in _IN_A_FOLDER:
        found = sorted(path.glob(pattern))
        if len(found) > 1:
            raise ArtifactError(
                f"folder {path} holds {len(found)} files {pattern}: name the one to load"
            )
        if found:
            return found[0]
    raise ArtifactError(
        f"folder {path} holds no tokenizer: looked for {', '.join(_IN_A_FOLDER)}; name its file"
    )


def _load(
    content: bytes,
    source: Path,
    rule: Pretokenizer | None,
    special_tokens: Mapping[str, int] | None,
) -> Tokenizer | LibraryTokenizer:
    if content.lstrip(b" \t\r\n")[:1] == b"{" and not is_sentencepiece(content):
        return _load_json(content, source, rule, special_tokens)
    if is_rank_file(content):
        return load_rank_file(content, source, pretokenizer=rule, special_tokens=special_tokens)
    if content.startswith(VERSION_MARK.encode()) or source.name == MERGES_FILE:
        return load_vocab_merges(
            _vocab_beside(source), content, pretokenizer=rule, special_tokens=special_tokens
        )
    if is_sentencepiece(content):
        _require_none(rule, special_tokens, "a SentencePiece model")
        return load_sentencepiece(content)
    raise ArtifactError(
        f"its {len(content):,} bytes are neither a tokenizer.json, tiktoken ranks, "
        f"vocab.json or merges.txt, nor a SentencePiece model: check that the file is whole"
    )


def _load_json(
    content: bytes,
    source: Path,
    rule: Pretokenizer | None,
    special_tokens: Mapping[str, int] | None,
) -> Tokenizer | LibraryTokenizer:
    record = parse(content)
    if "model" not in record and all(type(token) is int for token in record.values()):
        merges = source.with_name(MERGES_FILE)
        if not merges.is_file():
            raise ArtifactError(f"a vocabulary alone is no tokenizer: put {MERGES_FILE} beside it")
        return load_vocab_merges(
            record, read_bounded(merges), pretokenizer=rule, special_tokens=special_tokens
        )
    _require_none(rule, special_tokens, f"a {TOKENIZER_FILE}")
    try:
        backend = backend_of(checked(record))
    except ArtifactError as error:
        raise ArtifactError(f"this is not a {TOKENIZER_FILE}: {error}") from error
    try:
        return Tokenizer(backend)
    except ArtifactError:
        return LibraryTokenizer(HuggingFaceEngine(backend))


def _vocab_beside(source: Path) -> Any:
    vocab = source.with_name(VOCAB_FILE)
    if not vocab.is_file():
        raise ArtifactError(f"merges alone are no tokenizer: put {VOCAB_FILE} beside them")
    return parse(read_bounded(vocab))


def _require_none(
    rule: Pretokenizer | None, special_tokens: Mapping[str, int] | None, what: str
) -> None:
    for name, value in (("pretokenizer", rule), ("special_tokens", special_tokens)):
        if value is not None:
            raise ConfigError(f"{name} cannot be given for {what}, which has its own; leave it out")
