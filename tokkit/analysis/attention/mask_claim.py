"""The claim causal-mask: which models and paths are looked at, and the rule of the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokkit.analysis.attention.mask import (
    MIXTURE_ROUNDING,
    CacheCheck,
    Leak,
    Path,
    cache_checks,
    leak,
)
from tokkit.analysis.section import Section
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.results import Claim, Column, Control, Evidence, Table, Verdict

CONTROL_FLOOR = 1e-2
CACHE_ROUNDING = 1e-4  # of the logits' spread: other kernels add in another order
OWN = "this model"
_TOKENS, _TOKENS_OF_LARGE = 10, 6
_LARGE = 5e7  # parameters
_VOCAB, _WINDOW = 53, 4

RULE = (
    "Supported where, in every path of this model and of small random models, no change of a later "
    "token changes any bit of an earlier logit and no gradient reaches a later token, exactly 0 "
    f"(with a mixture of experts logits may differ by {MIXTURE_ROUNDING} of their spread, for "
    "their kernels' shapes change), later tokens change nothing that a cache holds, reading by a "
    f"cache gives the logits of the plain pass within {CACHE_ROUNDING} of their spread; and every "
    f"control, the mask taken away or another token in the cache, deviates by more than "
    f"{CONTROL_FLOOR}. Contradicted where something comes from the right; inconclusive where a "
    "control does not deviate."
)
_SMALL: dict[str, dict[str, Any]] = {
    "multi-head, rotary": {},
    "grouped queries": {"key_value_heads": 2},
    "multi-query": {"key_value_heads": 1},
    "sliding window": {"attention_pattern": "sf", "window": _WINDOW},
    "soft-capped": {"attention_softcap": 5.0, "key_value_heads": 2},
    "ALiBi": {"positions": "alibi"},
    "learned positions": {"positions": "learned"},
    "post-norm": {"norm_place": "post"},
    "mixture of experts": {"experts": 4, "experts_per_token": 2},
}


@dataclass(frozen=True, slots=True)
class PathFound:
    """One path of one model, with its control."""

    model: str
    path: str
    tolerance: float
    found: Leak
    control: Leak

    @property
    def holds(self) -> bool:
        """Whether nothing came from the right."""
        return self.found.largest_logit <= self.tolerance and self.found.largest_gradient == 0

    @property
    def control_fails(self) -> bool:
        """Whether the missing mask shows in the logits and in the gradients."""
        return min(self.control.largest_logit, self.control.largest_gradient) > CONTROL_FLOOR


def paths(tokens: int) -> tuple[Path, ...]:
    """The paths of every model, of this many tokens."""
    return (
        Path("one pass"),
        Path("one pass, attention step by step", stepwise=True),
        Path("after a cache", cached=tokens // 3),
        Path("packed documents", documents=True),
        Path("padded on the left", padding=tokens // 4),
    )


def small_models(seed: int) -> dict[str, Transformer]:
    """Random transformers of each kind of attention."""
    sizes = {"vocab_size": _VOCAB, "width": 32, "layers": 2, "query_heads": 4, "context": 32}
    return {
        name: Transformer(ModelConfig(**(sizes | changed)), seed=seed).eval()
        for name, changed in _SMALL.items()
    }


def mask_section(model: Transformer, ids: Tensor, seed: int) -> Section:
    """Every path of this model on its text (1, T), and of small random models."""
    large = sum(p.numel() for p in model.parameters()) > _LARGE
    own = ids[:, : _TOKENS_OF_LARGE if large else _TOKENS]
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(_VOCAB, (1, _TOKENS), generator=generator)
    found, caches = [], []
    for name, one, row in (
        (OWN, model, own),
        *((kind, small, text) for kind, small in small_models(seed).items()),
    ):
        tolerance = MIXTURE_ROUNDING if one.config.experts else 0.0
        for path in paths(row.shape[1]):
            if row.shape[1] - path.cached < 2 or path.padding >= row.shape[1]:
                continue
            pair = (leak(one, row, path, seed, masked=masked) for masked in (True, False))
            found.append(PathFound(name, path.name, tolerance, *pair))
        if row.shape[1] > 2:
            caches += [(name, check) for check in cache_checks(one, row, seed)]
    values = {
        "mask_pairs": sum(one.found.pairs for one in found),
        "mask_largest_logit_change": max(one.found.largest_logit for one in found),
        "mask_largest_gradient": max(one.found.largest_gradient for one in found),
        "mask_tokens_of_this_model": own.shape[1],
    }
    tables = {
        "mask": mask_table(found),
        "cache": cache_table(caches),
        "mask_map": _map_table(found[0]),
    }
    return Section(values, tables, (mask_claim(found, caches),))


def mask_claim(found: Sequence[PathFound], caches: Sequence[tuple[str, CacheCheck]]) -> Claim:
    """causal-mask, by RULE."""
    whole = all(one.holds for one in found)
    whole &= all(c.changed == 0 and c.difference <= CACHE_ROUNDING for _, c in caches)
    controls = _controls(found, caches)
    verdict: Verdict = "supported" if whole else "contradicted"
    if not all(control.holds for control in controls):
        verdict = "inconclusive"
    return Claim(
        id="causal-mask",
        statement=(
            "Nothing to the right of a token reaches it: later tokens change neither its logits "
            "nor receive gradients from them, in every path of the model."
        ),
        verdict=verdict,
        rule=RULE,
        evidence=_evidence(found, caches),
        controls=controls,
        limits=(
            "Shown of this implementation on a CPU in float32, on the tokens read here; other "
            "kernels and devices may round by what stands beside.",
            "A gradient is taken along one random direction of the logits at each place: a "
            "derivative that this direction misses by chance has probability 0.",
            f"Where a model's own window is longer than the {_TOKENS} tokens read, its sliding "
            f"layers are shown by the small model with a window of {_WINDOW} alone.",
        ),
    )


def _evidence(
    found: Sequence[PathFound], caches: Sequence[tuple[str, CacheCheck]]
) -> tuple[Evidence, ...]:
    """The largest of each kind, of this model and of the small ones apart."""
    evidence = []
    for of, mine in (("this model", True), ("small random models", False)):
        own = [one for one in found if (one.model == OWN) is mine]
        if not own:
            continue
        pairs = sum(one.found.pairs for one in own)
        named = f"{of}, {len(own)} paths"
        evidence += [
            Evidence(f"largest change of an earlier logit ({named})",
                     max(one.found.largest_logit for one in own), "of the logits' spread", n=pairs),
            Evidence(f"largest gradient to the right ({named})",
                     max(one.found.largest_gradient for one in own), "of the largest", n=pairs),
        ]  # fmt: skip
    if caches:
        evidence += [
            Evidence("reading by a cache against one pass, largest difference",
                     max(c.difference for _, c in caches), "of the logits' spread", n=len(caches)),
            Evidence("largest change of what a cache holds by later tokens",
                     max(c.changed for _, c in caches), "", n=len(caches)),
        ]  # fmt: skip
    return tuple(evidence)


def _controls(
    found: Sequence[PathFound], caches: Sequence[tuple[str, CacheCheck]]
) -> tuple[Control, ...]:
    """The weakest of each kind of control: one that does not deviate is enough."""
    controls = [
        Control(
            f"the mask taken away: largest {what} from the right, smallest over {len(found)} paths",
            lowest, CONTROL_FLOOR, lowest > CONTROL_FLOOR,
        )
        for what, lowest in (
            ("change of a logit", min(one.control.largest_logit for one in found)),
            ("gradient", min(one.control.largest_gradient for one in found)),
        )
    ]  # fmt: skip
    smallest = min(one.found.sees_itself for one in found)
    controls.append(
        Control("a token's own logits move when it is changed, the least", smallest, 0.0,
                smallest > 0)
    )  # fmt: skip
    if caches:
        lowest = min(check.control for _, check in caches)
        controls.append(
            Control("another first token in the cache shows in the logits", lowest, CONTROL_FLOOR,
                    lowest > CONTROL_FLOOR)
        )  # fmt: skip
    return tuple(controls)


def mask_table(found: Sequence[PathFound]) -> Table:
    """A row a model and path."""
    columns = (
        Column("model", "Model"),
        Column("path", "Path"),
        Column("pairs", "Pairs of places"),
        Column("logit", "Largest change of an earlier logit", "of the logits' spread"),
        Column("gradient", "Largest gradient to the right", "of the largest"),
        Column("tolerance", "Allowed of the logits"),
        Column("holds", "Holds"),
        Column("control_logit", "Mask taken away: logit", "of the logits' spread"),
        Column("control_gradient", "Mask taken away: gradient", "of the largest"),
        Column("control_fails", "Control fails"),
    )
    rows = tuple(
        (
            one.model, one.path, one.found.pairs, one.found.largest_logit,
            one.found.largest_gradient, one.tolerance, one.holds, one.control.largest_logit,
            one.control.largest_gradient, one.control_fails,
        )
        for one in found
    )  # fmt: skip
    return Table("What comes from the right, path by path", columns, rows)


def cache_table(caches: Sequence[tuple[str, CacheCheck]]) -> Table:
    """A row a model and engine."""
    columns = (
        Column("model", "Model"),
        Column("engine", "Read by"),
        Column("tokens", "Tokens"),
        Column("difference", "Largest difference from one pass", "of the logits' spread"),
        Column("changed", "Largest change of what the cache holds"),
        Column("control", "Another first token in the cache", "of the logits' spread"),
    )
    rows = tuple(
        (name, c.engine, c.tokens, c.difference, c.changed, c.control) for name, c in caches
    )
    return Table("Reading by a cache", columns, rows)


def _map_table(one: PathFound) -> Table:
    """Changes and gradients of this model in one pass, pair by pair, masked and not."""
    columns = (
        Column("place", "Place of the logits"),
        Column("changed", "Place of the change"),
        Column("logit", "Change of the logits", "of their spread"),
        Column("gradient", "Gradient", "of the largest"),
        Column("unmasked_logit", "... mask taken away", "of their spread"),
        Column("unmasked_gradient", "... mask taken away", "of the largest"),
    )
    rows = tuple(
        (
            *place,
            *(
                float(kind[place])
                for kind in (one.found.logits, one.found.gradients, one.control.logits,
                             one.control.gradients)
            ),
        )
        for place in np.ndindex(*one.found.logits.shape)
    )  # fmt: skip
    return Table("This model in one pass, every pair of places", columns, rows)
