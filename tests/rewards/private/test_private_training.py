"""One round is the sum it should be, nobody adds more than the clip, and noise has its scale."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from copygym.core.errors import UserError
from copygym.rewards.private.data import UserRows
from copygym.rewards.private.training import (
    ClickModel,
    PrivateOptions,
    clip_updates,
    mean_loss,
    round_update,
    train,
    user_updates,
)

E, P = 3, 2
EVERYBODY = PrivateOptions(sample_rate=1.0, rounds=1, learning_rate=1.0, server="sgd", average=0.0)


def people(count=6, rows=4, seed=0, sent_dims=E, person_dims=P):
    """Users with 1 to ``rows`` rows each, the rest padding."""
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 4, (count, rows)).astype(np.float32)
    n *= np.arange(rows) < rng.integers(1, rows + 1, (count, 1))
    k = rng.binomial(n.astype(int), 0.4).astype(np.float32)
    cells = rng.standard_normal((7, sent_dims)).astype(np.float32)
    cell = np.where(n > 0, rng.integers(0, 7, (count, rows)), 0)
    features = rng.standard_normal((count, person_dims)).astype(np.float32)
    tensors = (torch.from_numpy(a) for a in (features, cells, cell, n, k))
    return UserRows(np.array([f"u{i}" for i in range(count)]), *tensors)


def vector_of(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def some_model(seed=0):
    model = ClickModel(E, P)
    with torch.no_grad():
        model.weight += torch.randn(model.weight.shape, generator=torch.Generator().manual_seed(9))
    return model


def by_hand(weight, rows):
    """Return (U, D) gradients of logistic regression: mean over impressions of (p - y) (x)."""
    found = []
    for u in range(len(rows)):
        n, k = rows.impressions_UT[u].numpy(), rows.clicks_UT[u].numpy()
        total = np.zeros(weight.shape)
        for t in np.flatnonzero(n):
            sent = np.append(1.0, rows.cells_ME[rows.cell_UT[u, t]].numpy())
            features = np.outer(sent, np.append(1.0, rows.people_UP[u].numpy()))
            p = 1 / (1 + np.exp(-(weight * features).sum()))
            total += (n[t] * p - k[t]) * features
        found.append(total.ravel() / n.sum())
    return np.stack(found)


def test_a_round_of_everybody_is_the_gradient_of_the_mean_of_their_losses():
    rows, model = people(), some_model()
    update = round_update(
        model, vector_of(model), rows, torch.ones(6, dtype=bool), EVERYBODY, torch.Generator()
    )
    wanted = by_hand(model.weight.detach().numpy().astype(float), rows).mean(axis=0)
    np.testing.assert_allclose(update, wanted, atol=1e-6)
    # One step of the server goes down that gradient.
    before = vector_of(model)
    train(model, rows, EVERYBODY, seed=0)
    np.testing.assert_allclose(before - vector_of(model), wanted, atol=1e-6)


def test_a_sampled_round_divides_by_the_people_expected_not_by_those_who_came():
    rows, model = people(), some_model()
    half = replace(EVERYBODY, sample_rate=0.5)
    chosen = torch.tensor([True, False, False, False, False, True])
    update = round_update(model, vector_of(model), rows, chosen, half, torch.Generator())
    mine = by_hand(model.weight.detach().numpy().astype(float), rows)[[0, 5]].sum(axis=0)
    np.testing.assert_allclose(update, mine / 3.0, atol=1e-6)


def test_padding_and_logits_agree():
    rows, model = people(), some_model()
    logits = model.logits(rows)
    for u in range(len(rows)):
        shown = rows.impressions_UT[u] > 0
        alone = model(rows.cells_ME[rows.cell_UT[u, shown]], rows.people_UP[u]).detach().numpy()
        np.testing.assert_allclose(logits[u, shown.numpy()], alone, atol=1e-6)


def test_clipped_sums_are_those_of_opacus():
    opacus = pytest.importorskip("opacus")
    from opacus.optimizers import DPOptimizer

    rows, model = people(count=8), some_model()
    clip = float(user_updates(model, vector_of(model), rows, EVERYBODY).norm(dim=1).median())
    ours = round_update(
        model,
        vector_of(model),
        rows,
        torch.ones(8, dtype=bool),
        replace(EVERYBODY, clip=clip),
        torch.Generator(),
    )
    # The same model as one linear layer on the products, a person as one example of T rows.
    sent = torch.cat([torch.ones(8, 4, 1), rows.cells_ME[rows.cell_UT]], dim=-1)
    person = torch.cat([torch.ones(8, 1), rows.people_UP], dim=-1)
    features = (sent[:, :, :, None] * person[:, None, None, :]).flatten(2)
    features.requires_grad_()  # else torch warns of Opacus' hook
    layer = nn.Linear(features.shape[-1], 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(model.weight.reshape(1, -1))
    theirs = opacus.GradSampleModule(layer, loss_reduction="sum")
    optimiser = DPOptimizer(
        torch.optim.SGD(theirs.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=clip,
        expected_batch_size=8,
        loss_reduction="sum",
    )
    logits = theirs(features)[:, :, 0]
    losses = [mean_loss(logits[u], rows.impressions_UT[u], rows.clicks_UT[u]) for u in range(8)]
    torch.stack(losses).sum().backward()
    optimiser.pre_step()
    np.testing.assert_allclose(ours, layer.weight.grad[0] / 8, rtol=1e-4, atol=1e-6)


_SIZES = st.floats(-100, 100, width=32)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, (7, E), elements=_SIZES),
    hnp.arrays(np.float32, (5, P), elements=_SIZES),
    st.integers(1, 3),
    st.floats(0.01, 10),
)
def test_nobody_moves_the_sum_by_more_than_the_clip(cells, features, steps, clip):
    rows = replace(
        people(count=5), cells_ME=torch.from_numpy(cells), people_UP=torch.from_numpy(features)
    )
    model = some_model()
    options = replace(EVERYBODY, clip=clip, local_steps=steps)
    sums = []
    for present in (torch.ones(5, dtype=bool), torch.arange(5) != 2):
        update = round_update(model, vector_of(model), rows, present, options, torch.Generator())
        sums.append(update * len(rows))
    # Sums of five in float32 are exact to some millionths of the clip.
    assert float((sums[0] - sums[1]).norm()) <= clip * (1 + 1e-4)


def test_small_updates_are_left_as_they_are():
    updates = torch.tensor([[0.3, 0.4], [3.0, 4.0], [0.0, 0.0]])
    found = clip_updates(updates, replace(EVERYBODY, clip=1.0))
    np.testing.assert_allclose(found, [[0.3, 0.4], [0.6, 0.8], [0.0, 0.0]], atol=1e-6)


def test_noise_has_the_scale_of_the_clip():
    rows = people(count=10, sent_dims=40, person_dims=40)
    model = ClickModel(40, 40)
    options = PrivateOptions(sample_rate=0.5, rounds=1, learning_rate=1.0, clip=2.0, noise=3.0)
    nobody = torch.zeros(10, dtype=bool)
    noise = torch.Generator().manual_seed(0)
    update = round_update(model, vector_of(model), rows, nobody, options, noise)
    # 3 clips of 2 over the 5 people expected; 1,681 draws are within 2% or so.
    assert float(update.std()) == pytest.approx(3.0 * 2.0 / 5.0, rel=0.06)


def test_one_local_step_is_a_gradient_and_several_are_local_sgd():
    rows, model = people(), some_model()
    one = user_updates(model, vector_of(model), rows, replace(EVERYBODY, local_learning_rate=0.7))
    np.testing.assert_array_equal(one, user_updates(model, vector_of(model), rows, EVERYBODY))
    three = user_updates(
        model, vector_of(model), rows, replace(EVERYBODY, local_steps=3, local_learning_rate=0.7)
    )
    weight = model.weight.detach().numpy().astype(float)
    for u in range(len(rows)):
        here = weight.copy()
        for _ in range(3):
            here -= 0.7 * by_hand(here, rows.take(torch.tensor([u]))).reshape(here.shape)
        np.testing.assert_allclose(three[u], (weight - here).ravel() / 0.7, atol=1e-5)


def test_the_average_is_over_the_last_rounds():
    rows = people()
    options = PrivateOptions(sample_rate=1.0, rounds=4, learning_rate=0.1, average=0.5)
    seen, model = [], some_model()
    train(model, rows, options, seed=0, on_round=lambda _: seen.append(vector_of(model)))
    assert len(seen) == 4
    np.testing.assert_allclose(vector_of(model), (seen[2] + seen[3]) / 2, atol=1e-6)


def test_a_seed_decides_and_none_does_not():
    options = PrivateOptions(sample_rate=0.5, rounds=5, learning_rate=0.1, clip=1.0, noise=1.0)

    def learned(seed):
        model = some_model()
        train(model, people(), options, seed=seed)
        return vector_of(model)

    np.testing.assert_array_equal(learned(1), learned(1))
    assert not torch.equal(learned(1), learned(2))
    assert not torch.equal(learned(None), learned(None))


def test_the_same_people_take_part_whatever_the_noise():
    """Without it, settings of one seed could not be compared in pairs."""
    quiet = PrivateOptions(sample_rate=0.5, rounds=8, learning_rate=0.1, clip=1.0)
    models = [some_model(), some_model()]
    for model, options in zip(models, (quiet, replace(quiet, noise=1e-7)), strict=True):
        train(model, people(), options, seed=3)
    np.testing.assert_allclose(vector_of(models[0]), vector_of(models[1]), atol=1e-3)


def test_training_learns():
    rows = people(count=200, rows=12, seed=5)
    model = ClickModel(E, P)

    def loss():
        logits = torch.from_numpy(model.logits(rows))
        return float(
            torch.stack(
                [
                    mean_loss(logits[u], rows.impressions_UT[u], rows.clicks_UT[u])
                    for u in range(200)
                ]
            ).mean()
        )

    before = loss()
    train(model, rows, PrivateOptions(sample_rate=0.2, rounds=60, learning_rate=0.05), seed=0)
    assert loss() < before - 0.1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sample_rate": 0.0}, "sample_rate=0.0: give a chance above 0"),
        ({"sample_rate": 1.5}, "sample_rate=1.5"),
        ({"rounds": 0}, "rounds=0"),
        ({"local_steps": 0}, "local_steps=0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"clip": 0.0}, "clip=0.0: give a norm above 0"),
        ({"clip": -1.0}, "clip=-1.0"),
        ({"noise": -1.0, "clip": 1.0}, "noise=-1.0"),
        ({"noise": 1.0}, "noise=1.0 needs a clip"),
        ({"average": 2.0}, "average=2.0"),
        ({"server": "rmsprop"}, "unknown server 'rmsprop': choose one of adam, sgd"),
    ],
)
def test_mistakes_are_one_sentence(wrong, message):
    with pytest.raises(UserError, match=re.escape(message)):
        PrivateOptions(**{"sample_rate": 0.5, "rounds": 1, "learning_rate": 0.1, **wrong})


def test_nobody_is_an_error():
    nobody = people().take(torch.zeros(6, dtype=bool))
    with pytest.raises(UserError, match="nobody to learn from"):
        train(ClickModel(E, P), nobody, EVERYBODY, seed=0)
    with pytest.raises(UserError, match=re.escape("start_rate=1.0")):
        ClickModel(E, P, start_rate=1.0)
