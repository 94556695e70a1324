"""Calibration, state effects, timelines, and what follows a send."""

import re

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.people.dynamics import Dynamics
from copygym.envs.simulator.response.calibration import StateLayer, fit_state_layer, small_logistic
from copygym.envs.simulator.response.outcomes import (
    fit_unsubscribes,
    logging_policy_table,
    send_rate_table,
    shrunk_revenue,
    with_holds,
)
from copygym.envs.storefront.world import StorefrontWorld

HOUR = 3_600_000_000
DECLARED = Dynamics()


def clicks(logit, rng, n=1):
    return rng.binomial(n, 1 / (1 + np.exp(-logit))).astype(np.float64)


# ---------------------------------------------------------------- the state layer


def simulated(rng, n=40_000, a=-0.3, b=0.7, tired=0.4, bored=0.5):
    base = rng.normal(-1.5, 1.0, n)
    fatigue, repetitions = rng.exponential(1.0, n), rng.integers(0, 6, n)
    logit = a + b * base - tired * fatigue - bored * np.log1p(repetitions)
    return base, clicks(logit, rng), fatigue, repetitions


def test_state_layer_recovers_what_made_the_clicks():
    base, k, z, r = simulated(np.random.default_rng(0))
    layer = fit_state_layer(base, np.ones_like(k), k, declared=DECLARED, fatigue=z, repetitions=r)
    found = (layer.intercept, layer.slope, layer.fatigue_click, layer.repetition_click)
    assert found == pytest.approx((-0.3, 0.7, 0.4, 0.5), abs=0.08)
    assert layer.measured == ("fatigue_click", "repetition_click")
    rested = layer.apply(base) + layer.state_effect(z, r)
    assert (1 / (1 + np.exp(-rested))).mean() == pytest.approx(k.mean(), rel=1e-3)


def test_without_a_timeline_the_declared_values_stay():
    base, k, _, _ = simulated(np.random.default_rng(1), tired=0.0, bored=0.0)
    layer = fit_state_layer(base, np.ones_like(k), k, declared=DECLARED)
    assert (layer.fatigue_click, layer.repetition_click) == (0.25, 0.3)
    assert layer.measured == ()


def test_effect_of_the_wrong_sign_is_zero_and_noted():
    base, k, z, r = simulated(np.random.default_rng(2), tired=-0.3)
    layer = fit_state_layer(base, np.ones_like(k), k, declared=DECLARED, fatigue=z, repetitions=r)
    assert layer.fatigue_click == 0.0
    assert layer.repetition_click == pytest.approx(0.5, abs=0.1)
    assert "fatigue_click" in layer.notes[0] and "wrong sign" in layer.notes[0]


def test_vague_effect_keeps_its_declared_value():
    base, k, z, r = (x[:300] for x in simulated(np.random.default_rng(3)))
    layer = fit_state_layer(base, np.ones_like(k), k, declared=DECLARED, fatigue=z, repetitions=r)
    assert layer.repetition_click == 0.3
    assert "repetition_click" not in layer.measured
    assert any("declared value 0.3 stays" in note for note in layer.notes)


@pytest.mark.parametrize("method", ["platt", "temperature", "isotonic"])
def test_calibration_mends_an_overconfident_model(method):
    from copygym.core.scores import expected_calibration_error

    rng = np.random.default_rng(4)
    truth = rng.normal(0.0, 1.0, 30_000)
    k, n = clicks(truth, rng), np.ones(30_000)
    base = 2.5 * truth
    layer = fit_state_layer(base, n, k, declared=DECLARED, method=method)

    def error(logit):
        return expected_calibration_error(1 / (1 + np.exp(-logit)), n, k)

    assert error(base) > 0.08
    assert error(layer.apply(base)) < 0.02
    assert (np.diff(layer.apply(np.sort(base))) >= 0).all()


def test_isotonic_never_claims_certainty():
    base = np.linspace(-3, 3, 40)
    layer = fit_state_layer(
        base, np.ones(40), (base > 0) * 1.0, declared=DECLARED, method="isotonic"
    )
    assert np.isfinite(layer.apply(np.array([-50.0, 0.0, 50.0]))).all()


def test_layer_survives_a_dict():
    base, k, z, r = simulated(np.random.default_rng(5), n=3000)
    layer = fit_state_layer(
        base, np.ones_like(k), k, declared=DECLARED, fatigue=z, repetitions=r, method="isotonic"
    )
    assert StateLayer.from_dict(layer.to_dict()) == layer


def test_unknown_calibration_names_the_choices():
    with pytest.raises(UserError, match=re.escape("isotonic, none, platt, temperature")):
        fit_state_layer(np.zeros(1), np.ones(1), np.ones(1), declared=DECLARED, method="magic")


def test_small_logistic_is_the_log_odds_with_its_error():
    beta, covariance = small_logistic(
        np.ones((1, 1)), np.array([10_000.0]), np.array([2000.0]), prior_precision=1e-9
    )
    assert beta[0] == pytest.approx(np.log(0.25), abs=1e-6)
    assert covariance[0, 0] == pytest.approx(1 / (10_000 * 0.2 * 0.8), rel=1e-6)


# ---------------------------------------------------------------- after the click


def test_unsubscribes_recover_base_slope_and_offsets():
    rng = np.random.default_rng(6)
    n = 150_000
    creative, z = rng.integers(0, 4, n), rng.exponential(1.0, n)
    logit = -5 + 0.5 * z + np.array([0.0, 0.0, 0.0, 1.0])[creative]
    found = fit_unsubscribes(DECLARED, 4, creative, np.ones(n), clicks(logit, rng), z)
    assert found.fatigue == pytest.approx(0.5, abs=0.06)
    assert found.base + found.offset_K[:3].mean() == pytest.approx(-5, abs=0.15)
    assert found.offset_K[3] - found.offset_K[:3].mean() == pytest.approx(1.0, abs=0.2)
    assert set(found.measured) == {"unsubscribe_logit", "unsubscribe_fatigue"}


def test_unsubscribes_without_a_timeline_keep_the_declared_slope():
    found = fit_unsubscribes(
        DECLARED, 2, np.array([0, 1]), np.array([1000, 1000]), np.array([10, 10]), None
    )
    assert found.fatigue == DECLARED.unsubscribe_fatigue
    assert found.base == pytest.approx(np.log(0.01 / 0.99), abs=0.02)
    assert found.measured == ("unsubscribe_logit",)


def test_creative_that_nobody_saw_has_no_offset():
    found = fit_unsubscribes(
        DECLARED, 3, np.array([0, 1]), np.array([5000, 5000]), np.array([10, 60]), None
    )
    assert found.offset_K[2] == 0.0
    assert found.offset_K[0] < 0 < found.offset_K[1]


def test_offset_of_a_rare_creative_is_shrunk():
    # 2 of 20 against 1%: a log odds ratio of 2.4, of which the prior leaves less than half.
    found = fit_unsubscribes(
        DECLARED, 2, np.array([0, 1]), np.array([100_000, 20]), np.array([1000, 2]), None
    )
    p = 1 / (1 + np.exp(-(found.base + found.offset_K[1])))
    assert 0.1 < found.offset_K[1] < 1.2
    # At the mode the pull of the data equals the pull of the prior.
    assert 2 - 20 * p == pytest.approx(4.0 * found.offset_K[1], abs=1e-3)


def two_products():
    return Catalogue(
        creative_ids=("a", "b", "c"),
        texts=("a", "b", "c"),
        product_ids=("p", "p", "q"),
        topics=("all",),
        topic_of_creative=np.zeros(3, dtype=np.int64),
        channels=("any",),
        slots=("any",),
        cost_per_send=np.zeros(1),
        popularity=np.full(3, 1 / 3),
    )


def test_revenue_is_shrunk_to_its_product_and_the_product_to_the_log():
    # 60 conversions at 10 on a; 20 at 50 on c: the log's mean is 20.
    value = shrunk_revenue(two_products(), np.array([0, 60, 0, 20]), np.array([0, 600, 0, 1000]))
    product_p = (600 + 20 * 20) / (60 + 20)
    product_q = (1000 + 20 * 20) / (20 + 20)
    expected = [20, (600 + 20 * product_p) / 80, product_p, (1000 + 20 * product_q) / 40]
    assert value == pytest.approx(expected)


def test_products_with_prices_of_their_own_are_hardly_shrunk():
    """Goods at 20 and at 160: two sales tell which is which."""
    world = StorefrontWorld(seed=0, n_users=10, catalogue="large")
    catalogue = world.catalogue
    prices = np.unique(np.array(catalogue.product_ids), return_inverse=True)[1] * 3.0 + 20.0
    price_A = np.append(0.0, np.repeat(prices, catalogue.n_channels))
    rng = np.random.default_rng(0)
    conversions = np.append(0, rng.poisson(1.0, len(price_A) - 1))
    noise = rng.normal(1.0, 0.1, len(price_A))
    value = shrunk_revenue(catalogue, conversions, conversions * price_A * noise)
    sold = np.bincount(np.append(-1, prices.astype(int).repeat(3)) + 1, conversions) > 2
    seen = sold[price_A.astype(int) + 1]
    seen[0] = False
    assert np.abs(value[seen] / price_A[seen] - 1).mean() < 0.06
    # Where products do not differ, the log's mean is what is known.
    same = shrunk_revenue(catalogue, conversions, conversions * 50.0 * noise)
    assert np.abs(same[seen] / 50.0 - 1).max() < 0.1


def test_logging_policy_from_propensities_is_exact_where_it_is_constant():
    rng = np.random.default_rng(7)
    policy = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    segment = rng.integers(0, 2, 600)
    action = (rng.random(600)[:, None] > policy[segment].cumsum(1)).sum(1)
    args = (segment, np.zeros(600, int), action, np.ones(600))
    exact = logging_policy_table(*args, policy[segment, action], (2, 1, 3))
    counted = logging_policy_table(*args, None, (2, 1, 3))
    np.testing.assert_allclose(exact[:, 0], policy, atol=1e-12)
    np.testing.assert_allclose(counted[:, 0], policy, atol=0.08)
    assert not np.allclose(counted[:, 0], policy, atol=1e-3)


def test_logging_policy_uses_the_mean_probability_where_it_varies():
    # Action 0 has probability .2 for half of the decisions and .6 for the other half.
    rng = np.random.default_rng(8)
    p0 = np.where(rng.random(40_000) < 0.5, 0.2, 0.6)
    action = (rng.random(40_000) > p0).astype(int)
    propensity = np.where(action == 0, p0, 1 - p0)
    zero = np.zeros(40_000, int)
    table = logging_policy_table(zero, zero, action, np.ones(40_000), propensity, (1, 1, 2))
    assert table[0, 0, 0] == pytest.approx(0.4, abs=0.01)


def test_send_rate_is_shrunk_to_the_slots_and_stays_a_probability():
    sends, decisions = np.array([[10.0, 0.0], [90.0, 300.0]]), np.full((2, 2), 100.0)
    overall = np.array([0.5, 1.5])  # more sends than slots: a user got several in one slot
    rate = send_rate_table(sends, decisions)
    expected = (sends + 20 * overall) / 120
    np.testing.assert_allclose(rate, np.minimum(expected, 1.0))


def test_holds_leave_the_shares_of_the_sends_as_they_are():
    policy = np.array([[[0.2, 0.6, 0.2], [0.0, 0.5, 0.5]]])
    held = with_holds(policy, np.array([[0.25, 0.0]]))
    np.testing.assert_allclose(held[0, 0], [0.75, 0.1875, 0.0625])
    assert held[0, 1, 0] < 1
    np.testing.assert_allclose(held.sum(axis=2), 1.0)
