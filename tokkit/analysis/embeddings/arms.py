"""What the rows of the strawberry arms know of letters, and whether knowing predicts counting."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.arms_claim import HIDDEN, Numbers, mechanism_claim
from tokkit.analysis.embeddings.arms_knowledge import (
    FOLDS,
    Told,
    knowledge,
    presence_scores,
    slopes,
    tell_all,
    without_strata,
)
from tokkit.analysis.embeddings.arms_reading import MEASURES, ArmsRun, read_arms
from tokkit.analysis.embeddings.spelling_labels import spelling_tasks
from tokkit.analysis.embeddings.spelling_tables import numbers, three
from tokkit.analysis.probing import PREPROCESSING, one_thread
from tokkit.analysis.probing_scores import Scores, bounds, group_weights
from tokkit.analysis.probing_splits import shuffled_task
from tokkit.analysis.section import Section
from tokkit.results import Column, Result, Table, collect_provenance

KIND = "analysis.spelling-arms"
RESAMPLES = 1000
_MOST_TOKENS = 3  # numbers of tokens in a word that make a stratum; more count with it
_STAGES = {
    "before": "before training",
    "after": "after training",
    "shuffled": "after, shuffled letters",
}


def analyze_arms(folder: str | Path, *, seed: int = 0) -> Result:
    """What the arms of a finished strawberry run know, as a result of kind KIND.

    Raises ArtifactError where the folder holds no whole run.
    """
    from tokkit.files import sha256

    started = time.perf_counter()
    found = arms_section(folder, seed=seed)
    files = [
        Path(folder) / "questions.json",
        *sorted(Path(folder).glob("models/*/model.safetensors")),
    ]
    inputs = {str(file.relative_to(folder)): sha256(file) for file in files}
    return Result(
        kind=KIND,
        title="What the rows of each arm know of letters",
        settings={"seed": seed, "folds": FOLDS, "resamples": RESAMPLES},
        values={**found.values, "left_out": dict(found.left_out)},
        tables=found.tables,
        claims=found.claims,
        provenance=collect_provenance(
            seeds=[seed], inputs=inputs, wall_seconds={"analyse": time.perf_counter() - started}
        ),
    )


@dataclass(frozen=True, slots=True)
class _Weights:
    """Resampled tokens (B, T), seeds (B, S), and questions of each measure (B, J)."""

    tokens: NDArray[np.float32]
    seeds: NDArray[np.float64]
    questions: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Arms:
    """A run with all that probes told of it."""

    run: ArmsRun
    told: Mapping[tuple[str, int, str], Told]
    counts: NDArray[np.int64]
    weights: _Weights
    seed: int

    def presence(self, arm: str, stage: str, tokens: str) -> Scores:
        """Balanced accuracy of an arm on known or novel tokens: (B,)."""
        ones = self.run.of(arm)
        labels = [
            shuffled_labels(self.run, self.seed, one.seed) if stage == "shuffled" else self.counts
            for one in ones
        ]
        of = self.run.known if tokens == "known" else self.run.novel
        told = [self.told[arm, one.seed, stage] for one in ones]
        return presence_scores(told, labels, of, self.weights.tokens, self.weights.seeds)

    def predicted(self, arms: Sequence[str], measure: str, stage: str) -> tuple[Scores, Scores]:
        """Slope and correlation of being right on knowing, of some arms together."""
        asked = self.run.asked[measure]
        many = np.array([min(len(tokens), _MOST_TOKENS) for tokens in asked.tokens])
        strata = asked.truths * (_MOST_TOKENS + 1) + many
        known, right = [], []
        for arm in arms:
            ones = self.run.of(arm)
            by_seed = [
                knowledge(self.told[arm, one.seed, stage], asked, self.counts) for one in ones
            ]
            known.append(without_strata(np.stack(by_seed), strata))
            right.append(without_strata(np.stack([one.right[measure] for one in ones]), strata))
        weights = self.weights.questions[measure]
        return slopes(np.stack(known), np.stack(right), weights, self.weights.seeds)


def shuffled_labels(run: ArmsRun, seed: int, of: int) -> NDArray[np.int64]:
    """The labels that the probes of stage "shuffled" were fitted on."""
    task = spelling_tasks(run.words)["count"]
    return shuffled_task(task, np.random.default_rng([seed, of, 12])).labels


def arms_section(folder: str | Path, *, seed: int) -> Section:
    """Tables arms_knowledge, arms_prediction, arms_accuracy, and the claim on the mechanism.

    Words and seeds are resampled crossed (Owen 2007); the same resamples serve every arm.
    Raises ArtifactError where the folder holds no whole run.
    """
    run = read_arms(folder)
    generator = np.random.default_rng([seed, 13])
    seeds = len(run.of(run.arms()[0]))
    drawn = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES + 1)
    drawn[0] = 1
    weights = _Weights(
        group_weights(np.arange(len(run.words)), RESAMPLES, generator),
        drawn.astype(np.float64),
        {
            measure: group_weights(np.arange(len(asked.tokens)), RESAMPLES, generator)
            for measure, asked in run.asked.items()
        },
    )
    counts = spelling_tasks(run.words)["count"].labels
    with one_thread():
        told = tell_all(run, seed)
    arms = _Arms(run, told, counts, weights, seed)
    claim = mechanism_claim(
        _claimed(arms),
        arms=run.arms(),
        words=len(run.asked["count R"].tokens),
        tokens=int(run.novel.sum()),
    )
    return Section(
        values={
            "arms": list(run.arms()),
            "seeds": seeds,
            "known_tokens": int(run.known.sum()),
            "novel_tokens": int(run.novel.sum()),
            "preprocessing": PREPROCESSING,
            "knowledge": "the probe's probability of the asked letter's true counts in all tokens "
            "of the word, less the same by the letter's frequency",
        },
        tables={
            "arms_knowledge": _knowledge_table(arms),
            "arms_prediction": _prediction_table(arms),
            "arms_accuracy": _accuracy_table(arms),
        },
        claims=(claim,),
        left_out={
            "tokens neither trained on nor novel": int((~run.known & ~run.novel).sum()),
        },
    )


def _claimed(arms: _Arms) -> Numbers:
    """The intervals that the claim's rule asks for, where their arms were trained."""
    have = set(arms.run.arms())
    found: dict[str, Scores] = {}
    if set(HIDDEN) <= have:
        gains = [
            arms.presence(arm, "after", "novel") - arms.presence(arm, "before", "novel")
            for arm in HIDDEN
        ]
        found["gain_hidden"] = np.mean(gains, axis=0)
        found["slope"] = arms.predicted(HIDDEN, "count R", "after")[0]
        found["slope_before"] = arms.predicted(HIDDEN, "count R", "before")[0]
    if {"letters", "bpe"} <= have:
        shown, hidden = (arms.presence(arm, "after", "novel") for arm in ("letters", "bpe"))
        found["letters_minus_bpe"] = shown - hidden
    if "char" in have:
        found["char"] = arms.presence("char", "after", "novel")
    of_shuffled = [arms.presence(arm, "shuffled", "known") for arm in arms.run.arms()]
    found["shuffled"] = np.mean(of_shuffled, axis=0)
    return {name: bounds(values) for name, values in found.items()}


def _knowledge_table(arms: _Arms) -> Table:
    rows = [
        (arm, tokens, said, *numbers(arms.presence(arm, stage, tokens)), int(of.sum()))
        for arm in arms.run.arms()
        for tokens, of in (("known", arms.run.known), ("novel", arms.run.novel))
        for stage, said in _STAGES.items()
    ]
    columns = (
        Column("arm", "Arm"),
        Column("tokens", "Tokens"),
        Column("stage", "Rows"),
        *three("value", "Balanced accuracy, letter present or not", ""),
        Column("n", "Tokens", "tokens"),
    )
    return Table("What the rows know of their letters", columns, tuple(rows))


def _prediction_table(arms: _Arms) -> Table:
    rows: list[tuple[Any, ...]] = []
    have = arms.run.arms()
    groups: dict[str, tuple[str, ...]] = {arm: (arm,) for arm in have}
    if set(HIDDEN) <= set(have):
        groups["hidden arms"] = HIDDEN
    for name, of in groups.items():
        for measure, tokens in MEASURES.items():
            slope, correlation = arms.predicted(of, measure, "after")
            before, _ = arms.predicted(of, measure, "before")
            n = len(arms.run.asked[measure].tokens)
            rows.append(
                (name, measure, tokens, *numbers(slope), *numbers(correlation), *numbers(before), n)
            )
    columns = (
        Column("arm", "Arm"),
        Column("measure", "Measure"),
        Column("tokens", "Tokens"),
        *three("slope", "Right answers on knowledge", "accuracy from 0 to 1"),
        *three("correlation", "Correlation (point-biserial)", ""),
        *three("before", "The same, rows before training", "accuracy from 0 to 1"),
        Column("n", "Words", "words"),
    )
    title = "Whether knowing predicts counting, within true counts and numbers of tokens"
    return Table(title, columns, tuple(rows))


def _accuracy_table(arms: _Arms) -> Table:
    """Knowledge beside accuracy, arm by arm, with the seeds apart."""
    rows = []
    for arm in arms.run.arms():
        for one in arms.run.of(arm):
            for measure, tokens in MEASURES.items():
                asked = arms.run.asked[measure]
                known = {
                    stage: knowledge(arms.told[arm, one.seed, stage], asked, arms.counts).mean()
                    for stage in ("before", "after")
                }
                right = float(one.right[measure].mean())
                rows.append((arm, one.seed, measure, tokens, *map(float, known.values()), right))
    columns = (
        Column("arm", "Arm"),
        Column("seed", "Seed"),
        Column("measure", "Measure"),
        Column("tokens", "Tokens"),
        Column("before", "Knowledge of the asked words before training", "probability"),
        Column("after", "Knowledge of the asked words after training", "probability"),
        Column("accuracy", "Right answers", "proportion"),
    )
    return Table("Knowledge and counting, arm by arm", columns, tuple(rows))
