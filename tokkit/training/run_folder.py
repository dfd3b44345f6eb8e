"""What a run folder of training keeps: its settings, its checkpoints, and nothing half made.

settings.json   all that the run's numbers depend on
corpus/         the encoded text (`tokkit.training.corpus`)
split.json      the documents held out for validation
training/       metrics.jsonl and the state to go on from (`tokkit.training.loop`)
checkpoints/    step-N, of the last evaluations
best/           the checkpoint of the lowest validation loss
model/          the checkpoint of the last step
result.json     what the page is made of
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokkit.errors import ConfigError
from tokkit.files import read_json, write_json
from tokkit.model.checkpoint import save_checkpoint
from tokkit.model.transformer import Transformer
from tokkit.training.loop import Line, read_metrics

SETTINGS_FILE, SPLIT_FILE = "settings.json", "split.json"
CORPUS_FOLDER, TRAINING_FOLDER = "corpus", "training"
CHECKPOINTS, BEST, MODEL = "checkpoints", "best", "model"


def claim(place: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings, or make sure that the run already here has the same."""
    path = place / SETTINGS_FILE
    if not path.exists():
        write_json(path, settings)
        return
    before, now = _flat(read_json(path, what="settings")), _flat(settings)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise ConfigError(
                f"{place} holds a run with other settings ({name}: {before.get(name)!r}, now "
                f"{now.get(name)!r}): give another --out, or the same settings to go on"
            )


def _flat(settings: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(settings, Mapping):
        return {name: settings}
    return {
        key: value
        for inner in settings
        for key, value in _flat(settings[inner], f"{name}.{inner}" if name else inner).items()
    }


def clean(place: Path) -> None:
    """Remove what writers that were killed have left half made; the lock says they are gone."""
    for folder in (
        place,
        *(place / name for name in (CORPUS_FOLDER, CHECKPOINTS, TRAINING_FOLDER)),
    ):
        for left in folder.glob(".tokkit-*"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Keeper:
    """Keeps checkpoints: of the last evaluations, and of the best one."""

    place: Path
    count: int
    model: Transformer
    tokenizer: str  # as tokenizer.json
    about: Mapping[str, Any]

    def keep(self, line: Line) -> None:
        """Save the model where the line has an evaluation, and drop the oldest of too many."""
        if "evaluation" not in line:
            return
        folder = self.place / CHECKPOINTS
        if self.count:
            self.save(folder / f"step-{line['step']:08}", line)
            # Those of later steps are of a run that was stopped before it saved its state.
            kept = sorted(folder.glob("step-*"))
            for old in kept[: -self.count]:
                shutil.rmtree(old, ignore_errors=True)
        if line["evaluation"] and best_line(self._lines())["step"] == line["step"]:
            self.save(self.place / BEST, line)

    def save(self, folder: Path, line: Line) -> None:
        """Save the model as it is, with what its line of metrics says."""
        about = {**self.about, "step": line["step"], "loss": line["loss"],
                 "evaluation": line.get("evaluation")}  # fmt: skip
        save_checkpoint(folder, self.model, self.tokenizer, about)

    def best_named(self) -> str:
        """The best checkpoint as words to end an error with."""
        if not (self.place / BEST).exists():
            return ""
        return f"; the best checkpoint is {self.place / BEST}"

    def _lines(self) -> list[Line]:
        return read_metrics(self.place / TRAINING_FOLDER)


def best_line(lines: Sequence[Line]) -> Line:
    """The line of the lowest validation loss, the first of equals."""
    return min((line for line in lines if line.get("evaluation")), key=_validation_loss)


def _validation_loss(line: Line) -> float:
    return float(line["evaluation"]["loss"])
