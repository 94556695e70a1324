"""Do the propensities of a log agree with how often its arms were taken?

Where a logged action was drawn with the probability that the log gives it, an arm that could be
drawn everywhere has ``E[1{arm taken} / propensity] = 1``: the Horvitz-Thompson estimate of the
number of decisions (1952, doi 10.1080/01621459.1952.10483446). An arm that some decisions did not
offer has less, and none can have more. So a mean above 1, in the log or in any part of it that was
known before the choice, says that the propensities are not those of the log. One below 1 says so
only where the arm must have been on offer everywhere: where the arms' propensities never change and
add up to 1.

Axes: N decisions, A arms, U independent units, G groups of decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog

#: How every sentence begins that says that propensities cannot be those of the log.
CONTRADICTED = "the propensities contradict the arms' shares"
#: Chance of a false alarm over all arms and groups of a log, and how far a mean must be from 1 to
#: matter: propensities are rounded, and a log of millions of rows would tell.
_ALARM, _TOLERANCE, _TOLERANCE_IN_GROUP = 1e-4, 0.02, 0.05
#: Groups are made of so many columns, and of so many levels of each.
_COLUMNS, _LEVELS = 12, 12
#: Rows that `propensity_notes` looks at; of longer logs it takes whole units.
_ROWS = 2_000_000


class ArmMean(NamedTuple):
    """The mean of ``1{arm taken} / propensity`` over decisions.

    Attributes:
        arm: name.
        share: of the decisions in which it was taken.
        mean: 1 is expected where the arm could be drawn everywhere, less elsewhere.
        low: lower end of its interval; all arms' intervals hold together.
        high: upper end.
        group: the part of the log that is meant, as words; "" for all of it.
    """

    arm: str
    share: float
    mean: float
    low: float
    high: float
    group: str = ""


@dataclass(frozen=True)
class PropensityCheck:
    """What a log's propensities say of themselves.

    Attributes:
        arms: one entry per arm, over the whole log.
        contradictions: sentences; with one of them no weight by these propensities means anything.
        constant: whether each arm has one propensity throughout. Where they differ, a mean below 1
            may also come from small ones that luck has left out.
    """

    arms: tuple[ArmMean, ...]
    contradictions: tuple[str, ...]
    constant: bool = False


def check_propensities(
    arms: Sequence[str],
    actions: np.ndarray,
    propensities: np.ndarray,
    sizes: np.ndarray | None = None,
    unit: np.ndarray | None = None,
    groups: Mapping[str, np.ndarray] | None = None,
) -> PropensityCheck:
    """Compare the propensities of a log with the arms' shares.

    Args:
        arms: A names.
        actions: (N,) int64 into ``arms``.
        propensities: (N,) float64 in (0, 1] of the actions taken.
        sizes: (N,) float64 impressions; None: one each.
        unit: (N,) int64 of who is independent of each other; None: every row is.
        groups: name -> (N,) str, what was known before the choice.
    """
    n = len(actions)
    sizes = np.ones(n) if sizes is None else np.asarray(sizes, dtype=np.float64)
    impossible = _impossible(arms, actions, propensities, sizes)
    if impossible:
        return PropensityCheck((), (impossible,))
    unit = np.arange(n) if unit is None else np.unique(unit, return_inverse=True)[1]
    coded = {
        name: np.unique(np.asarray(values, dtype=np.str_), return_inverse=True)
        for name, values in list((groups or {}).items())[:_COLUMNS]
    }
    tests = len(arms) * (1 + sum(len(levels) for levels, _ in coded.values()))
    row = (arms, actions, propensities, sizes, unit)
    everywhere = _means(*row, np.zeros(n, dtype=np.int64), tests)[0]
    total = _constant(arms, actions, propensities)
    sure = [one for one in everywhere if one.low > 1 and one.mean > 1 + _TOLERANCE]
    if total is not None and total < 1 + _TOLERANCE:
        # One propensity an arm, and one in all: no decision can have lacked an arm.
        sure += [one for one in everywhere if one.high < 1 and one.mean < 1 - _TOLERANCE]
    if not sure:
        for name, (levels, code) in coded.items():
            for level, means in zip(levels, _means(*row, code, tests), strict=True):
                sure += [
                    one._replace(group=f"{name} {level}")
                    for one in means
                    if one.low > 1 and one.mean > 1 + _TOLERANCE_IN_GROUP
                ]
    found = () if not sure else (_sentence(sure),)
    return PropensityCheck(tuple(everywhere), found, total is not None)


def _impossible(
    arms: Sequence[str], actions: np.ndarray, propensities: np.ndarray, sizes: np.ndarray
) -> str | None:
    """Return what needs no mean: choices without any chance, and choices without any luck."""
    n_arms, decisions = len(arms), float(sizes.sum())
    if n_arms > 1 and bool((propensities == 1).all()):
        return (
            f"{CONTRADICTED}: every propensity is 1 though {n_arms} arms were taken; either "
            "nothing was left to chance, and then the log cannot tell what another choice would "
            "have brought, or these are not the probabilities of the choices."
        )
    row = int(np.argmin(propensities))
    # Over all decisions and arms, so many choices of that chance or less are to be expected.
    if decisions * n_arms * float(propensities[row]) < 1e-6:
        return (
            f"{CONTRADICTED}: {arms[actions[row]]!r} was once taken with propensity "
            f"{propensities[row]:.3g}, and no choice as unlikely is met in {decisions:,.0f} "
            f"decisions between {n_arms} arms; write the probability with which it was made."
        )
    return None


def _means(
    arms: Sequence[str],
    actions: np.ndarray,
    propensities: np.ndarray,
    sizes: np.ndarray,
    unit: np.ndarray,
    code: np.ndarray,
    tests: int,
) -> list[list[ArmMean]]:
    """Return by group the mean of every arm taken there.

    The standard error is the larger of two: that of the data, with units as clusters, and the one
    to be expected were the mean 1. An arm that was rarely taken has too small a one by its data
    alone, one with a few large weights by expectation alone.
    """
    from scipy.stats import t

    a, n_groups = len(arms), int(code.max()) + 1
    pair = np.unique(unit * n_groups + code, return_inverse=True)
    size_P = np.bincount(pair[1], sizes)  # impressions of a unit in a group
    group_P = pair[0] % n_groups
    total_G = np.bincount(group_P, size_P, n_groups)
    squares_G = np.bincount(group_P, size_P**2, n_groups)
    cell, place = np.unique(pair[1] * a + actions, return_inverse=True)
    weight_C = np.bincount(place, sizes / propensities)
    taken_C = np.bincount(place, sizes)
    owner = cell // a
    at = group_P[owner] * a + cell % a

    def sum_by_cell(values: np.ndarray | None) -> np.ndarray:
        return np.bincount(at, values, n_groups * a).reshape(n_groups, a)

    weight, taken, units = sum_by_cell(weight_C), sum_by_cell(taken_C), sum_by_cell(None)
    crossed, squared = sum_by_cell(weight_C * size_P[owner]), sum_by_cell(weight_C**2)
    total, squares = total_G[:, None], squares_G[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = weight / total
        of_data = squared - 2 * mean * crossed + mean**2 * squares
        expected = squares * (squared / crossed - 1.0)
        error = np.sqrt(np.maximum(np.maximum(of_data, expected), 0.0)) / total
        half = t.isf(_ALARM / tests / 2, np.maximum(units - 1, 1)) * error
    return [
        [
            ArmMean(
                str(arms[k]),
                float(taken[g, k] / total_G[g]),
                float(mean[g, k]),
                float(max(mean[g, k] - half[g, k], 0.0)),
                float(mean[g, k] + half[g, k]),
            )
            for k in np.flatnonzero(units[g]).tolist()
        ]
        for g in range(n_groups)
    ]


def _constant(arms: Sequence[str], actions: np.ndarray, propensities: np.ndarray) -> float | None:
    """Return the sum of the arms' propensities where each arm taken has but one, else None."""
    taken = np.unique(actions)
    least, most = np.full(len(arms), np.inf), np.zeros(len(arms))
    np.minimum.at(least, actions, propensities)
    np.maximum.at(most, actions, propensities)
    if (most[taken] - least[taken] > 1e-9).any():
        return None
    return float(most[taken].sum())


def _sentence(sure: Sequence[ArmMean]) -> str:
    one = max(sure, key=lambda mean: abs(np.log(mean.mean)))
    where = f"where {one.group}" if one.group else "over the log"
    more = f" ({len(sure)} arms are off)" if len(sure) > 1 and not one.group else ""
    late = f" (or {one.group.split()[0]} was known only after it)" if one.group else ""
    return (
        f"{CONTRADICTED}: {where}, 1 / propensity of {one.arm!r} adds up to {one.mean:.3g} "
        f"[{one.low:.3g}, {one.high:.3g}] per decision, where 1 is expected{more}; record the "
        f"probability with which each choice was really made{late}."
    )


def known_groups(log: ClickLog, frame: pl.DataFrame) -> dict[str, np.ndarray]:
    """Return what a log tells before a choice, as few levels: features and the slot, (N,) str each.

    Numbers of many values become quarters; columns of more than 12 other values are left out.
    """
    found: dict[str, np.ndarray] = {}
    names = [*log.user_features(), *log.context_features(), *(["slot"] if log.has("slot") else [])]
    for name in names:
        column = frame[name]
        if column.n_unique() <= _LEVELS:
            found[name] = column.cast(pl.String).fill_null("unknown").to_numpy()
        elif column.dtype.is_numeric():
            values = column.cast(pl.Float64).to_numpy()
            edges = np.nanquantile(values, [0.25, 0.5, 0.75])
            labels = np.array(["in its 1st quarter", *(f"in quarter {q}" for q in (2, 3, 4))])
            found[name] = labels[np.searchsorted(edges, np.nan_to_num(values), side="left")]
    return found


def propensity_notes(log: ClickLog) -> list[str]:
    """Return the contradictions between a log's propensities and its arms' shares, as sentences.

    None of a log without propensities, of one arm, or of several tests, whose arms are not on offer
    to everybody. Of a log of more than two million rows whole units are looked at, chosen by hash.
    """
    from copygym.evaluation.ope.decisions import arms_of

    keys = [column for column in ("creative_id", "text") if log.has(column)]
    if not keys or not log.has("propensity"):
        return []
    frame = log.frame.filter(pl.col("propensity").is_not_null())
    parts = 1 + log.height // _ROWS
    if parts > 1:
        row = pl.col("user_id") if log.has("user_id") else pl.int_range(pl.len())
        frame = frame.filter(row.hash() % parts == 0)
    rows = frame.collect(engine="streaming")
    if not rows.height or (log.has("test_id") and rows["test_id"].n_unique() > 1):
        return []
    arms, actions = arms_of(log, rows)
    if len(arms) < 2:
        return []
    found = check_propensities(
        arms,
        actions,
        rows["propensity"].to_numpy(),
        rows["impressions"].to_numpy().astype(np.float64),
        rows["user_id"].rank("dense").to_numpy() if log.has("user_id") else None,
        known_groups(log, rows),
    )
    return list(found.contradictions)
