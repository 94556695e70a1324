"""Linear bandits for rewards that change: old data fade, or leave a window.

`LinUCBAgent` trusts what it saw long ago as much as what it saw today. These two do not, and differ
in what they forget: a discount is smooth and cheap, a window forgets a sudden change for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_solve

from copygym.agents.delivery.base import same_shapes
from copygym.agents.delivery.linear import LinUCBAgent
from copygym.core.errors import UserError

if TYPE_CHECKING:
    from copygym.agents.delivery.features import FeatureMap


class DiscountedLinUCBAgent(LinUCBAgent):
    """D-LinUCB (Russac, Vernade and Cappe 2019, algorithm 1): the weight of data halves with time.

    Its bound is not that of `LinUCBAgent` on faded data: with weights w the estimate's variance is
    inverse(V) W inverse(V), V of weights w and W of weights w squared.

    Args:
        half_life: decisions after which one counts half, > 0.
        alpha: see `LinUCBAgent`.
        ridge: see `LinearAgent`.
        deploy_epsilon: see `LinearAgent`.
        name: for reports.
    """

    def __init__(
        self,
        half_life: float = 50_000.0,
        alpha: float = 1.0,
        ridge: float = 10.0,
        deploy_epsilon: float = 0.0,
        name: str = "d_linucb",
    ) -> None:
        super().__init__(alpha, ridge, 0.0, 1.0, deploy_epsilon, name)
        if not half_life > 0:
            raise UserError(f"agent.half_life is {half_life}; it must be above 0 decisions.")
        self.half_life = float(half_life)

    def _start(self) -> None:
        super()._start()
        self._twice = np.zeros_like(self._gram)

    def _fit(self, contexts: np.ndarray, actions: np.ndarray, targets: np.ndarray) -> None:
        # `forget` is what the whole batch takes off all that came before it.
        self.forget = 0.5 ** (len(actions) / self.half_life)
        before = self.forget * self._gram
        super()._fit(contexts, actions, targets)
        self._twice = self.forget**2 * self._twice + (self._gram - before)

    def _refresh(self, rng: np.random.Generator) -> None:
        features: FeatureMap | None = self.features
        assert features is not None
        self._weights = features.collapse(self.theta)
        factor = self._factor()
        twice = self._twice.copy()
        twice[np.diag_indices_from(twice)] += self.ridge * features.ridge_multiplier
        half = cho_solve(factor, twice)
        self._forms = features.sandwich(cho_solve(factor, half.T))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the posterior's statistics."""
        return {**super().arrays(), "twice": self._twice}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore `arrays`."""
        super().set_arrays(arrays)
        same_shapes(arrays, self._gram.shape, "twice")
        self._twice = arrays["twice"]


class SlidingWindowLinUCBAgent(LinUCBAgent):
    """SW-LinUCB (Cheung, Simchi-Levi and Zhu 2019, algorithm 1): only the last decisions count.

    Data enter and leave in the batches between two refits, so that the window is as long as
    ``window`` or a batch less. A saved agent keeps its window as one batch.

    Args:
        window: decisions that count, >= 1.
        alpha: see `LinUCBAgent`.
        ridge: see `LinearAgent`.
        deploy_epsilon: see `LinearAgent`.
        name: for reports.
    """

    def __init__(
        self,
        window: int = 100_000,
        alpha: float = 1.0,
        ridge: float = 10.0,
        deploy_epsilon: float = 0.0,
        name: str = "sw_linucb",
    ) -> None:
        super().__init__(alpha, ridge, 0.0, 1.0, deploy_epsilon, name)
        if window < 1:
            raise UserError(f"agent.window is {window}; it must be at least 1 decision.")
        self.window = int(window)
        self._batches: list[tuple[int, np.ndarray, np.ndarray, float]] = []

    def _start(self) -> None:
        super()._start()
        self._batches = []

    def _fit(self, contexts: np.ndarray, actions: np.ndarray, targets: np.ndarray) -> None:
        old = self._gram, self._moment, self._squares
        super()._fit(contexts, actions, targets)
        added = (self._gram - old[0], self._moment - old[1], self._squares - old[2])
        self._batches.append((len(actions), *added))
        size = sum(n for n, *_ in self._batches)
        while len(self._batches) > 1 and size > self.window:
            gone, gram, moment, squares = self._batches.pop(0)
            self._gram, self._moment = self._gram - gram, self._moment - moment
            self._squares -= squares
            # The caller adds this batch to what it has seen.
            self._seen, size = self._seen - gone, size - gone
        self.theta = cho_solve(self._factor(), self._moment)

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore `arrays`."""
        super().set_arrays(arrays)
        self._batches = [(int(self._seen), self._gram, self._moment, self._squares)]
