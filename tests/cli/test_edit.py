"""The command `tokkit edit`: a new checkpoint, a page, the way back, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from tokenizer.foreign_files import learned

from tokkit.cli.main import cli, run
from tokkit.model.checkpoint import load_checkpoint, save_checkpoint
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.results import read_result

TOKENIZER = learned("gpt2")
CONFIG = ModelConfig(
    vocab_size=TOKENIZER.vocab_size, width=16, layers=3, query_heads=2, context=64, hidden_width=29
)
FACT = ("--subject", "lazy dog", "--prompt", "The {} jumps over the", "--target", "strawberry")
SMALL = ("--tokens", 256, "--steps", 2, "--draws", 2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edit") / "small"
    save_checkpoint(folder, Transformer(CONFIG, seed=3), TOKENIZER.to_json(), {"seed": 3})
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "cats.txt"
    path.write_text("".join(f"{n} cats chased {n + 7} tired dogs. " for n in range(200)))
    return path


@pytest.fixture(scope="module")
def edited(checkpoint, text, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "edited"
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    shown = call(
        checkpoint, *FACT, *SMALL, "--text", text, "--paraphrase", "Over the {} jumps a",
        "--neighbour", "The quick fox jumps over the", "--out", out,
    )  # fmt: skip
    assert shown.exit_code == 0, shown.output
    assert before == {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    return out, shown


def call(*arguments):
    return CliRunner().invoke(cli, ["edit", *map(str, arguments)], catch_exceptions=False)


def failed(capsys, *arguments):
    code = run(["edit", *map(str, arguments)])
    return code, capsys.readouterr().err


def test_it_gives_a_page_and_a_checkpoint(edited, checkpoint):
    out, shown = edited
    result = read_result(out)
    assert result.kind == "analysis.editing"
    assert result.title == "lazy dog: strawberry, in small"
    assert set(result.tables) == {"prompts", "trials", "sweep", "trace", "trace_tokens"}
    assert [row["kind"] for row in result.tables["prompts"].records()] == [
        "prompt", "paraphrase", "neighbour",
    ]  # fmt: skip
    assert (out / "index.html").is_file()
    assert len(list((out / "moments").iterdir())) == 2  # layers that can be edited
    assert "The lazy dog jumps over the" in shown.stdout
    assert "page: " in shown.stderr
    old, new = load_checkpoint(checkpoint), load_checkpoint(out / "model")
    assert new.about["edits"][0]["target"] == "strawberry"
    assert new.about["seed"] == 3
    layer = result.values["layer"]
    differ = [
        name
        for name, tensor in old.model.state_dict().items()
        if not torch.equal(tensor, new.model.state_dict()[name])
    ]
    assert differ == [f"blocks.{layer}.feedforward.down.weight"]


def test_the_edited_model_generates_is_exported_and_edited_again(edited, text, tmp_path):
    out, _ = edited
    shown = CliRunner().invoke(
        cli, ["model", "generate", str(out), "The lazy dog", "--max-new-tokens", "3"]
    )
    assert shown.exit_code == 0, shown.output
    shown = CliRunner().invoke(cli, ["model", "export", str(out), "--out", str(tmp_path / "hf")])
    assert shown.exit_code == 0, shown.output
    again = call(
        out, "--subject", "fox", "--prompt", "A quick {} says", "--target", "berry", *SMALL,
        "--layer", 0, "--no-trace", "--text", text, "--out", tmp_path / "twice", "--json", "-q",
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    record = json.loads(again.stdout)
    assert record["values"]["layer"] == 0
    assert "trace" not in record["tables"]
    assert len(load_checkpoint(tmp_path / "twice" / "model").about["edits"]) == 2


@pytest.mark.parametrize("part", ["", "model"])
def test_an_edit_is_taken_back_bit_for_bit(edited, checkpoint, tmp_path, part):
    out, _ = edited
    shown = call(out / part, "--undo", "--out", tmp_path / "back")
    assert shown.exit_code == 0, shown.output
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == (
        checkpoint / "model.safetensors"
    ).read_bytes()
    assert "edits" not in load_checkpoint(tmp_path / "back").about


def test_the_way_back_goes_nowhere_else(edited, checkpoint, tmp_path, capsys):
    out, _ = edited
    code, said = failed(capsys, checkpoint, "--undo", "--out", tmp_path / "back")
    assert (code, "holds no edit.safetensors" in said) == (1, True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    code, said = failed(capsys, out, "--undo", "--out", tmp_path / "full")
    assert (code, "it is not empty" in said) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give --subject, --prompt and --target for one fact, or --study, or --undo"),
        ((*FACT, "--undo"), "for one fact, or --study, or --undo"),
        (FACT[:4], "give --target"),
        ((*FACT, "--layer", 1, "--sweep", 2), "give one of them"),
        ((*FACT, "--facts", 3), "--facts is of --study"),
        (("--study", "--neighbour", "A fox is"), "--neighbour is about one fact"),
        ((*FACT, "--layer", 9), "the layer must lie in 0..2, got 9"),
        ((*FACT, "--layer", 2), "layer 2 is the last"),
    ],
)
def test_wrong_usage(checkpoint, tmp_path, capsys, arguments, said):
    code, error = failed(capsys, checkpoint, *arguments, "--out", tmp_path / "new")
    assert code == 2
    assert said in error
    assert not (tmp_path / "new" / "model").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"--prompt": "The lazy dog jumps"}, "must hold {} once"),
        ({"--prompt": "{} " * 2 + "jumps"}, "must hold {} once"),
        ({"--prompt": "{} " + "jumps " * 90 + "over"}, "but the model's context is 64"),
        ({"--target": " "}, "the target must not be empty"),
        ({"--answer": "strawberry"}, "does not know this fact"),
        ({"--paraphrase": "The {} "}, "a paraphrase must be a text"),
    ],
)
def test_facts_that_cannot_be_edited(checkpoint, text, tmp_path, capsys, changed, said):
    given = dict(zip(FACT[::2], FACT[1::2], strict=True)) | changed
    words = [word for pair in given.items() for word in pair]
    out = tmp_path / "new"
    code, error = failed(capsys, checkpoint, *words, "--text", text, "--out", out)
    assert code == 1
    assert said in error
    assert not (out / "model").exists()


def test_the_original_is_never_the_place(checkpoint, text, capsys):
    code, error = failed(capsys, checkpoint, *FACT, "--text", text, "--out", checkpoint)
    assert code == 2
    assert "the original is not touched" in error
    assert not (checkpoint / "moments").exists()


def test_a_model_with_escapes_in_its_answers_does_not_reach_the_terminal(edited):
    _, shown = edited
    assert "\x1b" not in shown.stdout
