"""From the answers of the strawberry experiment to its numbers and its figures' data.

Words and seeds are crossed: every seed is asked the same words. The verdict on the numbers is
given in `tokkit.experiments.verdict`.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ArtifactError
from tokkit.experiments.arms import ARMS, Arm, chips, embedding_rows, token_features
from tokkit.experiments.verdict import FACTORIAL, strawberry_claim
from tokkit.files import read_json
from tokkit.probes.tasks import Question, QuestionPool, item_questions, word_question
from tokkit.results import Column, Table
from tokkit.stats import Interval, factorial_permutation, hierarchical_bootstrap, holm, mcnemar
from tokkit.training.loop import read_metrics

if TYPE_CHECKING:
    from tokkit.experiments.strawberry import Prepared, StrawberryConfig
    from tokkit.tokenizer.artifact import Tokenizer

Floats = NDArray[np.float64]
Record = Mapping[str, Any]


class Answers:
    """Answers of all arms and seeds, as arrays (seeds, questions) with the same columns."""

    def __init__(self, folder: Path, config: StrawberryConfig) -> None:
        self.config = config
        self.rows = {
            arm: [_read_rows(folder / "answers" / f"{arm}-{s}.jsonl") for s in range(config.seeds)]
            for arm in config.arms
        }

    def of(self, arm: str, measure: str) -> list[list[Record]]:
        """The answers of each seed, in the order of the questions."""
        return [[row for row in rows if row["measure"] == measure] for rows in self.rows[arm]]

    def correct(self, arm: str, measure: str) -> Floats:
        """1 where right, 0 where wrong: (seeds, questions)."""
        return np.array(
            [
                [float(row["value"] == row["truth"]) for row in rows]
                for rows in self.of(arm, measure)
            ]
        )


def _read_rows(path: Path) -> list[Record]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"answers {path} cannot be read ({error}): run the experiment again"
        ) from error


def find(folder: Path, config: StrawberryConfig) -> dict[str, Any]:
    """Everything a Result needs besides its settings and provenance."""
    from tokkit.experiments.strawberry import (
        LETTER,
        MEASURES,
        WORD,
        load_prepared,
        load_tokenizer,
    )

    answers, prepared = Answers(folder, config), load_prepared(folder)
    generator = np.random.default_rng(0)
    interval = lambda values: hierarchical_bootstrap(values, generator)  # noqa: E731
    baselines = _baselines(prepared, config, load_tokenizer(folder, ARMS["bpe"]))
    accuracy = _accuracy_table(answers, MEASURES, baselines, interval)
    rescue = _rescue_table(answers, interval)
    effects = _effects_table(answers, interval)
    tables = {
        "accuracy": accuracy,
        "rescue": rescue,
        "effects": effects,
        "strawberry": _strawberry_table(answers),
        "curves": _curves_table(folder, config),
        "confusion": _confusion_table(answers, ("count C", "count R", "spelled C")),
        "by_length": _breakdown_table(answers, "letters", "Letters in the word", interval),
        "by_tokens": _breakdown_table(answers, "tokens", "Tokens in the word", interval),
        "by_count": _breakdown_table(answers, "truth", "True count", interval),
    }
    values = {
        "question": word_question(LETTER, WORD).text,
        "truth": WORD.count(LETTER),
        "arms": {
            a: {"letters": ARMS[a].letters, "length": ARMS[a].length, "how": ARMS[a].how}
            for a in config.arms
        },
        "chips": _chips(folder, config, WORD),
        "splits": {
            name: {"words": len(words), "questions": len(prepared.questions[f"count {name}"])}
            for name, words in prepared.splits.items()
        },
        "chance": baselines,
        "arm_wall_seconds": _arm_seconds(folder, config),
    }
    claims = (strawberry_claim(config, accuracy, rescue, effects),)
    return {"values": values, "tables": tables, "claims": claims}


def _arm_seconds(folder: Path, config: StrawberryConfig) -> dict[str, float]:
    """The mean time of one seed, for each arm."""
    from tokkit.experiments.strawberry import DONE_FILE

    def of(name: str) -> float:
        record = read_json(folder / "training" / name / DONE_FILE, what="training record")
        return float(record["wall_seconds"])

    seeds = range(config.seeds)
    return {a: round(sum(of(f"{a}-{s}") for s in seeds) / config.seeds, 1) for a in config.arms}


def _chips(folder: Path, config: StrawberryConfig, word: str) -> dict[str, Any]:
    from tokkit.experiments.strawberry import load_tokenizer

    rows = embedding_rows(load_tokenizer(folder, ARMS["bpe"]))

    def of(arm: Arm) -> list[dict[str, Any]]:
        tokenizer = load_tokenizer(folder, arm)
        return chips(arm, tokenizer, word, token_features(arm, tokenizer, rows=rows, seed=0))

    return {name: of(ARMS[name]) for name in config.arms}


# Baselines: what can be had without counting -----------------------------------------------------


def _baselines(
    prepared: Prepared, config: StrawberryConfig, tokenizer: Tokenizer
) -> dict[str, float]:
    """For each measure the best of three guesses, learned from 20,000 training questions.

    The commonest count; the count likeliest for what is asked and the length of the subject; and
    the count likeliest for how often the asked letter is a BPE token of its own, which every arm
    can see.
    """
    generator = np.random.default_rng(3)
    pool = QuestionPool(prepared.splits["A"], min_words=config.min_cell_words)
    of_words, of_items = pool.draw(20_000, generator), item_questions(20_000, generator)

    def alone(question: Question) -> int:
        return tokenizer.encode(question.subject).count(tokenizer.token_id(question.asked) or 0)

    guesses = (lambda _: None, _length, alone)
    return {
        measure: max(
            _guess(of_items if measure == "items" else of_words, asked, known)
            for known in (guesses[:2] if measure == "items" else guesses)
        )
        for measure, asked in prepared.questions.items()
    }


def _guess(
    training: Sequence[Question],
    asked: Sequence[Question],
    known: Callable[[Question], object],
) -> float:
    """The accuracy of whoever says the likeliest count given what is `known` of a question."""
    overall = Counter(question.truth for question in training)
    given: dict[object, Counter[int]] = defaultdict(Counter)
    for question in training:
        given[known(question)][question.truth] += 1
    right = [(given[known(q)] or overall).most_common(1)[0][0] == q.truth for q in asked]
    return sum(right) / len(right)


def _length(question: Question) -> tuple[str, int]:
    length = len(question.subject.split() if question.task == "items" else question.subject)
    return question.asked, length


# Tables ------------------------------------------------------------------------------------------

_ARM = Column("arm", "Arm")
_MEASURE = Column("measure", "Measure")
_N = Column("n", "Questions", "questions")
_ACCURACY = (
    Column("accuracy", "Accuracy", "proportion"),
    Column("low", "95% low", "proportion"),
    Column("high", "95% high", "proportion"),
)
Bootstrap = Callable[[Any], Interval]


def _accuracy_table(
    answers: Answers,
    measures: Sequence[str],
    baselines: Mapping[str, float],
    interval: Bootstrap,
) -> Table:
    rows = []
    for arm in answers.config.arms:
        for measure in measures:
            found, base = interval(answers.correct(arm, measure)), baselines[measure]
            bounds = (found.estimate, found.low, found.high)
            skills = ((value - base) / (1 - base) for value in bounds)
            rows.append((arm, measure, found.n_items, found.n_seeds, *bounds, base, *skills))
    skill = (
        Column("skill", "Skill", "proportion"),
        Column("skill_low", "Skill 95% low", "proportion"),
        Column("skill_high", "Skill 95% high", "proportion"),
    )
    seeds, base_column = (
        Column("seeds", "Seeds", "seeds"),
        Column("baseline", "Baseline", "proportion"),
    )
    columns = (_ARM, _MEASURE, _N, seeds, *_ACCURACY, base_column, *skill)
    return Table(
        "Accuracy by arm and measure; skill is (accuracy - baseline) / (1 - baseline)",
        columns,
        tuple(rows),
    )


def _rescue_table(answers: Answers, interval: Bootstrap) -> Table:
    """The same weights, the same C words, spelled out or not."""
    rows = []
    for arm in answers.config.arms:
        word, spelled = answers.correct(arm, "count C"), answers.correct(arm, "spelled C")
        only_spelled = (spelled > word).sum(axis=1)
        only_word = (word > spelled).sum(axis=1)
        gain = interval(spelled - word)
        # Words recur in every seed, so seeds are not pooled: the least certain of them speaks.
        p = max(mcnemar(int(s), int(w)).p for s, w in zip(only_spelled, only_word, strict=True))
        both, neither = int((word * spelled).sum()), int(((1 - word) * (1 - spelled)).sum())
        counts = (both, int(only_spelled.sum()), int(only_word.sum()), neither)
        rows.append((arm, word.size, *counts, gain.estimate, gain.low, gain.high, p))
    columns = (
        _ARM,
        Column("n", "Words x seeds", "answers"),
        Column("both", "Right both ways", "answers"),
        Column("only_spelled", "Right only spelled out", "answers"),
        Column("only_word", "Right only as a word", "answers"),
        Column("neither", "Right neither way", "answers"),
        Column("gain", "Gain", "proportion"),
        Column("low", "95% low", "proportion"),
        Column("high", "95% high", "proportion"),
        Column("p", "McNemar p, largest over seeds"),
    )
    return Table("The same C words spelled out, asked of the same weights", columns, tuple(rows))


def _effects_table(answers: Answers, interval: Bootstrap) -> Table:
    """Differences in accuracy on C; tests flip signs within seeds."""
    arms = set(answers.config.arms)
    c = {arm: answers.correct(arm, "count C") for arm in answers.config.arms}
    found: list[tuple[str, str, Floats, Floats | None]] = []
    if arms >= set(FACTORIAL):
        visible = (c["letters"] - c["bpe"], c["char"] - c["opaque"])
        longer = (c["opaque"] - c["bpe"], c["char"] - c["letters"])
        found += [
            ("visibility", "letters visible minus hidden", *_main_effect(visible)),
            ("length", "sequence long minus short", *_main_effect(longer)),
            (
                "visibility_minus_length",
                "effect of visibility minus effect of length",
                np.add(*visible) / 2 - np.add(*longer) / 2,
                None,
            ),
        ]
    pairs = (
        ("letters_minus_placebo", "true letters minus wrong letters", "letters", "placebo"),
        ("placebo_minus_bpe", "wrong letters minus none", "placebo", "bpe"),
    )
    found += [
        (name, said, *_main_effect((c[first] - c[second],)))
        for name, said, first, second in pairs
        if {first, second} <= arms
    ]
    chance = np.random.default_rng(4)  # draws arrangements where there are too many to count
    tests = [None if cells is None else factorial_permutation(cells, chance) for *_, cells in found]
    corrected = holm([test.p if test else None for test in tests])
    rows = []
    for (name, said, differences, _), test, p_holm in zip(found, tests, corrected, strict=True):
        found_interval = interval(differences)
        method = (
            None if test is None else f"sign-flip permutation within seeds ({test.n} differences)"
        )
        bounds = (found_interval.estimate, found_interval.low, found_interval.high)
        p = None if test is None else test.p
        rows.append((name, said, *bounds, method, p, p_holm, found_interval.n_items))
    columns = (
        Column("name", "Effect"),
        Column("statement", "What is compared"),
        Column("estimate", "Difference", "proportion"),
        Column("low", "95% low", "proportion"),
        Column("high", "95% high", "proportion"),
        Column("test", "Test"),
        Column("p", "p"),
        Column("p_holm", "p, Holm"),
        Column("n", "Words", "words"),
    )
    return Table("Effects on the accuracy of counting in C words", columns, tuple(rows))


def _main_effect(differences: Sequence[Floats]) -> tuple[Floats, Floats]:
    """The mean of differences (seeds, words), and their means by seed and block to permute."""
    stacked = np.stack(differences)
    return stacked.mean(axis=0), stacked.mean(axis=2).T


def _strawberry_table(answers: Answers) -> Table:
    rows = []
    for arm in answers.config.arms:
        for seed, asked in enumerate(answers.of(arm, "strawberry")):
            rows += [
                (arm, seed, row["question"], row["answer"], row["truth"],
                 row["value"] == row["truth"], row["probability"])
                for row in asked
            ]  # fmt: skip
    columns = (
        _ARM,
        Column("seed", "Seed"),
        Column("question", "Question"),
        Column("answer", "Answer"),
        Column("truth", "Truth"),
        Column("correct", "Right"),
        Column("probability", "Probability of the answer", "proportion"),
    )
    return Table("What each arm and seed answers to the question itself", columns, tuple(rows))


def _curves_table(folder: Path, config: StrawberryConfig) -> Table:
    rows: list[tuple[Any, ...]] = []
    for arm in config.arms:
        for seed in range(config.seeds):
            for line in read_metrics(folder / "training" / f"{arm}-{seed}"):
                if "evaluation" in line:
                    found = {"loss": line["loss"], **line["evaluation"]}
                    rows += [(arm, seed, line["step"], m, value) for m, value in found.items()]
    columns = (
        _ARM,
        Column("seed", "Seed"),
        Column("step", "Step", "steps"),
        _MEASURE,
        Column("accuracy", "Accuracy, or loss in nats", "proportion or nats"),
    )
    return Table("Learning curves", columns, tuple(rows))


def _confusion_table(answers: Answers, measures: Sequence[str]) -> Table:
    rows = []
    for arm in answers.config.arms:
        for measure in measures:
            asked = [row for rows_of in answers.of(arm, measure) for row in rows_of]
            counts = Counter((row["truth"], _said(row)) for row in asked)
            rows += [
                (arm, measure, truth, said, counts[truth, said])
                for truth in range(4)
                for said in ("0", "1", "2", "3", "other")
            ]
    columns = (
        _ARM,
        _MEASURE,
        Column("truth", "True count"),
        Column("answer", "Answer"),
        Column("n", "Answers", "answers"),
    )
    return Table("Answers by true count, seeds together", columns, tuple(rows))


def _said(row: Record) -> str:
    return str(row["value"]) if row["value"] in range(4) else "other"


def _breakdown_table(answers: Answers, key: str, label: str, interval: Bootstrap) -> Table:
    """Accuracy of counting in R and C words, within groups of words."""
    rows: list[tuple[Any, ...]] = []
    for arm in answers.config.arms:
        for measure in ("count R", "count C", "spelled C"):
            asked = answers.of(arm, measure)[0]
            group = np.array([len(q["subject"]) if key == "letters" else q[key] for q in asked])
            correct = answers.correct(arm, measure)
            for value in np.unique(group):
                found = interval(correct[:, group == value])
                bounds = (found.estimate, found.low, found.high)
                rows.append((arm, measure, int(value), found.n_items, *bounds))
    columns = (_ARM, _MEASURE, Column(key, label), _N, *_ACCURACY)
    return Table(f"Accuracy by {label.lower()}", columns, tuple(rows))
