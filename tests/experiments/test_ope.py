import re

import numpy as np
import pytest

from copygym.envs.errors import UserError
from copygym.experiments import ope


def tiny_log():
    """Two actions logged with propensities 0.5 and 0.25; worked out by hand below."""
    actions = np.array([0, 1, 1, 0])
    propensities = np.array([0.5, 0.25, 0.25, 0.5])
    rewards = np.array([1.0, 0.0, 2.0, 3.0])
    target = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.25, 0.75]])
    return actions, propensities, rewards, target


def test_known_answers():
    actions, propensities, rewards, target = tiny_log()
    weights = ope.importance_weights(actions, propensities, target)
    np.testing.assert_allclose(weights, [2.0, 2.0, 4.0, 0.5])
    assert ope.ips(rewards, weights) == pytest.approx((2 + 0 + 8 + 1.5) / 4)
    assert ope.snips(rewards, weights) == pytest.approx(11.5 / 8.5)
    model = np.array([[1.0, 2.0]] * 4)
    assert ope.dm(target, model) == pytest.approx((1 + 1.5 + 2 + 1.75) / 4)
    residuals = 2 * (1 - 1) + 2 * (0 - 2) + 4 * (2 - 2) + 0.5 * (3 - 1)
    assert ope.dr(rewards, weights, actions, target, model) == pytest.approx(
        (1 + 1.5 + 2 + 1.75 + residuals) / 4
    )
    support = ope.support(weights)
    assert support.ess == pytest.approx(8.5**2 / (4 + 4 + 16 + 0.25))
    assert support.max_weight == 4.0


def test_dr_with_a_zero_model_is_ips_and_with_a_perfect_one_is_dm():
    actions, propensities, rewards, target = tiny_log()
    weights = ope.importance_weights(actions, propensities, target)
    zero = np.zeros((4, 2))
    assert ope.dr(rewards, weights, actions, target, zero) == pytest.approx(
        ope.ips(rewards, weights)
    )
    perfect = np.zeros((4, 2))
    perfect[np.arange(4), actions] = rewards
    assert ope.dr(rewards, weights, actions, target, perfect) == pytest.approx(
        ope.dm(target, perfect)
    )


def synthetic(rng, n):
    """A log with known truth: reward mean depends on context and action."""
    x = rng.random(n)
    logging = np.column_stack([0.2 + 0.6 * x, 0.8 - 0.6 * x])
    actions = (rng.random(n) > logging[:, 0]).astype(int)
    mean = np.column_stack([0.2 + 0.3 * x, 0.6 - 0.2 * x])
    rewards = (rng.random(n) < mean[np.arange(n), actions]).astype(float)
    target = np.column_stack([x, 1 - x])
    truth = 1 / 3 * 0.3 + 0.5 * 0.2 + (0.6 - 0.2 * 0.5) - (0.6 * 0.5 - 0.2 / 3)
    return x, actions, logging[np.arange(n), actions], rewards, target, mean, truth


def test_ips_and_dr_are_unbiased_and_a_wrong_model_biases_dm_alone():
    rng = np.random.default_rng(0)
    estimates = []
    for _ in range(300):
        _, actions, e, rewards, target, _, truth = synthetic(rng, 400)
        weights = ope.importance_weights(actions, e, target)
        wrong = np.full((400, 2), 0.9)
        estimates.append(
            [
                ope.ips(rewards, weights),
                ope.snips(rewards, weights),
                ope.dr(rewards, weights, actions, target, wrong),
                ope.dm(target, wrong),
            ]
        )
    means, errors = np.mean(estimates, axis=0), np.std(estimates, axis=0) / np.sqrt(300)
    assert abs(means[0] - truth) < 3.5 * errors[0]
    assert abs(means[2] - truth) < 3.5 * errors[2]
    assert abs(means[1] - truth) < 0.01
    assert abs(means[3] - truth) > 0.3


def test_wrong_propensities_bias_ips_but_not_dr_with_the_true_model():
    rng = np.random.default_rng(1)
    _, actions, _, rewards, target, mean, truth = synthetic(rng, 200_000)
    weights = ope.importance_weights(actions, np.full(len(actions), 0.5), target)
    assert abs(ope.ips(rewards, weights) - truth) > 0.01
    assert ope.dr(rewards, weights, actions, target, mean) == pytest.approx(truth, abs=0.006)


def test_table_pairs_differences_and_covers_the_truth():
    rng = np.random.default_rng(2)
    _, actions, e, rewards, target, mean, truth = synthetic(rng, 4000)
    log = ope.OffPolicyLog(actions, e, {"visit": rewards}, {"visit": mean})
    shifted = 0.9 * target + 0.1 * np.array([0.0, 1.0])
    table = ope.evaluate_off_policy(
        log, {"a": target, "b": shifted, "same": target}, ("a",), resamples=500, seed=0
    )
    for name in ope.ESTIMATORS:
        value, low, high = table.values["a"]["visit"][name]
        assert low < value < high
        assert low - 0.02 < truth < high + 0.02
        # A policy minus itself is exactly zero in every resample: the draws are shared.
        assert table.differences["same", "a"]["visit"][name] == (0.0, 0.0, 0.0)
        difference = table.differences["b", "a"]["visit"][name]
        assert difference.high - difference.low < high - low
    assert table.values["a"]["visit"]["ips"].value == pytest.approx(
        ope.ips(rewards, ope.importance_weights(actions, e, target))
    )
    assert "b - a" in table.to_dict()["differences"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("propensities", np.array([0.5, 0.0, 0.25, 0.5]), "row 1: propensity is 0.0"),
        ("propensities", np.array([0.5, 0.5, np.nan, 0.5]), "row 2: propensity is nan"),
        ("actions", np.array([0, 1, 2, 0]), "actions must be 4 indices below 2"),
        ("target", np.array([[1.0, 0.5]] * 4), "row 0: probabilities sum to 1.5, not 1"),
    ],
)
def test_logs_that_would_silently_mislead_are_refused(field, value, message):
    actions, propensities, _, target = tiny_log()
    arguments = {"actions": actions, "propensities": propensities, "target": target} | {
        field: value
    }
    with pytest.raises(UserError, match=re.escape(message)):
        ope.check_log(arguments["actions"], arguments["propensities"], arguments["target"])
