"""Two claims about the shapes of models, each with a rule that stands here, the same for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokkit.model import anatomy
from tokkit.model.config import ModelConfig
from tokkit.results import Claim, Control, Evidence, Verdict

if TYPE_CHECKING:
    from tokkit.model.info import Described

_FOCUS = "llama-2-70b"
_HALF = 0.5
_FEWEST_DENSE = 10  # of which something is said of dense models in general
_MEASURED_TOKENS = 8

_FEEDFORWARD_RULE = (
    "The claim speaks of dense transformers in general. Supported where the feed-forward layers "
    "hold more than half of the parameters of the layers in every dense model looked at, and more "
    "than half of all parameters in most of them; contradicted where they hold half or less of "
    "all parameters in most; else inconclusive. Models where they hold half or less of all are "
    f"named. With fewer than {_FEWEST_DENSE} dense models nothing is said."
)
_GROUPED_RULE = (
    "Supported where in every model with fewer key-value than query heads the bytes of a full "
    "cache fall by exactly query heads / key-value heads, by the shapes, and the memory of real "
    "caches with these heads falls by as much; contradicted where one falls by less; inconclusive "
    "where the caches could not be measured as computed."
)


def judge(models: Sequence[Described], dtype: str) -> tuple[Claim, ...]:
    """The claims that these models say something about."""
    dense = [model for model in models if not model.config.experts]
    grouped = [m for m in models if m.config.key_value_heads < m.config.query_heads]
    claims = []
    if len(dense) >= _FEWEST_DENSE:
        claims.append(_feedforward(dense))
    if grouped:
        claims.append(_grouped(grouped, dtype))
    return tuple(claims)


def _feedforward(dense: Sequence[Described]) -> Claim:
    of_all = {m.name: _share(m.config, anatomy.total(m.config)) for m in dense}
    of_layers = {m.name: _share(m.config, anatomy.outside_tables(m.config)) for m in dense}
    exceptions = [name for name, share in of_all.items() if share <= _HALF]
    holds_all, count = len(dense) - len(exceptions), len(dense)
    holds_layers = sum(share > _HALF for share in of_layers.values())
    controls = _totals(dense)
    least, least_layers = (min(shares, key=shares.__getitem__) for shares in (of_all, of_layers))
    evidence = [
        Evidence("models where they hold more than half of all", holds_all, "", n=count),
        Evidence("... more than half of the layers", holds_layers, "", n=count),
        Evidence(f"least share of all: {least}", of_all[least], "proportion"),
        Evidence(
            f"least share of the layers: {least_layers}", of_layers[least_layers], "proportion"
        ),
        *(
            Evidence(f"exception, share of all: {name}", of_all[name], "proportion")
            for name in exceptions
        ),
    ]
    return Claim(
        id="ffn-holds-parameters",
        statement=_feedforward_statement(count, exceptions),
        verdict=_feedforward_verdict(controls, holds_all, holds_layers, count),
        rule=_FEEDFORWARD_RULE,
        evidence=tuple(evidence),
        controls=controls,
        limits=(
            "Parameters are not knowledge: where a model keeps what is not shown here.",
            "In small models with large vocabularies the tables of token rows weigh as much as "
            "the layers: the share of all parameters tends to grow with size.",
            f"{count} dense models, chosen for being known: no sample. Their shapes were public "
            "when the rule was written, so this describes them and predicts nothing.",
        ),
    )


def _feedforward_verdict(
    controls: Sequence[Control], holds_all: int, holds_layers: int, count: int
) -> Verdict:
    """By the rule, of `count` models the numbers that hold more than half of all, of the layers."""
    if not all(control.holds for control in controls):
        return "inconclusive"
    if holds_layers == count and 2 * holds_all > count:
        return "supported"
    return "contradicted" if 2 * holds_all < count else "inconclusive"


def _share(config: ModelConfig, of: int) -> float:
    return anatomy.feedforward_parameters(config) / of


def _feedforward_statement(count: int, exceptions: Sequence[str]) -> str:
    said = "Feed-forward layers hold most parameters of a dense transformer"
    if not exceptions:
        return f"{said}: more than half of all in each of {count} dense models."
    return (
        f"{said}: more than half of all in {count - len(exceptions)} of {count} dense models, "
        f"not in {', '.join(exceptions)}."
    )


def _totals(models: Sequence[Described]) -> tuple[Control, ...]:
    """That the totals computed are those published, where any is."""
    known = [model for model in models if model.published is not None]
    if not known:
        return ()
    right = sum(anatomy.total(model.config) == model.published for model in known)
    name = f"models, of {len(known)}, whose computed total is the published one"
    return (Control(name, right, len(known), right == len(known)),)


def _grouped(grouped: Sequence[Described], dtype: str) -> Claim:
    by_name = {model.name: model for model in grouped}
    focus = by_name.get(_FOCUS) or max(grouped, key=lambda m: _expected(m.config))
    exact = [m for m in grouped if _shrinks(m.config, dtype)]
    heads = {(m.config.query_heads, m.config.key_value_heads) for m in grouped}
    as_computed = sum(_measured_as_computed(*pair) for pair in sorted(heads))
    verdict: Verdict = "supported" if len(exact) == len(grouped) else "contradicted"
    if as_computed < len(heads):
        verdict = "inconclusive"
    config = focus.config
    now, before = (
        anatomy.cache_bytes_a_token(config, dtype, multi_head=multi) for multi in (False, True)
    )
    control = Control(
        f"pairs of heads, of {len(heads)}, whose real caches take the bytes computed",
        as_computed,
        len(heads),
        as_computed == len(heads),
    )
    return Claim(
        id="grouped-queries",
        statement=(
            f"Fewer key-value heads shrink the cache as much: {focus.name}, with "
            f"{config.key_value_heads} for {config.query_heads} query heads, keeps "
            f"{now:,} bytes a token instead of {before:,}."
        ),
        verdict=verdict,
        rule=_GROUPED_RULE,
        evidence=(
            *_bytes_evidence(focus.name, config, dtype),
            Evidence("models that shrink by as much", len(exact), "", n=len(grouped)),
        ),
        controls=(control,),
        limits=(
            "The cost in quality is not in these bytes: an experiment has to measure it.",
            "The memory was measured on caches with these heads but few layers and narrow heads.",
        ),
    )


def _bytes_evidence(name: str, config: ModelConfig, dtype: str) -> tuple[Evidence, ...]:
    now, before = (
        anatomy.cache_bytes_a_token(config, dtype, multi_head=multi) for multi in (False, True)
    )
    measured = _measured_bytes(config.query_heads, config.query_heads) / _measured_bytes(
        config.query_heads, config.key_value_heads
    )
    return (
        Evidence(f"{name}: cache a token ({dtype})", now, "bytes"),
        Evidence(f"{name}: with as many as query heads", before, "bytes"),
        Evidence(f"{name}: times less, by the shapes", before / now, "times"),
        Evidence("times less, memory of real caches with these heads", measured, "times"),
    )


def _expected(config: ModelConfig) -> float:
    return config.query_heads / config.key_value_heads


def _shrinks(config: ModelConfig, dtype: str) -> bool:
    """Whether the bytes of a full cache fall by as much as the heads."""
    now, before = (
        anatomy.cache_bytes(config, config.context, dtype, multi_head=multi)
        for multi in (False, True)
    )
    return before * config.key_value_heads == now * config.query_heads


def _small(query_heads: int, key_value_heads: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=2,
        width=2,
        layers=2,
        query_heads=query_heads,
        key_value_heads=key_value_heads,
        head_width=2,
        positions="none",
        context=_MEASURED_TOKENS,
    )


def _measured_bytes(query_heads: int, key_value_heads: int) -> int:
    """Bytes that a real cache allocates for one text."""
    from tokkit.model.cache import Cache

    return Cache(_small(query_heads, key_value_heads), 1, _MEASURED_TOKENS).bytes


def _measured_as_computed(query_heads: int, key_value_heads: int) -> bool:
    return all(
        _measured_bytes(query_heads, heads)
        == anatomy.cache_bytes(_small(query_heads, heads), _MEASURED_TOKENS, "float32")
        for heads in (key_value_heads, query_heads)
    )
