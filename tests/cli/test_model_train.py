"""`tokkit model train`: what it prints and leaves, its exit codes, the display while it runs."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from tokkit.cli.loss_curve import text_curve
from tokkit.cli.main import run
from tokkit.model.checkpoint import load_checkpoint
from tokkit.tokenizer.train import train
from tokkit.training.loop import read_metrics

TEXTS = [f"the {colour} fox number {n} ran home" for n in range(12) for colour in ("red", "blue")]
SMALL = ("--width", "16", "--layers", "1", "--heads", "2", "--context", "12", "--sequences", "4",
         "--device", "cpu")  # fmt: skip


@pytest.fixture
def given(tmp_path):
    """The options that every run here has."""
    lines = [json.dumps({"text": text}) for text in TEXTS]
    (tmp_path / "one.jsonl").write_text("\n".join(lines[:20]) + "\n")
    (tmp_path / "two.jsonl").write_text("\n".join(lines[20:]) + "\n")
    train(TEXTS, vocab_size=280, pretokenizer="gpt2").save(tmp_path / "tokenizer.json")
    return ["model", "train", "--tokenizer", str(tmp_path / "tokenizer.json"), "--corpus",
            str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl"), "--out",
            str(tmp_path / "run"), *SMALL]  # fmt: skip


def test_a_run_and_its_page(tmp_path, given, capsys):
    assert run([*given, "--steps", "20", "--preset", "qwen"]) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(
        r"\S+/run/model: [\d,]+ parameters after 20 steps, training loss \d\.\d{4} nats a token, "
        r"\d\.\d{4} bits per byte of held-out text \(unigram baseline \d\.\d{4}\)\n",
        out,
    )
    assert re.search(r"^step 2 of 20: loss \d\.\d+, validation \d\.\d+, \d\.\d+ bits per byte$",
                     err, re.MULTILINE)  # fmt: skip
    assert re.search(r"^step 10 of 20: loss", err, re.MULTILINE)
    assert f"for a page of it: tokkit report {tmp_path / 'run'}" in err
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["kind"] == "model.train"
    assert record["values"]["documents"] == 24, "both files were read"
    assert record["settings"]["model"]["attention_bias"] == "query_key_value"
    assert (tmp_path / "run" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "run" / "loss.svg").read_bytes()
    about = load_checkpoint(tmp_path / "run" / "model").about
    assert (about["preset"], about["step"]) == ("qwen", 20)

    assert run(["report", str(tmp_path / "run"), "--out", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "index.html").read_text()
    assert "Bits per byte" in page
    assert "unigram" in page.lower()
    capsys.readouterr()
    run_folder = str(tmp_path / "run")
    assert run(["model", "generate", run_folder, "the", "--max-new-tokens", "2", "-q"]) == 0
    assert capsys.readouterr().out


def test_json_is_the_result_and_quiet_says_nothing(given, capsys):
    assert run([*given, "--steps", "5", "--json", "-q"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["values"]["steps"] == 5
    assert err == ""


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--steps", "0"], 2, "Invalid value for '--steps': 0 is not in the range x>=1."),
        (["--preset", "lama"], 2, "unknown preset 'lama': did you mean 'llama'?"),
        (["--learning-rate", "-1"], 2, "learning_rate must be above 0 and finite, got -1.0"),
        (["--validation-share", "1"], 2, "the validation share must be from 0 to below 1, got 1.0"),
        (["--heads", "3"], 2, "width must be a multiple of query_heads"),
        (["--dtype", "bf16"], 2, "--dtype bf16 is for a GPU, and this is a cpu: leave it out"),
        (
            ["--compile"],
            2,
            "--compile is for a GPU of NVIDIA or AMD, and this is a cpu: leave it out",
        ),
        (["--window", "4"], 2, "no layer of llama slides, got a window of 4: leave it out"),
        (["--end", "<eos>"], 2, "the tokenizer has no special token '<eos>': choose from <|end|>"),
        (["--accumulate", "3"], 2, "must be a multiple of accumulate x processes, got 4 and 3 x 1"),
        (["--corpus", "nowhere.txt"], 1, "nowhere.txt does not exist"),
    ],
)
def test_what_is_refused(given, capsys, options, code, message):
    assert run([*given, "--steps", "3", *options]) == code
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    assert "Traceback" not in said


def test_other_settings_in_the_same_folder(given, capsys):
    assert run([*given, "--steps", "3", "-q"]) == 0
    capsys.readouterr()
    assert run([*given, "--steps", "4", "-q"]) == 2
    err = capsys.readouterr().err
    assert "holds a run with other settings (training.evaluate_every" in err or "steps" in err
    assert "give another --out" in err


def started(given, *options, **streams):
    command = [sys.executable, "-m", "tokkit", *given, *options]
    return subprocess.Popen(command, **streams)


def test_ctrl_c_saves_and_the_run_goes_on(tmp_path, given):
    options = ("--steps", "3000", "--log-every", "1", "--evaluate-every", "3000",
               "--save-seconds", "1e9")  # fmt: skip
    process = started(given, *options, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("step 5 of"):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(60) == 130
    assert rest.endswith(
        "interrupted: what was finished is saved; give the same command again to go on\n"
    )
    saved = read_metrics(tmp_path / "run" / "training")[-1]["step"]
    process = started(given, *options, stderr=subprocess.PIPE, text=True)
    first = next(line for line in process.stderr if line.startswith("step "))
    process.kill()
    process.communicate()
    assert first.startswith(f"step {saved + 1:,} of"), "no step was lost, and none done twice"


def test_a_terminal_gets_a_bar_and_a_curve(given):
    leader, follower = pty.openpty()
    process = started(
        given, "--steps", "300", stderr=follower, stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40",
             "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    os.close(follower)
    shown, deadline = b"", time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([leader], [], [], 0.2)[0]:
            try:
                shown += os.read(leader, 1 << 16)
            except OSError:  # what Linux says at the end of a terminal
                break
        elif process.poll() is not None:
            break
    assert process.wait(60) == 0
    text = shown.decode("utf-8", "replace")
    assert "training (steps)" in text
    assert "/300" in text
    assert re.search(r"[\u2801-\u28ff]", text), "the curve"
    assert "bits per byte" in text


def test_the_curve_by_hand():
    assert text_curve([(1, 2.0)], last_step=9) == ""
    falling = [(step, 9.0 - step) for step in range(1, 9)]
    lines = text_curve(falling, last_step=8, width=4, height=2).splitlines()
    assert lines == ["  8.000 ⠑⢄", "  1.000   ⠑⢄"]  # a diagonal of eight dots
    level = text_curve([(1, 3.0), (2, 3.0)], last_step=2, width=1, height=2)
    assert level.splitlines() == ["  3.000 ⠉", "  3.000"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tokenizer", "t.json"], "brings its tokenizer and text: leave --tokenizer and"),
        (["--corpus", "c.jsonl"], "brings its tokenizer and text: leave --tokenizer and"),
    ],
)
def test_tiny_world_brings_its_own_text(tmp_path, capsys, options, message):
    given = ["model", "train", "--preset", "tiny-world", "--out", str(tmp_path / "run")]
    assert run([*given, *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", ["--tokenizer", "--corpus"])
def test_a_family_needs_text_and_tokenizer(tmp_path, given, capsys, missing):
    other = [word for word in given if "jsonl" not in word and word != "--corpus"]
    if missing == "--tokenizer":
        other = ["model", "train", "--corpus", "one.jsonl", "--out", str(tmp_path / "run")]
    assert run(other) == 2
    assert f"Missing option '{missing}': give it, or --preset tiny-world" in capsys.readouterr().err


@pytest.mark.slow
def test_the_tiny_world_tells_what_an_analysis_needs(tmp_path):
    from tokkit.analysis.embeddings.opening import model_subject
    from tokkit.analysis.embeddings.token_counts import token_counts
    from tokkit.probes.models import open_model
    from tokkit.training import tiny_world

    place = tmp_path / "run"
    small = ["--width", "16", "--layers", "1", "--heads", "2", "--key-value-heads", "1"]
    given = ["model", "train", "--preset", "tiny-world", "--out", str(place), *small, "-q"]
    assert run([*given, "--steps", "2", "--sequences", "2", "--seed", "3"]) == 0
    opened = open_model(place)
    assert (opened.about["preset"], opened.about["seed"]) == ("tiny-world", 3)
    config = opened.model.config
    assert (config.context, config.width) == (tiny_world.MODEL["context"], 16)
    subject = model_subject(opened.model, opened.tokenizer, about=opened.about)
    assert (subject.initial.shape, subject.tied) == ((tiny_world.VOCAB_SIZE, 16), False)
    single = {
        name: sum(len(opened.tokenizer.encode(f" {word}")) == 1 for word in words) / len(words)
        for name, words in subject.world.items()
    }
    assert min(single[name] for name in ("animal", "food", "tool", "person", "colour")) > 0.7
    assert {"singular:plural", "country:capital"} <= set(subject.analogies)
    counts = token_counts(place, opened.tokenizer, tiny_world.VOCAB_SIZE)
    unseen = [token for token in range(len(counts)) if counts[token] == 0]
    assert sum(len(opened.tokenizer.token_bytes(token)) > 1 for token in unseen) > 50
