"""Rules in the environment: masks that nobody gets around, in batches and singly."""

import re

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs import Dynamics
from copygym.envs.delivery import DeliveryEnv, DeliveryVectorEnv
from copygym.envs.rules.rules import Rules
from copygym.envs.rules.users import with_rules
from copygym.envs.simulator.fitted import load_users, save_users

TIMES = {"slot-0": "08:00", "slot-1": "22:00"}
QUIET = {"quiet_hours": (21, 7), "slot_times": TIMES}


def played(env, actions, steps, seed=0):
    """Return who was sent to, (T, N) bool, and the masks that stood before, (T, N, A)."""
    _, info = env.reset(seed=seed)
    sent, masks = [], []
    for _ in range(steps):
        masks.append(info["action_mask"])
        info = env.step(actions)[-1]
        sent.append(info["outcome"].sent)
    return np.array(sent), np.array(masks)


def test_caps_hold_in_every_window_whoever_asks(make_user_model):
    faithful = make_user_model(dynamics=Dynamics(unsubscribe_logit=-50.0))
    env = DeliveryVectorEnv(8, faithful, horizon=12, caps=[(2, 1), (6, 2), (2**40, 3)])
    sent, masks = played(env, np.ones(8, np.int64), 24)
    once = [True, False, True, False, False, False, True, *[False] * 5]
    assert (sent == np.array(once * 2)[:, None]).all(), "the second episode starts anew"
    assert (sent == masks[:, :, 1]).all(), "the mask says beforehand what is executed"
    assert masks[:, :, 0].all()


def test_a_single_environment_is_one_row_of_the_batch_under_caps(make_user_model):
    caps = [(3, 1), (12, 3)]
    batch = DeliveryVectorEnv(3, make_user_model(), horizon=12, caps=caps)
    sent, _ = played(batch, np.full(3, 2), 12, seed=5)
    for row in range(3):
        env = DeliveryEnv(make_user_model(), horizon=12, caps=caps)
        env.reset(seed=5 + row)
        for t in range(12):
            _, _, terminated, truncated, info = env.step(2)
            assert info["outcome"].sent[0] == sent[t, row]
            if terminated or truncated:
                break


def test_consent_holdout_and_quiet_hours_are_masks(make_user_model):
    users = make_user_model()
    yes = np.arange(len(users)) % 2 == 0
    people = pl.DataFrame({"user_id": users.profiles.user_ids, "ok": yes})[::-1]
    rules = Rules(consent={"channel-0": "ok", "channel-1": None}, holdout=0.2, **QUIET)
    ruled = with_rules(users, rules, people)
    held = rules.held_out(pl.Series(users.profiles.user_ids))
    env = DeliveryVectorEnv(len(users), ruled, horizon=4)
    _, info = env.reset(seed=0, options={"user": np.arange(len(users))})
    by_channel = info["action_mask"][:, 1:].reshape(len(users), 3, 2)
    assert (by_channel[:, :, 0] == (yes & ~held)[:, None]).all()
    assert (by_channel[:, :, 1] == ~held[:, None]).all()
    info = env.step(np.full(len(users), 2))[-1]
    assert (info["outcome"].sent == ~held).all()
    assert not info["action_mask"][:, 1:].any(), "slot 1 is sent at 22:00"
    regret = env.step(np.full(len(users), 2))[-1]
    assert not regret["outcome"].sent.any()
    assert (regret["best_click_probability"] == 0).all(), "the best that may be done is to hold"


def test_ruled_users_are_saved_with_their_rules(make_user_model, tmp_path):
    ruled = with_rules(make_user_model(), Rules(holdout=0.3, **QUIET))
    save_users(ruled, tmp_path)
    again = load_users(tmp_path)
    assert (again.allowed == ruled.allowed).all()
    assert (again.awake == ruled.awake).all()


def test_rules_become_windows_of_slots():
    rules = Rules(cap_per_day=1, cap_per_week=3, slots_per_day=4)
    assert rules.caps() == [(4, 1), (28, 3)]


@pytest.mark.parametrize("caps", [[(0, 1)], [(2, 0)], [(2,)], [("a", 1)]])
def test_impossible_caps_are_refused(make_user_model, caps):
    with pytest.raises(UserError, match="caps is"):
        DeliveryVectorEnv(2, make_user_model(), caps=caps)


@pytest.mark.parametrize(
    ("rules", "people", "says"),
    [
        (Rules(quiet_hours=(21, 8)), None, "quiet_hours need slot_times of each slot"),
        (Rules(), pl.DataFrame({"user": ["user-1"]}), "39 of 40 simulated users"),
    ],
)
def test_rules_that_do_not_fit_the_users_are_refused(make_user_model, rules, people, says):
    with pytest.raises(UserError, match=re.escape(says)):
        with_rules(make_user_model(), rules, people)
