"""The accountant against closed forms and published numbers."""

import math
import re
import sys

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from copygym.core.errors import UserError
from copygym.rewards.private.budget import epsilon_spent, largest_attack_auc, noise_for


def gaussian_epsilon(noise, delta, rounds):
    """Epsilon of the Gaussian mechanism without sampling (Balle and Wang 2018, theorem 8)."""
    mu = math.sqrt(rounds) / noise

    def gap(epsilon):
        upper = norm.cdf(mu / 2 - epsilon / mu)
        return upper - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu) - delta

    return brentq(gap, 1e-3, 50)


def test_without_sampling_it_is_the_gaussian_mechanism():
    pytest.importorskip("opacus")
    exact = gaussian_epsilon(5.0, 1e-5, 10)
    found = epsilon_spent(5.0, 1e-5, 1.0, 10)
    assert exact <= found <= exact + 0.02
    # The moments accountant is an upper bound.
    assert exact < epsilon_spent(5.0, 1e-5, 1.0, 10, "rdp") < 1.15 * exact


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_abadis_example(accountant):
    """Abadi et al. 2016, section 3.2: q = 0.01, sigma = 4, T = 10,000, delta = 1e-5: 1.26.

    Later accountants are tighter by a quarter at most; strong composition says 9.34.
    """
    pytest.importorskip("opacus")
    assert 0.9 < epsilon_spent(4.0, 1e-5, 0.01, 10_000, accountant) <= 1.26


def test_the_noise_spends_the_budget_and_no_more():
    pytest.importorskip("opacus")
    noises = []
    for epsilon in (0.5, 4.0):
        noises.append(noise_for(epsilon, 1e-5, 1.0, 5, "rdp"))
        spent = epsilon_spent(noises[-1], 1e-5, 1.0, 5, "rdp")
        assert 0.98 * epsilon <= spent <= epsilon
    assert noises[0] > noises[1]


def test_the_bound_on_attacks():
    assert largest_attack_auc(None, 1e-5) == 1.0
    # No leak at all leaves a guess; log 3 makes one side three times as likely.
    assert largest_attack_auc(1e-12, 1e-12) == pytest.approx(0.5)
    assert largest_attack_auc(math.log(3), 1e-12) == pytest.approx(0.75)
    assert largest_attack_auc(1.0, 0.5) > largest_attack_auc(1.0, 1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 1e-5, 0.1, 10), "epsilon=0.0: give a privacy budget above 0"),
        ((-1.0, 1e-5, 0.1, 10), "epsilon=-1.0"),
        ((float("nan"), 1e-5, 0.1, 10), "epsilon=nan"),
        ((1.0, 1.0, 0.1, 10), "delta=1.0"),
        ((1.0, 0.0, 0.1, 10), "delta=0.0"),
        ((1.0, 1e-5, 0.0, 10), "sample_rate=0.0"),
        ((1.0, 1e-5, 0.1, 0), "rounds=0"),
        ((1.0, 1e-5, 0.1, 10, "moments"), "unknown accountant 'moments'"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message):
    with pytest.raises(UserError, match=re.escape(message)):
        noise_for(*arguments)


def test_a_budget_below_any_noise_is_refused(monkeypatch):
    utils = pytest.importorskip("opacus.accountants.utils")
    # The search itself takes minutes before it gives up.
    monkeypatch.setattr(utils, "MAX_SIGMA", 15)
    with pytest.raises(UserError, match="give a larger epsilon or fewer rounds"):
        noise_for(0.01, 1e-5, 1.0, 100, "rdp")


def test_without_opacus_it_says_how_to_get_it(monkeypatch):
    for name in ("opacus", "opacus.accountants", "opacus.accountants.utils"):
        monkeypatch.setitem(sys.modules, name, None)
    for call in (noise_for, epsilon_spent):
        with pytest.raises(UserError, match=re.escape("pip install 'copygym[privacy]'")):
            call(1.0, 1e-5, 0.1, 10)
