"""Taking heads out and comparing them: planted useless heads, planted twins, nulls, an oracle."""

import numpy as np
import pytest
import torch

from tokkit.errors import InputError
from tokkit.experiments import heads_redundancy as redundancy
from tokkit.experiments.heads_agreement import SHUFFLES, agreement, debiased_cka, unbiased_hsic
from tokkit.experiments.heads_pruning import GREEDY, RANDOM, spared
from tokkit.experiments.position_text import Text
from tokkit.experiments.text_arms import WindowText
from tokkit.model.config import ModelConfig
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer

CONFIG = ModelConfig(
    vocab_size=29, width=12, layers=2, query_heads=3, hidden_width=20, context=8, tied=True
)
USELESS = (0, 2)


@pytest.fixture(scope="module")
def asked():
    generator = np.random.default_rng(0)
    windows = generator.integers(1, 29, (6, 33))
    record = {"end_id": 0}
    return WindowText(Text(windows[0], windows, np.full(29, 2), np.zeros(29), record), 8)


@pytest.fixture(scope="module")
def model():
    """A model in which what one head gives is multiplied by 0."""
    made = Transformer(CONFIG, seed=1).eval()
    layer, head = USELESS
    with torch.no_grad():
        made.embedding.mul_(4)
        for block in made.blocks:
            block.attention.output.weight.mul_(6)
        made.blocks[layer].attention.output.weight[:, 4 * head : 4 * head + 4] = 0
    return made


@pytest.fixture(scope="module")
def record(model, asked):
    return redundancy.measure_redundancy(model, Transformer(CONFIG, seed=1).eval(), asked, seed=0)


def test_the_halves_share_no_window(asked):
    chosen, measured = redundancy.halves(asked)
    assert chosen.windows == measured.windows == 3
    assert chosen.rows.shape == (12, 9)
    assert np.array_equal(chosen.rows[:4, :-1].ravel(), asked.text.windows[0, :-1])
    assert np.array_equal(measured.rows[:4, :-1].ravel(), asked.text.windows[1, :-1])


def test_a_head_replaced_gives_what_it_is_told_and_others_what_they_gave(model):
    by = np.arange(6 * 4, dtype=np.float64).reshape(6, 4)
    ids = torch.arange(10)[None, :8]
    name = "blocks.1.attention.heads"
    with torch.no_grad(), trace(model, [name]) as plain:
        model(ids)
    with torch.no_grad(), redundancy.heads_replaced(model, [(1, 2)], by), trace(model, [name]) as f:
        model(ids)
    assert torch.equal(f[name][:, 2], torch.tensor(by[5]).float().expand(1, 8, 4))
    assert torch.equal(f[name][:, :2], plain[name][:, :2])


def test_zeroing_a_head_is_zeroing_its_columns_of_the_output_map(model, asked):
    import copy

    _, measured = redundancy.halves(asked)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.blocks[1].attention.output.weight[:, 4:8] = 0
    with redundancy.heads_replaced(model, [(1, 1)], np.zeros((6, 4))):
        assert np.allclose(measured.nats(model), measured.nats(other), atol=1e-4)


def test_a_useless_head_costs_nothing_alone_and_when_pruned(record):
    name = f"{USELESS[0]}.{USELESS[1]}"
    for kind in (redundancy.ZERO, redundancy.MEAN):
        rises = {
            head: np.abs(np.subtract(nats, record["nats"])).sum()
            for head, nats in record["alone"][kind].items()
        }
        assert rises.pop(name) == 0
        assert len(rises) == 5
        assert min(rises.values()) > 1e-3
    at = record["order"].index(list(USELESS))
    assert at <= 2
    assert np.allclose(record["greedy"][at], record["greedy"][at + 1])


def test_greedy_takes_what_costs_least(model, asked):
    """With costs planted by head, the order is theirs."""
    costs = {(0, 0): 5.0, (0, 1): 1.0, (0, 2): 0.0, (1, 0): 3.0, (1, 1): 2.0, (1, 2): 4.0}
    taken = []

    def without(_model, heads, _by, _nats):
        taken.append(tuple(heads))
        return np.array([sum(costs[head] for head in heads)])

    original, redundancy._without = redundancy._without, without
    try:
        order = redundancy.greedy_order(model, redundancy.all_heads(model), None, None)
    finally:
        redundancy._without = original
    assert order == sorted(costs, key=costs.__getitem__)
    assert len(taken) == 6 + 5 + 4 + 3 + 2 + 1


def test_curves_begin_with_the_whole_model_and_end_without_heads(record):
    greedy, random = np.array(record["greedy"]), np.array(record["random"])
    assert greedy.shape == random.shape == (7, 3)
    assert np.array_equal(greedy[0], record["nats"])
    assert np.allclose(random[0], record["nats"])
    assert np.allclose(greedy[-1], random[-1])
    assert sorted(map(tuple, record["order"])) == [(a, b) for a in (0, 1) for b in (0, 1, 2)]
    assert np.array(record["random_orders"]).shape == (redundancy.RANDOM_ORDERS, 7)


def test_measuring_again_gives_the_same(model, asked, record):
    untrained = Transformer(CONFIG, seed=1).eval()
    assert redundancy.measure_redundancy(model, untrained, asked, seed=0) == record


def test_heads_spared():
    from experiments.head_records import table

    def rows(order, highs):
        return [{"order": order, "removed": n, "high": high} for n, high in enumerate(highs)]

    found = table(rows(GREEDY, [0, 0.001, 0.005, 0.2, 0.001]) + rows(RANDOM, [0, 0.02, 0.03]))
    assert spared(found, 0.01) == {GREEDY: 2, RANDOM: 0}


# Agreement --------------------------------------------------------------------------------------


def oracle_hsic(first, second):
    """Song et al. 2012, equation 5, with n x n kernels as written."""
    n = len(first)
    kernel, other = (x @ x.T for x in (first, second))
    np.fill_diagonal(kernel, 0)
    np.fill_diagonal(other, 0)
    ones = np.ones(n)
    trace_ = np.trace(kernel @ other)
    totals = (ones @ kernel @ ones) * (ones @ other @ ones) / ((n - 1) * (n - 2))
    return (trace_ + totals - 2 / (n - 2) * (ones @ kernel @ other @ ones)) / (n * (n - 3))


def test_hsic_is_that_of_the_formula():
    features = np.random.default_rng(0).normal(3, 2, (3, 17, 5))
    found = unbiased_hsic(features)
    for a in range(3):
        for b in range(3):
            assert found[a, b] == pytest.approx(oracle_hsic(features[a], features[b]), rel=1e-9)


def test_cka_of_a_rotated_shifted_scaled_copy_is_1_and_of_noise_0():
    generator = np.random.default_rng(1)
    first = generator.normal(size=(2000, 6))
    turn = np.linalg.qr(generator.normal(size=(6, 6)))[0]
    features = np.array([first, 3 * first @ turn + 7, generator.normal(size=(2000, 6))])
    cka = debiased_cka(features)
    assert np.allclose(cka.diagonal(), 1)
    assert cka[0, 1] == pytest.approx(1)
    assert abs(cka[0, 2]) < 0.01


def test_cka_is_not_biased_where_tokens_are_few():
    """Plain CKA of noise with as many numbers as tokens is far above 0."""
    generator = np.random.default_rng(2)
    values = [debiased_cka(generator.normal(size=(2, 12, 12)))[0, 1] for _ in range(300)]
    assert abs(np.nanmean(values)) < 0.05


def test_the_null_holds_what_is_unlike_and_not_what_is_alike():
    generator = np.random.default_rng(3)
    first = generator.normal(size=(400, 4))
    features = np.array([first, first + 0.5 * generator.normal(size=first.shape),
                         generator.normal(size=first.shape)])  # fmt: skip
    found = agreement(features, generator)
    assert found.shuffled.shape == (SHUFFLES, 3, 3)
    assert found.cka[0, 1] > found.shuffled[:, 0, 1].max()
    assert found.shuffled[:, 0, 2].min() < found.cka[0, 2] + 0.02
    assert abs(found.shuffled[:, 0, 1].mean()) < 0.02


def test_twin_heads_of_a_model_agree_wholly(asked):
    model = Transformer(CONFIG, seed=4).eval()
    with torch.no_grad():
        attention = model.blocks[1].attention
        for linear in (attention.query, attention.key, attention.value):
            linear.weight[4:8] = linear.weight[:4]
    outputs = redundancy.head_outputs(model, asked.text.windows[:, :8])
    assert outputs.shape == (6, 48, 4)
    cka = debiased_cka(outputs)
    assert cka[3, 4] == pytest.approx(1)
    assert cka[3, 5] < 0.9


def test_a_head_that_says_nothing_has_no_cka_and_few_tokens_are_refused():
    features = np.random.default_rng(0).normal(size=(2, 9, 3))
    features[1] = 2.0
    assert np.isnan(debiased_cka(features)[0, 1])
    with pytest.raises(InputError, match="4 or more tokens, got 3"):
        debiased_cka(np.zeros((2, 3, 4)))
