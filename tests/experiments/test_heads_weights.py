"""What heads read: worked by hand, planted slices, other bases, masks."""

import math

import numpy as np
import pytest
import torch

from tokkit.errors import ConfigError
from tokkit.experiments import heads_reading as reading
from tokkit.experiments.heads_arms import (
    build,
    check_sliceable,
    designs,
    kept_heads,
    masks_of,
    removed_weights,
    running_cache_bytes,
    scattered_mask,
    slice_mask,
)
from tokkit.experiments.heads_rotation import (
    CONTROL_DEVIATION,
    TOLERANCE,
    check_rotation,
    fold_norm_gains,
    random_rotation,
    rotated,
    why_not,
)
from tokkit.experiments.heads_tables import Subject, weight_tables
from tokkit.experiments.text_arms import Arm
from tokkit.model import anatomy
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer

BASE = ModelConfig(
    vocab_size=31, width=12, layers=2, query_heads=3, hidden_width=20, context=16, tied=True
)


def changed(**settings):
    return ModelConfig.from_dict({**BASE.to_dict(), "head_width": 4, **settings})


def shaken(config, seed=3):
    """A model whose norms' gains and biases are none of 1 and 0, as a trained one's."""
    features = None
    if config.token_features:
        given = torch.Generator().manual_seed(seed + 1)
        features = torch.rand(config.vocab_size, config.token_features, generator=given)
    model = Transformer(config, seed=seed, token_features=features)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm." in name or name.endswith("bias"):
                parameter.add_(0.5 * torch.rand(parameter.shape, generator=generator))
    return model.eval()


def arm_of(name, config=BASE, seeds=(0,)):
    return Arm(name, designs(config)[name].config, 1e-3, seeds, alone=True)


@pytest.mark.parametrize(
    ("matrix", "read"),
    [
        (np.eye(5), 5.0),
        (np.eye(2, 5), 2.0),  # a slice
        (np.ones((3, 7)), 7.0),
        (np.array([[1.0, 0.0], [1.0, 0.0]]), 1.0),
        (np.array([[1.0, 0.0], [0.0, math.sqrt(3)]]), 16 / 10),  # (1 + 3)^2 / (1 + 9)
        (np.zeros((2, 3)), 0.0),
    ],
)
def test_participation_by_hand(matrix, read):
    assert reading.participation(matrix) == pytest.approx(read)


def test_ranks_and_overlaps_by_hand():
    assert reading.effective_rank(np.eye(3, 5)) == pytest.approx(3)
    assert reading.effective_rank(np.diag([3.0, 1.0])) == pytest.approx(
        math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    )
    assert reading.effective_rank(np.zeros((2, 2))) == 0
    assert reading.outside_share(np.diag([2.0, 1.0]), 1) == pytest.approx(1 / 5)
    first, second = np.eye(2, 4), np.eye(4)[2:]
    assert reading.subspace_overlap(first, first) == pytest.approx(1)
    assert reading.subspace_overlap(first, second) == pytest.approx(0)
    assert reading.subspace_overlap(first, np.eye(4)[1:3]) == pytest.approx(0.5)


def test_nulls_are_near_their_expectations():
    """Columns' squares are chi-squared with K degrees: D K / (K + 2); subspaces overlap by K / D"""
    null = reading.participation_null(8, 64)
    assert null.mean == pytest.approx(64 * 8 / 10, rel=0.04)
    assert null.low < null.mean < null.high
    assert reading.overlap_null(8, 64).mean == pytest.approx(8 / 64, rel=0.05)
    assert reading.towards_null(8, 8, null) == 0
    assert reading.towards_null(null.mean, 8, null) == 1


def test_maps_have_the_gain_of_a_norm_before_them_and_not_of_one_behind():
    model = shaken(BASE)
    gain = model.blocks[1].attention_norm.weight.detach().numpy().astype(np.float64)
    maps = reading.head_maps(model, 1)
    weight = model.blocks[1].attention.key.weight.detach().numpy().astype(np.float64)
    assert np.allclose(maps["key"][2], weight[8:12] * gain)
    post = shaken(changed(norm_place="post"))
    plain = post.blocks[1].attention.query.weight.detach().numpy()
    assert np.allclose(reading.head_maps(post, 1)["query"][0], plain[:4])
    offset = shaken(changed(norm_offset=True))
    gains = 1 + offset.blocks[0].attention_norm.weight.detach().numpy()
    own = offset.blocks[0].attention.value.weight.detach().numpy()[:4]
    assert np.allclose(reading.head_maps(offset, 0)["value"][0], own * gains, atol=1e-6)


def test_planted_slices_are_found_in_any_basis():
    model = build(arm_of("slices"), seed=0)
    for found in reading.read_heads(model):
        assert found.participation <= 4 + 1e-9
    assert all(found.outside < 1e-12 for found in reading.read_joined(model))
    for found in reading.read_overlaps(model):
        assert found.largest < 1e-12
        assert found.same_coordinates == 0
    other = rotated(model, seed=1)
    assert min(found.participation for found in reading.read_heads(other)) > 4
    assert all(found.outside < 1e-12 for found in reading.read_joined(other))
    assert all(found.largest < 1e-12 for found in reading.read_overlaps(other))


def test_free_heads_are_no_slices_and_overlap_as_random_ones():
    config = ModelConfig(vocab_size=11, width=64, layers=1, query_heads=8)
    model = Transformer(config, seed=5)
    null = reading.participation_null(8, 64)
    values = [found.participation for found in reading.read_heads(model)]
    assert all(reading.towards_null(value, 8, null) > 0.5 for value in values)
    assert np.mean(values) == pytest.approx(null.mean, rel=0.05)
    for found in reading.read_overlaps(model):
        assert found.mean == pytest.approx(1 / 8, rel=0.15)
        assert found.pairs == 28
        null = reading.same_coordinates_null(8, 64).mean
        assert found.same_coordinates == pytest.approx(null, rel=0.05)
        assert null == pytest.approx(8 / 10, rel=0.05)  # squared mean over mean square


def test_shared_key_value_heads_are_read_with_each_query_head():
    model = Transformer(changed(query_heads=6, key_value_heads=2, head_width=2), seed=0)
    assert len(reading.read_joined(model)) == 2 * 6
    assert sum(found.map == "key" for found in reading.read_heads(model)) == 2 * 2


def test_what_training_changed_is_read_apart():
    before, after = (Transformer(BASE, seed=0) for _ in range(2))
    with torch.no_grad():
        after.blocks[0].attention.query.weight[0, 5] += 1.0
    found = {(f.layer, f.head, f.map): f.learned for f in reading.read_heads(after, before)}
    assert found[0, 0, "query"] == pytest.approx(1)
    assert found[0, 1, "query"] == 0


# Bases ------------------------------------------------------------------------------------------

FAMILIES = {
    "tied": {},
    "untied": {"tied": False},
    "grouped": {"query_heads": 6, "key_value_heads": 2, "head_width": 2},
    "learned positions": {"positions": "learned"},
    "alibi": {"positions": "alibi"},
    "biases": {"linear_bias": True, "feedforward": "gelu"},
    "query-key norm": {"qk_norm": True},
    "offset gains": {"norm_offset": True, "embedding_scale": 3.0},
    "softcap": {"logit_softcap": 20.0},
    "token features": {"token_features": 5},
    "experts": {
        "experts": 3, "experts_per_token": 2, "expert_width": 7, "shared_expert_width": 5,
    },
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rotated_stream_gives_the_same_logits(family):
    found, copy = check_rotation(shaken(changed(**FAMILIES[family])), seed=7)
    assert found.folded <= TOLERANCE
    assert found.rotated <= TOLERANCE
    assert found.control >= CONTROL_DEVIATION
    assert found.holds
    assert found.control_fails
    assert not copy.config.tied


def test_without_folding_a_rotation_changes_the_logits():
    """The gain is why folding comes first: with gains in place the same rotation fails."""
    model = shaken(BASE)
    copy = rotated(model, seed=7)
    with torch.no_grad():
        for block, own in zip(copy.blocks, model.blocks, strict=True):
            gain = own.attention_norm.weight.double()
            turned = random_rotation(12, 7)
            weight = own.attention.query.weight.double() @ turned
            block.attention.query.weight.copy_(weight)  # rotated, its gain not folded
            block.attention_norm.weight.copy_(gain)
        ids = torch.arange(10)[None]
        difference = (copy(ids) - model.double()(ids)).abs().max()
    assert difference > 1e-3


def test_the_model_itself_stays_as_it_is():
    model = shaken(BASE)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    check_rotation(model, seed=0)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.embedding.dtype == torch.float32


def test_a_rotation_is_orthogonal_and_depends_on_its_seed():
    one = random_rotation(13, 0)
    assert torch.allclose(one @ one.T, torch.eye(13, dtype=torch.float64), atol=1e-12)
    assert torch.equal(one, random_rotation(13, 0))
    assert not torch.equal(one, random_rotation(13, 1))


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"norm": "layernorm"}, "layer norm"),
        ({"norm_place": "post"}, "gain"),
        ({"norm_place": "sandwich"}, "gain"),
        ({"positions": "sinusoidal"}, "sines"),
    ],
)
def test_what_cannot_be_rotated_says_why(settings, word):
    config = changed(**settings)
    reason = why_not(config)
    assert reason is not None
    assert word in reason
    with pytest.raises(ConfigError, match="cannot be rotated"):
        fold_norm_gains(Transformer(config, seed=0))
    tables = weight_tables([Subject("x", None, Transformer(config, seed=0))])
    (row,) = tables["rotation"].records()
    assert row["reason"] == reason
    assert row["holds"] is None


# Masks ------------------------------------------------------------------------------------------


def test_masks_by_hand():
    mask = slice_mask(BASE)
    assert mask.shape == (12, 12)
    assert mask[:4, :4].all()
    assert mask[8:, 8:].all()
    assert mask.sum() == 3 * 16
    scattered = scattered_mask(BASE, 0, "a")
    assert scattered.sum(1).tolist() == [4.0] * 12
    assert torch.equal(scattered, scattered_mask(BASE, 0, "a"))
    assert not torch.equal(scattered, scattered_mask(BASE, 1, "a"))
    assert not torch.equal(scattered, scattered_mask(BASE, 0, "b"))
    assert removed_weights(BASE) == 2 * 3 * (144 - 48)


@pytest.mark.parametrize("name", ["slices", "scattered"])
def test_masked_weights_are_the_free_ones_scaled(name):
    free, masked = build(arm_of("free"), 2), build(arm_of(name), 2)
    masks = masks_of(free, name, 2)
    assert len(masks) == 6
    own, other = dict(free.named_parameters()), dict(masked.named_parameters())
    for parameter, value in own.items():
        mask = masks.get(parameter)
        wanted = value if mask is None else value * mask * math.sqrt(3)
        assert torch.allclose(other[parameter], wanted)


@pytest.mark.parametrize("name", ["slices", "slices-wide", "scattered"])
def test_masks_stay_through_training(name, tmp_path):
    from tokkit.training.config import TrainingConfig
    from tokkit.training.loop import train
    from tokkit.training.objective import Batch

    model = build(arm_of(name), 0)
    start = {key: value.detach().clone() for key, value in model.named_parameters()}
    zero = {key: value == 0 for key, value in start.items() if ".attention." in key}

    def batch(step):
        ids = torch.randint(31, (3, 17), generator=torch.Generator().manual_seed(step))
        return Batch(ids[:, :-1].contiguous(), None, None, ids[:, 1:].contiguous())

    config = TrainingConfig(steps=4, learning_rate=1e-2, warmup_steps=0)
    train(model, batch, config, tmp_path)
    removed = 0
    for key, value in model.named_parameters():
        if key in zero and not key.endswith("output.weight"):
            assert torch.equal(value == 0, zero[key])
            assert not torch.equal(value, start[key])
            removed += int(zero[key].sum())
    assert removed == removed_weights(model.config)


def test_the_designs():
    base = ModelConfig(vocab_size=512, width=64, layers=2, query_heads=8, hidden_width=128)
    found = designs(base)
    assert list(found) == [
        "free", "slices", "slices-wide", "scattered", "kv-4", "kv-2", "kv-1", "kv-1-wide",
    ]  # fmt: skip
    wide = found["slices-wide"].config
    assert wide.hidden_width == 128 + 56
    assert anatomy.total(wide) - removed_weights(wide) == anatomy.total(base)
    single = anatomy.total(found["kv-1-wide"].config)
    assert single == pytest.approx(anatomy.total(base), rel=0.002)
    assert kept_heads(6) == [6, 3, 1]


@pytest.mark.parametrize(
    "settings", [{"head_width": 2}, {"query_heads": 6, "head_width": 2, "key_value_heads": 3}]
)
def test_what_cannot_be_sliced_is_refused(settings):
    with pytest.raises(ConfigError, match="slices need query_heads x head_width = width"):
        check_sliceable(changed(**settings))


@pytest.mark.parametrize(("kept", "held"), [(3, 2 * 2 * 3 * 4 * 4 * 5), (1, 2 * 2 * 1 * 4 * 4 * 5)])
def test_bytes_of_a_running_cache_by_hand(kept, held):
    """2 (keys and values) x 2 layers x heads x width 4 x 4 bytes x 5 tokens."""
    model = Transformer(changed(key_value_heads=kept), seed=0)
    assert running_cache_bytes(model, [1, 2, 3, 4, 5]) == held
    assert anatomy.cache_bytes(model.config, 5, "float32") == held


def test_a_sliding_layer_holds_its_window():
    model = Transformer(changed(attention_pattern="sf", window=3), seed=0)
    assert running_cache_bytes(model, [1, 2, 3, 4, 5]) == 2 * 3 * 4 * 4 * (3 + 5)
