"""Metrics of a delivery policy, each with an interval over users.

Glossary (every key that results carry):

| key | meaning | unit |
|---|---|---|
| `ctr` | clicks on sends / sends | share |
| `clicks_per_user` | clicks of one user over the horizon, organic ones included | clicks |
| `organic_per_user` | of these, clicks in slots in which nothing was sent | clicks |
| `sends_per_user` | sends to one user over the horizon | sends |
| `cvr` | conversions / clicks | share |
| `revenue_per_user`, `cost_per_user`, `profit_per_user` | over the horizon | currency |
| `reward_per_user` | the reward shape's sum over the horizon | reward |
| `unsubscribe_rate` | users who unsubscribed within the horizon | share |
| `coverage` | creatives sent at least once / creatives in the catalogue | share |
| `effective_creatives` | exp(Shannon entropy of the sends over creatives) | creatives |
| `gini` | Gini index of the sends over creatives; 0 is even, 1 is one creative only | index |
| `intra_list_diversity` | chance that two sends to one user differ in creative | share |
| `novelty` | mean self-information of the creatives sent, under the log's popularity | bits |
| `step_regret` | best click probability now minus the actual one, mean over steps | share |

Novelty and coverage follow Castells, Hurley and Vargas (2015, Recommender Systems Handbook,
"Novelty and diversity in recommender systems"). The bootstrap can only lose creatives, never find
new ones, so the interval of `coverage` lies at and below its value.

A bootstrap of a sample without a single click (or unsubscribe) knows nothing of those to come, and
its interval would be a point. There the interval is the exact one of a count of 0; see `no_events`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from copygym.core.estimates import (
    RESAMPLES,
    Estimate,
    no_events,
    ratio,
    resample_sums,
    with_interval,
)

#: Per-user totals that an evaluation records, in the order of `Episodes.totals`' columns.
TOTALS = (
    "clicks",
    "sends",
    "conversions",
    "revenue",
    "cost",
    "reward",
    "unsubscribed",
    "steps",
    "step_regret",
    "novelty",
    "pairs",
    "differing_pairs",
    "organic",
)


@dataclass(frozen=True)
class Episodes:
    """What a policy did to U users; totals are means over a user's episodes.

    Attributes:
        users: (U,) int64 rows of the user model.
        totals: (U, len(TOTALS)) float64.
        creatives: (U, K) float64 sends of each creative.
    """

    users: np.ndarray
    totals: np.ndarray
    creatives: np.ndarray

    def __repr__(self) -> str:
        return f"Episodes({len(self.users)} users, {int(self.total('clicks').sum())} clicks)"

    def total(self, name: str) -> np.ndarray:
        """Return one total, (U,) float64."""
        return self.totals[:, TOTALS.index(name)]

    def take(self, rows: np.ndarray) -> Episodes:
        """Return the episodes of some users ((M,) int64 or (U,) bool)."""
        return Episodes(self.users[rows], self.totals[rows], self.creatives[rows])

    @property
    def columns(self) -> np.ndarray:
        """(U, len(TOTALS) + K) float64: everything that the metrics sum over users."""
        return np.column_stack([self.totals, self.creatives])


def _per_user(name: str) -> Callable[[np.ndarray], np.ndarray]:
    index = TOTALS.index(name)
    return lambda sums: ratio(sums[..., index], sums[..., -1])


def _share(top: str, bottom: str) -> Callable[[np.ndarray], np.ndarray]:
    upper, lower = TOTALS.index(top), TOTALS.index(bottom)
    return lambda sums: ratio(sums[..., upper], sums[..., lower])


def _ctr(sums: np.ndarray) -> np.ndarray:
    clicks = sums[..., TOTALS.index("clicks")] - sums[..., TOTALS.index("organic")]
    return ratio(clicks, sums[..., TOTALS.index("sends")])


def _profit(sums: np.ndarray) -> np.ndarray:
    money = sums[..., TOTALS.index("revenue")] - sums[..., TOTALS.index("cost")]
    return ratio(money, sums[..., -1])


def _creative_shares(sums: np.ndarray) -> np.ndarray:
    counts = sums[..., len(TOTALS) : -1]
    return ratio(counts, counts.sum(axis=-1, keepdims=True))


def _coverage(sums: np.ndarray) -> np.ndarray:
    return (sums[..., len(TOTALS) : -1] > 0).mean(axis=-1)


def _effective_creatives(sums: np.ndarray) -> np.ndarray:
    shares = _creative_shares(sums)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    return np.exp(-(shares * logs).sum(axis=-1))


def _gini(sums: np.ndarray) -> np.ndarray:
    shares = np.sort(_creative_shares(sums), axis=-1)
    k = shares.shape[-1]
    if k == 1:
        return np.zeros(shares.shape[:-1])
    # Normalised so that all sends on one of k creatives give 1.
    ranks = 2 * np.arange(1, k + 1) - k - 1
    return (ranks * shares).sum(axis=-1) / (k - 1)


@dataclass(frozen=True)
class Metric:
    """How a metric is computed and shown.

    Attributes:
        label: heading in tables.
        statistic: maps sums over users (..., M + 1), number of users last, to values (...).
        unit: "%" for shares, else "".
        chances: what the events that the metric counts are counted among, if it counts events of
            chance: a total, or "users".
    """

    label: str
    statistic: Callable[[np.ndarray], np.ndarray]
    unit: str = ""
    chances: str | None = None

    def without_events(self, sums: np.ndarray) -> Estimate | None:
        """Return the estimate of a sample whose events never happened, or always did, else None.

        Args:
            sums: (M + 1,) over users, number of users last.
        """
        if self.chances is None:
            return None
        n = float(sums[-1] if self.chances == "users" else sums[TOTALS.index(self.chances)])
        value = float(self.statistic(sums[None])[0])
        if n > 0 and value == 0:
            return no_events(n, share=self.unit == "%")
        if n > 0 and value == 1 and self.unit == "%":
            return Estimate(1.0, 1.0 - no_events(n, share=True).high, 1.0)
        return None


METRICS: dict[str, Metric] = {
    "ctr": Metric("CTR %", _ctr, "%", "sends"),
    "clicks_per_user": Metric("clicks/user", _per_user("clicks"), chances="users"),
    "organic_per_user": Metric("organic clicks/user", _per_user("organic")),
    "sends_per_user": Metric("sends/user", _per_user("sends")),
    "cvr": Metric("CVR %", _share("conversions", "clicks"), "%", "clicks"),
    "revenue_per_user": Metric("revenue/user", _per_user("revenue")),
    "cost_per_user": Metric("cost/user", _per_user("cost")),
    "profit_per_user": Metric("profit/user", _profit),
    "reward_per_user": Metric("reward/user", _per_user("reward")),
    "unsubscribe_rate": Metric("unsubscribes %", _per_user("unsubscribed"), "%", "users"),
    "coverage": Metric("coverage %", _coverage, "%"),
    "effective_creatives": Metric("effective creatives", _effective_creatives),
    "gini": Metric("Gini", _gini),
    "intra_list_diversity": Metric("intra-list diversity", _share("differing_pairs", "pairs")),
    "novelty": Metric("novelty, bits", _share("novelty", "sends")),
    "step_regret": Metric("step regret", _share("step_regret", "steps")),
}


def policy_metrics(
    policies: Mapping[str, Episodes],
    baseline: str,
    upper: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Return every policy's metrics and its paired differences.

    Args:
        policies: name -> episodes of the same users in the same order.
        baseline: policy from which ``differences`` are taken (policy - baseline).
        upper: policy from which ``regret`` is taken (upper - policy), or None.
        resamples: bootstrap resamples of users, shared by all policies, hence paired.
        seed: of the resamples.

    Returns:
        ``{"metrics" | "differences" | "regret": {policy: {metric: {value, low, high}}}}``.
    """
    draws: dict[str, dict[str, np.ndarray]] = {}
    values: dict[str, dict[str, float]] = {}
    still: dict[str, dict[str, Estimate | None]] = {}
    users = next(iter(policies.values())).users
    for name, episodes in policies.items():
        if not np.array_equal(episodes.users, users):
            raise ValueError(f"{name} was evaluated on other users; differences need the same ones")
        columns = episodes.columns
        sums = resample_sums(columns, resamples, seed)
        total = np.append(columns.sum(axis=0), len(columns))[None]
        draws[name] = {key: metric.statistic(sums) for key, metric in METRICS.items()}
        values[name] = {key: float(m.statistic(total)[0]) for key, m in METRICS.items()}
        still[name] = {key: metric.without_events(total[0]) for key, metric in METRICS.items()}

    def compare(first: str | None, second: str | None) -> dict[str, dict[str, float]]:
        tree = {}
        for key in METRICS:
            value, spread = 0.0, np.zeros(resamples)
            exact: list[Estimate | None] = []
            for name, sign in ((first, 1.0), (second, -1.0)):
                if name is not None:
                    value = value + sign * values[name][key]
                    spread = spread + sign * draws[name][key]
                    exact.append(still[name][key])
            tree[key] = (_exact(exact) or with_interval(value, spread)).to_dict()
        return tree

    result = {
        "metrics": {name: compare(name, None) for name in policies},
        "differences": {name: compare(name, baseline) for name in policies if name != baseline},
    }
    if upper is not None:
        result["regret"] = {name: compare(upper, name) for name in policies if name != upper}
    return result


def _exact(parts: Sequence[Estimate | None]) -> Estimate | None:
    """Return a policy, or a policy less another, none of which saw an event; else None."""
    if any(part is None for part in parts):
        return None
    one, *rest = [part for part in parts if part is not None]
    if not rest:
        return one
    other = rest[0]
    return Estimate(one.value - other.value, one.low - other.high, one.high - other.low)


def segment_metrics(
    policies: Mapping[str, Episodes],
    segments: np.ndarray,
    keys: tuple[str, ...],
    resamples: int = RESAMPLES,
    seed: int = 0,
    largest: int = 12,
) -> dict[str, dict]:
    """Return some metrics by policy for the largest segments.

    Args:
        policies: as in `policy_metrics`, U users each.
        segments: (U,) str segment of each user.
        keys: metrics to report.
        resamples: bootstrap resamples of the segment's users.
        seed: of the resamples.
        largest: how many segments to report; the others are left out and counted.

    Returns:
        ``{segment: {"users": int, "metrics": {policy: {metric: {value, low, high}}}}}``.
    """
    names, counts = np.unique(segments, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:largest]
    result: dict[str, dict] = {}
    for index in order:
        rows = segments == names[index]
        tree: dict[str, dict[str, dict[str, float]]] = {}
        for name, episodes in policies.items():
            columns = episodes.take(rows).columns
            sums = resample_sums(columns, resamples, seed)
            total = np.append(columns.sum(axis=0), len(columns))[None]
            tree[name] = {}
            for key in keys:
                metric = METRICS[key]
                exact = metric.without_events(total[0])
                value = float(metric.statistic(total)[0])
                tree[name][key] = (exact or with_interval(value, metric.statistic(sums))).to_dict()
        result[str(names[index])] = {"users": int(counts[index]), "metrics": tree}
    return result
