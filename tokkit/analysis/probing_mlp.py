"""A small multi-layer perceptron as a probe: what is in the rows, but not on a straight line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tokkit.analysis.probing import Floats, Ints, class_shares, cross_entropy, probabilities
from tokkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

HIDDEN = 128
MAX_EPOCHS = 24
PATIENCE = 3
BATCH = 256
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05


class MlpProbe:
    """One hidden layer of rectified units, trained by AdamW, all heads together.

    `fit` stops where the validation loss has not fallen for PATIENCE epochs and keeps the best
    epoch, or trains for `epochs` where that is given. Weights and order are drawn from `seed`.
    After `fit`: `epochs_`, `prior_` (H, K). Method: AdamW, Loshchilov and Hutter (2019).
    """

    def __init__(self, classes: int, *, seed: int, epochs: int | None = None) -> None:
        if classes < 2:
            raise ConfigError(f"a probe needs 2 or more classes, got {classes}")
        self.classes, self.seed, self.epochs = classes, seed, epochs

    def fit(self, rows: Floats, labels: Ints, held: tuple[Floats, Ints] | None = None) -> MlpProbe:
        """Fit on prepared rows (N, D) and labels (N, H); `held` is the validation part."""
        import torch

        if self.epochs is None and held is None:
            raise ConfigError(
                "the probe stops by a validation part: give one, or a number of epochs"
            )
        self.prior_ = class_shares(labels, self.classes)
        columns = labels.shape[1] * (1 if self.classes == 2 else self.classes)
        self._weights = self._drawn(rows.shape[1], columns)
        optimiser = torch.optim.AdamW(self._weights, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        inputs, targets = torch.from_numpy(rows), torch.from_numpy(labels)
        generator = np.random.default_rng(self.seed)
        best, self.epochs_, kept = np.inf, 0, self._weights
        for epoch in range(1, (self.epochs or MAX_EPOCHS) + 1):
            for chosen in np.array_split(
                generator.permutation(len(rows)), max(1, len(rows) // BATCH)
            ):
                places = torch.from_numpy(chosen)
                loss = self._loss(inputs[places], targets[places])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            if self.epochs is not None or held is None:
                self.epochs_ = epoch
                continue
            now = cross_entropy(self.predict(held[0]), held[1])
            if now < best:
                best, self.epochs_ = now, epoch
                kept = [weight.detach().clone() for weight in self._weights]
            elif epoch - self.epochs_ >= PATIENCE:
                break
        if self.epochs is None:
            self._weights = kept
        return self

    def predict(self, rows: Floats) -> Floats:
        """Probabilities of the classes of each head, (N, H, K)."""
        import torch

        with torch.no_grad():
            logits = self._logits(torch.from_numpy(rows)).numpy()
        return probabilities(logits, self.classes)

    def _drawn(self, width: int, columns: int) -> list[Tensor]:
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        first = torch.randn(width, HIDDEN, generator=generator) * (2 / width) ** 0.5
        second = torch.randn(HIDDEN, columns, generator=generator) * HIDDEN**-0.5
        drawn = [first, torch.zeros(HIDDEN), second, torch.zeros(columns)]
        return [weight.requires_grad_() for weight in drawn]

    def _logits(self, rows: Tensor) -> Tensor:
        import torch

        first, first_bias, second, second_bias = self._weights
        return torch.addmm(second_bias, torch.addmm(first_bias, rows, first).relu(), second)

    def _loss(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Summed over heads, so that the rate of learning does not depend on how many there are."""
        from torch.nn import functional

        logits = self._logits(rows)
        if self.classes == 2:
            total = functional.binary_cross_entropy_with_logits(
                logits, labels.to(logits.dtype), reduction="sum"
            )
        else:
            total = functional.cross_entropy(
                logits.reshape(-1, self.classes), labels.reshape(-1), reduction="sum"
            )
        return total / len(rows)
