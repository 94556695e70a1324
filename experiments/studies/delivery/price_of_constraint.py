"""Study: what does a rule cost, and does an agent that knows it pay less than one that is clipped?

In every storefront world one agent learns without rules. From there all go on for equally many
decisions: one free, and for each limit another under it: a frequency cap as a mask, a budget of
sends as a mean over users with a price, a floor of exposure for the product that the free agent
shows least. The free agent meets the same limits by clipping: sends beyond the cap are held, and a
person's first sends go to the floor's product.

Records: ``rule`` (``budget``, ``cap``, ``floor``; null: none), ``limit`` and ``policy``
(``constrained``, ``clipped``, ``free``) with the delivery metrics; ``used``, what was consumed as a
share of the limit; ``price`` of constrained agents, in reward a send.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.agents.delivery.base import Agent, State, load_agent, sample_actions
from copygym.agents.delivery.sb3 import SB3Agent
from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.evaluation.metrics import Episodes
from copygym.evaluation.records import Records, Rows
from copygym.evaluation.rollout import Setting, evaluate
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import Policy, environment, instantiated
from copygym.experiments.studies.delivery.cells import point_values
from copygym.experiments.studies.delivery.delivery import Prepared, learning_env, prepare
from copygym.experiments.studies.delivery.price_of_constraint_report import report
from copygym.experiments.studies.learning import ONE_SEED, file_name, learn
from copygym.experiments.studies.people import GOLD, has_truth
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.envs.logs.catalogue import Catalogue

__all__ = ["check", "report", "seed_records"]

RULES = ("budget", "cap", "floor")
#: The agent that all others go on from.
_START = "start"
#: Policy, rule and limit.
_Cell = tuple[str, str | None, int | None]
_OVER_SEEDS = (
    "intervals are over {count} worlds, each with one seed of its people, log, fit, learning and "
    "luck."
)


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    if not has_truth(config):
        raise UserError(
            f"dataset={config['data']['name']}: what a rule costs is measured in a synthetic "
            "world, such as storefront, whose truth is known."
        )
    for rule in RULES:
        limits = config["limits"].get(rule) or []
        whole = all(isinstance(limit, int) and limit >= 1 for limit in limits)
        if not (isinstance(limits, list) and whole):
            raise UserError(
                f"limits.{rule} is {limits!r}; give a list of whole numbers, 1 or more."
            )
    for name in ("free", "constrained"):
        if not isinstance(Policy(name, config["agents"][name]).make(), SB3Agent):
            raise UserError(f"agents.{name} has no network to go on with: choose one of SB3, such "
                            "as maskable_ppo.")  # fmt: skip
    instantiated(config["reward"], "reward")
    environment(config)


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return one world's records.

    Config keys: ``agents.free``, ``agents.constrained`` (with ``budget`` and ``floors``),
    ``limits`` (rule -> sends a user), ``learn.steps`` with ``learn.shared``, the share of them
    that all agents spend in common and free, and those of `delivery.prepare`.
    """
    world = prepare(config, folder)
    lab = _Lab(config, world, folder, trackers)
    catalogue = world.fitted.users.catalogue
    free, limits = config["agents"]["free"], config["limits"]
    lab.begin(free)
    played: dict[_Cell, Episodes] = {("free", None, None): lab.learned("free", free)}
    product = _least_shown(played["free", None, None], catalogue)
    prices: dict[_Cell, float] = {}
    constrained = {**config["agents"]["constrained"], "budget": None, "floors": {}}
    for rule in RULES:
        for limit in limits.get(rule) or []:
            name = f"{rule} {limit}"
            cell: _Cell = ("constrained", rule, limit)
            caps = [[int(config["env"]["horizon"]), int(limit)]]
            if rule == "cap":
                played[cell] = lab.learned(name, free, caps)
                played["clipped", rule, limit] = lab.played(f"{name} clipped", "free", caps)
                continue
            own = {"budget": float(limit)} if rule == "budget" else {"floors": {product: limit}}
            played[cell] = lab.learned(name, {**constrained, **own})
            prices[cell] = next(iter(lab.agent(name).settings()["prices"].values()))
            played["clipped", rule, limit] = (
                lab.played(f"{name} clipped", "free", caps)
                if rule == "budget"
                else lab.played(f"{name} clipped", "free", floor=(product, int(limit)))
            )
    rows = Rows(int(config["seed"]))
    values = point_values({str(cell): episodes for cell, episodes in played.items()})
    for cell, episodes in played.items():
        at: dict[str, Any] = dict(zip(("policy", "rule", "limit"), cell, strict=True))
        rows.add_all(values[str(cell)], **at)
        if at["limit"] is not None:
            of = episodes.creatives
            if at["rule"] == "floor":
                of = of[:, np.array(catalogue.product_ids) == product]
            rows.add("used", float(of.sum(axis=1).mean() / at["limit"]), **at)
        if cell in prices:
            rows.add("price", prices[cell], **at)
    told = about(
        config,
        world.origin(),
        synthetic=True,
        one_seed=ONE_SEED,
        over_seeds=_OVER_SEEDS,
        steps=int(config["learn"]["steps"]),
        users=len(world.setting.rows),
        horizon=int(config["env"]["horizon"]),
        judge=GOLD,
    )
    return Records(rows.frame, {rows.seed: told})


@dataclass(frozen=True)
class _GoesOn(Policy):
    """An agent that begins with the network of another one, saved in a folder."""

    start: Path

    def make(self) -> Agent:
        """Return the agent with that network."""
        agent, first = super().make(), load_agent(self.start)
        assert isinstance(agent, SB3Agent)
        assert isinstance(first, SB3Agent)
        agent.policy = first.policy
        return agent


class _Lab:
    """Where agents learn and are judged under limits, each in a stage of its own."""

    def __init__(
        self,
        config: Mapping[str, Any],
        world: Prepared,
        folder: RunFolder,
        trackers: Trackers,
    ) -> None:
        self.config, self.world, self.folder, self.trackers = config, world, folder, trackers
        self._steps = int(config["learn"]["steps"])
        self._shared = round(float(config["learn"]["shared"]) * self._steps)

    def begin(self, agent: Mapping[str, Any]) -> None:
        """Let the agent that all others go on from learn."""
        self._learn(Policy(_START, agent), None, self._shared)

    def learned(
        self, name: str, agent: Mapping[str, Any], caps: list[list[int]] | None = None
    ) -> Episodes:
        """Let an agent learn under caps, and return what it does to the people who judge."""
        start = self.folder.file("agents", _START)
        self._learn(_GoesOn(name, agent, start), caps, self._steps - self._shared)
        return self.played(name, name, caps)

    def _learn(self, policy: Policy, caps: list[list[int]] | None, steps: int) -> None:
        env = learning_env(self.world.fitted.users, self._under(caps))
        # All learn with the same seeds, so that only the limit differs.
        seed = derived_seed(self.config["seed"], "learn", str(policy.name == _START))
        learn(policy, env, max(1, steps), seed, self.folder, self.trackers)
        env.close()

    def played(
        self,
        name: str,
        agent: str,
        caps: list[list[int]] | None = None,
        floor: tuple[str, int] | None = None,
    ) -> Episodes:
        """Return what a saved agent does under caps, or with its first sends for a product."""

        def compute() -> Record:
            own = self.agent(agent)
            if floor is not None:
                own = _Filling(own, self.world.setting, *floor)
            setting = replace(self.world.setting, environment=environment(self._under(caps)))
            episodes, _ = evaluate(own, setting)
            arrays = {"users": episodes.users, "totals": episodes.totals}
            return Record({}, {**arrays, "creatives": episodes.creatives})

        arrays = self.folder.stage(f"evaluate/{file_name(name)}", compute).arrays
        return Episodes(arrays["users"], arrays["totals"], arrays["creatives"])

    def agent(self, name: str) -> Agent:
        """Return a saved agent."""
        return load_agent(self.folder.file("agents", file_name(name)))

    def _under(self, caps: list[list[int]] | None) -> dict[str, Any]:
        return {**self.config, "env": {**self.config["env"], "caps": caps}}


class _Filling(Agent):
    """An agent whose first sends to each person go to one product: a floor met by force."""

    def __init__(self, agent: Agent, setting: Setting, product: str, sends: int) -> None:
        catalogue = setting.users.catalogue
        self.agent, self.sends = agent, sends
        self._own = np.flatnonzero(np.array(catalogue.product_ids) == product)
        self._catalogue = catalogue

    def propensities(
        self, obs: np.ndarray, mask: np.ndarray, state: State | None = None
    ) -> np.ndarray:
        """Return (N, A) float64."""
        wanted = self.agent.propensities(obs, mask, state)
        n, catalogue = len(wanted), self._catalogue
        seen = np.expm1(obs[:, -catalogue.n_creatives :])[:, self._own].sum(axis=1)
        by_channel = wanted[:, 1:].reshape(n, -1, catalogue.n_channels).sum(axis=1)
        forced = np.zeros_like(wanted)
        forced[:, 0] = wanted[:, 0]
        first = catalogue.action(int(self._own[0]), 0)
        forced[:, first : first + catalogue.n_channels] = by_channel
        forced = np.where(mask, forced, 0.0)
        forced[:, 0] += 1.0 - forced.sum(axis=1)
        return np.where((np.rint(seen) < self.sends)[:, None], forced, wanted)

    def act(
        self,
        obs: np.ndarray,
        mask: np.ndarray,
        rng: np.random.Generator,
        state: State | None = None,
    ) -> np.ndarray:
        """Draw one action a row, (N,) int64."""
        return sample_actions(self.propensities(obs, mask, state), rng)

    def learn(self, *_: Any, **__: Any) -> None:
        """Nothing: the agent has learned."""

    def save(self, folder: Any) -> None:
        """Nothing: it lives for one evaluation."""
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Any) -> Agent:
        """Nothing: it is not saved."""
        raise NotImplementedError


def _least_shown(episodes: Episodes, catalogue: Catalogue) -> str:
    """Return the product that gets the fewest sends."""
    products, product_K = np.unique(np.array(catalogue.product_ids), return_inverse=True)
    sends = np.bincount(product_K, weights=episodes.creatives.sum(axis=0))
    return str(products[int(sends.argmin())])
