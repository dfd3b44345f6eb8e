"""The next id, from the logits at one place: what is left out, and how one of the rest is drawn.

The order is fixed. 1. The repetition penalty changes the logits. 2. At temperature 0 the largest
is taken, the lowest id among equals, and that is all: no filter ever drops the largest. 3. The
logits are divided by the temperature. 4. top-k, 5. top-p and 6. min-p each leave out some of what
the one before left. 7. One of the rest is drawn by its probability among the rest.

Tokens that are equal stay or go together, so that no filter depends on the order of ids.

Sources: Keskar et al. 2019, section 4.1 (repetition penalty); Fan et al. 2018 (top-k); Holtzman et
al. 2020 (top-p, "nucleus"); Nguyen et al. 2024 (min-p).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokkit.errors import ConfigError

_FIRST_LOOK = 256  # likeliest tokens in which top-p looks for its share before it sorts them all
_TINY, _HUGE = 5e-324, sys.float_info.max
_RANGES = {
    "temperature": ("0 (greedy) or above", 0, _HUGE),
    "top_p": ("above 0 and at most 1 (all tokens)", _TINY, 1),
    "min_p": ("0 (all tokens) or above, and at most 1", 0, 1),
    "repetition_penalty": ("above 0, where 1 changes nothing", _TINY, _HUGE),
}
LARGEST_SEED = 2**62  # of a first row; those of the others follow


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """How the next token is chosen; as it stands, the likeliest. Raises ConfigError when made.

    >>> SamplingConfig(temperature=0.8, top_p=0.95).is_greedy
    False
    """

    temperature: float = 0.0  # 0: the likeliest; above: logits are divided by it
    top_k: int = 0  # how many of the likeliest may be drawn; 0: all
    top_p: float = 1.0  # the fewest likeliest whose probabilities reach this sum; 1: all
    min_p: float = 0.0  # those at least this many times as probable as the likeliest; 0: all
    repetition_penalty: float = 1.0  # above 1: what the text holds already is made less likely

    def __post_init__(self) -> None:
        if isinstance(self.top_k, bool) or not isinstance(self.top_k, int) or self.top_k < 0:
            raise ConfigError(
                f"top_k must be a whole number, 0 (all tokens) or above, got {self.top_k!r}"
            )
        for name, (rule, low, high) in _RANGES.items():
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            # The least number above 0 stands for "above 0".
            if not (number and low <= value <= high):
                raise ConfigError(f"{name} must be {rule}, got {value!r}")

    @property
    def is_greedy(self) -> bool:
        """Whether nothing is drawn."""
        return self.temperature == 0


GREEDY = SamplingConfig()


def penalised(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits (N, V) with those of the `seen` tokens, (N, V) bool, made less likely.

    A positive logit is divided by `penalty`, a negative one multiplied (Keskar et al. 2019,
    section 4.1, for the logits of either sign).
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def filtered(logits: Tensor, config: SamplingConfig) -> Tensor:
    """Steps 3 to 6: logits (N, V) of any float type -> float64, -inf where a token is left out.

    The largest logit of each row is moved to 0, or a temperature near 0 would leave nothing but
    infinities. The temperature must be above 0.
    """
    logits = logits.double()
    logits = (logits - logits.amax(-1, keepdim=True)) / config.temperature
    if 0 < config.top_k < logits.shape[-1]:
        logits = _at_least(logits, logits.topk(config.top_k).values[:, -1:])
    if config.top_p < 1:
        logits = _at_least(logits, _nucleus_bound(logits, config.top_p))
    if config.min_p > 0:
        logits = _at_least(logits, torch.full_like(logits[:, :1], math.log(config.min_p)))
    return logits


def _at_least(logits: Tensor, bound: Tensor) -> Tensor:
    return logits.masked_fill(logits < bound, -math.inf)


def _nucleus_bound(logits: Tensor, top_p: float) -> Tensor:
    """The least logit, (N, 1), of the fewest likeliest tokens that hold `top_p` together."""
    total = logits.logsumexp(-1, keepdim=True)
    size = logits.shape[-1]
    for count in (min(_FIRST_LOOK, size), size):
        best = logits.topk(count).values
        before = (best - total).exp().cumsum(-1).roll(1, -1)  # what the likelier ones hold
        before[:, 0] = 0
        inside = before < top_p
        if count == size or not bool(inside[:, -1].any()):
            break
    return best.gather(1, inside.sum(-1, keepdim=True) - 1)


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """One id of each row of logits (N, V) float64: that at which the sum passes the uniform.

    `uniforms` (N,) float64 lie in [0, 1). Probabilities are summed in the order of ids.
    """
    sums = logits.softmax(-1).cumsum(-1)
    found = torch.searchsorted(sums, uniforms[:, None] * sums[:, -1:], right=True)
    return found[:, 0]


class Chooser:
    """Chooses the next ids of a batch of rows, each of which draws from a generator of its own."""

    def __init__(
        self,
        config: SamplingConfig,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        vocab_size: int,
        max_new_tokens: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._config = config
        self._uniforms: Tensor | None = None  # (steps, N)
        self._seen: Tensor | None = None  # (N, V)
        if not config.is_greedy:
            drawn = [_uniforms(seed, max_new_tokens) for seed in seeds]
            self._uniforms = torch.stack(drawn, dim=1)
        if config.repetition_penalty != 1:
            self._seen = torch.zeros(len(prompts), vocab_size, dtype=torch.bool)
            for row, prompt in enumerate(prompts):
                self._seen[row, torch.as_tensor(prompt)] = True
            self._seen = self._seen.to(device)

    def __call__(self, logits: Tensor, step: int) -> Tensor:
        """The ids (N,) int64 that follow, from logits (N, V), at a step counted from 0."""
        if self._seen is not None:
            logits = penalised(logits, self._seen, self._config.repetition_penalty)
        if self._uniforms is None:
            chosen = logits.argmax(-1)
        else:
            wide = logits.cpu() if logits.device.type == "mps" else logits  # which has no float64
            numbers = self._uniforms[step].to(wide.device)
            chosen = draw(filtered(wide, self._config), numbers).to(logits.device)
        if self._seen is not None:
            self._seen.scatter_(1, chosen[:, None], True)
        return chosen

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order."""
        if self._uniforms is not None:
            self._uniforms = self._uniforms[:, rows.to(self._uniforms.device)]
        if self._seen is not None:
            self._seen = self._seen[rows]


def _uniforms(seed: int, count: int) -> Tensor:
    """The first `count` numbers in [0, 1) of the generator of `seed`, one a step, on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, generator=generator, dtype=torch.float64)
