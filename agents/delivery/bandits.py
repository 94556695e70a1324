"""Agents that ignore the user: uniform, the logging policy, best fixed arm and simple bandits.

They are the reference points of every comparison: what random delivery earns, what the log's own
policy earned, and what can be had without personalisation.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from copygym.agents.delivery.base import (
    ArrayAgent,
    OnProgress,
    Progress,
    SettingsAgent,
    State,
    check_fraction,
    greedy_over,
    mix_uniform,
    require_learned,
    same_shapes,
    sample_actions,
    uniform_over,
)
from copygym.agents.delivery.rules import (
    add_pulls,
    epsilon_greedy_probabilities,
    mean_reward,
    ucb1_probabilities,
)
from copygym.core.errors import UserError
from copygym.envs.people.model import UserModel

if TYPE_CHECKING:
    from copygym.envs.delivery import DeliveryVectorEnv


class UniformAgent(SettingsAgent):
    """Every allowed action is equally likely.

    Args:
        name: for reports.
        hold: probability of sending nothing; None treats hold as one action among the others.
    """

    def __init__(self, name: str = "uniform", hold: float | None = None) -> None:
        self.name = name
        self.hold = None if hold is None else check_fraction("agent.hold", hold)

    def learn(
        self,
        venv: DeliveryVectorEnv,
        steps: int,
        *,
        seed: int,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Do nothing: there is nothing to learn."""

    def propensities(
        self, obs: np.ndarray, mask: np.ndarray, state: State | None = None
    ) -> np.ndarray:
        """Return (N, A) float64."""
        if self.hold is None:
            return uniform_over(mask)
        sends = mask.copy()
        sends[:, 0] = False
        n_sends = sends.sum(axis=1, keepdims=True)
        probabilities = (1.0 - self.hold) * sends / np.maximum(n_sends, 1)
        probabilities[:, 0] = np.where(n_sends[:, 0] > 0, self.hold, 1.0)
        return probabilities


class LoggingAgent(SettingsAgent):
    """Acts as the policy that wrote the log, from the propensities of the simulated users.

    Args:
        name: for reports.
    """

    privileged: ClassVar[bool] = True

    def __init__(self, name: str = "logging") -> None:
        self.name = name
        self._policy: np.ndarray | None = None

    def bind(self, users: UserModel) -> None:
        """Take the logging policy of ``users``."""
        if users.logging_policy is None:
            raise UserError(
                f"agent {self.name!r} needs the logging policy, which {users.name!r} does not "
                "have: use a log with a propensity column, or another agent."
            )
        self._policy = users.logging_policy

    def learn(
        self,
        venv: DeliveryVectorEnv,
        steps: int,
        *,
        seed: int,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Bind to the environment's users."""
        self.bind(venv.users)

    def propensities(
        self, obs: np.ndarray, mask: np.ndarray, state: State | None = None
    ) -> np.ndarray:
        """Return (N, A) float64.

        What the mask forbids (a spent budget) goes to hold, as the environment executes it.
        """
        policy = require_learned(self, self._policy)
        if state is None:
            raise UserError(f"agent {self.name!r} is privileged: pass the environment's state.")
        logged = policy[state["user"], state["slot"]].astype(np.float64)
        probabilities = np.where(mask, logged, 0.0)
        probabilities[:, 0] = np.maximum(0.0, 1.0 - probabilities[:, 1:].sum(axis=1))
        # float32 tables miss 1 by rounding.
        return probabilities / probabilities.sum(axis=1, keepdims=True)


class BestFixedAgent(ArrayAgent):
    """The best single action, sent to everybody at every slot (hold is one of them).

    It is found by a race: each action is tried for whole episodes, on the same users with the
    same luck, so that differences between actions carry little noise. The best quarter goes on
    to four times as many episodes, until four actions or fewer are left (sequential halving,
    Karnin, Koren and Somekh 2013, with another fraction).

    Args:
        episodes: episodes per action in the first round, rounded up to whole batches of rows.
        name: for reports.

    Attributes:
        returns: (A,) float64 mean return of each action; -inf for those that left the race.
    """

    rules_out: ClassVar[bool] = True

    def __init__(self, episodes: int = 1024, name: str = "best_fixed") -> None:
        if episodes < 1:
            raise UserError(f"agent.episodes is {episodes}; it must be at least 1.")
        self.episodes, self.name = int(episodes), name
        self.returns: np.ndarray | None = None

    def learn(
        self,
        venv: DeliveryVectorEnv,
        steps: int,
        *,
        seed: int,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Race all actions; the race has its own length, whatever ``steps`` says."""
        n_actions = venv.users.catalogue.n_actions
        repeats = -(-self.episodes // venv.num_envs)
        racing, rounds = [n_actions], [repeats]
        while racing[-1] > 4:
            racing.append(-(-racing[-1] // 4))
            rounds.append(4 * rounds[-1])
        per_sweep = venv.num_envs * venv.horizon
        total = per_sweep * int(np.dot(racing, rounds))
        returns = np.zeros(n_actions)
        with Progress(self.name, total, on_progress) as progress:
            for n_racing, n_rounds in zip(racing, rounds, strict=True):
                survivors = np.argsort(-returns, kind="stable")[:n_racing]
                returns = np.full(n_actions, -np.inf)
                for action in survivors:
                    tries = []
                    for r in range(n_rounds):
                        tries.append(fixed_return(venv, int(action), seed + r * venv.num_envs))
                        due = progress.due
                        progress.update(per_sweep, {"return": tries[-1]} if due else None)
                    returns[action] = np.mean(tries)
        self.returns = returns

    def propensities(
        self, obs: np.ndarray, mask: np.ndarray, state: State | None = None
    ) -> np.ndarray:
        """Return (N, A) float64: 1 for the best action, or for hold where it is masked."""
        best = int(np.argmax(require_learned(self, self.returns)))
        actions = np.where(mask[:, best], best, 0)
        return (np.arange(mask.shape[1]) == actions[:, None]).astype(np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the mean return of each action, (A,)."""
        return {"returns": require_learned(self, self.returns)}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore `arrays`."""
        same_shapes(arrays, (arrays["returns"].size,), "returns")
        self.returns = arrays["returns"]


def fixed_return(venv: DeliveryVectorEnv, action: int, seed: int) -> float:
    """Return the mean undiscounted return of one episode a row when ``action`` is always sent.

    Args:
        venv: N simulated users; reset with ``seed``, so equal seeds meet equal users and luck.
        action: sent at every slot; where it is masked the environment holds.
        seed: of the reset.
    """
    venv.reset(seed=seed)
    actions = np.full(venv.num_envs, action, dtype=np.int64)
    alive = np.ones(venv.num_envs, dtype=bool)
    total = 0.0
    for _ in range(venv.horizon):
        _, reward, terminated, truncated, _ = venv.step(actions)
        total += float(reward[alive].sum())
        alive &= ~(terminated | truncated)
    return total / venv.num_envs


class _StatisticsAgent(ArrayAgent):
    """A bandit that keeps pulls and rewards of each action and nothing else."""

    def __init__(self, name: str, deploy_epsilon: float) -> None:
        self.name = name
        self.deploy_epsilon = check_fraction("agent.deploy_epsilon", deploy_epsilon)
        self.counts: np.ndarray | None = None
        self.rewards = np.empty(0)
        self.squares = np.empty(0)

    @abstractmethod
    def _choose(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the actions (N,) to learn from next."""

    def learn(
        self,
        venv: DeliveryVectorEnv,
        steps: int,
        *,
        seed: int,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Play ``steps`` pulls, N at a time; a second call goes on from the first one's counts."""
        n_actions = venv.users.catalogue.n_actions
        if self.counts is None or len(self.counts) != n_actions:
            self.counts, self.rewards, self.squares = np.zeros((3, n_actions))
        rng = np.random.default_rng(seed)
        _, info = venv.reset(seed=seed)
        mask = info["action_mask"]
        with Progress(self.name, steps, on_progress) as progress:
            for _ in range(-(-steps // venv.num_envs)):
                _, reward, _, _, info = venv.step(self._choose(mask, rng))
                played = info["outcome"].action
                _, self.squares = add_pulls(self.counts, self.squares, played, reward**2)
                self.counts, self.rewards = add_pulls(self.counts, self.rewards, played, reward)
                mask = info["action_mask"]
                metrics = {"reward": float(reward.mean())} if progress.due else None
                progress.update(venv.num_envs, metrics)

    def propensities(
        self, obs: np.ndarray, mask: np.ndarray, state: State | None = None
    ) -> np.ndarray:
        """Return (N, A) float64: the best mean reward, mixed with ``deploy_epsilon`` uniform."""
        scores = mean_reward(require_learned(self, self.counts), self.rewards, untried=-np.inf)
        return mix_uniform(greedy_over(scores, mask), mask, self.deploy_epsilon)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return pulls, sums of rewards and sums of their squares, each (A,)."""
        counts = require_learned(self, self.counts)
        return {"counts": counts, "rewards": self.rewards, "squares": self.squares}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore `arrays`."""
        same_shapes(arrays, (arrays["counts"].size,), "counts", "rewards", "squares")
        self.counts, self.rewards = arrays["counts"], arrays["rewards"]
        self.squares = arrays["squares"]


class EpsilonGreedyAgent(_StatisticsAgent):
    """Epsilon-greedy on the mean reward of each action (Sutton and Barto 2018, section 2.2).

    Args:
        epsilon: share of uniform choices while learning; 0 never explores after one pull each.
        deploy_epsilon: the same when acting; 0 is deterministic.
        name: for reports.
    """

    def __init__(
        self, epsilon: float = 0.1, deploy_epsilon: float = 0.0, name: str = "epsilon_greedy"
    ) -> None:
        super().__init__(name, deploy_epsilon)
        self.epsilon = check_fraction("agent.epsilon", epsilon)

    def _choose(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        assert self.counts is not None
        probabilities = epsilon_greedy_probabilities(self.counts, self.rewards, mask, self.epsilon)
        return sample_actions(probabilities, rng)


class UCB1Agent(_StatisticsAgent):
    """UCB1 (Auer, Cesa-Bianchi and Fischer 2002) for many users in parallel.

    N pulls are chosen before any of their rewards is seen. Choosing them all by the same index
    would pull one arm N times, so the batch is chosen in chunks, and each chunk counts as pulled
    with its arm's present mean (the hallucinated feedback of Desautels, Krause and Burdick 2014).
    When acting, the arm with the best mean is sent.

    Args:
        scale: width of the rewards in the index; None uses their pooled standard deviation, 1 is
            Auer's for rewards in [0, 1].
        chunk: pulls that are chosen at once, >= 1.
        deploy_epsilon: share of uniform choices when acting; 0 is deterministic.
        name: for reports.
    """

    def __init__(
        self,
        scale: float | None = None,
        chunk: int = 16,
        deploy_epsilon: float = 0.0,
        name: str = "ucb1",
    ) -> None:
        super().__init__(name, deploy_epsilon)
        if scale is not None and not scale >= 0:
            raise UserError(f"agent.scale is {scale}; it must be 0 or more, or null.")
        if chunk < 1:
            raise UserError(f"agent.chunk is {chunk}; it must be at least 1.")
        self.scale, self.chunk = scale, chunk

    def _choose(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        assert self.counts is not None
        counts, total = self.counts.copy(), max(self.counts.sum(), 1.0)
        overall = self.rewards.sum() / total
        mean = mean_reward(counts, self.rewards, untried=overall)
        scale = self.scale
        if scale is None:
            scale = float(np.sqrt(max(self.squares.sum() / total - overall**2, 0.0)))
        parts = []
        for start in range(0, len(mask), self.chunk):
            part = mask[start : start + self.chunk]
            actions = sample_actions(ucb1_probabilities(counts, mean * counts, part, scale), rng)
            counts += np.bincount(actions, minlength=len(counts))
            parts.append(actions)
        return np.concatenate(parts)
