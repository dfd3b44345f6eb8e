"""A whole config.json read as settings of the one transformer, and written from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokkit.errors import ArtifactError, ConfigError, unknown_choice
from tokkit.model.config import ModelConfig
from tokkit.model.families.express import inexpressible
from tokkit.model.families.settings import Settings
from tokkit.model.families.table import FAMILIES, Family
from tokkit.model.strict_json import shown

CONFIG_FILE = "config.json"


def config_from_hf(settings: Mapping[str, Any]) -> ModelConfig:
    """The model that a Hugging Face config.json describes.

    Raises ArtifactError for an architecture that tokkit lacks, for a value of the wrong type or
    size, and for anything that is set and cannot be expressed; it names the setting.
    """
    return read_settings(family_of(settings), settings)


def family_of(settings: Mapping[str, Any]) -> Family:
    """The family by architecture and model_type, which must not contradict each other."""
    if not isinstance(settings, Mapping):
        raise ArtifactError(f"{CONFIG_FILE} must hold an object, got {shown(settings)}")
    kind, architectures = settings.get("model_type"), settings.get("architectures")
    if not isinstance(architectures, list | None) or not isinstance(kind, str | None):
        raise ArtifactError(
            f"{CONFIG_FILE}: architectures must be a list and model_type a word, got "
            f"{shown(architectures)} and {shown(kind)}: get the model again"
        )
    named = architectures[0] if architectures else None
    for family in FAMILIES.values():
        fits = kind in (None, family.model_type) and named in (None, *family.architectures)
        if fits and (kind is not None or named is not None):
            return family
    if kind is None and named is None:
        raise ArtifactError(
            f"{CONFIG_FILE} names neither architectures nor a model_type: give the folder of a "
            "Hugging Face model"
        )
    supported = ", ".join(family.architectures[0] for family in FAMILIES.values())
    raise ArtifactError(
        f"the model is a {shown(named or kind)} (model_type {shown(kind)}), which tokkit does not "
        f"have: it reads {supported}"
    )


def read_settings(family: Family, values: Mapping[str, Any]) -> ModelConfig:
    """What `family` makes of a config.json; errors as of `config_from_hf`."""
    settings = Settings(values)
    read = family.read(settings)
    settings.check_all_read()
    try:
        return ModelConfig(**read)
    except ConfigError as error:
        raise ArtifactError(f"{CONFIG_FILE} cannot be used: {error}") from error


def config_to_hf(config: ModelConfig, family: str | None = None) -> dict[str, Any]:
    """The config.json of `family`, or of the first family that can express `config`.

    Raises ConfigError, listing the settings, where one cannot be expressed.
    """
    return written_settings(config, expressing_family(config, family))


def written_settings(config: ModelConfig, family: Family) -> dict[str, Any]:
    """config.json's object, whole."""
    # Whose ids begin and end a text is the tokenizer's matter; the library's own would be wrong.
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    named = {"architectures": [family.architectures[0]], "model_type": family.model_type}
    return {**named, **family.write(config), **ids, "torch_dtype": "float32"}


def expressing_family(config: ModelConfig, name: str | None) -> Family:
    """The family called `name` if it can express `config`, or the first one that can."""
    if name is not None and name not in FAMILIES:
        raise ConfigError(unknown_choice("family", name, FAMILIES))
    candidates = [family for family in FAMILIES.values() if name in (None, family.name)]
    faults = {family.name: inexpressible(config, family) for family in candidates}
    # A mixture is not near to a dense family, though all else may fit.
    kinds = {f.name: bool(config.experts) != bool(f.names.experts) for f in candidates}
    best = min(candidates, key=lambda family: (kinds[family.name], len(faults[family.name])))
    listed = "; ".join(faults[best.name])
    if not listed:
        return best
    if name is None:
        raise ConfigError(
            f"no family can express the model; the nearest, {best.name!r}, cannot hold: {listed}. "
            "Save it as a tokkit checkpoint instead"
        )
    raise ConfigError(
        f"family {name!r} cannot hold: {listed}. Leave the family out to have one found"
    )
