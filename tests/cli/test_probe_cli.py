"""`tokkit probe ask`: the way of a question, for people and as JSON, and what it refuses."""

import json
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner
from experiments.conftest import TINY

from tokkit.cli.main import cli, run
from tokkit.experiments.strawberry import run_strawberry

QUESTION = "How many r's are in strawberry?"
SMALL = replace(TINY, seeds=2, steps=2, curve_points=1, arms=("bpe", "opaque", "placebo"))


@pytest.fixture(scope="module")
def run_of_arms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run_strawberry(SMALL, folder, jobs=1)
    return folder


def ask(*arguments):
    return CliRunner().invoke(cli, ["probe", "ask", *map(str, arguments)], catch_exceptions=False)


def failed(capsys, *arguments):
    code = run(["probe", "ask", *map(str, arguments)])
    return code, capsys.readouterr().err


def test_the_way_through_one_model(run_of_arms):
    shown = ask(QUESTION, "--model", run_of_arms / "models" / "bpe-1")
    assert shown.exit_code == 0
    assert "letters it hides" in shown.stdout
    assert "nearest rows" in shown.stdout
    assert "truth: 3" in shown.stdout
    assert "the letters s t r a w b e r r y?" in shown.stdout


def test_json_holds_the_whole_way(run_of_arms):
    shown = ask(QUESTION, "--model", run_of_arms / "models" / "bpe-0", "--json")
    (model,) = json.loads(shown.stdout)["models"]
    asked, spelled = model["asked"], model["spelled"]
    assert (asked["arm"], asked["seed"], asked["truth"], spelled["truth"]) == ("bpe", 0, 3, 3)
    assert "".join(token["text"] for token in asked["tokens"]) == QUESTION
    hidden = [token["hidden"] for token in asked["tokens"] if token["hidden"]]
    assert all(len(letters) > 1 for letters in hidden)
    assert not any(token["hidden"] for token in spelled["tokens"])
    for token in asked["tokens"]:
        assert len(token["norms"]) == len(token["ids"]) == len(token["nearest"])
        assert all(len(near) == 3 for near in token["nearest"])
    for step in asked["steps"]:
        probabilities = [p for _, p in step["candidates"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert step["probability"] == pytest.approx(max(probabilities))
    product = 1.0
    for step in asked["steps"]:
        product *= step["probability"]
    assert asked["probability"] == pytest.approx(product)


def test_a_run_folder_shows_its_arms_side_by_side(run_of_arms):
    shown = json.loads(ask(QUESTION, "--model", run_of_arms, "--seed", 1, "--json").stdout)
    assert [m["asked"]["model"] for m in shown["models"]] == ["bpe-1", "opaque-1", "placebo-1"]
    ids = {m["asked"]["arm"]: sum(len(t["ids"]) for t in m["asked"]["tokens"])
           for m in shown["models"]}  # fmt: skip
    assert ids["opaque"] == ids["bpe"] + len("strawberry") - (ids["bpe"] - 4)
    assert ids["placebo"] == ids["bpe"]
    text = ask(QUESTION, "--model", run_of_arms)
    assert all(name in text.stdout for name in ("bpe-0", "opaque-0", "placebo-0"))
    assert "bpe-1" not in text.stdout


def test_text_that_is_no_known_question_has_no_truth(run_of_arms):
    shown = ask("a <|end|> \x1b[31mred?", "--model", run_of_arms / "models" / "bpe-0")
    assert shown.exit_code == 0
    assert "\x1b[31m" not in shown.output
    assert "truth is not known" in shown.stderr
    (model,) = json.loads(
        ask("a <|end|>", "--model", run_of_arms / "models" / "bpe-0", "--json").stdout
    )["models"]
    assert model["spelled"] is None
    # Text that spells a special token is text: its id is in no token of the question.
    assert all(0 not in token["ids"] for token in model["asked"]["tokens"])


def test_what_cannot_be_asked(run_of_arms, tmp_path, capsys):
    model = run_of_arms / "models" / "bpe-0"
    assert failed(capsys, " ", "--model", model) == (
        1,
        'error: the question is empty: ask for example "How many r\'s are in strawberry?"\n',
    )
    code, said = failed(capsys, QUESTION, "--model", tmp_path / "none")
    assert (code, said.count("\n")) == (1, 1)
    assert "does not exist" in said
    code, said = failed(capsys, QUESTION, "--model", tmp_path)
    assert code == 1
    assert "holds no trained model" in said
    code, said = failed(capsys, QUESTION, "--model", run_of_arms, "--seed", 7)
    assert code == 1
    assert "no trained model of seed 7" in said
    code, said = failed(capsys, QUESTION, "--model", model, "--seed", 1)
    assert code == 1
    assert "no trained model of seed 1" in said
    code, said = failed(capsys, "How many r's are in " + "r" * 99 + "?", "--model", model)
    assert code == 1
    assert "shorten the text" in said


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: (m / "model.safetensors").unlink(), "lacks"),
        (lambda m: (m / "tokenizer.json").unlink(), "lacks"),
        (lambda m: (m / "model.safetensors").write_bytes(b"\0" * 40), "cut, altered or from"),
        (lambda m: (m / "tokenizer.json").write_text("{}"), "cut, altered or from another model"),
        (lambda m: (m / "config.json").write_text("{"), "not valid JSON"),
    ],
)
def test_a_broken_checkpoint_is_told_in_one_line(run_of_arms, tmp_path, capsys, damage, message):
    model = shutil.copytree(run_of_arms / "models" / "bpe-0", tmp_path / "model")
    damage(model)
    code, said = failed(capsys, QUESTION, "--model", model)
    assert (code, said.count("\n")) == (1, 1)
    assert message in said
