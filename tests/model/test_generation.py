"""Generation against the plain loop over the whole forward pass, and against its own odds."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare
from tiny_models import VOCAB, tiny_model

from tokkit.errors import ConfigError, InputError
from tokkit.model.generation import generate
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
    generator = torch.Generator().manual_seed(17)
    settings = {"temperature": temperature, "top_k": top_k, "max_new_tokens": 1}
    rows = generate(model, [[3, 1]] * n, generator=generator, **settings)
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
    first = generate(model, [[3, 1]], max_new_tokens=1, temperature=temperature)[0][0]
    with torch.no_grad():
        own = model(torch.tensor([[3, 1]]))[0, -1].softmax(-1)[first.id]
    assert first.probability == pytest.approx(float(own), rel=1e-4), "before the temperature"


def test_samples_repeat_with_the_seed_of_their_generator():
    model = tiny_model()

    def sample(seed: int):
        generator = torch.Generator().manual_seed(seed)
        return generate(model, PROMPTS, max_new_tokens=8, temperature=1.0, generator=generator)

    torch.manual_seed(1)
    first = sample(3)
    torch.manual_seed(2)
    assert sample(3) == first
    assert ids_of(sample(4)) != ids_of(first)


@pytest.mark.parametrize("temperature", [1e-5, 1e-310, 5e-324])
def test_a_temperature_near_zero_is_greedy(temperature):
    model = tiny_model()
    cold = generate(model, PROMPTS, max_new_tokens=5, temperature=temperature)
    assert ids_of(cold) == ids_of(generate(model, PROMPTS, max_new_tokens=5))


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
    for wrong in ({"max_new_tokens": 0}, {"candidates": 0}, {"top_k": -1}):
        with pytest.raises(ConfigError, match="must be at least 1 and top_k not negative, got"):
            generate(model, [[1]], **({"max_new_tokens": 1} | wrong))
    for temperature in (-0.5, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"temperature must be 0 \(greedy\) or above, got"):
            generate(model, [[1]], max_new_tokens=1, temperature=temperature)
