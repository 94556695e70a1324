"""Estimators of what a policy earns over an episode, as ratios of sums over logged episodes.

Axes: N episodes, T decisions, S states. Decision t of episode n has the ratio rho_nt = pi / e and
the weight w_nt = rho_n0 ... rho_nt; q and v are a model's Q(s_t, a_t) and V(s_t) under pi.

References: importance sampling by trajectory and by decision, Precup, Sutton and Singh (2000,
"Eligibility traces for off-policy policy evaluation"); its weighted form and the weighted doubly
robust one, Thomas and Brunskill (2016, "Data-efficient off-policy policy evaluation for
reinforcement learning"), section 2 and eq. 7; doubly robust, Jiang and Li (2016, "Doubly robust
off-policy value evaluation for reinforcement learning"), eq. 10; marginalised, Xie, Ma and Wang
(2019, "Towards optimal off-policy evaluation for reinforcement learning with marginalized
importance sampling"), eq. 3.
"""

from __future__ import annotations

import numpy as np

from copygym.evaluation.ope.estimators import Part
from copygym.evaluation.ope.sequential.episodes import Episodes

#: Estimators by the name that results carry, with how a table's legend explains them.
ESTIMATORS: dict[str, str] = {
    "trajectory_is": "weights an episode's whole outcome by the product of all its ratios",
    "pdis": "weights each outcome by the ratios up to it; unbiased",
    "sn_pdis": "PDIS divided by the mean weight at each decision; a little biased, calmer",
    "fqe": "asks the fitted Q function alone; its interval leaves out how wrong that is",
    "dr": "FQE plus the weighted errors of it; right if propensities or Q are",
    "wdr": "DR with each decision's weights divided by their mean",
}
#: The ones that need a Q function.
MODEL_BASED = ("fqe", "dr", "wdr")


def parts(
    name: str,
    episodes: Episodes,
    q_NT: np.ndarray | None = None,
    v_NT: np.ndarray | None = None,
    discount: float = 1.0,
) -> list[Part]:
    """Return an estimator as a sum of ratios of sums over episodes.

    Args:
        name: a key of `ESTIMATORS`.
        episodes: N of them.
        q_NT: Q(s_t, a_t) of the logged decisions, 0 after the end; needed by `MODEL_BASED`.
        v_NT: V(s_t) likewise.
        discount: gamma in [0, 1].
    """
    weights, rewards = episodes.weights_NT, episodes.rewards_NT
    fade = discount ** np.arange(episodes.horizon)
    if name == "trajectory_is":
        return [Part(weights[:, -1] * (rewards @ fade), None)]
    if name == "pdis":
        return [Part((weights * rewards) @ fade, None)]
    if name == "sn_pdis":
        return [
            Part(fade[t] * weights[:, t] * rewards[:, t], weights[:, t])
            for t in range(episodes.horizon)
        ]
    if q_NT is None or v_NT is None:
        raise ValueError(f"{name} needs a Q function")
    if name == "fqe":
        return [Part(v_NT[:, 0], None)]
    before = np.concatenate([np.ones((len(weights), 1)), weights[:, :-1]], axis=1)
    if name == "dr":
        return [Part((weights * (rewards - q_NT) + before * v_NT) @ fade, None)]
    residuals = [
        Part(fade[t] * weights[:, t] * (rewards - q_NT)[:, t], weights[:, t])
        for t in range(episodes.horizon)
    ]
    values = [
        Part(fade[t] * before[:, t] * v_NT[:, t], before[:, t]) for t in range(episodes.horizon)
    ]
    return [*values, *residuals]


def marginalised(
    episodes: Episodes,
    states_NT: np.ndarray,
    counts: np.ndarray | None = None,
    discount: float = 1.0,
) -> float:
    """Return the value by marginalised importance sampling, for states that are few.

    The chance of each state under the policy is followed from decision to decision, so that the
    variance grows with the horizon and not exponentially in it.

    Args:
        episodes: N of them.
        states_NT: int64 in [0, S), the state before each decision.
        counts: (N,) how often each episode counts, for the bootstrap; None: once.
        discount: gamma.
    """
    times = np.ones(len(episodes)) if counts is None else counts
    n_states = int(states_NT.max()) + 1
    share = np.bincount(states_NT[:, 0], times, n_states) / times.sum()
    alive, value = episodes.alive_NT, 0.0
    for t in range(episodes.horizon):
        here = times * alive[:, t]
        seen = np.bincount(states_NT[:, t], here, n_states)
        per = np.divide(share, seen, out=np.zeros_like(share), where=seen > 0)
        # Of each state: its chance under the policy, spread over the episodes that were there.
        weight = here * per[states_NT[:, t]] * episodes.ratios_NT[:, t]
        value += discount**t * float(weight @ episodes.rewards_NT[:, t])
        if t + 1 < episodes.horizon:
            goes_on = weight * alive[:, t + 1]
            share = np.bincount(states_NT[:, t + 1], goes_on, n_states)
    return value


__all__ = ["ESTIMATORS", "MODEL_BASED", "marginalised", "parts"]
