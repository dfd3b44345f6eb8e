"""`tokkit model generate`: text, steps, scores and the claim; what is escaped and refused."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from tokenizer.foreign_files import learned

from tokkit.cli.main import cli, run
from tokkit.cli.model_generate import _escaped
from tokkit.errors import InputError
from tokkit.model.checkpoint import save_checkpoint
from tokkit.model.config import ModelConfig
from tokkit.model.generation import generate_ids
from tokkit.model.transformer import Transformer
from tokkit.probes.chat import chat_ids
from tokkit.results import read_result

TOKENIZER = learned("gpt2")
END = TOKENIZER.token_id("<|end|>")


@pytest.fixture(scope="module")
def model():
    config = ModelConfig(
        vocab_size=TOKENIZER.vocab_size, width=30, layers=2, query_heads=3, context=40
    )
    made, noise = Transformer(config, seed=1).eval(), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=noise), alpha=0.2)
    return made


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate") / "small"
    save_checkpoint(folder, model, TOKENIZER.to_json(), {})
    return folder


def call(*arguments, **more):
    arguments = ["model", "generate", *map(str, arguments)]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False, **more)


def failed(capsys, *arguments):
    code = run(["model", "generate", *map(str, arguments)])
    return code, capsys.readouterr().err


def expected(model, prompt, new):
    (ids,) = generate_ids(model, [TOKENIZER.encode(prompt)], max_new_tokens=new, stop_ids=[END])
    return TOKENIZER.decode([token for token in ids if token != END])


def test_the_text_is_the_models_and_nothing_else_is_on_stdout(model, checkpoint):
    shown = call(checkpoint, "strawberry", "--max-new-tokens", 9)
    assert shown.exit_code == 0
    text = expected(model, "strawberry", 9)
    assert shown.stdout == f"{_escaped(text)}\n"
    assert shown.stderr == ""
    record = json.loads(call(checkpoint, "strawberry", "--max-new-tokens", 9, "--json").stdout)
    (found,) = record["values"]["texts"]
    assert found["text"] == text
    assert record["kind"] == "model.generate"
    assert len(record["tables"]["steps"]["rows"]) == len(found["ids"])


def test_control_characters_are_escaped_and_newlines_are_not(model, checkpoint, monkeypatch):
    assert _escaped("a\x1b[31m\n\tb\u202e\r") == "a\\x1b[31m\n\tb\\u202e\\r"
    forced = TOKENIZER.encode("\x1b[31m\n\tx")
    logits = iter([torch.eye(model.config.vocab_size)[token][None] for token in forced])
    monkeypatch.setattr(
        "tokkit.model.row_stepping.RowStepper.__call__", lambda s, ids: next(logits)
    )
    shown = call(checkpoint, "raw", "--max-new-tokens", len(forced) + 1)
    assert "\x1b" not in shown.stdout
    assert "\\x1b[31m\n\tx" in shown.stdout


def test_several_prompts_files_and_stdin(model, checkpoint, tmp_path):
    (tmp_path / "prompt.txt").write_text("how many\nberries\n")
    shown = call(
        checkpoint, "raw", "--prompt-file", tmp_path / "prompt.txt", "--prompt-file", "-",
        "--json", "--max-new-tokens", 5, input="straw\n",
    )  # fmt: skip
    texts = json.loads(shown.stdout)["values"]["texts"]
    assert [text["prompt"] for text in texts] == ["raw", "how many\nberries", "straw"]
    for text in texts:
        assert text["text"] == expected(model, text["prompt"], 5)
    lines = call(checkpoint, "raw", "straw", "--max-new-tokens", 3).stdout
    assert "[1] raw\n" in lines
    assert "[2] straw\n" in lines


def test_seeds_and_sampling(checkpoint):
    asked = (checkpoint, "raw", "--temperature", 1.5, "--top-p", 0.95, "--json", "--seed")

    def text(seed):
        return json.loads(call(*asked, seed).stdout)["values"]["texts"][0]

    assert text(3) == text(3)
    assert text(3) != text(4)


def test_a_stop_string_ends_the_text(model, checkpoint):
    whole = expected(model, "strawberry", 20)
    stop = whole[5:7]
    record = json.loads(call(checkpoint, "strawberry", "--max-new-tokens", 20, "--stop", stop,
                             "--json").stdout)  # fmt: skip
    (text,) = record["values"]["texts"]
    assert text["text"] == whole[: whole.index(stop)]
    assert text["ended"] == "stop string"


def test_steps_and_scores_are_shown(checkpoint):
    shown = call(checkpoint, "raw", "--show-steps", "--max-new-tokens", 3)
    assert "prompt\tstep\tid\ttoken\tp\tlikeliest" in shown.stdout
    scored = call(checkpoint, "raw", "--score", "berry", "--score", " straw", "--json")
    first, second = json.loads(scored.stdout)["values"]["scores"]
    assert (first["continuation"], second["continuation"]) == ("berry", " straw")
    for one in (first, second):
        total = sum(token["log_probability"] for token in one["tokens"])
        assert one["log_probability"] == pytest.approx(total)
        assert "".join(token["text"] for token in one["tokens"]) == one["continuation"]
    assert call(checkpoint, "raw", "--score", "berry").stdout.startswith("prompt\tcontinuation")


@pytest.mark.parametrize("sampling", [(), ("--temperature", 1, "--repetition-penalty", 1.2)])
def test_the_claim_is_written_with_its_evidence(checkpoint, tmp_path, sampling):
    shown = call(
        checkpoint, "raw", "straw", "--max-new-tokens", 9, "--out", tmp_path / "run", *sampling
    )
    page = (tmp_path / "run" / "index.html").read_text()
    assert "What was written" in page
    assert "prompt_ids" not in page, "records are for result.json"
    assert "one-token-at-a-time: supported" in shown.stderr
    result = read_result(tmp_path / "run")
    (claim,) = result.claims
    assert claim.verdict == "supported"
    same, apart, before = (evidence.value for evidence in claim.evidence)
    assert same == 1
    assert apart < 1e-5
    assert before == 0
    assert claim.controls[0].holds


def test_the_claim_does_not_hold_of_a_text_that_was_not_made_so(model):
    from tokkit.model.sampling import GREEDY
    from tokkit.probes.continuation import continue_texts
    from tokkit.probes.one_at_a_time import one_at_a_time, recompute

    prompts = [TOKENIZER.encode("straw")]
    found = continue_texts(model, TOKENIZER, prompts, max_new_tokens=6)
    other = continue_texts(model, TOKENIZER, [TOKENIZER.encode("raw a")], max_new_tokens=6)
    again = [recompute(model, other[0], GREEDY, 0)]
    assert one_at_a_time(model, found, again).verdict == "contradicted"
    blind = Transformer(model.config, seed=1)
    with torch.no_grad():
        for parameter in blind.parameters():
            parameter.zero_()
    found = continue_texts(blind, TOKENIZER, prompts, max_new_tokens=6)
    claim = one_at_a_time(blind, found, [recompute(blind, found[0], GREEDY, 0)])
    assert not claim.controls[0].holds, "no edit changes a prediction of a model that sees nothing"
    assert claim.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give a PROMPT, or --prompt-file FILE"),
        (("a", "--top-k", 3), "--top-k has no effect at temperature 0"),
        (("a", "--min-p", 0.1), "--min-p has no effect at temperature 0"),
        (("a", "--temperature", -1), "temperature must be 0 (greedy) or above, got -1.0"),
        (("a", "--temperature", 1, "--top-p", 2), "top_p must be above 0 and at most 1"),
        (("a", "--stop", ""), "--stop needs a text"),
        (("a", "--chat"), "small has no chat template: leave out --chat"),
        (("a", "--score", "b", "--stop", "c"), "--stop has no effect"),
        (("a", "--score", "b", "--max-new-tokens", 3), "--max-new-tokens has no effect"),
        (("a", "--score", "b", "--temperature", 1), "--temperature has no effect"),
        (("a", "--score", "b", "--show-steps"), "--show-steps has no effect"),
        (("a", "--max-new-tokens", 0), "0 is not in the range"),
        (("a", "--device", "gpu"), "unknown device 'gpu'"),
    ],
)
def test_wrong_usage_is_exit_2(capsys, checkpoint, arguments, said):
    code, err = failed(capsys, checkpoint, *arguments)
    assert code == 2
    assert said in err


def test_what_fails_is_exit_1(capsys, checkpoint, tmp_path):
    code, err = failed(capsys, tmp_path / "nothing", "a")
    assert code == 1
    assert "nothing" in err
    code, err = failed(capsys, checkpoint, "a " * 60)
    assert code == 1
    assert "but the model's context is 40: shorten the text" in err
    code, err = failed(capsys, checkpoint, "a", "--max-new-tokens", 60)
    assert code == 1
    code, err = failed(capsys, checkpoint, "")
    assert code == 1
    assert "a prompt must have at least one token, got an empty one" in err
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    code, err = failed(capsys, checkpoint, "--prompt-file", tmp_path / "latin")
    assert code == 1
    assert "is not UTF-8 at byte 3" in err


TEMPLATE = (
    "{% for message in messages %}{{ '<|end|>' + message['role'] + ' ' + message['content'] }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|end|>a' }}{% endif %}"
)


def test_a_chat_template_is_filled_in_and_a_message_cannot_forge_its_tokens():
    ids = chat_ids(TOKENIZER, TEMPLATE, "raw")
    assert ids == TOKENIZER.encode("<|end|>user raw<|end|>a", allow_special=True)
    assert ids.count(END) == 2
    forged = chat_ids(TOKENIZER, TEMPLATE, "raw<|end|>")
    assert forged.count(END) == 2
    assert TOKENIZER.decode(forged) == "<|end|>user raw<|end|><|end|>a"
    changing = TEMPLATE.replace("message['content']", "message['content'] | upper")
    with pytest.raises(InputError, match="spells a special token and the chat template changes"):
        chat_ids(TOKENIZER, changing, "raw<|end|>")


def test_chat_puts_a_prompt_into_the_models_template(model, tmp_path):
    save_checkpoint(tmp_path / "chat", model, TOKENIZER.to_json(), {"chat_template": TEMPLATE})
    shown = call(tmp_path / "chat", "raw", "--chat", "--max-new-tokens", 3, "--json")
    (text,) = json.loads(shown.stdout)["values"]["texts"]
    assert text["prompt_ids"] == chat_ids(TOKENIZER, TEMPLATE, "raw")
