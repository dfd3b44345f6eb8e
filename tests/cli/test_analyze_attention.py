"""The command `tokkit analyze attention`: a page, JSON, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from tokenizer.foreign_files import learned

from tokkit.analysis.attention import mask_claim
from tokkit.analysis.attention import run as analysis
from tokkit.analysis.section import Section
from tokkit.cli.main import cli, run
from tokkit.model.checkpoint import save_checkpoint
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.results import read_result

TOKENIZER = learned("gpt2")
CONFIG = ModelConfig(vocab_size=TOKENIZER.vocab_size, width=16, layers=2, query_heads=2, context=32)


@pytest.fixture(autouse=True)
def _fewer(monkeypatch):
    monkeypatch.setattr(mask_claim, "small_models", lambda seed: {})
    monkeypatch.setattr(analysis, "agreement_section", lambda *_, **__: Section({}))


def saved(folder, model):
    save_checkpoint(folder, model, TOKENIZER.to_json(), {"seed": 3})
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("attention") / "small", Transformer(CONFIG, seed=3))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "cats.txt"
    path.write_text("".join(f"{n} cats chased {n + 7} tired dogs. " for n in range(100)))
    return path


def call(*arguments):
    arguments = ["analyze", "attention", *map(str, arguments)]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def failed(capsys, *arguments):
    code = run(["analyze", "attention", *map(str, arguments)])
    return code, capsys.readouterr().err


def test_a_model_gives_a_page(checkpoint, text, tmp_path):
    given = (checkpoint, "--text", text, "--out", tmp_path / "out", "--seed", 4)
    shown = call(*given, "--sentence", "a cat was", "--layer", 1, "--head", 0)
    assert shown.exit_code == 0
    result = read_result(tmp_path / "out")
    assert result.kind == "analysis.attention"
    assert result.title == "Attention of small"
    assert (result.values["shown_layer"], result.values["shown_head"]) == (1, 0)
    assert (tmp_path / "out" / "index.html").is_file()
    assert (tmp_path / "out" / "attention.md").is_file()
    assert "causal-mask: supported" in shown.stdout
    assert "page: " in shown.stderr


def test_json_is_the_result_and_the_seed_decides(checkpoint, text):
    first, again = (json.loads(call(checkpoint, "--text", text, "--json").stdout) for _ in "ab")
    other = json.loads(call(checkpoint, "--text", text, "--json", "--seed", 1).stdout)
    assert first["tables"] == again["tables"]
    assert first["tables"]["induction"] != other["tables"]["induction"]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (("--layer", 2), "layer must lie in 0..1, got 2"),
        (("--head", -1), "head must lie in 0..1, got -1"),
        (("--sentence", ""), "sentence must not be empty"),
        (("--sentence", "a"), "at least 2 tokens, got 1"),
        (("--sentence", "a b " * 40), "the model's context is 32"),
    ],
)
def test_what_is_refused(capsys, checkpoint, text, given, fault):
    code, error = failed(capsys, checkpoint, "--text", text, "-q", *given)
    assert code == (2 if "must lie" in fault else 1)
    assert fault in error


def test_texts_and_models_that_are_none(capsys, checkpoint, tmp_path):
    assert failed(capsys, "smolm")[0] == 1
    assert failed(capsys, checkpoint, "--text", tmp_path / "none.txt")[0] == 1
    (tmp_path / "empty.txt").write_text("")
    code, error = failed(capsys, checkpoint, "--text", tmp_path / "empty.txt", "-q")
    assert code == 1
    assert "error" in error.lower()


def test_damaged_weights_are_refused(capsys, text, tmp_path):
    model = Transformer(CONFIG, seed=3)
    with torch.no_grad():
        model.embedding.fill_(torch.nan)
    code, error = failed(capsys, saved(tmp_path / "nan", model), "--text", text, "-q")
    assert code == 1
    assert "must be finite" in error


def test_help_loads_neither_torch_nor_matplotlib():
    code = """if True:
        import sys
        from tokkit.cli.main import run
        run(["analyze", "attention", "--help"])
        sys.exit("torch" in sys.modules or "matplotlib" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
    assert b"--sentence" in done.stdout
