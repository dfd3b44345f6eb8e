"""The whole analysis of positions: every part into one result record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tokkit.analysis.intervals import resampling
from tokkit.analysis.patterns import attention_of, traced, unrotated
from tokkit.analysis.positions import records, tables
from tokkit.analysis.positions.behaviour import Order, Told, behaviour_section, initial_model
from tokkit.analysis.positions.claims import added_claim, relative_claim
from tokkit.analysis.positions.exact import WHOLE_MODEL, Property, exact_table
from tokkit.analysis.positions.order import (
    added_deviation,
    added_table,
    model_shifts,
    order_properties,
)
from tokkit.analysis.positions.relative import relative_properties, rounding, rounding_table
from tokkit.analysis.positions.scheme import own_vectors, scheme_section
from tokkit.analysis.windows import SHORTEST, Windows, cut_windows
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.results import Result, Table, collect_provenance

KIND = "analysis.positions"
LONGEST_WINDOW = 512  # tokens
FEWEST_WINDOWS = 20
VECTORS = 4
_MULTIPLICATIONS = 5.5e11  # of weights with tokens of text: a minute or so on two cores
_FEWEST_TOKENS, _MOST_TOKENS = 4096, 49_152
_SHIFTED_TOKENS = 48
_MOST_TABLE_ROWS = 1024


def _silent(stage: str, unit: str, done: int, total: int) -> None:
    """Say nothing."""


def default_tokens(config: ModelConfig, parameters: int) -> int:
    """Tokens that are read unless told otherwise: fewer of a larger model."""
    outside = max(1, parameters - config.vocab_size * config.width)
    return int(min(_MOST_TOKENS, max(_FEWEST_TOKENS, _MULTIPLICATIONS / outside)))


def window_length(room: int, tokens: int) -> int:
    """As long as `room` and LONGEST_WINDOW let it, and shorter where windows would be too few.

    >>> window_length(8192, 6144), window_length(13, 6144)
    (256, 13)
    """
    length = min(LONGEST_WINDOW, room)
    while length >= 2 * SHORTEST and tokens // length < FEWEST_WINDOWS:
        length //= 2
    return length


def analyze_positions(
    model: Transformer,
    tokenizer: Any,
    texts: Iterable[str],
    *,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
    name: str = "model",
    start_ids: Sequence[int] = (),
    tokens: int = 0,
    inputs: Mapping[str, str] | None = None,
    told: Told = _silent,
) -> Result:
    """How order comes into a model, what is exact about it, and what the model does with it.

    `tokens` bounds how many are read (0: by the model's size); `start_ids` stand before each
    window; `about` is what is known of the model: with the "seed" of its run it is also measured
    at its initial weights. Raises InputError where the texts give no window, ArtifactError where
    weights are not finite.
    """
    started = time.monotonic()
    config, known = model.config, about or {}
    generator = np.random.default_rng([seed, 0])
    count = tokens or default_tokens(config, sum(p.numel() for p in model.parameters()))
    length = window_length(config.context - len(start_ids), count)
    windows = cut_windows(
        tokenizer, texts, length=length, rows=max(1, count // length), generator=generator,
        start_ids=start_ids,
    )  # fmt: skip
    drawn = resampling(windows.documents, generator)
    parts, order = behaviour_section(
        model, initial_model(model, known), windows, drawn,
        shuffled_tokens=count, seed=seed, told=told,
    )  # fmt: skip
    told("checking", "parts", 0, 2)
    exact = _exact(config, seed, model=model, windows=windows)
    told("checking", "parts", 1, 2)
    return _result(
        config, name, seed, exact,
        values={**parts.values, "intervals_over": drawn.unit, "resampled": len(drawn)},
        found=dict(parts.tables), order=order, left_out=windows.left_out,
        settings={"tokens": int(windows.ids.size), "start_ids": list(start_ids)},
        inputs=inputs or {}, started=started,
    )  # fmt: skip


def analyze_scheme(config: ModelConfig, *, seed: int = 0, name: str = "scheme") -> Result:
    """What can be said without weights: the scheme, and its exact properties on random vectors."""
    started = time.monotonic()
    return _result(
        config, name, seed, _exact(config, seed), values={}, found={}, order=None, left_out={},
        settings={}, inputs={}, started=started,
    )  # fmt: skip


class _Exact:
    """Properties and tables of the exact half."""

    def __init__(self) -> None:
        self.properties: list[Property] = []
        self.tables: dict[str, Table] = {}
        self.values: dict[str, Any] = {}


def _exact(
    config: ModelConfig, seed: int, *, model: Transformer | None = None,
    windows: Windows | None = None,
) -> _Exact:  # fmt: skip
    found = _Exact()
    if config.positions in ("rope", "alibi"):
        queries, keys = (
            own_vectors(VECTORS, config.head_width, seed)
            if model is None or windows is None
            else vectors_of(model, windows, seed)
        )
        found.properties += relative_properties(config, queries, keys, seed=seed, of_model=True)
        if config.positions == "rope":
            found.tables["rounding"] = rounding_table(rounding(config, queries, keys))
    found.properties += order_properties(config.positions, seed)
    if model is not None and windows is not None:
        _whole_model(found, model, windows)
    if config.positions == "sinusoidal" or (config.positions == "learned" and model is not None):
        _table(found, config, seed, model)
    found.properties.append(_sines(config))
    found.tables["exact"] = exact_table(tuple(found.properties))
    return found


def vectors_of(
    model: Transformer, windows: Windows, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """VECTORS queries and keys of the first window before rotation, from layers evenly apart.

    (VECTORS, K) float64 each; heads and positions by `seed`.
    """
    config, generator = model.config, np.random.default_rng([seed, 3])
    with torch.inference_mode():
        pass_ = next(traced(model, torch.from_numpy(windows.with_start()[:1])))
        sides: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for number in range(VECTORS):
            layer = round(number * (config.layers - 1) / (VECTORS - 1))
            head = int(generator.integers(config.query_heads))
            group = head * config.key_value_heads // config.query_heads
            places = generator.integers(1, pass_.layout.time, 2)
            for side, x, which, place in zip(
                sides, pass_.pairs[layer], (head, group), places, strict=True
            ):
                plain = unrotated(attention_of(model, layer), x)
                side.append(plain[0, which, int(place)].double())
    return torch.stack(sides[0]).clone(), torch.stack(sides[1]).clone()


def _whole_model(found: _Exact, model: Transformer, windows: Windows) -> None:
    """The model's own log probabilities at later positions, and what it adds to rows."""
    scheme, ids = model.config.positions, torch.from_numpy(windows.with_start()[:1])
    text = ids[:, : min(_SHIFTED_TOKENS, max(2, model.config.context // 2))]
    shifts, gapped = model_shifts(model, text)
    if shifts:
        found.tables["shift"] = records.shift_table(shifts)
    if scheme == "rope" and shifts and gapped is not None:
        found.properties.append(
            Property(
                "the model's log probabilities stay after a shift of all positions",
                scheme, True, WHOLE_MODEL,
                f"{text.shape[1]} tokens, shifts up to {shifts[-1].shift:,}", "one nat",
                max(s.largest for s in shifts), "the later half alone is shifted", gapped,
            )
        )  # fmt: skip
    if scheme in ("learned", "sinusoidal") and model.feature_embedding is None:
        with torch.inference_mode():
            bare = model.embedding[ids] * model.config.embedding_scale
            apart = float((model.embed(ids) - bare).abs().max() / bare.square().mean().sqrt())
        found.properties.append(
            Property(
                "what enters the first block is the token's row plus the position's", scheme, True,
                "float32", f"{ids.shape[1]} tokens", "the rows' root mean square",
                added_deviation(model, ids), "the token's row alone", apart,
            )
        )  # fmt: skip


def _table(found: _Exact, config: ModelConfig, seed: int, model: Transformer | None) -> None:
    """Gram matrix, spectrum, Fourier content and shifts of a table that is added."""
    if model is None:
        whole = tables.sinusoidal(config.context, config.width)[0]
    else:
        whole = tables.checked_table(added_table(model).double().numpy())
    table = whole[:_MOST_TABLE_ROWS]
    generator = np.random.default_rng([seed, 4])
    noise = generator.standard_normal(table.shape) * table.std()
    shares, components = tables.spectrum(table)
    found.tables["gram"] = records.gram_table(tables.alike(table))
    found.tables["spectrum"] = records.spectrum_table(shares, tables.spectrum(noise)[0])
    found.values |= {
        "table_positions_looked_at": len(table),
        "table_components_that_count": components,
        "table_components_of_a_random_table": tables.spectrum(noise)[1],
    }
    power = tables.fourier(table, generator)
    if power is not None:
        found.tables["fourier"] = records.fourier_table(power)
        found.values |= {
            "table_is_periodic": power.periodic,
            "table_largest_share_of_power": power.largest,
            "table_largest_share_when_shuffled": power.largest_null,
            "p_table_periodic": power.p,
            "table_shuffles": tables.SHUFFLES,
            "table_strongest_wavelength_tokens": tables.effective_wavelength(power, len(table)),
        }
    sines = tables.sinusoidal(len(table), 2 * (table.shape[1] // 2))[0]
    mixed = table[generator.permutation(len(table))]
    three = [tables.shift_residuals(t) for t in (table, sines, mixed)]
    rows = min(map(len, three))
    if rows:
        found.tables["shifted_table"] = records.residual_table(*(t[:rows] for t in three))


def _sines(config: ModelConfig) -> Property:
    """That a sinusoidal table shifts by a block rotation; a table of noise by none."""
    n, width = min(config.context, _MOST_TABLE_ROWS), min(128, 2 * (config.width // 2)) or 2
    table, frequencies = tables.sinusoidal(n, width)
    noise = np.random.default_rng(0).standard_normal(table.shape) * table.std()
    spread = float(np.sqrt((table**2).mean()))
    return Property(
        "a sinusoidal table moves by k under one rotation of its pairs", "sinusoidal",
        config.positions == "sinusoidal", "float64",
        f"all pairs of {n:,} positions, {width} columns", "the table's root mean square",
        tables.block_rotation_deviation(table, frequencies) / spread, "a table of noise",
        tables.block_rotation_deviation(noise, frequencies) / spread,
    )  # fmt: skip


def _result(
    config: ModelConfig, name: str, seed: int, exact: _Exact, *, values: Mapping[str, Any],
    found: Mapping[str, Table], order: Order | None, left_out: Mapping[str, int],
    settings: Mapping[str, Any], inputs: Mapping[str, str], started: float,
) -> Result:  # fmt: skip
    scheme = scheme_section(config)
    claims = (
        relative_claim(config.positions, exact.properties),
        added_claim(
            config.positions,
            exact.properties,
            None if order is None else order.more,
            None if order is None else order.p,
            0 if order is None else order.texts,
        ),
    )
    return Result(
        kind=KIND,
        title=f"Positions of {name}",
        settings={"model": name, "scheme": config.positions, "seed": seed, **settings},
        values={**scheme.values, **values, **exact.values, "left_out": dict(left_out)},
        tables={**scheme.tables, **exact.tables, **found},
        claims=tuple(claim for claim in claims if claim is not None),
        provenance=collect_provenance(
            seeds=[seed], inputs=inputs, wall_seconds={"analysis": time.monotonic() - started}
        ),
    )
