import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from copygym.envs import DeliveryVectorEnv, Dynamics, UserError
from copygym.envs.people.outcome import Outcome
from copygym.rewards import TERMS, RewardShape

CONF = Path(__file__).parents[2] / "conf" / "reward"


def outcome(**fields) -> Outcome:
    """Row 0 held; row 1 sent and was clicked, converted and left."""
    rows = {
        "action": [0, 3],
        "creative": [-1, 1],
        "channel": [-1, 0],
        "slot": [0, 1],
        "sent": [False, True],
        "click_probability": [0.0, 0.25],
        "best_click_probability": [0.5, 0.5],
        "click": [False, True],
        "conversion_probability": [0.1, 0.5],
        "conversion": [False, True],
        "expected_revenue": [0.0, 40.0],
        "revenue": [0.0, 30.0],
        "cost": [0.0, 2.0],
        "unsubscribe_probability": [0.0, 0.125],
        "unsubscribe": [False, True],
        "fatigue": [1.5, 2.0],
        "next_fatigue": [0.75, 2.0],
        "repetitions": [0.0, 3.0],
        "distinct": [1.0, 2.0],
        "sends": [4.0, 5.0],
        "popularity": [1.0, 0.125],
        "length": [0.0, 9.0],
        "last": [False, True],
    }
    rows.update(fields)
    return Outcome(**{name: np.array(values) for name, values in rows.items()})


@pytest.mark.parametrize(
    ("name", "held", "sent"),
    [
        ("click", 0, 1),
        ("expected_click", 0, 0.25),
        ("conversion", 0, 1),
        ("expected_conversion", 0, 0.125),
        ("revenue", 0, 30),
        ("cost", 0, 2),
        ("profit", 0, 28),
        ("expected_profit", 0, 0.25 * 0.5 * 40 - 2),
        ("send", 0, 1),
        ("unsubscribe", 0, 1),
        ("expected_unsubscribe", 0, 0.125),
        ("fatigue", 0, 2),
        ("diversity", 0, 1 / 4),
        ("novelty", 0, 3),  # -log2(1/8)
        ("length", 0, 0.25),  # |9 - 12| / 12
        ("potential", 1.5 - 0.99 * 0.75, 2.0),  # Phi is 0 after an unsubscribe
    ],
)
def test_terms_on_a_hand_made_outcome(name, held, sent):
    reward, terms = RewardShape({name: 1.0})(outcome())
    assert reward.dtype == np.float64
    np.testing.assert_allclose(reward, [held, sent])
    assert list(terms) == [name]


def test_every_term_has_a_known_value_above():
    marks = test_terms_on_a_hand_made_outcome.pytestmark[0]
    assert {case[0] for case in marks.args[1]} == set(TERMS)


def test_weighted_terms_are_named_and_sum_to_the_reward():
    shape = RewardShape(
        {"click": 2, "unsubscribe": -5.0, "novelty": {"weight": 0.5, "floor": 0.25}, "send": {}}
    )
    reward, terms = shape(outcome())
    assert list(terms) == ["click", "unsubscribe", "novelty", "send"]
    np.testing.assert_allclose(terms["novelty"], [0, 0.5 * 2])  # the floor, not the popularity
    np.testing.assert_allclose(terms["unsubscribe"], [0, -5])
    np.testing.assert_array_equal(reward, sum(terms.values()))
    np.testing.assert_allclose(reward, [0, 2 - 5 + 1 + 1])


def test_one_term_twice_with_other_parameters():
    shape = RewardShape({"length:short": {"target": 3}, "length:long": {"target": 9}})
    _, terms = shape(outcome())
    np.testing.assert_allclose(terms["length:short"], [0, 2])
    np.testing.assert_allclose(terms["length:long"], [0, 0])


def test_the_reward_is_a_copy_that_leaves_the_outcome_alone():
    before = outcome()
    reward, _ = RewardShape({"revenue": 1.0})(before)
    reward += 1
    np.testing.assert_array_equal(before.revenue, [0.0, 30.0])


def test_shapes_pickle():
    shape = RewardShape({"click": 1.0, "potential": {"weight": 2.0, "gamma": 0.9}})
    copy = pickle.loads(pickle.dumps(shape))
    np.testing.assert_array_equal(copy(outcome())[0], shape(outcome())[0])
    assert copy.terms == shape.terms


def test_an_even_spread_of_sends_is_the_most_diverse():
    def total(creatives):
        seen = {}
        parts = []
        for creative in creatives:
            parts.append(seen.get(creative, 0))
            seen[creative] = seen.get(creative, 0) + 1
        n = len(parts)
        rows = {name: np.zeros(n) for name in Outcome._fields}
        rows.update(sent=np.ones(n, dtype=bool), repetitions=np.array(parts, dtype=float))
        return RewardShape({"diversity": 1.0})(Outcome(**rows))[0].sum()

    assert total([0, 0, 0]) == pytest.approx(1 + 1 / 2 + 1 / 3)
    assert total([0, 1, 2, 0, 1, 2]) > total([0, 0, 0, 0, 1, 2]) > total([0] * 6)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, "a reward needs at least one term, such as terms: {click: 1.0}."),
        (
            {"clicks": 1},
            f"unknown reward term 'clicks': choose one of {', '.join(sorted(TERMS))}",
        ),
        ({"click": "much"}, "reward term 'click' has weight 'much'; give a finite number."),
        ({"click": float("nan")}, "reward term 'click' has weight nan; give a finite number."),
        ({"click": True}, "reward term 'click' has weight True; give a finite number."),
        (
            {"novelty": {"flor": 1}},
            "reward term 'novelty' has no parameter 'flor': choose one of weight, floor.",
        ),
        (
            {"length": {"target": 0}},
            "reward term 'length' has target=0; it must be a number in [1e-09, inf].",
        ),
        (
            {"potential": {"gamma": 1.5}},
            "reward term 'potential' has gamma=1.5; it must be a number in [0, 1].",
        ),
    ],
)
def test_bad_terms_are_refused(terms, message):
    with pytest.raises(UserError, match=re.escape(message)):
        RewardShape(terms)


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_makes_a_shape(path):
    shape = instantiate(OmegaConf.load(path))
    assert isinstance(shape, RewardShape)
    assert np.isfinite(shape(outcome())[0]).all()


# Potential-based shaping: Ng, Harada and Russell 1999, theorem 1.


def rollout(users, reward, policy, seed=3):
    venv = DeliveryVectorEnv(64, users=users, horizon=12, reward=reward)
    rng = np.random.default_rng(seed)
    venv.reset(seed=seed)
    alive = np.ones(64, dtype=bool)
    rewards = np.zeros((12, 64))
    for t in range(12):
        _, reward_N, terminated, truncated, _ = venv.step(policy(rng))
        rewards[t] = reward_N * alive
        alive &= ~(terminated | truncated)
    return rewards


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_the_discounted_potential_telescopes_to_zero_in_every_episode(make_user_model, gamma):
    """Phi(s_0) = 0 for a rested user, so no policy gains or loses by F, unsubscribed or not."""
    users = make_user_model(dynamics=Dynamics(unsubscribe_logit=-2.0))
    shape = RewardShape({"potential": {"gamma": gamma, "scale": 0.7}})
    rewards = rollout(users, shape, lambda rng: rng.integers(0, 7, 64))
    assert np.abs(rewards).max() > 0.1
    np.testing.assert_allclose(gamma ** np.arange(12) @ rewards, 0.0, atol=1e-12)


def test_another_discount_breaks_the_theorem(make_user_model):
    users = make_user_model()
    shape = RewardShape({"potential": {"gamma": 0.9}})
    rewards = rollout(users, shape, lambda rng: rng.integers(0, 7, 64))
    assert np.abs(rewards.sum(axis=0)).min() > 0.1


def optimal(reward_TZA, next_z, horizon, gamma):
    """Backward induction on a deterministic MDP: Q (T, Z, A)."""
    value = np.zeros(len(next_z))
    quality = np.zeros((horizon, *next_z.shape))
    for t in reversed(range(horizon)):
        quality[t] = reward_TZA[t] + gamma * value[next_z]
        value = quality[t].max(axis=1)
    return quality


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1.0), st.floats(-5.0, 5.0))
def test_the_potential_leaves_the_optimal_policy_alone(seed, gamma, scale):
    """Five levels of fatigue, hold or send: Q shifts by -Phi(s), so the order stays."""
    rng = np.random.default_rng(seed)
    levels, horizon = 5, 6
    fatigue = np.arange(levels, dtype=float)
    next_z = np.stack([np.maximum(fatigue - 1, 0), np.minimum(fatigue + 2, levels - 1)], axis=1)
    next_z = next_z.astype(int)
    base = rng.normal(size=(horizon, levels, 2))
    shape = RewardShape({"potential": {"gamma": gamma, "scale": scale}})
    shaped = base.copy()
    for t in range(horizon):
        for a in range(2):
            n = levels
            rows = {name: np.zeros(n) for name in Outcome._fields}
            rows.update(
                fatigue=fatigue,
                next_fatigue=fatigue[next_z[:, a]],
                last=np.full(n, t == horizon - 1),
            )
            shaped[t, :, a] += shape(Outcome(**rows))[0]
    plain = optimal(base, next_z, horizon, gamma)
    told = optimal(shaped, next_z, horizon, gamma)
    shift = np.broadcast_to(scale * fatigue[:, None], plain.shape)
    np.testing.assert_allclose(told - plain, shift, atol=1e-9)
    np.testing.assert_array_equal(told.argmax(axis=2), plain.argmax(axis=2))


def test_shapes_are_cheap_inside_a_step():
    """Generous bounds: a term is a few array operations, also with one row."""
    import timeit

    shape, one = RewardShape({"click": 1.0}), outcome()
    seconds = min(timeit.repeat(lambda: shape(one), number=200, repeat=5)) / 200
    assert seconds < 50e-6


def test_a_term_of_another_package_is_named_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "terms_of_test.py").write_text("def fixed(outcome, of=2.0):\n    return of\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    shape = RewardShape({"terms_of_test:fixed": 3.0, "terms_of_test:fixed:low": {"of": 0.5}})
    total, terms = shape(None)
    assert total == 3.0 * 2.0 + 0.5
    assert list(terms.values()) == [6.0, 0.5]
