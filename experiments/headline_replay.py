"""Headline tests as bandits: thousands of tests replayed at once, one array axis per test.

Axes: B tests, A arms of a test (padded to the largest test, `mask_BA`), G horizons. A horizon h
means h impressions per arm, so a test with a arms gets h * a impressions whatever the policy.

Truth is a table of click rates. The observed rate k/n overstates the best arm (winner's curse);
the shrunken rate pulls each arm to its test's mean as far as the arms' spread within tests calls
for (beta-binomial moments; Kleinman 1973, "Proportions with extraneous variance").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from copygym.agents.bandit_rules import (
    argmax_probabilities,
    epsilon_greedy_probabilities,
    mean_reward,
    thompson_beta_probabilities,
    ucb1_probabilities,
)
from copygym.envs.errors import UserError, unknown_name


@dataclass(frozen=True)
class Tests:
    """B tests of up to A arms.

    Attributes:
        impressions_BA: float64, 0 in padding.
        clicks_BA: float64.
        mask_BA: bool, True for arms.
    """

    impressions_BA: np.ndarray
    clicks_BA: np.ndarray
    mask_BA: np.ndarray

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


def pad_tests(test_N: np.ndarray, impressions_N: np.ndarray, clicks_N: np.ndarray) -> Tests:
    """Return arms (rows) as padded tests; tests with one arm or without any click are left out.

    Args:
        test_N: test names, one per arm.
        impressions_N: impressions of the arm.
        clicks_N: clicks of the arm.

    Raises:
        UserError: no test has two arms and a click.
    """
    _, codes = np.unique(test_N, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    codes, impressions_N, clicks_N = codes[order], impressions_N[order], clicks_N[order]
    starts = np.searchsorted(codes, codes, side="left")
    place = np.arange(len(codes)) - starts
    shape = (int(codes.max()) + 1, int(place.max()) + 1)
    impressions, clicks = np.zeros(shape), np.zeros(shape)
    impressions[codes, place], clicks[codes, place] = impressions_N, clicks_N
    mask = impressions > 0
    keep = (mask.sum(axis=1) >= 2) & (clicks.sum(axis=1) > 0)
    if not keep.any():
        raise UserError("the log has no test with two arms and a click; give a log of A/B tests.")
    return Tests(impressions[keep], clicks[keep], mask[keep])


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


Rule = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def adaptive_rule(name: str, mask_BA: np.ndarray, prior: Prior, options: dict) -> Rule:
    """Return the rule (counts_BA, clicks_BA, rng) -> probabilities (B, A) of an adaptive policy.

    Args:
        name: "epsilon_greedy", "ucb1" or "thompson".
        mask_BA: arms.
        prior: of click rates; sets UCB1's width and Thompson's prior.
        options: ``epsilon`` for epsilon-greedy.
    """
    if name == "epsilon_greedy":
        epsilon = float(options.get("epsilon", 0.1))
        return lambda counts, clicks, rng: epsilon_greedy_probabilities(
            counts, clicks, mask_BA, epsilon
        )
    if name == "ucb1":
        # UCB1's width is made for rewards spread over [0, 1]; clicks have a far smaller spread.
        scale = float(np.sqrt(prior.mean * (1 - prior.mean)))
        return lambda counts, clicks, rng: ucb1_probabilities(counts, clicks, mask_BA, scale)
    if name == "thompson":
        beta = (prior.strength * prior.mean, prior.strength * (1 - prior.mean))
        return lambda counts, clicks, rng: thompson_beta_probabilities(
            counts, clicks, mask_BA, rng, beta
        )
    raise unknown_name("policy", name, list(POLICIES))


def replay_adaptive(
    rule: Rule,
    truth_BA: np.ndarray,
    mask_BA: np.ndarray,
    horizons: Sequence[int],
    rng: np.random.Generator,
    on_round: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """Return expected clicks up to each horizon, (B, G) float64.

    In a round a test gets as many impressions as it has arms, drawn from the rule's
    probabilities; the rule learns from the clicks when the round is over. What is returned adds
    up true click rates of what was shown, which has the mean of the clicks without their noise.
    """
    arms = mask_BA.sum(axis=1)
    counts, clicks = np.zeros(mask_BA.shape), np.zeros(mask_BA.shape)
    value = np.zeros(len(mask_BA))
    out = np.empty((len(mask_BA), len(horizons)))
    for round_ in range(1, max(horizons) + 1):
        shown = rng.multinomial(arms, rule(counts, clicks, rng))
        clicks += rng.binomial(shown, truth_BA)
        counts += shown
        value += (shown * truth_BA).sum(axis=1)
        for g in np.flatnonzero(np.asarray(horizons) == round_):
            out[:, g] = value
        on_round()
    return out


def replay_explore_then_commit(
    truth_BA: np.ndarray,
    mask_BA: np.ndarray,
    horizons: Sequence[int],
    share: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return expected clicks up to each horizon, (B, G): explore a share, then the best mean.

    Every arm gets ceil(share * h) impressions, then the one with most clicks gets the rest: an
    A/B test of the usual kind. No round matters, so it needs no loop over time.
    """
    if not 0 < share < 1:
        raise UserError(f"explore is {share}; it must lie in (0, 1).")
    arms = mask_BA.sum(axis=1)
    out = np.empty((len(mask_BA), len(horizons)))
    for g, horizon in enumerate(horizons):
        pulls = int(np.ceil(share * horizon))
        clicks = rng.binomial(np.where(mask_BA, pulls, 0), truth_BA)
        counts = np.where(mask_BA, pulls, 0).astype(np.float64)
        chosen = argmax_probabilities(mean_reward(counts, clicks), mask_BA)
        rest = arms * (horizon - pulls)
        out[:, g] = pulls * truth_BA.sum(axis=1) + rest * (chosen * truth_BA).sum(axis=1)
    return out


#: Policies by name: what they do, for reports.
POLICIES = {
    "uniform": "every arm equally often, to the end",
    "explore_then_commit": "a share of the impressions evenly, then the best arm so far",
    "epsilon_greedy": "the best arm so far, and now and then any",
    "ucb1": "the arm with the highest upper confidence bound",
    "thompson": "an arm with its posterior probability of being the best",
    "best_fixed": "the truly best arm from the start (an oracle)",
}


def replay(
    name: str,
    truth_BA: np.ndarray,
    mask_BA: np.ndarray,
    horizons: Sequence[int],
    prior: Prior,
    options: dict,
    rng: np.random.Generator,
    on_round: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """Return a policy's clicks per impression up to each horizon, (B, G) float64.

    Args:
        name: one of `POLICIES`.
        truth_BA: click rates.
        mask_BA: arms.
        horizons: impressions per arm.
        prior: of click rates, from other tests.
        options: ``epsilon`` and ``explore``.
        rng: luck of the impressions.
        on_round: called after every round of an adaptive policy.
    """
    arms = mask_BA.sum(axis=1)
    impressions_BG = arms[:, None] * np.asarray(horizons, dtype=np.float64)
    if name == "uniform":
        return np.repeat((truth_BA.sum(axis=1) / arms)[:, None], len(horizons), axis=1)
    if name == "best_fixed":
        return np.repeat(truth_BA.max(axis=1)[:, None], len(horizons), axis=1)
    if name == "explore_then_commit":
        share = float(options.get("explore", 0.2))
        clicks = replay_explore_then_commit(truth_BA, mask_BA, horizons, share, rng)
    else:
        rule = adaptive_rule(name, mask_BA, prior, options)
        clicks = replay_adaptive(rule, truth_BA, mask_BA, horizons, rng, on_round)
    return clicks / impressions_BG
