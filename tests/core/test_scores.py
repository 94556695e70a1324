"""Scores of rates on counts: values worked out by hand. More stand with the fidelity card."""

import numpy as np
import pytest

from copygym.core.scores import design_effect, equal_mass_bins, log_losses, wilson_interval


def test_a_rows_bin_is_that_of_the_middle_of_its_mass():
    # Of 4 impressions the middles are at 0.5, 2 and 3.5, so that the second half begins at 2.
    p, n = np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 1.0])
    assert equal_mass_bins(p, n, 2).tolist() == [0, 1, 1]
    # A row that holds most of the mass leaves bins empty; the last one is never passed.
    assert equal_mass_bins(p, np.array([1.0, 8.0, 1.0]), 10).tolist() == [0, 5, 9]


def test_a_design_effect_divides_the_counts():
    """Kish (1965): n impressions of clusters say as much as n / deff independent ones."""
    assert wilson_interval(81, 263, 2.5) == pytest.approx(wilson_interval(81 / 2.5, 263 / 2.5))
    # One below 1 does not make an interval narrower.
    assert wilson_interval(81, 263, 0.5) == wilson_interval(81, 263)


def test_log_losses_of_rows_by_hand():
    losses = log_losses(np.array([0.25, 0.5]), np.array([3.0, 2.0]), np.array([1.0, 0.0]))
    assert losses == pytest.approx([-np.log(0.25) - 2 * np.log(0.75), 2 * np.log(2)])


def test_a_design_effect_by_hand():
    # Two users of two impressions, one of them all clicks: rate 1/2, (2 - 1)^2 + (0 - 1)^2 = 2
    # over 4 * 1/4 = 1.
    n, k = np.ones(4), np.array([1.0, 1.0, 0.0, 0.0])
    assert design_effect(n, k, np.array([0, 0, 1, 1])) == pytest.approx(2.0)
    # Users who are all alike vary less than independent impressions would; 1 is the least.
    assert design_effect(n, k, np.array([0, 1, 0, 1])) == 1.0
    assert design_effect(n, np.zeros(4), np.array([0, 0, 1, 1])) == 1.0
