"""What came of a plan: outcomes joined to its sends, and the log for the next round.

Nothing is lost: what cannot be joined stands in a table of its own with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from copygym.core.errors import UserError, unknown_name
from copygym.core.tables.files import open_table, readable
from copygym.envs.logs.catalogue import HOLD
from copygym.experiments.plans.plan import COLUMNS

#: Columns of outcomes that count, and the words of an event that mean them.
COUNTS = {
    "clicks": ("click", "clicked", "clicks"),
    "conversions": ("conversion", "purchase", "purchased", "conversions", "converted", "order"),
    "unsubscribes": ("unsubscribe", "unsubscribed", "unsubscribes", "opt_out"),
}
#: Other words for the columns of a file of outcomes.
_OTHERS = {"user": ("user_id",), "time": ("timestamp", "date"), "revenue": ("value", "amount")}
_YES = ("1", "1.0", "true", "yes", "ja", "oui", "si", "sí", "y", "t")
_NO = ("0", "0.0", "false", "no", "nein", "non", "n", "f", "")
WHY = "why"
#: Why purchases of people who got nothing are no outcomes of a send.
ORGANIC = "nothing was sent to them; what they bought is held against what others bought"


@dataclass(frozen=True)
class Joined:
    """A plan with what came of it.

    Attributes:
        plan: its rows with `COUNTS` and ``revenue`` beside, 0 where nothing came.
        aside: rows of the outcomes that were not counted, with the column ``why``.
        notes: what was done, counted.
    """

    plan: pl.DataFrame
    aside: pl.DataFrame
    notes: tuple[str, ...]


def read_plan(path: Path) -> pl.DataFrame:
    """Return a plan that `copygym deliver` wrote.

    Raises:
        UserError: the file is no plan, or damaged.
    """
    opened = open_table(path)
    with readable(path):
        plan = opened.frame.collect()
    if lost := [name for name in COLUMNS if name not in plan.columns]:
        raise UserError(
            f"{path} has no column {lost[0]}: it is no plan; give the file that `copygym deliver` "
            "wrote."
        )
    if opened.text:
        plan = plan.with_columns(pl.col(pl.String).replace("", None))
        plan = plan.with_columns(
            pl.col("send_at").str.to_datetime(time_unit="us", time_zone="UTC", strict=False),
            pl.col("propensity", "click_probability", "low", "high").cast(pl.Float64),
            pl.col("control") == "true",
        )
    if not plan["user"].is_unique().all():
        raise UserError(f"{path} names a person twice: it was edited; deliver it again.")
    return plan


def check_policy(path: Path, plan: pl.DataFrame, run: Path) -> None:
    """Refuse a plan that another run made, or this one before it learned more.

    Raises:
        UserError: none of the run's agents made it.
    """
    from copygym.experiments.plans.saved import versions

    made = set(plan["policy"].unique())
    if not made <= (known := versions(run)):
        raise UserError(
            f"{path} is of the policy {', '.join(sorted(made))}, not of {run} "
            f"({', '.join(sorted(known))}); give the run that made it."
        )


def read_outcomes(paths: Sequence[Path], **how: Any) -> tuple[pl.DataFrame, list[str]]:
    """Return outcomes as one table with ``user``, ``time``, `COUNTS` and ``revenue``, and notes.

    A row is a send (``clicked``, ``purchased``, ``unsubscribed``, yes or no or a number), or an
    event (``event`` names what happened).

    Raises:
        UserError: no user column, nothing that counts, or a value that cannot be read.
    """
    tables, notes = [], []
    for path in paths:
        opened = open_table(path, **how)
        with readable(path):
            frame = opened.frame.collect()
        notes += list(opened.notes)
        tables.append(_canonical(frame, path, opened.first_row))
    return pl.concat(tables, how="diagonal"), notes


def _canonical(frame: pl.DataFrame, path: Path, first_row: int) -> pl.DataFrame:
    folded = {name.lower().replace(" ", "_"): name for name in frame.columns}

    def find(name: str, *others: str) -> str | None:
        return next((folded[one] for one in (name, *others) if one in folded), None)

    user = find("user", *_OTHERS["user"])
    if user is None:
        raise unknown_name(f"column of {path}", "user", frame.columns)
    rows = range(first_row, first_row + frame.height)
    out = {
        "user": frame[user].cast(pl.String),
        "file": pl.repeat(path.name, frame.height, eager=True),
        "row": pl.Series(rows, dtype=pl.Int64),
    }
    event, time, policy = find("event"), find("time", *_OTHERS["time"]), find("policy")
    out["is_event"] = pl.repeat(event is not None, frame.height, eager=True)
    if event is not None:
        words = frame[event].cast(pl.String).str.to_lowercase().str.strip_chars()
        known = {word: name for name, several in COUNTS.items() for word in several}
        ignored = ("open", "opened", "sent", "delivered", "bounce", "bounced")
        odd = ~words.is_in([*known, *ignored])
        if odd.fill_null(True).any():
            row = int(odd.fill_null(True).arg_true()[0])
            raise UserError(
                f"{path}, row {first_row + row}: the event is {frame[event][row]!r}; give one of "
                f"{', '.join(sorted(known))}."
            )
        for name, several in COUNTS.items():
            out[name] = words.is_in(several).cast(pl.Int64)
    else:
        there = [name for name, several in COUNTS.items() if find(*several)]
        if not there:
            raise UserError(
                f"{path} has no column that counts (clicked, purchased, unsubscribed) and no "
                f"event; it has {', '.join(frame.columns)}."
            )
        for name, several in COUNTS.items():
            column = find(*several)
            if column is not None:
                out[name] = _truth(frame[column], path, first_row)
    revenue = find("revenue", *_OTHERS["revenue"])
    if revenue is not None:
        out["revenue"] = _number(frame[revenue], path, first_row)
    if time is not None:
        out["time"] = _time(frame[time], path, first_row)
    if policy is not None:
        out["policy"] = frame[policy].cast(pl.String)
    return pl.DataFrame(out)


def _truth(column: pl.Series, path: Path, first_row: int) -> pl.Series:
    words = column.cast(pl.String).fill_null("").str.strip_chars().str.to_lowercase()
    number = words.cast(pl.Float64, strict=False)
    odd = ~words.is_in([*_YES, *_NO]) & (number.is_null() | ~(number >= 0))
    if odd.any():
        row = int(odd.arg_true()[0])
        raise UserError(
            f"{path}, row {first_row + row}: {column.name} is {column[row]!r}, which is neither "
            "yes nor no; give 1 or 0."
        )
    return (words.is_in(_YES) | (number.fill_null(0.0) > 0)).cast(pl.Int64)


def _number(column: pl.Series, path: Path, first_row: int) -> pl.Series:
    words = column.cast(pl.String).fill_null("").str.strip_chars()
    number = words.replace("", "0").cast(pl.Float64, strict=False)
    odd = number.is_null() | ~number.is_finite()
    if odd.any():
        row = int(odd.arg_true()[0])
        raise UserError(
            f"{path}, row {first_row + row}: {column.name} is {column[row]!r}, which is no number."
        )
    return number


def _time(column: pl.Series, path: Path, first_row: int) -> pl.Series:
    if column.dtype == pl.String:
        words = column.str.strip_chars().replace("", None)
        time = words.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
        odd = words.is_not_null() & time.is_null()
        if odd.any():
            row = int(odd.arg_true()[0])
            raise UserError(
                f"{path}, row {first_row + row}: {column.name} is {column[row]!r}; give a time "
                "such as 2026-12-01T08:00."
            )
        return time
    time = column.cast(pl.Datetime("us"))
    return time.dt.replace_time_zone("UTC") if column.dtype.time_zone is None else time  # type: ignore[attr-defined]


def join(plan: pl.DataFrame, outcomes: pl.DataFrame, window: timedelta) -> Joined:
    """Return a plan with what came of it.

    Outcomes count where they are of a person to whom something was sent, from the send to the end
    of the window; without a time they count. A click cannot be undone, so that of rows about one
    send that differ the larger values hold; events add up. Who converts has clicked.

    Whether sending adds anything is seen in what everybody buys, whoever was written to: ``bought``
    counts that, from the first send to the end of the last one's window.

    Args:
        plan: of `read_plan`.
        outcomes: of `read_outcomes`.
        window: from the send, in which outcomes are its.

    Raises:
        UserError: there are outcomes, and none is of anybody in the plan.
    """
    counted = [name for name in (*COUNTS, "revenue") if name in outcomes.columns]
    sends = plan.select(
        "user", "send_at", pl.col("policy").alias("_policy"), sent=pl.col("creative") != HOLD
    )
    found = outcomes.join(sends, on="user", how="left", maintain_order="left")
    if found.height and found["sent"].is_null().all():
        raise UserError(
            f"none of the {found.height:,} rows of outcomes is of anybody in the plan; give the "
            "outcomes of this plan, with the same ids."
        )
    same = [name for name in outcomes.columns if name not in ("file", "row")]
    why: Any = pl.when(pl.col("sent").is_null()).then(pl.lit("nobody of the plan"))
    if "policy" in outcomes.columns:
        why = why.when(pl.col("policy") != pl.col("_policy")).then(pl.lit("of another plan"))
    again = ~pl.struct(same).is_first_distinct()
    bought = pl.col("conversions") > 0 if "conversions" in counted else pl.lit(False)
    why = why.when(~pl.col("sent") & bought & ~again).then(pl.lit(ORGANIC))
    why = why.when(~pl.col("sent")).then(pl.lit("nothing was sent to them"))
    if "time" in outcomes.columns:
        why = why.when(pl.col("time") < pl.col("send_at")).then(pl.lit("before the send"))
        why = why.when(pl.col("time") > pl.col("send_at") + window).then(pl.lit("after the window"))
    why = why.when(again).then(pl.lit("the same as an earlier row"))
    found = found.with_columns(why.otherwise(None).alias(WHY), _again=again)
    good = found.filter(pl.col(WHY).is_null())
    joined = plan.join(_by_user(good, counted), on="user", how="left", maintain_order="left")
    joined = joined.with_columns(
        *(
            pl.col(name).fill_null(0) if name in counted else pl.lit(0).alias(name)
            for name in COUNTS
        ),
        pl.col("revenue").fill_null(0.0) if "revenue" in counted else pl.lit(0.0).alias("revenue"),
        bought=_bought(plan, found, window),
    )
    unclicked = (joined["conversions"] > joined["clicks"]).sum()
    joined = joined.with_columns(clicks=pl.max_horizontal("clicks", "conversions"))
    notes = [
        f"{count:,} rows of outcomes were set aside: {reason}."
        for reason, count in found.drop_nulls(WHY)
        .group_by(WHY, maintain_order=True)
        .len()
        .iter_rows()
    ]
    if differing := _differing(good):
        notes.append(
            f"{differing:,} people have rows of one send that say different things; the larger "
            "values hold."
        )
    if unclicked:
        notes.append(f"{unclicked:,} people converted without a click, which is counted as one.")
    shown = [name for name in outcomes.columns if name != "is_event"]
    aside = found.filter(pl.col(WHY).is_not_null()).select(*shown, WHY)
    return Joined(joined, aside, tuple(notes))


def _by_user(good: pl.DataFrame, counted: Sequence[str]) -> pl.DataFrame:
    """Return what came of each person's send."""
    counts = [pl.col(name).max() for name in counted if name != "revenue"]
    revenue = []
    if "revenue" in counted:
        of_events = pl.col("revenue").filter("is_event").sum()
        of_rows = pl.col("revenue").filter(~pl.col("is_event")).max()
        revenue = [of_events + of_rows.fill_null(0.0)]
    return good.group_by("user", maintain_order=True).agg(*counts, *revenue)


def _differing(good: pl.DataFrame) -> int:
    """Return how many people have rows of one send, of equal times, that contradict each other."""
    rows = good.filter(~pl.col("is_event"))
    keys = ["user", *(("time",) if "time" in good.columns else ())]
    return rows.group_by(keys).len().filter(pl.col("len") > 1)["user"].n_unique()


def _bought(plan: pl.DataFrame, found: pl.DataFrame, window: timedelta) -> pl.Series:
    """Return (N,) whether each person of the plan bought anything while it ran."""
    first, last = plan["send_at"].min(), plan["send_at"].max()
    if "conversions" not in found.columns or first is None:
        return pl.repeat(0, plan.height, dtype=pl.Int64, eager=True)
    rows = found.filter(pl.col("sent").is_not_null() & (pl.col("conversions") > 0))
    if "policy" in found.columns:
        rows = rows.filter(pl.col(WHY).is_null() | (pl.col(WHY) != "of another plan"))
    if "time" in found.columns:
        inside = pl.col("time").is_between(first, last + window)  # type: ignore[operator]
        rows = rows.filter(pl.col("time").is_null() | inside)
    return plan["user"].is_in(rows["user"].unique().implode()).cast(pl.Int64)


def as_log(
    joined: pl.DataFrame, people: pl.DataFrame | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """Return a joined plan as a click log with propensities, and notes.

    People to whom nothing was sent are rows with the creative ``hold``; those whom a cap or the
    budget left out are none, because no chance of that is known.

    Args:
        joined: of `join`.
        people: their ``user`` and ``user_*`` columns, which the next round learns from.
    """
    known = joined.filter(pl.col("propensity").is_not_null())
    first = joined["send_at"].min()
    log = known.select(
        user_id="user", timestamp=pl.col("send_at").fill_null(pl.lit(first)),
        product_id="product", topic="topic", creative_id="creative", text="copy",
        channel="channel", slot="slot",
        propensity="propensity", impressions=pl.lit(1), clicks="clicks",
        conversions="conversions", revenue="revenue", unsubscribes="unsubscribes",
    )  # fmt: skip
    notes = ["the time of sending was part of the choice: give `copygym ope` --ignore slot."]
    if known.height < joined.height:
        notes.append(
            f"{joined.height - known.height:,} people are not in the log: a cap, a budget or a "
            "floor decided, with a chance that nobody knows."
        )
    if people is not None:
        told = [name for name in people.columns if name.startswith("user_")]
        one = people.select("user", *told).rename({"user": "user_id"})
        one = one.with_columns(_as_number(one[name]) for name in told)
        log = log.join(one, on="user_id", how="left", maintain_order="left")
    return log, notes


def _as_number(column: pl.Series) -> pl.Series:
    """Return a column of texts as numbers, where all of them are."""
    if column.dtype != pl.String:
        return column
    words = column.str.strip_chars().replace("", None)
    for kind in (pl.Int64, pl.Float64):
        number = words.cast(kind, strict=False)
        if number.null_count() == words.null_count() < len(words):
            return number
    return column


__all__ = ["COUNTS", "Joined", "as_log", "join", "read_outcomes", "read_plan"]
