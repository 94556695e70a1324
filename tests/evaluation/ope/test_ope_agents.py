"""Agents judged off-policy see what their environment would have shown them."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from copygym.agents import UniformAgent
from copygym.core.errors import UserError
from copygym.envs.datasets.storefront_log import simulate_log
from copygym.envs.delivery import DeliveryVectorEnv
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.storefront.world import StorefrontWorld
from copygym.evaluation.ope import agents as ope_agents
from copygym.evaluation.ope.decisions import decisions
from copygym.experiments import app
from copygym.experiments.commands.statistics.ope import main
from copygym.experiments.studies.saved_agents import agents_of

SLOTS = 20


@pytest.fixture(scope="module")
def world():
    return StorefrontWorld(seed=3, n_users=80)


@pytest.fixture(scope="module")
def log(world):
    return decisions(ClickLog.from_frame(simulate_log(world, SLOTS, seed=5), name="storefront"))


def shown(log, users, horizon):
    """Return what the log's replay shows an agent, (N, D)."""
    fitted = SimpleNamespace(users=users, settings={}, cut=None)
    person = users.profiles.index_of(log.frame["user_id"].to_numpy().astype(np.str_))
    slot, states = ope_agents._states(log, fitted, horizon, person)
    people = (users.profiles, person, slot, states)
    seen = ope_agents._observations(*people, fitted, horizon, slice(0, len(log)))
    return seen, person, states


def test_a_replayed_log_shows_what_the_environment_showed(world, log):
    users = world.user_model()
    seen, person, _ = shown(log, users, SLOTS)
    # The log's own actions once more, with the same luck.
    order = np.lexsort((log.frame["timestamp"].to_numpy(), person))
    names = users.catalogue.action_names
    place = {arm: names.index(arm) for arm in log.arms}
    queue = {u: [] for u in range(len(users))}
    for row in order:
        queue[person[row]].append(row)
    env = DeliveryVectorEnv(len(users), users=users, horizon=SLOTS)
    observation, _ = env.reset(seed=5, options={"user": np.arange(len(users))})
    compared = 0
    for t in range(SLOTS):
        actions = np.zeros(len(users), dtype=np.int64)
        for u, rows in queue.items():
            if t < len(rows):
                # A user of float32 observations.
                np.testing.assert_allclose(seen[rows[t]], observation[u], atol=2e-6)
                actions[u] = place[log.arms[log.actions[rows[t]]]]
                compared += 1
        observation, *_ = env.step(actions)
    assert compared == len(log) > 1000


def test_a_users_rows_are_cut_into_episodes(world, log):
    users = world.user_model()
    layout = DeliveryVectorEnv(1, users=users, horizon=5).observation_layout
    seen, _, states = shown(log, users, 5)
    assert set(states.time) == set(range(5))
    begins = states.time == 0
    state = seen[:, layout["state"]]
    assert (state[begins, 0] == 1.0).all()
    assert (seen[begins, layout["repetitions"]] == 0).all()
    assert (states.sends[begins] == 0).all() and states.sends.max() > 1


def test_uniform_has_the_weights_of_the_uniform_policy(world, log):
    users = world.user_model()
    fitted = SimpleNamespace(
        users=users, settings={}, cut=5,
        profiles_of=lambda past, users: world.user_model(
            users=world.rows_of(np.asarray(users, dtype=np.str_))
        ).profiles,
    )  # fmt: skip
    chances, arms = ope_agents.propensities(log, fitted, UniformAgent(), SLOTS)
    assert chances.shape == (len(log), users.catalogue.n_actions) == (len(log), len(arms))
    np.testing.assert_allclose(chances, 1 / len(arms))
    assert set(log.arms) <= set(arms)


class KeepsItsPeople(UniformAgent):
    """A privileged agent that, as a planner with keep_model, binds to the first people only."""

    privileged = True
    people = None

    def bind(self, users):
        self.people = users if self.people is None else self.people

    def propensities(self, observation, mask, state=None):
        assert len(self.people.profiles) == state["user"].max() + 1
        return super().propensities(observation, mask, state)


def test_each_part_of_a_log_is_asked_of_its_own_people(world, log, monkeypatch):
    users = world.user_model()

    def profiles_of(past, users):
        return world.user_model(users=world.rows_of(np.asarray(users, dtype=np.str_))).profiles

    fitted = SimpleNamespace(users=users, settings={}, cut=5, profiles_of=profiles_of)
    monkeypatch.setattr(ope_agents, "_CHUNK", 300)
    monkeypatch.setattr(ope_agents, "simulate", lambda _, people: SimpleNamespace(profiles=people))
    chances, _ = ope_agents.propensities(log, fitted, KeepsItsPeople(), SLOTS)
    assert len(log) > 900
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished tiny run of a Stable-Baselines3 agent, with the planner as upper reference."""

    base = tmp_path_factory.mktemp("run")
    patch = pytest.MonkeyPatch()
    patch.setenv("COPYGYM_HOME", str(base / "home"))
    config = app.composed([
        "experiment=delivery", "tiny=true", "tracker=disabled", "agent=ppo",
        "learn.steps=1000", "env.num_envs=32", "evaluation.timelines=0",
        "references.best_fixed=null", f"out={base / 'run'}",
    ])  # fmt: skip
    app.execute(config, base / "run", ["run"], {"group": "g", "job_type": "j", "name": "n"})
    data = config["data"]
    yield base / "run", [f"--set={k}={data[k]}" for k in ("seed", "n_users", "n_slots")]
    patch.undo()


def test_any_agent_of_a_run_is_judged_on_its_test_users(finished, tmp_path, capsys):
    run, data = finished
    names = agents_of(run)
    assert {"logging", "random", "upper", "ppo__learned"} <= set(names)
    arguments = ["--log=storefront", *data, "--resamples=50", f"--output={tmp_path / 'out'}"]
    agents = [f"--agent={run}:ppo", f"--agent={run}:upper", f"--agent={run}:random"]
    assert main([*arguments, *agents, f"--agent={run}:logging", "--policy=uniform"]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    policies = result["policies"]
    (remark,) = result["remarks"]
    assert remark.startswith("judged on the users that run kept for testing, after the time")
    users = json.loads((run / "manifest.json").read_text())["rows_seen"]["test"]["users"]
    assert result["users"] <= users
    assert {"ppo__learned", "upper", "random", "uniform"} <= policies.keys()
    # The random agent is the uniform policy.
    assert policies["random"]["support"]["ess"] == pytest.approx(
        policies["uniform"]["support"]["ess"], rel=1e-6
    )
    # What the fitted users remember of the logging policy is near what was recorded.
    assert policies["logging of the run"]["support"]["mean_weight"] == pytest.approx(1, abs=0.1)
    printed = capsys.readouterr().out
    assert f"note: {remark}" in printed
    assert not re.search(r"\bnan\b", printed.lower())


def test_an_agent_that_is_not_there_is_refused_with_the_choices(finished, tmp_path):
    run, data = finished
    with pytest.raises(UserError, match=r"has the agents logging, ppo__learned, random, upper"):
        main(["--log=storefront", *data, f"--agent={run}:linucb"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no finished copygym run"):
        main(["--log=storefront", *data, f"--agent={tmp_path / 'empty'}"])


def test_a_log_of_other_creatives_is_refused(finished, tmp_path):
    run, _ = finished
    path = tmp_path / "log.csv"
    path.write_text("creative_id,propensity,impressions,clicks\n" + "x,0.5,1,1\ny,0.5,1,0\n" * 20)
    with pytest.raises(UserError, match="give a log"):
        main([f"--log={path}", f"--agent={run}"])
