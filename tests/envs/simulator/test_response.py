"""Response families on a small world with a known logit."""

import re
from dataclasses import replace

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.core.scores import log_loss_counts
from copygym.core.text.encoders import LsaEncoder
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.simulator.response import ActionEncoder, Counts, load_response, make_response
from copygym.envs.simulator.response.bilinear import (
    Bilinear,
    newton_sums,
    sorted_by_cell,
    with_constant,
)
from copygym.envs.simulator.response.boosting import BoostingResponse
from copygym.envs.simulator.response.design import action_matrix
from copygym.envs.simulator.response.ensemble import Ensemble
from copygym.envs.simulator.response.logistic import LogisticResponse

TEXTS = ("save on boots", "warm boots now", "fresh tea", "tea for you")
OPTIONS = {
    "logistic": {},
    "boosting": {"min_rows_leaf": 40, "max_trees": 80, "learning_rate": 0.15},
    "two_tower": {"max_epochs": 15, "learning_rate": 1e-2, "batch_rows": 512},
}


def catalogue():
    return Catalogue(
        creative_ids=("a", "b", "c", "d"),
        texts=TEXTS,
        product_ids=("boots", "boots", "tea", "tea"),
        topics=("food", "shoes"),
        topic_of_creative=np.array([1, 1, 0, 0]),
        channels=("email", "push"),
        slots=("am", "pm"),
        cost_per_send=np.zeros(2),
        popularity=np.full(4, 0.25),
    )


class World:
    """True logit: -1.5 + taste for the topic + .6 in the afternoon - .4 for push."""

    def __init__(self, n=20_000, users=600, seed=0):
        rng = np.random.default_rng(seed)
        self.encoder = ActionEncoder(catalogue(), LsaEncoder(4).fit(TEXTS), text_dims=3)
        self.cells, self.sizes = self.encoder.cells(), self.encoder.sizes
        self.profiles = rng.normal(size=(users, 3)).astype(np.float32)
        user = rng.integers(0, users, n).astype(np.int32)
        cell = rng.choice(np.flatnonzero(~self.cells.hold), n).astype(np.int32)
        clicks = (rng.random(n) < 1 / (1 + np.exp(-self.logit(user, cell)))) * 1.0
        self.counts = Counts(self.profiles, user, cell, np.ones(n), clicks)
        self.train = self.counts.take(np.arange(n * 3 // 4))
        self.test = self.counts.take(np.arange(n * 3 // 4, n))

    def logit(self, user, cell):
        x, topic = self.profiles[user], self.cells.topic[cell]
        taste = np.where(topic == 0, 1.2 * x[:, 0], -0.8 * x[:, 1])
        return -1.5 + taste + 0.6 * self.cells.slot[cell] - 0.4 * self.cells.channel[cell]

    def fit(self, family, **changes):
        model = make_response(family, OPTIONS[family] | changes)
        return model.fit(self.train, self.cells, self.sizes, validation=self.test, seed=1)


@pytest.fixture(scope="module")
def world():
    return World()


def predict(model, world, counts):
    return model.logit(world.profiles[counts.user], world.cells.take(counts.cell))


# ---------------------------------------------------------------- what every family owes


@pytest.fixture(scope="module", params=["logistic", "boosting", "two_tower", "ensemble"])
def fitted(request, world):
    if request.param == "ensemble":
        model = Ensemble("logistic", members=3)
        return model.fit(world.train, world.cells, world.sizes, seed=1)
    return world.fit(request.param)


def test_learns_what_the_base_rate_does_not_know(fitted, world):
    held = world.test
    p = 1 / (1 + np.exp(-predict(fitted, world, held)))
    truth = 1 / (1 + np.exp(-world.logit(held.user, held.cell)))
    base = np.full(len(held), world.train.rate)
    losses = [log_loss_counts(x, held.trials, held.successes) for x in (truth, p, base)]
    assert losses[0] < losses[1] < losses[0] + 0.3 * (losses[2] - losses[0])


def test_agrees_in_rank_with_the_truth(fitted, world):
    from scipy.stats import spearmanr

    truth = world.logit(world.test.user, world.test.cell)
    assert spearmanr(predict(fitted, world, world.test), truth).statistic > 0.9


def test_table_holds_the_same_logits_as_rows(fitted, world):
    table = fitted.table(world.profiles[:5], world.cells)
    user = np.repeat(np.arange(5), len(world.cells.hold))
    rows = fitted.logit(world.profiles[user], world.cells.take(np.tile(np.arange(18), 5)))
    np.testing.assert_allclose(table.ravel(), rows, atol=1e-5)


def test_saves_without_pickle_and_predicts_alike(fitted, world, tmp_path):
    fitted.save(tmp_path)
    loaded = load_response(tmp_path)
    np.testing.assert_array_equal(
        predict(loaded, world, world.test), predict(fitted, world, world.test)
    )
    kinds = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".npz", ".safetensors"}


def test_scores_texts_that_are_in_no_catalogue(fitted, world):
    actions = world.encoder.texts(
        ["boots to save on", "tea"], np.array([0, 2]), np.array([0, 0]), np.array([0, 0])
    )
    likes_tea = np.tile(np.array([[2.0, 2.0, 0.0]], dtype=np.float32), (2, 1))
    boots, tea = fitted.logit(likes_tea, actions)
    assert tea > boots + 1.0


@pytest.mark.parametrize("family", ["logistic", "boosting", "two_tower"])
def test_equal_seeds_give_equal_models(family, world):
    few = {"boosting": {"max_trees": 5}, "two_tower": {"max_epochs": 1}}.get(family, {})
    first, second = (world.fit(family, **few) for _ in range(2))
    np.testing.assert_array_equal(
        predict(first, world, world.test), predict(second, world, world.test)
    )


@pytest.mark.parametrize("family", ["logistic", "two_tower"])
def test_offset_is_a_known_part_of_the_logit(family, world):
    known = (0.6 * world.cells.slot[world.train.cell]).astype(np.float32)
    model = make_response(family, OPTIONS[family])
    model.fit(replace(world.train, offset=known), world.cells, world.sizes, seed=1)
    am, pm = model.table(world.profiles[:50], world.cells).reshape(50, 2, 9)[:, :, 1:].mean((0, 2))
    assert pm - am == pytest.approx(0.0, abs=0.12)


def test_counts_stand_for_their_impressions(world):
    # Two rows of one impression and one row of two are the same evidence.
    doubled = replace(
        world.train, trials=2 * world.train.trials, successes=2 * world.train.successes
    )
    both = world.train.take(np.tile(np.arange(len(world.train)), 2))
    models = [make_response("logistic").fit(c, world.cells, world.sizes) for c in (doubled, both)]
    np.testing.assert_allclose(*(predict(m, world, world.test) for m in models), atol=1e-4)


def test_unknown_family_and_option_name_the_choices():
    with pytest.raises(UserError, match=re.escape("boosting, logistic, two_tower")):
        make_response("svm")
    with pytest.raises(UserError, match="unexpected keyword argument 'depth'"):
        make_response("logistic", {"depth": 3})
    with pytest.raises(UserError, match=re.escape("ridge is -1")):
        make_response("logistic", {"ridge": -1})
    with pytest.raises(UserError, match="at least 2 members"):
        Ensemble("logistic", members=1)


# ---------------------------------------------------------------- logistic


def test_newton_sums_equal_the_sums_over_written_out_products(world):
    """The shortcut through cells against the textbook gradient and Hessian."""
    z = action_matrix(world.cells, world.sizes, ("const", "topic", "slot")).astype(np.float64)
    m = action_matrix(world.cells, world.sizes, ("creative",)).astype(np.float64)
    x = with_constant(world.profiles)
    model = Bilinear(z, m, x.shape[1])
    beta = np.random.default_rng(0).normal(size=model.n_coefficients) * 0.3
    counts = sorted_by_cell(world.train.take(np.arange(3000)))
    value, gradient, hessian = newton_sums(model, beta, x, counts, batch_rows=700)

    phi = np.einsum("nz,np->nzp", z[counts.cell], x[counts.user]).reshape(3000, -1)
    phi = np.hstack([phi, m[counts.cell]])
    p = 1 / (1 + np.exp(-phi @ beta))
    k = counts.successes
    assert value == pytest.approx((k * np.log(p) + (1 - k) * np.log(1 - p)).sum(), rel=1e-6)
    np.testing.assert_allclose(gradient, phi.T @ (k - p), atol=2e-3)
    np.testing.assert_allclose(hessian, phi.T @ (phi * (p * (1 - p))[:, None]), atol=2e-3)


def test_logistic_recovers_known_effects(world):
    model = world.fit("logistic")
    table = model.table(np.eye(3, dtype=np.float32), world.cells).reshape(3, 2, 9)
    origin = model.table(np.zeros((1, 3), np.float32), world.cells).reshape(2, 9)
    tea, boots = [5, 7], [1, 3]  # by e-mail
    assert (table[0] - origin)[:, tea].mean() == pytest.approx(1.2, abs=0.12)
    assert (table[1] - origin)[:, boots].mean() == pytest.approx(-0.8, abs=0.12)
    assert (table[0] - origin)[:, boots].mean() == pytest.approx(0.0, abs=0.12)
    assert (origin[1] - origin[0])[1:].mean() == pytest.approx(0.6, abs=0.12)
    assert (origin[:, 2::2] - origin[:, 1::2]).mean() == pytest.approx(-0.4, abs=0.12)


def test_logistic_without_features_is_the_log_odds():
    cells = ActionEncoder(catalogue()).cells()
    sizes = ActionEncoder(catalogue()).sizes._replace(creative=1, topic=1, channel=1, slot=1)
    counts = Counts(
        np.zeros((1, 0), np.float32), np.zeros(1, np.int32), np.ones(1, np.int32),
        np.array([1000.0]), np.array([50.0]),
    )  # fmt: skip
    model = LogisticResponse().fit(counts, cells, sizes)
    expected = np.log(50 / 950)
    logit = model.logit(np.zeros((1, 0), np.float32), cells.take(np.array([1])))
    assert logit[0] == pytest.approx(expected, abs=1e-4)
    # Laplace: the variance of a log odds is 1 / (n p (1 - p)).
    std = model.std(np.zeros((1, 0), np.float32), cells.take(np.array([1])))
    assert std[0] == pytest.approx(1 / np.sqrt(1000 * 0.05 * 0.95), rel=1e-3)


def test_evidence_shrinks_blocks_without_signal(world):
    precisions = world.fit("logistic").precisions
    assert precisions["profile:slot"] > 20 * precisions["profile:topic"]


def test_batch_size_does_not_change_the_fit(world):
    whole, pieces = world.fit("logistic"), world.fit("logistic", batch_rows=333)
    np.testing.assert_allclose(
        predict(whole, world, world.test), predict(pieces, world, world.test), atol=2e-3
    )


def test_small_budget_keeps_main_effects(world):
    model = world.fit("logistic", max_coefficients=12)
    names = model.coefficient_names(("x", "y", "z"))
    assert len(names) == len(model.beta)
    assert "topic[0]:x" in names and "channel[0]:x" not in names and "channel[0]" in names


def test_organic_response_is_an_action_of_its_own(world):
    rng = np.random.default_rng(5)
    user = rng.integers(0, 600, 8000).astype(np.int32)
    logit = -2 + 1.0 * world.profiles[user, 2]
    clicks = (rng.random(8000) < 1 / (1 + np.exp(-logit))) * 1.0
    hold = Counts(world.profiles, user, np.zeros(8000, np.int32), np.ones(8000), clicks)
    both = Counts(
        world.profiles,
        *(np.concatenate([getattr(world.train, f), getattr(hold, f)])
          for f in ("user", "cell", "trials", "successes")),
    )  # fmt: skip
    model = LogisticResponse().fit(both, world.cells, world.sizes)
    points = np.array([[0, 0, 0], [0, 0, 1]], dtype=np.float32)
    low, high = model.logit(points, world.cells.take(np.zeros(2, int)))
    assert low == pytest.approx(-2.0, abs=0.15)
    assert high - low == pytest.approx(1.0, abs=0.15)


# ---------------------------------------------------------------- boosting


def test_exported_trees_equal_sklearn(world):
    from sklearn.ensemble import HistGradientBoostingClassifier

    from copygym.envs.simulator.response.trees import evaluate_trees, export_trees

    model = BoostingResponse()
    model._known = {"creative": np.arange(4), "slot": np.arange(2)}
    features, label, weight = model._rows(world.train, world.cells)
    features = features.astype(np.float64)
    features[::7, 4] = np.nan
    features[::11, 0] = np.nan
    estimator = HistGradientBoostingClassifier(
        max_iter=40, min_samples_leaf=20, categorical_features=[0, 1], random_state=0
    ).fit(features, label, sample_weight=weight)
    ours = evaluate_trees(*export_trees(estimator), features)
    np.testing.assert_allclose(ours, estimator.decision_function(features), atol=1e-6)
    assert (export_trees(estimator)[1]["bitset"] >= 0).any()


def test_boosting_stops_when_validation_does_not_gain(world):
    shuffled = np.random.default_rng(0).permutation(world.train.successes)
    noise = replace(world.train, successes=shuffled)
    model = BoostingResponse(min_rows_leaf=20, patience=3)
    model.fit(noise, world.cells, world.sizes, validation=world.test)
    assert model.n_trees < 60


# ---------------------------------------------------------------- two tower


def test_two_tower_keeps_its_best_epoch(world):
    model = world.fit("two_tower")
    p = 1 / (1 + np.exp(-predict(model, world, world.test)))
    loss = log_loss_counts(p, world.test.trials, world.test.successes)
    assert loss == pytest.approx(min(model.validation_losses), abs=1e-5)


def test_two_tower_leaves_global_randomness_alone(world):
    import torch

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    world.fit("two_tower", max_epochs=1)
    assert torch.equal(torch.rand(3), expected)


# ---------------------------------------------------------------- ensemble


def test_ensemble_is_unsure_where_it_has_seen_little():
    world = World(n=4000, users=200)
    model = Ensemble("logistic", members=4).fit(world.train, world.cells, world.sizes, seed=0)
    cell = world.cells.take(np.full(2, 1))
    near, far = model.std(np.array([[0, 0, 0], [4, 4, 4]], dtype=np.float32), cell)
    assert far > 2 * near > 0


def test_ensemble_resamples_users_not_rows(world):
    weights = np.random.default_rng(0).poisson(1.0, len(world.profiles)).astype(float)
    sample = world.train.weighted(weights)
    weight = weights[world.train.user]
    assert sample.trials.sum() == pytest.approx((world.train.trials * weight).sum())
    assert set(sample.user) == set(world.train.user[weight > 0])
