"""Which tokens are asked to be repeated, and what the answers say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.embeddings.untrained_prompts import (
    SHOTS,
    TEMPLATES,
    VERIFIED_BELOW,
    Repeated,
    repeat_probabilities,
)

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

MOST_CANDIDATES, CONTROLS, MOST_KNOWN = 128, 64, 16
CONTROL_REPEATED = 0.9
"""Share of ordinary tokens that a model must repeat for its answers to verify anything."""
CANDIDATE, CONTROL, REFERENCE, SPECIAL = "candidate", "control", "reference", "special"


@dataclass(frozen=True, slots=True)
class Verification:
    """The tokens asked, (n,), why each was, and the best probability over all templates."""

    ids: Ints
    why: tuple[str, ...]
    repeated: Repeated

    def best(self, why: str) -> Floats:
        """The best probabilities of the tokens that were asked for one reason."""
        return self.repeated.best[[other == why for other in self.why]]

    @property
    def can_verify(self) -> bool:
        """Whether the model repeats ordinary tokens, so that not repeating one says something."""
        control = self.best(CONTROL)
        return bool(len(control)) and float(np.mean(control >= VERIFIED_BELOW)) >= CONTROL_REPEATED


def verify_tokens(
    subject: Subject,
    candidates: Ints,
    reference: Ints,
    ordinary: Flags,
    generator: np.random.Generator,
    start_ids: Sequence[int] = (),
) -> Verification | None:
    """Ask for candidates and, as control, for random tokens of the others that `ordinary` marks.

    Some rows of the reference, which no model should repeat, and special tokens are asked too. Of
    more than MOST_CANDIDATES the lowest half is asked and as many evenly spaced among the rest.
    None where the model has too short a context, or too few tokens are left for the control.
    """
    assert subject.model is not None
    assert subject.tokens is not None
    others = np.setdiff1d(np.flatnonzero(ordinary), candidates)
    special = np.array([row for row in sorted(subject.special) if subject.usable[row]], np.int64)
    words = np.array([row for row in others if _is_word(subject.tokens[row])], dtype=np.int64)
    pool = words if len(words) >= SHOTS * len(TEMPLATES) else others
    if len(others) < 2 * SHOTS * len(TEMPLATES):
        return None
    examples = generator.choice(pool, SHOTS * len(TEMPLATES), replace=False)
    left = np.setdiff1d(others, examples)
    control = generator.choice(left, min(CONTROLS, len(left)), replace=False)
    groups = (
        (CANDIDATE, some(candidates, MOST_CANDIDATES)),
        (CONTROL, np.sort(control)),
        (REFERENCE, reference[:MOST_KNOWN]),
        (SPECIAL, np.setdiff1d(special, reference)[:MOST_KNOWN]),
    )
    ids = np.concatenate([chosen for _, chosen in groups]).astype(np.int64)
    why = tuple(name for name, chosen in groups for _ in chosen)
    repeated = repeat_probabilities(
        subject.model, subject.tokenizer, ids, examples, start_ids=start_ids
    )
    return Verification(ids, why, repeated) if repeated.templates else None


def some(ids: Ints, most: int) -> Ints:
    """At most `most` of the ids: the first half, and as many evenly spaced among the rest."""
    if len(ids) <= most:
        return ids
    first = most // 2
    places = np.linspace(first, len(ids) - 1, most - first).astype(np.int64)
    return np.concatenate([ids[:first], ids[places]])


def _is_word(token: bytes) -> bool:
    return len(token) > 3 and token[:1] == b" " and token[1:].isalpha()
