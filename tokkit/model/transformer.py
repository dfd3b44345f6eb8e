"""A decoder-only transformer, read from top to bottom.

Shapes are written with one letter an axis:
    B batch   T time (tokens)   S keys   V vocabulary   D width of the residual stream
    H query heads   G key-value heads   K head width   M hidden width   E experts
    F token features   N places

Each family is this skeleton with other settings (`tokkit.model.presets`). Its parts stand in
`attention`, `feedforward`, `positions` and `layers`. Sources: Radford et al. 2019 (pre-norm GPT-2);
Touvron et al. 2023 (Llama); the Gemma team, Riviere et al. 2024 (sandwich norms, soft-capping).
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn
from torch.nn import functional

from tokkit.errors import ConfigError, InputError
from tokkit.model import fused
from tokkit.model.attention import Attention, take
from tokkit.model.cache import Cache, LayerCache
from tokkit.model.config import ModelConfig
from tokkit.model.feedforward import FeedForward, Mixture
from tokkit.model.layers import Norm, Tap
from tokkit.model.layout import Layout, Places
from tokkit.model.positions import sinusoidal_table


class Block(nn.Module):
    """Attention, then feed-forward, each added to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int = 0) -> None:
        super().__init__()
        self.post_norm = config.norm_place == "post"
        sandwich = config.norm_place == "sandwich"
        self.attention_norm, self.attention = Norm(config), Attention(config, layer)
        self.attention_post_norm = Norm(config) if sandwich else None
        self.tap_attention = Tap()
        self.feedforward_norm = Norm(config)
        self.feedforward = Mixture(config) if config.has_experts(layer) else FeedForward(config)
        self.feedforward_post_norm = Norm(config) if sandwich else None
        self.tap_feedforward, self.tap_residual = Tap(), Tap()

    def forward(
        self,
        x: Tensor,
        at: Places | None = None,
        layout: Layout | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D), or (N, 1, D) at N places."""
        stream = x if at is None else take(x, at)
        if self.post_norm:
            added = self.tap_attention(self.attention(x, at, layout, cache))
            stream = self.attention_norm(stream + added)
            stream = self.feedforward_norm(stream + self.tap_feedforward(self.feedforward(stream)))
        else:
            added = self.attention(self.attention_norm(x), at, layout, cache)
            if self.attention_post_norm is not None:
                added = self.attention_post_norm(added)
            stream = stream + self.tap_attention(added)
            added = self.feedforward(self.feedforward_norm(stream))
            if self.feedforward_post_norm is not None:
                added = self.feedforward_post_norm(added)
            stream = stream + self.tap_feedforward(added)
        residual: Tensor = self.tap_residual(stream)
        return residual


class Transformer(nn.Module):
    """Token ids in, logits of the next token out."""

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
        self.feature_embedding: nn.Parameter | None = None
        if config.token_features:
            self.feature_embedding = nn.Parameter(torch.empty(config.token_features, config.width))
            self.register_buffer("token_features", _checked_features(config, token_features))
        elif token_features is not None:
            raise ConfigError("token features were given, but config.token_features is 0: set it")
        self.tap_embedding = Tap()
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.final_norm = Norm(config) if config.norm_place != "post" else None
        self.tap_final = Tap()
        if seed is not None:
            initialise(self, seed)

    def forward(
        self,
        ids: Tensor,
        at: Places | None = None,
        *,
        documents: Tensor | None = None,
        padding: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Logits (B, T, V) float32 of ids (B, T) int64.

        With `at` = (rows, positions), two int64 vectors of length N, only the logits at those
        places, (N, V). The last block then works at those places only, and so do its activations,
        (N, 1, D): with unembedding it is half the cost of a small model.

        `documents` (B, T) int64 numbers documents packed into a row: attention stays inside each,
        and positions start anew. `padding` (B,) int64 counts the columns at the left of each row
        that are no text: the rest does not see them, and positions count from after them. With a
        `cache` the ids are the columns after those it holds, and `at` counts from the first new
        one; padding is then told once, with the first ids.
        Raises InputError when an id or the length is outside of what the config allows.
        """
        arguments = {"documents": documents, "padding": padding, "cache": cache}
        return self.unembed(self.hidden(ids, at, **arguments))  # type: ignore[arg-type]

    def hidden(
        self,
        ids: Tensor,
        at: Places | None = None,
        *,
        documents: Tensor | None = None,
        padding: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """What is unembedded, after the final norm: (B, T, D), or (N, D) at N places."""
        layout = self._layout(ids, at, documents, padding, cache)
        x: Tensor = self.tap_embedding(self.embed(ids, layout))
        last = len(self.blocks) - 1
        for layer, block in enumerate(self.blocks):
            kept = None if cache is None else cache.layers[layer]
            x = block(x, at if layer == last else None, layout, kept)
        if at is not None:
            x = x[:, 0]
        if self.final_norm is not None:
            x = self.final_norm(x)
        final: Tensor = self.tap_final(x)
        return final

    @property
    def unembedding_matrix(self) -> Tensor:
        """The rows that `unembed` multiplies by, (V, D): the embedding's where they are tied."""
        return self.embedding if self.unembedding is None else self.unembedding

    def unembed(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of what `hidden` gives, (..., D)."""
        logits = fused.linear(hidden, self.unembedding_matrix)
        if cap := self.config.logit_softcap:
            logits = cap * (logits / cap).tanh()
        return logits

    def embed(self, ids: Tensor, layout: Layout | None = None) -> Tensor:
        """The rows of the ids, with token features and absolute positions added: (B, T, D)."""
        if layout is None:
            layout = Layout(self.config, ids.shape[1], ids.device)
        x = functional.embedding(ids, self.embedding)
        if self.config.embedding_scale != 1:
            x = x * self.config.embedding_scale
        if self.feature_embedding is not None:
            x = x + functional.embedding(ids, self.token_features) @ self.feature_embedding
        table = self.position_embedding
        if self.config.positions == "sinusoidal":
            table = sinusoidal_table(layout.last_position() + 1, self.config.width).to(x)  # type: ignore[assignment]
        if table is not None:
            positions = layout.positions()
            here = slice(layout.start, layout.start + layout.time)
            x = x + (table[here] if positions is None else functional.embedding(positions, table))
        return x

    def balance_loss(self) -> Tensor:
        """The load-balancing loss of the last training pass, a mean over the mixtures: 0-dim.

        0 for a dense model, or where config.balance_weight is 0: it is not worked out then.
        """
        losses = [
            block.feedforward.balance
            for block in self.blocks
            if isinstance(block.feedforward, Mixture) and block.feedforward.balance is not None
        ]
        return torch.stack(losses).mean() if losses else self.embedding.new_zeros(())

    def _layout(
        self,
        ids: Tensor,
        at: Places | None,
        documents: Tensor | None,
        padding: Tensor | None,
        cache: Cache | None,
    ) -> Layout:
        start = 0 if cache is None else cache.length
        self._check_ids(ids, start)
        if at is not None:
            _check_places(at, ids)
        if documents is not None:
            _check_documents(documents, ids, alone=padding is None and cache is None)
        if padding is not None:
            _check_padding(padding, ids, start)
        if cache is not None:
            _check_cache(cache, ids)
            if padding is not None:
                cache.padding = padding if bool(padding.any()) else None
            padding = cache.padding
        return Layout(self.config, ids.shape[1], ids.device, start, documents, padding)

    def _check_ids(self, ids: Tensor, start: int) -> None:
        if ids.ndim != 2 or ids.numel() == 0:
            raise InputError(f"ids must be (batch, time) and not empty, got {tuple(ids.shape)}")
        if start + ids.shape[1] > self.config.context:
            raise InputError(
                f"the text is {start + ids.shape[1]} tokens long, but the model's context is "
                f"{self.config.context}: shorten the text"
            )
        if torch.compiler.is_compiling():
            return  # a value looked at would break the compiled graph in two
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
            of_group = (
                p.numel()
                for name, p in self.named_parameters()
                # The norms of queries and keys stand inside of attention, and are norms.
                if mark in name and (group == "norms") == ("norm." in name)
            )
            parts[group] = sum(of_group)
        parts["total"] = sum(parts.values())
        assert parts["total"] == sum(p.numel() for p in self.parameters()), parts
        return parts


def _check_places(at: Places, ids: Tensor) -> None:
    # A position of -1 would be masked from all keys and give NaN, so none counts from the end.
    for name, places, size in zip(("rows", "positions"), at, ids.shape, strict=True):
        low, high = (int(bound) for bound in torch.aminmax(places)) if len(places) else (0, 0)
        if low < 0 or high >= size:
            raise InputError(f"{name} must lie in 0..{size - 1}, got {low if low < 0 else high}")


def _check_documents(documents: Tensor, ids: Tensor, *, alone: bool) -> None:
    if not alone:
        raise InputError("packed documents go without padding and cache: give one of the three")
    if documents.shape != ids.shape or bool((documents.diff(dim=1) < 0).any()):
        raise InputError(
            f"documents must be (batch, time) = {tuple(ids.shape)} and not fall along a row, got "
            f"{tuple(documents.shape)}"
        )


def _check_padding(padding: Tensor, ids: Tensor, start: int) -> None:
    fits = padding.shape == ids.shape[:1] and start == 0
    low, high = (int(bound) for bound in torch.aminmax(padding)) if fits else (-1, -1)
    if low < 0 or high >= ids.shape[1]:
        raise InputError(
            f"padding must be (batch,) = {tuple(ids.shape[:1])}, in 0..{ids.shape[1] - 1}, and "
            f"come with the first ids, got {tuple(padding.shape)} in {low}..{high}"
        )


def _check_cache(cache: Cache, ids: Tensor) -> None:
    if cache.batch != len(ids):
        raise InputError(f"the cache is of {cache.batch} rows, but {len(ids)} rows of ids came")
    if cache.length + ids.shape[1] > cache.capacity:
        raise InputError(
            f"the cache has room for {cache.capacity} tokens and holds {cache.length}, but "
            f"{ids.shape[1]} came: make a larger one"
        )


def _checked_features(config: ModelConfig, features: Tensor | None) -> Tensor:
    shape = (config.vocab_size, config.token_features)
    if features is None or tuple(features.shape) != shape:
        got = None if features is None else tuple(features.shape)
        raise ConfigError(
            f"token features must be (vocab_size, token_features) = {shape}, got {got}"
        )
    return features.float().clone()


_WRITES_TO_STREAM = (
    "attention.output.weight",
    "feedforward.down.weight",
    "feedforward.shared.down.weight",
)


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
            plain = name.endswith("weight") and not model.config.norm_offset
            parameter.fill_(1.0 if plain else 0.0)
        elif name.endswith("bias"):
            parameter.zero_()
        else:
            spread = parameter.shape[-1] ** -0.5
            if name.endswith(_WRITES_TO_STREAM):
                spread *= residual_scale
            parameter.normal_(0.0, spread, generator=seeded_generator(seed, name))


def initial_embedding(config: ModelConfig, seed: int) -> Tensor:
    """The embedding that a model of this config starts from, (V, D), and nothing else of it."""
    table = torch.empty(config.vocab_size, config.width)
    return table.normal_(0.0, config.width**-0.5, generator=seeded_generator(seed, "embedding"))


def seeded_generator(seed: int, name: str) -> torch.Generator:
    """A generator that depends on `seed` and `name` alone."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
