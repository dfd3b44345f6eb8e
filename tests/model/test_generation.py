"""Generation against the plain loop over the whole forward pass, and against its own odds."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare
from tiny_models import VOCAB, tiny_model

from tokkit.errors import ArtifactError, ConfigError, InputError
from tokkit.model import generation
from tokkit.model.cache import Cache
from tokkit.model.generation import batches, generate, generate_ids, stream
from tokkit.model.row_stepping import RowStepper, can_step_rows
from tokkit.model.sampling import SamplingConfig
from tokkit.model.stepping import Stepper, can_step
from tokkit.model.transformer import Transformer

PROMPTS = [[3, 1, 4], [1], [5, 9, 2, 6, 5], [3, 5]]


def ids_of(rows):
    return [[step.id for step in row] for row in rows]


@torch.no_grad()
def greedy_by_hand(model: Transformer, prompt: list[int], n: int) -> list[tuple[int, float]]:
    ids, found = list(prompt), []
    for _ in range(n):
        probabilities = model(torch.tensor([ids]))[0, -1].softmax(-1)
        ids.append(int(probabilities.argmax()))
        found.append((ids[-1], float(probabilities[ids[-1]])))
    return found


@pytest.mark.parametrize("positions", ["rope", "alibi", "learned"])
def test_greedy_is_the_argmax_of_the_whole_forward_pass(positions):
    model = tiny_model(positions=positions)
    rows = generate(model, PROMPTS, max_new_tokens=8)
    assert len({tuple(row) for row in ids_of(rows)}) == len(PROMPTS), "rows must differ to tell"
    for prompt, row in zip(PROMPTS, rows, strict=True):
        expected = greedy_by_hand(model, prompt, 8)
        assert [step.id for step in row] == [id_ for id_, _ in expected]
        probabilities = [step.probability for step in row]
        assert probabilities == pytest.approx([p for _, p in expected], rel=1e-4)
        alone = generate(model, [prompt], max_new_tokens=8)[0]
        assert [step.id for step in alone] == [step.id for step in row]


def test_candidates_are_the_likeliest_first():
    model = tiny_model()
    step = generate(model, [[3, 1]], max_new_tokens=1, candidates=5)[0][0]
    with torch.no_grad():
        expected = model(torch.tensor([[3, 1]]))[0, -1].softmax(-1).sort(descending=True)
    assert [c.id for c in step.candidates] == expected.indices[:5].tolist()
    found = [c.probability for c in step.candidates]
    assert found == pytest.approx(expected.values[:5].tolist(), rel=1e-4)
    assert (step.id, step.probability) == (step.candidates[0].id, found[0])
    every = generate(model, [[3, 1]], max_new_tokens=1, candidates=1000)[0][0].candidates
    assert len(every) == VOCAB
    assert sum(c.probability for c in every) == pytest.approx(1.0, abs=1e-5)


def test_equal_tokens_give_the_lowest_id():
    model = tiny_model()
    with torch.no_grad():
        model.unembedding.zero_()
    assert ids_of(generate(model, [[3, 1]], max_new_tokens=2)) == [[0, 0]]


def test_a_stop_id_ends_its_row_alone():
    model = tiny_model()
    free = ids_of(generate(model, PROMPTS, max_new_tokens=8))
    stop = free[0][2]
    stopped = ids_of(generate(model, PROMPTS, max_new_tokens=8, stop_ids=[stop]))
    for whole, row in zip(free, stopped, strict=True):
        assert row == (whole[: whole.index(stop) + 1] if stop in whole else whole)
    assert len(stopped[0]) <= 3
    assert any(len(row) == 8 for row in stopped), "else nothing shows that others go on"
    everything = range(VOCAB)
    assert [
        len(row) for row in generate(model, PROMPTS, max_new_tokens=8, stop_ids=everything)
    ] == [1] * len(PROMPTS)


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 0), (2.5, 0), (0.7, 5), (1.0, 1)])
def test_samples_follow_the_distribution(temperature, top_k):
    model, n = tiny_model(), 4001
    sampling = SamplingConfig(temperature=temperature, top_k=top_k)
    rows = generate(model, [[3, 1]] * n, sampling=sampling, seed=17, max_new_tokens=1)
    counts = torch.bincount(torch.tensor(ids_of(rows))[:, 0], minlength=VOCAB).double()
    with torch.no_grad():
        weights = (model(torch.tensor([[3, 1]]))[0, -1].double() / temperature).exp()
    if top_k:
        allowed = weights >= weights.sort(descending=True).values[top_k - 1]
        assert counts[~allowed].sum() == 0
        weights, counts = weights[allowed], counts[allowed]
    expected = n * weights / weights.sum()
    common = expected >= 5
    counts, expected = (
        torch.cat([v[common], v[~common].sum()[None]]) if not common.all() else v
        for v in (counts, expected)
    )
    assert len(counts) == 1 or chisquare(counts, expected).pvalue > 0.01
    first = generate(model, [[3, 1]], max_new_tokens=1, sampling=sampling)[0][0]
    with torch.no_grad():
        own = model(torch.tensor([[3, 1]]))[0, -1].softmax(-1)[first.id]
    assert first.probability == pytest.approx(float(own), rel=1e-4), "before the temperature"


def test_samples_repeat_with_their_seed_and_do_not_depend_on_the_batch():
    model, warm = tiny_model(), SamplingConfig(temperature=1.0, repetition_penalty=1.2)

    def sample(prompts, seed):
        return generate_ids(model, prompts, max_new_tokens=8, sampling=warm, seed=seed)

    torch.manual_seed(1)
    first = sample(PROMPTS, 3)
    torch.manual_seed(2)
    assert sample(PROMPTS, 3) == first
    assert sample(PROMPTS, 4) != first
    for row, prompt in enumerate(PROMPTS):
        assert sample([prompt], 3 + row) == [first[row]]
    assert len({tuple(row) for row in sample([[3, 1]] * 5, 0)}) == 5


@pytest.mark.parametrize("temperature", [1e-5, 1e-310, 5e-324])
def test_a_temperature_near_zero_is_greedy(temperature):
    model = tiny_model()
    cold = SamplingConfig(temperature=temperature)
    found = generate(model, PROMPTS, max_new_tokens=5, sampling=cold)
    assert ids_of(found) == ids_of(generate(model, PROMPTS, max_new_tokens=5))


def test_the_context_is_used_to_its_end_and_not_beyond():
    model = tiny_model()
    # The last token that is made is never read, so 13 places hold a prompt of 9 and 5 new ones.
    assert len(generate(model, [[1] * 9, [2]], max_new_tokens=5)[0]) == 5
    with pytest.raises(InputError) as caught:
        generate(model, [[1] * 9, [2]], max_new_tokens=6)
    assert str(caught.value) == (
        "the longest prompt has 9 tokens and 6 are to follow, but the model's context is 13: "
        "shorten the text"
    )


def test_what_is_refused():
    model = tiny_model()
    assert generate(model, [], max_new_tokens=1) == []
    with pytest.raises(InputError, match="a prompt must have at least one token, got an empty"):
        generate(model, [[1], []], max_new_tokens=1)
    with pytest.raises(InputError, match=r"ids must lie in 0\.\.22, got 23"):
        generate(model, [[23]], max_new_tokens=1)
    with pytest.raises(ConfigError, match="max_new_tokens must be at least 1, got 0"):
        generate(model, [[1]], max_new_tokens=0)
    with pytest.raises(ConfigError, match="candidates must be at least 1, got 0"):
        generate(model, [[1]], max_new_tokens=1, candidates=0)
    with pytest.raises(ConfigError, match="seed must lie in"):
        generate(model, [[1]], max_new_tokens=1, seed=-1)
    with torch.no_grad():
        model.embedding[3] = float("nan")
    with pytest.raises(ArtifactError, match="logits are not finite: its weights are damaged"):
        generate(model, [[3]], max_new_tokens=1)


SETTINGS = {
    "plain": {},
    "grouped": {"query_heads": 6, "width": 60, "key_value_heads": 2},
    "multi-query": {"query_heads": 5, "key_value_heads": 1},
    "sliding": {"attention_pattern": "s", "window": 5},
    "sliding and full": {"attention_pattern": "sf", "window": 3, "layers": 3},
    "learned, gelu, biases": {
        "norm": "layernorm",
        "linear_bias": True,
        "feedforward": "gelu",
        "positions": "learned",
    },
    "gemma": {
        "norm_place": "sandwich",
        "norm_offset": True,
        "feedforward": "geglu",
        "qk_norm": True,
        "attention_pattern": "sf",
        "window": 3,
        "rope_local_base": 100.0,
        "logit_softcap": 3.0,
        "embedding_scale": 2.0,
    },
    "partial rotary": {"rope_share": 0.6},
    "yarn": {"head_width": 8, "rope_scaling": "yarn", "rope_factor": 2.0},
    "sinusoidal": {"positions": "sinusoidal"},
    "no positions": {"positions": "none", "tied": True},
    # these go through the whole model at each step, with its cache
    "alibi": {"positions": "alibi"},
    "mixture": {"experts": 3, "experts_per_token": 2},
    "softcap": {"attention_softcap": 2.0},
    "post": {"norm_place": "post"},
}
BY_MODEL = ("alibi", "mixture", "softcap", "post")


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(
    "sampling",
    [
        SamplingConfig(),
        SamplingConfig(temperature=1.0, top_p=0.9),
        SamplingConfig(repetition_penalty=1.5),
    ],
    ids=["greedy", "sampled", "penalised"],
)
def test_with_the_cache_as_without_and_each_row_as_alone(name, sampling):
    model = tiny_model(**SETTINGS[name])
    asked = {"max_new_tokens": 8, "sampling": sampling, "candidates": 3}
    cached = generate(model, PROMPTS, **asked)
    plain = generate(model, PROMPTS, cached=False, **asked)
    assert (
        ids_of(cached)
        == ids_of(plain)
        == generate_ids(model, PROMPTS, max_new_tokens=8, sampling=sampling)
    )
    for row, prompt in enumerate(PROMPTS):
        (alone,) = generate(model, [prompt], seed=row, **asked)
        assert ids_of([alone]) == ids_of([cached[row]])
        for one, two, three in zip(cached[row], plain[row], alone, strict=True):
            wanted = pytest.approx([two.probability, *(c.probability for c in two.candidates)],
                                   abs=1e-5)  # fmt: skip
            assert [one.probability, *(c.probability for c in one.candidates)] == wanted
            assert [three.probability, *(c.probability for c in three.candidates)] == wanted


@pytest.mark.parametrize("name", SETTINGS)
@torch.inference_mode()
def test_the_stepper_is_the_model_with_its_cache(name):
    model = tiny_model(**SETTINGS[name])
    assert can_step(model) == (name not in BY_MODEL)
    if not can_step(model):
        return
    prompts = torch.tensor([[0, 0, 3, 1], [2, 7, 1, 8], [0, 5, 9, 2]])
    padding = torch.tensor([2, 0, 1])
    caches = [Cache(model.config, 3, 12) for _ in range(2)]
    for cache in caches:
        model(prompts, padding=padding, cache=cache)
    stepper, rows = Stepper(model, caches[0]), torch.arange(3)
    for step in range(8):
        if step == 4:
            rows = torch.tensor([2, 0])
            stepper.select(rows)
            caches[1].select(rows)
        ids = (7 * step + 3 * torch.arange(len(rows))) % VOCAB
        wanted = model(ids[:, None], cache=caches[1])[:, 0]
        torch.testing.assert_close(stepper(ids), wanted, rtol=0, atol=1e-5 * float(wanted.std()))


@pytest.mark.parametrize("name", SETTINGS)
@torch.inference_mode()
def test_the_kernels_of_one_row_are_the_model_with_its_cache(name):
    model = tiny_model(**SETTINGS[name])
    assert can_step_rows(model, 1) == (name not in (*BY_MODEL, "learned, gelu, biases"))
    assert not can_step_rows(model, 2)
    if not can_step_rows(model, 1):
        return
    prompt = torch.tensor([[3, 1, 4]])
    caches = [Cache(model.config, 1, 12) for _ in range(2)]
    for cache in caches:
        model(prompt, cache=cache)
    stepper = RowStepper(model, caches[0])
    for step in range(9):
        ids = torch.tensor([7 * step % VOCAB])
        wanted = model(ids[:, None], cache=caches[1])[:, 0]
        torch.testing.assert_close(stepper(ids), wanted, rtol=0, atol=1e-5 * float(wanted.std()))


@torch.inference_mode()
def test_biases_and_plain_feed_forward_in_the_kernels():
    for kind in ("gelu", "relu"):
        model = tiny_model(feedforward=kind, linear_bias=True)
        caches = [Cache(model.config, 1, 5) for _ in range(2)]
        for cache in caches:
            model(torch.tensor([[3, 1, 4]]), cache=cache)
        wanted = model(torch.tensor([[2]]), cache=caches[1])[:, 0]
        found = RowStepper(model, caches[0])(torch.tensor([2]))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.std()))


def test_no_stepper_where_a_trace_looks():
    model = tiny_model()
    handle = model.blocks[0].tap_residual.register_forward_hook(lambda *_: None)
    assert not can_step(model)
    handle.remove()
    assert can_step(model)


def test_steps_come_as_they_are_made_and_a_reader_ends_its_row():
    model, read = tiny_model(), []

    def stop(row, token):
        read.append((row, token))
        return row == 1 and len([r for r, _ in read if r == 1]) == 3

    steps = stream(model, PROMPTS, max_new_tokens=8, stop=stop)
    assert read == [], "nothing is read before it is asked for"
    row, first = next(steps)
    assert read == [], "the reader sees a step before its row is decided about"
    rest = [(row, first), *steps]
    free = generate(model, PROMPTS, max_new_tokens=8)
    for row, whole in enumerate(free):
        made = [step.id for number, step in rest if number == row]
        assert made == [step.id for step in whole[: 3 if row == 1 else 8]]


def test_batches_are_bounded_and_change_nothing(monkeypatch):
    model = tiny_model()
    config, lengths = model.config, [5, 1, 9, 2, 2, 7]
    assert list(batches(config, lengths, 3)) == [[1, 3, 4, 0, 5, 2]]
    whole = generate_ids(model, PROMPTS, max_new_tokens=8)
    monkeypatch.setattr(generation, "BATCH_ROWS", 2)
    assert list(batches(config, lengths, 3)) == [[1, 3], [4, 0], [5, 2]]
    assert generate_ids(model, PROMPTS, max_new_tokens=8) == whole
    monkeypatch.setattr(generation, "BATCH_BYTES", 1)
    assert list(batches(config, lengths, 3)) == [[1], [3], [4], [0], [5], [2]]
    assert generate_ids(model, PROMPTS, max_new_tokens=8) == whole
    assert list(batches(config, [], 3)) == []
