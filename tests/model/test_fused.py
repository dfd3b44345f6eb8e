"""The fast ways of a training step against their plain twins, and where they must give way."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.func import functional_call, grad, vmap

from tokkit.errors import InputError
from tokkit.model import fused
from tokkit.model.allocation import keep_freed_memory
from tokkit.model.fused import attention as fused_attention
from tokkit.model.fused import layers as fused_layers
from tokkit.model.fused import loss as fused_loss
from tokkit.model.fused import products as fused_products

SIZES = st.integers(1, 37)
QUICK = settings(max_examples=15, deadline=None)


@pytest.fixture(autouse=True)
def fast_for_small_products_too(monkeypatch):
    monkeypatch.setattr(fused_layers, "_LEAST_PRODUCTS", 0)


def drawn(*shape: int, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()


def assert_agree(fast, plain, *inputs: torch.Tensor) -> None:
    """Values and gradients in float32 within 1e-5 of the twin's in float64, by their norms."""
    exact = [x.detach().double().requires_grad_(x.requires_grad) for x in inputs]
    results = []
    for function, values in ((fast, inputs), (plain, exact)):
        out = function(*values)
        weights = drawn(*out.shape, seed=7, dtype=torch.float64).detach().to(out.dtype)
        wanted = [x for x in values if x.requires_grad]
        results.append([out.detach(), *torch.autograd.grad(out, wanted, weights)])
    for mine, theirs in zip(*results, strict=True):
        assert mine.shape == theirs.shape
        assert (
            mine.double() - theirs
        ).norm() <= 1e-5 * theirs.norm() + 1e-7 * theirs.numel() ** 0.5


def attention_inputs(batch: int, heads: int, groups: int, length: int, width: int, dtype):
    shapes = [(batch, length, count, width) for count in (heads, groups, groups)]
    drawn_ = (drawn(*shape, seed=n, dtype=dtype) for n, shape in enumerate(shapes))
    return [x.detach().transpose(1, 2).requires_grad_() for x in drawn_]


@QUICK
@given(rows=SIZES, inputs=SIZES, outputs=SIZES, biased=st.booleans())
def test_linear_is_its_twin(rows, inputs, outputs, biased):
    tensors = [drawn(3, rows, inputs), drawn(outputs, inputs)] + [drawn(outputs)] * biased
    assert_agree(fused.linear, torch.nn.functional.linear, *tensors)


@QUICK
@given(rows=SIZES, width=SIZES, offset=st.booleans())
def test_rms_norm_is_its_twin(rows, width, offset):
    tensors = drawn(2, rows, width), drawn(width)
    assert_agree(
        lambda x, w: fused.rms_norm(x, w, 1e-3, offset),
        lambda x, w: fused.plain_rms_norm(x, w, 1e-3, offset),
        *tensors,
    )


@QUICK
@given(rows=SIZES, width=SIZES)
def test_gelu_is_its_twin_as_a_gate(rows, width):
    assert_agree(
        lambda g, u: fused.gelu(g) * u,
        lambda g, u: fused.plain_gelu(g) * u,
        drawn(rows, width),
        drawn(rows, width, seed=1),
    )


def test_gelu_of_large_numbers():
    x = torch.tensor([-1e4, -30.0, -5.0, 0.0, 5.0, 30.0, 1e4], requires_grad=True)
    y = fused.gelu(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(y, fused.plain_gelu(x), atol=1e-6)
    assert slope[[0, 1, 3, 5, 6]].tolist() == [0, 0, 0.5, 1, 1]


@QUICK
@given(heads=st.integers(1, 3), length=SIZES, pairs=st.integers(1, 5), rest=st.integers(0, 3))
def test_rotate_is_its_twin_and_keeps_lengths(heads, length, pairs, rest):
    x = drawn(2, length, heads, 2 * pairs + rest).detach().transpose(1, 2).requires_grad_()
    angles = drawn(length, pairs, seed=3).detach()
    tables = angles.cos(), angles.sin()
    assert_agree(fused.rotate, fused.plain_rotate, x, *tables)
    assert torch.allclose(fused.rotate(x, *tables).norm(dim=-1), x.norm(dim=-1), rtol=1e-5)


@pytest.mark.parametrize("length", [127, 128, 131, 192, 257])
@pytest.mark.parametrize(("heads", "groups"), [(3, 3), (6, 2), (2, 1)])
def test_causal_attention_is_its_twin(length, heads, groups):
    inputs = attention_inputs(2, heads, groups, length, 5, torch.float32)
    assert_agree(
        lambda q, k, v: fused.causal_attention(q, k, v, 0.3),
        lambda q, k, v: fused.plain_causal_attention(q, k, v, 0.3),
        *inputs,
    )


def test_attention_past_its_memory_goes_to_torch(monkeypatch):
    inputs = attention_inputs(1, 2, 2, 131, 4, torch.float32)
    assert "CausalAttention" in type(fused.causal_attention(*inputs, 0.5).grad_fn).__name__
    monkeypatch.setattr(fused_attention, "SCORE_BYTES", 1000)
    assert "CausalAttention" not in type(fused.causal_attention(*inputs, 0.5).grad_fn).__name__


@QUICK
@given(
    rows=st.integers(1, 41),
    width=SIZES,
    vocab=SIZES,
    softcap=st.sampled_from((0.0, 2.0)),
    block=st.sampled_from((1, 700, 1 << 22)),
)
def test_linear_cross_entropy_is_its_twin(rows, width, vocab, softcap, block):
    targets = torch.arange(rows) * 7 % vocab
    before, fused_loss.LOGIT_BYTES = fused_loss.LOGIT_BYTES, block
    try:
        # A vocabulary of one has nothing to learn: gradients of rounding alone.
        if vocab > 1:
            assert_agree(
                lambda h, u: fused.linear_cross_entropy(h, u, targets, softcap),
                lambda h, u: fused.plain_linear_cross_entropy(h, u, targets, softcap),
                drawn(rows, width),
                drawn(vocab, width),
            )
        with torch.no_grad():
            arguments = drawn(rows, width), drawn(vocab, width), targets, softcap
            mine = fused.linear_cross_entropy(*arguments)
            assert torch.allclose(mine, fused.plain_linear_cross_entropy(*arguments), atol=1e-6)
    finally:
        fused_loss.LOGIT_BYTES = before


def test_equal_logits_cost_the_log_of_the_vocabulary():
    hidden, unembedding = torch.zeros(5, 3, requires_grad=True), drawn(11, 3)
    targets = torch.tensor([0, 10, 4, 0, 10])  # the ends among them
    loss = fused.linear_cross_entropy(hidden, unembedding, targets)
    assert loss.item() == pytest.approx(math.log(11), rel=1e-6)
    of_hidden, of_unembedding = torch.autograd.grad(loss, (hidden, unembedding))
    expected = (unembedding.mean(0) - unembedding[targets]) / 5
    assert torch.allclose(of_hidden, expected, atol=1e-7)
    assert not of_unembedding.any()


@pytest.mark.parametrize("size", [1e2, 1e4, 1e18])
def test_large_logits_do_not_overflow(size):
    # One logit of `size`, the others 0: the loss is `size` where another is the target.
    hidden = torch.full((2, 1), size, requires_grad=True)
    unembedding = torch.tensor([[1.0], [0.0], [0.0]], requires_grad=True)
    loss = fused.linear_cross_entropy(hidden, unembedding, torch.tensor([0, 2]))
    assert loss.item() == pytest.approx(size / 2, rel=1e-6)
    (of_hidden,) = torch.autograd.grad(loss, hidden)
    assert of_hidden.flatten().tolist() == pytest.approx([0, 0.5])


def test_what_is_not_finite_stays_so():
    hidden = torch.tensor([[1.0], [math.nan]], requires_grad=True)
    loss = fused.linear_cross_entropy(hidden, drawn(3, 1), torch.tensor([0, 1]))
    assert math.isnan(loss.item())


def test_only_the_gradient_asked_for():
    hidden, unembedding, targets = drawn(5, 3).detach(), drawn(7, 3), torch.arange(5)
    loss = fused.linear_cross_entropy(hidden, unembedding, targets)
    plain = fused.plain_linear_cross_entropy(hidden, unembedding, targets)
    mine, theirs = (torch.autograd.grad(side, unembedding)[0] for side in (loss, plain))
    assert torch.allclose(mine, theirs, atol=1e-6)


def test_a_target_outside_of_the_vocabulary_is_refused():
    with pytest.raises((RuntimeError, IndexError), match="index"):
        fused.linear_cross_entropy(drawn(2, 3), drawn(5, 3), torch.tensor([0, 5]))


def functions_in_float64():
    """The fast ways themselves, which outside of tests see float32 only."""
    angles = drawn(5, 2, dtype=torch.float64).detach()
    targets = torch.tensor([0, 6, 3, 6])
    x = drawn(4, 3, dtype=torch.float64)
    return {
        "linear": (fused_layers._Linear.apply, (x, drawn(5, 3, dtype=torch.float64), None)),
        "rms_norm": (fused_layers._RMSNorm.apply, (x, drawn(3, dtype=torch.float64), 1e-2)),
        "gelu": (fused_layers._Gelu.apply, (x,)),
        "rotate": (
            fused_layers._Rotate.apply,
            (drawn(2, 1, 5, 5, dtype=torch.float64), angles.cos(), angles.sin()),
        ),
        "loss": (
            fused_loss._LinearCrossEntropy.apply,
            (x, drawn(7, 3, dtype=torch.float64), targets, 0.0),
        ),
        "capped loss": (
            fused_loss._LinearCrossEntropy.apply,
            (x, drawn(7, 3, dtype=torch.float64), targets, 1.5),
        ),
    }


@pytest.mark.parametrize("name", functions_in_float64())
def test_finite_differences(name):
    function, inputs = functions_in_float64()[name]
    assert gradcheck(function, inputs)


def test_finite_differences_of_attention(monkeypatch):
    monkeypatch.setattr(fused_attention, "QUERY_BLOCK", 2)
    inputs = attention_inputs(1, 2, 1, 5, 3, torch.float64)
    assert gradcheck(lambda q, k, v: fused_attention._CausalAttention.apply(q, k, v, 0.7), inputs)


def loss_of_all(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Everything in one: (N, D) and (D, D)."""
    normed = fused.rms_norm(fused.linear(x, weight), weight[0], 1e-5)
    hidden = fused.gelu(fused.rotate(normed, weight[:1, :2].detach(), weight[1:2, :2].detach()))
    return fused.linear_cross_entropy(hidden, weight, torch.arange(len(x)) % len(weight))


def test_same_bits_again():
    results = []
    for _ in range(2):
        x, weight = drawn(300, 17), drawn(17, 17)
        loss = loss_of_all(x, weight)
        results.append([loss, *torch.autograd.grad(loss, (x, weight))])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_a_second_derivative_raises():
    x, weight = drawn(20, 5), drawn(5, 5)
    functions = {
        "loss": lambda: loss_of_all(x, weight),
        "linear": lambda: fused.linear(x, weight).sum(),
        "norm": lambda: fused.rms_norm(x, weight[0], 1e-5).sum(),
        "gelu": lambda: fused.gelu(x).sum(),
        "attention": lambda: fused.causal_attention(*inputs, 1.0).sum(),
    }
    inputs = attention_inputs(1, 1, 1, 128, 2, torch.float32)
    for name, function in functions.items():
        wanted = inputs[0] if name == "attention" else x
        with pytest.raises(InputError, match="first derivatives only"):
            torch.autograd.grad(function(), wanted, create_graph=True)


def test_function_transforms_take_the_plain_way():
    x, weight = drawn(3, 20, 5).detach(), drawn(5, 5).detach()
    stacked = vmap(grad(loss_of_all), in_dims=(0, None))(x, weight)
    for one, row in zip(stacked, x, strict=True):
        row = row.clone().requires_grad_()
        (alone,) = torch.autograd.grad(loss_of_all(row, weight), row)
        assert torch.allclose(one, alone, atol=1e-6)


def test_functional_call_takes_the_fast_way():
    module = torch.nn.Linear(5, 5)
    weight = drawn(5, 5)
    module.forward = lambda x: fused.linear(x, module.weight)
    x = drawn(20, 5).detach()
    made = functional_call(module, {"weight": weight}, (x,))
    assert torch.allclose(made, x @ weight.T, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Mismatch dtype")
def test_autocast_and_other_types_take_the_plain_way():
    x, weight = drawn(20, 5), drawn(5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not fused.is_fast(x, weight)
        assert fused.linear(x, weight).dtype == torch.bfloat16
        assert math.isfinite(loss_of_all(x, weight).item())
    assert not fused.is_fast(x.double())
    assert not fused.is_fast(torch.empty(2, device="meta"))
    assert fused.is_fast(x, None, torch.nn.Parameter(weight))


def test_without_onednn_products_are_torchs(monkeypatch):
    x, weight = drawn(20, 5), drawn(7, 5)
    monkeypatch.setattr(fused_products, "HAS_ONEDNN", False)
    monkeypatch.setattr(fused_layers, "HAS_ONEDNN", False)
    assert torch.equal(fused.linear(x, weight), torch.nn.functional.linear(x, weight))
    loss = fused.linear_cross_entropy(x, weight, torch.arange(20) % 7)
    plain = fused.plain_linear_cross_entropy(x, weight, torch.arange(20) % 7)
    assert torch.allclose(loss, plain, rtol=1e-6)


def test_keeping_memory_twice_is_harmless():
    keep_freed_memory()
    keep_freed_memory()
