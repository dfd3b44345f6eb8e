"""Probes: what can be read off rows by a classifier that never saw them.

A task gives each row one label or several (heads), each of K classes. Legend of shapes:
    N rows   D width   H heads   K classes
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.errors import ConfigError, InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
PREPROCESSING = (
    "centred on the training rows, divided by one number (their root mean square), turned to "
    "their principal axes"
)
_CURVATURE = 0.1
"""About the mean of p(1 - p): scales the columns so that the optimiser sees a round bowl."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked of each row: labels (N, H) of classes 0 to `classes` - 1, a name a head."""

    name: str
    labels: Ints
    classes: int
    heads: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = self.labels.shape
        if len(shape) != 2 or shape[1] != len(self.heads) or self.classes < 2:
            raise ConfigError(
                f"task {self.name!r} needs labels (rows, {len(self.heads)}) of at least 2 classes, "
                f"got {list(shape)} of {self.classes}"
            )
        if shape[0] and not 0 <= self.labels.min() <= self.labels.max() < self.classes:
            raise ConfigError(
                f"labels of task {self.name!r} must lie in 0..{self.classes - 1}, got "
                f"{self.labels.min()}..{self.labels.max()}"
            )

    def of(self, rows: ArrayLike) -> Ints:
        """The labels of some rows."""
        chosen: Ints = self.labels[np.asarray(rows)]
        return chosen


class Preparation:
    """PREPROCESSING, fitted on training rows.

    One scale for all columns keeps what a rotation keeps, so that rows and rotated rows give the
    same answer; the sign of each axis is that which makes the sum of cubes positive. After `fit`:
    `mean_` (D,), `scale_`, `axes_` (D, D) and `variance_` (D,), of the prepared columns.
    """

    def fit(self, rows: Floats) -> Preparation:
        """Learn from rows (N, D); InputError for fewer than 2 rows, not finite or all equal."""
        if rows.ndim != 2 or len(rows) < 2:
            raise InputError(f"a probe needs a matrix of 2 or more rows, got {list(rows.shape)}")
        if not np.isfinite(rows).all():
            raise InputError("rows hold NaN or infinite numbers: leave those rows out first")
        wide = rows.astype(np.float64)
        self.mean_ = wide.mean(axis=0)
        wide -= self.mean_
        self.scale_ = float(np.sqrt(np.mean(wide**2)))
        if self.scale_ == 0:
            raise InputError("all rows are equal: there is nothing to read off them")
        covariance = wide.T @ wide / (len(wide) * self.scale_**2)
        variance, axes = np.linalg.eigh(covariance)
        self.variance_ = np.maximum(variance[::-1], 0.0)
        self.axes_ = axes[:, ::-1]
        cubes = ((wide @ self.axes_) ** 3).sum(axis=0)
        self.axes_ = self.axes_ * np.where(cubes < 0, -1.0, 1.0)
        return self

    def transform(self, rows: Floats) -> Floats:
        """The rows prepared, (N, D) float32."""
        if rows.ndim != 2 or rows.shape[1] != len(self.mean_):
            raise InputError(
                f"the probe was fitted on rows of {len(self.mean_)} numbers, got the shape "
                f"{list(rows.shape)}"
            )
        prepared = ((rows - self.mean_) / self.scale_) @ self.axes_
        return np.asarray(prepared, dtype=np.float32)


class LogisticProbe:
    """Multinomial logistic regression of every head at once, with an L2 penalty.

    Minimises, for each head, the mean cross-entropy plus penalty/2 times the squared weights (the
    intercepts are free); scikit-learn's C is 1 / (penalty x N). Two classes have one column of
    weights, more have one a class. After `fit`: `weights_` (D, H x columns), `intercept_`,
    `prior_` (H, K), the smoothed shares of the classes in training.
    """

    def __init__(
        self, classes: int, penalty: float, *, max_iterations: int = 200, tolerance: float = 1e-8
    ) -> None:
        if classes < 2 or not penalty > 0:
            raise ConfigError(
                f"a logistic probe needs 2 or more classes and a penalty above 0, got {classes} "
                f"and {penalty}"
            )
        self.classes, self.penalty = classes, penalty
        self.max_iterations, self.tolerance = max_iterations, tolerance
        self.weights_: NDArray[np.float64] = np.empty((0, 0))
        self.intercept_: NDArray[np.float64] = np.empty(0)

    def fit(self, rows: Floats, labels: Ints, start: LogisticProbe | None = None) -> LogisticProbe:
        """Fit on prepared rows (N, D) and labels (N, H), from another probe's weights if given."""
        from scipy.optimize import minimize

        if len(rows) != len(labels) or len(rows) == 0:
            raise InputError(f"{len(labels)} labels were given for {len(rows)} rows: give as many")
        self.prior_ = class_shares(labels, self.classes)
        # In whitened coordinates the loss curves alike everywhere: tens of steps, not thousands.
        spread = 1 / np.sqrt(
            _CURVATURE * np.mean(rows.astype(np.float64) ** 2, axis=0) + self.penalty
        )
        scaled = rows * spread.astype(rows.dtype)
        ridge = self.penalty * spread**2
        targets = _targets(labels, self.classes).astype(rows.dtype)
        shape = (rows.shape[1] + 1, targets.shape[1])
        first = np.zeros(shape)
        if start is None:
            first[-1] = _prior_logits(self.prior_, self.classes)
        else:
            first[:-1], first[-1] = start.weights_ / spread[:, None], start.intercept_
        found = minimize(
            lambda flat: _loss_and_slope(flat.reshape(shape), scaled, targets, ridge, self.classes),
            first.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": self.max_iterations,
                "ftol": self.tolerance,
                "gtol": min(1e-6, self.tolerance),
            },
        )
        solved = found.x.reshape(shape)
        self.weights_ = solved[:-1] * spread[:, None]
        self.intercept_ = solved[-1]
        self.iterations_ = int(found.nit)
        return self

    def predict(self, rows: Floats) -> Floats:
        """Probabilities of the classes of each head, (N, H, K)."""
        logits = rows @ self.weights_.astype(rows.dtype) + self.intercept_.astype(rows.dtype)
        return probabilities(logits, self.classes)


def one_thread() -> AbstractContextManager[object]:
    """Within it linear algebra keeps to one thread, and afterwards to as many as before.

    Many small products gain nothing by a second thread, and lose much where cores are shared; and
    sums are taken in one order, so that the same seed gives the same digits.
    """
    import scipy.optimize  # noqa: F401  its own linear algebra must be loaded to be limited
    import torch  # noqa: F401  the same
    from threadpoolctl import threadpool_limits

    limited: AbstractContextManager[object] = threadpool_limits(limits=1)
    return limited


def class_shares(labels: Ints, classes: int) -> NDArray[np.float64]:
    """The share of each class among labels (N, H), each class counted once more: (H, K)."""
    counts = np.stack([(labels == k).sum(axis=0) for k in range(classes)], axis=1)
    return np.asarray((counts + 1) / (len(labels) + classes))


def probabilities(logits: Floats, classes: int) -> Floats:
    """Softmax of each head, (N, H, K); two classes have one logit, of the second."""
    from scipy.special import expit, softmax

    if classes == 2:
        second = expit(logits)
        return np.stack([1 - second, second], axis=-1)
    return np.asarray(softmax(logits.reshape(len(logits), -1, classes), axis=-1))


def _targets(labels: Ints, classes: int) -> NDArray[np.bool_]:
    """What the columns of logits should say: (N, H) for two classes, else (N, H x K)."""
    if classes == 2:
        return np.asarray(labels == 1)
    hot = labels[:, :, None] == np.arange(classes)
    return np.asarray(hot.reshape(len(labels), -1))


def _prior_logits(prior: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    logits = np.log(prior)
    return logits[:, 1] - logits[:, 0] if classes == 2 else logits.ravel()


def _loss_and_slope(
    theta: NDArray[np.float64],
    rows: Floats,
    targets: Floats,
    ridge: NDArray[np.float64],
    classes: int,
) -> tuple[float, NDArray[np.float64]]:
    n, kind = len(rows), rows.dtype
    logits = rows @ theta[:-1].astype(kind) + theta[-1].astype(kind)
    if classes == 2:
        exponent = np.exp(-np.abs(logits))
        lost = np.maximum(logits, 0) - targets * logits + np.log1p(exponent)
        loss = lost.sum(dtype=np.float64) / n
        share = np.where(logits >= 0, 1, exponent) / (1 + exponent)
    else:
        heads = logits.reshape(n, -1, classes)
        heads -= heads.max(axis=-1, keepdims=True)
        share = np.exp(heads)
        total = share.sum(axis=-1, keepdims=True)
        loss = np.log(total).sum(dtype=np.float64) - (heads.reshape(n, -1) * targets).sum(
            dtype=np.float64
        )
        loss /= n
        share = (share / total).reshape(n, -1)
    error = share - targets
    slope = np.empty_like(theta)
    slope[:-1] = rows.T @ error / n + ridge[:, None] * theta[:-1]
    slope[-1] = error.mean(axis=0, dtype=np.float64)
    loss += 0.5 * float((ridge[:, None] * theta[:-1] ** 2).sum())
    return float(loss), slope.ravel()


def cross_entropy(predicted: Floats, labels: Ints) -> float:
    """Mean over rows and heads of -ln p(true class), in nats."""
    true = np.take_along_axis(predicted, labels[:, :, None], axis=-1)
    return float(-np.log(np.maximum(true, 1e-12)).mean())
