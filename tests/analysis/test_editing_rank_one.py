"""The update by hand, a planted fact moved, and the model as it was afterwards."""

import pytest
import torch
from analysis.planted_facts import FACTS, WORDINGS, WORDS, taught

from tokkit.analysis.editing.moments import packed_rows, second_moments, weights_digest
from tokkit.analysis.editing.passes import editable_layers, hidden_after, normed, stream_before
from tokkit.analysis.editing.rank_one import (
    Edit,
    applied,
    compute_edit,
    dual_key,
    rank_one_update,
)
from tokkit.analysis.editing.request import EditRequest
from tokkit.analysis.editing.value import EditSettings, Optimised
from tokkit.errors import ArtifactError, ConfigError
from tokkit.model.config import ModelConfig
from tokkit.model.scoring import score
from tokkit.model.transformer import Transformer

REQUEST = EditRequest("Tower Anu", WORDINGS[0], "Paris")
PREFIXES = ("The a. ", "When a. ")


def text():
    from analysis.planted_facts import sentences

    return sentences()


@pytest.fixture(scope="module")
def moments():
    ids = packed_rows(WORDS, text() * 4, tokens=600, length=20)
    return second_moments(taught(), ids, range(3))


def edited(layer, moments, **settings):
    return compute_edit(
        taught(), WORDS, REQUEST, layer=layer, moments=moments[layer], prefixes=PREFIXES,
        settings=EditSettings(**settings),
    )  # fmt: skip


def answer(subject, wording=WORDINGS[0]):
    with torch.no_grad():
        logits = taught()(torch.tensor([WORDS.encode(wording.format(subject))]))
    return WORDS.decode([int(logits[0, -1].argmax())]).strip()


def test_a_matrix_of_two_by_three_by_hand():
    # C = diag(1, 2, 4), k = (1, 2, 0): C^-1 k = (1, 1, 0), C^-1 k . k = 3. W k = (5, -1), so the
    # change of (7, -1) - (5, -1) = (2, 0) goes along (1, 1, 0) / 3.
    weight = torch.tensor([[1.0, 2.0, 3.0], [1.0, -1.0, 5.0]])
    key, value = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([7.0, -1.0])
    update = rank_one_update(weight, key, value, torch.diag(torch.tensor([1.0, 2.0, 4.0])))
    by_hand = torch.tensor([[2 / 3, 2 / 3, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(update, by_hand, atol=2e-4, rtol=0)  # the ridge is 1e-4
    torch.testing.assert_close((weight + update) @ key, value)  # that of the key is exact


def test_keys_that_are_orthogonal_in_the_moments_give_what_they_gave():
    generator = torch.Generator().manual_seed(5)
    draws = torch.randn(7, 5, generator=generator)
    moments, key = draws.T @ draws, torch.randn(5, generator=generator)
    right = dual_key(key, moments)
    other = torch.randn(5, generator=generator)
    ridge = 1e-4 * moments.diagonal().mean() * torch.eye(5)
    measured = torch.linalg.inv(moments + ridge)
    other -= key * (other @ measured @ key) / (key @ measured @ key)
    assert float(right @ key) == pytest.approx(1, abs=1e-5)
    assert float(right @ other) == pytest.approx(0, abs=1e-5)


def test_of_all_changes_that_give_the_value_this_one_changes_the_rest_least():
    generator = torch.Generator().manual_seed(6)
    draws = torch.randn(11, 5, generator=generator).double()
    moments, key = (draws.T @ draws / 11).float(), torch.randn(5, generator=generator)
    weight, value = torch.randn(3, 5, generator=generator), torch.randn(3, generator=generator)
    best = rank_one_update(weight, key, value, moments)
    cost = ((best @ draws.float().T) ** 2).sum()
    for _ in range(20):
        away = torch.randn(3, 5, generator=generator)
        away -= torch.outer(away @ key, key) / (key @ key)  # the key's value stays
        assert ((best + 0.3 * away) @ draws.float().T).square().sum() > cost


def test_a_planted_fact_moves_and_the_others_stay(moments):
    edit = edited(0, moments)
    assert edit.optimised.trials[0].target_nats > 3 > 0.1 > edit.optimised.trials[-1].target_nats
    before = weights_digest(taught())
    with applied(taught(), edit):
        for wording in WORDINGS:
            assert answer("Tower Anu", wording) == "Paris"
            assert all(
                answer(subject, wording) == city
                for subject, city in FACTS.items()
                if subject != "Tower Anu"
            )
    assert answer("Tower Anu") == "Rome"
    assert weights_digest(taught()) == before


def test_a_layer_after_which_nobody_looks_changes_nothing(moments):
    edit = edited(1, moments)  # what it adds at the subject is carried nowhere
    assert edit.optimised.trials[-1].target_nats > 3
    with applied(taught(), edit):
        assert answer("Tower Anu") == "Rome"


def test_the_edited_layer_gives_the_value_that_was_sought(moments):
    edit = edited(0, moments)
    down = taught().blocks[0].feedforward.down.weight
    with torch.no_grad():
        before = down @ edit.optimised.key
        with applied(taught(), edit):
            after = down @ edit.optimised.key
    torch.testing.assert_close(after - before, edit.optimised.delta, atol=1e-4, rtol=1e-3)


def test_the_same_seed_gives_the_same_edit_and_gradients_stay_on(moments):
    one, two = (
        compute_edit(taught(), WORDS, REQUEST, layer=0, moments=moments[0], seed=4) for _ in "ab"
    )
    assert torch.equal(one.left, two.left)
    assert one.prefixes == two.prefixes != ()
    assert all(parameter.requires_grad for parameter in taught().parameters())
    assert all(parameter.grad is None for parameter in [taught().blocks[0].feedforward.up.weight])


def test_the_change_is_no_longer_than_allowed(moments):
    edit = edited(0, moments, largest=0.5, enough=0.0, steps=7)
    assert max(trial.length for trial in edit.optimised.trials) <= 0.5 + 1e-5
    assert len(edit.optimised.trials) == 8


def test_a_target_of_several_tokens_is_scored_by_itself():
    config = ModelConfig(
        vocab_size=WORDS.vocab_size, width=16, layers=3, query_heads=2, context=24, hidden_width=31
    )
    model = Transformer(config, seed=1).eval()
    request = EditRequest("Tower Anu", WORDINGS[0], "and Lima")
    edit = compute_edit(
        model, WORDS, request, layer=0, moments=torch.eye(31), prefixes=PREFIXES,
        settings=EditSettings(steps=3),
    )  # fmt: skip
    texts = [WORDS.encode(before + request.filled) for before in ("", *PREFIXES)]
    scores = score(model, [(text, WORDS.encode("x and Lima")[1:]) for text in texts])
    nats = -sum(one.total for one in scores) / 6
    trials = edit.optimised.trials
    assert trials[0].target_nats == pytest.approx(nats, rel=1e-4)
    assert trials[-1].target_nats < trials[0].target_nats


def test_prefixes_that_do_not_fit_are_left_out_and_told(moments):
    edit = compute_edit(
        taught(), WORDS, REQUEST, layer=0, moments=moments[0],
        prefixes=("The a. ", "unheard words. ", "The " * 23),
    )  # fmt: skip
    assert edit.prefixes == ("The a. ",)


def some_edit(layer, seed):
    generator = torch.Generator().manual_seed(seed)
    left, right = torch.randn(32, generator=generator), torch.randn(53, generator=generator)
    return Edit(layer, left, right, REQUEST, Optimised(right, left, ()), ())


def test_edits_in_a_row_are_taken_back_bit_for_bit():
    model, edits = taught(), [some_edit(n % 2, n) for n in range(5)]
    weights = [model.blocks[n].feedforward.down.weight for n in range(2)]
    before = [weight.clone() for weight in weights]
    with applied(model, edits[:3]):
        inside = [weight.clone() for weight in weights]
        with applied(model, edits[3]), applied(model, edits[4]):
            assert not torch.equal(weights[0], inside[0])
        assert all(torch.equal(*pair) for pair in zip(weights, inside, strict=True))
    assert all(torch.equal(*pair) for pair in zip(weights, before, strict=True))


def test_an_error_inside_takes_them_back_too():
    before = weights_digest(taught())
    with pytest.raises(KeyError), applied(taught(), [some_edit(0, 1)]):
        raise KeyError
    assert weights_digest(taught()) == before


def test_layers_that_cannot_be_edited(moments):
    with pytest.raises(ConfigError, match=r"layer must lie in 0\.\.3, got 4"):
        edited_at(4, moments[0])
    with pytest.raises(ConfigError, match="layer 3 is the last"):
        edited_at(3, moments[0])
    config = ModelConfig(
        vocab_size=WORDS.vocab_size, width=8, layers=3, query_heads=2, context=24, experts=3,
        experts_per_token=2, expert_width=5, expert_pattern="de",
    )  # fmt: skip
    mixed = Transformer(config, seed=0).eval()
    layer = next(n for n in range(3) if n not in editable_layers(mixed) and n < 2)
    with pytest.raises(ConfigError, match=f"layer {layer} is a mixture of experts"):
        compute_edit(mixed, WORDS, REQUEST, layer=layer, moments=torch.eye(5))


def edited_at(layer, moment):
    return compute_edit(taught(), WORDS, REQUEST, layer=layer, moments=moment, prefixes=())


def test_moments_and_edits_of_another_model():
    with pytest.raises(ArtifactError, match=r"must be \(53, 53\), got \(5, 5\)"):
        edited_at(0, torch.eye(5))
    with pytest.raises(ArtifactError, match="have no inverse"):
        dual_key(torch.zeros(3), torch.eye(3))
    with pytest.raises(ArtifactError, match="have no inverse"):
        dual_key(torch.ones(3), -torch.eye(3))
    foreign = Edit(0, torch.ones(3), torch.ones(5), REQUEST, Optimised(None, None, ()), ())
    with pytest.raises(ConfigError, match="of another model"), applied(taught(), foreign):
        pass


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"rate": 0}, {"largest": -1}, {"decay": -1}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match="must"):
        EditSettings(**wrong)


@pytest.mark.parametrize("place", ["pre", "post", "sandwich"])
def test_a_pass_in_two_parts_is_the_whole_pass(place):
    config = ModelConfig(
        vocab_size=23, width=12, layers=3, query_heads=2, context=11, norm_place=place
    )
    model = Transformer(config, seed=1).eval()
    ids = torch.tensor([[3, 5, 7, 11, 13]])
    with torch.no_grad():
        hidden = hidden_after(model, stream_before(model, ids, 1), 1)
        torch.testing.assert_close(hidden, model.hidden(ids))
        assert normed(model, hidden).shape == hidden.shape
