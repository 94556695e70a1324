"""Always-valid tests: they may be looked at as often as one likes.

The normal mixture of Robbins (1970), which Johari et al. (2017, "Peeking at A/B tests") use as
mSPRT and Waudby-Smith et al. (2024, "Time-uniform central limit theory and asymptotic confidence
sequences", theorem 2.2) show to hold, in large samples, for any mean with an estimated variance.
After t units, with standard error s = sigma / sqrt(t) and z = (estimate - truth) / s,

    |z| <= sqrt(2 (q + 1) / q * log(sqrt(q + 1) / alpha)),   q = t rho^2,

for all t at once with probability 1 - alpha. rho is fixed before the test: it decides at which t
the interval is narrowest. Here t is given as ``fraction`` of that planned size.

The approximation is as good as the normal one at the first look, so that look should not come
before every arm has `FIRST_LOOK` clicks and as many units without.
"""

from __future__ import annotations

import numpy as np
from scipy.special import lambertw
from scipy.stats import norm

#: Clicks, and units without, that every arm needs before an always-valid test is looked at.
FIRST_LOOK = 10


def mixture_scale(alpha: float) -> float:
    """Return q at the planned size: rho^2 times the t at which the interval is narrowest.

    The exact minimiser, by Lambert's W (Howard et al. 2021, "Time-uniform, nonparametric,
    nonasymptotic confidence sequences", section 3.5).

    Args:
        alpha: error level, in (0, 1).
    """
    return float(-lambertw(-(alpha**2) * np.exp(-1.0), -1).real - 1.0)


def critical_z(
    fraction: np.ndarray | float, alpha: float, tuned_for: float | None = None
) -> np.ndarray:
    """Return the half-width of the always-valid interval in standard errors, as ``fraction``.

    Args:
        fraction: units so far / units planned, > 0; any shape.
        alpha: error level over all looks together.
        tuned_for: level that sets the narrowest place; None takes ``alpha``.
    """
    q = np.asarray(fraction, np.float64) * mixture_scale(alpha if tuned_for is None else tuned_for)
    return np.asarray(np.sqrt(2.0 * (q + 1.0) / q * (0.5 * np.log1p(q) - np.log(alpha))))


def log_e_value(z: np.ndarray, fraction: np.ndarray | float, alpha: float) -> np.ndarray:
    """Return log of the mixture likelihood ratio against no effect (Johari et al. 2017, eq. 6).

    Its expectation under no effect is 1 at any stopping time; exp of it reaches 1 / alpha when
    and only when |z| reaches `critical_z`.

    Args:
        z: estimate / standard error, any shape.
        fraction: units so far / units planned, of the same shape or a scalar.
        alpha: level that sets the narrowest place.
    """
    q = np.asarray(fraction, np.float64) * mixture_scale(alpha)
    z = np.asarray(z, np.float64)
    return np.asarray(0.5 * q / (1.0 + q) * z**2 - 0.5 * np.log1p(q))


def always_valid_p(z: np.ndarray, fraction: np.ndarray | float, alpha: float) -> np.ndarray:
    """Return min(1, 1 / e-value): a p-value at whatever look one stops, as ``z``."""
    return np.exp(np.minimum(0.0, -log_e_value(z, fraction, alpha)))


def peeking_error(looks: int, alpha: float = 0.05, step: float = 0.05) -> float:
    """Return the type-I error of a fixed-horizon test looked at ``looks`` times, evenly spaced.

    Armitage, McPherson and Rowe (1969, "Repeated significance tests on accumulating data"): the
    density of the sum of k standard normal steps that has not crossed yet, carried from look to
    look by numerical integration.

    Args:
        looks: >= 1.
        alpha: nominal two-sided level of each look.
        step: grid step of the integration, in standard deviations of one look.
    """
    bound = norm.isf(alpha / 2)
    density, grid, left = np.ones(1), np.zeros(1), 1.0
    for look in range(1, looks + 1):
        # Midpoints, so that the crossing at the ends of the grid is not counted half.
        cells = int(np.ceil(2 * bound * np.sqrt(look) / step))
        width = 2 * bound * np.sqrt(look) / cells
        new = -bound * np.sqrt(look) + width * (np.arange(cells) + 0.5)
        density = norm.pdf(new[:, None] - grid[None, :]) @ density * width
        grid, left = new, float(density.sum())
    return 1.0 - left
