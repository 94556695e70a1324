"""Where a log compares copy: the texts of a test, or of a product among the readers of an audience.

In a log of users the click rate of a text is compared within its product and the reader's audience
(the segment, where people have no audiences). Shapes: N rows, M arms, K creatives of the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
from scipy.special import logsumexp

from copygym.core.errors import UserError
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.logs.clicklog import ClickLog, creative_key
from copygym.envs.logs.from_log import catalogue_from_log
from copygym.envs.people.model import UserModel
from copygym.envs.profiles.builder import Profiles, user_key
from copygym.envs.tasks import CopyRows, copy_rows
from copygym.rewards.ctr.data import WITHIN

#: Least variance of true click-rate ratios within a contest: keeps the shrinkage finite.
_LEAST_SPREAD = 1e-4
#: Of so many texts the mean of a product is taken for a reader.
_OTHERS = 8

#: Maps N texts and the (N, P) profiles of their readers to N click logits.
Score = Callable[[Sequence[str], np.ndarray], np.ndarray]
#: Tells of N texts for N briefs which may be shown, (N,) bool.
Allowed = Callable[[Sequence[str], Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Contests:
    """Arms that the log compared, and the rows that show them.

    Attributes:
        readers: catalogue and profiles.
        name: of the log, for messages.
        of_users: whether rows are sends to users; else each arm is one row.
        contest: (M,) int64 contest of each arm: a test, or a product and an audience.
        group: (M,) int64 test or product of each arm.
        creative: (M,) int64 catalogue creative of each arm.
        shown: (M,) float64 impressions.
        clicked: (M,) float64 clicks.
        ratio: (M,) float64 click rate over the contest's, shrunken.
        best: (M,) bool, the highest ratio of a contest with several arms.
        arm: (N,) int64 arm of each row.
        clicks: (N,) int64 clicks of each row.
        task: user, channel and slot of each row, (N,) int64 each.
    """

    readers: Any
    name: str
    of_users: bool
    contest: np.ndarray
    group: np.ndarray
    creative: np.ndarray
    shown: np.ndarray
    clicked: np.ndarray
    ratio: np.ndarray
    best: np.ndarray
    arm: np.ndarray
    clicks: np.ndarray
    task: tuple[np.ndarray, np.ndarray, np.ndarray]

    def require(self, holds: bool, reason: str, allowed: Allowed | None = None) -> None:
        """Raise a `UserError` with ``reason`` unless it ``holds``."""
        if holds:
            return
        among = " among the texts that may be shown" if allowed is not None else ""
        raise UserError(
            f"{self.name}: {reason}{among}, so there is no better copy to learn from; lower min_z "
            "or use a longer log."
        )

    def may_show(self, allowed: Allowed | None) -> np.ndarray:
        """Return (M,) bool, which arms' texts are allowed."""
        may = np.ones(len(self.readers.catalogue.texts), dtype=bool)
        if allowed is not None:
            used = np.unique(self.creative)
            briefs = [self.readers.catalogue.brief_of(k) for k in used.tolist()]
            may[used] = np.asarray(allowed(self.texts(used), briefs), dtype=bool)
        return may[self.creative]

    def suits(
        self,
        rows: np.ndarray,
        score: Score,
        sharpness: float,
        may: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Return how much better each row's text suits its reader than its product's others do.

        ``exp(sharpness * logit)`` over its mean over the product's texts, for the same reader: a
        reader whom one text suits far better than the others weighs no more than one whom all suit
        alike.

        Args:
            rows: (m,) of the N rows.
            score: of texts for readers.
            sharpness: 0 makes all texts suit alike.
            may: (M,) bool, which arms' texts are allowed.
            rng: draws the others: eight a row where a product has more.

        Returns:
            (m,) float64 weights, 1 on average over a product's texts.
        """
        arm, profiles = self.arm[rows], self.readers.profiles.features[self.task[0][rows]]
        pairs = np.unique(np.stack([self.group[may], self.creative[may]], axis=1), axis=0)
        first = np.searchsorted(pairs[:, 0], self.group[arm], side="left")
        count = np.searchsorted(pairs[:, 0], self.group[arm], side="right") - first
        many, place = (count > _OTHERS)[:, None], np.arange(_OTHERS)
        drawn = (rng.random((len(rows), _OTHERS)) * count[:, None]).astype(np.int64)
        step = np.where(many, drawn, place % count[:, None])
        others = pairs[:, 1][first[:, None] + step]
        used = np.where(many, True, place < count[:, None])
        texts = self.texts(np.concatenate([self.creative[arm], others.ravel()]))
        repeated = np.concatenate([profiles, np.repeat(profiles, _OTHERS, axis=0)])
        found = sharpness * np.asarray(score(texts, repeated), dtype=np.float64)
        own, rest = found[: len(rows), None], found[len(rows) :].reshape(-1, _OTHERS)
        # The row's own text is among the drawn, so that no weight is without bound.
        rest, used = np.concatenate([rest, own], axis=1), np.concatenate([used, many], axis=1)
        mean = logsumexp(rest, axis=1, b=used) - np.log(used.sum(axis=1))
        return np.asarray(np.exp(own[:, 0] - mean))

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


def find_contests(log: ClickLog, users: UserModel | None, *, whole: bool = False) -> Contests:
    """Return the log's contests; ``whole``: those of all of a product's readers together."""
    name = log.source or log.name
    if not log.has("text"):
        raise UserError(
            f"{name}: the log has no column text, which a copywriter learns from; map one with "
            "columns or choose a log with texts."
        )
    readers: Any = users if users is not None else _everyone(log)
    of_users = log.has("user_id") or bool(log.user_features())
    table = _sends(log, readers, by_audience=of_users and not whole, everyone=users is None)
    if not table.height:
        raise UserError(
            f"{name}: no row shows a text of the catalogue to a user of the population; fit the "
            "users on this log."
        )
    arms = (
        table.group_by("group", "audience", "creative")
        .agg(pl.col("impressions").sum(), pl.col("clicks").sum())
        .sort("group", "audience", "creative")
        .with_row_index("arm")
    )
    if not of_users:
        # One row per arm: its first channel and slot.
        table = table.group_by("group", "creative", maintain_order=True).first()
    key = pl.col("arm").cast(pl.Int64)
    same = ["group", "audience", "creative"]
    table = table.join(arms.select(*same, key), on=same)
    table = table.sort("arm", "user", "channel", "slot", "clicks")
    contest, group, creative = (
        arms.select(pl.struct(columns).rank("dense")).to_series().to_numpy().astype(np.int64) - 1
        for columns in (["group", "audience"], ["group"], ["group", "creative"])
    )
    shown, clicked = (arms[c].to_numpy().astype(np.float64) for c in ("impressions", "clicks"))
    rate = np.bincount(contest, clicked) / np.bincount(contest, shown)
    ratio = two_levels(clicked, shown * rate[contest], creative)
    several = np.bincount(contest)[contest] > 1
    highest = np.full(contest.max() + 1, -np.inf)
    np.maximum.at(highest, contest, ratio)
    return Contests(
        readers=readers,
        name=name,
        of_users=of_users,
        contest=contest,
        group=group,
        creative=arms["creative"].to_numpy().astype(np.int64),
        shown=shown,
        clicked=clicked,
        ratio=ratio,
        best=several & (ratio == highest[contest]),
        arm=table["arm"].to_numpy(),
        clicks=table["clicks"].to_numpy(),
        task=tuple(table[c].to_numpy().astype(np.int64) for c in ("user", "channel", "slot")),  # type: ignore[arg-type]
    )


def two_levels(clicks: np.ndarray, expected: np.ndarray, creative: np.ndarray) -> np.ndarray:
    """Return the ratio of each arm, shrunken to its creative's, which is shrunken towards 1.

    Args:
        clicks: (M,) of each arm.
        expected: (M,) clicks at its contest's mean click rate.
        creative: (M,) int64 which arms show one creative of one group: to different audiences.
    """
    everywhere = shrunken_ratio(np.bincount(creative, clicks), np.bincount(creative, expected))
    if len(everywhere) == len(creative):  # one audience: there is one level
        return everywhere[creative]
    expected = expected * everywhere[creative]
    return np.asarray(everywhere[creative] * shrunken_ratio(clicks, expected))


def _everyone(log: ClickLog) -> Any:
    """Return the log's catalogue with one reader of whom nothing is known."""
    nobody = Profiles(np.array(["everyone"]), np.zeros((1, 0)), (), np.array(["everyone"]))
    return SimpleNamespace(catalogue=catalogue_from_log(log), profiles=nobody)


def _sends(log: ClickLog, readers: Any, *, by_audience: bool, everyone: bool) -> pl.DataFrame:
    """Return the rows that show a text: group, audience, the task, impressions and clicks."""
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
        group=pl.concat_str([pl.col(c).fill_null("") for c in contest], separator="\x1f")
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
    order = ["group", "audience", "creative", "user", "channel", "slot", "clicks"]
    audience = np.zeros(table.height, dtype=np.int64)
    if by_audience and table.height:
        audience = _audiences(profiles)[table["user"].to_numpy()]
    table = table.with_columns(audience=pl.Series(audience, dtype=pl.Int64))
    return table.select(*order, "impressions").sort(order)


def _audiences(profiles: Profiles) -> np.ndarray:
    """Return among whom each person's copy is compared, (U,) int64: audience, or else segment."""
    if profiles.audience is not None:
        return profiles.audience
    return np.unique(profiles.segments, return_inverse=True)[1].astype(np.int64)


def _index(part: str, names: Sequence[str] | np.ndarray) -> pl.LazyFrame:
    """Return the table that turns names into their first places."""
    table = pl.LazyFrame({f"{part}_name": [str(n) for n in names]}).with_row_index(part)
    return table.unique(f"{part}_name", keep="first", maintain_order=True).with_columns(
        pl.col(part).cast(pl.Int64)
    )


__all__ = [
    "Allowed",
    "Contests",
    "Score",
    "find_contests",
    "shrunken_ratio",
    "two_levels",
    "two_proportion_z",
]
