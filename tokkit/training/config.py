"""How to train: the settings of a run, and the learning rate that they give each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tokkit.errors import ConfigError, unknown_choice

SCHEDULES = ("cosine", "stable-decay")
PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How to train; checked when made (ConfigError)."""

    steps: int
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    schedule: str = "cosine"  # stable-decay: constant, then a line down over the last steps
    decay_share: float = 0.2  # of the steps, with stable-decay
    final_fraction: float = 0.1  # of the learning rate, reached at the last step
    weight_decay: float = 0.01  # of matrices that multiply, not of tables or norms
    beta1: float = 0.9
    beta2: float = 0.98
    clip_norm: float = 1.0
    precision: str = "float32"  # bf16: of the products; parameters and moments stay float32
    patience_steps: int = 0  # so long may the loss be far above its level; 0: for ever
    log_every: int = 50  # steps between lines of metrics
    evaluate_every: int = 0  # steps between evaluations; 0: at the end only
    save_seconds: float = 20.0  # between states for going on; the last step is always saved

    def __post_init__(self) -> None:
        for name in ("steps", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("warmup_steps", "evaluate_every", "save_seconds", "patience_steps"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise ConfigError(f"weight_decay must be 0 or above, finite, got {self.weight_decay}")
        for name in ("learning_rate", "clip_norm"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ConfigError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be from 0 to below 1, got {getattr(self, name)}")
        for name in ("final_fraction", "decay_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        for name, choices in (("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in choices:
                raise ConfigError(unknown_choice(name, getattr(self, name), choices))

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0.

        Linear warm-up; then a cosine (Loshchilov and Hutter 2017, equation 5), or constant until
        the last `decay_share` of the steps and a line down over these (Hu et al. 2024, MiniCPM,
        equation 1, with a line as the decay).
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "cosine":
            progress = (step - self.warmup_steps) / max(1, self.steps - 1 - self.warmup_steps)
            left = (1 + math.cos(math.pi * min(1.0, progress))) / 2
        else:
            decay_steps = max(1, round(self.decay_share * self.steps))
            left = min(1.0, max(0.0, (self.steps - 1 - step) / decay_steps))
            if self.decay_share == 0:
                left = 1.0
        return self.learning_rate * (self.final_fraction + (1 - self.final_fraction) * left)
