"""What models hold, keep and compute, as a result record: tables of each, and two claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokkit.errors import ConfigError
from tokkit.model import anatomy
from tokkit.model.config import ModelConfig
from tokkit.model.presets import PRESETS, Preset
from tokkit.model.setting_words import families_of, family_rows, setting_rows
from tokkit.results import Claim, Column, Result, Table, collect_provenance

KIND = "model.info"
DEFAULT_DTYPE = "bfloat16"
USUAL_LENGTH = 1024  # the shortest context among the presets
_MOST_SIDE_BY_SIDE = 6  # models whose settings are shown in columns


@dataclass(frozen=True, slots=True)
class Described:
    """A model by its settings alone; `published` is the total that its authors' files have."""

    name: str
    family: str
    config: ModelConfig
    published: int | None = None
    source: str = ""


def of_preset(preset: Preset) -> Described:
    """A preset as a model to describe."""
    return Described(preset.name, preset.family, preset.config, preset.published, preset.source)


def describe(
    models: Sequence[Described],
    *,
    length: int = 0,
    dtype: str = DEFAULT_DTYPE,
    whole: bool = False,
    claims: bool = False,
) -> Result:
    """The record of some models: parameters, cache and operations at `length` tokens of text.

    A `length` of 0 is USUAL_LENGTH, or the context where that is less. `whole` lists every
    setting, not only those that differ from the plain skeleton. With `claims` the claims are
    judged, for which caches are allocated and measured (torch). Raises ConfigError
    for a length beyond a model's context.
    """
    _check_length(models, length)
    judged: tuple[Claim, ...] = ()
    if claims:
        from tokkit.model.info_claims import judge

        judged = judge(models, dtype)
    names = [model.name for model in models]
    return Result(
        kind=KIND,
        title=f"Model {names[0]}" if len(names) == 1 else f"{len(names)} models side by side",
        settings={"models": names, "length": length or USUAL_LENGTH, "dtype": dtype},
        values={"sources": {m.name: m.source for m in models if m.source}},
        tables=_tables(models, length, dtype, whole=whole),
        claims=judged,
        provenance=collect_provenance(seeds=[], inputs={}, wall_seconds={}),
    )


def _check_length(models: Sequence[Described], length: int) -> None:
    for model in models:
        if not 0 <= length <= model.config.context:
            raise ConfigError(
                f"length must lie in 1..{model.config.context}, the context of {model.name}, got "
                f"{length}: ask for less"
            )


def _tables(
    models: Sequence[Described], length: int, dtype: str, *, whole: bool
) -> dict[str, Table]:
    tables = {
        "models": _models(models, length, dtype),
        "parameters": _parameters(models),
        "flops": _flops(models, length),
    }
    if len(models) <= _MOST_SIDE_BY_SIDE:
        tables["settings"] = _settings(models, whole=whole)
    known = [PRESETS[model.name] for model in models if model.name in PRESETS]
    if len(known) > _MOST_SIDE_BY_SIDE:
        tables["families"] = _families(known)
    return tables


_MODEL_COLUMNS = (
    Column("model", "Model"),
    Column("family", "Family"),
    Column("parameters", "Parameters"),
    Column("published", "Published"),
    Column("active", "Active a token"),
    Column("feedforward_share", "Feed-forward, of all", "proportion"),
    Column("feedforward_share_of_layers", "Feed-forward, of the layers", "proportion"),
    Column("query_heads", "Query heads"),
    Column("key_value_heads", "Key-value heads"),
    Column("cache_bytes", "Cache a token", "bytes"),
    Column("cache_bytes_multi_head", "Cache a token, multi-head", "bytes"),
    Column("length", "Length", "tokens"),
    Column("cache_bytes_text", "Cache at that length", "bytes"),
    Column("cache_bytes_text_multi_head", "Cache at that length, multi-head", "bytes"),
    Column("forward_flops", "Forward pass, last token", "FLOPs"),
    Column("training_flops", "Training, a token", "FLOPs"),
)


def _models(models: Sequence[Described], length: int, dtype: str) -> Table:
    rows = []
    for model in models:
        config, at = model.config, _length(model, length)
        total, held = anatomy.total(config), anatomy.feedforward_parameters(config)
        row = (
            model.name,
            model.family,
            total,
            model.published,
            anatomy.active(config),
            held / total,
            held / anatomy.outside_tables(config),
            config.query_heads,
            config.key_value_heads,
            anatomy.cache_bytes_a_token(config, dtype),
            anatomy.cache_bytes_a_token(config, dtype, multi_head=True),
            at,
            anatomy.cache_bytes(config, at, dtype),
            anatomy.cache_bytes(config, at, dtype, multi_head=True),
            sum(anatomy.forward_flops(config, at).values()),
            round(anatomy.training_flops_a_token(config, at)),
        )
        rows.append(row)
    return Table("Models", _MODEL_COLUMNS, tuple(rows))


def _length(model: Described, length: int) -> int:
    return length or min(USUAL_LENGTH, model.config.context)


def _parameters(models: Sequence[Described]) -> Table:
    """A row a model and part; of experts, how many one token uses."""
    rows: list[tuple[Any, ...]] = []
    for model in models:
        total = anatomy.total(model.config)
        idle = total - anatomy.active(model.config)
        for part, count in anatomy.parameters(model.config).items():
            used = count - idle if part == "experts" else count
            rows.append((model.name, part, count, count / total, used))
    columns = (
        Column("model", "Model"),
        Column("part", "Part"),
        Column("parameters", "Parameters"),
        Column("share", "Share", "proportion"),
        Column("active", "Active a token"),
    )
    return Table("Parameters by part", columns, tuple(rows))


def _flops(models: Sequence[Described], length: int) -> Table:
    rows: list[tuple[Any, ...]] = []
    for model in models:
        at = _length(model, length)
        counts = anatomy.forward_flops(model.config, at)
        total = sum(counts.values())
        rows += [(model.name, at, part, n, n / total) for part, n in counts.items()]
    columns = (
        Column("model", "Model"),
        Column("length", "Length", "tokens"),
        Column("part", "Part"),
        Column("flops", "Forward pass, last token", "FLOPs"),
        Column("share", "Share", "proportion"),
    )
    return Table("Operations by part", columns, tuple(rows))


def _settings(models: Sequence[Described], *, whole: bool) -> Table:
    columns = (
        Column("setting", "Setting"),
        Column("plain", "Plain skeleton"),
        *(Column(f"model_{place}", model.name) for place, model in enumerate(models)),
    )
    rows = [
        (name, usual, *own)
        for name, usual, own in setting_rows([m.config for m in models], whole=whole)
    ]
    title = "Every setting" if whole else "Settings that differ from the plain skeleton"
    return Table(title, columns, tuple(rows))


def _families(presets: Sequence[Preset]) -> Table:
    columns = (
        Column("setting", "Setting"),
        Column("plain", "Plain skeleton"),
        *(Column(f"family_{name}", name) for name in families_of(presets)),
    )
    return Table("What each family sets", columns, tuple(family_rows(presets)))
