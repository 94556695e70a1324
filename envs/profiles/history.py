"""Sufficient statistics of a user's past and the empirical-Bayes shrinkage that reads them.

Everything that a profile knows of the past is a sum, a minimum or a maximum over rows, so that a
10-million-row file is one streaming pass and a batch of new rows is added to what is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from copygym.envs.logs.catalogue import HOLD

#: copy that talks of money: clicks on it, against the user's other clicks, tell price sensitivity.
PRICE_TALK = (
    r"(?i)%|[$€£]|\b(?:off|saves?|savings?|discount|free|deal|cheap|cheaper|price|fee|charge"
    r"|offer|costs?)\b"
)

#: strength of a prior when the counts show no more spread than chance: shrink all the way.
STRONGEST = 10_000.0

#: prefix of the features that hold the interest in a topic.
INTEREST = "interest_"

#: what the affinities of a facet are called in a profile.
_PREFIX = {"topic": INTEREST, "channel": "channel_", "slot": "slot_", "price": ""}

#: features after the affinities.
_PROPENSITY, _RFM = "propensity", ("recency", "frequency", "monetary")

_DAY = 86_400_000_000.0  # microseconds, the unit of the log's timestamps


def row_statistics(
    columns: Sequence[str],
    user: pl.Expr,
    demographics: Sequence[str],
    facets: Mapping[str, Sequence[str]] | None,
) -> list[pl.Expr]:
    """Return the expressions that turn one log row into the statistics of one user.

    Args:
        columns: the log's columns.
        user: the expression that names the user of a row.
        demographics: ``user_*`` columns to keep.
        facets: levels per facet (``topic``, ``channel``, ``slot``, ``price``); None: no history.

    Returns:
        Expressions named as the columns of a state: ``user_id``, demographics, and with history
        ``n`` impressions, ``k`` clicks, ``revenue``, ``first``, ``last_click``, ``last`` and
        ``n:facet:level``, ``k:facet:level``. A hold row is a decision, not an exposure: it
        counts in none of them but ``last``.
    """
    out = [user.alias("user_id"), *(pl.col(name) for name in demographics)]
    if facets is None:
        return out
    sent = pl.lit(True)
    if "creative_id" in columns:
        sent = (pl.col("creative_id") != HOLD).fill_null(True)
    none = pl.lit(0, dtype=pl.Int64)

    def if_sent(name: str) -> pl.Expr:
        return pl.when(sent).then(pl.col(name).cast(pl.Int64)).otherwise(none)

    n, k = if_sent("impressions"), if_sent("clicks")
    money = pl.col("revenue").fill_null(0.0) if "revenue" in columns else pl.lit(0.0)
    out += [n.alias("n"), k.alias("k"), pl.when(sent).then(money).otherwise(0.0).alias("revenue")]
    if "timestamp" in columns:
        time = pl.col("timestamp").cast(pl.Int64)
        out += [
            pl.when(sent).then(time).alias("first"),
            pl.when(sent & (pl.col("clicks") > 0)).then(time).alias("last_click"),
            time.alias("last"),
        ]
    for facet, levels in facets.items():
        for level in levels:
            if facet == "price":
                here = pl.col("text").str.contains(PRICE_TALK)
            else:
                here = pl.col(facet) == level
            for name, count in (("n", n), ("k", k)):
                part = pl.when(here.fill_null(False)).then(count).otherwise(none)
                out.append(part.alias(f"{name}:{facet}:{level}"))
    return out


def add_up(frame: pl.LazyFrame, demographics: Sequence[str]) -> pl.DataFrame:
    """Return one row per user, sorted by id: sums of counts, earliest and latest times.

    A demographic that changes keeps its greatest value, which does not depend on the order of
    the rows. Rows and states go through this same function: that is what makes an update exact.
    """

    def merge(name: str) -> pl.Expr:
        if name == "first":
            return pl.col(name).min()
        if name in ("last", "last_click") or name in demographics:
            return pl.col(name).max()
        return pl.col(name).sum()

    names = [name for name in frame.collect_schema().names() if name != "user_id"]
    return (
        frame.filter(pl.col("user_id").is_not_null())
        .group_by("user_id")
        .agg([merge(name) for name in names])
        .collect(engine="streaming")
        .sort("user_id")
    )


def correlation(clicks: np.ndarray, impressions: np.ndarray, mean: np.ndarray) -> float:
    """Return the intra-class correlation of clicks by the method of moments.

    With k ~ BetaBinomial(n, mean mu, correlation rho), ``E (k - n mu)^2 = n mu (1 - mu) (1 +
    (n - 1) rho)``; summed over units and solved,

        rho = [sum (k - n mu)^2 - sum n mu (1 - mu)] / sum n (n - 1) mu (1 - mu)

    (after Kleinman 1973, doi 10.1080/01621459.1973.10481332). 0 where no unit has two
    impressions.

    Args:
        clicks: counts, any shape.
        impressions: counts, same shape.
        mean: prior means in (0, 1), same shape.
    """
    unit = mean * (1 - mean)
    pairs = float((impressions * (impressions - 1) * unit).sum())
    excess = float(((clicks - impressions * mean) ** 2 - impressions * unit).sum())
    return excess / pairs if pairs > 0 else 0.0


def affinity_correlation(clicks: np.ndarray, impressions: np.ndarray, mean: np.ndarray) -> float:
    """Return the correlation of a user's clicks within a level beyond that across levels.

    Two impressions of one user agree because of the user (any levels) and because of the user's
    affinity (same level). With residuals r = k - n mu and scales w = n sqrt(mu (1 - mu)), the
    part of the user alone is ``sum_i [(sum_v r)^2 - sum_v r^2] / sum_i [(sum_v w)^2 - sum_v
    w^2]``; what `correlation` finds within levels minus that is the affinity's.

    Args:
        clicks: (U, V) counts, a column per level.
        impressions: (U, V) counts.
        mean: (U, V) prior means in (0, 1).
    """
    r = clicks - impressions * mean
    w = impressions * np.sqrt(mean * (1 - mean))
    pairs = float((w.sum(axis=1) ** 2 - (w**2).sum(axis=1)).sum())
    across = float((r.sum(axis=1) ** 2 - (r**2).sum(axis=1)).sum()) / pairs if pairs > 0 else 0.0
    return correlation(clicks, impressions, mean) - max(across, 0.0)


def prior_strength(rho: float) -> float:
    """Return the beta prior's strength ``m = 1 / rho - 1`` in pseudo-impressions.

    A correlation that is not positive shows no spread beyond chance: the strength is `STRONGEST`.
    """
    return STRONGEST if rho <= 0 else float(np.clip(1 / rho - 1, 1.0, STRONGEST))


def shrink(
    clicks: np.ndarray, impressions: np.ndarray, mean: np.ndarray, strength: float
) -> np.ndarray:
    """Return the posterior mean rate ``(k + m mu) / (n + m)``, inside (0, 1).

    Without a prior (m = 0) it is the raw mean ``k / n``, and ``mu`` where nothing was shown.
    """
    trials = impressions + strength
    rate = np.where(trials > 0, (clicks + strength * mean) / np.where(trials > 0, trials, 1), mean)
    return np.clip(rate, 1e-6, 1 - 1e-6)


def facet_levels(frame: pl.LazyFrame, columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the levels per facet that the log has; ``price`` where there is copy to read."""
    present = [name for name in ("topic", "channel", "slot") if name in columns]
    facets: dict[str, tuple[str, ...]] = {}
    if present:
        distinct = frame.select(pl.col(present)).unique().collect(engine="streaming")
        for name in present:
            levels = sorted(distinct[name].drop_nulls().unique().to_list())
            # One level is no affinity: the user's propensity says all there is.
            if len(levels) > 1:
                facets[name] = tuple(levels)
    if "text" in columns:
        facets["price"] = ("price_sensitivity",)
    return facets


@dataclass(frozen=True)
class History:
    """Rates that a fit learned, and the features that they give.

    Attributes:
        facets: levels per facet.
        overall: click rate of the whole log.
        segment_rate: (G,) shrunk click rate per segment.
        strength: of the prior on a user's click rate, pseudo-impressions.
        facet_rate: (G, V) shrunk click rate per facet.
        facet_strength: of the prior on a user's rate per facet level.
        segment_revenue: (G,) currency per click.
        revenue_strength: of the prior on a user's revenue per click, pseudo-clicks.
        idle: (G, 2) mean recency and frequency of the segment's users, raw.
        scale: (2, P) mean and standard deviation of the raw features.
        rfm: whether recency, frequency and monetary are among the features.
    """

    facets: dict[str, tuple[str, ...]]
    overall: float
    segment_rate: np.ndarray
    strength: float
    facet_rate: dict[str, np.ndarray]
    facet_strength: dict[str, float]
    segment_revenue: np.ndarray
    revenue_strength: float
    idle: np.ndarray
    scale: np.ndarray
    rfm: bool = True

    @classmethod
    def fit(
        cls,
        state: pl.DataFrame,
        g: np.ndarray,
        n_segments: int,
        facets: dict[str, tuple[str, ...]],
        revenue_strength: float,
        own_strength: float | None = None,
        rfm: bool = True,
    ) -> History:
        """Estimate rates, prior strengths and scales.

        Args:
            state: one row per user (`add_up`).
            g: (U,) int64 segment of each user.
            n_segments: G.
            facets: levels per facet.
            revenue_strength: see the attribute.
            own_strength: of the priors on a user's rates; None estimates each.
            rfm: see the attribute.
        """
        n, k = _column(state, "n"), _column(state, "k")
        n_g, k_g = _sum_by(n, g, n_segments), _sum_by(k, g, n_segments)
        overall = float((k.sum() + 0.5) / (n.sum() + 1.0))
        flat = np.full(n_segments, overall)
        rate = _shrunk(k_g, n_g, flat)
        fixed = own_strength
        strength = prior_strength(correlation(k, n, rate[g])) if fixed is None else fixed
        facet_rate, facet_strength = {}, {}
        for facet, levels in facets.items():
            n_v, k_v = _facet_counts(state, facet, levels)
            facet_rate[facet] = _segment_facet_rate(
                _sum_by(n_v, g, n_segments), _sum_by(k_v, g, n_segments), rate, overall
            )
            if fixed is not None:
                facet_strength[facet] = fixed
                continue
            # What is on no level (copy that does not talk of money) is a level to compare with.
            rest = np.stack([k - k_v.sum(axis=1), n - n_v.sum(axis=1), rate[g]], axis=0)[..., None]
            levels_and_rest = zip((k_v, n_v, facet_rate[facet][g]), rest, strict=True)
            cells = (np.concatenate(pair, axis=1) for pair in levels_and_rest)
            facet_strength[facet] = prior_strength(affinity_correlation(*cells))
        money, tau = _column(state, "revenue"), 10 * revenue_strength
        per_click = money.sum() / max(k.sum(), 1.0)
        draft = cls(
            facets=facets,
            overall=overall,
            segment_rate=rate,
            strength=strength,
            facet_rate=facet_rate,
            facet_strength=facet_strength,
            segment_revenue=(_sum_by(money, g, n_segments) + tau * per_click) / (k_g + tau),
            revenue_strength=revenue_strength,
            idle=np.zeros((n_segments, 2)),
            scale=np.zeros((2, 0)),
            rfm=rfm,
        )
        return draft._fit_scale(state, g, n > 0)

    @property
    def names(self) -> tuple[str, ...]:
        """P feature names."""
        affinities = [_PREFIX[f] + level for f, levels in self.facets.items() for level in levels]
        return (*affinities, _PROPENSITY, *(_RFM if self.rfm else ()))

    def features(self, state: pl.DataFrame, g: np.ndarray, now: int | None) -> np.ndarray:
        """Return (U, P) float64, standardised.

        Args:
            state: users, with or without the columns of a past.
            g: (U,) int64 segment of each user.
            now: the time that recency is counted to, microseconds; None: the log has no times.
        """
        return (self._raw(state, g, now) - self.scale[0]) / self.scale[1]

    def _fit_scale(self, state: pl.DataFrame, g: np.ndarray, exposed: np.ndarray) -> History:
        if not exposed.any():
            raw = self._raw(state, g, None)
            return replace(self, scale=np.stack([raw.mean(axis=0), np.ones(raw.shape[1])]))
        recency, frequency = _idle(state, latest(state))
        seen = np.stack([recency, frequency], axis=1)[exposed]
        size = len(self.segment_rate)
        count = np.bincount(g[exposed], minlength=size)[:, None]
        idle = (_sum_by(seen, g[exposed], size) + seen.mean(axis=0)) / (count + 1)
        filled = replace(self, idle=idle)
        raw = filled._raw(state, g, latest(state))[exposed]
        deviation = raw.std(axis=0)
        deviation = np.where(deviation > 1e-9, deviation, 1.0)
        return replace(filled, scale=np.stack([raw.mean(axis=0), deviation]))

    def _raw(self, state: pl.DataFrame, g: np.ndarray, now: int | None) -> np.ndarray:
        n, k = _column(state, "n"), _column(state, "k")
        theta = shrink(k, n, self.segment_rate[g], self.strength)
        columns = []
        for facet, levels in self.facets.items():
            n_v, k_v = _facet_counts(state, facet, levels)
            mean = _shift(theta, self.segment_rate[g], self.facet_rate[facet][g])
            own = shrink(k_v, n_v, mean, self.facet_strength[facet])
            columns.append(_logit(own) - _logit(theta)[:, None])
        columns.append(_logit(theta)[:, None])
        if not self.rfm:
            return np.concatenate(columns, axis=1)
        money = _column(state, "revenue") + self.revenue_strength * self.segment_revenue[g]
        # A user without an exposure is unknown, not idle: the segment's mean stands in.
        idle = np.where((n > 0)[:, None], np.stack(_idle(state, now), axis=1), self.idle[g])
        per_click = money / (k + self.revenue_strength)
        # Refunds can outweigh what a user paid; a loss is a gain mirrored.
        monetary = np.sign(per_click) * np.log1p(np.abs(per_click))
        columns += [idle, monetary[:, None]]
        return np.concatenate(columns, axis=1)


def latest(state: pl.DataFrame) -> int | None:
    """Return the latest time of a state in microseconds; None where the log has no times."""
    last = state["last"].max() if "last" in state.columns else None
    return last if isinstance(last, int) else None


def _idle(state: pl.DataFrame, now: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return (U,) log1p days since the last click (else the first send), (U,) log1p clicks."""
    frequency = np.log1p(_column(state, "k"))
    if now is None or "first" not in state.columns:
        return np.zeros(state.height), frequency
    since = state.select(pl.coalesce("last_click", "first").fill_null(now)).to_series().to_numpy()
    return np.log1p(np.maximum(now - since, 0) / _DAY), frequency


def _segment_facet_rate(
    n_gv: np.ndarray, k_gv: np.ndarray, rate_g: np.ndarray, overall: float
) -> np.ndarray:
    """Return (G, V) rates shrunk towards segment effect + level effect on the logit scale."""
    flat = np.full(n_gv.shape[1], overall)
    n_v, k_v = n_gv.sum(axis=0), k_gv.sum(axis=0)
    level = _shrunk(k_v, n_v, flat)
    mean = _shift(rate_g, np.full(len(rate_g), overall), level[None, :])
    return _shrunk(k_gv, n_gv, mean)


def _shrunk(clicks: np.ndarray, impressions: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return shrink(clicks, impressions, mean, prior_strength(correlation(clicks, impressions, mean)))


def _shift(own: np.ndarray, base: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return (U, V) ``expit(logit own + logit level - logit base)``: own (U,), level (., V)."""
    x = (_logit(own) - _logit(base))[:, None] + _logit(level)
    return np.clip(1 / (1 + np.exp(-x)), 1e-6, 1 - 1e-6)


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)


def _column(state: pl.DataFrame, name: str) -> np.ndarray:
    """Return (U,) float64; zeros where the state has no such count."""
    if name not in state.columns:
        return np.zeros(state.height)
    return state[name].fill_null(0).cast(pl.Float64).to_numpy()


def _facet_counts(
    state: pl.DataFrame, facet: str, levels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    n, k = (
        np.stack([_column(state, f"{name}:{facet}:{level}") for level in levels], axis=1)
        for name in ("n", "k")
    )
    return n, k


def _sum_by(values: np.ndarray, group: np.ndarray, size: int) -> np.ndarray:
    """Return the sums of ``values`` (U, ...) by ``group`` (U,): (size, ...)."""
    out = np.zeros((size, *values.shape[1:]))
    np.add.at(out, group, values)
    return out
