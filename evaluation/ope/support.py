"""How much of a log speaks for a policy: effective rows, effective events, extreme weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copygym.evaluation.ope.terms import Terms


@dataclass(frozen=True)
class Support:
    """How much of the log speaks for a target policy.

    Attributes:
        ess: effective sample size, (sum w)^2 / sum w^2; at most N.
        max_weight: the largest importance weight.
        mean_weight: near 1 where the logging policy covers the target policy.
        n: logged decisions.
        mean_weight_error: standard error of ``mean_weight``.
        used: share of the decisions with a weight above 0.
        top_share: share of the weights that the heaviest 1% of the decisions carry.
    """

    ess: float
    max_weight: float
    mean_weight: float
    n: int
    mean_weight_error: float
    used: float
    top_share: float


def support(weights: np.ndarray) -> Support:
    """Return effective sample size, overlap and extremes of importance weights (N,)."""
    n, total = len(weights), float(weights.sum())
    heaviest = max(1, n // 100)
    top = float(np.partition(weights, n - heaviest)[n - heaviest :].sum())
    return Support(
        ess=_effective(weights),
        max_weight=float(weights.max()),
        mean_weight=total / n,
        n=n,
        mean_weight_error=float(weights.std(ddof=1)) / np.sqrt(n) if n > 1 else 0.0,
        used=float(np.count_nonzero(weights)) / n,
        top_share=top / total if total > 0 else 0.0,
    )


def effective_events(terms: Terms) -> float:
    """Return (sum w r)^2 / sum (w r)^2: how many equally heavy clicks speak for a value.

    With rare clicks it tells what the effective sample size hides: how skewed an estimate is, and
    so how far an interval can be trusted. 0 where no row with a weight has an outcome above 0.
    """
    gained = terms.weights * terms.rewards
    if terms.trials is not None:
        gained = gained * terms.trials
    return _effective(gained)


def _effective(values: np.ndarray) -> float:
    """Return (sum x)^2 / sum x^2, 0 where all are 0; of any size, as squares may not exist."""
    largest = float(np.abs(values).max(initial=0.0))
    if not largest:
        return 0.0
    scaled = values / largest
    return float(scaled.sum()) ** 2 / float((scaled**2).sum())
