"""Write a world to a folder: its training text, its truth, and the record of both."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tokkit import files
from tokkit.corpus.document import CorpusDigest
from tokkit.corpus.sources import manifest
from tokkit.corpus.world.building import build_world
from tokkit.corpus.world.config import WorldConfig
from tokkit.corpus.world.documents import world_documents
from tokkit.corpus.world.truth import truth_record

TEXT_NAME, TRUTH_NAME, RECORD_NAME = "world.jsonl", "truth.json", "record.json"


def make_world(folder: str | os.PathLike[str], config: WorldConfig) -> dict[str, Any]:
    """Write world.jsonl, truth.json and record.json to `folder`, all or nothing; return the record.

    world.jsonl has an object with text and origin on each line; documents_sha256 is their
    CorpusDigest, the same on every platform. Raises OutputError when `folder` is a file, holds
    something else, or cannot be written.
    """
    world = build_world(config)
    digest = CorpusDigest()
    with files.atomic_folder(folder) as temporary:
        with (temporary / TEXT_NAME).open("wb") as file:
            for document in digest.watch(world_documents(world)):
                record = {"text": document.text, "origin": document.origin}
                file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
        files.write_json(temporary / TRUTH_NAME, truth_record(world))
        record = _record(Path(folder), temporary, config, digest)
        files.write_json(temporary / RECORD_NAME, record)
    return record


def _record(
    folder: Path, temporary: Path, config: WorldConfig, digest: CorpusDigest
) -> dict[str, Any]:
    return {
        "source": "world",
        "path": str(folder),
        **asdict(config),
        "documents": digest.documents,
        "bytes": digest.bytes,
        "documents_sha256": digest.hexdigest(),
        "file_sha256": files.sha256(temporary / TEXT_NAME),
        "truth_sha256": files.sha256(temporary / TRUTH_NAME),
        **{key: manifest()["world"][key] for key in ("from", "licence")},
    }
