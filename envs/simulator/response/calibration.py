"""Calibration on held-out users, together with the effects of fatigue and repetition.

One small logistic regression does both: ``logit = a + b * base - fatigue_click * z -
repetition_click * log(1 + r)``, with the response model's logit as ``base``, fatigue z and earlier
sends r of the same creative. Its a and b are Platt's calibration (Platt 1999); its other two
coefficients are fields of `Dynamics`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from copygym.core.errors import unknown_name
from copygym.core.scores import isotonic_steps
from copygym.envs.people.dynamics import Dynamics
from copygym.envs.simulator.response.bilinear import log_likelihood_terms

#: Calibration methods; ``temperature`` is Guo et al. (2017), ``isotonic`` Zadrozny and Elkan
#: (2002).
METHODS = ("platt", "temperature", "isotonic", "none")

#: A state effect counts as measured if its standard error is at most this many logits per unit.
MAX_ERROR = 0.15


@dataclass(frozen=True)
class StateLayer:
    """From a response model's logit to a calibrated one, and what the state takes off it.

    Attributes:
        intercept: a.
        slope: b, at least 0.
        fatigue_click: loss of logit per unit of fatigue, at least 0.
        repetition_click: loss of logit per log(1 + repetitions), at least 0.
        curve: isotonic steps as (probabilities in, probabilities out); None for none.
        measured: which of ``fatigue_click`` and ``repetition_click`` the log identified.
        standard_errors: of the measured ones, logits per unit.
        notes: sentences for the report.
    """

    intercept: float = 0.0
    slope: float = 1.0
    fatigue_click: float = 0.0
    repetition_click: float = 0.0
    curve: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    measured: tuple[str, ...] = ()
    standard_errors: dict[str, float] | None = None
    notes: tuple[str, ...] = ()

    def apply(self, base: np.ndarray) -> np.ndarray:
        """Return the calibrated logit of a rested user, same shape as ``base``."""
        if self.curve is not None:
            base = _logit(np.interp(_sigmoid(base), *self.curve))
        return self.intercept + self.slope * base

    def state_effect(self, fatigue: np.ndarray, repetitions: np.ndarray) -> np.ndarray:
        """Return what fatigue and repetitions add to the logit (never positive)."""
        return -self.fatigue_click * fatigue - self.repetition_click * np.log1p(repetitions)

    def to_dict(self) -> dict[str, Any]:
        """Return plain types for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> StateLayer:
        """Undo `to_dict`."""
        curve = state["curve"]
        state = state | {name: tuple(state[name]) for name in ("measured", "notes")}
        return cls(
            **state | {"curve": None if curve is None else (tuple(curve[0]), tuple(curve[1]))}
        )


def fit_state_layer(
    base: np.ndarray,
    trials: np.ndarray,
    successes: np.ndarray,
    *,
    declared: Dynamics,
    fatigue: np.ndarray | None = None,
    repetitions: np.ndarray | None = None,
    method: str = "platt",
    max_error: float = MAX_ERROR,
    offset: np.ndarray | float = 0.0,
) -> StateLayer:
    """Fit the layer on held-out rows.

    A state effect that the rows can't tell (no timeline, no variation, or a standard error above
    ``max_error``) keeps its declared value; one of the wrong sign is set to 0. Both are noted.

    Args:
        base: (N,) float64 logits of the response model.
        trials: (N,) impressions.
        successes: (N,) clicks.
        declared: where the values come from that the rows can't tell.
        fatigue: (N,) float64 z of each row; None where the log has no timeline.
        repetitions: (N,) r of each row; None likewise.
        method: one of `METHODS`.
        max_error: largest standard error of a measured effect.
        offset: (N,) part of the logit that is known already.

    Raises:
        UserError: unknown method.
    """
    if method not in METHODS:
        raise unknown_name("calibration", method, list(METHODS))
    curve = _isotonic(base, trials, successes) if method == "isotonic" else None
    shaped = StateLayer(curve=curve).apply(base)
    columns = {"intercept": np.ones(len(base)), "slope": shaped}
    values = {"intercept": 0.0, "slope": 1.0}
    free = {"platt": ["intercept", "slope"], "temperature": ["slope"], "isotonic": ["intercept"]}
    fitted = list(free.get(method, []))
    notes: list[str] = []
    effects = {"fatigue_click": fatigue, "repetition_click": repetitions}
    for name, state in effects.items():
        columns[name], values[name] = np.zeros(len(base)), getattr(declared, name)
        if state is not None and float(np.var(state)) > 1e-8:
            columns[name] = -(np.log1p(state) if name == "repetition_click" else state)
            fitted.append(name)

    errors: dict[str, float] = {}
    for _ in range(len(fitted) + 1):
        known = offset + sum(columns[n] * values[n] for n in columns if n not in fitted)
        design = np.column_stack([np.zeros((len(base), 0)), *(columns[n] for n in fitted)])
        mean = np.array([1.0 if n == "slope" else 0.0 for n in fitted])
        beta, covariance = small_logistic(design, trials, successes, known, mean)
        error = dict(zip(fitted, np.sqrt(np.diag(covariance)), strict=True))
        estimate = dict(zip(fitted, beta, strict=True))
        verdict = _first_misfit(estimate, error, effects, max_error)
        if verdict is None:
            break
        name, value = verdict
        values[name] = getattr(declared, name) if value is None else value
        notes.append(_note(name, estimate[name], error[name], values[name], value is None))
        if value is not None and name in effects:
            errors[name] = float(error[name])
        fitted.remove(name)
    values |= {name: float(value) for name, value in estimate.items()}
    errors |= {name: float(error[name]) for name in fitted if name in effects}
    return StateLayer(
        **values, curve=curve, measured=tuple(errors), standard_errors=errors, notes=tuple(notes)
    )


def _first_misfit(
    estimate: dict[str, float],
    error: dict[str, float],
    effects: dict[str, Any],
    max_error: float,
) -> tuple[str, float | None] | None:
    """Return the first coefficient to fix: at 0 (wrong sign) or at its declared value (None)."""
    for name in estimate:
        if name in effects and error[name] > max_error:
            return name, None
    for name, value in estimate.items():
        if name != "intercept" and value < 0:
            return name, 0.0
    return None


def _note(name: str, estimate: float, error: float, value: float, declared: bool) -> str:
    if declared:
        return (
            f"{name}: the log only says {estimate:.3g} +- {error:.2g} (standard error), which is "
            f"too vague; the declared value {value:.3g} stays."
        )
    return (
        f"{name}: the log says {estimate:.3g} +- {error:.2g} (standard error), which has the wrong "
        "sign; it is set to 0."
    )


def small_logistic(
    design_ND: np.ndarray,
    trials: np.ndarray,
    successes: np.ndarray,
    offset: np.ndarray | float = 0.0,
    prior_mean: np.ndarray | None = None,
    prior_precision: float = 1e-2,
) -> tuple[np.ndarray, np.ndarray]:
    """Return mode (D,) and covariance (D, D), float64, of a small binomial logistic regression.

    Args:
        design_ND: (N, D) float64; D = 0 returns empty arrays.
        trials: (N,).
        successes: (N,).
        offset: (N,) known part of the logit.
        prior_mean: (D,) of the Gaussian prior; None is zero.
        prior_precision: of the prior, the same for all; weak, it only guards against flat data.
    """
    d = design_ND.shape[1]
    mean = np.zeros(d) if prior_mean is None else prior_mean
    beta, penalty = mean.copy(), prior_precision * np.eye(d)
    best = -np.inf
    previous = beta
    for _ in range(50):
        logit = design_ND @ beta + offset
        value, slope, curvature = log_likelihood_terms(logit, trials, successes)
        shift = beta - mean
        objective = float(value.sum()) - prior_precision / 2 * float(shift @ shift)
        if objective < best - 1e-9 * abs(best):
            beta = (beta + previous) / 2
            continue
        hessian = design_ND.T @ (design_ND * curvature[:, None]) + penalty
        gradient = design_ND.T @ slope - prior_precision * shift
        step = np.linalg.solve(hessian, gradient)
        best, previous, beta = objective, beta, beta + step
        if float(step @ gradient) < 1e-8:
            break
    return beta, np.linalg.inv(hessian)


def _isotonic(
    base: np.ndarray, trials: np.ndarray, successes: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    # Half a click is the least that the rows can say.
    least = 0.5 / (float(trials.sum()) + 1.0)
    knots, rates = isotonic_steps(_sigmoid(base), successes / trials, trials, least)
    return tuple(map(float, knots)), tuple(map(float, rates))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)
