"""What a study has measured so far, a file a record: a study that was stopped goes on from it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokkit.errors import ArtifactError
from tokkit.files import ensure_folder, read_json, write_json

Record = dict[str, Any]


class Records:
    """Records by name in a folder named by a digest of all that they depend on.

    Without a folder nothing is kept.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, depends_on: object) -> None:
        text = json.dumps(depends_on, sort_keys=True, ensure_ascii=False)
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        self._folder: Path | None = None
        if folder is not None:
            self._folder = ensure_folder(Path(folder) / self.digest[:24])

    def kept(self, name: str, make: Callable[[], Record]) -> Record:
        """The record of that name; made and written, whole or not at all, where there is none.

        Raises ArtifactError for a file that holds no record.
        """
        if self._folder is None:
            return make()
        path = self._folder / f"{name}.json"
        if path.exists():
            found = read_json(path, what="record")
            if not isinstance(found, dict):
                raise ArtifactError(f"{path} is no record of a study: delete it, it is made again")
            return found
        record = make()
        write_json(path, record)
        return record
