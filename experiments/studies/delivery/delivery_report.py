"""What a delivery study says: tables, figures and words from its records."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.render import Event
from copygym.envs.simulator.fidelity import FidelityCard
from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report import aggregates
from copygym.experiments.report.blocks import by_seed, estimates_table, forest
from copygym.experiments.report.fidelity import card_section
from copygym.experiments.report.figures import (
    lines_figure,
    timelines_figure,
)
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval
from copygym.experiments.studies.delivery.verdict_report import verdict

MAIN = ("ctr", "clicks_per_user", "profit_per_user", "unsubscribe_rate", "sends_per_user")
_OUTCOMES = (
    "reward_per_user",
    "organic_per_user",
    "cvr",
    "revenue_per_user",
    "cost_per_user",
    "step_regret",
)
_VARIETY = ("coverage", "effective_creatives", "gini", "intra_list_diversity", "novelty")


def report(records: Records) -> Report:
    """Return what the learned policy gained beside the references, on held-out people."""
    about = records.first
    sections = [comparison(records), more_metrics(records)]
    if len(records.seeds) > 1:
        sections.append(over_seeds(records, "clicks_per_user"))
        sections.append(by_seed(plain(records), "policy", MAIN))
    sections += one_seed(records)
    title = f"Whom to send what on {about['log']}: does {about['learned']} pay?"
    answers = (verdict(records),)
    return Report(title, _summary(records), main_table(records), sections, answers)


def main_table(records: Records) -> Table:
    """Return CTR, clicks, profit and unsubscribes by policy with intervals."""
    about = records.first
    caption = (
        f"{intervals(records)}, {about['horizon']} slots each. {about['judge']}{remarks(records)}"
    )
    return policy_table(records, MAIN, caption)


def one_seed(records: Records) -> list[Section]:
    """Return learning curves, timelines, segments and fidelity, those that the lowest seed has."""
    one = records.only()
    found = (learning_section(one), _timelines(one), _segments(one), fidelity_section(one))
    return [section for section in found if section is not None]


def intervals(records: Records) -> str:
    """Return what intervals are over."""
    count, users = len(records.seeds), records.first["users"]
    if count > 1:
        return f"95% intervals over {count} seeds (bootstrap), {users:,} held-out users in each"
    return f"95% intervals over {users:,} held-out users (bootstrap)"


def plain(records: Records) -> Records:
    """Return the records of whole policies: no differences, segments or learning curves."""
    return records.where(versus=None, segment=None, step=None)


def policy_table(
    records: Records, keys: Sequence[str], caption: str, versus: str | None = None
) -> Table:
    """Return metrics of every policy, or their differences from ``versus``; the upper one last."""
    frame = filtered(records.estimates, versus=versus, segment=None, step=None)
    return estimates_table(
        frame.sort(pl.col("policy") == "upper", maintain_order=True),
        "policy",
        keys,
        caption,
        strong=records.first.get("learned"),
    )


def _summary(records: Records) -> str:
    about = records.first
    made, learned, baseline = about["simulated"], about["learned"], about["baseline"]
    kind = "a synthetic log" if about["synthetic"] else "a real log"
    words = ""
    if learned != baseline:
        cell = {"policy": learned, "versus": baseline, "segment": None}
        gain = records.number("clicks_per_user", **cell)
        edges = ""
        if gain["low"] is not None:
            edges = f" [{gain['low']:+.3g}, {gain['high']:+.3g}]"
        words = (
            f" Against {baseline}, it changed the clicks of a user by {gain['value']:+.3g}{edges}."
        )
    count = len(records.seeds)
    times = f", with each of {count} seeds," if count > 1 else ""
    return (
        f"From {kind} ({about['log']}, {made['rows']:,} rows), users were simulated "
        f"({made['family']} response, {made['creatives']} creatives, "
        f"{made['channels']} channels, {made['slots']} slots); {learned} learned "
        f"on them for {about['steps']:,} decisions{times} and was evaluated on "
        f"{about['users']:,} held-out users over {about['horizon']} slots. "
        f"{about['judge']}{words}"
    )


def remarks(records: Records) -> str:
    """Return what a caption says of clicks without a send, and of what the log does not record."""
    frame = filtered(records.estimates, versus=None, segment=None, step=None)
    said = _profit_remark(frame, assumptions := records.first["assumptions"])
    if _any(frame, "organic_per_user"):
        said = (
            " CTR: clicks on sends, over sends. Clicks per user also count organic ones, made in "
            f"slots in which nothing was sent.{said}"
        )
    if any("the log records no unsubscribes" in text for text in assumptions):
        said += " Unsubscribes are declared and not measured, as the log records none."
    return said


def _profit_remark(frame: pl.DataFrame, assumptions: Collection[str]) -> str:
    """Return why all profits are 0, where they are: an interval of zeros is no knowledge."""
    if _any(frame, "revenue_per_user", "cost_per_user"):
        return ""
    unknown = ("the log records no conversions", "the log records no revenue")
    if any(text.startswith(unknown) for text in assumptions):
        return " Profit is 0 as the log records no revenue and a send costs nothing."
    return " Profit is 0 as nobody happened to buy anything; its interval does not tell who would."


def _any(frame: pl.DataFrame, *metrics: str) -> bool:
    """Return whether any of these metrics is anything but 0."""
    values = filtered(frame, metric=list(metrics))["value"]
    return bool((values.fill_null(0.0) != 0.0).any())


def comparison(records: Records) -> Section:
    """Return the section with the policies' values, and their differences."""
    about = records.first
    picture = forest(
        filtered(records.estimates, versus=None, segment=None, step=None),
        "policy",
        MAIN,
        "policies",
        "Value of each policy with 95% intervals; the learned one in orange.",
        strong=about["learned"],
    )
    tables = [
        policy_table(
            records,
            MAIN,
            f"Difference from {about['baseline']}, paired by user: every policy meets the same "
            "users with the same luck. Percentages are percentage points.",
            about["baseline"],
        )
    ]
    if about["upper"] and about["upper"] != about["baseline"]:
        caption = "Difference from the upper reference (regret, as a loss), paired by user."
        keys = ("clicks_per_user", "reward_per_user")
        tables.append(policy_table(records, keys, caption, about["upper"]))
    return Section("Policies compared", (), tuple(tables), (picture,))


def more_metrics(records: Records) -> Section:
    """Return the section with all other metrics."""
    frame = filtered(records.estimates, versus=None, segment=None, step=None)
    organic = _any(frame, "organic_per_user")
    keys = tuple(key for key in _OUTCOMES if key != "organic_per_user" or organic)
    bought = ""
    if any(t.startswith("the log records no conversions") for t in records.first["assumptions"]):
        bought = " CVR and revenue are 0 as the log records no conversions."
    outcomes = policy_table(records, keys, f"Per user over the whole horizon.{bought}")
    variety = policy_table(
        records,
        _VARIETY,
        "Which creatives were sent. Coverage: share of the catalogue; effective creatives: "
        "exp(entropy); Gini: 0 is even; intra-list diversity: chance that two sends to a user "
        "differ; novelty: self-information under the log's popularity.",
    )
    return Section("More outcomes, and variety", (), (outcomes, variety))


def over_seeds(records: Records, metric: str, unit: str = "seeds") -> Section:
    """Return who beats whom over seeds, by the share of what there was to win in each."""
    about = records.first
    found = aggregates.of_records(
        plain(records), "policy", metric, about["baseline"], about.get("upper"), unit
    )
    return aggregates.section(found)


def learning_section(records: Records) -> Section | None:
    """Return the learning curves of one seed, or None where no policy has one."""
    lines = {}
    if "step" in records.frame.columns:
        found = filtered(records.frame, metric="learning_reward").drop_nulls("value")
        for (name,), part in found.group_by("policy", maintain_order=True):
            if part.height > 2:
                lines[str(name)] = {"x": part["step"].to_list(), "y": _smoothed(part["value"])}
    if not lines:
        return None
    picture = lines_figure(
        "learning",
        "Reward while learning on simulated users (exploration included), running mean over a "
        "tenth of the run.",
        lines,
        "decisions",
        "reward per decision",
    )
    return Section("Learning curve", (), (), (picture,))


def _smoothed(values: pl.Series) -> list[float]:
    window = max(1, len(values) // 10)
    padded = np.cumsum(np.concatenate([[0.0], values.to_numpy()]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    smooth: list[float] = ((padded[ends] - padded[starts]) / (ends - starts)).tolist()
    return smooth


def _timelines(records: Records) -> Section | None:
    about = records.first
    stored = about.get("timelines")
    if not stored or not stored["users"]:
        return None
    catalogue = _catalogue(stored["catalogue"])
    timelines = {
        f"user {index + 1} ({user['segment']})": [Event(*event) for event in user["events"]]
        for index, user in enumerate(stored["users"])
    }
    picture = timelines_figure(
        "timelines",
        f"What {about['learned']} sent to some users, by channel and slot, and what came of it.",
        timelines,
        catalogue,
        about["horizon"],
    )
    return Section("Timelines", (), (), (picture,))


def _catalogue(names: Mapping[str, Any]) -> Catalogue:
    k = len(names["creative_ids"])
    return Catalogue(
        creative_ids=tuple(names["creative_ids"]),
        texts=tuple(names["texts"]),
        product_ids=("",) * k,
        topics=("",),
        topic_of_creative=np.zeros(k, dtype=np.int64),
        channels=tuple(names["channels"]),
        slots=tuple(names["slots"]),
        cost_per_send=np.zeros(len(names["channels"])),
        popularity=np.full(k, 1 / k),
    )


def _segments(records: Records) -> Section | None:
    if "segment" not in records.frame.columns:
        return None
    found = records.frame.filter(pl.col("segment").is_not_null())
    names = plain(records).values("policy")
    users = {
        row["segment"]: row["value"]
        for row in filtered(found, metric="users").iter_rows(named=True)
    }
    clicks = filtered(found, metric="clicks_per_user")
    rows = tuple(
        (
            segment,
            f"{count:,.0f}",
            *(
                interval(number(clicks, "clicks_per_user", policy=name, segment=segment))
                for name in names
            ),
        )
        for segment, count in users.items()
    )
    caption = (
        "Clicks per user by segment, 95% intervals over its users; the largest segments."
        f"{segment_remark(records.first)}"
    )
    table = Table(("segment", "users", *names), rows, caption)
    return Section("By segment", (), (table,))


def segment_remark(about: Mapping[str, Any]) -> str:
    """Return what a caption says of the columns whose values name the segments."""
    columns = about.get("segment_by")
    return f" Segments are by {' | '.join(columns)}." if columns else ""


def fidelity_section(records: Records) -> Section | None:
    """Return the fidelity card of one seed, or None where nothing was fitted."""
    about = records.first
    if not about.get("fidelity"):
        return None
    card = FidelityCard.from_dict(about["fidelity"])
    heading = "How real are the simulated users?"
    return card_section(card, heading, segments=segment_remark(about))
