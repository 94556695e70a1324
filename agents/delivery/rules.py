"""Context-free bandit rules as pure functions over B independent problems of A arms.

Every rule maps statistics to probabilities: ``counts_BA`` (pulls), ``rewards_BA`` (sums of
rewards) and ``mask_BA`` (allowed arms), all (B, A), to (B, A) float64. Thousands of headline
tests are replayed in one call per round; a delivery agent is the case B = 1 whose statistics
serve N rows (everything broadcasts over the leading axes).
"""

from __future__ import annotations

import numpy as np


def mean_reward(
    counts_BA: np.ndarray, rewards_BA: np.ndarray, untried: float = np.inf
) -> np.ndarray:
    """Return the mean reward of each arm, (B, A); ``untried`` where there are no pulls."""
    tried = counts_BA > 0
    return np.where(tried, rewards_BA / np.where(tried, counts_BA, 1.0), untried)


def argmax_probabilities(scores_BA: np.ndarray, mask_BA: np.ndarray) -> np.ndarray:
    """Return equal probabilities over the allowed arms whose score is the highest, (B, A)."""
    scores = np.where(mask_BA, scores_BA, -np.inf)
    best = mask_BA & (scores == scores.max(axis=-1, keepdims=True))
    return best / best.sum(axis=-1, keepdims=True)


def epsilon_greedy_probabilities(
    counts_BA: np.ndarray,
    rewards_BA: np.ndarray,
    mask_BA: np.ndarray,
    epsilon: float | np.ndarray,
) -> np.ndarray:
    """Return epsilon-greedy probabilities (Sutton and Barto 2018, section 2.2), (B, A).

    Args:
        counts_BA: pulls.
        rewards_BA: sums of rewards.
        mask_BA: allowed arms.
        epsilon: share of uniform choices, scalar or (B, 1). Untried arms count as best, so that
            each is tried before any is exploited.
    """
    greedy = argmax_probabilities(mean_reward(counts_BA, rewards_BA), mask_BA)
    return (1.0 - epsilon) * greedy + epsilon * mask_BA / mask_BA.sum(axis=-1, keepdims=True)


def ucb1_index(
    counts_BA: np.ndarray, rewards_BA: np.ndarray, scale: float | np.ndarray = 1.0
) -> np.ndarray:
    """Return the index of UCB1, mean + scale * sqrt(2 ln n / n_j), (B, A); +inf if untried.

    Auer, Cesa-Bianchi and Fischer 2002, figure 1, where rewards lie in [0, 1] and scale is 1.

    Args:
        counts_BA: pulls n_j; n is their sum over arms.
        rewards_BA: sums of rewards.
        scale: width of the rewards' range, scalar or (B, 1).
    """
    total = np.maximum(counts_BA.sum(axis=-1, keepdims=True), 1.0)
    tried = np.where(counts_BA > 0, counts_BA, 1.0)
    width = scale * np.sqrt(2.0 * np.log(total) / tried)
    return mean_reward(counts_BA, rewards_BA) + width


def ucb1_probabilities(
    counts_BA: np.ndarray,
    rewards_BA: np.ndarray,
    mask_BA: np.ndarray,
    scale: float | np.ndarray = 1.0,
) -> np.ndarray:
    """Return UCB1's choice as probabilities; equals (untried arms at first) share, (B, A)."""
    return argmax_probabilities(ucb1_index(counts_BA, rewards_BA, scale), mask_BA)


def add_pulls(
    counts_A: np.ndarray, rewards_A: np.ndarray, actions_N: np.ndarray, rewards_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return one problem's statistics (A,), (A,) after N more pulls."""
    arms = len(counts_A)
    return (
        counts_A + np.bincount(actions_N, minlength=arms),
        rewards_A + np.bincount(actions_N, weights=rewards_N, minlength=arms),
    )
