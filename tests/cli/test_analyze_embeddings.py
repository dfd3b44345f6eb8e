"""`tokkit analyze embeddings`: what it prints and leaves, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from tokkit.cli.main import run
from tokkit.results import read_result


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A file with an embedding, its output, and a row of each fault."""
    path = tmp_path_factory.mktemp("bare") / "model.safetensors"
    rows = torch.randn(211, 13, generator=torch.Generator().manual_seed(1))
    rows[3], rows[5, 0], rows[7, 1], rows[11] = 0, float("nan"), float("inf"), rows[12]
    output = torch.randn(211, 13, generator=torch.Generator().manual_seed(2))
    save_file({"wte.weight": rows, "lm_head.weight": output, "bias": torch.zeros(13)}, path)
    return path


def test_a_bare_file_and_its_page(bare, tmp_path, capsys):
    assert run(["analyze", "embeddings", str(bare), "--out", str(tmp_path / "run")]) == 0
    out, err = capsys.readouterr()
    assert "iso score, centred" in out
    assert "measuring: geometry" in err
    result = read_result(tmp_path / "run")
    assert result.kind == "analysis.embeddings"
    assert result.settings["tensor"] == "wte.weight"
    assert sum(result.values["geometry"]["left_out"].values()) == 3, "zero, NaN, infinite"
    assert result.values["geometry"]["rows_measured"] == 208
    assert set(result.values["not_measured"]) == {"meaning", "untrained", "spelling"}
    page = (tmp_path / "run" / "index.html").read_text()
    assert "Geometry of the rows" in page
    assert "Not measured" in page
    assert list((tmp_path / "run" / "figures").glob("*.png"))


def test_json_is_one_object_and_quiet_says_nothing(bare, capsys):
    assert run(["analyze", "embeddings", str(bare), "--json", "-q", "--neighbours", "3"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["settings"]["neighbours"] == 3
    assert err == ""


def test_the_same_seed_gives_the_same_numbers(bare, capsys):
    def numbers(seed):
        assert run(["analyze", "embeddings", str(bare), "--json", "-q", "--seed", seed]) == 0
        found = json.loads(capsys.readouterr().out)
        return {name: found[name] for name in ("values", "tables")}

    assert numbers("1") == numbers("1")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--tensor", "wpe.weight"], 1, "holds no tensor 'wpe.weight'"),
        (["--tensor", "bias"], 2, "'bias' has the shape [13]: name another tensor"),
        (["--neighbours", "100", "--counts", "c.npz"], 2, "give --tokenizer beside --counts"),
        (["--tokenizer", "nowhere.json"], 1, "nowhere.json does not exist"),
    ],
)
def test_what_is_refused(bare, capsys, options, code, message):
    assert run(["analyze", "embeddings", str(bare), *options]) == code
    err = " ".join(capsys.readouterr().err.split())
    assert message in err
    assert "Traceback" not in err


def test_a_file_that_is_cut(bare, tmp_path, capsys):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(bare.read_bytes()[:-40])
    assert run(["analyze", "embeddings", str(cut)]) == 1
    assert "get it again" in " ".join(capsys.readouterr().err.split())


def test_too_few_rows(tmp_path, capsys):
    path = tmp_path / "one.safetensors"
    save_file({"wte.weight": torch.ones(1, 5)}, path)
    assert run(["analyze", "embeddings", str(path)]) == 2
    assert "needs 2 rows or more that can be measured" in " ".join(capsys.readouterr().err.split())


def test_a_model_that_is_not_there(capsys):
    assert run(["analyze", "embeddings", "nowhere"]) == 1
    assert "nowhere does not exist" in capsys.readouterr().err
