"""A prepared run folder, and answers planted in it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from tokkit.experiments.strawberry import MEASURES, load_prepared, prepare, profile

TINY = replace(
    profile("quick"), seeds=3, merges=300, questions={"A": 60, "R": 60, "C": 120, "items": 60}
)


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    prepare(TINY, folder)
    return folder


@pytest.fixture
def run_folder(prepared_folder, tmp_path):
    return shutil.copytree(prepared_folder, tmp_path / "run")


def plant_answers(folder, config, accuracy_of):
    """Write answers that are right with probability accuracy_of(arm, measure); no metrics."""
    questions = load_prepared(folder).questions
    generator = np.random.default_rng(0)
    for arm in config.arms:
        for seed in range(config.seeds):
            rows = []
            for measure in MEASURES:
                for question in questions[measure]:
                    right = generator.random() < accuracy_of(arm, measure)
                    value = question.truth if right else (question.truth + 1) % 4
                    rows.append(
                        {
                            "measure": measure,
                            "question": question.text,
                            "asked": question.asked,
                            "subject": question.subject,
                            "tokens": 2,
                            "truth": question.truth,
                            "answer": str(value),
                            "value": value,
                            "probability": 0.5,
                        }
                    )
            path = folder / "answers" / f"{arm}-{seed}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            done = folder / "training" / f"{arm}-{seed}" / "done.json"
            done.parent.mkdir(parents=True, exist_ok=True)
            done.write_text('{"wall_seconds": 1.5}')
