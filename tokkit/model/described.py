"""The settings of a model wherever it lies, without its weights."""

from __future__ import annotations

from pathlib import Path

from tokkit.errors import ArtifactError, ConfigError, unknown_choice
from tokkit.model.config import ModelConfig
from tokkit.model.info import Described, of_preset
from tokkit.model.presets import PRESETS

_CONFIG_FILE = "config.json"
_OURS = "tokkit-checkpoint/"


def read_described(source: str) -> Described:
    """A preset by name, else a tokkit checkpoint, a Hugging Face folder or a GGUF file.

    Only the settings are read. Raises ConfigError, with the nearest preset, where `source` is
    none of these, and ArtifactError for settings that cannot be read or expressed.
    """
    if source in PRESETS:
        return of_preset(PRESETS[source])
    path = Path(source)
    if path.is_dir():
        return _of_folder(path)
    if path.is_file():
        return _of_gguf(path)
    raise ConfigError(f"no such file; {unknown_choice('preset', source, PRESETS)}")


def _of_folder(path: Path) -> Described:
    from tokkit.model.strict_json import read_strict_json

    name = path.resolve().name
    record = read_strict_json(path / _CONFIG_FILE, "model settings")
    if isinstance(record, dict) and str(record.get("schema", "")).startswith(_OURS):
        try:
            config = ModelConfig.from_dict(record["model"])
        except (KeyError, TypeError, ConfigError) as error:
            raise ArtifactError(f"{path / _CONFIG_FILE} cannot be used: {error}") from error
        about = record.get("about")
        family = about.get("family") if isinstance(about, dict) else None
        return Described(name, str(family or "tokkit"), config)
    from tokkit.model.families import config_from_hf

    config = config_from_hf(record)
    return Described(name, str(record.get("model_type") or "hf"), config)


def _of_gguf(path: Path) -> Described:
    from tokkit.model.gguf import config_of_gguf, read_gguf

    file = read_gguf(path)
    family = file.metadata.get("general.architecture")
    return Described(path.name, str(family or "gguf"), config_of_gguf(file))
