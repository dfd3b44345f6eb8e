"""Runs on text: what they leave, how they go on, and what they say when they cannot."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from test_resume import assert_same_run
from tiny_texts import CONTEXT, corpus_file, run_text, text_config, texts, tiny_tokenizer

from tokkit.corpus.sources import english_documents
from tokkit.errors import ArtifactError, ConfigError, InputError, OutputError
from tokkit.model import checkpoint
from tokkit.model.checkpoint import load_checkpoint
from tokkit.probes.targets import load_target
from tokkit.results import read_result
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.train import train as learn
from tokkit.training import corpus as corpus_module
from tokkit.training import text as text_module
from tokkit.training.loop import STATE_FILE, DivergedError, read_metrics
from tokkit.training.packing import split_documents
from tokkit.training.presets import FAMILIES, training_preset


@pytest.fixture
def corpus(tmp_path):
    return corpus_file(tmp_path)


def assert_same_result(one: Path, other: Path) -> None:
    """The same states, checkpoints, lines and numbers."""
    assert_same_run(one / "training", other / "training")
    checkpoints = [sorted(p.relative_to(f) for p in f.rglob("model.safetensors"))
                   for f in (one, other)]  # fmt: skip
    assert checkpoints[0] == checkpoints[1]
    for path in checkpoints[0]:
        assert (one / path).read_bytes() == (other / path).read_bytes(), path
    first, second = read_result(one), read_result(other)
    assert first.values == second.values
    assert first.tables == second.tables


def test_what_a_run_leaves(tmp_path, corpus):
    out, lines = tmp_path / "run", []
    result = run_text(out, corpus, on_line=lines.append)
    names = {path.name for path in out.iterdir()}
    assert names == {".lock", "best", "checkpoints", "corpus", "model", "result.json",
                     "settings.json", "split.json", "training"}  # fmt: skip
    assert lines == read_metrics(out / "training")
    assert [line["step"] for line in lines if "evaluation" in line] == [4, 8, 12]
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == [
        "step-00000008", "step-00000012",
    ]  # fmt: skip
    assert read_result(out).values == result.values
    assert result.kind == "model.train"
    assert result.values["bits_per_byte"] == lines[-1]["evaluation"]["bits_per_byte"]
    assert result.values["tokens_a_step"] == 4 * CONTEXT
    split = json.loads((out / "split.json").read_text())
    assert split["validation"] == split_documents(61, 0.2, 0).tolist()
    loaded = load_checkpoint(out / "model")
    assert loaded.about["step"] == 12
    assert loaded.about["evaluation"] == lines[-1]["evaluation"]
    best = min((line for line in lines if "evaluation" in line),
               key=lambda line: line["evaluation"]["loss"])  # fmt: skip
    assert load_checkpoint(out / "best").about["step"] == best["step"]
    target = load_target(out / "model")
    assert target.answer(["the red"])[0].steps


def test_ids_are_mapped_and_used_again_where_nothing_changed(tmp_path, corpus, monkeypatch):
    out, encodings = tmp_path / "run", []
    real = corpus_module.encode_files
    monkeypatch.setattr(
        corpus_module, "encode_files", lambda *a, **k: encodings.append(1) or real(*a, **k)
    )
    run_text(out, corpus)
    ids = out / "corpus" / "ids.npy"
    content, before = ids.read_bytes(), (out / "result.json").read_bytes()
    run_text(out, corpus)
    assert len(encodings) == 1
    opened = corpus_module.open_corpus(out / "corpus", None)
    assert isinstance(opened.ids, np.memmap)
    flipped = bytearray(content)
    flipped[-3] ^= 1
    ids.write_bytes(flipped)
    run_text(out, corpus)
    assert len(encodings) == 2, "a flipped byte is told, and mended"
    assert ids.read_bytes() == content
    now = json.loads((out / "result.json").read_text())
    assert now["values"] == json.loads(before)["values"]
    corpus.write_text(corpus.read_text() + json.dumps({"text": "the old stone"}) + "\n")
    with pytest.raises(ConfigError, match=r"run with other settings \(corpus_sha256: '"):
        run_text(out, corpus)


def test_interrupted_runs_end_as_one_never_interrupted(tmp_path, corpus):
    run_text(tmp_path / "whole", corpus)
    out = tmp_path / "stopped"
    for step in (2, 4, 9):  # the step that runs when it comes is the last one

        def interrupt(done: int, loss: float, at: int = step) -> None:
            if done == at:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            run_text(out, corpus, text_config(save_seconds=1e9), on_step=interrupt)
        assert (out / "training" / STATE_FILE).exists(), "the end that was asked for saves"
    run_text(out, corpus)
    assert_same_result(out, tmp_path / "whole")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_killed_runs_on_text_end_as_one_never_killed(tmp_path):
    script = Path(__file__).with_name("killed_texts.py")
    outcome = subprocess.run(
        [sys.executable, script, tmp_path, "5"], capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    assert len(outcome.stdout.split()) == 6
    assert_same_result(tmp_path / "killed", tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob(".tokkit-*"))


@pytest.mark.parametrize("changed", [{"seed": 1}, {"sequences": 6}, {"steps": 13}, {"width": 20}])
def test_other_settings_are_refused(tmp_path, corpus, changed):
    run_text(tmp_path / "run", corpus)
    with pytest.raises(ConfigError, match="holds a run with other settings") as caught:
        run_text(tmp_path / "run", corpus, text_config(**changed))
    assert next(iter(changed)) in str(caught.value)


def test_how_the_work_is_cut_is_no_setting(tmp_path, corpus):
    run_text(tmp_path / "run", corpus)
    run_text(tmp_path / "run", corpus, text_config(accumulate=2, keep=7, save_seconds=3.0))


def test_accumulation_is_the_large_batch(tmp_path, corpus):
    losses = []
    for parts in (1, 2, 4):
        result = run_text(tmp_path / str(parts), corpus, text_config(accumulate=parts))
        losses.append([row["loss"] for row in result.tables["curve"].records()])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] == pytest.approx(losses[0], rel=1e-5)


def test_without_an_end_token_and_without_validation(tmp_path, corpus):
    tokenizer = tiny_tokenizer(special=())
    result = run_text(tmp_path / "a", corpus, tokenizer=tokenizer)
    assert result.settings["end"] is None
    assert 0 < result.values["bits_per_byte"] < 20
    result = run_text(tmp_path / "b", corpus, text_config(validation_share=0.0))
    assert result.values["bits_per_byte"] is None
    assert not (tmp_path / "b" / "best").exists()
    assert (tmp_path / "b" / "checkpoints" / "step-00000012").exists()


@pytest.mark.parametrize("preset", FAMILIES)
def test_every_family_trains(tmp_path, corpus, preset):
    config = text_config(preset=preset, steps=4, evaluate_every=0)
    result = run_text(tmp_path / "run", corpus, config)
    losses = [row["loss"] for row in result.tables["curve"].records()]
    assert losses[-1] < losses[0]
    loaded = load_checkpoint(tmp_path / "run" / "model")
    assert loaded.model.config == config.model


def test_presets_say_what_a_family_has():
    gemma = training_preset("gemma", vocab_size=10, width=16, layers=4, heads=4, context=64)
    assert [gemma.is_sliding(layer) for layer in range(4)] == [True, False, True, False]
    assert (gemma.window, gemma.embedding_scale, gemma.tied) == (32, 4.0, True)
    mixtral = training_preset("mixtral", vocab_size=10, width=24, layers=1, heads=4)
    assert (mixtral.experts, mixtral.experts_per_token, mixtral.expert_width) == (8, 2, 32)
    with pytest.raises(ConfigError, match="unknown preset 'lama': did you mean 'llama'"):
        training_preset("lama", vocab_size=10)
    with pytest.raises(ConfigError, match="no layer of llama slides, got a window of 8"):
        training_preset("llama", vocab_size=10, window=8)
    with pytest.raises(ConfigError, match="llama is no mixture, got 4 experts"):
        training_preset("llama", vocab_size=10, experts=4)


# Faults ------------------------------------------------------------------------------------------


def test_a_folder_in_use_is_locked_out(tmp_path, corpus):
    out = tmp_path / "run"
    out.mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c",
         "import sys, time, pathlib; from tokkit.training.lock import locked\n"
         "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)",
         out],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError) as caught:
            run_text(out, corpus)
        assert str(caught.value) == (
            f"cannot write {out}: process {holder.pid} is training there; wait until it is done, "
            "or choose another --out"
        )
    finally:
        holder.kill()
        holder.wait()
    run_text(out, corpus)  # a lock ends with its process


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_a_full_disk_leaves_a_run_that_goes_on(tmp_path, corpus, monkeypatch, call):
    run_text(tmp_path / "whole", corpus)
    calls, real = [], checkpoint.write_tensors

    def full(*arguments):
        calls.append(1)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device", str(arguments[0]))
        real(*arguments)

    out = tmp_path / "full"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_tensors", full)
        with pytest.raises(OutputError, match="no space left on device"):
            run_text(out, corpus, text_config(save_seconds=0.0))
    run_text(out, corpus)
    assert_same_result(out, tmp_path / "whole")


def test_a_diverged_run_names_its_best_checkpoint(tmp_path, corpus, monkeypatch):
    real = text_module.train

    def poisoned(*arguments, evaluate, **named):
        seen = []

        def evaluation(model):
            seen.append(1)
            return evaluate(model) if len(seen) < 3 else {"loss": float("inf")}

        real(*arguments, evaluate=evaluation, **named)

    monkeypatch.setattr(text_module, "train", poisoned)
    out = tmp_path / "run"
    with pytest.raises(DivergedError) as caught:
        run_text(out, corpus)
    assert str(caught.value).endswith(
        "training diverged, and the state of step 11 is kept; use a lower learning rate than "
        f"0.01; the best checkpoint is {out / 'best'}"
    )
    assert load_checkpoint(out / "best").about["step"] in (4, 8)


@pytest.mark.parametrize("kept", [0, 9, 0.5, -1])
def test_a_cut_state_is_told(tmp_path, corpus, kept):
    out = tmp_path / "run"
    run_text(out, corpus)
    path = out / "training" / STATE_FILE
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(ArtifactError, match="is not a whole training state"):
        run_text(out, corpus)


def test_what_is_refused(tmp_path, corpus):
    with pytest.raises(ConfigError, match="which stdin cannot: give a file"):
        run_text(tmp_path / "a", Path("-"))
    with pytest.raises(ConfigError, match="whole documents are held out for validation"):
        run_text(tmp_path / "b", corpus_file(tmp_path, ["the only one"]))
    with pytest.raises(ConfigError, match=r"no special token '<eos>': choose from <\|end\|>"):
        run_text(tmp_path / "c", corpus, end="<eos>")
    with pytest.raises(ConfigError, match="the model has 300 rows, but the tokenizer 280 ids"):
        run_text(tmp_path / "d", corpus, text_config(vocab_size=300))
    with pytest.raises(InputError, match="does not exist"):
        run_text(tmp_path / "e", tmp_path / "nowhere.txt")
    with pytest.raises(ConfigError, match="must be a multiple of accumulate x processes, got 4"):
        run_text(tmp_path / "f", corpus, text_config(accumulate=3))
    with pytest.raises(ConfigError, match="sequences must be at least 1, got 0"):
        text_config(sequences=0)
    with pytest.raises(ConfigError, match="sequences must be at most 1048576, got 100000000"):
        text_config(sequences=100_000_000)


def test_a_tokenizer_of_another_kind_is_kept_with_the_model(tmp_path):
    unigram = LibraryTokenizer.from_json(_unigram())
    corpus, config = corpus_file(tmp_path), text_config(vocab_size=unigram.vocab_size, steps=4)
    run_text(tmp_path / "run", corpus, config, tokenizer=unigram)
    kept = LibraryTokenizer.from_json((tmp_path / "run/model/tokenizer.json").read_text())
    assert kept.digest == unigram.digest

    class Foreign(LibraryTokenizer):
        is_tokenizer_json = False

    with pytest.raises(ConfigError, match=r"as tokenizer.json, which this one cannot be written"):
        run_text(tmp_path / "b", corpus, config, tokenizer=Foreign.from_json(_unigram()))


def _unigram() -> str:
    library = tokenizers.Tokenizer(tokenizers.models.Unigram())
    library.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    library.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=90, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    library.train_from_iterator(texts(), trainer)
    return library.to_str()


def test_text_that_is_empty_cannot_be_trained_on(tmp_path):
    tokenizer = tiny_tokenizer(special=())
    empty = corpus_file(tmp_path, ["", "", ""])
    with pytest.raises(ConfigError, match="the documents to train on hold no token of text"):
        run_text(tmp_path / "run", empty, tokenizer=tokenizer)
    with pytest.raises(ConfigError, match="to train on hold no token of text"):
        run_text(tmp_path / "with-end", empty)
    single = corpus_file(tmp_path, ["a", "a", "a"])
    with pytest.raises(ConfigError, match="to train on hold no token of text"):
        run_text(tmp_path / "single", single, tokenizer=tokenizer)


@pytest.mark.slow
def test_real_prose_falls_well_below_the_unigram_baseline(tmp_path):
    """English from Python's own documentation: a quarter less after a minute of training."""
    documents = [document.text for document in english_documents()][:2500]
    path = corpus_file(tmp_path, documents)
    tokenizer = learn(documents, vocab_size=512, pretokenizer="gpt2")
    config = text_config(
        vocab_size=512, width=64, context=64, sequences=16, steps=400, evaluate_every=100,
        learning_rate=4e-3, warmup_steps=30, log_every=50, save_seconds=30.0, patience_steps=100,
    )  # fmt: skip
    started = time.monotonic()
    values = run_text(tmp_path / "run", path, config, tokenizer=tokenizer).values
    assert values["bits_per_byte"] < 0.8 * values["unigram_bits_per_byte"], values
    assert time.monotonic() - started < 300
    assert torch.isfinite(torch.tensor(values["validation_loss"]))


def test_texts_are_what_the_tests_think():
    assert len(texts()) == 61
    assert "" in texts()
