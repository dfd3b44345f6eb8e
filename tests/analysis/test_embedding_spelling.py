"""Spelling: planted letters are found, also rotated; noise gives chance; bad input is named."""

import numpy as np
import pytest

from tokkit.analysis.embeddings.spelling import alike, spelling_section
from tokkit.analysis.embeddings.spelling_labels import (
    NO_TOKEN,
    NOT_LETTERS,
    NOT_USABLE,
    SPECIAL,
    letter_table,
    spelled_tokens,
    spelling_tasks,
    surface,
)
from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.matrix import matrix_of
from tokkit.errors import InputError
from tokkit.results import Table

WIDTH = 29


def words(n=700, seed=0):
    generator = np.random.default_rng(seed)
    letters = np.array(list("aaaeeeiioottnnssrrlcdumpbgh"))
    made = {"".join(generator.choice(letters, generator.integers(2, 9))) for _ in range(2 * n)}
    return sorted(made)[:n]


def subject(rows, tokens, **known):
    usable = np.isfinite(rows).all(axis=1) & (np.abs(rows).sum(axis=1) > 0)
    return Subject(name="planted", rows=matrix_of(rows), usable=usable, tokens=tokens, **known)


@pytest.fixture(scope="module")
def planted():
    """Rows that are letter counts, mapped at random, with noise."""
    generator = np.random.default_rng(1)
    texts = words()
    rows = letter_table(texts) @ generator.standard_normal((26, WIDTH))
    rows += 0.3 * generator.standard_normal(rows.shape)
    return rows.astype(np.float32), [text.encode() for text in texts]


@pytest.fixture(scope="module")
def found(planted):
    return spelling_section(subject(*planted), seed=0, resamples=200)


def row_of(table: Table, **wanted):
    (row,) = (r for r in table.records() if wanted.items() <= r.items())
    return row


PRESENCE = {"task": "presence", "metric": "balanced accuracy"}


@pytest.mark.parametrize("probe", ["logistic", "mlp"])
def test_planted_letters_are_found_and_controls_are_at_chance(found, probe):
    row = row_of(found.tables["spelling_tasks"], probe=probe, **PRESENCE)
    assert row["value"] > {"logistic": 0.85, "mlp": 0.75}[probe]
    assert row["selectivity_low"] > 0.25
    assert row["gain_low"] > 0.25
    for null in ("control", "initial", "shuffled"):
        assert row[f"{null}_low"] - 0.03 < 0.5 < row[f"{null}_high"] + 0.03


def test_planted_letters_compress_and_random_labels_do_not(found):
    code = found.tables["spelling_mdl"]
    rows = row_of(code, task="presence", by="rows")
    assert rows["compression_of_prior"] > 1.3
    assert rows["bits_per_label"] == pytest.approx(rows["bits"] / rows["labels"])
    for by in ("baseline rows", "rows, control task"):
        assert row_of(code, task="presence", by=by)["compression_of_prior"] < 1.02


def test_every_table_is_strict_json_under_its_own_name(found):
    import json

    assert set(found.tables) == {
        f"spelling_{name}"
        for name in ("tasks", "letters", "mdl", "splits", "by_count", "by_length")
    }
    for name, table in found.tables.items():
        # Too few tokens of one length to say anything here.
        assert bool(table.rows) == (name != "spelling_by_length")
        json.dumps(table.rows, allow_nan=False)
    json.dumps(found.values, allow_nan=False)


def test_rotated_rows_give_the_same_answer(planted, found):
    rows, tokens = planted
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((WIDTH, WIDTH)))[0]
    turned = spelling_section(
        subject((rows @ turn).astype(np.float32), tokens), seed=0, resamples=200
    )
    for probe in ("logistic", "mlp"):
        one, other = (
            row_of(f.tables["spelling_tasks"], probe=probe, **PRESENCE)["value"]
            for f in (found, turned)
        )
        assert other == pytest.approx(one, abs=0.01)


def test_noise_gives_chance(planted):
    rows, tokens = planted
    noise = np.random.default_rng(3).standard_normal(rows.shape).astype(np.float32)
    section = spelling_section(subject(noise, tokens), seed=0, resamples=200)
    row = row_of(section.tables["spelling_tasks"], probe="logistic", **PRESENCE)
    assert row["value_low"] < 0.5 < row["value_high"]
    # The interval is of test words alone; two fits on noise differ by a little more.
    assert row["gain_low"] < 0.02
    assert row["gain_high"] > -0.03


def test_tokens_that_cannot_be_spelled_are_left_out_and_counted():
    tokens = [b" The", b"the", b"THE", b"x1", b"", b"<s>", b"\xc3\xa9", b"  a", b"nan", b"zero"]
    rows = np.ones((11, 3), dtype=np.float32)
    rows[8], rows[9] = np.nan, 0
    spelled = spelled_tokens(subject(rows, tokens, special=frozenset({5})))
    assert spelled.words == ("the", "the", "the")
    assert spelled.groups.tolist() == [0, 0, 0]
    assert spelled.left_out == {NO_TOKEN: 1, NOT_LETTERS: 3, NOT_USABLE: 2, SPECIAL: 1}
    assert spelled.take([2]).shown == ("THE",)


def test_labels_by_hand():
    tasks = spelling_tasks(["banana", "by"])
    a, b = 0, 1
    assert tasks["count"].labels[:, [a, b]].tolist() == [[2, 1], [0, 1]]
    assert tasks["presence"].labels[:, [a, b]].tolist() == [[1, 1], [0, 1]]
    assert tasks["first"].labels.tolist() == [[1], [1]]
    assert tasks["last"].labels.tolist() == [[0], [24]]
    assert tasks["length"].labels.tolist() == [[5], [1]]


def test_surface_features_hold_no_letters(planted):
    rows, tokens = planted
    one = subject(rows, tokens, counts=np.arange(len(tokens)))
    spelled = spelled_tokens(one)
    columns = surface(one, spelled, rows[spelled.ids])
    assert columns.shape == (len(spelled), 6)
    np.testing.assert_allclose(columns.mean(axis=0), 0, atol=1e-5)


def test_alike_rows_share_the_covariance():
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((4000, 3)).astype(np.float32) @ np.diag([1, 2, 3]) + 5
    made = alike(rows.astype(np.float32), generator)
    np.testing.assert_allclose(np.cov(made.T), np.cov(rows.T), atol=0.5)
    np.testing.assert_allclose(made.mean(axis=0), 5, atol=0.2)


def test_where_nothing_can_be_asked_there_is_no_section(planted):
    rows, tokens = planted
    assert spelling_section(subject(rows[:50], tokens[:50]), seed=0) is None
    assert spelling_section(subject(rows, None), seed=0) is None
    with pytest.raises(InputError, match="700 tokens were given for 50 rows"):
        spelling_section(subject(rows[:50], tokens), seed=0)
