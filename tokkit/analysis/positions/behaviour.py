"""What a model does with order, on real text: losses, heads and bands in one section."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokkit.analysis.intervals import Resampling, plain, resampling
from tokkit.analysis.patterns import Traced
from tokkit.analysis.positions import losses, records
from tokkit.analysis.positions.bands import BandSums
from tokkit.analysis.positions.heads import Looks, look
from tokkit.analysis.positions.scheme import RotaryPair, rotary_pairs
from tokkit.analysis.section import Section
from tokkit.analysis.windows import Windows
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.results import Table
from tokkit.stats import MIN_BLOCKS, sign_flip_p

Told = Callable[[str, str, int, int], None]
_FEWEST_SHUFFLED = 8  # tokens
_FEWEST_SHUFFLED_ROWS = 12
POSITIONAL_SHARE = 0.5
POSITIONAL_TIMES = 10


@dataclass(frozen=True, slots=True)
class Order:
    """How much worse shuffled text is: nats a token with interval, p by sign flips, texts."""

    more: tuple[float, float, float]
    p: float | None
    texts: int


def initial_model(model: Transformer, about: Mapping[str, Any]) -> Transformer | None:
    """The same model at its initial weights, where `about` holds the seed of its run."""
    seed = about.get("seed")
    if type(seed) is not int or model.config.token_features:
        return None
    return Transformer(model.config, seed=seed).eval()


def behaviour_section(
    model: Transformer,
    initial: Transformer | None,
    windows: Windows,
    drawn: Resampling,
    *,
    shuffled_tokens: int,
    seed: int,
    told: Told,
) -> tuple[Section, Order]:
    """Losses by position and when shuffled; heads; bands of rotary models."""
    own = _measured(model, windows, seed, told, "reading")
    first = None if initial is None else _measured(initial, windows, seed, told, "at first")
    given, sizes = _given(windows), _predicted_sizes(windows)
    bins, bins_first = (
        None if m is None else losses.loss_by_position(m.nats, sizes, given, drawn)
        for m in (own, first)
    )
    assert bins is not None
    tables = {
        "loss_by_position": records.loss_table(bins, bins_first),
        "heads": records.heads_table(
            own.looks, drawn, windows.documents, None if first is None else first.looks, seed
        ),
        "attention_by_distance": records.distance_table(
            own.looks, drawn, windows.with_start().shape[1]
        ),
    }
    tables |= _band_tables(model.config, own, drawn)
    tables["shuffled"], order = _shuffled(model, windows, shuffled_tokens, seed, told)
    return Section(_values(own, windows, order, tables), tables), order


def _shuffled(
    model: Transformer, windows: Windows, tokens: int, seed: int, told: Told
) -> tuple[Table, Order]:
    """Losses of all orders, of which about `tokens` are read."""
    given, generator = _given(windows), np.random.default_rng([seed, 2])
    rows, size = shuffled_size(len(windows.ids), windows.length, tokens)
    drawn = resampling(windows.documents[:rows], generator)
    found, more = losses.loss_when_shuffled(
        model, windows.with_start()[:rows, : given + size], kept=given, seed=seed,
        resampling=drawn, told=lambda done, total: told("shuffling", "orders", done, total),
    )  # fmt: skip
    order = Order(found[-1].more, _p(more, drawn, generator), len(drawn))
    return records.shuffled_table(found), order


def shuffled_size(rows: int, length: int, tokens: int) -> tuple[int, int]:
    """Rows, and tokens of each, to read in every order, about `tokens` in all.

    At least _FEWEST_SHUFFLED_ROWS where there are as many, and then as long as they can be.

    >>> shuffled_size(23, 256, 6144)
    (13, 64)
    """
    fewest = min(rows, _FEWEST_SHUFFLED_ROWS)
    size = min(_FEWEST_SHUFFLED, length)
    while 2 * size <= length and fewest * 2 * size * (size.bit_length() + 1) <= tokens:
        size *= 2
    return max(fewest, min(rows, tokens // (size * size.bit_length()))), size


@dataclass(frozen=True, slots=True)
class _Measured:
    nats: NDArray[np.float64]
    looks: Looks
    bands: BandSums | None


def _given(windows: Windows) -> int:
    """Tokens of a row that nothing predicts: the start, or the first token of the text."""
    return max(1, len(windows.start_ids))


def _predicted_sizes(windows: Windows) -> NDArray[np.int64]:
    return windows.sizes if windows.start_ids else windows.sizes[:, 1:]


def _measured(model: Transformer, windows: Windows, seed: int, told: Told, stage: str) -> _Measured:
    """One pass over the rows: losses, heads and bands."""
    rows = torch.from_numpy(windows.with_start())
    given = _given(windows)
    nats = np.zeros((len(rows), rows.shape[1] - given))
    done = [0]
    rotary = model.config.positions == "rope"
    bands = BandSums(model.config, len(rows), seed) if rotary else None

    def watch(numbers: NDArray[np.int64], found: Traced) -> None:
        ids = rows[torch.from_numpy(numbers)]
        nats[numbers] = losses.nats_after(model, found.hidden, ids, given).double().numpy()
        done[0] += len(numbers)
        told(stage, "windows", done[0], len(rows))

    looks = look(model, rows, windows.documents, seed, [watch, *([bands] if bands else [])])
    losses.check_finite(nats)
    return _Measured(nats, looks, bands)


def _band_tables(config: ModelConfig, own: _Measured, drawn: Resampling) -> dict[str, Table]:
    if own.bands is None:
        return {}
    pairs: dict[str, list[RotaryPair]] = {}
    for pair in rotary_pairs(config):
        pairs.setdefault(pair.layers, []).append(pair)
    each = [
        pairs.get("all") or pairs["sliding" if config.is_sliding(layer) else "full"]
        for layer in range(config.layers)
    ]
    return records.bands_tables(own.bands.bands, each, drawn)


def _p(
    more: NDArray[np.float64], drawn: Resampling, generator: np.random.Generator
) -> float | None:
    if len(drawn) < MIN_BLOCKS:
        return None
    return float(sign_flip_p(drawn.sums(more)[:, None], generator)[0])


def _values(
    own: _Measured, windows: Windows, order: Order, tables: Mapping[str, Table]
) -> dict[str, Any]:
    heads = tables["heads"].records()
    sink = own.looks.sink.mean(0)
    positional = [
        head for head in heads
        if (head["peak_share"] or 0) >= max(
            POSITIONAL_SHARE, POSITIONAL_TIMES * (head["peak_random"] or 0)
        )
    ]  # fmt: skip
    return {
        "windows": len(windows.ids),
        "window_tokens": windows.length,
        "loss_nats": float(own.nats.mean()),
        "bits_per_byte": float(own.nats.sum() / math.log(2) / _predicted_sizes(windows).sum()),
        "shuffled_more_nats": plain(order.more[0]),
        "heads": len(heads),
        "heads_with_half_of_attention_on_the_first_token": int((sink > 0.5).sum()),
        "heads_with_half_of_the_rest_at_one_distance": len(positional),
    }
