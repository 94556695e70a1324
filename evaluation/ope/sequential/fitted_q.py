"""Fitted Q evaluation: a policy's Q function, learned backwards from logged episodes.

Le, Voloshin and Yue (2019, "Batch policy learning under constraints"), algorithm 3, with a function
for each decision of the episode. Users are split into folds, and what is asked of a user's episodes
comes from the others', so that no reward judges itself.

Axes: N episodes, T decisions, A actions, P features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from copygym.core.errors import unknown_name
from copygym.evaluation.ope.sequential.episodes import Episodes

#: Folds of users.
FOLDS = 3
#: Ridge penalties of what all actions share and of what an action adds.
_SHARED, _OWN = 1.0, 10.0
KINDS = ("linear", "boosting")
#: Fits to (M, P) features, (M,) actions and (M,) targets; answers (K, P) features with (K, A).
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, int], Callable[[np.ndarray], np.ndarray]]


def fitted_q(
    episodes: Episodes, kind: str = "linear", *, discount: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return Q(s_t, a_t) and V(s_t) under the target policy, each (N, T), 0 after the end.

    Args:
        episodes: with features and the target's probabilities.
        kind: ``linear`` (ridge, with effects of each action) or ``boosting`` (scikit-learn's
            histogram trees).
        discount: gamma.
        seed: of the folds.

    Raises:
        UserError: an unknown kind.
    """
    if kind not in KINDS:
        raise unknown_name("kind of Q function", kind, list(KINDS))
    if episodes.features_NTP is None or episodes.target_NTA is None:
        raise ValueError("fitted_q needs features and the target's probabilities")
    fit: Fit = _ridge if kind == "linear" else _boosting
    n, horizon = episodes.rewards_NT.shape
    unit = (
        np.arange(n) if episodes.unit is None else np.unique(episodes.unit, return_inverse=True)[1]
    )
    fold = np.random.default_rng(seed).permutation(int(unit.max()) + 1)[unit] % FOLDS
    q_NT, v_NT = np.zeros((n, horizon)), np.zeros((n, horizon))
    features, target, alive = episodes.features_NTP, episodes.target_NTA, episodes.alive_NT
    for held_out in range(FOLDS):
        value = np.zeros(n)  # V of the next state, for all episodes, by this fold's fits
        for t in reversed(range(horizon)):
            learn = alive[:, t] & (fold != held_out)
            if not learn.any():
                value = np.zeros(n)
                continue
            gained = episodes.rewards_NT[:, t] + discount * value
            actions = episodes.actions_NT[:, t]
            ask = fit(features[learn, t], actions[learn], gained[learn], target.shape[2])
            q_NA = ask(features[:, t])
            value = np.where(alive[:, t], (q_NA * target[:, t]).sum(axis=1), 0.0)
            own = alive[:, t] & (fold == held_out)
            q_NT[own, t] = q_NA[own, actions[own]]
            v_NT[own, t] = value[own]
    return q_NT, v_NT


def _ridge(
    features: np.ndarray, actions: np.ndarray, targets: np.ndarray, n_actions: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Fit w'x + w_a'x, in which what an action adds is shrunk towards none, by ridge regression."""
    center, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-9, scale, np.inf)  # a constant says nothing beside the ones

    def design(x: np.ndarray) -> np.ndarray:
        return np.column_stack([np.ones(len(x)), (x - center) / scale])

    x = design(features)
    eye = np.eye(x.shape[1])
    gram_A, moment_A = np.zeros((n_actions, *eye.shape)), np.zeros((n_actions, len(eye)))
    for action in np.unique(actions):
        own = actions == action
        gram_A[action], moment_A[action] = x[own].T @ x[own], x[own].T @ targets[own]
    # What actions add is solved for given what they share, and put in: no matrix is larger than P.
    inverse_A = np.linalg.inv(gram_A + _OWN * eye)
    kept_A = gram_A @ inverse_A
    penalty = _SHARED * eye
    penalty[0, 0] = 1e-6
    gram = gram_A.sum(axis=0) - (kept_A @ gram_A).sum(axis=0) + penalty
    moment = moment_A.sum(axis=0) - np.einsum("apq,aq->p", kept_A, moment_A)
    shared = np.linalg.solve(gram, moment)
    own_A = np.einsum("apq,aq->ap", inverse_A, moment_A - gram_A @ shared)
    both = shared + own_A
    return lambda asked: design(asked) @ both.T


def _boosting(
    features: np.ndarray, actions: np.ndarray, targets: np.ndarray, n_actions: int
) -> Callable[[np.ndarray], np.ndarray]:
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        max_iter=60, max_leaf_nodes=8, learning_rate=0.1, min_samples_leaf=20, early_stopping=False,
        categorical_features=[features.shape[1]] if n_actions <= 255 else None, random_state=0,
    )  # fmt: skip
    model.fit(np.column_stack([features, actions]), targets)

    def ask(asked: np.ndarray) -> np.ndarray:
        found = np.empty((len(asked), n_actions))
        for action in range(n_actions):
            found[:, action] = model.predict(np.column_stack([asked, np.full(len(asked), action)]))
        return found

    return ask


__all__ = ["FOLDS", "KINDS", "fitted_q"]
