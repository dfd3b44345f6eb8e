"""The command `tokkit analyze positions`: a page, JSON, presets, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

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
CONFIG = ModelConfig(vocab_size=TOKENIZER.vocab_size, width=16, layers=2, query_heads=2, context=32)


def saved(folder, model):
    save_checkpoint(folder, model, TOKENIZER.to_json(), {"seed": 3})
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("positions") / "small", Transformer(CONFIG, seed=3))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "cats.txt"
    path.write_text("".join(f"{n} cats chased {n + 7} tired dogs. " for n in range(200)))
    return path


def call(*arguments):
    arguments = ["analyze", "positions", *map(str, arguments)]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def failed(capsys, *arguments):
    code = run(["analyze", "positions", *map(str, arguments)])
    return code, capsys.readouterr().err


def test_a_model_gives_a_page(checkpoint, text, tmp_path):
    shown = call(checkpoint, "--text", text, "--out", tmp_path / "out", "--seed", 4)
    assert shown.exit_code == 0
    result = read_result(tmp_path / "out")
    assert result.kind == "analysis.positions"
    assert result.title == "Positions of small"
    assert result.settings["seed"] == 4
    assert result.values["intervals_over"] == "windows"  # one text, cut into windows
    assert (tmp_path / "out" / "index.html").is_file()
    assert (tmp_path / "out" / "positions.md").is_file()
    assert "rope-is-relative: supported" in shown.stdout
    assert "Rotary pairs\t4" in shown.stdout
    assert "page: " in shown.stderr


def test_json_is_the_result_and_the_seed_decides(checkpoint, text):
    first, again = (json.loads(call(checkpoint, "--text", text, "--json").stdout) for _ in "ab")
    other = json.loads(call(checkpoint, "--text", text, "--json", "--seed", 1).stdout)
    assert first["tables"] == again["tables"]
    assert first["tables"]["heads"] != other["tables"]["heads"]


def test_the_default_text_is_built_in(checkpoint):
    result = json.loads(call(checkpoint, "--json", "--tokens", 640, "-q").stdout)
    assert result["values"]["intervals_over"] == "documents"
    assert result["settings"]["tokens"] == 640


def test_a_preset_needs_no_weights():
    shown = call("gpt2")
    assert shown.exit_code == 0
    assert "Scheme\tlearned" in shown.stdout
    assert "Heads" not in shown.stdout


def test_what_is_refused(capsys, checkpoint, tmp_path):
    code, error = failed(capsys, "smolm")
    assert code == 1
    assert "smolm does not exist" in error
    assert failed(capsys, checkpoint, "--text", tmp_path / "none.txt")[0] == 1
    (tmp_path / "short.txt").write_text("a b")
    code, error = failed(capsys, checkpoint, "--text", tmp_path / "short.txt")
    assert code == 1
    assert "give longer texts" in error


def test_damaged_weights_are_refused(capsys, text, tmp_path):
    model = Transformer(CONFIG, seed=3)
    with torch.no_grad():
        model.embedding.fill_(torch.nan)
    code, error = failed(capsys, saved(tmp_path / "nan", model), "--text", text, "-q")
    assert code == 1
    assert "must be finite" in error


def test_help_loads_neither_torch_nor_numpy():
    code = """if True:
        import sys
        from tokkit.cli.main import run
        run(["analyze", "positions", "--help"])
        sys.exit("torch" in sys.modules or "matplotlib" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
    assert b"MODEL|PRESET" in done.stdout
