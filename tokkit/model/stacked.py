"""S transformers of one config as one module: each parameter with an axis for the model in front.

Letters as in `transformer`, and S models. Rows of a batch stand model by model: those of model s
are s B to (s + 1) B - 1 of S B, so that attention, rotation and nonlinearities, which know no
parameters, are the plain skeleton's own. Linear maps become batched matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tokkit.errors import ConfigError
from tokkit.model.layers import Linear, Norm
from tokkit.model.layout import Layout
from tokkit.model.positions import sinusoidal_table
from tokkit.model.transformer import Transformer


def stacked_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(S x B, ..., in) by (S, out, in) and (S, out) -> (S x B, ..., out)."""
    rows = x.reshape(len(weight), -1, x.shape[-1])
    if bias is None:
        made = torch.bmm(rows, weight.mT)
    else:
        made = torch.baddbmm(bias[:, None], rows, weight.mT)
    return made.view(*x.shape[:-1], weight.shape[1])


def _by_model(x: Tensor, models: int) -> Tensor:
    """(S x B, ...) -> (S, B, ...), a view."""
    return torch.unflatten(x, 0, (models, -1))


class StackedLinear(Linear):
    """S linear maps: weight (S, out, in), bias (S, out)."""

    def forward(self, x: Tensor) -> Tensor:
        """(S x B, ..., in) -> (S x B, ..., out)."""
        return stacked_linear(x, self.weight, self.bias)


class StackedNorm(Norm):
    """S norms: weight and bias (S, D)."""

    def forward(self, x: Tensor) -> Tensor:
        """(S x B, ..., D) -> (S x B, ..., D)."""
        models, width = self.weight.shape
        axes = (models, *[1] * (x.ndim - 1), width)
        if self.bias is not None:
            normed = _by_model(functional.layer_norm(x, (width,), eps=self.epsilon), models)
            return torch.addcmul(self.bias.view(axes), normed, self.weight.view(axes)).flatten(0, 1)
        normed = _by_model(functional.rms_norm(x, (width,), eps=self.epsilon), models)
        weight = 1 + self.weight if self.offset else self.weight
        return (normed * weight.view(axes)).flatten(0, 1)


_STACKED: dict[type[nn.Module], type[nn.Module]] = {Linear: StackedLinear, Norm: StackedNorm}


class StackedTransformer(Transformer):
    """The parameters of S models, under their names, each (S, ...).

    Called with ids (S x B, T), and places `at` of N a model in the models' order, rows counted
    through all S x B; logits are (S x B, T, V), or (S x N, V).
    """

    def __init__(self, models: Sequence[Transformer]) -> None:
        """Stack models; from here on their parameters are views of the stack's, until `release`.

        Raises ConfigError for no model, for configs that differ, and for a mixture of experts:
        each model's router sorts its tokens its own way, which no batched product can do.
        """
        _check(models)
        config = models[0].config
        features = [model.token_features for model in models] if config.token_features else []
        super().__init__(config, seed=None, token_features=features[0] if features else None)
        if features:
            self.register_buffer("token_features", torch.stack(features))  # S V F
        self.count = len(models)
        for module in self.modules():
            if type(module) in _STACKED:
                module.__class__ = _STACKED[type(module)]
        of_models = [dict(model.named_parameters()) for model in models]
        for name in of_models[0]:
            alike = [parameters[name] for parameters in of_models]
            stack = nn.Parameter(torch.stack([parameter.detach() for parameter in alike]))
            owner, _, leaf = name.rpartition(".")
            setattr(self.get_submodule(owner), leaf, stack)
            for parameter, view in zip(alike, stack.detach(), strict=True):
                parameter.data = view
        self.to(self.embedding.device)

    def embed(self, ids: Tensor, layout: Layout | None = None) -> Tensor:
        """The rows of the ids, with token features and absolute positions: (S x B, T, D)."""
        if layout is None:
            layout = Layout(self.config, ids.shape[1], ids.device)
        x = self._rows(ids, self.embedding)
        if self.config.embedding_scale != 1:
            x = x * self.config.embedding_scale
        if self.feature_embedding is not None:
            told = self._rows(ids, self.token_features)
            x = x + stacked_linear(told, self.feature_embedding.mT)
        positions = layout.positions()
        if self.config.positions == "sinusoidal":
            table = sinusoidal_table(layout.last_position() + 1, self.config.width).to(x)
            x = x + (table if positions is None else functional.embedding(positions, table))
        elif self.position_embedding is not None and positions is None:
            here = self.position_embedding[:, None, : layout.time]
            x = (_by_model(x, self.count) + here).flatten(0, 1)
        elif self.position_embedding is not None and positions is not None:
            x = x + self._rows(positions, self.position_embedding)
        return x

    def _rows(self, ids: Tensor, tables: Tensor) -> Tensor:
        """Each model's rows of its own table: (S x B, T) of (S, V, D) -> (S x B, T, D)."""
        first = torch.arange(self.count, device=ids.device) * tables.shape[1]
        rows = _by_model(ids, self.count) + first[:, None, None]
        return functional.embedding(rows.flatten(0, 1), tables.flatten(0, 1))

    def unembed(self, hidden: Tensor) -> Tensor:
        """Logits (S x B, ..., V) of what `hidden` gives, (S x B, ..., D)."""
        logits = stacked_linear(hidden, self.unembedding_matrix)
        if cap := self.config.logit_softcap:
            logits = cap * (logits / cap).tanh()
        return logits


def release(models: Sequence[Transformer]) -> None:
    """Give stacked models memory of their own again, with the values that the stack has now."""
    for model in models:
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()


def _check(models: Sequence[Transformer]) -> None:
    if not models:
        raise ConfigError("a stack needs at least 1 model, got 0")
    first = models[0].config
    for place, model in enumerate(models):
        if model.config != first:
            ours, theirs = first.to_dict(), model.config.to_dict()
            name = next(name for name in ours if ours[name] != theirs[name])
            raise ConfigError(
                f"models of one stack must have one config, but {name} is {ours[name]!r} in model "
                f"0 and {theirs[name]!r} in model {place}: train them apart"
            )
    if first.experts:
        raise ConfigError(
            f"a mixture of experts cannot be stacked, got {first.experts} experts: train one by one"
        )
