"""Logistic Thompson sampling on shared linear features, with a batched Laplace posterior."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

from copygym.agents.delivery.base import same_shapes
from copygym.agents.delivery.features import FeatureMap, sums_by_action
from copygym.agents.delivery.linear import DrawsAgent
from copygym.core.errors import UserError


class LogisticTSAgent(DrawsAgent):
    """Logistic Thompson sampling with a Laplace posterior (Chapelle and Li 2011, algorithm 3).

    Each refit takes the last posterior as prior and finds the mode given the new batch by Newton
    steps; the precision grows by sum p (1 - p) x x'. Unlike the original it keeps the full
    precision matrix, not its diagonal. Rewards must lie in [0, 1].

    Args:
        scale: factor on the posterior's standard deviation; 0 is greedy.
        draws: number M of posterior draws in use at a time, >= 1.
        ridge: prior precision of a weight, on the logit scale.
        newton_steps: per refit, >= 1; the first batch gets 8 more.
        forget: see `LinearAgent`.
        deploy_epsilon: see `LinearAgent`.
        name: for reports.
    """

    def __init__(
        self,
        scale: float = 1.0,
        draws: int = 32,
        ridge: float = 1.0,
        newton_steps: int = 2,
        forget: float = 1.0,
        deploy_epsilon: float = 0.0,
        name: str = "logistic_ts",
    ) -> None:
        super().__init__(ridge, 0.0, forget, deploy_epsilon, name)
        self._set_draws(draws, scale)
        if newton_steps < 1:
            raise UserError(f"agent.newton_steps is {newton_steps}; it must be at least 1.")
        self.newton_steps = int(newton_steps)

    def _start(self) -> None:
        assert self.features is not None
        self.theta = np.zeros(self.features.size)
        self._precision = np.diag(self._prior())

    def _prior(self) -> np.ndarray:
        assert self.features is not None
        return self.ridge * self.features.ridge_multiplier

    def _fit(self, contexts: np.ndarray, actions: np.ndarray, targets: np.ndarray) -> None:
        if targets.min() < 0.0 or targets.max() > 1.0:
            raise UserError(
                f"agent {self.name!r} needs rewards in [0, 1] and got "
                f"{targets.min():.4g} to {targets.max():.4g}: use reward=click or "
                "reward=expected_click, or an agent such as linear_ts."
            )
        assert self.features is not None
        # Forgetting shrinks the data's part of the precision and leaves the prior's.
        held = self.forget * self._precision + (1.0 - self.forget) * np.diag(self._prior())
        steps = self.newton_steps + (8 if self._seen == 0.0 else 0)
        self.theta, self._precision = laplace_update(
            self.features, self.theta, held, contexts, actions, targets, steps
        )

    def _refresh(self, rng: np.random.Generator) -> None:
        factor = cho_factor(self._precision, lower=True, check_finite=False)[0]
        self._sample(factor, self.scale, rng)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the posterior and the draws in use."""
        posterior = self._posterior_arrays()
        return {**posterior, "precision": self._precision, "sampled": self._sampled}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore `arrays`."""
        self._set_posterior_arrays(arrays)
        same_shapes(arrays, (len(self.theta), len(self.theta)), "precision")
        self._precision = arrays["precision"]
        same_shapes(arrays, (len(arrays["sampled"]), len(self.theta)), "sampled")
        self._use(arrays["sampled"])


def laplace_update(
    features: FeatureMap,
    centre: np.ndarray,
    precision: np.ndarray,
    contexts: np.ndarray,
    actions: np.ndarray,
    targets: np.ndarray,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return mode (d,) and precision (d, d) of the weights after a batch of M logistic rewards.

    Newton's method on log prior + log likelihood, with step halving: far from the mode a full
    step can overshoot and diverge.

    Args:
        features: the feature map.
        centre: (d,) mean of the Gaussian prior.
        precision: (d, d) its precision.
        contexts: (M, c) contexts of the actions taken.
        actions: (M,) int64.
        targets: (M,) rewards in [0, 1].
        steps: Newton steps, >= 1.
    """

    def logits(theta: np.ndarray) -> np.ndarray:
        weights = features.collapse(theta).T
        return np.einsum("nc,nc->n", contexts, weights[actions])

    def objective(theta: np.ndarray) -> float:
        score, shift = logits(theta), theta - centre
        fit = targets @ score - np.logaddexp(0.0, score).sum()
        return float(fit - 0.5 * shift @ (precision @ shift))

    theta, value = centre, objective(centre)
    for _ in range(steps):
        p = expit(logits(theta))
        grams, moments = sums_by_action(
            contexts, actions, features.n_actions, targets - p, p * (1.0 - p)
        )
        posterior = precision + features.gram(grams)
        gradient = features.moment(moments) + precision @ (centre - theta)
        direction = cho_solve(cho_factor(posterior, lower=True, check_finite=False), gradient)
        for halvings in range(20):
            candidate = theta + 0.5**halvings * direction
            reached = objective(candidate)
            if reached >= value:
                theta, value = candidate, reached
                break
    return theta, posterior
