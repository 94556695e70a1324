"""Contextual bandits on shared linear features: LinUCB and linear Thompson sampling."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from copygym.agents.delivery.base import (
    ArrayAgent,
    OnProgress,
    Progress,
    State,
    check_fraction,
    greedy_over,
    mix_uniform,
    require_learned,
    same_shapes,
    sample_actions,
    uniform_over,
)
from copygym.agents.delivery.features import FeatureMap, sums_by_action
from copygym.core.errors import UserError

if TYPE_CHECKING:
    from copygym.envs.delivery import DeliveryVectorEnv

#: Share of new transitions that triggers a refit: refits grow with the log of the data.
_GROWTH = 0.1


class _Step(NamedTuple):
    """One batched transition as the agents keep it until the next refit."""

    contexts: np.ndarray  # (N, c)
    actions: np.ndarray  # (N,)
    rewards: np.ndarray  # (N,)
    done: np.ndarray  # (N,)


class LinearAgent(ArrayAgent):
    """A Gaussian posterior over the weights of a `FeatureMap`, refitted as data come in.

    Args:
        ridge: prior precision of a weight (in units of the noise variance for linear rewards).
        gamma: 0 is a bandit: a score predicts the reward of this decision alone. With gamma > 0
            it predicts the discounted reward until the episode ends under the agent's own
            behaviour (Monte Carlo control), so that hold can win when sending now costs later.
        forget: factor on all earlier data at each refit; below 1 it follows drift.
        deploy_epsilon: share of uniform choices when acting; 0 adds none.
        name: for reports.
    """

    def __init__(
        self, ridge: float, gamma: float, forget: float, deploy_epsilon: float, name: str
    ) -> None:
        if not ridge > 0:
            raise UserError(f"agent.ridge is {ridge}; it must be above 0, or weights can diverge.")
        self.name, self.ridge = name, float(ridge)
        self.gamma = check_fraction("agent.gamma", gamma)
        self.forget = check_fraction("agent.forget", forget)
        self.deploy_epsilon = check_fraction("agent.deploy_epsilon", deploy_epsilon)
        self.features: FeatureMap | None = None
        self.theta = np.empty(0)
        self._seen = 0.0

    @abstractmethod
    def _start(self) -> None:
        """Set the prior for ``self.features``."""

    @abstractmethod
    def _fit(self, contexts: np.ndarray, actions: np.ndarray, targets: np.ndarray) -> None:
        """Take M more observations (contexts (M, c), actions (M,), targets (M,)) into account."""

    @abstractmethod
    def _refresh(self, rng: np.random.Generator) -> None:
        """Prepare for acting after a change of the posterior."""

    @abstractmethod
    def _explore(self, obs: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the actions (N,) to learn from next."""

    def begin(self, features: FeatureMap, rng: np.random.Generator) -> None:
        """Get ready to learn: from the prior, or from what is known if the map is the same."""
        if self.features is None or not features.same_as(self.features):
            self.features, self._seen = features, 0.0
            self._start()
        self._refresh(rng)

    def update(
        self,
        obs: np.ndarray,
        actions: np.ndarray,
        targets: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        """Take M more decisions into account: for those who step an environment themselves.

        Args:
            obs: (M, D) observations before the decisions.
            actions: (M,) int64 actions as they were executed.
            targets: (M,) what each was worth.
            rng: of new posterior draws.
        """
        self._fit(require_learned(self, self.features).context_of(obs, actions), actions, targets)
        self._seen = self.forget * self._seen + len(actions)
        self._refresh(rng)

    def learn(
        self,
        venv: DeliveryVectorEnv,
        steps: int,
        *,
        seed: int,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Learn from ``steps`` transitions; a second call goes on from the first posterior."""
        rng = np.random.default_rng(seed)
        features = FeatureMap.of(venv)
        self.begin(features, rng)
        obs, info = venv.reset(seed=seed)
        # Returns need whole episodes; immediate rewards can be used at once.
        every = venv.horizon if self.gamma > 0 else 1
        pending: list[_Step] = []
        waiting = 0
        total = -(-steps // venv.num_envs)
        with Progress(self.name, steps, on_progress) as progress:
            for i in range(total):
                mask = info["action_mask"]
                actions = self._explore(obs, mask, rng)
                before = obs
                obs, reward, terminated, truncated, info = venv.step(actions)
                played = info["outcome"].action
                contexts = features.context_of(before, played)
                pending.append(_Step(contexts, played, reward, terminated | truncated))
                waiting += len(reward)
                last = i == total - 1
                if last or ((i + 1) % every == 0 and waiting >= _GROWTH * self._seen):
                    self._absorb(pending, obs, info["action_mask"])
                    self._refresh(rng)
                    pending, waiting = [], 0
                metrics = {"reward": float(reward.mean())} if progress.due else None
                progress.update(venv.num_envs, metrics)

    def _absorb(self, pending: list[_Step], obs: np.ndarray, mask: np.ndarray) -> None:
        """Turn the waiting transitions into regression targets and fit them."""
        value = np.zeros(len(obs))
        if self.gamma > 0 and self._seen > 0:
            value = np.where(mask, self.predict(obs), -np.inf).max(axis=1)
        targets = []
        for step in reversed(pending):
            value = step.rewards + self.gamma * np.where(step.done, 0.0, value)
            targets.append(value)
        self._fit(
            np.concatenate([step.contexts for step in pending]),
            np.concatenate([step.actions for step in pending]),
            np.concatenate(targets[::-1]),
        )
        self._seen = self.forget * self._seen + sum(len(step.actions) for step in pending)

    def predict(self, obs: np.ndarray) -> np.ndarray:
        """Return the posterior mean of each action's score, (N, A) float64.

        Linear agents: the expected reward (return). Logistic: the logit of the reward.
        """
        features = require_learned(self, self.features)
        return features.scores(obs, features.collapse(self.theta))

    def propensities(
        self, obs: np.ndarray, mask: np.ndarray, state: State | None = None
    ) -> np.ndarray:
        """Return (N, A) float64: the best posterior mean, mixed with ``deploy_epsilon``."""
        return mix_uniform(greedy_over(self.predict(obs), mask), mask, self.deploy_epsilon)

    def _posterior_arrays(self) -> dict[str, np.ndarray]:
        features = require_learned(self, self.features)
        return {"theta": self.theta, "seen": np.array(self._seen), **features.arrays()}

    def _set_posterior_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.features = FeatureMap.from_arrays(arrays)
        same_shapes(arrays, (self.features.size,), "theta")
        self.theta, self._seen = arrays["theta"], float(arrays["seen"])


class _RidgeAgent(LinearAgent):
    """Bayesian ridge regression of the reward: posterior N(theta, noise^2 * inverse(precision))."""

    def _start(self) -> None:
        assert self.features is not None
        d = self.features.size
        self.theta, self._moment, self._gram = np.zeros(d), np.zeros(d), np.zeros((d, d))
        self._squares = 0.0

    def _fit(self, contexts: np.ndarray, actions: np.ndarray, targets: np.ndarray) -> None:
        assert self.features is not None
        grams, moments = sums_by_action(contexts, actions, self.features.n_actions, targets)
        self._gram = self.forget * self._gram + self.features.gram(grams)
        self._moment = self.forget * self._moment + self.features.moment(moments)
        self._squares = self.forget * self._squares + float(targets @ targets)
        self.theta = cho_solve(self._factor(), self._moment)

    def _factor(self) -> tuple[np.ndarray, bool]:
        """Return the Cholesky factor of the posterior precision."""
        assert self.features is not None
        precision = self._gram.copy()
        precision[np.diag_indices_from(precision)] += self.ridge * self.features.ridge_multiplier
        factor: tuple[np.ndarray, bool] = cho_factor(precision, lower=True, check_finite=False)
        return factor

    @property
    def noise(self) -> float:
        """Standard deviation of the residuals; 1 before any data."""
        if self._seen == 0.0:
            return 1.0
        residual = self._squares - float(self.theta @ self._moment)
        return float(np.sqrt(max(residual, 1e-12) / self._seen))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the posterior's statistics."""
        return {
            **self._posterior_arrays(),
            "gram": self._gram,
            "moment": self._moment,
            "squares": np.array(self._squares),
        }

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore `arrays`."""
        self._set_posterior_arrays(arrays)
        d = len(self.theta)
        same_shapes(arrays, (d,), "moment")
        same_shapes(arrays, (d, d), "gram")
        self._gram, self._moment = arrays["gram"], arrays["moment"]
        self._squares = float(arrays["squares"])


class LinUCBAgent(_RidgeAgent):
    """LinUCB with shared and own features (Li, Chu, Langford and Schapire 2010, algorithm 2).

    While learning it plays the highest mean + alpha * noise * sqrt(x' inverse(precision) x); when
    acting, the highest mean.

    Args:
        alpha: width of the confidence bound in standard deviations, >= 0; 0 is greedy.
        ridge: see `LinearAgent`.
        gamma: see `LinearAgent`.
        forget: see `LinearAgent`.
        deploy_epsilon: see `LinearAgent`.
        name: for reports.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        ridge: float = 10.0,
        gamma: float = 0.0,
        forget: float = 1.0,
        deploy_epsilon: float = 0.0,
        name: str = "linucb",
    ) -> None:
        super().__init__(ridge, gamma, forget, deploy_epsilon, name)
        if not alpha >= 0:
            raise UserError(f"agent.alpha is {alpha}; it must be 0 or more.")
        self.alpha = float(alpha)

    def _refresh(self, rng: np.random.Generator) -> None:
        assert self.features is not None
        self._weights = self.features.collapse(self.theta)
        covariance = cho_solve(self._factor(), np.eye(self.features.size))
        self._forms = self.features.sandwich(covariance)

    def _explore(self, obs: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        assert self.features is not None
        if self._seen == 0.0:
            # The prior's bounds are equal for all sends: a first batch of one arm teaches little.
            return sample_actions(uniform_over(mask), rng)
        width = np.sqrt(self.features.variances(obs, self._forms))
        bound = self.features.scores(obs, self._weights) + self.alpha * self.noise * width
        return np.argmax(np.where(mask, bound, -np.inf), axis=1)


class DrawsAgent(LinearAgent):
    """Thompson sampling by a finite number of posterior draws.

    The draws are renewed at every refit. Acting picks one of the M draws for each row and plays
    its best action; so the share of draws that favour an action *is* its propensity, exactly,
    where the Gaussian integral over all weights has no closed form.
    """

    draws: int
    _sampled = np.empty((0, 0))

    def _set_draws(self, draws: int, scale: float) -> None:
        if draws < 1:
            raise UserError(f"agent.draws is {draws}; it must be at least 1.")
        if not scale >= 0:
            raise UserError(f"agent.scale is {scale}; it must be 0 or more.")
        self.draws, self.scale = int(draws), float(scale)

    def _sample(self, factor: np.ndarray, deviation: float, rng: np.random.Generator) -> None:
        """Draw M weights around theta; ``factor`` is the precision's lower Cholesky factor."""
        normal = rng.standard_normal((len(self.theta), self.draws))
        spread = solve_triangular(factor, normal, lower=True, trans="T", check_finite=False)
        self._use((self.theta[:, None] + deviation * spread).T)

    def _use(self, sampled: np.ndarray) -> None:
        """Act on the draws ``sampled``, (M, d)."""
        assert self.features is not None
        self._sampled = sampled
        self._weights = self.features.collapse(sampled)

    def sampled_scores(self, obs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return each action's score under a posterior draw picked for each row, (N, A) float64."""
        features = require_learned(self, self.features)
        which = rng.integers(0, self.draws, size=len(obs))
        scores = np.empty((len(obs), features.n_actions))
        for m in np.unique(which):
            rows = np.flatnonzero(which == m)
            scores[rows] = features.scores(obs[rows], self._weights[m])
        return scores

    def _explore(self, obs: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.argmax(np.where(mask, self.sampled_scores(obs, rng), -np.inf), axis=1)

    def propensities(
        self, obs: np.ndarray, mask: np.ndarray, state: State | None = None
    ) -> np.ndarray:
        """Return (N, A) float64: the share of the posterior draws that favour each action."""
        features = require_learned(self, self.features)
        wins = np.zeros(mask.shape)
        for weights in self._weights:
            wins += greedy_over(features.scores(obs, weights), mask)
        return mix_uniform(wins / self.draws, mask, self.deploy_epsilon)

    def act(
        self,
        obs: np.ndarray,
        mask: np.ndarray,
        rng: np.random.Generator,
        state: State | None = None,
    ) -> np.ndarray:
        """Pick a draw for each row and play its best action, as `propensities` says."""
        require_learned(self, self.features)
        actions = self._explore(obs, mask, rng)
        if self.deploy_epsilon > 0:
            random = rng.random(len(obs)) < self.deploy_epsilon
            actions = np.where(random, sample_actions(uniform_over(mask), rng), actions)
        return actions


class LinearTSAgent(DrawsAgent, _RidgeAgent):
    """Linear Thompson sampling (Agrawal and Goyal 2013, algorithm 1).

    The weights are drawn from N(theta, (scale * noise)^2 inverse(precision)).

    Args:
        scale: their v in units of the residuals' standard deviation; 0 is greedy.
        draws: number M of posterior draws in use at a time, >= 1.
        ridge: see `LinearAgent`.
        gamma: see `LinearAgent`.
        forget: see `LinearAgent`.
        deploy_epsilon: see `LinearAgent`.
        name: for reports.
    """

    def __init__(
        self,
        scale: float = 1.0,
        draws: int = 32,
        ridge: float = 10.0,
        gamma: float = 0.0,
        forget: float = 1.0,
        deploy_epsilon: float = 0.0,
        name: str = "linear_ts",
    ) -> None:
        super().__init__(ridge, gamma, forget, deploy_epsilon, name)
        self._set_draws(draws, scale)

    def _refresh(self, rng: np.random.Generator) -> None:
        self._sample(self._factor()[0], self.scale * self.noise, rng)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the posterior and the draws in use."""
        return {**super().arrays(), "sampled": self._sampled}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore `arrays`."""
        super().set_arrays(arrays)
        same_shapes(arrays, (len(arrays["sampled"]), len(self.theta)), "sampled")
        self._use(arrays["sampled"])
