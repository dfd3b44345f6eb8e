"""Matrices read by blocks, and what one look at every row finds."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tokkit.analysis import matrix as module
from tokkit.analysis.matrix import (
    ALL_ZERO,
    HOLDS_NAN,
    INFINITE,
    REPEATED,
    matrix_of,
    row_faults,
    stored_matrix,
    survey_rows,
)
from tokkit.errors import ArtifactError, ConfigError
from tokkit.model.weights import open_weights


def planted():
    rows = np.random.default_rng(1).standard_normal((31, 7)).astype(np.float32)
    rows[3] = 0
    rows[4, 2] = np.nan
    rows[5, 6] = -np.inf
    rows[6, 0], rows[6, 1] = np.nan, np.inf
    rows[11] = rows[20] = rows[2]
    rows[30] = rows[29]
    return rows


def test_each_fault_is_counted_and_equal_rows_are_named():
    found = survey_rows(matrix_of(planted()))
    assert np.flatnonzero(~found.usable).tolist() == [3, 4, 5, 6]
    assert found.counts == {HOLDS_NAN: 2, INFINITE: 1, ALL_ZERO: 1, REPEATED: 3}
    assert [group.tolist() for group in found.groups] == [[2, 11, 20], [29, 30]]
    usable, counts = row_faults(matrix_of(planted()))
    assert np.array_equal(usable, found.usable)
    assert counts == found.counts


def test_the_same_is_found_in_blocks_of_any_size_and_in_a_file(tmp_path, monkeypatch):
    whole = survey_rows(matrix_of(torch.from_numpy(planted()).bfloat16()))
    monkeypatch.setattr(module, "PASS_BYTES", 4 * 7 * 3)
    monkeypatch.setattr(module, "_RELEASED_BYTES", 50)
    save_file({"rows": torch.from_numpy(planted()).bfloat16()}, tmp_path / "model.safetensors")
    stored = stored_matrix(open_weights(tmp_path), "rows")
    found = survey_rows(stored)
    assert found.counts == whole.counts
    assert [group.tolist() for group in found.groups] == [group.tolist() for group in whole.groups]
    assert np.array_equal(stored.take([9, 2]), stored.whole()[[9, 2]])


def test_zero_and_minus_zero_are_one_number():
    rows = np.array([[0.0, 1.0], [-0.0, 1.0], [-0.0, -0.0], [2.0, 1.0]], np.float32)
    found = survey_rows(matrix_of(rows))
    assert [group.tolist() for group in found.groups] == [[0, 1]]
    assert found.counts[ALL_ZERO] == 1


def test_rows_that_share_a_hash_are_compared_number_for_number(monkeypatch):
    def blind(bits, multipliers, magnitude, digest):
        magnitude[:], digest[:] = 1, 7

    monkeypatch.setattr("tokkit.analysis.matrix_kernels.survey", blind)
    rows = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]], np.float32)
    assert [group.tolist() for group in survey_rows(matrix_of(rows)).groups] == [[0, 2]]


def test_subnormal_and_huge_rows_can_be_measured():
    rows = np.array([[1e-40, 0], [3e38, 3e38], [1, 2]], np.float32)
    assert survey_rows(matrix_of(rows)).usable.all()


def test_fewer_than_two_rows_to_measure_is_an_error():
    with pytest.raises(ConfigError, match="geometry needs 2 rows or more that can be measured, "
                                          "but 'matrix' has 1 of 1: name another"):  # fmt: skip
        row_faults(matrix_of(np.ones((1, 5))))
    rows = np.zeros((3, 5))
    rows[0], rows[1] = 1, np.nan
    with pytest.raises(ConfigError, match=r"has 1 of 3 \(1 rows that hold NaN, 1 rows of zeros"):
        row_faults(matrix_of(rows))


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 3), (3, 0)])
def test_what_is_no_matrix_is_refused(shape):
    with pytest.raises(ConfigError, match="an embedding is a matrix of rows and columns, but"):
        matrix_of(np.zeros(shape))


def test_words_are_refused():
    with pytest.raises(ConfigError, match="a matrix holds numbers, got values of type <U1"):
        matrix_of(np.array([["a", "b"]]))


def written(path, dtype, shape, octets):
    header = {"rows": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(octets)]}}
    told = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(told)) + told + octets)
    return path


def test_files_that_cannot_be_used_say_why(tmp_path):
    path = written(tmp_path / "a.safetensors", "BF16", [3, 2, 2], bytes(24))
    with pytest.raises(ConfigError, match=r"'rows' has the shape \[3, 2, 2\]: name another"):
        stored_matrix(open_weights(path), "rows")
    whole = written(tmp_path / "b.safetensors", "BF16", [4, 2], bytes(16)).read_bytes()
    cut = tmp_path / "c.safetensors"
    cut.write_bytes(whole[:-3])
    with pytest.raises(ArtifactError, match="must begin and end within 13 bytes"):
        open_weights(cut)
    unknown = written(tmp_path / "d.safetensors", "Q4_K", [4, 2], bytes(16))
    with pytest.raises(ArtifactError, match="must be of a type among F64, F32"):
        open_weights(unknown)
    integers = written(tmp_path / "e.safetensors", "I8", [4, 2], bytes(8))
    with pytest.raises(ArtifactError, match="is stored as I8, and weights are read from F64"):
        stored_matrix(open_weights(integers), "rows")
