"""Headline tests as bandits: thousands of tests replayed at once, one array axis per test.

Axes: B tests, A arms of a test (padded to the largest test, `mask_BA`), G horizons. A horizon h
means h impressions per arm, so a test with a arms gets h * a impressions whatever the policy.

The policies are those of LOLA, "LLM-assisted online learning algorithm" (Ye, Yoganarasimhan and
Zheng 2025, Marketing Science 44(5), arXiv 2406.02611), which shows one impression at a time:

- UCB with the bound c / n + z sqrt(ln t / n), z = 0.08;
- LOLA itself, "LLM-2UCBs" (its algorithm 1): a prediction of an arm's click rate counts as n_aux
  impressions with that rate, and the arm with the highest minimum of the two bounds, with and
  without those, is shown; n_aux = 1000;
- UCB with the second bound alone;
- Thompson sampling from Beta posteriors, whose prior is that of click rates in other tests, and
  the same with n_aux = 1200 impressions of the prediction added to the prior (its algorithm 3).

Not printed in the paper, and our reading: an arm starts with one impression and no click, and t
counts from 2, so that no bound is infinite; ties are broken at random; explore-then-commit splits
its exploration evenly instead of at random; the Beta prior is fitted by moments.

Truth is a table of click rates. The observed rate k/n overstates the best arm (winner's curse);
the shrunken rate pulls each arm to its test's mean as far as the arms' spread within tests calls
for (beta-binomial moments; Kleinman 1973, "Proportions with extraneous variance").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from copygym.agents.delivery.rules import argmax_probabilities
from copygym.core.errors import UserError, unknown_name
from copygym.evaluation.headlines.kernel import play_commit, play_index, play_thompson


@dataclass(frozen=True)
class Tests:
    """B tests of up to A arms.

    Attributes:
        impressions_BA: float64, 0 in padding.
        clicks_BA: float64.
        mask_BA: bool, True for arms, which come first in each row.
        prediction_BA: float64 click rates that a model expects, 0 where there is none.
    """

    impressions_BA: np.ndarray
    clicks_BA: np.ndarray
    mask_BA: np.ndarray
    prediction_BA: np.ndarray

    def __post_init__(self) -> None:
        # The kernel takes the first arms_B columns of a row without looking at the mask.
        if (self.mask_BA[:, 1:] & ~self.mask_BA[:, :-1]).any():
            raise ValueError("a test has padding before an arm; arms must come first in each row")

    def __len__(self) -> int:
        """B."""
        return len(self.mask_BA)

    @property
    def arms_B(self) -> np.ndarray:
        """(B,) int64 number of arms."""
        return self.mask_BA.sum(axis=1)


@dataclass(frozen=True)
class Prior:
    """What is known of click rates before a test starts, fitted on other tests.

    Attributes:
        mean: click rate of an average arm.
        strength: impressions that the prior is worth for an arm of an unknown test.
    """

    mean: float
    strength: float


def pad_tests(
    test_N: np.ndarray,
    impressions_N: np.ndarray,
    clicks_N: np.ndarray,
    prediction_N: np.ndarray | None = None,
) -> Tests:
    """Return arms (rows) as padded tests; tests with one arm or without any click are left out.

    Args:
        test_N: test names, one per arm.
        impressions_N: impressions of the arm, at least 1.
        clicks_N: clicks of the arm.
        prediction_N: click rates that a model expects.

    Raises:
        UserError: no test has two arms and a click.
    """
    refusal = UserError("the log has no test with two arms and a click; give a log of A/B tests.")
    if len(test_N) == 0:
        raise refusal
    _, codes = np.unique(test_N, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    place = np.arange(len(codes)) - np.searchsorted(codes, codes, side="left")
    shape = (int(codes.max()) + 1, int(place.max()) + 1)

    def pad(values_N: np.ndarray) -> np.ndarray:
        table = np.zeros(shape)
        table[codes, place] = values_N[order]
        return table

    impressions, clicks = pad(impressions_N), pad(clicks_N)
    prediction = np.zeros(shape) if prediction_N is None else pad(prediction_N)
    mask = impressions > 0
    keep = (mask.sum(axis=1) >= 2) & (clicks.sum(axis=1) > 0)
    if not keep.any():
        raise refusal
    return Tests(impressions[keep], clicks[keep], mask[keep], prediction[keep])


def observed_rates(tests: Tests) -> np.ndarray:
    """Return clicks / impressions, (B, A) float64, 0 in padding."""
    return np.where(tests.mask_BA, tests.clicks_BA / np.maximum(tests.impressions_BA, 1), 0.0)


def within_test_strength(tests: Tests) -> float:
    """Return the beta-binomial strength of arms around their test's mean, by moments.

    With within-test variance of the true rates tau^2 = rho p (1 - p), rho is estimated by
    sum(S^2 - V) / sum(p (1 - p)), where S^2 is the observed variance of a test's rates and V its
    sampling variance; the strength is 1 / rho - 1. Infinite where arms do not differ.
    """
    rates, arms = observed_rates(tests), tests.arms_B
    p = tests.clicks_BA.sum(axis=1) / tests.impressions_BA.sum(axis=1)
    centre = rates.sum(axis=1) / arms
    spread = np.where(tests.mask_BA, (rates - centre[:, None]) ** 2, 0.0).sum(axis=1) / (arms - 1)
    inverse = np.where(tests.mask_BA, 1.0 / np.maximum(tests.impressions_BA, 1), 0.0)
    sampling = p * (1 - p) * inverse.sum(axis=1) / arms
    rho = float((spread - sampling).sum() / (p * (1 - p)).sum())
    return np.inf if rho <= 0 else max(1.0 / rho - 1.0, 0.0)


def shrunken_rates(tests: Tests) -> np.ndarray:
    """Return each arm's rate shrunk to its test's mean by `within_test_strength`, (B, A)."""
    strength = within_test_strength(tests)
    p = (tests.clicks_BA.sum(axis=1) / tests.impressions_BA.sum(axis=1))[:, None]
    if np.isinf(strength):
        rates = np.broadcast_to(p, tests.mask_BA.shape)
    else:
        rates = (tests.clicks_BA + strength * p) / (tests.impressions_BA + strength)
    return np.where(tests.mask_BA, rates, 0.0)


def fit_prior(tests: Tests) -> Prior:
    """Return the Beta prior of an arm's click rate over all arms, by moments."""
    arms = tests.mask_BA
    rates = observed_rates(tests)[arms]
    mean = float(tests.clicks_BA.sum() / tests.impressions_BA.sum())
    sampling = float((mean * (1 - mean) / tests.impressions_BA[arms]).mean())
    variance = max(float(rates.var()) - sampling, 1e-9)
    return Prior(mean, max(mean * (1 - mean) / variance - 1.0, 2.0))


@dataclass(frozen=True)
class Settings:
    """Options of the policies; the defaults are LOLA's.

    Attributes:
        z: width of the confidence bounds, in click rate.
        n_aux: impressions that a prediction counts for in `lola` and `prior_ucb`.
        n_aux_thompson: the same in `prior_thompson`.
        explore: share of the impressions that explore-then-commit spreads evenly, in (0, 1).
        epsilon: share of the impressions that epsilon-greedy spreads evenly, in [0, 1].
    """

    z: float = 0.08
    n_aux: float = 1000.0
    n_aux_thompson: float = 1200.0
    explore: float = 0.2
    epsilon: float = 0.1

    def __post_init__(self) -> None:
        for name in ("z", "n_aux", "n_aux_thompson"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise UserError(f"replay.{name} is {value}; it must be a number of at least 0.")
        if not 0 < self.explore < 1:
            raise UserError(f"replay.explore is {self.explore}; it must lie in (0, 1).")
        if not 0 <= self.epsilon <= 1:
            raise UserError(f"replay.epsilon is {self.epsilon}; it must lie in [0, 1].")


#: Policies by name: what they do, for reports.
POLICIES = {
    "uniform": "every arm equally often, to the end",
    "explore_then_commit": "a share of the impressions evenly, then the best arm so far",
    "epsilon_greedy": "the best arm so far, and now and then any",
    "thompson": "an arm with its posterior probability of being the best",
    "ucb": "the arm with the highest upper confidence bound",
    "prediction": "the arm with the highest predicted click rate, to the end",
    "prior_thompson": "thompson, with the predictions in its prior",
    "prior_ucb": "ucb, with the predictions as impressions already seen",
    "lola": "the smaller of the bounds of ucb and prior_ucb, the arm where that is highest",
    "best_fixed": "the truly best arm from the start (an oracle)",
}
#: Policies whose n_aux is chosen on other tests: the policy, and the setting to choose.
TUNED = {
    "prior_thompson_tuned": ("prior_thompson", "n_aux_thompson"),
    "lola_tuned": ("lola", "n_aux"),
}


def replay(
    name: str,
    tests: Tests,
    truth_BA: np.ndarray,
    horizons: Sequence[int],
    prior: Prior,
    settings: Settings,
    seed: int,
) -> np.ndarray:
    """Return a policy's expected clicks per impression of each arm, (B, G) float64.

    A test of a arms gets h * a impressions up to horizon h; what is returned is the sum of the
    true click rates of what was shown, divided by h (LOLA's "average clicks per test per
    period"). It has the mean of the clicks without their noise.

    Args:
        name: one of `POLICIES`.
        tests: arms, and predictions for the policies that use them.
        truth_BA: click rates.
        horizons: impressions per arm, ascending, at least 1.
        prior: of click rates, from other tests; Thompson sampling's.
        settings: of the policies.
        seed: luck of the impressions; the same for policies that are compared.

    Raises:
        UserError: an unknown policy.
    """
    if name not in POLICIES:
        raise unknown_name("policy", name, list(POLICIES))
    if not horizons or min(horizons) < 1 or sorted(horizons) != list(horizons):
        raise ValueError(f"horizons must be ascending and at least 1, not {list(horizons)}")
    arms_B = tests.arms_B
    fixed_B = _fixed_rate(name, tests, truth_BA)
    if fixed_B is not None:
        return np.repeat((arms_B * fixed_B)[:, None], len(horizons), axis=1)
    rng = np.random.default_rng(seed)
    key_B = rng.integers(0, 2**64, size=len(tests), dtype=np.uint64)
    horizon_G = np.asarray(horizons, dtype=np.int64)
    out_BG = np.empty((len(tests), len(horizons)))
    if name == "explore_then_commit":
        pulls_G = np.clip(np.rint(settings.explore * horizon_G), 1, horizon_G).astype(np.int64)
        play_commit(truth_BA, arms_B, key_B, horizon_G, pulls_G, out_BG)
    elif name in ("thompson", "prior_thompson"):
        n_aux = settings.n_aux_thompson if name == "prior_thompson" else 0.0
        clicks_BA = prior.strength * prior.mean + n_aux * tests.prediction_BA
        misses_BA = prior.strength * (1 - prior.mean) + n_aux * (1 - tests.prediction_BA)
        play_thompson(truth_BA, clicks_BA, misses_BA, arms_B, key_B, horizon_G, rng, out_BG)
    else:
        greedy = name == "epsilon_greedy"
        play_index(
            truth_BA,
            tests.prediction_BA,
            arms_B,
            key_B,
            horizon_G,
            0.0 if greedy else float(settings.z),
            float(settings.n_aux) if name in ("lola", "prior_ucb") else 0.0,
            name != "prior_ucb",
            float(settings.epsilon) if greedy else 0.0,
            out_BG,
        )
    return out_BG / horizon_G


def _fixed_rate(name: str, tests: Tests, truth_BA: np.ndarray) -> np.ndarray | None:
    """Return the (B,) click rate of a policy that never changes; None for one that learns."""
    if name == "uniform":
        return truth_BA.sum(axis=1) / tests.arms_B
    if name == "best_fixed":
        return truth_BA.max(axis=1)
    if name == "prediction":
        chosen_BA = argmax_probabilities(tests.prediction_BA, tests.mask_BA)
        return (chosen_BA * truth_BA).sum(axis=1)
    return None
