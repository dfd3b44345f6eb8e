"""The strawberry experiment: whether tokenization causes the failure to count letters.

Five arms of one small transformer are trained alike and see the same questions in the same order;
only what they are shown of a word differs (`tokkit.experiments.arms`). This file prepares the
questions and trains and asks the arms; `findings` turns the answers into numbers and a verdict.

A run folder holds settings.json, tokenizers/, questions.json, training/ARM-SEED/ (metrics, the
state to go on from, at the end done.json), models/ARM-SEED/ (checkpoints),
answers/ARM-SEED.jsonl and result.json.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tokkit.corpus.sources import word_counts
from tokkit.errors import ArtifactError, ConfigError, unknown_choice
from tokkit.experiments.arms import (
    ARMS,
    Arm,
    arm_codec,
    char_tokenizer,
    embedding_rows,
    single_letter_ids,
    token_features,
    train_word_tokenizer,
)
from tokkit.experiments.running import Progress, watch
from tokkit.files import ensure_folder, read_json, sha256, write_json, write_text
from tokkit.model.checkpoint import is_checkpoint, save_checkpoint
from tokkit.parallel import run_all
from tokkit.probes.tasks import (
    Question,
    QuestionPool,
    countable_words,
    item_questions,
    parse_answer,
    split_words,
    word_question,
)
from tokkit.results import Result, collect_provenance, write_result
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.training.run_folder import claim

if TYPE_CHECKING:
    from tokkit.probes.targets import Target
    from tokkit.training.loop import Batch

WORD = "strawberry"
LETTER = "r"
DONE_FILE = "done.json"
MEASURES = ("count A", "count R", "count C", "spelled A", "spelled C", "items")
# Seeds of what is drawn once, before any training, and is the same for every arm and seed.
_SPLIT_SEED, _QUESTION_SEED = 1, 2
_QUESTIONS = {"A": 400, "R": 600, "C": 1200, "items": 600}


@dataclass(frozen=True, slots=True, kw_only=True)
class StrawberryConfig:
    """Everything that a run of the experiment depends on; checked when made (ConfigError)."""

    profile: str = "quick"
    seeds: int = 1
    steps: int = 1300
    batch_questions: int = 192  # a step, a third of them of each task
    arms: tuple[str, ...] = tuple(ARMS)
    merges: int = 1000
    min_letters: int = 4
    max_letters: int = 10
    novel_share: float = 0.3  # of the multi-letter tokens: never trained on
    fresh_share: float = 0.05  # of the words of known tokens: asked, never trained on
    min_cell_words: int = 5
    width: int = 64
    layers: int = 2
    heads: int = 8
    hidden_width: int = 96
    positions: str = "learned"
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    questions: Mapping[str, int] = field(default_factory=lambda: dict(_QUESTIONS))
    curve_points: int = 10
    curve_questions: int = 150

    def __post_init__(self) -> None:
        for name in ("seeds", "steps", "curve_points"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.batch_questions < 3:
            raise ConfigError(f"batch_questions must be at least 3, got {self.batch_questions}")
        for arm in self.arms:
            if arm not in ARMS:
                raise ConfigError(unknown_choice("arm", arm, ARMS))


PROFILES = {
    "quick": StrawberryConfig(),
    "full": StrawberryConfig(profile="full", seeds=6),
}


def profile(name: str, *, seeds: int | None = None) -> StrawberryConfig:
    """The settings of a profile, with another number of seeds if given."""
    if name not in PROFILES:
        raise ConfigError(unknown_choice("profile", name, PROFILES))
    chosen = PROFILES[name]
    return chosen if seeds is None else replace(chosen, seeds=seeds)


def run_strawberry(
    config: StrawberryConfig,
    folder: str | os.PathLike[str],
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Run the experiment in `folder`, or what is left of it, and write result.json.

    `jobs` processes train arms side by side, each on one thread; None takes all cores.
    `progress(steps_done, steps_total, message)` is called about once a second. A folder with
    another run's settings is refused (ConfigError).
    """
    from tokkit.experiments.findings import find

    started = time.monotonic()
    # Read by the libraries when a worker starts: one thread each, and large pages, without which
    # a sixth of a training step goes into page faults.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    place = ensure_folder(folder)
    claim(place, _settings(config))
    prepare(config, place)
    prepared = time.monotonic()
    work = [
        (place, config, arm, seed) for seed in range(config.seeds) for arm in _longest_first(config)
    ]
    names = [f"{arm}-{seed}" for seed in range(config.seeds) for arm in config.arms]
    with watch({place / "training" / name: config.steps for name in names}, progress):
        for _ in run_all(run_arm, work, workers=jobs):
            pass
    trained = time.monotonic()
    found = find(place, config)
    seconds = {
        "prepare": prepared - started,
        "train_and_ask": trained - prepared,
        "analyse": time.monotonic() - trained,
    }
    inputs = {
        "questions.json": sha256(place / "questions.json"),
        "bpe tokenizer.json": sha256(_tokenizer_path(place, "bpe")),
    }
    result = Result(
        kind="experiment.strawberry",
        title=f"How many {LETTER}'s are in {WORD}?",
        settings=_settings(config),
        provenance=collect_provenance(
            seeds=range(config.seeds), inputs=inputs, wall_seconds=seconds
        ),
        **found,
    )
    write_result(result, place)
    return result


def _longest_first(config: StrawberryConfig) -> list[str]:
    return sorted(config.arms, key=lambda name: ARMS[name].length != "long")


def _settings(config: StrawberryConfig) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return settings | {"seeds": list(range(config.seeds))}


# Preparing: tokenizers, words, questions ---------------------------------------------------------


def prepare(config: StrawberryConfig, place: Path) -> None:
    """Train the tokenizers, split the words and draw the questions, unless that is done."""
    if (place / "questions.json").exists():
        return
    words = countable_words(word_counts(), min_letters=1, max_letters=100)
    bpe, char = train_word_tokenizer(words, merges=config.merges), char_tokenizer()
    bpe.save(_tokenizer_path(place, "bpe"))
    char.save(_tokenizer_path(place, "char"))
    asked = countable_words(words, min_letters=config.min_letters, max_letters=config.max_letters)
    splits = split_words(
        asked,
        bpe.encode_batch(asked),
        single_letter_ids(bpe),
        held_out=WORD,
        novel_share=config.novel_share,
        fresh_share=config.fresh_share,
        generator=np.random.default_rng(_SPLIT_SEED),
    )
    generator = np.random.default_rng(_QUESTION_SEED)
    drawn = {
        name: QuestionPool(words_of, min_words=least).draw_distinct(
            config.questions[name], generator
        )
        for name, words_of, least in (
            ("A", splits.a, config.min_cell_words),
            ("R", splits.r, 1),
            ("C", splits.c, 3),
        )
    }
    questions = {f"count {name}": asked_of for name, asked_of in drawn.items()}
    questions["spelled A"] = [q.spelled() for q in drawn["A"]]
    questions["spelled C"] = [q.spelled() for q in drawn["C"]]
    questions["items"] = item_questions(config.questions["items"], generator)
    record = {
        "splits": {"A": splits.a, "R": splits.r, "C": splits.c},
        "novel_tokens": sorted(splits.novel_tokens),
        "questions": {m: [_question_row(q) for q in questions[m]] for m in MEASURES},
    }
    write_text(place / "questions.json", json.dumps(record) + "\n")


def _question_row(question: Question) -> list[Any]:
    return [question.task, question.asked, question.subject, question.truth]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` left on the disk."""

    splits: Mapping[str, Sequence[str]]
    questions: Mapping[str, Sequence[Question]]


def load_prepared(place: Path) -> Prepared:
    """Read questions.json; ArtifactError when it is broken."""
    record = read_json(place / "questions.json", what="questions")
    try:
        questions = {m: [Question(*row) for row in record["questions"][m]] for m in MEASURES}
        return Prepared(record["splits"], questions)
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"{place / 'questions.json'} is not whole ({error!r}): delete it and start over"
        ) from error


def _tokenizer_path(place: Path, name: str) -> Path:
    return place / "tokenizers" / name / "tokenizer.json"


def load_tokenizer(place: Path, arm: Arm) -> Tokenizer:
    """The tokenizer that the arm reads with."""
    return Tokenizer.load(_tokenizer_path(place, arm.tokenizer))


# Training and asking one arm with one seed -------------------------------------------------------


def run_arm(place: Path, config: StrawberryConfig, arm_name: str, seed: int) -> None:
    """Train one arm, save its checkpoint, ask it everything; skip what is done already."""
    name = f"{arm_name}-{seed}"
    done = place / "training" / name / DONE_FILE
    answers = place / "answers" / f"{name}.jsonl"
    if done.exists() and answers.exists() and is_checkpoint(place / "models" / name):
        return
    import torch

    started, threads = time.monotonic(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        target = _train_arm(place, config, ARMS[arm_name], seed)
        rows = "".join(json.dumps(row) + "\n" for row in _ask(place, target))
        write_text(answers, rows)
        # Of the last stretch only, where the run was stopped and went on.
        write_json(done, {"wall_seconds": round(time.monotonic() - started, 1)})
        for state in done.parent.glob("*.safetensors"):
            state.unlink()
    finally:
        torch.set_num_threads(threads)


def _train_arm(place: Path, config: StrawberryConfig, arm: Arm, seed: int) -> Target:
    import torch

    from tokkit.model.config import ModelConfig
    from tokkit.model.transformer import Transformer
    from tokkit.probes.targets import Target
    from tokkit.training.loop import TrainingConfig, train

    prepared = load_prepared(place)
    tokenizer = load_tokenizer(place, arm)
    rows = embedding_rows(load_tokenizer(place, ARMS["bpe"]))
    told = token_features(arm, tokenizer, rows=rows, seed=seed)
    model = Transformer(
        ModelConfig(
            vocab_size=rows,
            width=config.width,
            layers=config.layers,
            query_heads=config.heads,
            hidden_width=config.hidden_width,
            positions=config.positions,
            context=64,
            token_features=0 if told is None else told.shape[1],
        ),
        seed=seed,
        token_features=None if told is None else torch.from_numpy(told),
    )
    name = f"{arm.name}-{seed}"
    target = Target(name, model, tokenizer, arm_codec(arm, tokenizer), arm.name, seed)
    curve = _curve_questions(prepared.questions, config.curve_questions)
    pool = QuestionPool(prepared.splits["A"], min_words=config.min_cell_words)
    train(
        model,
        lambda step: _batch(target, _draw(pool, config.batch_questions, seed, step)),
        TrainingConfig(
            steps=config.steps,
            learning_rate=config.learning_rate,
            warmup_steps=min(config.warmup_steps, config.steps),
            evaluate_every=max(1, config.steps // config.curve_points),
        ),
        place / "training" / name,
        evaluate=lambda _: _accuracies(target, curve),
        identity=f"{name} {sha256(place / 'questions.json')} {tokenizer.digest}",
    )
    about = {"ids": arm.ids, "arm": arm.name, "seed": seed, "letters": arm.letters}
    save_checkpoint(place / "models" / name, model, tokenizer.to_json(), about)
    return replace(target, model=model.eval())


def _draw(pool: QuestionPool, n: int, seed: int, step: int) -> list[Question]:
    """The questions of one step: of each task a third, the same for every arm."""
    generator = np.random.default_rng([seed, step])
    each = n // 3
    words = pool.draw(each, generator)
    spelled = [question.spelled() for question in pool.draw(each, generator)]
    return words + spelled + item_questions(n - 2 * each, generator)


def _batch(target: Target, questions: Sequence[Question]) -> Batch:
    """Questions with their answers, as ids: the answer is learned of each, the end of a quarter.

    The end always follows the digit, so a quarter is plenty, and unembedding is dear.
    """
    import torch

    from tokkit.training.loop import Batch

    prompts = target.codec.encode_batch([question.text for question in questions])
    answers = target.codec.encode_batch([question.answer for question in questions])
    ids = np.zeros((len(questions), max(map(len, prompts)) + 1), dtype=np.int64)
    places = []
    for row, (prompt, (answer,)) in enumerate(zip(prompts, answers, strict=True)):
        ids[row, : len(prompt)], ids[row, len(prompt)] = prompt, answer
        places.append((row, len(prompt) - 1, answer))
        if row % 4 == 0:
            places.append((row, len(prompt), target.end_id))
    rows, positions, targets = torch.tensor(places).T.contiguous()
    return Batch(torch.from_numpy(ids), rows, positions, targets)


def _curve_questions(
    questions: Mapping[str, Sequence[Question]], n: int
) -> dict[str, list[Question]]:
    """About n questions of each measure, evenly spaced through its list."""
    return {m: list(asked[:: max(1, len(asked) // n)]) for m, asked in questions.items()}


def _accuracies(target: Target, questions: Mapping[str, Sequence[Question]]) -> dict[str, float]:
    found = {}
    for measure, asked in questions.items():
        answers = target.answer([question.text for question in asked])
        right = [parse_answer(a.text) == q.truth for a, q in zip(answers, asked, strict=True)]
        found[measure] = sum(right) / len(right)
    return found


def _ask(place: Path, target: Target) -> Iterator[dict[str, Any]]:
    """Every question of every measure, and the strawberry question in both wordings."""
    questions = dict(load_prepared(place).questions)
    strawberry = word_question(LETTER, WORD)
    questions["strawberry"] = [strawberry, strawberry.spelled()]
    for measure, asked in questions.items():
        answers = target.answer([question.text for question in asked])
        for question, answer in zip(asked, answers, strict=True):
            tokens = target.tokenizer.encode(question.subject)
            yield {
                "measure": measure,
                "question": question.text,
                "asked": question.asked,
                "subject": question.subject,
                "tokens": len(tokens),
                "truth": question.truth,
                "answer": answer.text,
                "value": parse_answer(answer.text),
                "probability": answer.probability,
            }
