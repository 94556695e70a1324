"""Always-valid tests: the boundary, its dual e-value, and what peeking does without them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from copygym.evaluation.abtest import sequential
from copygym.experiments.studies.statistics.peeking_simulation import ever_rejected, z_paths

#: Armitage, McPherson and Rowe (1969), table 2: nominal 5%, by number of looks.
PUBLISHED = {1: 0.05, 2: 0.083, 3: 0.107, 4: 0.126, 5: 0.142, 10: 0.193, 20: 0.248, 50: 0.320}


@pytest.mark.parametrize(("looks", "error"), PUBLISHED.items())
def test_peeking_error_is_the_published_one(looks, error):
    assert sequential.peeking_error(looks) == pytest.approx(error, abs=6e-4)


def test_a_hundred_looks():
    assert sequential.peeking_error(100, step=0.1) == pytest.approx(0.374, abs=1e-3)


@given(st.floats(0.01, 50), st.sampled_from([0.01, 0.05, 0.2]))
def test_interval_and_e_value_are_duals(fraction, alpha):
    z = float(sequential.critical_z(fraction, alpha))
    assert sequential.log_e_value(z, fraction, alpha) == pytest.approx(-np.log(alpha))
    assert sequential.always_valid_p(np.array(z), fraction, alpha) == pytest.approx(alpha)
    assert sequential.always_valid_p(np.array(0.0), fraction, alpha) == 1.0
    assert z > stats.norm.isf(alpha / 2)


def test_the_e_value_is_the_mixture_of_likelihood_ratios():
    """Normal data of unit variance after t units, effect ~ N(0, rho^2), by quadrature."""
    alpha, planned, t, z = 0.05, 400, 150, 1.7
    rho2 = sequential.mixture_scale(alpha) / planned
    mean = z / np.sqrt(t)

    def integrand(theta):
        return np.exp(t * theta * mean - t * theta**2 / 2) * stats.norm.pdf(theta, 0, np.sqrt(rho2))

    direct = integrate.quad(integrand, -3, 3, points=[0, mean])[0]
    assert sequential.log_e_value(z, t / planned, alpha) == pytest.approx(np.log(direct))


@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_the_interval_is_narrowest_at_the_planned_size(alpha):
    """At t = planned, no other scale of the mixture gives a narrower interval."""
    at_planned = sequential.critical_z(1.0, alpha)
    for other in (0.5, 0.9, 1.1, 2.0):
        assert sequential.critical_z(other, alpha) > at_planned
        # Tuned for another size, the width at this one grows.
        q = other * sequential.mixture_scale(alpha)
        width = np.sqrt(2 * (q + 1) / q * (0.5 * np.log1p(q) - np.log(alpha)))
        assert width > at_planned


def test_the_e_value_has_mean_one_without_effect():
    rng = np.random.default_rng(0)
    z = rng.normal(size=400_000)
    # A fraction for which the e-value has a variance.
    assert np.exp(sequential.log_e_value(z, 0.05, 0.05)).mean() == pytest.approx(1.0, abs=0.01)


def test_type_one_error_of_both_tests():
    """The naive test errs as theory says; the always-valid one keeps its level."""
    z_RL = z_paths(np.random.default_rng(1), 4000, 100, 1000, [0.05, 0.05])
    for looks in (1, 5, 100):
        naive = ever_rejected(z_RL, looks, 0.05, None).mean()
        assert naive == pytest.approx(sequential.peeking_error(looks), abs=0.025)
        for planned in (5, 100):
            assert ever_rejected(z_RL, looks, 0.05, planned).mean() < 0.05


@pytest.mark.slow
def test_type_one_error_to_a_hundredth():
    rng = np.random.default_rng(2)
    z_RL = np.concatenate([z_paths(rng, 5000, 100, 1000, [0.05, 0.05]) for _ in range(8)])
    for looks, error in {**PUBLISHED, 100: 0.374}.items():
        if 100 % looks == 0:
            assert ever_rejected(z_RL, looks, 0.05, None).mean() == pytest.approx(error, abs=0.01)
            assert ever_rejected(z_RL, looks, 0.05, 100).mean() <= 0.05
            assert ever_rejected(z_RL, looks, 0.05, 5).mean() <= 0.05
