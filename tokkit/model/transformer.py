"""A decoder-only transformer, read from top to bottom.


Shapes are written with one letter an axis:
    B batch   T time (tokens)   V vocabulary   D width of the residual stream
    H query heads   G key-value heads   K head width (D / H)   M hidden width   F token features


Sources: Vaswani et al. 2017 (attention, sinusoidal positions, post-norm); Radford et al. 2019
(pre-norm GPT-2); Zhang and Sennrich 2019 (RMSNorm); Su et al. 2021 (rotary positions);
Press et al. 2022 (ALiBi); Shazeer 2019 and 2020 (multi-query attention, SwiGLU);
Ainslie et al. 2023 (grouped queries).
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tokkit.errors import ConfigError, InputError
from tokkit.model.config import ModelConfig

Places = tuple[Tensor, Tensor]  # rows and positions, (N,) int64 each


def take(x: Tensor, at: Places) -> Tensor:
    """The vectors of x (B, T, D) at N places, as sequences of one: (N, 1, D)."""
    return x[at][:, None]


class Tap(nn.Module):
    """A named place where `tokkit.model.trace` may look at what flows by; changes nothing."""

    def forward(self, values: Tensor) -> Tensor:
        """Return `values` as they are."""
        return values

    @property
    def watched(self) -> bool:
        """Whether a trace is looking."""
        return bool(self._forward_hooks)


class Linear(nn.Module):
    """y = x W^T + b with W (out, in); filled by `initialise`, never by the constructor."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return functional.linear(x, self.weight, self.bias)


class Norm(nn.Module):
    """RMSNorm, or LayerNorm with its bias, over the last axis (D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.epsilon = config.norm_epsilon
        self.weight = nn.Parameter(torch.empty(config.width))
        layernorm = config.norm == "layernorm"
        self.bias = nn.Parameter(torch.empty(config.width)) if layernorm else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if self.bias is None:
            return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


def rotary_tables(context: int, head_width: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of position times frequency, each (T, K/2) float32.


    Pair i of a head turns by base^(-2i/K) radians a token (Su et al. 2021, equation 15).
    """
    frequencies = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.outer(torch.arange(context, dtype=torch.float64), frequencies)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn each pair (i, i + K/2) of the last axis of x (B, heads, T, K) by its angle (T, K/2)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1)


def sinusoidal_table(context: int, width: int) -> Tensor:
    """The fixed table of Vaswani et al. 2017, section 3.5: (T, D), sines even, cosines odd."""
    cosines, sines = rotary_tables(context, width, 10_000.0)
    return torch.stack((sines, cosines), dim=-1).flatten(1)


def alibi_slopes(heads: int) -> Tensor:
    """The slope of each head, (H,): a geometric series from 2^(-8/H) (Press et al. 2022).


    For a number of heads that is no power of two, the series of the power below is completed
    with every second slope of the power above, as the authors' text prescribes.
    """
    below = 2 ** int(math.log2(heads))
    slopes = [2.0 ** (-8 * i / below) for i in range(1, below + 1)]
    between = [2.0 ** (-4 * i / below) for i in range(1, 2 * below + 1, 2)]
    return torch.tensor((slopes + between)[:heads])


class Attention(nn.Module):
    """Causal self-attention with H query heads and G key-value heads."""

    cosines: Tensor  # (context, K/2), with rope
    sines: Tensor
    slopes: Tensor  # (H,), with alibi

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        keys_width = config.key_value_heads * config.head_width
        self.query = Linear(config.width, config.width, bias=config.linear_bias)
        self.key = Linear(config.width, keys_width, bias=config.linear_bias)
        self.value = Linear(config.width, keys_width, bias=config.linear_bias)
        self.output = Linear(config.width, config.width, bias=config.linear_bias)
        self.tap_query, self.tap_key, self.tap_value = Tap(), Tap(), Tap()
        self.tap_pattern, self.tap_heads = Tap(), Tap()
        if config.positions == "rope":
            cosines, sines = rotary_tables(config.context, config.head_width, config.rope_base)
            self.register_buffer("cosines", cosines, persistent=False)
            self.register_buffer("sines", sines, persistent=False)
        if config.positions == "alibi":
            self.register_buffer("slopes", alibi_slopes(config.query_heads), persistent=False)

    def forward(self, x: Tensor, at: Places | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D), or (N, 1, D) at N places; position t sees 0 to t only."""
        query = self._split(self.query(x if at is None else take(x, at)))  # B H T K, or N H 1 K
        key, value = self._split(self.key(x)), self._split(self.value(x))  # B G T K
        if self.config.positions == "rope":
            cosines, sines = self.cosines[: x.shape[1]], self.sines[: x.shape[1]]
            key = rotate(key, cosines, sines)
            if at is not None:
                cosines, sines = (table[at[1]][:, None, None] for table in (cosines, sines))
            query = rotate(query, cosines, sines)
        query, key, value = self.tap_query(query), self.tap_key(key), self.tap_value(value)
        if at is not None:
            key, value = key[at[0]], value[at[0]]
        if (group := self.config.query_heads // self.config.key_value_heads) > 1:
            key, value = (side.repeat_interleave(group, dim=1) for side in (key, value))
        mixed: Tensor = self.tap_heads(self._attend(query, key, value, at))
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2, 3))
        return output

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, heads x K) -> (B, heads, T, K)."""
        return x.view(*x.shape[:2], -1, self.config.head_width).transpose(1, 2)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, at: Places | None) -> Tensor:
        plain = at is None and self.config.positions != "alibi"
        if plain and not self.tap_pattern.watched:
            return functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        steps = torch.arange(key.shape[2], device=key.device)
        asked = steps[None] if at is None else at[1][:, None]
        bias = self._distance_bias((asked[:, :, None] - steps)[:, None])
        if not self.tap_pattern.watched:
            return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + bias
        pattern: Tensor = self.tap_pattern(scores.softmax(-1))
        return pattern @ value

    def _distance_bias(self, distance: Tensor) -> Tensor:
        """What a score gets for how far its key lies back, (..., 1, T, T): -inf for the future.


        Between, ALiBi's penalty for each head, and 0 for all other positions. The batch axis
        stays: without it the fused kernel falls back to one that is half as fast.
        """
        if self.config.positions == "alibi":
            bias = -self.slopes[:, None, None] * distance
        else:
            bias = torch.zeros_like(distance, dtype=self.query.weight.dtype)
        return bias.masked_fill(distance < 0, -math.inf)


class FeedForward(nn.Module):
    """Two linear maps with a nonlinearity between; with swiglu a gate multiplies the hidden."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.kind = config.feedforward
        width, hidden, bias = config.width, config.hidden_width, config.linear_bias
        self.gate = Linear(width, hidden, bias=bias) if config.gated else None
        self.up = Linear(width, hidden, bias=bias)
        self.down = Linear(hidden, width, bias=bias)
        self.tap_hidden = Tap()

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D), each position alone."""
        if self.gate is not None:
            hidden = functional.silu(self.gate(x)) * self.up(x)
        elif self.kind == "gelu":
            hidden = functional.gelu(self.up(x), approximate="tanh")
        else:
            hidden = functional.relu(self.up(x))
        output: Tensor = self.down(self.tap_hidden(hidden))
        return output


class Block(nn.Module):
    """Attention, then feed-forward, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.post_norm = config.norm_place == "post"
        self.attention_norm, self.attention = Norm(config), Attention(config)
        self.tap_attention = Tap()
        self.feedforward_norm, self.feedforward = Norm(config), FeedForward(config)
        self.tap_feedforward, self.tap_residual = Tap(), Tap()

    def forward(self, x: Tensor, at: Places | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D), or (N, 1, D) at N places."""
        stream = x if at is None else take(x, at)
        if self.post_norm:
            stream = self.attention_norm(stream + self.tap_attention(self.attention(x, at)))
            stream = self.feedforward_norm(stream + self.tap_feedforward(self.feedforward(stream)))
        else:
            normed = self.attention_norm(x)
            stream = stream + self.tap_attention(self.attention(normed, at))
            normed = self.feedforward_norm(stream)
            stream = stream + self.tap_feedforward(self.feedforward(normed))
        residual: Tensor = self.tap_residual(stream)
        return residual


class Transformer(nn.Module):
    """Token ids in, logits of the next token out."""

    position_table: Tensor  # (context, D), with sinusoidal positions
    token_features: Tensor  # (V, F), with config.token_features

    def __init__(
        self, config: ModelConfig, *, seed: int | None = 0, token_features: Tensor | None = None
    ) -> None:
        """Build and initialise from `seed`; with None leave the parameters unfilled, for a loader.


        `token_features`, (V, F) and given exactly when config.token_features is F > 0, holds
        fixed numbers known of each token; a learned (F, D) matrix embeds them.
        Raises ConfigError when its shape does not fit.
        """
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.width))
        self.unembedding = None if config.tied else nn.Parameter(torch.empty_like(self.embedding))
        self.position_embedding: nn.Parameter | None = None
        if config.positions == "learned":
            self.position_embedding = nn.Parameter(torch.empty(config.context, config.width))
        if config.positions == "sinusoidal":
            table = sinusoidal_table(config.context, config.width)
            self.register_buffer("position_table", table, persistent=False)
        self.feature_embedding: nn.Parameter | None = None
        if config.token_features:
            self.feature_embedding = nn.Parameter(torch.empty(config.token_features, config.width))
            self.register_buffer("token_features", _checked_features(config, token_features))
        elif token_features is not None:
            raise ConfigError("token features were given, but config.token_features is 0: set it")
        self.tap_embedding = Tap()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = Norm(config) if config.norm_place == "pre" else None
        self.tap_final = Tap()
        if seed is not None:
            initialise(self, seed)

    def forward(self, ids: Tensor, at: Places | None = None) -> Tensor:
        """Logits (B, T, V) float32 of ids (B, T) int64.


        With `at` = (rows, positions), two int64 vectors of length N, only the logits at those
        places, (N, V). The last block then works at those places only, and so do its activations,
        (N, 1, D): with unembedding it is half the cost of a small model.
        Raises InputError when an id or the length is outside of what the config allows.
        """
        hidden = self.residual(ids, at)
        if at is not None:
            hidden = hidden[:, 0]
        if self.final_norm is not None:
            hidden = self.final_norm(hidden)
        unembedding = self.embedding if self.unembedding is None else self.unembedding
        return functional.linear(self.tap_final(hidden), unembedding)

    def residual(self, ids: Tensor, at: Places | None = None) -> Tensor:
        """The residual stream after the last block: (B, T) int64 -> (B, T, D), or (N, 1, D)."""
        self._check_ids(ids)
        if at is not None:
            _check_places(at, ids)
        x: Tensor = self.tap_embedding(self.embed(ids))
        for block in self.blocks[:-1]:
            x = block(x)
        last: Tensor = self.blocks[-1](x, at)
        return last

    def embed(self, ids: Tensor) -> Tensor:
        """The rows of the ids, with token features and absolute positions added: (B, T, D)."""
        x = functional.embedding(ids, self.embedding)
        if self.feature_embedding is not None:
            x = x + functional.embedding(ids, self.token_features) @ self.feature_embedding
        if self.position_embedding is not None:
            x = x + self.position_embedding[: ids.shape[1]]
        if self.config.positions == "sinusoidal":
            x = x + self.position_table[: ids.shape[1]]
        return x

    def _check_ids(self, ids: Tensor) -> None:
        if ids.ndim != 2 or ids.numel() == 0:
            raise InputError(f"ids must be (batch, time) and not empty, got {tuple(ids.shape)}")
        if ids.shape[1] > self.config.context:
            raise InputError(
                f"the text is {ids.shape[1]} tokens long, but the model's context is "
                f"{self.config.context}: shorten the text"
            )
        low, high = (int(bound) for bound in torch.aminmax(ids))
        if low < 0 or high >= self.config.vocab_size:
            raise InputError(
                f"ids must lie in 0..{self.config.vocab_size - 1}, got {low if low < 0 else high}: "
                "the tokenizer does not belong to this model"
            )

    def parameter_count(self) -> dict[str, int]:
        """Parameters by part; "total" is their sum, checked against the tensors themselves."""
        parts = {"embedding": self.embedding.numel()}
        optional = {
            "unembedding": self.unembedding,
            "position_embedding": self.position_embedding,
            "feature_embedding": self.feature_embedding,
        }
        parts |= {name: p.numel() for name, p in optional.items() if p is not None}
        groups = {"attention": ".attention.", "feedforward": ".feedforward.", "norms": "norm."}
        for group, mark in groups.items():
            parts[group] = sum(p.numel() for n, p in self.named_parameters() if mark in n)
        parts["total"] = sum(parts.values())
        assert parts["total"] == sum(p.numel() for p in self.parameters()), parts
        return parts


def _check_places(at: Places, ids: Tensor) -> None:
    # A position of -1 would be masked from all keys and give NaN, so none counts from the end.
    for name, places, size in zip(("rows", "positions"), at, ids.shape, strict=True):
        low, high = (int(bound) for bound in torch.aminmax(places)) if len(places) else (0, 0)
        if low < 0 or high >= size:
            raise InputError(f"{name} must lie in 0..{size - 1}, got {low if low < 0 else high}")


def _checked_features(config: ModelConfig, features: Tensor | None) -> Tensor:
    shape = (config.vocab_size, config.token_features)
    if features is None or tuple(features.shape) != shape:
        got = None if features is None else tuple(features.shape)
        raise ConfigError(
            f"token features must be (vocab_size, token_features) = {shape}, got {got}"
        )
    return features.float().clone()


@torch.no_grad()
def initialise(model: Transformer, seed: int) -> None:
    """Fill every parameter once, from a generator of its own, seeded by `seed` and its name.


    So two models of as many layers that share a parameter's name and shape start with the same
    values in it, whatever else differs. Spread: linear maps 1/sqrt(inputs), those that write to
    the residual stream less by sqrt(2 x layers) (Radford et al. 2019); tables of rows
    1/sqrt(width).
    """
    residual_scale = (2 * model.config.layers) ** -0.5
    for name, parameter in model.named_parameters():
        if "norm." in name:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        elif name.endswith("bias"):
            parameter.zero_()
        else:
            spread = parameter.shape[-1] ** -0.5
            if name.endswith(("attention.output.weight", "feedforward.down.weight")):
                spread *= residual_scale
            parameter.normal_(0.0, spread, generator=seeded_generator(seed, name))


def seeded_generator(seed: int, name: str) -> torch.Generator:
    """A generator that depends on `seed` and `name` alone."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
