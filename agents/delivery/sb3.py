"""Stable-Baselines3 agents (PPO, A2C, DQN, MaskablePPO) on the native vector environment."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from copygym.agents.delivery.base import (
    Agent,
    OnProgress,
    Progress,
    State,
    check_agent_folder,
    check_fraction,
    greedy_over,
    mix_uniform,
    rebuilt,
    require_learned,
    write_agent_file,
)
from copygym.agents.delivery.sb3_env import SB3VecEnv
from copygym.agents.delivery.sb3_policy import (
    ACTIVATIONS,
    ALGORITHMS,
    activation_of,
    algorithm_of,
    n_actions,
    same_network,
    scores,
)
from copygym.core.errors import UserError, unknown_name
from copygym.core.files.storage import atomic
from copygym.core.models.weights import check_safetensors, load_weights, sort_metadata

if TYPE_CHECKING:
    from copygym.envs.delivery import DeliveryVectorEnv

_WEIGHTS_FILE = "policy.safetensors"
#: Rows scored at once, so that evaluation of a large population stays in bounded memory.
_CHUNK = 16_384

_ON_POLICY = {"gamma": 0.99, "gae_lambda": 0.95, "ent_coef": 0.001, "learning_rate": 2e-3}
_PPO = {**_ON_POLICY, "n_steps": None, "batch_size": 2048, "n_epochs": 6}

#: Defaults for hundreds of users in parallel on a CPU; ``n_steps: None`` is the horizon.
DEFAULTS: dict[str, dict[str, Any]] = {
    "ppo": _PPO,
    "maskable_ppo": _PPO,
    "a2c": {**_ON_POLICY, "n_steps": 7, "normalize_advantage": True},
    "dqn": {
        "gamma": 0.99,
        "learning_rate": 1e-3,
        "buffer_size": 200_000,
        "learning_starts": 5_000,
        "batch_size": 512,
        "train_freq": 1,
        "gradient_steps": 8,
        "target_update_interval": 10_000,
        "exploration_fraction": 0.4,
        "exploration_final_eps": 0.05,
    },
}


class SB3Agent(Agent):
    """One of Stable-Baselines3's algorithms, by name; or a model of yours (`from_model`).

    What is learned is a policy over all actions. PPO, A2C and DQN do not know the mask: the
    environment executes a masked action as hold, and so `propensities` gives the probability of
    masked actions to hold (DQN: its greedy action is the best allowed one). MaskablePPO is
    trained with the mask.

    Note that SB3 seeds the global generators of Python, NumPy and torch when it learns.

    Args:
        algorithm: ppo, a2c, dqn or maskable_ppo.
        hyperparameters: constructor arguments of the algorithm that replace `DEFAULTS`.
        net_arch: widths of the hidden layers of policy and value network; ``{"pi": [...], "vf":
            [...]}`` where the two differ.
        normalize_reward: scale rewards by the running deviation of returns while learning, so
            that one set of hyper-parameters serves clicks and currency alike.
        bootstrap_at_horizon: see `SB3VecEnv`.
        deterministic: act by the most probable action, as the bandits act by the best mean; False
            samples from the policy (DQN has none and is always greedy).
        deploy_epsilon: share of uniform choices when acting; 0 adds none.
        device: torch device; "auto" takes a GPU where there is one.
        name: for reports; the algorithm's name if None.
        activation: of the hidden layers, a key of `sb3_policy.ACTIVATIONS`; None is the
            algorithm's own (tanh, DQN's ReLU).
    """

    def __init__(
        self,
        algorithm: str = "ppo",
        hyperparameters: Mapping[str, Any] | None = None,
        net_arch: Sequence[int] | Mapping[str, Sequence[int]] = (64, 64),
        normalize_reward: bool = True,
        bootstrap_at_horizon: bool = False,
        deterministic: bool = True,
        deploy_epsilon: float = 0.0,
        device: str = "auto",
        name: str | None = None,
        activation: str | None = None,
    ) -> None:
        if algorithm not in ALGORITHMS:
            raise unknown_name("SB3 algorithm", algorithm, list(ALGORITHMS))
        if activation is not None and activation not in ACTIVATIONS:
            raise unknown_name("activation", activation, list(ACTIVATIONS))
        self.algorithm, self.name = algorithm, name or algorithm
        self.hyperparameters = dict(hyperparameters or {})
        self.net_arch = _widths(net_arch)
        self.activation = activation
        self.normalize_reward = bool(normalize_reward)
        self.bootstrap_at_horizon = bool(bootstrap_at_horizon)
        self.deterministic = bool(deterministic)
        self.deploy_epsilon = check_fraction("agent.deploy_epsilon", deploy_epsilon)
        self.device = device
        self.policy: BasePolicy | None = None
        self._plain = True

    @classmethod
    def from_model(
        cls,
        model: BaseAlgorithm,
        *,
        name: str | None = None,
        deterministic: bool = True,
        deploy_epsilon: float = 0.0,
    ) -> SB3Agent:
        """Return a trained model of Stable-Baselines3 or sb3-contrib as an agent.

        The agent has a copy of the policy: training the model further does not change it. `learn`
        would go on from its weights with this class's settings, not with the model's.

        Args:
            model: PPO, A2C, DQN or MaskablePPO, trained on an `SB3VecEnv` (``VecNormalize`` around
                it may scale rewards, not observations).
            name: for reports; the algorithm's name if None.
            deterministic: as in the class.
            deploy_epsilon: as in the class.

        Raises:
            UserError: another algorithm, observations that are no vectors or were normalised, or
                actions that are no numbers of a list.
        """
        algorithm = algorithm_of(model)
        policy: Any = model.policy
        agent = cls(
            algorithm,
            net_arch=policy.net_arch,
            deterministic=deterministic,
            deploy_epsilon=deploy_epsilon,
            name=name,
            activation=activation_of(policy, algorithm),
        )
        plain = agent._built(policy.observation_space.shape[0], n_actions(policy))
        agent._plain = same_network(algorithm, policy, plain)
        agent.policy = plain if agent._plain else copy.deepcopy(policy)
        agent.policy.set_training_mode(False)
        return agent

    def learn(
        self,
        venv: DeliveryVectorEnv,
        steps: int,
        *,
        seed: int,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Learn from about ``steps`` transitions (whole rollouts of n_steps x N, rounded up).

        A second call starts from the weights of the first, with fresh optimiser state.
        """
        if not self._plain:
            raise UserError(
                f"agent {self.name!r} has a network of your own making, which it cannot rebuild: "
                "train the model and wrap it again."
            )
        env: VecEnv = SB3VecEnv(venv, bootstrap_at_horizon=self.bootstrap_at_horizon)
        try:
            settings = self._resolve(venv)
            if self.normalize_reward:
                env = VecNormalize(env, norm_obs=False, gamma=settings["gamma"])
            model = self._make(env, settings, seed)
            if self.policy is not None:
                self._check_shapes(venv)
                model.policy.load_state_dict(self.policy.state_dict())
            env.seed(seed)
            with Progress(self.name, steps, on_progress) as progress:
                model.learn(steps, callback=self._report(progress), log_interval=None)  # type: ignore[arg-type]
        finally:
            env.close()
        self.policy = model.policy
        self.policy.set_training_mode(False)

    def _report(self, progress: Progress) -> Report:
        """Return what follows the learning."""
        return Report(progress)

    def _resolve(self, venv: DeliveryVectorEnv) -> dict[str, Any]:
        """Return the algorithm's arguments for this environment."""
        settings = {**DEFAULTS[self.algorithm], **self.hyperparameters}
        if "n_steps" in settings and settings["n_steps"] is None:
            settings["n_steps"] = venv.horizon
        if self.algorithm in ("ppo", "maskable_ppo"):
            # SB3 would leave a small last minibatch, whose gradient counts like a full one's.
            rollout = settings["n_steps"] * venv.num_envs
            parts = max(1, rollout // settings["batch_size"])
            while rollout % parts:
                parts -= 1
            settings["batch_size"] = rollout // parts
        return settings

    def _make(self, env: VecEnv, settings: dict[str, Any], seed: int) -> BaseAlgorithm:
        import torch

        kind: Any = ALGORITHMS[self.algorithm]
        # SB3 would take the CPU without a word.
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(
                f"agent.device={self.device}: torch finds no GPU here; choose auto or cpu."
            )
        try:
            model: BaseAlgorithm = kind(
                "MlpPolicy",
                env,
                seed=seed,
                device=self.device,
                policy_kwargs=self._network(),
                **settings,
            )
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"agent.hyperparameters, agent.net_arch or agent.device do not fit "
                f"{self.algorithm!r} on device {self.device!r} ({reason}): see the arguments of "
                f"{kind.__name__} in the documentation of Stable-Baselines3."
            ) from error
        # SB3's own logger would make a folder for each model, and leave it empty.
        model.set_logger(Logger(folder=None, output_formats=[]))
        return model

    def _network(self) -> dict[str, Any]:
        """Return the arguments of the policy that say what network it is."""
        kind = None if self.activation is None else ACTIVATIONS[self.activation]
        return {"net_arch": self.net_arch} | ({} if kind is None else {"activation_fn": kind})

    def _built(self, observation_size: int, number: int) -> BasePolicy:
        """Return a policy of this agent's network, with weights that nobody trained."""
        kind: Any = ALGORITHMS[self.algorithm]
        policy: BasePolicy = kind.policy_aliases["MlpPolicy"](
            gym.spaces.Box(-np.inf, np.inf, (observation_size,), np.float32),
            gym.spaces.Discrete(number),
            lambda _: 0.0,  # the learning rate schedule of an optimiser that never steps
            **self._network(),
        )
        return policy

    def _check_shapes(self, venv: DeliveryVectorEnv) -> None:
        assert self.policy is not None
        ours = (self.policy.observation_space.shape, n_actions(self.policy))
        theirs = (venv.single_observation_space.shape, venv.users.catalogue.n_actions)
        if ours != theirs:
            raise UserError(
                f"agent {self.name!r} was learned for observations and actions {ours} and this "
                f"environment has {theirs}: learn a new agent."
            )

    def propensities(
        self, obs: np.ndarray, mask: np.ndarray, state: State | None = None
    ) -> np.ndarray:
        """Return (N, A) float64.

        Raises:
            UserError: the agent has not learned, or for other observations or actions.
        """
        require_learned(self, self.policy)
        assert self.policy is not None
        ours = (*(self.policy.observation_space.shape or ()), n_actions(self.policy))
        if ours != (obs.shape[1], mask.shape[1]):
            raise UserError(
                f"agent {self.name!r} knows observations of {ours[0]} numbers and {ours[-1]} "
                f"actions and was shown {obs.shape[1]} and {mask.shape[1]}: learn a new agent for "
                "these users and this horizon."
            )
        parts = [
            self._probabilities(obs[start : start + _CHUNK], mask[start : start + _CHUNK])
            for start in range(0, len(obs), _CHUNK)
        ]
        return mix_uniform(np.concatenate(parts), mask, self.deploy_epsilon)

    def _probabilities(self, obs: np.ndarray, mask: np.ndarray) -> np.ndarray:
        assert self.policy is not None
        answers = scores(self.algorithm, self.policy, obs, mask)
        if self.algorithm == "dqn":
            return greedy_over(answers, mask)
        probs = answers.astype(np.float64)
        allowed = np.where(mask, probs, 0.0)
        if self.deterministic:
            return greedy_over(allowed, mask)
        if self.algorithm != "maskable_ppo":
            allowed[:, 0] += np.where(mask, 0.0, probs).sum(axis=1)
        return allowed / allowed.sum(axis=1, keepdims=True)

    def save(self, folder: str | Path) -> None:
        """Write ``policy.safetensors`` and ``agent.json``.

        Raises:
            UserError: it has not learned, or is a model's whose network no settings describe.
        """
        from safetensors.torch import save_file

        require_learned(self, self.policy)
        if not self._plain:
            raise UserError(
                f"agent {self.name!r} has a network of your own making, which no settings "
                "describe: save the model with Stable-Baselines3 and wrap it again."
            )
        assert self.policy is not None
        folder = Path(folder)
        weights = {k: v.contiguous().cpu() for k, v in self.policy.state_dict().items()}
        shape = self.policy.observation_space.shape
        assert shape is not None
        shapes = {"observation_size": str(shape[0]), "n_actions": str(n_actions(self.policy))}
        check_agent_folder(folder, _WEIGHTS_FILE)
        with atomic(folder / _WEIGHTS_FILE) as path:
            save_file(weights, path, metadata=shapes)
            sort_metadata(path)
        write_agent_file(folder, self, self.settings())

    @classmethod
    def load(cls, folder: str | Path) -> SB3Agent:
        """Read what `save` wrote; the policy is rebuilt from its shapes, nothing is unpickled."""
        from safetensors import safe_open

        agent = rebuilt(folder, cls)
        path = Path(folder) / _WEIGHTS_FILE
        if not path.exists():
            raise UserError(f"{path} is missing: the agent was saved incompletely, learn it again.")
        check_safetensors(path)
        with safe_open(path, framework="pt") as file:
            shapes = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if not shapes.keys() >= {"observation_size", "n_actions"}:
            raise UserError(f"{path} does not say its sizes: it is damaged; learn the agent again.")
        policy = agent._built(int(shapes["observation_size"]), int(shapes["n_actions"]))
        load_weights(policy, weights, path)
        policy.set_training_mode(False)
        agent.policy = policy
        return agent


def _widths(
    net_arch: Sequence[int] | Mapping[str, Sequence[int]],
) -> list[int] | dict[str, list[int]]:
    if isinstance(net_arch, Mapping):
        return {str(part): [int(width) for width in ws] for part, ws in net_arch.items()}
    return [int(width) for width in net_arch]


class Report(BaseCallback):
    """Tells `Progress` of every step, with the means over the last episodes when it is due."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def _metrics(self) -> dict[str, float]:
        """Return further numbers of a learning curve."""
        return {}

    def _on_step(self) -> bool:
        episodes = self.model.ep_info_buffer
        metrics = None
        if self._progress.due and episodes:
            returns = np.array([episode["r"] for episode in episodes], dtype=np.float64)
            lengths = np.array([episode["l"] for episode in episodes], dtype=np.float64)
            metrics = {
                "reward": float(returns.sum() / lengths.sum()),
                "episode_return": float(returns.mean()),
                "episode_length": float(lengths.mean()),
                **self._metrics(),
            }
        self._progress.update(self.training_env.num_envs, metrics)
        return True
