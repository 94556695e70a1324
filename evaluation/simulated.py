"""The front door to evaluation in simulated users: an agent, people, and metrics with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from copygym.agents.delivery.base import Agent
from copygym.core.errors import UserError
from copygym.core.estimates import RESAMPLES, Estimate
from copygym.envs.people.model import UserModel
from copygym.envs.people.outcome import RewardFunction
from copygym.evaluation.metrics import Episodes, policy_metrics
from copygym.evaluation.rollout import Setting, rows_of
from copygym.evaluation.rollout import evaluate as play


@dataclass(frozen=True)
class Evaluation:
    """What an agent achieved, and by how much it differs from a baseline on the same people.

    Attributes:
        agent: name.
        users: how many people it met.
        metrics: name -> value with its 95% interval over people; `metrics.METRICS` has the names,
            the module's docstring their meaning and units.
        baseline: name; None where there is none.
        differences: name -> agent less baseline, paired by person; None where there is none.
        episodes: totals by person, for statistics of your own.
    """

    agent: str
    users: int
    metrics: dict[str, Estimate]
    baseline: str | None
    differences: dict[str, Estimate] | None
    episodes: Episodes

    def __repr__(self) -> str:
        against = "" if self.baseline is None else f" against {self.baseline!r}"
        ctr = self.metrics["ctr"]
        return f"Evaluation({self.agent!r}{against}, {self.users} users, ctr {ctr:.4f})"


def evaluate(
    agent: Agent,
    users: UserModel,
    *,
    baseline: Agent | None = None,
    horizon: int = 28,
    reward: RewardFunction | None = None,
    budget: float | None = None,
    n_users: int | None = None,
    episodes: int = 1,
    seed: int = 0,
    resamples: int = RESAMPLES,
    num_envs: int = 1024,
) -> Evaluation:
    """Let an agent act on simulated users and return metrics with intervals.

    With the same users and seed every agent meets the same people with the same luck, so that
    evaluations of several agents are comparable, and differences from ``baseline`` are paired.

    Args:
        agent: trained; it does not learn here.
        users: people to act on, such as those of `held_out_users`.
        baseline: agent to compare with, such as `LoggingAgent`.
        horizon: slots per episode; that of the agent's training.
        reward: reward shape of ``reward_per_user``; None: one per click.
        budget: currency per person and episode; None: no limit.
        n_users: how many people, drawn without replacement; None: all.
        episodes: per person, averaged.
        seed: of the people's luck, the draw of people and the bootstrap.
        resamples: of the bootstrap over people.
        num_envs: people simulated at once.

    Raises:
        UserError: nobody to act on, or an agent of other users.
    """
    for name, value in (("n_users", n_users), ("episodes", episodes), ("horizon", horizon)):
        if value is not None and value < 1:
            raise UserError(f"evaluate: {name} is {value}; give 1 or more.")
    rows = rows_of(len(users), n_users, seed)
    setting = Setting(users, rows, horizon, reward, budget, episodes, seed, num_envs)
    played = {"agent": play(agent, setting)[0]}
    if baseline is not None:
        played["baseline"] = play(baseline, setting)[0]
    # Without a baseline the agent is its own, from which nothing differs.
    found = policy_metrics(played, [*played][-1], resamples=resamples, seed=seed)
    return Evaluation(
        agent=agent.name,
        users=len(rows),
        metrics=_estimates(found["metrics"]["agent"]),
        baseline=None if baseline is None else baseline.name,
        differences=None if baseline is None else _estimates(found["differences"]["agent"]),
        episodes=played["agent"],
    )


def _estimates(tree: dict[str, Any]) -> dict[str, Estimate]:
    return {name: Estimate(**entry) for name, entry in tree.items()}
