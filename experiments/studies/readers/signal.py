"""Study: does it matter who reads which text, and what is choosing by the reader worth?

The card of text x reader signal: on readers that no fit saw, how much better are clicks predicted
where text and profile may meet than where both count on their own? Where a log's texts were drawn
at random with known chances, the causal question beside it: what is sending each reader the text
that suits the profile worth over the one text that is best for everybody? Control: both again with
profiles permuted among the readers, which must give nothing.

Records: ``loss`` and ``gain`` (nats a send) and ``gain_share`` by ``profiles`` (own, permuted);
each outcome by ``policy`` and ``estimator``, ``versus`` the best text for everybody on paired
differences; the ``share`` of readers who get each ``text``. NAME_low and NAME_high are the ends of
the interval over readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from copygym.core.errors import UserError, unknown_name
from copygym.core.seeds import derived_seed
from copygym.envs.profiles.builder import ProfileBuilder, Profiles
from copygym.evaluation.ope.decisions import OUTCOMES, decisions
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import instantiated
from copygym.experiments.studies.data import load_log, same_data, seen
from copygym.experiments.studies.readers.choice import (
    Choices,
    best_text,
    choice_values,
)
from copygym.experiments.studies.readers.signal_report import (
    BEST,
    OWN,
    PERMUTED,
    PROFILE,
    RANDOM,
    SHUFFLED,
    report,
)
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers
from copygym.rewards.ctr.sends import ReaderSends
from copygym.rewards.ctr.signal import learn_readers

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog

__all__ = ["check", "report", "seed_records"]

#: Columns that say which texts stand for the same thing.
_THINGS = ("test_id", "product_id", "brief")
_ASSUMPTIONS = (
    "a log loss tells what can be predicted: that a text causes its clicks follows only where the "
    "texts were drawn at random.",
    "readers are what their profile says; what it leaves out cannot meet a text.",
)
_CHOICE = (
    "the propensities are taken as the log gives them, and what is sent to one reader does not "
    "change another's response.",
)
_ONE_SEED = (
    "intervals cover the readers, not the luck of the folds, of which there is one seed; each "
    "reader is judged by fits that did not see the reader."
)
_OVER_SEEDS = (
    "values are means over {count} draws of the folds, and the ends of intervals are means of "
    "theirs, each over readers: other folds of the same readers are no new evidence."
)


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    if config["compare"] not in ("log", "product"):
        raise UserError(
            f"compare={config['compare']}: write log (all texts of the log are compared) or "
            "product (those of each product)."
        )
    for column in config["outcomes"]:
        if column not in OUTCOMES:
            raise unknown_name("outcome", str(column), list(OUTCOMES))
    instantiated(config["text"], "text")
    ProfileBuilder(**config["profiles"])


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return the records of one draw of the folds.

    Config keys: ``compare`` (log or product), ``text`` (features), ``profiles`` (options of
    `ProfileBuilder`), ``history_fraction`` (of the time of a log with times, from which profiles'
    histories are made), ``folds`` (of readers, for the choice), ``outcomes`` (columns; those that
    the log has) and ``evaluation.resamples``.
    """
    log = load_log(config["data"])
    data = same_data(folder, log)
    readable = compared(log, str(config["compare"]))
    rows_seen = folder.stage("seen", lambda: Record({"all": seen(readable)})).values
    readers = known_readers(readable, config)
    cards = folder.stage("signal", lambda: Record(_cards(readers, config))).values
    choice = folder.stage("choice", lambda: Record(_choice(readers, config))).values
    rows = Rows(int(config["seed"]))
    for profiles, card in cards.items():
        if card["per_send"] is not None:
            _add(rows, "gain", card["per_send"], profiles=profiles)
            _add(rows, "gain_share", card["share"], profiles=profiles)
            rows.add("loss", card["loss"], profiles=profiles)
        rows.add("found", float(card["found"]), profiles=profiles)
    for policy, by_outcome in choice.get("values", {}).items():
        for outcome, by_estimator in by_outcome.items():
            for estimator, entry in by_estimator.items():
                _add(rows, outcome, entry, policy=policy, estimator=estimator)
    for policy, by_outcome in choice.get("differences", {}).items():
        for outcome, by_estimator in by_outcome.items():
            for estimator, entry in by_estimator.items():
                _add(rows, outcome, entry, policy=policy, estimator=estimator, versus=BEST)
    for policy, shares in choice.get("shares", {}).items():
        for text, share in shares.items():
            rows.add("share", share, policy=policy, text=text)
    told = about(
        config,
        {
            "data": data,
            "rows_seen": rows_seen,
            "notes": list(readable.notes),
            "assumptions": [*_ASSUMPTIONS, *(_CHOICE if choice.get("values") else ())],
        },
        synthetic=log.synthetic,
        one_seed=_ONE_SEED,
        over_seeds=_OVER_SEEDS,
        statistics={"default": "mean"},
        log=log.name,
        compare=str(config["compare"]),
        card=dict(cards),
        outcomes=list(choice.get("values", {}).get(BEST, {})),
        verdicts=choice.get("verdicts", {}),
        no_choice=choice.get("reason", ""),
        names=list(readers.profiles.names),
    )
    return Records(rows.frame, {rows.seed: told})


def _add(rows: Rows, metric: str, number: Mapping[str, Any], **cell: Any) -> None:
    """Add an estimate, and the ends of its interval as numbers of their own.

    Over several seeds an estimate's interval becomes that over seeds; the ends stay over readers.
    """
    rows.add(metric, number, **cell)
    rows.add(f"{metric}_low", number["low"], **cell)
    rows.add(f"{metric}_high", number["high"], **cell)


@dataclass(frozen=True)
class Readers:
    """A log's readers, ready for a fit.

    Attributes:
        log: the log.
        profiles: of its users.
        history_until: microseconds at which the profiles' history ends; None: they have none.
    """

    log: ClickLog
    profiles: Profiles
    history_until: int | None

    def sends(self, log: ClickLog | None = None) -> ReaderSends:
        """Return the sends of the log, or of a part of it."""
        return ReaderSends.from_log(
            log or self.log, self.profiles, history_until=self.history_until
        )

    def permuted(self, seed: int) -> Readers:
        """Return the same readers with each other's profiles."""
        order = np.random.default_rng(seed).permutation(len(self.profiles))
        return replace(
            self, profiles=replace(self.profiles, features=self.profiles.features[order])
        )


def compared(log: ClickLog, compare: str) -> ClickLog:
    """Return the log with texts to compare: of all products, or of each.

    Raises:
        UserError: no users or no text.
    """
    for column, why in (
        ("user_id", "whether it matters who reads cannot be told without readers"),
        ("text", "whether it matters who reads what cannot be told without texts"),
    ):
        if not log.has(column):
            raise UserError(
                f"{log.source or log.name} has no column {column}: {why}; map one with "
                f"+data.columns.{column}=COLUMN."
            )
    if compare == "product":
        return log
    # Without what tells things apart all texts stand for one, and every reader may get any.
    things = [column for column in _THINGS if log.has(column)]
    frame = log.frame.drop(things)
    if log.has("topic"):
        frame = frame.with_columns(topic=pl.lit("all"))
    return log.with_frame(frame)


def known_readers(log: ClickLog, config: Mapping[str, Any]) -> Readers:
    """Return the readers' profiles; histories end before the sends that are predicted."""
    options = dict(config["profiles"])
    timed = log.has("timestamp") and options.get("history", "auto") is not False
    if not timed:
        options["history"] = False
        return Readers(log, ProfileBuilder(**options).fit(log).transform(log), None)
    times = log.frame.select(
        pl.col("timestamp").cast(pl.Int64).quantile(float(config["history_fraction"]), "lower")
    )
    cut = int(times.collect(engine="streaming").item())
    past = log.filter(pl.col("timestamp").cast(pl.Int64) < cut)
    columns = ["user_id", *log.user_features()]
    everybody = log.frame.select(columns).unique("user_id", keep="first", maintain_order=True)
    who = everybody.collect(engine="streaming").sort("user_id")
    builder = ProfileBuilder(**options).fit(past)
    return Readers(log, builder.transform(past, who), cut)


def _cards(readers: Readers, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card of the log with own and with permuted profiles, JSON types."""
    seed = int(config["seed"])
    found = {}
    for name, people in (
        (OWN, readers),
        (PERMUTED, readers.permuted(derived_seed(seed, "permuted"))),
    ):
        signal, learned = learn_readers(
            people.sends(),
            instantiated(config["text"], "text"),
            seed=derived_seed(seed, "folds"),
            resamples=int(config["evaluation"]["resamples"]),
        )
        card = signal.to_dict()
        if learned is not None:
            loss = float(learned.base_loss.sum() / signal.sends)
            per_send = card["per_send"]
            card |= {"loss": loss, "share": {key: per_send[key] / loss for key in per_send}}
        found[name] = card
    return found


def _choice(readers: Readers, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what choosing the text by the reader is worth, or the ``reason`` why that is unknown.

    Who is judged had no part in the fit: readers are in folds, and each fold's texts are chosen by
    what the others say.
    """
    log = readers.log
    if not log.has("propensity"):
        return {"reason": "the log has no propensities, so that only its predictions can be judged"}
    if len(np.unique(readers.sends().product)) > 1:
        return {"reason": "its texts stand for several products, and a choice is among one's texts"}
    seed, count = int(config["seed"]), int(config["folds"])
    names = {f"fold {number}": 1 / count for number in range(count)}
    parts = log.split_by_user(names, derived_seed(seed, "choice folds"))
    outcomes = [column for column in config["outcomes"] if log.has(column)]
    known = decisions(log)
    choices = Choices.of(known)
    frame = known.frame
    rows = len(frame)
    shuffled = readers.permuted(derived_seed(seed, "permuted"))
    policies = {RANDOM: choices.random(rows)}
    policies |= {name: np.zeros((rows, len(known.arms))) for name in (BEST, PROFILE, SHUFFLED)}
    for part in parts.values():
        held = part.frame.select("user_id").unique().collect(engine="streaming")["user_id"]
        train = log.filter(~pl.col("user_id").is_in(held.implode()))
        judged = frame["user_id"].is_in(held.implode()).to_numpy()
        best = best_text(train, choices.texts)
        policies[BEST][judged] = choices.everybody(best, int(judged.sum()))
        users = frame["user_id"].filter(pl.Series(judged)).to_numpy()
        for name, people in ((PROFILE, readers), (SHUFFLED, shuffled)):
            scores = _scores(people, train, choices, users, config)
            policies[name][judged] = choices.chosen(scores.argmax(axis=1))
    found = choice_values(
        log,
        policies,
        outcomes,
        BEST,
        resamples=int(config["evaluation"]["resamples"]),
        seed=derived_seed(seed, "bootstrap"),
    )
    found["shares"] = {
        name: dict(zip(choices.texts, choices.shares(table).tolist(), strict=True))
        for name, table in policies.items()
    }
    return found


def _scores(
    people: Readers, train: ClickLog, choices: Choices, users: np.ndarray, config: Mapping[str, Any]
) -> np.ndarray:
    """Return (N, T) logits of a click of each reader on each text, learned on ``train``."""
    sends = people.sends(train)
    shown = np.zeros(len(choices.texts))
    clicked = np.zeros(len(choices.texts))
    place = np.array([choices.texts.index(text) for text in sends.texts])[sends.text]
    np.add.at(shown, place, sends.impressions)
    np.add.at(clicked, place, sends.clicks)
    level = np.log((clicked + 0.5) / (shown - clicked + 0.5))
    seed = derived_seed(int(config["seed"]), "choice")
    learned = learn_readers(sends, instantiated(config["text"], "text"), seed=seed, resamples=2)[1]
    if learned is None:
        return np.broadcast_to(level, (len(users), len(level))).copy()
    profiles = people.profiles
    features = profiles.features[profiles.index_of(users)]
    return np.asarray(level + learned.taste.table(choices.texts, features).mean(axis=0))
