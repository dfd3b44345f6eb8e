"""The command `tokkit analyze feedforward`: a page, JSON, units.npz, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tokenizer.foreign_files import learned

from tokkit.cli.main import cli, run
from tokkit.model.checkpoint import save_checkpoint
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.results import read_result

TOKENIZER = learned("gpt2")
SETTINGS = {
    "vocab_size": TOKENIZER.vocab_size, "width": 16, "layers": 2, "query_heads": 2,
    "hidden_width": 13, "context": 32,
}  # fmt: skip


def saved(folder, **changed):
    model = Transformer(ModelConfig(**SETTINGS, **changed), seed=3)
    save_checkpoint(folder, model, TOKENIZER.to_json(), {"seed": 3})
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("feedforward") / "small")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "cats.txt"
    path.write_text("".join(f"{n} cats chased {n + 7} tired dogs. " for n in range(200)))
    return path


def call(*arguments):
    arguments = ["analyze", "feedforward", *map(str, arguments)]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def failed(capsys, *arguments):
    code = run(["analyze", "feedforward", *map(str, arguments)])
    return code, capsys.readouterr().err


def test_a_model_gives_a_page(checkpoint, text, tmp_path):
    out = tmp_path / "out"
    shown = call(checkpoint, "--text", text, "--out", out, "--layer", 1, "--unit", 12, "-v")
    assert shown.exit_code == 0
    result = read_result(out)
    assert result.kind == "analysis.feedforward"
    assert result.title == "Feed-forward layers of small"
    assert result.settings["text"] == "files"
    row = result.tables["units"].records()[0]
    assert (row["layer"], row["unit"], row["why"]) == (1, 12, "asked for")
    assert "Units\t26" in shown.stdout
    assert "units.npz" in shown.stderr
    assert (out / "index.html").is_file()
    with np.load(out / "units.npz", allow_pickle=False) as units:
        assert units["places"].shape == (2, 13, 8)
        tokens = units["windows"].reshape(-1)[units["places"]]
        assert np.array_equal(tokens, units["tokens"])


def test_json_is_the_result_and_the_seed_decides(checkpoint, text):
    first, again = (json.loads(call(checkpoint, "--text", text, "--json").stdout) for _ in "ab")
    other = json.loads(call(checkpoint, "--text", text, "--json", "--seed", 1).stdout)
    assert first["tables"] == again["tables"]
    assert first["tables"]["units"] != other["tables"]["units"]


def test_a_mixture_is_told_of_its_experts(tmp_path, text):
    place = saved(tmp_path / "experts", experts=3, experts_per_token=2, expert_width=5)
    shown = call(place, "--text", text, "--out", tmp_path / "out", "-q")
    assert shown.exit_code == 0
    assert "Experts of such a layer\t3" in shown.stdout
    assert not (tmp_path / "out" / "units.npz").exists()


def test_what_is_refused(capsys, checkpoint, text, tmp_path):
    assert failed(capsys, "smolm")[0] == 1
    assert failed(capsys, checkpoint, "--text", tmp_path / "none.txt")[0] == 1
    (tmp_path / "empty.txt").write_text("")
    code, error = failed(capsys, checkpoint, "--text", tmp_path / "empty.txt")
    assert code == 1
    assert "Traceback" not in error
    code, error = failed(capsys, checkpoint, "--text", text, "--layer", 2)
    assert (code, "0..1, got layer 2" in error) == (2, True)
    code, error = failed(capsys, checkpoint, "--text", text, "--layer", 1, "--unit", 13)
    assert (code, "0..12, got unit 13" in error) == (2, True)
    code, error = failed(capsys, checkpoint, "--text", text, "--unit", 1)
    assert (code, "give the layer too" in error) == (2, True)


def test_damaged_weights_are_refused(capsys, text, tmp_path):
    model = Transformer(ModelConfig(**SETTINGS), seed=3)
    with torch.no_grad():
        model.embedding.fill_(torch.nan)
    save_checkpoint(tmp_path / "nan", model, TOKENIZER.to_json(), {})
    code, error = failed(capsys, tmp_path / "nan", "--text", text, "-q")
    assert code == 1
    assert "must be finite" in error


def test_help_loads_neither_torch_nor_numpy():
    code = """if True:
        import sys
        from tokkit.cli.main import run
        run(["analyze", "feedforward", "--help"])
        sys.exit("torch" in sys.modules or "matplotlib" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
    assert b"--unit" in done.stdout
