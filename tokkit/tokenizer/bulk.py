"""Encode files to arrays on the disk, and back, in bounded memory and in threads."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tokkit import __version__
from tokkit.corpus.shards import Shard, ShardReader
from tokkit.errors import ConfigError, unknown_choice
from tokkit.files import atomic_file
from tokkit.parallel import map_in_threads
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.encoded_files import (
    RECORD_KIND,
    DocumentWriter,
    encoded_paths,
    id_dtype,
    read_ids,
    require_own_record,
    written_files,
)
from tokkit.tokenizer.encoding import Encoder, Ids, Places
from tokkit.tokenizer.stochastic import StochasTok, check_dropout, encode_with_dropout

SHARD_BYTES = 1 << 22
_DECODED_TOKENS = 1 << 20


@dataclass(frozen=True, slots=True)
class EncodingProgress:
    """How far encoding has come: bytes of text and tokens done, seconds since it began."""

    bytes: int
    tokens: int
    wall_seconds: float


def encode_files(
    tokenizer: Tokenizer | Any,
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    end: str | None = None,
    allow_special: bool = False,
    dropout: float = 0.0,
    stochastok: float = 0.0,
    seed: int = 0,
    text_field: str = "text",
    errors: str = "strict",
    jobs: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[EncodingProgress], None] | None = None,
) -> dict[str, Any]:
    """Encode the documents of files to `out`; return the record, which is written beside it.

    `out`, a name in .npy, gets the ids as the smallest unsigned integers that hold the vocabulary;
    `<stem>.offsets.npy` gets where each document begins, int64, and the end; `<stem>.json` the
    record. `np.load(out, mmap_mode="r")` reads them. All three appear whole, the ids last. The ids
    are the same for any number of `jobs` (threads; None: one for each core) and any `shard_bytes`.

    `end` is an added token, special or not, to put after each document. `allow_special` reads text
    that spells a special token as that token. `dropout` (see `encode_with_dropout`) and
    `stochastok` (see `StochasTok`) encode at random, from `seed`. `text_field` and `errors` are as
    for `ShardReader`. `progress` is called on the calling thread.

    A tokenizer whose text has to go through the library is slower and holds a document at a time;
    the record says so ("engine").

    Raises ConfigError for settings out of range, InputError as `ShardReader` does, and OutputError,
    with nothing written, where the files cannot be.
    """
    targets = encoded_paths(out)
    require_own_record(targets.record)
    encoder = Encoder(tokenizer, allow_special=allow_special)
    check_dropout(dropout, encoder)
    expander = StochasTok(tokenizer, stochastok, seed) if stochastok else None
    end_id = None if end is None else _added_id(tokenizer, end)
    reader = ShardReader(
        paths,
        text_field=text_field,
        errors=errors,
        # A pretoken's random words depend on where it begins: it has to be whole.
        cut=None if dropout and _is_one_pretoken(encoder) else _cut_of(encoder),
        shard_bytes=shard_bytes,
    )
    started = time.perf_counter()
    with written_files(targets, id_dtype(tokenizer.vocab_size)) as (ids, offsets, record_path):
        writer = DocumentWriter(ids, offsets, end_id, expander)
        tally = np.zeros(2, dtype=np.int64)
        read_bytes = 0

        def encode(work: _Work) -> _Encoded:
            return _encode_shard(work, encoder, dropout, seed)

        done = map_in_threads(encode, _numbered(reader), workers=jobs)
        # Closed at once where something fails, so that no thread goes on meanwhile.
        with contextlib.closing(cast("Generator[_Encoded]", done)) as shards:
            for shard in shards:
                writer.add(shard.ids, shard.starts)
                tally += shard.tally
                read_bytes += shard.bytes
                if progress:
                    seconds = time.perf_counter() - started
                    progress(EncodingProgress(read_bytes, ids.length, seconds))
        writer.finish()
        record = {
            "kind": RECORD_KIND,
            "files": [os.fspath(path) for path in paths],
            "options": {
                "end": end,
                "allow_special": allow_special,
                "dropout": dropout,
                "stochastok": stochastok,
                "seed": seed,
                "text_field": text_field,
                "errors": errors,
            },
            **_described(encoder, reader),
            "tokens": ids.length,
            "dtype": ids.dtype.name,
            "merges_drawn": int(tally[0]) if dropout else None,
            "merges_left_out": int(tally[1]) if dropout else None,
            "splits_tried": expander.attempted if expander else None,
            "splits_made": expander.made if expander else None,
            "wall_seconds": round(time.perf_counter() - started, 3),
            "versions": {"tokkit": __version__, "numpy": np.__version__},
        }
        record_path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def _described(encoder: Encoder, reader: ShardReader) -> dict[str, Any]:
    """What the record says of the tokenizer and of the text, once it has been read."""
    tokenizer = encoder.tokenizer
    return {
        "engine": encoder.engine,
        "notes": list(getattr(tokenizer, "notes", ())),
        "tokenizer_sha256": tokenizer.digest,
        "vocab_size": tokenizer.vocab_size,
        "corpus_sha256": reader.hexdigest(),
        "documents": reader.documents,
        "bytes": reader.bytes,
        "faults_replaced": reader.replaced,
        "faults_skipped": reader.skipped,
    }


@dataclass(frozen=True, slots=True)
class _Work:
    """A shard with the number of each piece's document (int64), and its first byte in it."""

    shard: Shard
    documents: Places
    positions: Places


@dataclass(frozen=True, slots=True)
class _Encoded:
    """The ids of a shard, where documents begin in them, and what there is to count."""

    ids: Ids
    starts: Places
    bytes: int
    tally: NDArray[np.int64]


def _numbered(shards: Iterable[Shard]) -> Iterator[_Work]:
    document, position = -1, 0
    for shard in shards:
        begins = ~shard.continued
        places = np.arange(len(begins))
        first = np.maximum.accumulate(np.where(begins, places, -1))
        positions = shard.starts[:-1] - np.where(first < 0, -position, shard.starts[first])
        yield _Work(shard, document + np.cumsum(begins), positions)
        document += int(begins.sum())
        if len(begins):
            position = int(positions[-1] + shard.starts[-1] - shard.starts[-2])


def _encode_shard(work: _Work, encoder: Encoder, dropout: float, seed: int) -> _Encoded:
    shard = work.shard
    tally = np.zeros(2, dtype=np.int64)
    if dropout:
        found = encode_with_dropout(
            encoder,
            shard.data,
            shard.starts,
            dropout=dropout,
            seed=seed,
            documents=work.documents,
            positions=work.positions,
        )
        ids, offsets = found.ids, found.id_offsets
        tally[:] = found.considered, found.left_out
    else:
        ids, offsets = encoder.encode_pieces(shard.data, shard.starts)
    return _Encoded(ids, offsets[:-1][~shard.continued], len(shard.data), tally)


def _is_one_pretoken(encoder: Encoder) -> bool:
    rule = encoder.tokenizer.pretokenizer
    return rule is not None and rule.pattern is None


def _cut_of(encoder: Encoder) -> Callable[[NDArray[np.uint8]], int] | None:
    return encoder.cut if encoder.engine == "compiled" else None


def _added_id(tokenizer: Tokenizer | Any, text: str) -> int:
    added: dict[str, int] = {
        tokenizer.token_bytes(token).decode("utf-8"): token
        for token in sorted(tokenizer.special_ids | tokenizer.added_ids)
    }
    if text not in added:
        raise ConfigError(unknown_choice("added token", text, added))
    return added[text]


def decode_file(
    tokenizer: Tokenizer | Any,
    ids_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    document: int | None = None,
) -> int:
    """Write the exact bytes of the ids in an .npy file to `out`; return how many bytes.

    Of all documents, one after another, or of `document`, counted from 0, alone. Memory is bounded.
    An end token is decoded to its text, like any other. Raises ArtifactError for a file that holds
    no ids, InputError for an id that the tokenizer has not, and OutputError.
    """
    ids = read_ids(ids_path)
    if document is not None:
        offsets = read_ids(encoded_paths(ids_path).offsets, what="offsets")
        if not 0 <= document < len(offsets) - 1:
            raise ConfigError(
                f"documents are counted from 0 to {len(offsets) - 2}, got {document}; "
                f"choose one of them"
            )
        ids = ids[offsets[document] : offsets[document + 1]]
    encoder = Encoder(tokenizer)
    written = 0
    with atomic_file(out) as temporary, temporary.open("wb") as file:
        for start in range(0, len(ids), _DECODED_TOKENS):
            data = encoder.decode(ids[start : start + _DECODED_TOKENS])
            file.write(data.data)
            written += len(data)
    return written


def is_first_run() -> bool:
    """Whether the encoder has still to be compiled, which takes some seconds, once."""
    from tokkit.jit import is_cold
    from tokkit.tokenizer.encoding_kernels import encode_segments

    return is_cold(encode_segments)
