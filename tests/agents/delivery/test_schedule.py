import re

import numpy as np
import pytest

from copygym.agents.delivery.schedule import Schedule, ScheduleAgent, schedule_return
from copygym.envs import UserError


def test_sends_at_its_times_only(make_venv):
    venv = make_venv(horizon=8)
    agent = ScheduleAgent()
    agent.set_arrays(
        {
            "best": np.array([3, 3, 1]),
            "clock": np.array([8, venv.observation_layout["state"].start]),
        }
    )
    obs, info = venv.reset(seed=0)
    sent = []
    for _ in range(8):
        probabilities = agent.propensities(obs, info["action_mask"])
        assert (probabilities.sum(axis=1) == 1).all()
        sent.append(int(probabilities[0].argmax()))
        obs, *_, info = venv.step(probabilities.argmax(axis=1))
    assert sent == [0, 3, 0, 0, 3, 0, 0, 3]


def test_holds_where_its_action_is_masked(make_venv):
    venv = make_venv(masked=True)
    agent = ScheduleAgent()
    agent.set_arrays(
        {
            "best": np.array([2, 1, 0]),
            "clock": np.array([8, venv.observation_layout["state"].start]),
        }
    )
    obs, info = venv.reset(seed=0, options={"user": np.arange(64) % 40})
    chosen = agent.propensities(obs, info["action_mask"]).argmax(axis=1)
    assert set(chosen[::2]) == {0}
    assert set(chosen[1::2]) == {2}


def test_sends_always_where_nothing_tires_and_rarely_where_everything_does(make_venv):
    quiet = make_venv(fatigue_click=0.0, repetition_click=0.0, unsubscribe_logit=-60.0)
    agent = ScheduleAgent(periods=(1, 2, 4), episodes=256)
    agent.learn(quiet, 0, seed=0)
    assert agent.best.period == 1
    tiring = make_venv(fatigue_decay=0.95, fatigue_click=3.0, unsubscribe_logit=-60.0)
    agent.learn(tiring, 0, seed=0)
    assert agent.best.period > 1
    always = schedule_return(tiring, Schedule(agent.best.action, 1, 0), seed=9)
    assert schedule_return(tiring, agent.best, seed=9) > always


def test_known_return(make_venv):
    def sends(outcome):
        reward = outcome.sent.astype(float)
        return reward, {"send": reward}

    venv = make_venv(reward=sends, horizon=10, unsubscribe_logit=-60.0)
    # Times 1, 4 and 7 of 0..9.
    assert schedule_return(venv, Schedule(1, 3, 1), seed=0) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"periods": (0,)}, "agent.periods is [0]; give slots between sends"),
        ({"finalists": 0}, "agent.finalists is 0; it must be at least 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        ScheduleAgent(**options)
