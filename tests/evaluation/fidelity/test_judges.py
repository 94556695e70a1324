"""What simulators, the log and the truth say of policies."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from copygym.agents.delivery.bandits import UniformAgent
from copygym.agents.delivery.planner import PlannerAgent
from copygym.core.errors import UserError
from copygym.envs import Dynamics
from copygym.envs.delivery import DeliveryVectorEnv
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.logs.clicklog import ClickLog
from copygym.evaluation.fidelity.judges import (
    LOG,
    Answers,
    Simulator,
    clicks_by_person,
    decision_terms,
    decision_values,
    episode_values,
    held_out_decisions,
    in_memory,
)
from copygym.evaluation.rollout import Setting

#: A state that stands still but for fatigue and repetitions, which a log tells.
KNOWN = Dynamics(drift_step=0.0, drift_click=0.0, unsubscribe_logit=-np.inf)


def simulated_log(users, n_slots, seed=0):
    """Return a log of every user's first slots, and the click probability of every row."""
    env = DeliveryVectorEnv(len(users), users=users, horizon=n_slots)
    env.reset(seed=seed, options={"user": np.arange(len(users))})
    rng = np.random.default_rng(seed)
    catalogue, frames, chances = users.catalogue, [], []
    for t in range(n_slots):
        action = rng.integers(0, catalogue.n_actions, len(users))
        _, _, _, _, info = env.step(action)
        outcome = info["outcome"]
        creative = [HOLD if k < 0 else catalogue.creative_ids[k] for k in outcome.creative]
        channel = [None if h < 0 else catalogue.channels[h] for h in outcome.channel]
        frames.append(
            pl.DataFrame(
                {
                    "user_id": users.profiles.user_ids,
                    "timestamp": np.full(len(users), t * 3_600_000_000),
                    "creative_id": creative,
                    "channel": pl.Series(channel, dtype=pl.String),
                    "slot": [catalogue.slots[s] for s in outcome.slot],
                    "propensity": np.full(len(users), 1 / catalogue.n_actions),
                    "impressions": 1,
                    "clicks": (outcome.click & outcome.sent).astype(np.int64),
                }
            )
        )
        chances.append(outcome.click_probability)
    frame = pl.concat(frames).with_columns(
        pl.col("timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    )
    return ClickLog.from_frame(frame, name="made", synthetic=True), np.concatenate(chances)


def test_answers_are_the_simulators_own(make_user_model):
    """In the states that a log led to, a judge says what its environment would have said."""
    users = make_user_model(n_users=60, dynamics=KNOWN)
    log, chances = simulated_log(users, 9)
    rows = held_out_decisions(log, None, users, users.profiles, None, 0)
    answers = Answers(users, rows)
    np.testing.assert_allclose(answers.of_actions(rows.actions), chances, atol=1e-6)
    block = answers.block(slice(100, 180))
    some = np.arange(100, 180)
    np.testing.assert_allclose(block[np.arange(80), rows.actions[some]], chances[some], atol=1e-6)
    np.testing.assert_allclose(
        answers.of_actions(rows.actions[some], some), chances[some], atol=1e-6
    )
    stored = in_memory({"a": answers}, rows)["a"]
    np.testing.assert_allclose(stored.block(slice(100, 180)), block, atol=1e-6)


def test_rows_before_the_cut_make_the_state_and_are_not_judged(make_user_model):
    users = make_user_model(n_users=30, dynamics=KNOWN)
    log, chances = simulated_log(users, 8)
    cut = 5 * 3_600_000_000
    rows = held_out_decisions(log, cut, users, users.profiles, None, 0)
    assert len(rows) == 30 * 3
    np.testing.assert_allclose(
        Answers(users, rows).of_actions(rows.actions), chances[-90:], atol=1e-6
    )


def test_the_log_and_its_own_world_agree_on_a_policy(make_user_model):
    """Off-policy and asked directly, the world that wrote the log says the same of a policy."""
    users = make_user_model(n_users=400, dynamics=KNOWN)
    log, _ = simulated_log(users, 10)
    rows = held_out_decisions(log, None, users, users.profiles, None, 0)
    a = users.catalogue.n_actions
    judges = in_memory({"truth": Answers(users, rows), LOG: rows.model}, rows)
    policies = {f"always {k}": np.tile(np.eye(a)[k], (len(rows), 1)) for k in (0, 1, 2)}
    policies["uniform"] = np.full((len(rows), a), 1 / a)
    terms = {name: decision_terms(chances, rows, judges) for name, chances in policies.items()}
    values, effective, clicks = decision_values(terms, rows, "dr", 300, 0)
    assert values.judges == ("truth", LOG)
    truth, by_log = values.of_judge("truth")[0], values.of_judge(LOG)[0]
    assert truth[0] == 0.0
    for k, name in enumerate(policies):
        found = values.estimate(name, LOG)
        half = (found.high - found.low) / 2
        assert abs(truth[k] - by_log[k]) <= max(2 * half, 1e-9), name
    # The uniform policy is the logging policy: every row speaks for it.
    assert effective[-1] == pytest.approx(len(rows))
    assert values.value_PJ[-1, 0] == pytest.approx(
        Answers(users, rows).block(slice(0, len(rows))).mean(), rel=1e-5
    )
    assert clicks[-1] == pytest.approx(log.collect()["clicks"].sum())


def test_an_unknown_creative_is_refused(make_user_model):
    users = make_user_model(n_users=10, dynamics=KNOWN)
    log, _ = simulated_log(users, 4)
    strange = log.with_frame(
        log.frame.with_columns(pl.col("creative_id").replace("creative-1", "other"))
    )
    with pytest.raises(UserError, match=re.escape("creative 'other' is not in the catalogue")):
        held_out_decisions(strange, None, users, users.profiles, None, 0)


def home_of(users):
    return Simulator("home", None, users)  # type: ignore[arg-type]


def test_a_planner_goes_on_believing_the_simulator_that_taught_it(make_user_model):
    """It promises itself the most and is paid less where people like something else."""
    users = make_user_model(n_users=30, dynamics=KNOWN, n_channels=1)
    shifted = np.concatenate(
        [users.click_logit[:, :, :1], np.roll(users.click_logit[:, :, 1:], 1, axis=2)], axis=2
    )
    others = replace(users, click_logit=shifted)
    setting = Setting(users, np.arange(30), horizon=6, num_envs=30)

    def taught():
        agent = PlannerAgent(grid=4)
        env = DeliveryVectorEnv(30, users=users, horizon=6)
        agent.learn(env, 0, seed=0)
        env.close()
        return agent

    promised = clicks_by_person(taught(), home_of(users), users, setting)
    paid = clicks_by_person(taught(), home_of(users), others, setting)
    knowing = PlannerAgent(grid=4)
    knowing.horizon = 6
    best = clicks_by_person(knowing, home_of(others), others, setting)
    assert (promised > paid + 0.1).all()
    # Had it been told of the other people, it would have been paid what it was promised.
    np.testing.assert_allclose(best, promised, rtol=1e-5)


def test_episodes_of_a_policy_are_paired_over_people(make_user_model):
    users = make_user_model(n_users=40, dynamics=KNOWN)
    setting = Setting(users, np.arange(40), horizon=4, num_envs=16)
    clicks = clicks_by_person(UniformAgent(), home_of(users), users, setting)
    assert clicks.shape == (40,)
    values = episode_values({"u": np.stack([clicks, clicks + 1.0])}, ("a", "b"), 100, 0)
    assert values.value_PJ[0] == pytest.approx([clicks.mean(), clicks.mean() + 1.0])
    np.testing.assert_allclose(values.draws_RPJ[:, 0, 1] - values.draws_RPJ[:, 0, 0], 1.0)
