"""What every agent owes: the same tests run over all of them, straight from their configs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from copygym.agents import Agent, load_agent, sample_actions
from copygym.agents.delivery.bandits import UniformAgent
from copygym.agents.delivery.base import apply_mask, greedy_over, mix_uniform, uniform_over
from copygym.envs import UserError

CONF = Path(__file__).parents[3] / "conf" / "agent"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
#: Stochastic when acting, so that frequencies and propensities can be compared.
SMALL = {
    "best_fixed": {"episodes": 1},
    "dqn": {
        "hyperparameters": {
            "learning_starts": 64, "buffer_size": 2000, "batch_size": 32, "gradient_steps": 1,
        },
        "net_arch": [16],
    },
}  # fmt: skip


def make(name: str, **changes) -> Agent:
    config = OmegaConf.load(CONF / f"{name}.yaml")
    if name in ("ppo", "maskable_ppo", "a2c", "lagrangian"):
        changes = {"net_arch": [16], "deterministic": False, **changes}
    changes = {**SMALL.get(name, {}), **changes}
    config = OmegaConf.merge(config, changes)
    return instantiate(config)


def learned(name, venv, steps=1024, seed=0, **changes) -> Agent:
    agent = make(name, **changes)
    agent.learn(venv, steps, seed=seed)
    agent.bind(venv.users)
    return agent


def situation(venv, seed=5):
    """Return observations, masks and state in mid-episode, after some random sends."""
    rng = np.random.default_rng(seed)
    _, info = venv.reset(seed=seed)
    for _ in range(3):
        actions = sample_actions(uniform_over(info["action_mask"]), rng)
        obs, *_, info = venv.step(actions)
    return obs, info["action_mask"], venv.state


@pytest.fixture
def venv(make_venv):
    return make_venv(masked=True, logging=True, unsubscribe_logit=-4.0, fatigue_click=0.3)


@pytest.mark.parametrize("name", NAMES)
def test_propensities_are_probabilities_on_the_mask(venv, name):
    agent = learned(name, venv)
    obs, mask, state = situation(venv)
    assert not mask.all()
    got = agent.propensities(obs, mask, state)
    assert got.shape == mask.shape
    assert got.dtype == np.float64
    assert (got >= 0).all()
    assert (got[~mask] == 0).all()
    np.testing.assert_allclose(got.sum(axis=1), 1.0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_act_draws_with_the_propensities(venv, name):
    """Chi-square over the actions of 16 situations, 400 draws each."""
    changes = {"deploy_epsilon": 0.2} if "deploy_epsilon" in make(name).__dict__ else {}
    agent = learned(name, venv, **changes)
    obs, mask, state = situation(venv)
    rng = np.random.default_rng(1)
    wanted = agent.propensities(obs, mask, state)[:16]
    counts = np.zeros_like(wanted)
    rows = np.arange(16)
    for _ in range(400):
        actions = agent.act(obs, mask, rng, state)
        assert actions.dtype == np.int64
        counts[rows, actions[:16]] += 1
    assert (counts[wanted == 0] == 0).all()
    expected = 400 * wanted
    seen = expected > 0
    statistic = ((counts - expected)[seen] ** 2 / expected[seen]).sum()
    freedom = seen.sum() - 16
    # Six standard deviations above the mean of a chi-square: one test in a billion.
    assert statistic < freedom + 6 * np.sqrt(2 * freedom) + 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_agent(make_venv, name):
    got = []
    for _ in range(2):
        venv = make_venv(masked=True, logging=True)
        agent = learned(name, venv, seed=3)
        obs, mask, state = situation(venv)
        got.append(agent.act(obs, mask, np.random.default_rng(0), state))
        got.append(agent.propensities(obs, mask, state))
    np.testing.assert_array_equal(got[0], got[2])
    np.testing.assert_array_equal(got[1], got[3])


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_agent_comes_back_the_same(venv, name, tmp_path):
    agent = learned(name, venv)
    obs, mask, state = situation(venv)
    agent.save(tmp_path / "agent")
    copy = load_agent(tmp_path / "agent")
    copy.bind(venv.users)
    assert type(copy) is type(agent)
    assert copy.name == agent.name
    np.testing.assert_array_equal(
        copy.propensities(obs, mask, state), agent.propensities(obs, mask, state)
    )
    assert not list((tmp_path / "agent").glob(".*"))  # nothing half-written stays


@pytest.mark.parametrize("name", ["epsilon_greedy", "linear_ts", "logistic_ts", "linucb", "ppo"])
def test_a_loaded_agent_learns_on(venv, name, tmp_path):
    agent = learned(name, venv)
    agent.save(tmp_path)
    copy = load_agent(tmp_path)
    for one in (agent, copy):
        one.learn(venv, 512, seed=9)
    obs, mask, state = situation(venv)
    np.testing.assert_allclose(
        copy.propensities(obs, mask, state), agent.propensities(obs, mask, state)
    )


@pytest.mark.parametrize("name", ["epsilon_greedy", "ucb1", "linear_ts", "best_fixed", "ppo"])
def test_progress_is_reported(venv, name):
    seen = []
    make(name).learn(venv, 2048, seed=0, on_progress=lambda *report: seen.append(report))
    steps = [done for done, _ in seen]
    assert steps
    assert steps == sorted(steps)
    assert all(np.isfinite(value) for _, numbers in seen for value in numbers.values())


@pytest.mark.parametrize("name", ["epsilon_greedy", "ucb1", "linucb", "logistic_ts", "ppo", "dqn"])
def test_learners_report_the_learning_curve(venv, name):
    rewards = []
    make(name).learn(venv, 4096, seed=0, on_progress=lambda _, m: rewards.append(m.get("reward")))
    known = [reward for reward in rewards if reward is not None]
    assert known
    assert all(0 <= reward <= 1 for reward in known)  # per decision, of a reward of one per click


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"uniform"}))
def test_an_agent_that_has_not_learned_says_so(venv, name):
    obs, mask, state = situation(venv)
    with pytest.raises(UserError, match="has not learned yet; call learn or load first"):
        make(name).propensities(obs, mask, state)


@pytest.mark.parametrize("name", ["logging", "planner"])
def test_privileged_agents_ask_for_the_state(venv, name):
    agent = learned(name, venv)
    obs, mask, _ = situation(venv)
    with pytest.raises(UserError, match="is privileged: pass the environment's state"):
        agent.propensities(obs, mask)


def test_sample_actions_inverts_the_cdf():
    rng = np.random.default_rng(0)
    probabilities = np.tile([0.0, 0.5, 0.0, 0.3, 0.2, 0.0], (50_000, 1))
    counts = np.bincount(sample_actions(probabilities, rng), minlength=6) / 50_000
    np.testing.assert_allclose(counts, [0, 0.5, 0, 0.3, 0.2, 0], atol=0.01)


@pytest.mark.parametrize("u", [0.0, 0.5, np.nextafter(1.0, 0.0)])
def test_sample_actions_never_draws_the_impossible(u):
    class Fixed:
        def random(self, n):
            return np.full(n, u)

    rows = np.array([[0.0, 1.0, 0.0], [0.0, 0.1 + 0.2, 0.7], [0.3, 0.7 - 1e-12, 0.0]])
    actions = sample_actions(rows, Fixed())
    assert (rows[np.arange(3), actions] > 0).all()


def test_helpers():
    mask = np.array([[True, False, True], [True, True, True]])
    np.testing.assert_allclose(uniform_over(mask), [[0.5, 0, 0.5], [1 / 3] * 3])
    greedy = greedy_over(np.array([[1.0, 9.0, 1.0], [0.0, 2.0, 1.0]]), mask)
    np.testing.assert_array_equal(greedy, [[1, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(mix_uniform(greedy, mask, 0.3)[0], [0.85, 0, 0.15])
    np.testing.assert_array_equal(apply_mask(np.array([1, 1]), mask), [0, 1])


def test_load_refuses_what_is_no_agent(tmp_path):
    with pytest.raises(UserError, match=re.escape("agent.json does not exist: give a folder")):
        load_agent(tmp_path)
    file = tmp_path / "agent.json"
    file.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="is not JSON"):
        load_agent(tmp_path)
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="lacks 'class' or 'settings'"):
        load_agent(tmp_path)
    for path in (
        "subprocess.Popen",
        "copygym.agents.delivery.base.atomic_path",
        "copygym.agents.nowhere.Agent",
        "copygym.agents_evil.Agent",
    ):
        file.write_text(json.dumps({"class": path, "settings": {}}), encoding="utf-8")
        with pytest.raises(UserError, match=re.escape(f"names the class '{path}', which is no")):
            load_agent(tmp_path)


def test_load_refuses_another_class_and_missing_arrays(venv, tmp_path):
    learned("ucb1", venv).save(tmp_path)
    from copygym.agents import EpsilonGreedyAgent, UCB1Agent

    with pytest.raises(UserError, match=re.escape("use copygym.agents.load_agent")):
        EpsilonGreedyAgent.load(tmp_path)
    (tmp_path / "agent.npz").unlink()
    with pytest.raises(UserError, match="does not exist, though what was saved here needs it"):
        UCB1Agent.load(tmp_path)


def test_bandits_do_not_import_torch():
    import subprocess
    import sys

    code = (
        "import sys, copygym.agents, copygym.agents.delivery.bandits; "
        "import copygym.agents.delivery.linear; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_saving_an_agent_loses_no_file_of_the_user_s(tmp_path):
    (tmp_path / "agent.json").write_text('{"mine": 1}')
    with pytest.raises(UserError, match="which copygym did not save there"):
        UniformAgent().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["agent.json"]
    assert (tmp_path / "agent.json").read_text() == '{"mine": 1}'
    for _ in range(2):
        UniformAgent().save(tmp_path / "saved")
