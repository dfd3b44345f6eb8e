"""What the arms know: on a tiny run, and where knowledge and counting are planted."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from experiments.conftest import TINY

from tokkit.analysis.embeddings.arms import KIND, analyze_arms
from tokkit.analysis.embeddings.arms_claim import mechanism_claim
from tokkit.analysis.embeddings.arms_knowledge import (
    Told,
    knowledge,
    slopes,
    told_counts,
    without_strata,
)
from tokkit.analysis.embeddings.arms_reading import Asked, before_training, read_arms
from tokkit.analysis.embeddings.spelling_labels import spelling_tasks
from tokkit.analysis.probing import one_thread
from tokkit.analysis.probing_scores import Bounds
from tokkit.errors import ArtifactError
from tokkit.experiments.strawberry import run_strawberry
from tokkit.model.checkpoint import load_checkpoint
from tokkit.model.transformer import Transformer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("arms")
    small = replace(
        TINY, seeds=1, steps=3, curve_points=1, curve_questions=5, arms=("bpe", "opaque", "letters")
    )
    run_strawberry(small, place, jobs=1)
    return place


def test_rows_before_training_are_those_that_training_began_with(folder):
    checkpoint = load_checkpoint(folder / "models" / "letters-0").model
    before = before_training(checkpoint, 0)
    fresh = Transformer(checkpoint.config, seed=0, token_features=checkpoint.token_features)
    assert torch.equal(before.embedding, fresh.embedding)
    assert torch.equal(before.feature_embedding, fresh.feature_embedding)
    assert not torch.equal(before.embedding, checkpoint.embedding)


def test_a_tiny_run_is_read(folder):
    run = read_arms(folder)
    assert run.arms() == ("bpe", "opaque", "letters")
    assert not (run.known & run.novel).any()
    letters, bpe = run.of("letters")[0], run.of("bpe")[0]
    model = load_checkpoint(folder / "models" / "letters-0").model
    assert letters.after.shape == (len(run.words), model.config.width)
    # What letters is given beside its own row is the sum of its letters' rows.
    counts = np.array([[w.count(chr(97 + k)) for k in range(26)] for w in run.words])
    own = letters.after - counts @ model.feature_embedding.detach().numpy()
    table = model.embedding.detach().numpy()
    assert np.abs(own[0] - table).max(axis=1).min() < 1e-5
    assert bpe.before.shape == bpe.after.shape
    for measure, asked in run.asked.items():
        assert len(asked.tokens) == len(asked.letters) == len(bpe.right[measure])


def test_the_result_of_a_tiny_run_is_whole_and_inconclusive_without_all_arms(folder):
    result = analyze_arms(folder, seed=0)
    assert result.kind == KIND
    assert {"arms_knowledge", "arms_prediction", "arms_accuracy"} == set(result.tables)
    (claim,) = result.claims
    assert claim.id == "counting-is-tokenization"
    assert claim.verdict == "inconclusive"
    rows = {
        (r["arm"], r["tokens"], r["stage"]): r for r in result.tables["arms_knowledge"].records()
    }
    assert rows["letters", "novel", "before training"]["value"] > 0.75
    assert abs(rows["bpe", "novel", "before training"]["value"] - 0.5) < 0.1


def test_a_folder_that_is_no_run_is_refused(folder, tmp_path):
    with pytest.raises(ArtifactError, match="settings of a strawberry run"):
        analyze_arms(tmp_path)
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "answers" / "bpe-0.jsonl").write_text("{")
    with pytest.raises(ArtifactError, match="run the experiment again"):
        analyze_arms(broken)
    (broken / "questions.json").write_text("{}")
    with pytest.raises(ArtifactError, match="not a whole strawberry run"):
        analyze_arms(broken)


def test_the_same_seed_tells_the_same(folder):
    run = read_arms(folder)
    task = spelling_tasks(run.words)["count"]
    with one_thread():
        one, other = (told_counts(run.trained[0].after, task, run.known, 0) for _ in range(2))
    np.testing.assert_array_equal(one.shares, other.shares)


def test_knowledge_by_hand():
    """Token 0 has one a, token 1 none; the probe is sure of 0.8 and 0.9, the shares say 0.5."""
    shares = np.zeros((2, 26, 3), dtype=np.float32)
    shares[0, 0], shares[1, 0] = [0.1, 0.8, 0.1], [0.9, 0.05, 0.05]
    prior = np.tile([0.5, 0.5, 0.0], (26, 1))
    counts = np.zeros((2, 26), dtype=np.int64)
    counts[0, 0] = 1
    asked = Asked(np.array([0, 0]), np.array([1, 0]), ((0, 1), (1,)))
    found = knowledge(Told(shares, prior), asked, counts)
    np.testing.assert_allclose(found, [0.8 * 0.9 - 0.25, 0.9 - 0.5], rtol=1e-6)


def test_slopes_by_hand_and_planted():
    strata = np.array([0, 0, 1, 1])
    known = np.array([[0.0, 1.0, 5.0, 6.0]])
    right = np.array([[0.0, 1.0, 1.0, 1.0]])
    known, right = (without_strata(values, strata) for values in (known, right))
    assert known.tolist() == [[-0.5, 0.5, -0.5, 0.5]]
    ones = np.ones((1, 4), dtype=np.float32), np.ones((1, 1))
    slope, correlation = slopes(known[None], right[None], *ones)
    assert slope[0] == pytest.approx(0.5)  # 0.5 of 1.0
    assert correlation[0] == pytest.approx(0.5 / np.sqrt(1.0 * 0.5))
    nothing, _ = slopes(0 * known[None], right[None], *ones)
    assert np.isnan(nothing[0])


GOOD = {
    "gain_hidden": Bounds(0.01, -0.01, 0.03),
    "letters_minus_bpe": Bounds(0.4, 0.35, 0.45),
    "slope": Bounds(0.5, 0.2, 0.8),
    "slope_before": Bounds(0.0, -0.2, 0.2),
    "shuffled": Bounds(0.5, 0.48, 0.52),
    "char": Bounds(0.99, 0.98, 1.0),
}
ARMS = ("bpe", "opaque", "letters", "char", "placebo")


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "supported"),
        ({"gain_hidden": Bounds(0.2, 0.1, 0.3)}, "contradicted"),
        ({"letters_minus_bpe": Bounds(0.0, -0.03, 0.03)}, "contradicted"),
        ({"slope": Bounds(-0.5, -0.8, -0.2)}, "contradicted"),
        ({"slope": Bounds(0.5, -0.2, 0.8)}, "inconclusive"),
        ({"slope": Bounds(None, None, None)}, "inconclusive"),
        ({"shuffled": Bounds(0.6, 0.58, 0.62)}, "inconclusive"),
        ({"char": Bounds(0.8, 0.7, 0.85)}, "inconclusive"),
        ({"slope_before": Bounds(0.5, 0.2, 0.8)}, "inconclusive"),
    ],
)
def test_the_rule(changed, verdict):
    claim = mechanism_claim(GOOD | changed, arms=ARMS, words=7, tokens=5)
    assert claim.verdict == verdict
    assert len(claim.evidence) == 4


def test_without_an_arm_there_is_no_verdict():
    assert mechanism_claim(GOOD, arms=ARMS[:3], words=7, tokens=5).verdict == "inconclusive"
