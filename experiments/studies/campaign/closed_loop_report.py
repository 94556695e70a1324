"""What E14 says: tables, figures and words from its records."""

from __future__ import annotations

import polars as pl

from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report.blocks import Shown, curve, estimates_table
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval

_BASE, _BEST = "one-shot", "continual"
_METRICS = {
    "reward": Shown("reward"),
    "clicks": Shown("clicks"),
    "sends": Shown("sends"),
    "left": Shown("left %", "%"),
    "regret": Shown("regret"),
    "gap": Shown("promised less true click rate %", "%"),
}


def report(records: Records) -> Report:
    """Return what closing the loop buys, by how tastes move."""
    worlds = records.values("tastes")
    sections = [_section(records, tastes) for tastes in worlds]
    count = len(records.seeds)
    title = f"{count} worlds" if count > 1 else "one world"
    return Report(
        f"What does closing the loop buy? {title.capitalize()} of storefront",
        " ".join([_intro(records), *(_sentence(records, tastes) for tastes in worlds)]),
        _main_table(records),
        sections,
    )


def _intro(records: Records) -> str:
    loop = records.first["loop"]
    return (
        f"{loop['rounds']} rounds of {loop['slots']} slots in synthetic storefront worlds, judged "
        "by their own truth. Reward: clicks less "
        f"{loop['price']:g} for each person who leaves, expected, per treated person."
    )


def _sentence(records: Records, tastes: str) -> str:
    cell = {"tastes": tastes, "policy": _BEST, "round": None, "versus": _BASE}
    gain = interval(number(records.estimates, "reward_ratio", **cell), "%")
    alarm = number(records.estimates, "alarm", tastes=tastes, policy=None, round=None, versus=None)
    share = (alarm or {}).get("value")
    told = "" if share is None else f", the drift alarm rings in {share:.0%} of the worlds"
    return f"{tastes.capitalize()} tastes: continual against one-shot {gain}%{told}."


def _main_table(records: Records) -> Table:
    frame = filtered(records.estimates, round=None).drop_nulls("policy")
    label = pl.concat_str(
        ["tastes", pl.lit(": "), "policy", pl.lit(" - ") + pl.col("versus")], ignore_nulls=True
    )
    several = len(records.seeds) > 1
    caption = (
        "Sums over all rounds per treated person; regret to a policy that knows the truth, drift "
        "included; differences from one-shot in the same world with the same luck. "
        + (
            f"Means over {len(records.seeds)} synthetic worlds with 95% bootstrap intervals over "
            "worlds."
            if several
            else "Of one synthetic world."
        )
    )
    shown = _METRICS | {"reward_ratio": Shown("reward, relative %", "%")}
    frame = frame.with_columns(row=label)
    return estimates_table(frame, "row", shown, caption, heading="tastes: policy")


def _section(records: Records, tastes: str) -> Section:
    frame = filtered(records.estimates, tastes=tastes)
    bands = "; bands are 95% intervals over worlds" if len(records.seeds) > 1 else ""
    rounds = filtered(frame, versus=None).drop_nulls("round")
    pictures = [
        curve(
            rounds.drop_nulls("policy"), "round", "policy", metric, f"{metric}_{tastes}",
            f"{tastes.capitalize()} tastes: {caption} by round{bands} (synthetic).", "round",
            label, unit=unit,
        )
        for metric, caption, label, unit in (
            ("reward", "reward per treated person", "reward", ""),
            ("gap", "click rate that was promised of the sends less the true one", "gap, %", "%"),
        )
    ]  # fmt: skip
    alarm = curve(
        filtered(rounds, policy=None), "round", None, "log_e", f"alarm_{tastes}",
        f"{tastes.capitalize()} tastes: evidence of drift under the marketer's policy, log e; the "
        f"alarm rings at 3.0{bands} (synthetic).", "round", "log e",
    )  # fmt: skip
    return Section(f"{tastes.capitalize()} tastes", (), (), (*pictures, alarm))
