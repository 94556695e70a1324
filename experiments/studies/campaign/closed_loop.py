"""Study E14: what does closing the loop buy?

A marketer's log comes first. Then, round by round, most people of a storefront world are sent what
a policy chooses, a control group what the marketer would have sent, and the answers of both flow
back: never (one-shot), into a new fit every few rounds (periodic), or every round into profiles
and posterior (continual), with draws from that posterior (exploration) or without. The worlds' own
truth judges; all arms meet the same people with the same luck.

Records: by ``tastes`` (how the world moves), ``policy`` and ``round`` (null: all of them together)
rewards and clicks, the regret to a policy that knows the truth, what the simulator promised of the
sends against what was true; ``versus`` one-shot, and of the control group the drift alarm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.envs.datasets.storefront import make_world
from copygym.envs.datasets.storefront_log import SLOT_HOURS, Stream
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.people.outcome import Outcome
from copygym.envs.simulator.fit import fit_users
from copygym.envs.simulator.fitted import FittedUsers
from copygym.envs.simulator.population import simulate
from copygym.envs.simulator.update import NewRows, People, read_new, update_users
from copygym.envs.storefront.people import generator
from copygym.envs.storefront.world import ASSUMPTION, StorefrontWorld
from copygym.evaluation.abtest.drift import DriftAlarm, residual_sums
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import known_options
from copygym.experiments.studies.campaign.closed_loop_report import report
from copygym.experiments.studies.campaign.rounds import Pacing, explored, reward, tuned
from copygym.experiments.studies.data import describe
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

__all__ = ["check", "report", "seed_records"]

MARKETER, TRUTH = "marketer", "truth"
ONE_SHOT, PERIODIC, CONTINUAL, GREEDY = (
    "one-shot", "periodic", "continual", "continual without exploration",
)  # fmt: skip
#: Arms: the two references first.
ARMS = (TRUTH, MARKETER, ONE_SHOT, PERIODIC, CONTINUAL, GREEDY)


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    if config["data"]["name"] != "storefront":
        raise UserError(
            f"dataset={config['data']['name']}: a loop is closed in storefront alone, where people "
            "answer; for a log of your own see copygym update."
        )
    loop = config["loop"]
    for name in ("rounds", "slots", "every"):
        if int(loop[name]) < 1:
            raise UserError(f"loop.{name}={loop[name]}: give at least 1.")
    if not 0 < float(loop["control"]) < 1:
        raise UserError(f"loop.control={loop['control']}: give a share of people between 0 and 1.")
    if not _worlds(config):
        raise UserError("loop.worlds is empty: name at least one way in which tastes move.")


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return the records of one world, moving in each of the ways of ``loop.worlds``.

    A stage for each round keeps what was sent, so that a loop that was stopped goes on from its
    last round: what came of the sends is simulated again, the decisions are not made again.
    """
    rows = Rows(int(config["seed"]))
    data: dict[str, Any] = {}
    for tastes, changed in _worlds(config).items():
        loop = Loop(config, folder, tastes, changed)
        found = {
            arm: folder.stage(f"{tastes}/{arm}", partial(loop.play, arm)).values for arm in ARMS
        }
        data[str(tastes)] = describe(loop.log)
        _add(rows, str(tastes), found)
    told = about(
        config,
        {"data": data, "assumptions": [ASSUMPTION, _CHOSEN]},
        synthetic=True,
        one_seed="there is one seed of one world: nothing here says how much of it is luck.",
        over_seeds="intervals are over {count} worlds, each with its own people, log and fits.",
        statistics={"default": "mean"},
        loop={key: value for key, value in config["loop"].items() if key != "worlds"},
    )
    return Records(rows.frame, {rows.seed: told})


def _worlds(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return options of the worlds by how tastes move in them; a null leaves one out."""
    worlds = config["loop"]["worlds"]
    return {str(name): dict(options) for name, options in worlds.items() if options is not None}


_CHOSEN = "how fast tastes move and what a leaver costs are chosen, not measured."


class Loop:
    """A world, its marketer's log and the first fit: what all arms begin with.

    Args:
        config: of the run.
        folder: keeps the rounds.
        tastes: name of the way in which the world moves.
        changed: options of the world that make it so.
    """

    def __init__(
        self, config: Mapping[str, Any], folder: RunFolder, tastes: str, changed: dict[str, Any]
    ) -> None:
        self.config, self.folder, self.tastes = config, folder, tastes
        self.own, self.seed = config["loop"], int(config["seed"])
        options = {k: v for k, v in config["data"].items() if k not in ("name", "path", "seed")}
        self._before = int(options.pop("n_slots"))
        known_options(make_world, options | changed, "data option")
        self.world: StorefrontWorld = make_world(self.seed, **options | changed)
        ids = self.world.user_ids
        share = generator(self.seed, "control group").random(len(ids))
        self.control = share < float(self.own["control"])
        self._end = self._before + int(self.own["slots"]) * int(self.own["rounds"])
        stream = Stream(self.world, self._end, self.seed)
        self.log = self._log(stream, [self._step(stream, None) for _ in range(self._before)])
        self.fitted = self._fit(self.log)
        self.people = People.of(self.fitted.profile_builder, self.log)

    def play(self, arm: str) -> Record:
        """Return an arm's numbers, a list over rounds each."""
        stream = Stream(self.world, self._end, self.seed)
        for _ in range(self._before):
            self._step(stream, None)
        fitted, people, logs = self.fitted, self.people, [self.log]
        luck = np.random.default_rng(derived_seed(self.seed, "exploration"))
        policy: Pacing | None = None
        alarm = DriftAlarm(float(self.own["alpha"]))
        found: dict[str, list[float]] = {}
        for index in range(int(self.own["rounds"])):
            if arm != MARKETER and (policy is None or arm not in (TRUTH, ONE_SHOT)):
                policy = self._policy(arm, stream, fitted, people, luck)
            played: list[_Played] = []
            decide = partial(self._decide, stream, policy, played)
            sent = self.folder.stage(f"{self.tastes}/{arm}/round-{index + 1}", decide)
            # A round that was played before is only simulated again.
            played = played or [self._step(stream, a) for a in sent.arrays["actions"]]
            log = self._log(stream, played)
            # What is promised of the control group, by the first fit, is what the alarm watches.
            new = read_new(fitted, people, log)
            numbers = self._numbers(played) | self._promised(new, fitted)
            if arm == MARKETER:
                numbers["log_e"] = alarm.update(*self._residuals(new, fitted))
            for key, value in numbers.items():
                found.setdefault(key, []).append(value)
            logs.append(log)
            if arm in (CONTINUAL, GREEDY):
                update = update_users(fitted, people, log, keep=float(self.own["keep"]), new=new)
                fitted, people = update.users, update.people
            elif arm == PERIODIC and (index + 1) % int(self.own["every"]) == 0:
                whole = log.with_frame(pl.concat([part.frame for part in logs]))
                fitted = self._fit(whole)
                people = People.of(fitted.profile_builder, whole)
        return Record({**found, "alarm": alarm.alarm})

    def _policy(
        self,
        arm: str,
        stream: Stream,
        fitted: FittedUsers,
        people: People,
        luck: np.random.Generator,
    ) -> Pacing:
        price, thresholds = float(self.own["price"]), [float(x) for x in self.own["thresholds"]]
        if arm == TRUTH:
            return tuned(stream.users, thresholds, price, self.seed, knows_drift=True)
        profiles = fitted.profile_builder.profiles(people.profiles, self.world.user_ids)
        best = tuned(simulate(fitted, profiles), thresholds, price, self.seed)
        if arm not in (PERIODIC, CONTINUAL):
            return best
        draws, scale = int(self.own["draws"]), float(self.own["scale"])
        return replace(best, users=explored(fitted, profiles, draws, scale, luck))

    def _decide(self, stream: Stream, policy: Pacing | None, played: list[_Played]) -> Record:
        for _ in range(int(self.own["slots"])):
            actions = None if policy is None else policy.act(stream.state)[0]
            played.append(self._step(stream, actions))
        return Record({}, {"actions": np.stack([step.actions for step in played])})

    def _step(self, stream: Stream, actions: np.ndarray | None) -> _Played:
        """Let a slot pass: the control group, or all (None), get what the marketer sends."""
        rng = np.random.default_rng(derived_seed(self.seed, f"slot {stream.t}"))
        marketer = stream.marketer(rng)
        sent = marketer if actions is None else np.where(self.control, marketer, actions)
        there = stream.subscribed
        frame, outcome = stream.step(sent, rng.random(len(sent)))
        return _Played(sent.astype(np.int32), frame, outcome, there)

    def _log(self, stream: Stream, played: list[_Played]) -> ClickLog:
        frame = stream.with_people([step.frame for step in played])
        return ClickLog.from_frame(frame, name="storefront", synthetic=True, notes=(ASSUMPTION,))

    def _fit(self, log: ClickLog) -> FittedUsers:
        settings = {key: value for key, value in self.config["users"].items() if key != "_target_"}
        settings |= {"seed": derived_seed(self.seed, "fit"), "slot_hours": float(SLOT_HOURS)}
        return fit_users(log, catalogue=self.world.catalogue, **settings)

    # ---------------------------------------------------------------- what came of a round

    def _numbers(self, played: list[_Played]) -> dict[str, float]:
        """Return sums per person of the treated, true chances in place of luck."""
        treated, price = ~self.control, float(self.own["price"])
        size = float(treated.sum())
        total = dict.fromkeys(("reward", "clicks", "sends", "left", "true"), 0.0)
        for step in played:
            here, outcome = treated & step.there, step.outcome
            clicks = outcome.click_probability * outcome.sent
            total["reward"] += float(reward(outcome, price)[here].sum()) / size
            total["clicks"] += float(clicks[here].sum()) / size
            total["sends"] += float(outcome.sent[here].sum()) / size
            total["left"] += float(outcome.unsubscribe[here].sum()) / size
        total["true"] = total["clicks"] / max(total["sends"], 1e-9)
        return total

    def _promised(self, new: NewRows, fitted: FittedUsers) -> dict[str, float]:
        """Return the chance of a click that was promised of the treated people's sends."""
        treated = ~self.control[self.world.rows_of(new.profiles.user_ids)]
        chance = 1.0 / (1.0 + np.exp(-new.logit(fitted.response)))
        here = treated[new.rows.user]
        return {"promised": float(chance[here].mean()) if here.any() else 0.0}

    def _residuals(
        self, new: NewRows, fitted: FittedUsers
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the residuals by topic of everybody whom the marketer sent something."""
        rows, catalogue = new.rows, self.world.catalogue
        chance = 1.0 / (1.0 + np.exp(-new.logit(fitted.response)))
        topic = catalogue.topic_of_action[rows.action].astype(np.int64)
        return residual_sums(
            rows.user.astype(np.int64), topic, len(catalogue.topics),
            rows.trials.astype(np.float64), rows.clicks - rows.trials * chance,
        )  # fmt: skip


class _Played(NamedTuple):
    """A slot that has passed: what was sent, the log's rows, what came of it, who was there."""

    actions: np.ndarray
    frame: pl.DataFrame
    outcome: Outcome
    there: np.ndarray


def _add(rows: Rows, tastes: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Add all arms' numbers: by round, and over all rounds, with differences from one-shot."""
    per_round = ("reward", "clicks", "sends", "left", "promised", "true", "regret", "gap")
    totals: dict[str, dict[str, float]] = {}
    for arm in ARMS:
        own = {key: np.array(value) for key, value in found[arm].items() if key in per_round}
        own["regret"] = np.array(found[TRUTH]["reward"]) - own["reward"]
        if arm == TRUTH:
            own.pop("promised")  # it believes no simulator
        else:
            own["gap"] = own["promised"] - own["true"]
        for key, values in own.items():
            rows.add_lines(
                key, "round", range(1, len(values) + 1), values, tastes=tastes, policy=arm
            )
        sums = ("reward", "clicks", "sends", "left", "regret")
        totals[arm] = {key: float(own[key].sum()) for key in sums}
        if arm != TRUTH:
            totals[arm]["gap"] = float(own["gap"].mean())
        rows.add_all(totals[arm], tastes=tastes, policy=arm)
    base = totals[ONE_SHOT]
    for arm in (PERIODIC, CONTINUAL, GREEDY):
        less: dict[str, float | None] = {key: totals[arm][key] - base[key] for key in base}
        earned = base["reward"]
        less["reward_ratio"] = totals[arm]["reward"] / earned - 1.0 if earned > 0 else None
        rows.add_all(less, tastes=tastes, policy=arm, versus=ONE_SHOT)
    watched = found[MARKETER]
    rows.add("alarm", float(watched["alarm"] is not None), tastes=tastes)
    rows.add_lines("log_e", "round", range(1, len(watched["log_e"]) + 1), watched["log_e"],
                   tastes=tastes)  # fmt: skip
