"""The claim one-token-at-a-time, put to the test on a text that a model has just written.

RULE and the bounds were fixed before the first run. Every choice is made again from a fresh pass
over the whole text so far, without any memory of the steps before; and tokens are changed, to see
which predictions change with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokkit.model.sampling import Chooser, SamplingConfig
from tokkit.model.transformer import Transformer
from tokkit.probes.continuation import Continuation
from tokkit.results import Claim, Control, Evidence, Verdict

PROBABILITY_BOUND = 1e-3  # float32, other shapes of matrix product
LEAST_CHANGE = 1e-6  # of a probability, that tells one prediction from another
EDITS = 8  # places of a text that are edited, spread over it
_MIXTURE_BOUND = 1e-4
_MOST_PROBABILITIES = 1 << 25  # of one text, tokens times vocabulary: 128 MiB

STATEMENT = (
    "The text came out one next-token prediction after another: each token was chosen from the "
    "model's prediction for the text up to there, and from nothing else."
)
RULE = (
    "Supported if the control holds, every choice is found again by a fresh pass over the text so "
    f"far, no probability differs by more than {PROBABILITY_BOUND}, and no earlier prediction "
    "changes when a later token is edited: by exactly 0, or, for a mixture of experts, whose "
    f"matrix products change their shape with the edit, by at most {_MIXTURE_BOUND}. Contradicted "
    "if the control holds and an earlier prediction changes by more than 0.01, or fewer than 9 in "
    "10 choices are found again. Inconclusive otherwise, or if the control fails."
)
LIMITS = (
    "It speaks of the texts generated here, with this model and these settings.",
    "It shows how text is made, not what the model had worked out inside before it wrote: a "
    "prediction can hold a plan for more than one token.",
    "With sampling, the random number of each step is drawn again from the same seed.",
)


@dataclass(frozen=True, slots=True)
class Recomputed:
    """One step, made again: its choice, and the probability of the token that was taken."""

    id: int
    probability: float


@torch.inference_mode()
def recompute(
    model: Transformer, found: Continuation, sampling: SamplingConfig, seed: int
) -> list[Recomputed]:
    """Each choice anew, from a pass over all of the text before it. `seed` is the row's own."""
    device = model.embedding.device
    chooser = Chooser(
        sampling,
        [found.prompt_ids],
        [seed],
        vocab_size=model.config.vocab_size,
        max_new_tokens=len(found.ids),
        device=device,
    )
    ids = torch.tensor([[*found.prompt_ids, *found.ids]], device=device)
    start, again = len(found.prompt_ids), []
    for step, taken in enumerate(found.ids):
        logits = model(ids[:, : start + step])[:, -1]
        chosen = int(chooser(logits, step)[0])
        again.append(Recomputed(chosen, float(logits.float().softmax(-1)[0, taken])))
    return again


@torch.inference_mode()
def edit_effects(model: Transformer, ids: Sequence[int]) -> tuple[float, float]:
    """What an edit of one token changes: (before it at most, from it on at least).

    Both are probabilities' largest differences, over up to EDITS places of the text; the first
    over all predictions left of the edit, the second over those from it on, the least of all
    edits. The text must have two tokens or more; of a long one only the beginning is looked at,
    as much as memory allows.
    """
    device, vocab = model.embedding.device, model.config.vocab_size
    ids = ids[: min(model.config.context, max(2, _MOST_PROBABILITIES // vocab))]
    row = torch.tensor([list(ids)], device=device)
    plain = _probabilities(model, row)
    before, after = 0.0, 1.0
    places = torch.linspace(1, len(ids) - 1, min(EDITS, len(ids) - 1)).long().tolist()
    for place in places:
        edited = row.clone()
        edited[0, place] = (edited[0, place] + 1 + vocab // 3) % vocab
        if edited[0, place] == row[0, place]:
            edited[0, place] = (edited[0, place] + 1) % vocab
        change = (_probabilities(model, edited) - plain).abs().amax(-1)
        before = max(before, float(change[:place].max()))
        after = min(after, float(change[place:].max()))
    return before, after


def _probabilities(model: Transformer, row: Tensor) -> Tensor:
    """Of every next token at every place of one text: (T, V)."""
    logits: Tensor = model(row)[0]
    return logits.float().softmax(-1)


def one_at_a_time(
    model: Transformer,
    found: Sequence[Continuation],
    again: Sequence[Sequence[Recomputed]],
) -> Claim:
    """The claim with its evidence, from continuations and what `recompute` made of each."""
    pairs = [
        (step, other)
        for continuation, row in zip(found, again, strict=True)
        for step, other in zip(continuation.steps, row, strict=True)
    ]
    same = sum(step.id == other.id for step, other in pairs) / len(pairs)
    apart = max(abs(step.probability - other.probability) for step, other in pairs)
    texts = [[*continuation.prompt_ids, *continuation.ids] for continuation in found]
    effects = [edit_effects(model, ids) for ids in texts]
    before, after = max(e[0] for e in effects), min(e[1] for e in effects)
    control = Control(
        "an edit changes predictions from it on, by at least", after, LEAST_CHANGE,
        after >= LEAST_CHANGE,
    )  # fmt: skip
    bound = _MIXTURE_BOUND if model.config.experts else 0.0
    return Claim(
        id="one-token-at-a-time",
        statement=STATEMENT,
        verdict=_verdict(control, same=same, apart=apart, before=before, bound=bound),
        rule=RULE,
        evidence=(
            Evidence("choices found again by a fresh pass", same, "share", n=len(pairs)),
            Evidence("largest difference to the fresh pass", apart, "probability", n=len(pairs)),
            Evidence(
                "largest change of a prediction before an edit", before, "probability",
                n=sum(min(EDITS, len(ids) - 1) for ids in texts),
            ),
        ),
        controls=(control,),
        limits=LIMITS,
    )  # fmt: skip


def _verdict(
    control: Control, *, same: float, apart: float, before: float, bound: float
) -> Verdict:
    if not control.holds:
        return "inconclusive"
    if same < 0.9 or before > 0.01:
        return "contradicted"
    exact = same == 1 and apart <= PROBABILITY_BOUND and before <= bound
    return "supported" if exact else "inconclusive"
