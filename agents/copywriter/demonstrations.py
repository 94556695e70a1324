"""What a log teaches of copy before any reward model: its better copy, and pairs of copies.

Copy is compared where the log compared it: within a test (and picture), or, in a log of users,
within a product and a segment. Shapes: N rows, K creatives of the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.logs.clicklog import ClickLog, creative_key
from copygym.envs.logs.from_log import catalogue_from_log
from copygym.envs.people.model import UserModel
from copygym.envs.profiles.builder import Profiles, user_key
from copygym.envs.tasks import CopyRows, copy_rows
from copygym.rewards.copy.ngrams import words
from copygym.rewards.ctr.data import WITHIN

#: Least variance of true click-rate ratios within a contest: keeps the shrinkage finite.
_LEAST_SPREAD = 1e-4


def better_copy(
    log: ClickLog,
    users: UserModel | None = None,
    *,
    min_z: float = 1.0,
    sharpness: float = 3.0,
    limit: int | None = 2000,
    seed: int = 0,
) -> tuple[list[str], CopyRows]:
    """Return the log's better copy and the tasks that it answers.

    A log of tests gives the arm of each test that has the highest click rate (shrunken towards the
    test's) and beats the rest of its test by ``min_z``. A log of users gives clicked sends, drawn
    with probability proportional to ``(ratio ** sharpness) / sends``, where the ratio is that of
    the creative's click rate to its product's among the reader's segment, shrunken towards 1:
    dividing by how often it was sent takes the logging policy's taste out.

    Args:
        log: with ``text``; the training part only.
        users: gives tasks their catalogue and readers; rows whose user or creative it does not
            hold are left out. None: the log's own catalogue, and one reader, ``everyone``.
        min_z: tests only: least two-proportion z of the winner against the rest.
        sharpness: logs of users only: 0 keeps every clicked creative of a product alike.
        limit: N at most; logs of users are drawn from with replacement. None: all winners, or as
            many draws as there are clicks.
        seed: of the draws.

    Returns:
        N texts and N tasks.

    Raises:
        UserError: the log has no text, or no copy stands out.
    """
    contests = _contests(log, users)
    rng = np.random.default_rng(seed)
    if contests.of_users:
        rows = np.flatnonzero(contests.clicks > 0)
        contests.require(len(rows) > 0, "no row was clicked")
        arm = contests.arm[rows]
        weight = contests.clicks[rows] * contests.ratio[arm] ** sharpness / contests.shown[arm]
        rows = rng.choice(rows, size=limit or len(rows), p=weight / weight.sum())
    else:
        rows = np.flatnonzero(contests.best & (contests.z_of_rest() >= min_z))
        contests.require(len(rows) > 0, f"no arm beats the rest of its test by z >= {min_z:g}")
        if limit is not None and len(rows) > limit:
            rows = np.sort(rng.choice(rows, size=limit, replace=False))
    return contests.texts(contests.creative[contests.arm[rows]]), contests.tasks(rows)


def preference_pairs(
    log: ClickLog,
    users: UserModel | None = None,
    *,
    min_z: float = 1.96,
    limit: int | None = 2000,
    seed: int = 0,
) -> tuple[CopyRows, list[str], list[str]]:
    """Return tasks, the copy to prefer and the copy to avoid, for direct preference optimisation.

    Both copies of a pair met in one test (or were sent to one segment for one product) and their
    click rates differ by a two-proportion z of at least ``min_z``.

    Args:
        log: with ``text``; the training part only.
        users: as in `better_copy`.
        min_z: least z of a pair.
        limit: N at most; None: every pair of a log of tests, and as many as there are clicked
            sends of a creative that beats another in a log of users.
        seed: of the draws.

    Returns:
        N tasks, N chosen and N rejected texts.

    Raises:
        UserError: the log has no text, or no pair differs by that much.
    """
    contests = _contests(log, users)
    rng = np.random.default_rng(seed)
    won, lost, _ = contests.pairs(min_z)
    contests.require(len(won) > 0, f"no two texts differ by z >= {min_z:g}")
    if contests.of_users:
        # A clicked send of a creative that beats others: one of those is its rejected copy.
        rows = np.flatnonzero((contests.clicks > 0) & np.isin(contests.arm, won))
        weight = 1.0 / contests.shown[contests.arm[rows]]
        rows = rng.choice(rows, size=limit or len(rows), p=weight / weight.sum())
        worse = np.array([rng.choice(lost[won == arm]) for arm in contests.arm[rows]])
        better = contests.arm[rows]
    else:
        pick = np.arange(len(won))
        if limit is not None and len(pick) > limit:
            pick = np.sort(rng.choice(pick, size=limit, replace=False))
        rows = better = won[pick]
        worse = lost[pick]
    return (
        contests.tasks(rows),
        contests.texts(contests.creative[better]),
        contests.texts(contests.creative[worse]),
    )


def rewrites(
    log: ClickLog,
    users: UserModel | None = None,
    *,
    min_z: float = 0.5,
    least_shared: float = 0.2,
    kept: float = 0.2,
    limit: int | None = 2000,
    seed: int = 0,
) -> tuple[list[str], CopyRows]:
    """Return better texts and the tasks of rewriting a weaker text of the same test into them.

    Pairs that share many words teach to edit, others to write another headline: half of a test's
    arms have nothing in common but the story. Pairs are drawn with probability proportional to
    z, with replacement; a share of the tasks shows the best arm, which is to be kept as it is.

    Args:
        log: with ``text``; the training part only.
        users: as in `better_copy`.
        min_z: least two-proportion z of a pair.
        least_shared: least share of words in common (Jaccard), in [0, 1]; equal texts are no pair.
        kept: share of the tasks whose original is the best copy already, in [0, 1).
        limit: N at most; None: as many as there are pairs, and the kept beside them.
        seed: of the draws.

    Returns:
        N texts and N tasks with originals.

    Raises:
        UserError: the log has no text, or no pair of texts differs and is close enough; an option
            is out of range.
    """
    if not 0.0 <= kept < 1.0 or not 0.0 <= least_shared < 1.0:
        raise UserError(
            f"kept is {kept:g} and least_shared {least_shared:g}; both are shares from 0, below 1."
        )
    contests = _contests(log, users)
    rng = np.random.default_rng(seed)
    won, lost, z = contests.pairs(min_z)
    shared = np.array([shared_words(*pair) for pair in contests.both(won, lost)])
    close = (shared >= least_shared) & (shared < 1.0)
    contests.require(
        bool(close.any()),
        f"no two texts differ by z >= {min_z:g} and share {least_shared:.0%} of their words",
    )
    won, lost, z = won[close], lost[close], z[close]
    number = len(won) if limit is None else round(limit * (1.0 - kept))
    pair = rng.choice(len(won), size=max(number, 1), p=z / z.sum())
    better, original = won[pair], lost[pair]
    best = np.flatnonzero(contests.best)
    if kept:
        stays = rng.choice(best, size=round(len(pair) * kept / (1.0 - kept)))
        better, original = np.append(better, stays), np.append(original, stays)
    order = rng.permutation(len(better))
    better, original = better[order], original[order]
    # A reader of the better copy; a log of tests has one row an arm.
    first = np.searchsorted(contests.arm, better)
    texts, shown = (contests.texts(contests.creative[arm]) for arm in (better, original))
    return texts, contests.tasks(first).rewriting(shown)


def shared_words(text: str, other: str) -> float:
    """Return the Jaccard similarity of two texts' words, in [0, 1]; 1 where neither has any."""
    own, others = set(words(text)), set(words(other))
    return len(own & others) / len(own | others) if own | others else 1.0


@dataclass(frozen=True)
class _Contests:
    """Arms that the log compared, and the rows that show them.

    Attributes:
        readers: catalogue and profiles.
        name: of the log, for messages.
        of_users: whether rows are sends to users; else each arm is one row.
        contest: (M,) int64 contest of each arm.
        creative: (M,) int64 catalogue creative of each arm.
        shown: (M,) float64 impressions.
        clicked: (M,) float64 clicks.
        ratio: (M,) float64 click rate over the contest's, shrunken towards 1.
        best: (M,) bool, the highest ratio of a contest with several arms.
        arm: (N,) int64 arm of each row.
        clicks: (N,) int64 clicks of each row.
        task: user, channel and slot of each row, (N,) int64 each.
    """

    readers: Any
    name: str
    of_users: bool
    contest: np.ndarray
    creative: np.ndarray
    shown: np.ndarray
    clicked: np.ndarray
    ratio: np.ndarray
    best: np.ndarray
    arm: np.ndarray
    clicks: np.ndarray
    task: tuple[np.ndarray, np.ndarray, np.ndarray]

    def require(self, holds: bool, reason: str) -> None:
        """Raise a `UserError` with ``reason`` unless it ``holds``."""
        if not holds:
            raise UserError(
                f"{self.name}: {reason}, so there is no better copy to learn from; lower min_z or "
                "use a longer log."
            )

    def texts(self, creative: np.ndarray) -> list[str]:
        """Return the copy of creatives."""
        return [self.readers.catalogue.texts[k] for k in creative.tolist()]

    def both(self, won: np.ndarray, lost: np.ndarray) -> Iterator[tuple[str, str]]:
        """Return the two texts of pairs of arms."""
        texts = (self.texts(self.creative[arms]) for arms in (won, lost))
        return zip(*texts, strict=True)

    def tasks(self, rows: np.ndarray) -> CopyRows:
        """Return the writing tasks of rows."""
        user, channel, slot = (part[rows] for part in self.task)
        return copy_rows(self.readers, user, self.creative[self.arm[rows]], channel, slot)

    def z_of_rest(self) -> np.ndarray:
        """Return (M,) z of each arm against the other arms of its contest; nan without any."""
        n = np.bincount(self.contest, self.shown)[self.contest] - self.shown
        k = np.bincount(self.contest, self.clicked)[self.contest] - self.clicked
        return two_proportion_z(self.clicked, self.shown, k, n)

    def pairs(self, min_z: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return winning and losing arms and z, (pairs,) each, of all pairs of z >= ``min_z``."""
        found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        starts = np.flatnonzero(np.diff(self.contest, prepend=-1))
        for arms in np.split(np.arange(len(self.contest)), starts[1:]):
            i, j = (index.ravel() for index in np.meshgrid(arms, arms, indexing="ij"))
            z = two_proportion_z(self.clicked[i], self.shown[i], self.clicked[j], self.shown[j])
            far = z >= min_z
            found.append((i[far], j[far], z[far]))
        won, lost, by = (np.concatenate(part) for part in zip(*found, strict=True))
        return won, lost, by


def two_proportion_z(
    clicks: np.ndarray, shown: np.ndarray, other_clicks: np.ndarray, other_shown: np.ndarray
) -> np.ndarray:
    """Return the pooled two-proportion z of one arm against another; nan without a comparison."""
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (clicks + other_clicks) / (shown + other_shown)
        spread = np.sqrt(pooled * (1 - pooled) * (1 / shown + 1 / other_shown))
        return (clicks / shown - other_clicks / other_shown) / spread


def shrunken_ratio(clicks: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return click-rate ratios shrunken towards 1 by empirical Bayes.

    Gamma-Poisson model: a true ratio has mean 1 and variance v, clicks are Poisson with mean
    ratio * ``expected``; the posterior mean is (clicks + 1/v) / (expected + 1/v). v is the moment
    estimate over all arms, sum((clicks - expected)^2 - expected) / sum(expected^2).

    Args:
        clicks: (M,) of each arm.
        expected: (M,) clicks at its contest's mean click rate.
    """
    excess = ((clicks - expected) ** 2 - expected).sum() / max(1e-12, (expected**2).sum())
    prior = 1.0 / max(_LEAST_SPREAD, excess)
    return (clicks + prior) / (expected + prior)


def _contests(log: ClickLog, users: UserModel | None) -> _Contests:
    name = log.source or log.name
    if not log.has("text"):
        raise UserError(
            f"{name}: the log has no column text, which a copywriter learns from; map one with "
            "columns or choose a log with texts."
        )
    readers: Any = users if users is not None else _everyone(log)
    of_users = log.has("user_id") or bool(log.user_features())
    table = _sends(log, readers, of_users, everyone=users is None)
    if not table.height:
        raise UserError(
            f"{name}: no row shows a text of the catalogue to a user of the population; fit the "
            "users on this log."
        )
    arms = (
        table.group_by("contest", "creative")
        .agg(pl.col("impressions").sum(), pl.col("clicks").sum())
        .sort("contest", "creative")
        .with_row_index("arm")
    )
    if not of_users:
        # One row per arm: its first channel and slot.
        table = table.group_by("contest", "creative", maintain_order=True).first()
    key = pl.col("arm").cast(pl.Int64)
    table = table.join(arms.select("contest", "creative", key), on=["contest", "creative"])
    table = table.sort("arm", "user", "channel", "slot", "clicks")
    contest = arms["contest"].rank("dense").to_numpy().astype(np.int64) - 1
    shown, clicked = (arms[c].to_numpy().astype(np.float64) for c in ("impressions", "clicks"))
    rate = np.bincount(contest, clicked) / np.bincount(contest, shown)
    ratio = shrunken_ratio(clicked, shown * rate[contest])
    several = np.bincount(contest)[contest] > 1
    highest = np.full(contest.max() + 1, -np.inf)
    np.maximum.at(highest, contest, ratio)
    return _Contests(
        readers=readers,
        name=name,
        of_users=of_users,
        contest=contest,
        creative=arms["creative"].to_numpy().astype(np.int64),
        shown=shown,
        clicked=clicked,
        ratio=ratio,
        best=several & (ratio == highest[contest]),
        arm=table["arm"].to_numpy(),
        clicks=table["clicks"].to_numpy(),
        task=tuple(table[c].to_numpy().astype(np.int64) for c in ("user", "channel", "slot")),  # type: ignore[arg-type]
    )


def _everyone(log: ClickLog) -> Any:
    """Return the log's catalogue with one reader of whom nothing is known."""
    nobody = Profiles(np.array(["everyone"]), np.zeros((1, 0)), (), np.array(["everyone"]))
    return SimpleNamespace(catalogue=catalogue_from_log(log), profiles=nobody)


def _sends(log: ClickLog, readers: Any, of_users: bool, *, everyone: bool) -> pl.DataFrame:
    """Return the rows that show a text: contest, indices of the task, impressions and clicks."""
    catalogue, profiles = readers.catalogue, readers.profiles
    names = log.columns
    user = pl.lit("everyone") if everyone else user_key(log).fill_null("?")
    tests = ["test_id", *(c for c in WITHIN if c in names)]
    contest = (
        tests if "test_id" in names else [c for c in ("product_id", "brief") if c in names][:1]
    )
    written = pl.col("text").fill_null("").str.strip_chars() != ""
    if "brief" in names:
        # A task without a brief cannot be told from another.
        written &= pl.col("brief").fill_null("").str.strip_chars() != ""
    frame = log.frame.filter(written & (creative_key(log) != HOLD)).select(
        user_name=user,
        creative_name=creative_key(log),
        channel_name=(pl.col("channel") if "channel" in names else pl.lit("any")).fill_null("any"),
        slot_name=(pl.col("slot") if "slot" in names else pl.lit("any")).fill_null("any"),
        contest_name=pl.concat_str([pl.col(c).fill_null("") for c in contest], separator="\x1f")
        if contest
        else pl.lit("all"),
        impressions=pl.col("impressions").cast(pl.Int64),
        clicks=pl.col("clicks").cast(pl.Int64),
    )
    frame = (
        frame.join(_index("user", profiles.user_ids), on="user_name")
        .join(_index("creative", catalogue.creative_ids), on="creative_name")
        .join(_index("channel", catalogue.channels), on="channel_name")
        .join(_index("slot", catalogue.slots), on="slot_name")
    )
    table = frame.collect(engine="streaming")
    segment = profiles.segments[table["user"].to_numpy()] if table.height else np.array([], str)
    parts = [pl.col("contest_name")]
    if of_users:
        table = table.with_columns(segment=pl.Series(segment, dtype=pl.String))
        parts.append(pl.col("segment"))
    order = ["contest", "creative", "user", "channel", "slot", "clicks"]
    return (
        table.with_columns(contest=pl.concat_str(parts, separator="\x1f"))
        .select(*order, "impressions")
        .sort(order)
    )


def _index(part: str, names: Sequence[str] | np.ndarray) -> pl.LazyFrame:
    """Return the table that turns names into their first places."""
    table = pl.LazyFrame({f"{part}_name": [str(n) for n in names]}).with_row_index(part)
    return table.unique(f"{part}_name", keep="first", maintain_order=True).with_columns(
        pl.col(part).cast(pl.Int64)
    )


__all__ = [
    "better_copy",
    "preference_pairs",
    "rewrites",
    "shared_words",
    "shrunken_ratio",
    "two_proportion_z",
]
