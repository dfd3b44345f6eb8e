"""A change of basis of the residual stream, which must change nothing that a model says.

RMSNorm divides a vector by its length, which no rotation alters, so a rotated stream gives the
same logits once every matrix that writes to it is rotated too and every matrix that reads it is
rotated back. Its gain, which scales coordinates, is not like that: it is first folded into the
matrices behind it (Ashkboos et al. 2024, section 3.1). Nothing is folded unasked: these functions
make copies, and what they made is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tokkit.errors import ConfigError
from tokkit.model.config import ModelConfig
from tokkit.model.feedforward import Mixture
from tokkit.model.transformer import Block, Transformer

if TYPE_CHECKING:
    from tokkit.model.layers import Norm

TOLERANCE = 1e-9
"""Largest deviation of the logits, as a share of the largest logit, that counts as equal in
float64: thousands of roundings, and far less than one in float32."""
CONTROL_DEVIATION = 1e-2
"""Least deviation where the weights are not rotated back, for the check to mean something."""
_ROWS, _TOKENS = 2, 32


@dataclass(frozen=True, slots=True)
class RotationCheck:
    """Largest deviations of logits from those of the model as it is, as shares of the largest.

    folded   norm gains folded into the weights behind them
    rotated  folded, and the stream in another basis
    control  as rotated, but the weights that read the stream are left as they were
    """

    folded: float
    rotated: float
    control: float

    @property
    def holds(self) -> bool:
        """Whether the change of basis changed nothing."""
        return max(self.folded, self.rotated) <= TOLERANCE

    @property
    def control_fails(self) -> bool:
        """Whether the incomplete change of basis changed the logits, as it must."""
        return self.control >= CONTROL_DEVIATION


def why_not(config: ModelConfig) -> str | None:
    """Why the stream of such a model cannot be rotated; None where it can."""
    if config.norm != "rmsnorm":
        return "layer norm subtracts a mean over coordinates, which a rotation alters"
    if config.norm_place != "pre":
        return "the gain of a norm that writes to the stream cannot be folded into what reads it"
    if config.positions == "sinusoidal":
        return "the table of sines is fixed, so it cannot be rotated with the stream"
    return None


def random_rotation(width: int, seed: int) -> Tensor:
    """An orthogonal matrix drawn evenly from all, (D, D) float64 (Mezzadri 2007, section 5)."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(width, width, generator=generator, dtype=torch.float64)
    orthogonal, upper = torch.linalg.qr(normal)
    rotation: Tensor = orthogonal * upper.diagonal().sign()
    return rotation


@torch.no_grad()
def fold_norm_gains(model: Transformer) -> Transformer:
    """A float64 copy whose norms on the way in have gain 1, their gains multiplied into the
    columns of the matrices behind them.

    A tied unembedding becomes a matrix of its own: the embedding is not behind the final norm.
    Raises ConfigError for a model whose gains cannot be folded (`why_not`).
    """
    reason = why_not(model.config)
    if reason is not None:
        raise ConfigError(f"the residual stream of this model cannot be rotated: {reason}")
    features = model.token_features if model.config.token_features else None
    folded = Transformer(replace(model.config, tied=False), seed=None, token_features=features)
    state = model.state_dict()
    state.setdefault("unembedding", state["embedding"])
    folded.double().load_state_dict(state)
    for block in _blocks(folded):
        _fold(block.attention_norm, attention_readers(block))
        _fold(block.feedforward_norm, feedforward_readers(block))
    assert folded.final_norm is not None
    assert folded.unembedding is not None
    _fold(folded.final_norm, [folded.unembedding])
    return folded.eval()


def _fold(norm: Norm, readers: list[Tensor]) -> None:
    gain = norm.weight + (1.0 if norm.offset else 0.0)
    for weight in readers:
        weight.mul_(gain)
    norm.weight.fill_(0.0 if norm.offset else 1.0)


def attention_readers(block: Block) -> list[Tensor]:
    """The matrices of the heads that read the stream, columns over its coordinates."""
    attention = block.attention
    return [attention.query.weight, attention.key.weight, attention.value.weight]


def feedforward_readers(block: Block) -> list[Tensor]:
    """The matrices of the feed-forward layer that read the stream, columns last."""
    layer = block.feedforward
    found: list[Tensor] = [layer.up.weight]
    if layer.gate is not None:
        found.append(layer.gate.weight)
    if isinstance(layer, Mixture):
        found.append(layer.router.weight)
        if layer.shared is not None and layer.shared_gate is not None:
            found += [layer.shared_gate.weight, layer.shared.up.weight]
            if layer.shared.gate is not None:
                found.append(layer.shared.gate.weight)
    return found


@torch.no_grad()
def rotate_writers(model: Transformer, rotation: Tensor) -> None:
    """Rotate all that is written to the stream, in place: x becomes x Q."""
    tables = (model.embedding, model.position_embedding, model.feature_embedding)
    for table in tables:
        if table is not None:
            table.copy_(table @ rotation)
    for block in _blocks(model):
        maps = [block.attention.output, block.feedforward.down]
        if isinstance(block.feedforward, Mixture) and block.feedforward.shared is not None:
            maps.append(block.feedforward.shared.down)
        for linear in maps:
            linear.weight.copy_(rotation.T @ linear.weight)
            bias = getattr(linear, "bias", None)
            if bias is not None:
                bias.copy_(bias @ rotation)


@torch.no_grad()
def rotate_readers(model: Transformer, rotation: Tensor) -> None:
    """Rotate back in all that reads the stream, in place: W becomes W Q, so W Q (x Q)^T = W x^T."""
    assert model.unembedding is not None
    readers: list[Tensor] = [model.unembedding]
    for block in _blocks(model):
        readers += [*attention_readers(block), *feedforward_readers(block)]
    for weight in readers:
        weight.copy_(weight @ rotation)


def rotated(model: Transformer, seed: int) -> Transformer:
    """A float64 copy that says the same with its stream in a random other basis."""
    copy = fold_norm_gains(model)
    rotation = random_rotation(model.config.width, seed)
    rotate_writers(copy, rotation)
    rotate_readers(copy, rotation)
    return copy


def check_rotation(model: Transformer, seed: int) -> tuple[RotationCheck, Transformer]:
    """Rotate the stream of a model and compare logits on random tokens, all in float64.

    Gives the rotated model too. One copy at a time, for the sake of large models.
    """
    config = model.config
    generator = torch.Generator().manual_seed(seed)
    tokens = min(_TOKENS, config.context)
    ids = torch.randint(config.vocab_size, (_ROWS, tokens), generator=generator)
    with torch.no_grad():
        wanted = _as_double(model)(ids)
        copy = fold_norm_gains(model)
        largest = float(wanted.abs().max())

        def deviation() -> float:
            return float((copy(ids) - wanted).abs().max()) / largest

        folded = deviation()
        rotation = random_rotation(config.width, seed)
        rotate_writers(copy, rotation)
        control = deviation()
        rotate_readers(copy, rotation)
        return RotationCheck(folded, deviation(), control), copy


def _as_double(model: Transformer) -> Transformer:
    features = model.token_features if model.config.token_features else None
    copy = Transformer(model.config, seed=None, token_features=features)
    copy.double().load_state_dict(model.state_dict())
    return copy.eval()


def _blocks(model: Transformer) -> Iterator[Block]:
    for block in model.blocks:
        assert isinstance(block, Block)
        yield block
