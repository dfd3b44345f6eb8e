"""The result record: what is written comes back, and what is not such a record is refused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokkit import results
from tokkit.errors import ArtifactError
from tokkit.results import (
    Claim,
    Column,
    Control,
    Evidence,
    Result,
    Table,
    Verdict,
    collect_provenance,
    read_result,
    write_result,
)

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**9), 10**9)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text()
OBJECTS = st.dictionaries(
    st.text(), st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
)
TEXTS = st.text(max_size=20)
EVIDENCE = st.builds(
    Evidence,
    TEXTS,
    st.none() | NUMBERS,
    TEXTS,
    low=st.none() | NUMBERS,
    high=st.none() | NUMBERS,
    n=st.none() | st.integers(0, 10**6),
    test=st.none() | TEXTS,
    p=st.none() | st.floats(0, 1),
)
CONTROLS = st.builds(Control, TEXTS, st.none() | NUMBERS, st.floats(0, 1), st.booleans())
CLAIMS = st.builds(
    Claim,
    id=TEXTS,
    statement=TEXTS,
    verdict=st.sampled_from(get_args(Verdict)),
    rule=TEXTS,
    evidence=st.lists(EVIDENCE, max_size=2).map(tuple),
    controls=st.lists(CONTROLS, max_size=2).map(tuple),
    limits=st.lists(TEXTS, max_size=2).map(tuple),
)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    columns = draw(st.lists(st.builds(Column, TEXTS, TEXTS, TEXTS), min_size=1, max_size=3))
    row = st.tuples(*[SCALARS] * len(columns))
    return Table(draw(TEXTS), tuple(columns), tuple(draw(st.lists(row, max_size=3))))


RESULTS = st.builds(
    Result,
    kind=TEXTS,
    title=TEXTS,
    settings=OBJECTS,
    values=OBJECTS,
    tables=st.dictionaries(TEXTS, tables(), max_size=2),
    claims=st.lists(CLAIMS, max_size=2).map(tuple),
    provenance=OBJECTS,
    figures=st.lists(st.sampled_from(["accuracy.svg", "figures/a.png"]), max_size=2).map(tuple),
)


def small_result() -> Result:
    return Result(
        kind="experiment.strawberry",
        title="Strawberry",
        settings={"seeds": 3},
        values={"accuracy": {"bpe": 0.5}},
        tables={"cells": Table("Cells", (Column("arm", "Arm"),), (("bpe",),))},
        claims=(
            Claim(
                id="counting",
                statement="Hidden letters cannot be counted.",
                verdict="supported",
                rule="the interval lies above 0",
                evidence=(Evidence("gap", 0.4, "accuracy", low=0.3, high=0.5, n=6),),
                controls=(Control("char on C", 0.99, 0.95, True),),
                limits=("one size of model",),
            ),
        ),
        provenance={"seed": 0},
        figures=("accuracy.svg",),
    )


@given(result=RESULTS)
def test_a_result_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, result: Result
) -> None:
    folder = tmp_path_factory.getbasetemp() / "run"
    path = write_result(result, folder)
    assert read_result(path) == result
    assert read_result(folder) == result


def test_a_result_with_nan_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    write_result(small_result(), tmp_path)
    with pytest.raises(ArtifactError, match=r"result\.json cannot hold a NaN"):
        write_result(dataclasses.replace(small_result(), values={"x": float("nan")}), tmp_path)
    assert read_result(tmp_path) == small_result()


def test_a_folder_without_a_result_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(
        ArtifactError, match=r"holds no result\.json: give the folder of a finished"
    ):
        read_result(tmp_path)
    with pytest.raises(ArtifactError, match="does not exist: check the path"):
        read_result(tmp_path / "elsewhere.json")


def test_every_truncation_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write_result(small_result(), tmp_path)
    content = path.read_bytes()
    for length in range(0, len(content) - 2, 17):
        path.write_bytes(content[:length])
        with pytest.raises(ArtifactError) as caught:
            read_result(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "3", '{"schema": "tokkit/2"}', "{}"])
def test_another_schema_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(ArtifactError, match=r"is not a result of schema 'tokkit/1'"):
        read_result(path)


def change(record: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    place: Any = record
    for part in parents:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        ("values", ..., "'values' is missing"),
        ("values", [["a", 1]], "values must be dict, not list"),
        ("tables", [], "tables must be dict, not list"),
        ("tables/cells/rows/0", ["bpe", 2], "has 1 columns, but a row has 2 values"),
        ("tables/cells/rows/0", "bpe", "row must be list, not str"),
        ("claims/0/verdict", "maybe", "verdict 'maybe' is none of"),
        ("claims/0/evidence/0/value", "0.4", "value must be float | None, not str"),
        ("claims/0/evidence/0/n", True, "n must be int | None, not bool"),
        ("claims/0/evidence/0/name", ..., "missing 1 required"),
        ("claims/0/evidence/0/more", 1, "unexpected keyword argument 'more'"),
        ("claims/0/controls/0/holds", 1, "holds must be bool, not int"),
        ("claims/0/limits", "none", "limits must be list, not str"),
        ("figures", "a.svg", "figures must be list, not str"),
        ("figures/0", "../../secret.svg", "does not lie in the folder of the run"),
        ("figures/0", "/etc/passwd", "does not lie in the folder of the run"),
    ],
)
def test_a_record_of_another_shape_is_refused(
    tmp_path: Path, place: str, value: Any, fault: str
) -> None:
    path = write_result(small_result(), tmp_path)
    record = json.loads(path.read_text())
    change(record, place, value)
    path.write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match="is not a whole result record") as caught:
        read_result(path)
    assert fault in str(caught.value)


def test_a_table_gives_its_rows_as_records_and_refuses_ragged_ones() -> None:
    columns = (Column("arm", "Arm"), Column("accuracy", "Accuracy", "share"))
    table = Table("Cells", columns, (("bpe", 0.5), ("char", 1.0)))
    assert table.records()[1] == {"arm": "char", "accuracy": 1.0}
    with pytest.raises(ArtifactError, match="'Cells' has 2 columns, but a row has 1 values"):
        Table("Cells", columns, (("bpe",),))


def test_provenance_is_plain_json_and_says_where_a_number_comes_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/tokkit/__main__.py", "demo", "--out", "my runs"])
    provenance = collect_provenance(
        seeds=[0, 1], inputs={"words": "ab" * 32}, wall_seconds={"train": 1.23456}
    )
    assert json.loads(json.dumps(provenance, allow_nan=False)) == provenance
    assert provenance["command"] == "tokkit demo --out 'my runs'"
    assert provenance["wall_seconds"] == {"train": 1.235}
    assert provenance["input_sha256"] == {"words": "ab" * 32}
    assert {"numpy", "torch", "tokenizers"} <= provenance["packages"].keys()


def test_provenance_without_git_names_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_git(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    results._git_state.cache_clear()
    try:
        provenance = collect_provenance(seeds=[], inputs={}, wall_seconds={})
    finally:
        results._git_state.cache_clear()
    assert (provenance["git_commit"], provenance["git_dirty"]) == (None, None)
