import re
import tempfile

import numpy as np
import pytest
import torch
from sb3_contrib import TRPO, MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from copygym.agents import SB3Agent, SB3VecEnv, UniformAgent, load_agent
from copygym.envs import UserError


@pytest.fixture
def pair(make_venv):
    """An adapter and an identical native environment to compare it with."""

    def make(**settings):
        adapter = SB3VecEnv(make_venv(**settings), bootstrap_at_horizon=True)
        return adapter, make_venv(**settings)

    return make


def test_the_adapter_steps_like_the_native_environment(pair):
    adapter, native = pair(num_envs=16, horizon=5, unsubscribe_logit=-1.5)
    assert isinstance(adapter, VecEnv)
    adapter.seed(7)
    np.testing.assert_array_equal(adapter.reset(), native.reset(seed=7)[0])
    rng = np.random.default_rng(0)
    returns, lengths = np.zeros(16), np.zeros(16, dtype=int)
    kinds = set()
    for _ in range(12):
        actions = rng.integers(0, 7, 16)
        obs, rewards, dones, infos = adapter.step(actions)
        want, reward, terminated, truncated, info = native.step(actions)
        np.testing.assert_array_equal(obs, want)
        np.testing.assert_array_equal(rewards, reward)
        np.testing.assert_array_equal(dones, terminated | truncated)
        assert obs.dtype == rewards.dtype == np.float32
        returns, lengths = returns + reward, lengths + 1
        for i in range(16):
            if not dones[i]:
                assert infos[i] == {}
                continue
            kinds.add(bool(truncated[i]))
            np.testing.assert_array_equal(infos[i]["terminal_observation"], info["final_obs"][i])
            assert infos[i]["TimeLimit.truncated"] == truncated[i]
            assert infos[i]["episode"] == {"r": returns[i], "l": lengths[i]}
            returns[i], lengths[i] = 0.0, 0
    assert kinds == {True, False}


def test_without_bootstrap_the_horizon_is_the_end(make_venv):
    adapter = SB3VecEnv(make_venv(num_envs=4, horizon=2))
    adapter.reset()
    adapter.step(np.zeros(4, dtype=int))
    _, _, dones, infos = adapter.step(np.zeros(4, dtype=int))
    assert dones.all()
    assert not any(info["TimeLimit.truncated"] for info in infos)


def test_the_adapter_takes_seeds_and_users(make_venv):
    adapter = SB3VecEnv(make_venv(num_envs=3))
    adapter.set_options([{"user": 4}, {"user": 0}, {"user": 9}])
    adapter.seed(1)
    adapter.reset()
    np.testing.assert_array_equal(adapter.venv.state["user"], [4, 0, 9])
    first = adapter.reset()  # the options were for one reset; the episodes go on
    adapter.seed(1)
    assert not np.array_equal(adapter.reset(), first)


def test_masks_reach_sb3_contrib(make_venv):
    venv = make_venv(num_envs=6, masked=True)
    adapter = SB3VecEnv(venv)
    adapter.seed(0)
    adapter.reset()
    assert is_masking_supported(adapter)
    np.testing.assert_array_equal(get_action_masks(adapter), venv.action_masks())
    np.testing.assert_array_equal(
        adapter.env_method("action_masks", indices=[2, 4]), venv.action_masks()[[2, 4]]
    )


def test_attributes_of_the_adapter(make_venv):
    adapter = SB3VecEnv(make_venv(num_envs=3, horizon=4))
    assert adapter.get_attr("horizon") == [4, 4, 4]
    assert not adapter.has_attr("nonsense")
    assert adapter.env_is_wrapped(object) == [False] * 3
    adapter.set_attr("horizon", 5)
    assert adapter.venv.horizon == 5
    with pytest.raises(ValueError, match="shared by all rows"):
        adapter.set_attr("horizon", 6, indices=[0])


@pytest.mark.parametrize("algorithm", ["ppo", "maskable_ppo"])
def test_ppo_beats_uniform_with_a_margin(make_venv, returns, algorithm):
    venv = make_venv(num_envs=128)
    agent = SB3Agent(algorithm, hyperparameters={"learning_rate": 5e-3}, net_arch=[32])
    agent.learn(venv, 40_000, seed=0)
    assert returns(agent, venv).mean() > returns(UniformAgent(), venv).mean() + 0.4


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["a2c", "dqn"])
def test_other_algorithms_beat_uniform_with_a_margin(make_venv, returns, algorithm):
    venv = make_venv(num_envs=64)
    agent = SB3Agent(algorithm)
    agent.learn(venv, 60_000, seed=0)
    assert returns(agent, venv).mean() > returns(UniformAgent(), venv).mean() + 0.4


def test_masked_probability_goes_to_hold_as_the_environment_executes_it(make_venv):
    venv = make_venv()
    agent = SB3Agent("ppo", net_arch=[8], deterministic=False)
    agent.learn(venv, 512, seed=0)
    obs, _ = venv.reset(seed=0)
    full = agent.propensities(obs, np.ones((64, 7), dtype=bool))
    mask = np.ones((64, 7), dtype=bool)
    mask[:, [2, 5]] = False
    got = agent.propensities(obs, mask)
    np.testing.assert_allclose(got[:, 0], full[:, [0, 2, 5]].sum(axis=1), atol=1e-6)
    np.testing.assert_allclose(got[:, 3], full[:, 3], atol=1e-6)


def test_maskable_ppo_renormalises_over_the_mask(make_venv):
    venv = make_venv()
    agent = SB3Agent("maskable_ppo", net_arch=[8], deterministic=False)
    agent.learn(venv, 512, seed=0)
    obs, _ = venv.reset(seed=0)
    full = agent.propensities(obs, np.ones((64, 7), dtype=bool))
    mask = np.ones((64, 7), dtype=bool)
    mask[:, [2, 5]] = False
    wanted = np.where(mask, full, 0) / np.where(mask, full, 0).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(agent.propensities(obs, mask), wanted, atol=1e-6)


def test_dqn_takes_the_best_allowed_q(make_venv):
    venv = make_venv()
    agent = SB3Agent("dqn", {"buffer_size": 1000, "learning_starts": 10_000}, deploy_epsilon=0.07)
    agent.learn(venv, 128, seed=0)
    obs, _ = venv.reset(seed=0)
    with torch.no_grad():
        q = agent.policy.q_net(torch.as_tensor(obs)).numpy()
    mask = np.ones((64, 7), dtype=bool)
    mask[np.arange(64), q.argmax(axis=1)] = False
    mask[:, 0] = True
    got = agent.propensities(obs, mask)
    best = np.where(mask, q, -np.inf).argmax(axis=1)
    share = 0.07 / mask.sum(axis=1)
    np.testing.assert_allclose(got[np.arange(64), best], 0.93 + share)


def test_minibatches_are_equal_parts_of_the_rollout(make_venv):
    agent = SB3Agent("ppo", {"batch_size": 100})
    settings = agent._resolve(make_venv(num_envs=10, horizon=33))
    assert settings["n_steps"] == 33
    assert settings["batch_size"] == 110  # 330 transitions in 3 parts
    assert SB3Agent("ppo")._resolve(make_venv(num_envs=4, horizon=5))["batch_size"] == 20


def test_a_second_call_starts_from_the_learned_weights(make_venv):
    venv = make_venv()
    agent = SB3Agent("ppo", {"learning_rate": 1e-12}, net_arch=[8])
    agent.learn(venv, 512, seed=0)
    before = {k: v.clone() for k, v in agent.policy.state_dict().items()}
    agent.learn(venv, 512, seed=1)
    for key, value in agent.policy.state_dict().items():
        torch.testing.assert_close(value, before[key], atol=1e-6, rtol=0)


@pytest.mark.parametrize("algorithm", ["ppo", "maskable_ppo", "a2c", "dqn"])
def test_learning_leaves_no_files(make_venv, tmp_path, monkeypatch, algorithm):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    agent = SB3Agent(algorithm, net_arch=[8])
    agent.learn(make_venv(), 128, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_failures_are_one_sentence(make_venv, tmp_path):
    message = "unknown SB3 algorithm 'trpo': choose one of a2c, dqn, maskable_ppo, ppo."
    with pytest.raises(UserError, match=re.escape(message)):
        SB3Agent("trpo")
    with pytest.raises(UserError, match=r"agent.hyperparameters, .* do not fit 'ppo' .*'speed'"):
        SB3Agent("ppo", {"speed": 3}).learn(make_venv(), 64, seed=0)
    agent = SB3Agent("ppo", net_arch=[8])
    agent.learn(make_venv(), 512, seed=0)
    from copygym.envs import DeliveryVectorEnv

    small = make_venv().users
    with pytest.raises(UserError, match="was learned for observations and actions"):
        other = DeliveryVectorEnv(4, users=small, horizon=8)
        other.single_observation_space = type(other.single_observation_space)(0, 1, (3,))
        agent.learn(other, 64, seed=0)
    agent.save(tmp_path)
    (tmp_path / "policy.safetensors").unlink()
    with pytest.raises(UserError, match="was saved incompletely, learn it again"):
        SB3Agent.load(tmp_path)


# ------------------------------------------------------------------ a model of one's own


def trained(kind, venv, **options):
    """Return a model of Stable-Baselines3 after a few updates on an adapter of its own."""
    adapter = SB3VecEnv(venv)
    steps = {"n_steps": 8} if kind is not DQN else {"learning_starts": 64, "buffer_size": 1000}
    model = kind("MlpPolicy", adapter, seed=0, device="cpu", **steps, **options)
    model.learn(1024)
    adapter.close()
    return model


@pytest.mark.parametrize("kind", [PPO, A2C, DQN, MaskablePPO])
@pytest.mark.parametrize("activation", [None, torch.nn.ELU])
def test_a_wrapped_model_acts_as_the_model_and_is_saved(make_venv, tmp_path, kind, activation):
    network = {"net_arch": [16, 8]} | ({"activation_fn": activation} if activation else {})
    venv = make_venv(masked=True)
    model = trained(kind, venv, policy_kwargs=network)
    agent = SB3Agent.from_model(model, name="mine")
    obs, info = venv.reset(seed=0)
    masks = {"action_masks": info["action_mask"]} if kind is MaskablePPO else {}
    everything = np.ones((64, 7), dtype=bool)
    wanted, _ = model.predict(obs, deterministic=True, **masks)
    mask = info["action_mask"] if masks else everything
    chances = agent.propensities(obs, mask)
    np.testing.assert_array_equal(chances.argmax(axis=1), wanted)
    agent.save(tmp_path / "agent")
    again = load_agent(tmp_path / "agent")
    assert again.name == "mine"
    np.testing.assert_array_equal(again.propensities(obs, mask), chances)


def test_a_wrapped_model_samples_with_the_model_s_probabilities(make_venv):
    venv = make_venv()
    model = trained(PPO, venv, policy_kwargs={"net_arch": {"pi": [8], "vf": [16]}})
    agent = SB3Agent.from_model(model, deterministic=False, deploy_epsilon=0.1)
    obs, info = venv.reset(seed=0)
    with torch.no_grad():
        chances = model.policy.get_distribution(torch.as_tensor(obs)).distribution.probs.numpy()
    got = agent.propensities(obs, info["action_mask"])
    np.testing.assert_allclose(got, 0.9 * chances + 0.1 / 7, atol=1e-6)


def test_training_the_model_further_leaves_the_agent_alone(make_venv):
    venv = make_venv()
    model = trained(PPO, venv)
    agent = SB3Agent.from_model(model, deterministic=False)
    obs, info = venv.reset(seed=0)
    before = agent.propensities(obs, info["action_mask"])
    model.learn(2048)
    np.testing.assert_array_equal(agent.propensities(obs, info["action_mask"]), before)
    other = SB3Agent.from_model(model, deterministic=False)
    assert not np.allclose(other.propensities(obs, info["action_mask"]), before)


class Doubled(FlattenExtractor):
    """An extractor with the same weights as the plain one (none), and other features."""

    def forward(self, observations):
        return 2 * super().forward(observations)


def test_a_network_of_one_s_own_acts_and_is_not_saved_as_another(make_venv, tmp_path):
    venv = make_venv()
    model = trained(PPO, venv, policy_kwargs={"features_extractor_class": Doubled})
    agent = SB3Agent.from_model(model)
    obs, info = venv.reset(seed=0)
    wanted, _ = model.predict(obs, deterministic=True)
    chances = agent.propensities(obs, info["action_mask"])
    np.testing.assert_array_equal(chances.argmax(axis=1), wanted)
    with pytest.raises(UserError, match="network of your own making, which no settings describe"):
        agent.save(tmp_path)
    with pytest.raises(UserError, match="train the model and wrap it again"):
        agent.learn(venv, 64, seed=0)


def test_models_that_cannot_be_wrapped_are_refused(make_venv):
    venv = make_venv()
    trpo = TRPO("MlpPolicy", SB3VecEnv(venv), device="cpu")
    with pytest.raises(
        UserError, match="a TRPO cannot be wrapped: give a model of PPO, MaskablePPO"
    ):
        SB3Agent.from_model(trpo)
    normalised = PPO("MlpPolicy", VecNormalize(SB3VecEnv(venv)), device="cpu")
    with pytest.raises(UserError, match="trained on normalised observations"):
        SB3Agent.from_model(normalised)
    scaled = PPO("MlpPolicy", VecNormalize(SB3VecEnv(venv), norm_obs=False), device="cpu")
    assert SB3Agent.from_model(scaled).name == "ppo"
    with pytest.raises(UserError, match=r"and 7 actions and was shown 3 and 7: learn a new agent"):
        SB3Agent.from_model(scaled).propensities(np.zeros((2, 3), "f4"), np.ones((2, 7), bool))
    with pytest.raises(UserError, match="unknown activation 'step'"):
        SB3Agent("ppo", activation="step")


# ------------------------------------------------------------------ threads


@pytest.fixture
def four_threads(monkeypatch):
    """Four threads, and no variable that says how many."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_torch_has_one_thread_while_an_adapter_is_open(make_venv, four_threads):
    first = SB3VecEnv(make_venv(num_envs=2))
    assert torch.get_num_threads() == 1
    second = SB3VecEnv(make_venv(num_envs=2))
    first.close()
    second.close()  # it had changed nothing, and gives nothing back
    assert torch.get_num_threads() == 4
    first.close()
    assert torch.get_num_threads() == 4


def test_threads_are_as_many_as_one_says(make_venv, four_threads, monkeypatch):
    adapter = SB3VecEnv(make_venv(num_envs=2), threads=2)
    assert torch.get_num_threads() == 2
    adapter.close()
    SB3VecEnv(make_venv(num_envs=2), threads=0)
    assert torch.get_num_threads() == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    SB3VecEnv(make_venv(num_envs=2))
    assert torch.get_num_threads() == 4
    with pytest.raises(UserError, match="threads is -1; give 1 or more"):
        SB3VecEnv(make_venv(num_envs=2), threads=-1)


def test_an_agent_gives_the_threads_back(make_venv, four_threads):
    seen = []
    agent = SB3Agent("ppo", net_arch=[8])
    agent.learn(
        make_venv(), 512, seed=0, on_progress=lambda *_: seen.append(torch.get_num_threads())
    )
    assert set(seen) == {1}
    assert torch.get_num_threads() == 4
    with pytest.raises(UserError, match="do not fit"):
        SB3Agent("ppo", {"speed": 3}).learn(make_venv(), 64, seed=0)
    assert torch.get_num_threads() == 4


def test_adapter_and_agent_agree_on_the_horizon(make_venv):
    adapter = SB3VecEnv(make_venv(num_envs=4, horizon=1))
    adapter.reset()
    _, _, _, infos = adapter.step(np.zeros(4, dtype=int))
    assert SB3Agent("ppo").bootstrap_at_horizon is adapter.bootstrap_at_horizon is False
    assert [info["TimeLimit.truncated"] for info in infos] == [False] * 4
