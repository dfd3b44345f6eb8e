"""The experiments that there are: what each claims, what it costs, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One experiment. Minutes are those of two cores with nothing else to do."""

    name: str
    question: str
    claims: tuple[str, ...]
    quick: str
    full: str
    needs: str


ENTRIES = (
    Entry(
        name="strawberry",
        question="Is the failure to count letters caused by tokenization?",
        claims=("counting-is-tokenization",),
        quick="5 arms, 1 seed: about 4 minutes",
        full="5 arms, 6 seeds: about 20 minutes",
        needs="no input: its words come with symspellpy",
    ),
    Entry(
        name="positions",
        question="How does a transformer know order?",
        claims=("position-is-added", "rope-is-relative"),
        quick="5 schemes, 1 seed: at most 4 minutes",
        full="5 schemes, 8 seeds: at most 25 minutes",
        needs="no input: its text is the generated world and the built-in English",
    ),
    Entry(
        name="heads",
        question="What are attention heads, and how few will do?",
        claims=("heads-are-projections", "grouped-queries"),
        quick="8 arms, 2 seeds: at most 4 minutes",
        full="8 arms, 6 seeds: at most 15 minutes",
        needs="no input: its text is the generated world and the built-in English",
    ),
    Entry(
        name="ladder",
        question="What does each step of the modern stack bring?",
        claims=("the-modern-stack",),
        quick="12 models, 1 seed: at most 5 minutes",
        full="12 models, 8 seeds: at most 40 minutes",
        needs="no input: its text is the generated world and the built-in English",
    ),
)
