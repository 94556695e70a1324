"""What follows a send besides the click: conversion, revenue, unsubscribe; and who sent what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.people.dynamics import Dynamics
from copygym.envs.simulator.response.bilinear import log_likelihood_terms
from copygym.envs.simulator.response.calibration import MAX_ERROR, small_logistic

#: Conversions' worth of belief in the product's mean revenue; the most, in the log's.
_REVENUE_PRIOR = 20.0
#: Prior precision of a creative's own offset of the unsubscribe logit (standard deviation 0.5).
_OFFSET_PRECISION = 4.0


def shrunk_revenue(
    catalogue: Catalogue, conversions_A: np.ndarray, revenue_A: np.ndarray
) -> np.ndarray:
    """Return (A,) float64 expected revenue given a conversion.

    The mean of an action is shrunk to its product's, the product's to the log's: ``(sum + m *
    parent) / (count + m)``, with m = 20 conversions for an action and, for a product, as many as
    its own vary: products have prices, and of goods at 20 and 160 few sales tell which is which
    (`_credibility`). Hold counts as a product of its own.

    Args:
        catalogue: names the product of each action.
        conversions_A: (A,) number of conversions.
        revenue_A: (A,) their revenue, currency.
    """
    names = np.array(["", *catalogue.product_ids])  # "" is hold's; creative -1 reads row 0
    product = np.unique(names[catalogue.creative_of_action + 1], return_inverse=True)[1]
    overall = revenue_A.sum() / max(conversions_A.sum(), 1e-9)
    n_P, sum_P = (np.bincount(product, values) for values in (conversions_A, revenue_A))
    prior = _credibility(product, conversions_A, revenue_A)
    # Where prices do not vary within products, the prior is worth nothing, nor has hold any sales.
    weight = n_P + prior
    mean_P = np.where(weight > 0, (sum_P + prior * overall) / np.maximum(weight, 1e-9), overall)
    return (revenue_A + _REVENUE_PRIOR * mean_P[product]) / (conversions_A + _REVENUE_PRIOR)


def _credibility(group_A: np.ndarray, count_A: np.ndarray, sum_A: np.ndarray) -> float:
    """Return how many observations the mean of all is worth beside a group's own mean.

    The ratio of the variance within groups to that between them, by the estimators of Buehlmann
    and Straub (1970, "Glaubwuerdigkeit fuer Schadensaetze"), at most `_REVENUE_PRIOR`; that where
    they cannot be told.

    Args:
        group_A: (A,) int64.
        count_A: (A,) observations.
        sum_A: (A,) their sum.
    """
    seen = count_A > 0
    group, count, mean = group_A[seen], count_A[seen], sum_A[seen] / count_A[seen]
    n_G = np.bincount(group, count)
    parts, groups = len(group), int((n_G > 0).sum())
    if groups < 2 or parts <= groups:
        return _REVENUE_PRIOR
    own_G = np.bincount(group, count * mean) / np.maximum(n_G, 1e-9)
    within = (count * (mean - own_G[group]) ** 2).sum() / (parts - groups)
    total = n_G.sum()
    overall = (n_G * own_G).sum() / total
    between = (n_G * (own_G - overall) ** 2).sum() - (groups - 1) * within
    between /= total - (n_G**2).sum() / total
    if between <= 0:
        return _REVENUE_PRIOR
    return float(min(within / between, _REVENUE_PRIOR))


@dataclass(frozen=True)
class Unsubscribes:
    """Logit of an unsubscribe after a send: ``base + fatigue * z + offset[creative]``.

    Attributes:
        base: logit of a rested user.
        fatigue: rise per unit of fatigue, at least 0.
        offset_K: (K,) float64 per creative, shrunk to 0.
        measured: names of the `Dynamics` fields that the log identified.
        notes: sentences for the report.
    """

    base: float
    fatigue: float
    offset_K: np.ndarray
    measured: tuple[str, ...]
    notes: tuple[str, ...] = ()


def fit_unsubscribes(
    declared: Dynamics,
    n_creatives: int,
    creative: np.ndarray,
    trials: np.ndarray,
    unsubscribes: np.ndarray,
    fatigue: np.ndarray | None,
    max_error: float = MAX_ERROR,
) -> Unsubscribes:
    """Fit the unsubscribe on the rows with a send.

    Two Newton fits take turns: base and fatigue slope given the creatives' offsets, then every
    offset given those, with a N(0, 0.5^2) prior that keeps rare creatives near 0.

    Args:
        declared: supplies the fatigue slope where the rows can't tell it.
        n_creatives: K.
        creative: (N,) int64.
        trials: (N,) sends.
        unsubscribes: (N,) of them that ended in an unsubscribe.
        fatigue: (N,) float64 z of each row; None where the log has no timeline.
        max_error: largest standard error of a measured slope.
    """
    trials, unsubscribes = trials.astype(np.float64), unsubscribes.astype(np.float64)
    slope, measured, notes = declared.unsubscribe_fatigue, ["unsubscribe_logit"], []
    z = np.zeros(len(trials)) if fatigue is None else fatigue
    one = np.ones((len(trials), 1))
    offset_K = np.zeros(n_creatives)
    free = fatigue is not None and float(np.var(z)) > 1e-8
    base = 0.0
    for turn in range(4):
        design = np.column_stack([one, z]) if free else one
        known = offset_K[creative] + (0.0 if free else slope * z)
        beta, covariance = small_logistic(design, trials, unsubscribes, known)
        base = float(beta[0])
        if free and turn == 0 and (error := float(np.sqrt(covariance[1, 1]))) > max_error:
            notes.append(
                f"unsubscribe_fatigue: the log only says {beta[1]:.3g} +- {error:.2g} (standard "
                f"error); the declared value {slope:.3g} stays."
            )
            free = False
            continue
        if free and beta[1] < 0:
            notes.append(f"unsubscribe_fatigue: the log says {beta[1]:.3g}; it is set to 0.")
            slope, free = 0.0, False
            measured.append("unsubscribe_fatigue")
            continue
        slope = float(beta[1]) if free else slope
        offset_K = _offsets(base + slope * z, n_creatives, creative, trials, unsubscribes)
    if free:
        measured.append("unsubscribe_fatigue")
    return Unsubscribes(base, slope, offset_K, tuple(measured), tuple(notes))


def _offsets(
    known: np.ndarray, k: int, creative: np.ndarray, trials: np.ndarray, successes: np.ndarray
) -> np.ndarray:
    """Return (K,) posterior modes of one offset per creative (Newton, one dimension each)."""
    offset_K = np.zeros(k)
    for _ in range(12):
        _, slope, curvature = log_likelihood_terms(known + offset_K[creative], trials, successes)
        gradient = np.bincount(creative, slope, k) - _OFFSET_PRECISION * offset_K
        step = gradient / (np.bincount(creative, curvature, k) + _OFFSET_PRECISION)
        offset_K = offset_K + np.clip(step, -1.0, 1.0)  # far from the mode Newton overshoots
    return offset_K


def logging_policy_table(
    segment: np.ndarray,
    slot: np.ndarray,
    action: np.ndarray,
    decisions: np.ndarray,
    propensity: np.ndarray | None,
    shape_GSA: tuple[int, int, int],
    prior: float = 20.0,
) -> np.ndarray:
    """Return (G, S, A) float64: the logging policy's mean probabilities in each segment and slot.

    Frequencies are shrunk towards the slot's over all segments with ``prior`` decisions. Where
    propensities are logged, an action's mean probability is estimated by the harmonic mean of its
    propensities instead: ``E[1 / p | a] = 1 / E[p]`` over the decisions of the cell, exact where
    the policy is constant there.

    Args:
        segment: (N,) int64 segment of each row's user.
        slot: (N,) int64.
        action: (N,) int64.
        decisions: (N,) number of decisions in the row.
        propensity: (N,) float64 of the action that was taken, NaN where unknown; or None.
        shape_GSA: numbers of segments, slots and actions.
        prior: strength of the shrinkage.
    """
    g, s, a = shape_GSA
    cell = (segment * s + slot) * a + action
    count_GSA = np.bincount(cell, decisions, g * s * a).reshape(shape_GSA)
    slot_SA = count_GSA.sum(axis=0) + 1e-9
    slot_SA = slot_SA / slot_SA.sum(axis=1, keepdims=True)
    total_GS1 = count_GSA.sum(axis=2, keepdims=True)
    table = (count_GSA + prior * slot_SA) / (total_GS1 + prior)
    if propensity is not None:
        known = np.isfinite(propensity)
        weight = np.bincount(cell[known], decisions[known], g * s * a)
        inverse = np.bincount(cell[known], decisions[known] / propensity[known], g * s * a)
        # A handful of rows says less than the frequencies around them.
        enough = weight.reshape(shape_GSA) >= 5
        harmonic = (weight / np.maximum(inverse, 1e-300)).reshape(shape_GSA)
        table = np.where(enough, harmonic, table)
    return table / table.sum(axis=2, keepdims=True)


def send_rate_table(
    sends_GS: np.ndarray, decisions_GS: np.ndarray, prior: float = 20.0
) -> np.ndarray:
    """Return (G, S) float64: P(send) in each segment and slot, for a log without hold rows.

    ``sends / decisions``, shrunk towards the slot's over all segments with ``prior`` decisions,
    where a segment's decisions are its users times how often the slot occurred. At most 1.

    Args:
        sends_GS: (G, S) number of sends.
        decisions_GS: (G, S) number of decisions, sends included.
        prior: strength of the shrinkage.
    """
    rate_S = sends_GS.sum(axis=0) / np.maximum(decisions_GS.sum(axis=0), 1e-9)
    return np.clip((sends_GS + prior * rate_S) / (decisions_GS + prior), 0.0, 1.0)


def with_holds(policy_GSA: np.ndarray, send_rate_GS: np.ndarray) -> np.ndarray:
    """Return (G, S, A): the policy that sends at the given rate, and then chooses as before.

    Hold gets ``1 - send_rate``, below 1; the other actions share the rest as in ``policy_GSA``.
    """
    send_GS1 = np.maximum(send_rate_GS, 1e-6)[:, :, None]
    sends = policy_GSA[:, :, 1:] / policy_GSA[:, :, 1:].sum(axis=2, keepdims=True)
    return np.concatenate([1.0 - send_GS1, send_GS1 * sends], axis=2)
