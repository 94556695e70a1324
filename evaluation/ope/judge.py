"""All policies' estimates from a log, and whether the log can support each of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from copygym.core.estimates import Estimate
from copygym.evaluation.ope.decisions import Decisions
from copygym.evaluation.ope.estimators import ESTIMATORS, MODEL_BASED, available_estimators
from copygym.evaluation.ope.intervals import Bootstrap, Valued, difference, value_terms
from copygym.evaluation.ope.policies import Target
from copygym.evaluation.ope.support import Support, effective_events, support
from copygym.evaluation.ope.terms import ActionValues, Terms, model_terms

#: Where less speaks for a policy than this, its estimates are called unsupported or weak.
LEAST_ESS, LEAST_EVENTS, MOST_OUTSIDE = 100, 10, 0.05
WEAK_EVENTS, _WEAK_SHARE, _WEAK_TOP, _WEAK_OUTSIDE = 50, 0.05, 0.2, 0.001
#: Verdicts, from good to bad.
SUPPORTED, WEAK, UNSUPPORTED = "supported", "weak", "not supported"


def evaluate(
    log: Decisions,
    targets: Sequence[Target],
    model: ActionValues | None,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return the estimates of all policies as JSON types.

    Args:
        log: N decisions.
        targets: policies; one called "logging" is what the others are compared with.
        model: response model; None leaves out the estimators that need one.
        resamples: of the bootstrap, shared by all policies.
        seed: of the resamples.
    """
    terms: dict[Hashable, Terms] = {t.name: _terms(log, t, model) for t in targets}
    bootstrap = Bootstrap(log.unit, resamples, seed)
    valued = value_terms(terms, bootstrap)
    base = next((t.name for t in targets if t.logging), None)
    policies = {
        t.name: _policy(log, t, terms[t.name], valued, base, model is not None) for t in targets
    }
    return {
        "log": log.log.name,
        "outcome": log.outcome,
        "rows": len(log),
        "impressions": float(log.sizes.sum()),
        "events": float((log.rewards * log.sizes).sum()),
        "users": None if log.unit is None else len(np.unique(log.unit)),
        "arms": len(log.arms),
        "propensities": "estimated" if log.estimated else "recorded",
        "propensity_check": [one._asdict() for one in log.propensity_check.arms],
        "resamples": resamples,
        "seed": seed,
        "synthetic": log.log.synthetic,
        "notes": list(log.log.notes),
        "remarks": [],
        "policies": policies,
    }


def _terms(log: Decisions, target: Target, model: ActionValues | None) -> Terms:
    logged = policy = None
    if model is not None and target.actions is not None:
        logged, policy = model_terms(log.actions, target.actions, model)
    elif model is not None and target.logging:
        # What logging would do is what it did, so that DR is the plain mean.
        logged = policy = model.of_actions(log.actions)
    return Terms(log.rewards, target.weights, logged, policy, log.trials)


def _policy(
    log: Decisions,
    target: Target,
    terms: Terms,
    valued: Mapping[Hashable, Mapping[str, Valued]],
    base: str | None,
    has_model: bool,
) -> dict[str, Any]:
    held = support(target.weights)
    found, missing = {}, {}
    for name in ESTIMATORS:
        reason = _reason(name, target, terms, held, has_model)
        if reason:
            missing[name] = reason
            continue
        one = valued[target.name][name]
        entry: dict[str, Any] = {
            "value": one.bootstrap.value,
            "bootstrap": _ends(one.bootstrap),
            "normal": _ends(one.normal),
        }
        if one.constant is not None:
            entry["constant"] = one.constant if np.isfinite(one.constant) else "none"
        if base is not None and not target.logging and name in valued[base]:
            entry["lift"] = difference(one, valued[base][name]).to_dict()
        found[name] = entry
    verdict, warnings = judge(log, target, held, found)
    return {
        "note": target.note,
        "verdict": verdict,
        "warnings": warnings,
        "support": {**asdict(held), "outside": target.outside, "events": effective_events(terms)},
        "headline": headline(found),
        "estimates": found,
        "missing": missing,
    }


def _ends(estimate: Estimate) -> dict[str, float]:
    return {"low": estimate.low, "high": estimate.high}


def headline(found: Mapping[str, Any]) -> str | None:
    """Return the estimator that short tables show: DR where there is one, else SNIPS."""
    return next((name for name in ("dr", "snips", "dm") if name in found), None)


def _reason(name: str, target: Target, terms: Terms, held: Support, has_model: bool) -> str | None:
    """Return why an estimator has no meaning here, or None."""
    if name in MODEL_BASED and name not in available_estimators(terms):
        if not has_model:
            return "no response model was asked for"
        return "the policy's probabilities are known for the logged arms only"
    if name == "dm":
        return None
    if held.used == 0:
        return "the policy never does what the log did, so that every weight is 0"
    if name not in MODEL_BASED and effective_events(terms) == 0:
        return "no row that the policy would have produced has an outcome above 0"
    return None


def judge(
    log: Decisions, target: Target, held: Support, found: Mapping[str, Any]
) -> tuple[str, list[str]]:
    """Return whether the log can support a policy, and what to know of it.

    Args:
        log: the decisions.
        target: the policy.
        held: its weights.
        found: its estimates.
    """
    what = log.outcome
    events = effective_events(Terms(log.rewards, target.weights, trials=log.trials))
    if target.logging:
        # What was done is known without weights, and from few events not exactly.
        return _of_evidence(*evidence(held, events, what))
    bad: list[str] = list(log.propensity_check.contradictions)
    weak: list[str] = []
    if target.outside > _WEAK_OUTSIDE:
        text = (
            f"{target.outside:.1%} of its decisions are on arms that the log never took "
            f"({', '.join(target.outside_arms)}): they count as no {what}, so its value is "
            "understated."
        )
        (bad if target.outside > MOST_OUTSIDE else weak).append(text)
    few, wide = evidence(held, events, what)
    bad += few
    weak += wide
    expected = 1.0 - target.outside
    gap = held.mean_weight - expected
    if held.used > 0 and abs(gap) > max(4 * _weight_error(log, target), 0.02):
        # More than there can be; or less, without small propensities that luck may have left out.
        sure = abs(gap) > MOST_OUTSIDE and (gap > 0 or log.propensity_check.constant)
        (bad if sure else weak).append(
            f"the mean weight is {held.mean_weight:.3f} where {expected:.3f} was to be expected: "
            "the propensities are not those of the log, or it never tries what the policy does "
            "in some places."
        )
    if _apart(found):
        weak.append("SNIPS and DM lie outside each other's interval: the model may be wrong.")
    if log.estimated:
        weak.append(
            "propensities are estimated: right only if the log holds all that the choice "
            "depended on."
        )
    return _of_evidence(bad, weak)


def _of_evidence(bad: Sequence[str], weak: Sequence[str]) -> tuple[str, list[str]]:
    return verdict_of(bad, weak), [*bad, *weak]


def evidence(held: Support, events: float, what: str) -> tuple[list[str], list[str]]:
    """Return why a log cannot support a policy's value, and what makes it weak.

    Args:
        held: the policy's weights.
        events: its `effective_events`.
        what: the outcome that they are of.
    """
    bad: list[str] = []
    weak: list[str] = []
    ess, n = held.ess, held.n
    if held.used == 0:
        bad.append("the log never did what it would do: only the response model can speak for it.")
    elif ess < LEAST_ESS:
        bad.append(
            f"only {ess:,.0f} effective rows of {n:,} speak for it: the log cannot support it."
        )
    elif ess < _WEAK_SHARE * n:
        weak.append(f"{ess:,.0f} effective rows of {n:,} speak for it: expect wide intervals.")
    if held.used > 0 and events < WEAK_EVENTS:
        text = (
            f"its value rests on {events:.1f} effective rows with {what}: intervals from so few "
            "are too short."
            if events
            else f"no row that it would have produced has {what}."
        )
        (weak if events >= LEAST_EVENTS else bad).append(text)
    if held.top_share > _WEAK_TOP:
        weak.append(f"the heaviest 1% of the rows carry {held.top_share:.0%} of the weight.")
    return bad, weak


def verdict_of(bad: Sequence[str], weak: Sequence[str]) -> str:
    """Return the verdict that goes with such reasons."""
    return UNSUPPORTED if bad else WEAK if weak else SUPPORTED


def _weight_error(log: Decisions, target: Target) -> float:
    """Return the standard error of a policy's mean weight, with users as clusters."""
    apart = target.weights - target.weights.mean()
    sums = apart if log.unit is None else np.bincount(log.unit, apart)
    return float(np.sqrt((sums**2).sum())) / len(log)


def _apart(found: Mapping[str, Any]) -> bool:
    if not {"snips", "dm"} <= found.keys():
        return False
    one, two = found["snips"], found["dm"]
    low, high = one["bootstrap"]["low"], one["bootstrap"]["high"]
    middle, half = (low + high) / 2, high - low
    # Twice the interval's width: DM's own interval tells nothing of the model's fault.
    return bool(abs(two["value"] - middle) > max(half, 1e-12))
