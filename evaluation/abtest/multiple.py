"""Several arms against one control: p-values and critical values for M comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import false_discovery_control, norm

from copygym.core.errors import UserError, unknown_name

#: How several comparisons with the control share the error level.
ADJUSTMENTS = {
    "holm": "Holm: any false claim at all, without assumptions",
    "dunnett": "Dunnett: any false claim at all, from the correlation by the shared control",
    "bh": "Benjamini and Hochberg: the share of false claims among the claims",
    "none": "none: every comparison by itself",
}


def adjusted_p(p_M: Any, adjust: str) -> np.ndarray:
    """Return p-values adjusted for M comparisons, (M,).

    Args:
        p_M: p-values in [0, 1].
        adjust: "holm" (Holm 1979), "bh" (Benjamini and Hochberg 1995) or "none". "bh" on the
            always-valid p-values of one look, which are inverse e-values, is e-BH and holds under
            any dependence (Wang and Ramdas 2022).
    """
    p = np.asarray(p_M, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise UserError(f"a p-value must lie in [0, 1]; got {p.tolist()}.")
    if adjust == "none":
        return p.copy()
    if adjust == "bh":
        return np.asarray(false_discovery_control(p))
    if adjust != "holm":
        raise unknown_name("adjustment", adjust, ["holm", "bh", "none"])
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(stepped, 1.0)
    return out


#: Nodes of the integral over the control's error.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(201)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def dunnett_p(z_M: Any, weights_M: Any) -> np.ndarray:
    """Return P(max |Z| >= |z|) under no effect at all, (M,).

    Dunnett (1955) in large samples, with each arm's own variance: Z_i = w_i U + sqrt(1 - w_i^2)
    e_i with the control's standardised error U shared, so the probability is one integral over U.
    (scipy.stats.dunnett takes raw values and one common variance.)

    Args:
        z_M: (M,) differences / standard errors.
        weights_M: (M,) sqrt(control's squared error / that of the difference), in (0, 1).
    """
    return np.array([1.0 - _within(abs(float(z)), np.asarray(weights_M)) for z in np.asarray(z_M)])


def dunnett_critical(weights_M: Any, alpha: float) -> float:
    """Return the c with P(max |Z| >= c) = alpha; arguments as in `dunnett_p`."""
    from scipy.optimize import brentq

    weights = np.asarray(weights_M, np.float64)
    top = float(norm.isf(alpha / (2 * len(weights)))) + 0.1
    bottom = float(norm.isf(alpha / 2)) - 0.1
    return float(brentq(lambda c: 1.0 - _within(c, weights) - alpha, max(bottom, 0.0), top))


def _within(c: float, weights: np.ndarray) -> float:
    """Return P(max |Z| < c)."""
    rest = np.sqrt(np.maximum(1.0 - weights**2, 1e-12))
    middle = weights[None, :] * _NODES[:, None]
    inside = norm.cdf((c - middle) / rest) - norm.cdf((-c - middle) / rest)
    return float(_WEIGHTS @ inside.prod(axis=1))
