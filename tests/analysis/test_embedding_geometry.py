"""The geometry of a subject as a whole, and the lookup."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tokkit.analysis.embeddings.geometry import geometry_section
from tokkit.analysis.embeddings.lookup import compare_rows, lookup_record
from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.matrix import matrix_of, row_faults
from tokkit.errors import ConfigError
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer, initial_embedding

VOCAB, WIDTH = 97, 30


def model_of(**changed):
    settings = {"vocab_size": VOCAB, "width": WIDTH, "layers": 1, "query_heads": 3, "context": 41}
    return Transformer(ModelConfig(**(settings | changed)), seed=8).eval()


def subject_of(rows=None, **known):
    rows = matrix_of(np.random.default_rng(1).standard_normal((VOCAB, WIDTH)) if rows is None
                     else rows, "embedding")  # fmt: skip
    return Subject(name="planted", rows=rows, usable=row_faults(rows)[0], **known)


def subject_with_model(**changed):
    model = model_of(**changed)
    return subject_of(model.embedding, model=model, tied=model.config.tied)


@pytest.mark.parametrize("positions", ["none", "rope", "alibi", "learned", "sinusoidal"])
@pytest.mark.parametrize("scale", [1.0, 5.5])
def test_the_embedding_step_is_a_lookup_in_every_bit(positions, scale):
    found = lookup_record(
        subject_with_model(positions=positions, embedding_scale=scale), np.arange(40)
    )
    assert (found.bit_equal, found.largest_deviation, found.same_in_context) == (True, 0, True)
    assert (found.scale, found.ids, found.told_apart) == (scale, 40, 1)
    added = positions in ("learned", "sinusoidal")
    assert found.position_added == added
    assert (found.position_deviation is not None) == added
    if added:
        assert found.position_deviation < 1e-6


def test_rows_that_are_not_the_models_are_found_out():
    model = model_of()
    rows = model.embedding.detach().clone()
    rows[5, 3] += 0.25
    found = lookup_record(subject_of(rows, model=model), np.arange(10))
    assert not found.bit_equal
    assert found.largest_deviation == pytest.approx(0.25)
    equal = lookup_record(subject_of(rows, model=model), np.arange(10, 20))
    assert equal.bit_equal


def test_equal_rows_would_not_be_told_apart():
    model = model_of()
    with torch.no_grad():
        model.embedding[:4] = model.embedding[0].clone()
    found = lookup_record(subject_of(model.embedding, model=model), np.arange(8))
    assert found.told_apart == pytest.approx(1 - 12 / 56)


def test_what_cannot_be_looked_up():
    with pytest.raises(ConfigError, match="a lookup is shown in a whole model, and only weights"):
        lookup_record(subject_of(), [1])
    subject = subject_with_model()
    with pytest.raises(ConfigError, match=r"ids must be 1 to 41 different ones .* \(2,\)"):
        lookup_record(subject, [3, 3])
    with pytest.raises(ConfigError, match=r"ids must lie in 0\.\.96, got 3 to 97"):
        lookup_record(subject, [3, 97])


def test_output_and_input_are_compared_bit_by_bit():
    rows = np.random.default_rng(0).standard_normal((11, 5)).astype(np.float32)
    other = rows.copy()
    other[3, 1] += 1
    found = compare_rows(matrix_of(rows), matrix_of(other))
    assert (found.rows, found.equal) == (11, 10)
    assert found.largest_deviation == pytest.approx(1)
    with pytest.raises(ConfigError, match=r"must have one shape, got \(11, 5\) and \(5, 11\)"):
        compare_rows(matrix_of(rows), matrix_of(rows.T))


def test_a_whole_section_of_a_trained_looking_model():
    model = model_of(tied=False)
    generator = np.random.default_rng(2)
    tokens = [b" word" + bytes([97 + row % 26, 97 + row // 26]) for row in range(VOCAB)]
    tokens[0] = b"\xff"
    tokens[-1] = b""
    counts = generator.integers(0, 50, VOCAB)
    trained = model.embedding.detach() * torch.from_numpy(1 + counts[:, None] / 50).float()
    trained[5] = trained[6]
    with torch.no_grad():
        model.embedding.copy_(trained)
    subject = subject_of(
        trained, model=model, output=matrix_of(model.unembedding_matrix), tied=False,
        initial=matrix_of(initial_embedding(model.config, 8)), tokens=tokens, counts=counts,
        special=frozenset([3]),
    )  # fmt: skip
    found = geometry_section(subject, seed=0, neighbours=5, named=["wordba", "nothing", "wordca"])
    assert json.dumps(found.values, allow_nan=False)
    assert all(json.dumps(table.records(), allow_nan=False) for table in found.tables.values())
    assert found.left_out == {"named words that are not one token of this tokenizer": 1}
    assert set(found.tables) == {
        "geometry_faults", "geometry_repeated", "geometry_lookup", "geometry_measures",
        "geometry_spectrum", "geometry_norms", "geometry_hubness", "geometry_occurrences",
        "geometry_hubs", "geometry_neighbours",
    }  # fmt: skip
    assert found.values["norm_by_count"]["seen"]["low"] > 0.5
    text = np.delete(counts, [3, VOCAB - 1])
    assert found.values["norm_by_count"]["seen"]["n"] == int((text > 0).sum())
    listed = found.tables["geometry_neighbours"].records()
    assert [row["token"] for row in listed[::5]] == [" wordba", " wordca"]
    assert found.tables["geometry_repeated"].records()[0]["ids"] == "5, 6"
    clouds = [row["cloud"] for row in found.tables["geometry_hubness"].records()]
    assert clouds == [
        "these rows, centred", "these rows, raw", "before training, centred",
        "before training, raw", "same spectrum, centred", "same spectrum, raw", "same spread",
    ]  # fmt: skip
    assert (
        found.tables
        == geometry_section(
            subject, seed=0, neighbours=5, named=["wordba", "nothing", "wordca"]
        ).tables
    )


def test_a_bare_matrix_has_what_can_be_said_of_it():
    rows = np.random.default_rng(3).standard_normal((60, 7))
    rows[11], rows[12, 2], rows[13, 0] = 0, np.nan, np.inf
    found = geometry_section(subject_of(rows), seed=0)
    assert found.left_out == {
        "rows that hold NaN": 1, "infinite rows": 1, "rows of zeros alone": 1
    }  # fmt: skip
    assert found.values["rows_measured"] == 57
    assert "geometry_norms" not in found.tables
    assert "geometry_lookup" not in found.tables
    named = geometry_section(subject_of(rows), seed=0, named=["4"]).tables["geometry_neighbours"]
    assert {row["token"] for row in named.records()} == {"row 4"}


def test_the_smallest_matrix_that_has_a_geometry():
    found = geometry_section(subject_of(np.array([[1.0, 0], [0, 2], [3, 3]])), seed=0, neighbours=1)
    assert found.values["neighbours"]["method"] == "exact"
    assert json.dumps([table.records() for table in found.tables.values()], allow_nan=False)


def test_rows_of_one_number_have_a_length_and_no_isotropy():
    found = geometry_section(subject_of(np.arange(1.0, 30)[:, None]), seed=0, neighbours=3)
    assert json.dumps([table.records() for table in found.tables.values()], allow_nan=False)
    assert "iso_score_centred" not in found.values["measures"]
    assert found.values["measures"]["mean_norm_raw"]["value"] == 15


def test_numbers_too_large_to_square_are_refused():
    rows = np.random.default_rng(0).standard_normal((30, 5)) * 1e30
    with pytest.raises(ConfigError, match=r"rows must be shorter than 1e\+17 .* norm of .*e\+30"):
        geometry_section(subject_of(rows), seed=0)


def test_settings_and_shapes_that_do_not_fit():
    subject = subject_of()
    for k in (0, VOCAB):
        with pytest.raises(ConfigError, match=f"fewer than the {VOCAB} rows .* got {k}"):
            geometry_section(subject, seed=0, neighbours=k)
    other = replace(subject, initial=matrix_of(np.ones((5, 5))))
    with pytest.raises(ConfigError, match=r"initial rows must have the shape of the rows, \(97"):
        geometry_section(other, seed=0)
    with pytest.raises(ConfigError, match="rows that differ, but all of them are equal"):
        geometry_section(subject_of(np.ones((9, 4))), seed=0, neighbours=2)
