"""What a transformer knows of order without positions, and with them: exact checks on whole models.

Small models of every scheme are made for this from a seed; the mask is taken away by a Layout
that hides nothing, the shift of positions by one that starts later. Nothing in a model is changed.
Sources: Haviv et al. 2022 and Kazemnejad et al. 2023 (what the causal mask alone tells of order).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokkit.analysis.patterns import attention_of
from tokkit.analysis.positions.exact import Property
from tokkit.model.config import POSITIONS, ModelConfig
from tokkit.model.layout import Layout, Places
from tokkit.model.positions import sinusoidal_table
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer

RELATIVE = ("rope", "alibi", "none")
"""Schemes under which a shift of all positions changes nothing."""
PERMUTATIONS = 32
_TOKENS, _VOCAB = 48, 97
_SHIFTS = (1, 7, 48, 200)


@dataclass(slots=True)
class Unmasked(Layout):
    """A layout that lets every token see every other, before and after it."""

    def bias(
        self, *, sliding: bool, slopes: Tensor | None, key_columns: Tensor | None, at: Places | None
    ) -> Tensor:
        """Zeros, (1, 1, T, T); with slopes the penalty for distance to either side."""
        columns = torch.arange(self.time, device=self.device)
        distance = (columns[:, None] - columns).abs()[None, None]
        if slopes is None:
            return torch.zeros(distance.shape, device=self.device)
        return -slopes[:, None, None] * distance


@dataclass(slots=True)
class Gapped(Layout):
    """A layout whose second half of columns stands farther off than it would."""

    gap: int = 0

    def positions(self) -> Tensor:
        """The columns, (1, T), the later half `gap` further on."""
        columns = torch.arange(self.start, self.start + self.time, device=self.device)
        return (columns + self.gap * (columns >= self.start + self.time // 2))[None]

    def last_position(self) -> int:
        """No position of this pass is beyond."""
        return self.start + self.time - 1 + self.gap


def small_config(scheme: str, *, layers: int = 2) -> ModelConfig:
    """A transformer small enough to look at every pair."""
    return ModelConfig(
        vocab_size=_VOCAB, width=32, layers=layers, query_heads=4, context=256, positions=scheme
    )


def small_model(
    scheme: str, seed: int, *, layers: int = 2, dtype: torch.dtype = torch.float64
) -> Transformer:
    """Its transformer at initial weights, in evaluation mode."""
    return Transformer(small_config(scheme, layers=layers), seed=seed).to(dtype).eval()


def final(model: Transformer, ids: Tensor, *, start: int = 0, masked: bool = True) -> Tensor:
    """What is unembedded, (B, T, D), of ids (B, T) standing at positions `start` on.

    Not `masked`: every token sees every other. The blocks are the model's own.
    """
    kind = Layout if masked else Unmasked
    return final_under(model, ids, kind(model.config, ids.shape[1], ids.device, start))


def final_under(model: Transformer, ids: Tensor, layout: Layout) -> Tensor:
    """As Transformer.hidden, (B, T, D), with another layout of ids (B, T)."""
    with torch.inference_mode():
        x = model.embed(ids, layout)
        for block in model.blocks:
            x = block(x, None, layout, None)
        return x if model.final_norm is None else model.final_norm(x)


def _texts(seed: int, rows: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(_VOCAB, (rows, _TOKENS), generator=generator)


def _relative(one: Tensor, other: Tensor) -> float:
    """The largest difference as a share of the root mean square of the first."""
    return float((one - other).abs().max() / one.square().mean().sqrt())


def permuted(model: Transformer, ids: Tensor, seed: int, *, masked: bool) -> float:
    """How far f(permuted text) is from permuted f(text), over PERMUTATIONS random orders.

    `ids` is (1, T); a share of the root mean square of f.
    """
    whole, worst = final(model, ids, masked=masked), 0.0
    generator = torch.Generator().manual_seed(seed)
    for _ in range(PERMUTATIONS):
        order = torch.randperm(ids.shape[1], generator=generator)
        found = final(model, ids[:, order], masked=masked)
        worst = max(worst, _relative(whole[:, order], found))
    return worst


def shifted(model: Transformer, ids: Tensor, starts: Sequence[int]) -> float:
    """How far what is unembedded moves when all positions grow, at most; a share of its rms."""
    whole = final(model, ids)
    return max(_relative(whole, final(model, ids, start=start)) for start in starts)


def order_properties(scheme: str, seed: int) -> tuple[Property, ...]:
    """All checks on small models; `scheme` is that of the model which is analysed."""
    return (
        *_equivariance(scheme, seed),
        *_mask_alone(scheme, seed),
        *_shifts(scheme, seed),
    )


def _equivariance(scheme: str, seed: int) -> list[Property]:
    ids = _texts(seed)
    controls = [("with the causal mask", "none", True)]
    controls += [(f"{name}, no mask", name, False) for name in POSITIONS if name != "none"]
    found = []
    for dtype, kind in ((torch.float64, "float64"), (torch.float32, "float32")):
        deviation = permuted(small_model("none", seed, dtype=dtype), ids, seed, masked=False)
        found += [
            Property(
                "without positions and mask, a permuted text gives the permuted result",
                "none", scheme == "none", kind,
                f"{PERMUTATIONS} permutations of {_TOKENS} tokens, 2 layers",
                "the result's root mean square", deviation, words,
                permuted(small_model(name, seed, dtype=dtype), ids, seed, masked=masked),
            )
            for words, name, masked in controls
        ]  # fmt: skip
    return found


def _mask_alone(scheme: str, seed: int) -> list[Property]:
    """What the causal mask tells a model that has no positions."""
    common = {"scheme": "none", "of_model": scheme == "none", "dtype": "float64"}
    return [
        Property(
            name="one layer without positions: the last token is blind to the order before it",
            checked=f"{PERMUTATIONS} orders of {_TOKENS - 1} tokens",
            relative_to="the result's root mean square",
            deviation=_last_token(seed, 1),
            control="two layers",
            control_deviation=_last_token(seed, 2),
            **common,  # type: ignore[arg-type]
        ),
        Property(
            name="even attention gives the first token 1/t: the mask lets a head count",
            checked=f"{_TOKENS} positions",
            relative_to="1/t",
            deviation=_counts(seed, masked=True),
            control="no mask",
            control_deviation=_counts(seed, masked=False),
            **common,  # type: ignore[arg-type]
        ),
        Property(
            name="one token repeated looks the same at every position",
            checked=f"{_TOKENS} positions",
            relative_to="the result's root mean square",
            deviation=_repeated("none", seed),
            control="learned",
            control_deviation=_repeated("learned", seed),
            **common,  # type: ignore[arg-type]
        ),
    ]


def _last_token(seed: int, layers: int) -> float:
    model, ids = small_model("none", seed, layers=layers), _texts(seed)
    generator, worst = torch.Generator().manual_seed(seed), 0.0
    whole = final(model, ids)[:, -1]
    for _ in range(PERMUTATIONS):
        order = torch.cat(
            (torch.randperm(_TOKENS - 1, generator=generator), torch.tensor([_TOKENS - 1]))
        )
        worst = max(worst, _relative(whole, final(model, ids[:, order])[:, -1]))
    return worst


def _counts(seed: int, *, masked: bool) -> float:
    """How far a head of queries 0 is from giving the first of t tokens the share 1/t."""
    model = small_model("none", seed, layers=1)
    with torch.no_grad():
        attention_of(model, 0).query.weight.zero_()
    name = "blocks.0.attention.pattern"
    with trace(model, [name]) as found:
        final(model, _texts(seed), masked=masked)
    steps = torch.arange(1, _TOKENS + 1)
    return float((found[name][..., 0] * steps - 1).abs().max())


def _repeated(scheme: str, seed: int) -> float:
    found = final(small_model(scheme, seed), torch.full((1, _TOKENS), 5))
    return _relative(found, found[:, :1].expand_as(found))


def _shifts(scheme: str, seed: int) -> list[Property]:
    ids = _texts(seed, rows=3)
    moved = {name: shifted(small_model(name, seed, dtype=torch.float32), ids, _SHIFTS)
             for name in POSITIONS}  # fmt: skip
    fixed = [name for name in POSITIONS if name not in RELATIVE]
    return [
        Property(
            "the whole model gives the same after a shift of all positions",
            name, scheme == name, "float32",
            f"{_TOKENS} tokens, shifts of {', '.join(map(str, _SHIFTS))}",
            "the result's root mean square", moved[name], control, moved[control],
        )
        for name in RELATIVE
        for control in fixed
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shift:
    """How a model's log probabilities of a text move when all its positions grow by `shift`.

    In nats: the largest and the mean difference over tokens and all of the vocabulary.
    """

    shift: int
    largest: float
    mean: float


def model_shifts(model: Transformer, ids: Tensor) -> tuple[tuple[Shift, ...], float | None]:
    """A model's text (1, T) at growing positions, as far as its context goes.

    The second: the largest difference where the later half of the text alone moves, by as many
    tokens as it has; None where the scheme has no positions to move, or no room.
    """
    room = model.config.context - ids.shape[1]
    starts = [start for start in (1, 16, 128, 1024, 8192, 65_536) if start < room]
    starts += [room] if room > 0 else []
    whole = _log_probabilities(model, final(model, ids))
    found = []
    for start in starts:
        apart = (_log_probabilities(model, final(model, ids, start=start)) - whole).abs()
        found.append(Shift(start, float(apart.max()), float(apart.mean())))
    if model.config.positions in ("alibi", "none") or room < ids.shape[1]:
        return tuple(found), None
    layout = Gapped(model.config, ids.shape[1], ids.device, gap=ids.shape[1])
    apart = (_log_probabilities(model, final_under(model, ids, layout)) - whole).abs()
    return tuple(found), float(apart.max())


def _log_probabilities(model: Transformer, hidden: Tensor) -> Tensor:
    with torch.inference_mode():
        return model.unembed(hidden).float().log_softmax(-1)


def added_deviation(model: Transformer, ids: Tensor) -> float:
    """How far what stands before the first block is from row plus table: the largest difference.

    Relative to the rows' root mean square; of a learned or sinusoidal scheme.
    """
    layout = Layout(model.config, ids.shape[1], ids.device)
    with torch.inference_mode():
        rows = model.embedding[ids] * model.config.embedding_scale
        table = added_table(model)[: ids.shape[1]]
        return _relative(rows + table, model.embed(ids, layout))


def added_table(model: Transformer) -> Tensor:
    """The table (context, D) that a learned or sinusoidal scheme adds."""
    if model.position_embedding is not None:
        return model.position_embedding.detach()
    return sinusoidal_table(model.config.context, model.config.width)
