"""Bandits over headlines, one impression at a time, in compiled loops over tests.

Axes: B tests, A arms (the first ``arms_B[b]`` are real), G horizons in impressions per arm.

The n-th impression of arm a in test b is clicked or not by a hash of (key of b, n, a), whoever
shows it and whenever (`copygym.envs.people.kernel`). Policies that get the same keys are therefore
compared on the same luck, and two that show an arm equally often have seen the same clicks of it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from copygym.envs.people.kernel import _uniform

# Purposes of a draw beside the clicks of arms 0, 1, 2, ...
_TIE, _EXPLORE = 1 << 16, 1 << 18


@njit(cache=True, error_model="numpy")
def play_index(  # type: ignore[no-untyped-def]
    truth_BA, prediction_BA, arms_B, key_B, horizon_G, z, n_aux, two_bounds, epsilon, out_BG
):
    """Fill ``out_BG`` with the expected clicks of an index policy up to each horizon.

    Each impression goes to the arm with the highest index, ties at random, or with probability
    ``epsilon`` to any arm. With counts n from 1 (an arm starts with one impression and no click),
    clicks c and w = z sqrt(ln(t + 2)), t from 0, an arm's bounds are

        U1 = c / n + w / sqrt(n)
        U2 = (c + n_aux p) / (n + n_aux) + w / sqrt(n + n_aux)

    for its prediction p; the index is min(U1, U2), or U2 alone without ``two_bounds``.

    Args:
        truth_BA: float64 click rates.
        prediction_BA: float64 p.
        arms_B: int64 number of arms.
        key_B: uint64, the luck of each test.
        horizon_G: int64, ascending.
        z: width of the bounds; 0 is greedy.
        n_aux: impressions that a prediction counts for; 0 is plain UCB.
        two_bounds: take the smaller bound.
        epsilon: share of impressions on any arm.
        out_BG: float64, written.
    """
    size = truth_BA.shape[1]
    width = z * np.sqrt(np.log(np.arange(2.0, 2.0 + horizon_G[-1] * size)))
    n, c = np.empty(size), np.empty(size)
    mean1, root1, mean2, root2 = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    for b in range(len(arms_B)):
        arms, key = arms_B[b], key_B[b]
        for a in range(arms):
            n[a], c[a], mean1[a], root1[a] = 1.0, 0.0, 0.0, 1.0
            mean2[a] = n_aux * prediction_BA[b, a] / (1.0 + n_aux)
            root2[a] = 1.0 / np.sqrt(1.0 + n_aux)
        value, t = 0.0, 0
        for g in range(len(horizon_G)):
            while t < horizon_G[g] * arms:
                w, best, shown, ties = width[t], -1.0, 0, 1
                if epsilon > 0.0 and _uniform(key, t, _EXPLORE) < epsilon:
                    shown = int(_uniform(key, t, _EXPLORE + 1) * arms)
                else:
                    for a in range(arms):
                        index = mean2[a] + w * root2[a]
                        if two_bounds:
                            index = min(index, mean1[a] + w * root1[a])
                        if index > best:
                            best, shown, ties = index, a, 1
                        elif index == best:
                            ties += 1
                            if _uniform(key, t, _TIE + a) * ties < 1.0:
                                shown = a
                rate = truth_BA[b, shown]
                value += rate
                if _uniform(key, int(n[shown]), shown) < rate:
                    c[shown] += 1.0
                n[shown] += 1.0
                mean1[shown] = c[shown] / n[shown]
                root1[shown] = 1.0 / np.sqrt(n[shown])
                total = n[shown] + n_aux
                mean2[shown] = (c[shown] + n_aux * prediction_BA[b, shown]) / total
                root2[shown] = 1.0 / np.sqrt(total)
                t += 1
            out_BG[b, g] = value


@njit(cache=True, error_model="numpy")
def play_thompson(  # type: ignore[no-untyped-def]
    truth_BA, clicks_BA, misses_BA, arms_B, key_B, horizon_G, rng, out_BG
):
    """Fill ``out_BG`` with the expected clicks of Thompson sampling up to each horizon.

    Each impression goes to the arm with the highest draw from its Beta posterior (Chapelle and Li
    2011, algorithm 2).

    Args:
        truth_BA: float64 click rates.
        clicks_BA: float64 > 0, the prior's pseudo-clicks.
        misses_BA: float64 > 0, the prior's pseudo-impressions without a click.
        arms_B: int64 number of arms.
        key_B: uint64, the luck of each test.
        horizon_G: int64, ascending.
        rng: a NumPy generator for the posterior draws.
        out_BG: float64, written.
    """
    size = truth_BA.shape[1]
    n, alpha, beta = np.empty(size, np.int64), np.empty(size), np.empty(size)
    for b in range(len(arms_B)):
        arms, key = arms_B[b], key_B[b]
        for a in range(arms):
            n[a], alpha[a], beta[a] = 1, clicks_BA[b, a], misses_BA[b, a]
        value, t = 0.0, 0
        for g in range(len(horizon_G)):
            while t < horizon_G[g] * arms:
                best, shown = -1.0, 0
                for a in range(arms):
                    draw = rng.beta(alpha[a], beta[a])
                    if draw > best:
                        best, shown = draw, a
                rate = truth_BA[b, shown]
                value += rate
                if _uniform(key, n[shown], shown) < rate:
                    alpha[shown] += 1.0
                else:
                    beta[shown] += 1.0
                n[shown] += 1
                t += 1
            out_BG[b, g] = value


@njit(cache=True, error_model="numpy")
def play_commit(truth_BA, arms_B, key_B, horizon_G, pulls_G, out_BG):  # type: ignore[no-untyped-def]
    """Fill ``out_BG`` with the expected clicks of explore-then-commit at each horizon.

    Every arm gets ``pulls_G`` impressions, then the arm with most clicks gets the rest of the
    horizon's; tied arms share it, which is their expectation.

    Args:
        truth_BA: float64 click rates.
        arms_B: int64 number of arms.
        key_B: uint64, the luck of each test.
        horizon_G: int64, ascending.
        pulls_G: int64 impressions per arm that explore, ascending.
        out_BG: float64, written.
    """
    clicks = np.empty(truth_BA.shape[1], np.int64)
    for b in range(len(arms_B)):
        arms, done, total = arms_B[b], 0, 0.0
        for a in range(arms):
            clicks[a] = 0
            total += truth_BA[b, a]
        for g in range(len(horizon_G)):
            for a in range(arms):
                for n in range(done, pulls_G[g]):
                    # Impressions are numbered from 1, as in the other policies.
                    clicks[a] += _uniform(key_B[b], n + 1, a) < truth_BA[b, a]
            done = pulls_G[g]
            best, ties, rate = -1, 0, 0.0
            for a in range(arms):
                if clicks[a] > best:
                    best, ties, rate = clicks[a], 1, truth_BA[b, a]
                elif clicks[a] == best:
                    ties += 1
                    rate += truth_BA[b, a]
            rest = (horizon_G[g] - done) * arms
            out_BG[b, g] = done * total + rest * rate / ties
