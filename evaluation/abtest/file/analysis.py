"""What there is to say of an A/B test's file: a result of JSON types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import t as student

from copygym.core.errors import UserError
from copygym.core.estimates import Estimate, wilson
from copygym.evaluation.abtest.bandit import Running, contrast, decisions, share_of_propensities
from copygym.evaluation.abtest.compare import PLANNED, Arms, Comparison, check_level, compare
from copygym.evaluation.abtest.file.reader import TestFile, rare_units
from copygym.evaluation.abtest.multiple import adjusted_p
from copygym.evaluation.abtest.sample_ratio import (
    SRM_THRESHOLD,
    named_weights,
    planned_shares,
    sample_ratio,
    sequential_ratio_p,
)
from copygym.evaluation.abtest.sequential import FIRST_LOOK, critical_z

#: Looks that a note names from either end.
_SHOWN_LOOKS = 3
_CLAIMS = ("better", "worse")
_BANDIT_NOTES = (
    "means are by inverse propensity scores, because a bandit biases those of what was shown.",
    "rows are taken to be in the order of time.",
)


@dataclass(frozen=True)
class Question:
    """How a test is to be judged.

    Attributes:
        method: one of `abtest.METHODS`.
        level: 1 - alpha.
        adjust: one of `abtest.ADJUSTMENTS`.
        planned: units of all arms at which an always-valid interval is narrowest.
        ratio: planned ratio by name of the arm; None means even.
        threshold: p-value under which a sample-ratio mismatch is one.
    """

    method: str = "fixed"
    level: float = 0.95
    adjust: str = "holm"
    planned: int = PLANNED
    ratio: Mapping[str, float] | None = None
    threshold: float = SRM_THRESHOLD


def analyse(test: TestFile, question: Question) -> dict[str, Any]:
    """Return everything there is to say of a test, as JSON types.

    Raises:
        UserError: the test cannot be judged, or not in this way.
    """
    if test.propensity_N is not None:
        return _bandit(test, question)
    if test.looks and question.method == "fixed":
        raise UserError(
            "a fixed-horizon test may be looked at once; add --always-valid to use --look."
        )
    try:
        arms, adjusted = test.arms()
        found = _compare(arms, question)
    except UserError as error:
        raise UserError(f"{test.source}: {error}") from None
    looks = _looks(test, question)
    if looks:
        found = _with_earlier_looks(found, looks, question)
    notes = [*_look_notes(test, looks), *test.notes]
    if test.unit == "rows":
        notes.append(
            "every row is taken for a unit of its own; where a user has several, name the column "
            "by --user, and where rows are counts by day or page, say --rows counts."
        )
    if adjusted is not None:
        notes.append(
            f"CUPED: the covariate's correlation with the outcome is {adjusted.correlation:.3f}, "
            f"so the variance is {1 - adjusted.correlation**2:.3f} of what it was; it must be from "
            "before the test."
        )
    return {
        **_head(test, question),
        "arms": _arm_rows(arms, question),
        "sample_ratio": _ratio(arms, test, question),
        "comparisons": [_comparison(entry, question, test.clicks) for entry in found],
        "looks": looks,
        "cuped": None
        if adjusted is None
        else {"theta": adjusted.theta, "correlation": adjusted.correlation},
        "warnings": list(test.warnings),
        "notes": notes,
    }


def _look_notes(test: TestFile, looks: list[dict[str, Any]]) -> list[str]:
    """Say in which order the looks were taken, so that the reader can check it."""
    if not test.looks:
        return []
    said = f"looks are in the order of {test.look_order}: {_list_names(test.looks)}."
    left = len(test.looks) - len(looks)
    if left:
        said += f" {left} of the {len(test.looks)} had too few clicks or units to be looked at."
    return [said]


def _list_names(names: Sequence[str]) -> str:
    """Return names in order, the middle of many left out."""
    if len(names) <= 2 * _SHOWN_LOOKS:
        return ", ".join(names)
    return ", ".join([*names[:_SHOWN_LOOKS], "...", *names[-_SHOWN_LOOKS:]])


def _head(test: TestFile, question: Question) -> dict[str, Any]:
    return {
        "file": test.source,
        "unit": test.unit,
        "outcome": "clicks" if test.clicks else "value",
        "rate": test.rate,
        "control": test.names[0],
        "control_why": test.control_why,
        "method": question.method,
        "level": question.level,
        "adjust": question.adjust if len(test.names) > 2 else "none",
        "planned": question.planned if question.method == "always_valid" else None,
    }


def _compare(arms: Arms, question: Question) -> list[Comparison]:
    adjust = question.adjust if len(arms.names) > 2 else "none"
    return compare(
        arms,
        level=question.level,
        method=question.method,
        adjust=adjust,
        planned=question.planned,
    )


def _arm_rows(arms: Arms, question: Question) -> list[dict[str, Any]]:
    alpha, rows = 1.0 - question.level, []
    for index, name in enumerate(arms.names):
        n, mean = int(arms.units_A[index]), float(arms.mean_A[index])
        half = np.sqrt(arms.error_A[index])
        if question.method == "always_valid":
            half *= float(critical_z(arms.units_A.sum() / question.planned, alpha))
        else:
            half *= float(student.isf(alpha / 2, n - 1))
        low, high = mean - half, mean + half
        if arms.rare_A is not None and arms.rare_A[index] < FIRST_LOOK:
            # The normal interval of a rare event is far too short, and of none it is a point.
            if question.method == "fixed" and arms.binary:
                _, low, high = wilson(round(mean * n), n, level=question.level)
            elif half == 0:
                low = high = None
        rows.append({"arm": name, "units": n, "mean": {"value": mean, "low": low, "high": high}})
    return rows


def _ratio(arms: Arms, test: TestFile, question: Question) -> dict[str, Any]:
    if question.ratio is None:
        weights = planned_shares(None, len(arms.names))
    else:
        weights = planned_shares(named_weights(question.ratio, arms.names), len(arms.names))
    found = sample_ratio(arms.units_A, weights, question.threshold)
    p = found.p
    if question.method == "always_valid":
        p = sequential_ratio_p(arms.units_A, weights)
    return {
        "p": p,
        "mismatch": p < question.threshold,
        "threshold": question.threshold,
        "expected_share": dict(zip(arms.names, weights.tolist(), strict=True)),
    }


def _comparison(found: Comparison, question: Question, clicks: bool) -> dict[str, Any]:
    verdict = _verdict(found, question, clicks)
    return {
        "arm": found.arm,
        "difference": found.difference.to_dict(),
        "lift": None if found.lift is None else found.lift.to_dict(),
        "p": found.p,
        "p_adjusted": found.p_adjusted,
        "verdict": verdict,
        "note": "; ".join(filter(None, [found.note, _disagreement(found, verdict, question)])),
    }


def _disagreement(found: Comparison, verdict: str, question: Question) -> str:
    """Say why a verdict is not what the interval says, where it is not; else nothing."""
    apart = not found.difference.low <= 0 <= found.difference.high
    claimed = verdict in _CLAIMS
    turned = claimed and apart and (verdict == "better") != (found.difference.value > 0)
    if found.few or (apart == claimed and not turned):
        return ""
    if claimed and found.look:
        return (
            f"the verdict is that of look {found.look}, where p was least; the interval is the "
            "last look's and has come back, so see whether the effect is passing"
        )
    if claimed:
        return (
            "the verdict is by the adjusted p, whose steps claim more than the interval, which "
            "holds for all arms together"
        )
    return "the verdict is by the adjusted p; the interval is of this comparison alone"


def _verdict(found: Comparison, question: Question, clicks: bool) -> str:
    if found.p_adjusted <= 1.0 - question.level:
        # Where clicks (or buyers) are too few, only an exact test may claim anything.
        if found.few and not found.exact:
            return f"too few {'clicks' if clicks else 'events'} to say"
        difference = found.difference_then if found.look else found.difference.value
        return "better" if difference > 0 else "worse"
    return "no clear difference"


def _looks(test: TestFile, question: Question) -> list[dict[str, Any]]:
    """Return every look that has enough clicks, each with all data until then."""
    from copygym.core.progress import progress

    looks = []
    for index, name in enumerate(progress(test.looks, "looks", unit="look", leave=False)):
        try:
            arms, _ = test.arms(index)
        except UserError:
            continue  # too early: an arm without a click, say
        if (arms.units_A < 2 * FIRST_LOOK).any():
            continue
        if arms.rare_A is not None and (arms.rare_A < FIRST_LOOK).any():
            continue
        entries = [_comparison(entry, question, test.clicks) for entry in _compare(arms, question)]
        looks.append({"look": name, "units": int(arms.units_A.sum()), "comparisons": entries})
    return looks


def _with_earlier_looks(
    found: list[Comparison], looks: list[dict[str, Any]], question: Question
) -> list[Comparison]:
    """Return comparisons whose p-values are the least of all looks, as always-valid ones may be."""
    if question.adjust == "bh":
        return found  # e-BH holds for e-values of one look, not for their maximum
    decided = []
    for place, entry in enumerate(found):
        look = min(looks, key=lambda one: one["comparisons"][place]["p"])
        then = look["comparisons"][place]
        if then["p"] < entry.p:
            value = then["difference"]["value"]
            entry = replace(entry, p=then["p"], look=look["look"], difference_then=value)
        decided.append(entry)
    adjusted = adjusted_p([e.p for e in decided], question.adjust if len(found) > 1 else "none")
    return [replace(e, p_adjusted=float(adjusted[place])) for place, e in enumerate(decided)]


def _bandit(test: TestFile, question: Question) -> dict[str, Any]:
    if question.method == "fixed":
        raise UserError(
            "arms that a bandit allocates are judged by an always-valid test only; add "
            "--always-valid."
        )
    check_level(question.level)
    if question.adjust == "dunnett":
        raise UserError("Dunnett's adjustment is for a fixed horizon; take holm or bh.")
    if test.covariate_N is not None or test.looks:
        raise UserError("--covariate and --look do not go with --propensity.")
    if test.impressions_N is not None and (test.impressions_N != 1).any():
        raise UserError(
            "with --propensity every row is one decision; this file has rows of several "
            "impressions."
        )
    assert test.propensity_N is not None
    size, alpha = len(test.names), 1.0 - question.level
    batches = decisions(test.arm_N, test.propensity_N, test.outcome_N, size)
    share = alpha / (size - 1) if question.adjust == "holm" else alpha
    running = [
        contrast(batches, arm, 0, planned=question.planned, alpha=share) for arm in range(1, size)
    ]
    p = [float(entry.p_T[-1]) for entry in running]
    adjusted = adjusted_p(p, question.adjust if size > 2 else "none")
    units = np.bincount(test.arm_N, minlength=size)
    if (units == 0).any() or not all(np.isfinite(entry.low_T[-1]) for entry in running):
        raise UserError("the outcomes do not vary yet, so there is nothing to compare.")
    rare = rare_units(test.arm_N, test.outcome_N, None, size)
    few = np.zeros(size, bool) if rare is None else rare < FIRST_LOOK
    few_note = f"; fewer than {FIRST_LOOK} events in an arm: do not rely on it"
    means = [
        contrast(batches, arm, None, planned=question.planned, alpha=alpha) for arm in range(size)
    ]
    rows = [
        {"arm": name, "units": int(units[a]), "mean": _finite(_last(means[a]))}
        for a, name in enumerate(test.names)
    ]
    found = [
        Comparison(
            test.names[index + 1],
            _last(e),
            None,
            0.0,
            p[index],
            float(adjusted[index]),
            bool(few[index + 1] | few[0]),
            "no lift: not estimated for bandits" + few_note * bool(few[index + 1] | few[0]),
        )
        for index, e in enumerate(running)
    ]
    return {
        **_head(test, question),
        "unit": "decisions",
        "arms": rows,
        "sample_ratio": None,
        "comparisons": [_comparison(entry, question, test.clicks) for entry in found],
        "looks": [],
        "cuped": None,
        "warnings": [*_wrong_propensities(test), *test.warnings],
        "notes": [*_BANDIT_NOTES, *test.notes],
    }


def _wrong_propensities(test: TestFile) -> list[str]:
    """Say which arms were shown more or less often than their propensities say."""
    said = []
    for index, name in enumerate(test.names):
        mean, odd = share_of_propensities(test.arm_N, test.propensity_N, index)
        if odd:
            said.append(
                f"arm {name!r} was shown {mean:.3g} times as often as its propensities say (the "
                "mean of 1 / propensity over its rows must be 1 per row of the file), so that they "
                "are not those with which the arms were drawn; no effect is to be believed."
            )
    return said


def _finite(estimate: Estimate) -> dict[str, float | None]:
    """Return an estimate, without the ends that are not known yet."""
    return {key: v if np.isfinite(v) else None for key, v in estimate.to_dict().items()}


def _last(running: Running) -> Estimate:
    return Estimate(
        float(running.effect_T[-1]), float(running.low_T[-1]), float(running.high_T[-1])
    )
