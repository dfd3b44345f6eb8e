"""One fact written into one matrix: the smallest change that makes a key give another value.

The down projection of a feed-forward layer is read as a memory of keys (what its units hold at a
token) and values (what they add to the residual stream): Kohonen 1972; Geva et al. 2021. The edit
is ROME's (Meng et al. 2022, equation 2), in the form of r-ROME (Gupta et al. 2024): the same key,
a mean over the prompt after several prefixes, stands in every place of the formula. With the key
of the bare prompt in one of them, as the first program had it, edits now and then destroy a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokkit.analysis.editing.passes import check_layer, feedforward_of
from tokkit.analysis.editing.prefixes import random_prefixes
from tokkit.analysis.editing.request import EditRequest
from tokkit.analysis.editing.value import EditSettings, Optimised, optimise_value
from tokkit.errors import ArtifactError, ConfigError
from tokkit.model.transformer import Transformer

RIDGE = 1e-4
"""Added to the diagonal of the second moments, as a share of its mean: units that never fire in
the text would leave them without an inverse."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one matrix by left x right, and how it was found.

    `left` (D,) is what is added to the value of the key; `right` (M,) is 1 on the key and, in the
    measure of the second moments, as small as can be elsewhere.
    """

    layer: int
    left: Tensor
    right: Tensor
    request: EditRequest
    optimised: Optimised
    prefixes: tuple[str, ...]


def compute_edit(
    model: Transformer,
    tokenizer: Any,
    request: EditRequest,
    *,
    layer: int,
    moments: Tensor,
    seed: int = 0,
    start_ids: Sequence[int] = (),
    prefixes: Sequence[str] | None = None,
    settings: EditSettings | None = None,
) -> Edit:
    """The edit of `layer` that makes the model as it is now go on with the request's target.

    `moments` (M, M) are those of `second_moments` at this layer. `prefixes` are texts put before
    the prompt besides none, by default the model's own, drawn by `seed`. The model is left as it
    is. Raises ConfigError for a layer without a dense feed-forward and for the last one,
    InputError for a request that does not fit (see `located`).
    """
    check_layer(model, layer)
    if prefixes is None:
        prefixes = random_prefixes(model, tokenizer, seed=seed, start_ids=start_ids)
    found = optimise_value(
        model, tokenizer, request, layer=layer, prefixes=prefixes, start_ids=start_ids,
        settings=settings or EditSettings(),
    )  # fmt: skip
    left, right = found.delta, dual_key(found.key, moments)
    return Edit(layer, left, right, request, found, found.prefixes)


def rank_one_update(weight: Tensor, key: Tensor, value: Tensor, moments: Tensor) -> Tensor:
    """What is added to `weight` (D, M) so that it gives `value` (D,) for `key` (M,): (D, M).

    (v - W k)(C^-1 k)^T / (C^-1 k . k), of all that do the one that changes the outputs of keys of
    second moments C the least (Meng et al. 2022, equation 2).
    """
    return torch.outer(value - weight @ key, dual_key(key, moments))


def dual_key(key: Tensor, moments: Tensor) -> Tensor:
    """C^-1 k / (C^-1 k . k), (M,) float32, worked out in float64 with RIDGE on the diagonal.

    Raises ArtifactError for moments of another width, or where no inverse can be had.
    """
    if moments.shape != (len(key), len(key)):
        raise ArtifactError(
            f"the second moments must be {(len(key), len(key))}, got {tuple(moments.shape)}: they "
            "are of another model"
        )
    square = moments.double()
    ridge = RIDGE * square.diagonal().mean()
    factor, fault = torch.linalg.cholesky_ex(
        square + ridge * torch.eye(len(key), dtype=torch.float64, device=square.device)
    )
    if int(fault) or not bool(key.any()):
        raise ArtifactError(
            "the second moments have no inverse, or the key is zero: give a longer text"
        )
    solved = torch.cholesky_solve(key.double()[:, None], factor)[:, 0]
    return (solved / (solved @ key.double())).float()


@contextmanager
def applied(model: Transformer, edits: Edit | Sequence[Edit]) -> Iterator[None]:
    """The model with its edits, in their order, inside the block; afterwards bit for bit as before.

    Blocks may stand inside each other. Raises ConfigError where an edit does not fit the model.
    """
    with ExitStack() as undo:
        for edit in [edits] if isinstance(edits, Edit) else edits:
            undo.enter_context(_one_applied(model, edit))
        yield


@contextmanager
def _one_applied(model: Transformer, edit: Edit) -> Iterator[None]:
    weight = feedforward_of(model, edit.layer).down.weight
    if weight.shape != (len(edit.left), len(edit.right)):
        raise ConfigError(
            f"the edit is of a matrix {(len(edit.left), len(edit.right))}, but that of layer "
            f"{edit.layer} is {tuple(weight.shape)}: it is of another model"
        )
    original = weight.data  # kept whole: adding and taking away would leave rounding behind
    weight.data = original + torch.outer(edit.left, edit.right)
    try:
        yield
    finally:
        weight.data = original
