"""The trace of many cells in one climb, against each cell by itself."""

import itertools

import pytest
import torch
from analysis.planted_facts import WORDS, taught

from tokkit.analysis.editing import tracing
from tokkit.analysis.editing.request import EditRequest, Located, located
from tokkit.analysis.editing.tracing import KINDS, TraceSettings, subject_noise, trace_fact
from tokkit.errors import ConfigError
from tokkit.model.config import ModelConfig
from tokkit.model.intervention import intervene
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer

PLACE = Located((3, 5, 7, 11, 13, 2), (1, 2), (17,))


def one_by_one(model, place, answer, alternative, settings, seed):
    """Every cell as a pass of its own, from the embedding on."""
    ids, layers = torch.tensor([place.ids]), model.config.layers
    with torch.no_grad(), trace(model) as seen:
        model(ids)
        clean = dict(seen)
    noise = subject_noise(model, place, settings, seed)
    shape = (len(KINDS), layers, len(place.ids), settings.draws)
    chances, differences = torch.empty(shape), torch.empty(shape)
    for at in itertools.product(*map(range, shape)):
        kind, layer, token, draw = at

        def spoilt(values, draw=draw):
            return values.index_add(1, torch.tensor(place.subject), noise[draw : draw + 1])

        def putting(name, token=token):
            def change(values):
                values = values.clone()
                values[0, token] = clean[name][0, token]
                return values

            return change

        names = [
            f"blocks.{n}.{KINDS[kind]}" for n in settings.layers_of(KINDS[kind], layer, layers)
        ]
        changes = {"embedding": spoilt} | {name: putting(name) for name in names}
        with torch.no_grad(), intervene(model, changes):
            logits = model(ids)[0, -1]
        chances[at] = logits.softmax(-1)[answer]
        differences[at] = logits[answer] - logits[alternative]
    return chances, differences


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"norm_place": "post", "positions": "learned", "norm": "layernorm"},
        {"norm_place": "sandwich", "key_value_heads": 1, "attention_softcap": 5.0},
        {"attention_pattern": "sf", "window": 3},
        {"positions": "alibi"},
    ],
)
def test_it_is_what_every_cell_gives_by_itself(config):
    config = {"key_value_heads": 2, **config}
    model = Transformer(
        ModelConfig(vocab_size=19, width=12, layers=4, query_heads=2, context=11, **config), seed=2
    ).eval()
    settings = TraceSettings(draws=2, window=3, spreads=5)
    found = trace_fact(model, PLACE, answer=4, alternative=9, settings=settings, seed=7)
    chances, differences = one_by_one(model, PLACE, 4, 9, settings, 7)
    torch.testing.assert_close(found.restored, chances, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found.restored_difference, differences, atol=1e-5, rtol=1e-4)


def test_draws_in_groups_give_the_same(monkeypatch):
    settings = TraceSettings(draws=3)
    whole = trace_fact(taught(), PLACE, answer=4, alternative=9, settings=settings)
    monkeypatch.setattr(tracing, "_ROW_FLOATS", 1)
    parts = trace_fact(taught(), PLACE, answer=4, alternative=9, settings=settings)
    torch.testing.assert_close(whole.restored, parts.restored, atol=1e-6, rtol=1e-4)


def test_a_planted_fact_is_found_where_it_is():
    place = located(WORDS, EditRequest("Tower Anu", "the {} is in", "Paris"))
    answer, told = WORDS.encode("x Rome")[1], []
    found = trace_fact(
        taught(), place, answer=answer, alternative=place.target[0],
        settings=TraceSettings(window=1), told=lambda *words: told.append(words[2:]),
    )  # fmt: skip
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert found.clean > 0.9
    spoilt = float(found.corrupted.mean())
    assert spoilt < 0.6
    mean = found.restored.mean(-1)
    residual, attention, feedforward = mean  # layers, tokens
    # Feed-forward 0 writes it at the subject's last token, attention 1 carries it to the end.
    assert residual[0, 2] > 0.9
    assert feedforward[0, 2] > 0.9
    assert attention[1, -1] > 0.9
    assert residual[1:, -1].min() > 0.9
    rest = mean.clone()
    rest[0, 0, 2] = rest[2, 0, 2] = rest[1, 1, -1] = rest[0, 1:, -1] = spoilt
    assert rest.max() < spoilt + 0.2
    # The last token's state after the last layer is all that is unembedded.
    torch.testing.assert_close(found.restored[0, -1, -1], torch.full((5,), found.clean))
    # Before the subject nothing was spoilt.
    assert torch.equal(found.restored[0, :, 0], found.corrupted.expand(4, 5))


def test_a_null_without_noise_that_matters_loses_nothing():
    settings = TraceSettings(draws=2, spreads=1e-6)
    found = trace_fact(taught(), PLACE, answer=4, alternative=9, settings=settings)
    torch.testing.assert_close(found.restored, torch.full_like(found.restored, found.clean))


def test_the_same_seed_draws_the_same_noise():
    one, two, other = (subject_noise(taught(), PLACE, TraceSettings(), seed) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    large = subject_noise(taught(), PLACE, TraceSettings(draws=400), 1)
    spread = float(large.std() / taught().embedding.detach().std())
    assert spread == pytest.approx(3, rel=0.02)


def test_windows_are_cut_at_both_ends():
    settings = TraceSettings(window=10)
    assert settings.layers_of("attention", 0, 30) == range(5)
    assert settings.layers_of("attention", 15, 30) == range(10, 20)
    assert settings.layers_of("feedforward", 29, 30) == range(24, 30)
    assert settings.layers_of("residual", 7, 30) == range(7, 8)
    assert len(TraceSettings().layers_of("attention", 15, 30)) == 10


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"spreads": 0}, {"window": -1}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match="a trace needs draws"):
        TraceSettings(**wrong)


def test_an_answer_against_itself():
    with pytest.raises(ConfigError, match="must be two tokens, got 4 twice"):
        trace_fact(taught(), PLACE, answer=4, alternative=4)
