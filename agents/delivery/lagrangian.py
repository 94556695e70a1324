"""An agent that meets a budget of sends or currency, and floors of exposure, at a learned price.

Proximal policy optimisation on the Lagrangian: each constraint has a price (its multiplier), the
agent is paid reward - price x consumption, and after every rollout the prices move by dual ascent
towards what makes consumption meet its limit (Tessler, Mankowitz and Mannor 2019, "Reward
constrained policy optimization"; Ray, Achiam and Amodei 2019, "Benchmarking safe exploration").
The last policy of dual ascent is only near its limit, so that at the end the logits of hold
and of a floor's product are shifted until both are met on the users it learned with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from copygym.agents.delivery.base import OnProgress, Progress
from copygym.agents.delivery.sb3 import Report, SB3Agent
from copygym.core.errors import UserError, unknown_name

if TYPE_CHECKING:
    from copygym.envs.delivery import DeliveryVectorEnv
    from copygym.envs.people.outcome import Outcome

_SPENDS = ("sends", "cost")
#: Share of the latest rollout in the running means that prices follow.
_NEW = 0.3
#: Users, batches of them at most and halvings with which a shift is found; its farthest logits.
_USERS, _BATCHES, _HALVINGS, _FARTHEST = 2048, 16, 11, 8.0


class LagrangianAgent(SB3Agent):
    """Earns the most that a budget and floors allow, all of them means over users.

    Unlike ``env.budget``, which is a hard limit for each user, the budget is shared: those who
    answer better get more of it.

    Args:
        budget: what a user's episode may consume on average; None is no budget.
        spends: what is counted: ``sends``, or ``cost`` in currency.
        floors: product -> sends that it gets at least, mean of a user's episode.
        dual_rate: by how much a price moves after a rollout that consumed twice its limit, in
            units of what a send earned in the first one.
        prices: where the prices begin; None: at 0. After learning they are the learned ones.
        algorithm: ppo, maskable_ppo or a2c.
        hyperparameters, net_arch, normalize_reward, bootstrap_at_horizon, deterministic,
            deploy_epsilon, device, name, activation: as in `SB3Agent`.

    Attributes:
        prices: ``budget`` and products -> price, in reward per unit of consumption: what a little
            more of the budget would earn, and what a send of a floor costs.
    """

    def __init__(
        self,
        budget: float | None = None,
        spends: str = "sends",
        floors: Mapping[str, float] | None = None,
        dual_rate: float = 0.1,
        prices: Mapping[str, float] | None = None,
        algorithm: str = "maskable_ppo",
        hyperparameters: Mapping[str, Any] | None = None,
        net_arch: Sequence[int] | Mapping[str, Sequence[int]] = (64, 64),
        normalize_reward: bool = True,
        bootstrap_at_horizon: bool = False,
        deterministic: bool = True,
        deploy_epsilon: float = 0.0,
        device: str = "auto",
        name: str | None = "lagrangian",
        activation: str | None = None,
    ) -> None:
        if spends not in _SPENDS:
            raise unknown_name("agent.spends", spends, list(_SPENDS))
        if algorithm == "dqn":
            raise UserError("agent.algorithm is dqn, which has no rollouts to set prices by; "
                            "choose maskable_ppo, ppo or a2c.")  # fmt: skip
        self.floors = {str(key): float(value) for key, value in (floors or {}).items()}
        for key, value in {"budget": budget, "dual_rate": dual_rate, **self.floors}.items():
            if value is not None and not value > 0:
                raise UserError(f"agent: {key} is {value}; give a number above 0.")
        super().__init__(
            algorithm, hyperparameters, net_arch, normalize_reward, bootstrap_at_horizon,
            deterministic, deploy_epsilon, device, name, activation,
        )  # fmt: skip
        self.budget = None if budget is None else float(budget)
        self.spends, self.dual_rate = spends, float(dual_rate)
        self.prices = {str(key): float(value) for key, value in (prices or {}).items()}
        self._priced: _Priced | None = None

    def learn(
        self,
        venv: DeliveryVectorEnv,
        steps: int,
        *,
        seed: int,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Learn policy and prices from about ``steps`` transitions, then meet the budget exactly.

        Raises:
            UserError: a floor names a product that there is not.
        """
        self._priced = _Priced(venv, self)
        super().learn(self._priced, steps, seed=seed, on_progress=on_progress)  # type: ignore[arg-type]
        self.prices = self._priced.mean_prices()
        self._meet(venv, seed, self._priced)
        self._priced = None

    def _report(self, progress: Progress) -> Report:
        assert self._priced is not None
        return _Dual(progress, self._priced)

    def _meet(self, venv: DeliveryVectorEnv, seed: int, priced: _Priced) -> None:
        """Shift logits until the users that it learned with meet the floors, then the budget.

        A floor lifts the logits of its product's sends, a budget that of hold. What is met without
        a price stays as it is.
        """
        assert self.policy is not None
        head: Any = self.policy.action_net
        bias: torch.Tensor = head.bias.data
        for column in (
            [*range(1, len(priced.names)), 0] if self.budget else range(len(priced.names))
        ):
            is_budget = self.budget is not None and column == 0
            own = torch.as_tensor([0] if is_budget else priced.actions(column))
            start, limit = bias[own].clone(), priced.limits[column]

            def missed(shift: float, own: torch.Tensor = own, start: torch.Tensor = start,
                       column: int = column, limit: float = limit) -> bool:  # fmt: skip
                bias[own] = start + shift
                return bool(self._consumed(venv, seed, priced)[column] > limit)

            if not missed(0.0) and not (is_budget and priced.now()["budget"] > 0):
                continue
            low, high = (-_FARTHEST if is_budget else 0.0), _FARTHEST
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                low, high = (middle, high) if missed(middle) else (low, middle)
            bias[own] = start + high

    def _consumed(self, venv: DeliveryVectorEnv, seed: int, priced: _Priced) -> np.ndarray:
        """Return what a user's episode consumes of each constraint, on the same users and luck."""
        total = np.zeros(len(priced.names))
        rng = np.random.default_rng(seed)
        batches = min(-(-_USERS // venv.num_envs), _BATCHES)
        for batch in range(batches):
            obs, info = venv.reset(seed=seed + 1 + batch * venv.num_envs)
            alive = np.ones(venv.num_envs, dtype=bool)
            for _ in range(venv.horizon):
                actions = self.act(obs, info["action_mask"], rng)
                obs, _, terminated, truncated, info = venv.step(actions)
                total += priced.consumption(info["outcome"])[alive].sum(axis=0)
                alive &= ~(terminated | truncated)
        return total / (batches * venv.num_envs)


class _Priced:
    """A `DeliveryVectorEnv` whose rewards are less what they consume at the present prices."""

    def __init__(self, venv: DeliveryVectorEnv, agent: LagrangianAgent) -> None:
        self.venv, self.agent = venv, agent
        catalogue = venv.users.catalogue
        for product in agent.floors:
            if product not in catalogue.product_ids:
                raise unknown_name(
                    "product of agent.floors", product, [*set(catalogue.product_ids)]
                )
        self.names = ["budget"] * (agent.budget is not None) + list(agent.floors)
        limits = [agent.budget] if agent.budget is not None else []
        # A floor is a budget of less than nothing: it consumes minus one a send.
        self.limits = np.array([*limits, *(-value for value in agent.floors.values())])
        self._product = np.array(catalogue.product_ids)
        self._price = np.array([agent.prices.get(name, 0.0) for name in self.names])
        self._sums = np.zeros(len(self.names))
        self._reward = self._episodes = self._sends = 0.0
        self._mean: np.ndarray | None = None
        self._unit = 0.0
        self._trace: list[np.ndarray] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.venv, name)

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        """Step, charge, and count."""
        obs, reward, terminated, truncated, info = self.venv.step(actions)
        table = self.consumption(info["outcome"])
        self._sums += table.sum(axis=0)
        self._reward += float(reward.sum())
        self._sends += float(info["outcome"].sent.sum())
        self._episodes += float((terminated | truncated).sum())
        return obs, reward - table @ self._price, terminated, truncated, info

    def consumption(self, outcome: Outcome) -> np.ndarray:
        """Return what each row's step consumed of each constraint, (N, C) float64."""
        shown = self._product[outcome.creative]
        columns = [
            _spending(outcome, self.agent.spends)
            if name == "budget" and self.agent.budget is not None
            else -(outcome.sent & (shown == name)).astype(np.float64)
            for name in self.names
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((len(outcome.sent), 0))

    def actions(self, column: int) -> np.ndarray:
        """Return the sends of a floor's product, int64."""
        creative = self.venv.users.catalogue.creative_of_action
        return np.flatnonzero((creative >= 0) & (self._product[creative] == self.names[column]))

    def ascend(self) -> None:
        """Move the prices by what was consumed since the last time."""
        if not self._episodes or not self.names:
            return
        per_user = self._sums / self._episodes
        if self._mean is not None:
            per_user = _NEW * per_user + (1 - _NEW) * self._mean
        self._mean = per_user
        self._unit = self._unit or abs(self._reward) / max(self._sends, 1.0) or 1.0
        excess = (per_user - self.limits) / np.abs(self.limits)
        self._price = np.maximum(
            0.0, self._price + self.agent.dual_rate * self._unit * np.clip(excess, -1, 1)
        )
        self._trace.append(self._price)
        self._sums, self._reward, self._episodes = np.zeros(len(self.names)), 0.0, 0.0

    def now(self) -> dict[str, float]:
        """Return the present prices."""
        return dict(zip(self.names, self._price.tolist(), strict=True))

    def mean_prices(self) -> dict[str, float]:
        """Return the mean prices of the second half, as those of the last rollouts still swing."""
        if not self._trace:
            return self.now()
        mean = np.mean(self._trace[len(self._trace) // 2 :], axis=0)
        return dict(zip(self.names, mean.tolist(), strict=True))


class _Dual(Report):
    """Reports, and moves the prices after every rollout."""

    def __init__(self, progress: Progress, priced: _Priced) -> None:
        super().__init__(progress)
        self._priced = priced

    def _metrics(self) -> dict[str, float]:
        return {f"price_{name}": price for name, price in self._priced.now().items()}

    def _on_rollout_end(self) -> None:
        self._priced.ascend()


def _spending(outcome: Outcome, spends: str) -> np.ndarray:
    """Return what each row's step consumed, (N,) float64."""
    return outcome.cost if spends == "cost" else outcome.sent.astype(np.float64)


__all__ = ["LagrangianAgent"]
