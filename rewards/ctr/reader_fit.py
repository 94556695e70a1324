"""Who likes which text of a product, by penalised logistic regression of single sends.

logit P(click) = offset + z(text)' W x(reader). The offset is fitted without the meeting: how often
a text is clicked, a channel in a slot, and how much a reader likes a field, a channel and a slot;
interest in a product is so not mistaken for taste in its texts. Texts are centred within their
product. Penalties are chosen by the held-out log loss of readers that no fit saw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import expit

from copygym.rewards.ctr.encoders import TextFeatures
from copygym.rewards.ctr.readers import ReaderTaste, TextSpace, within
from copygym.rewards.ctr.sends import ReaderSends

#: Prior precisions of the meeting's weights (text and profile of unit variance); the best is kept.
PENALTIES = (1500.0, 3000.0, 6000.0, 12e3, 24e3, 48e3, 96e3, 192e3)
#: Directions of the text that may meet the profile.
DIMS = 96
#: Prior precisions of a text's own logit, of a context's, and of what a reader likes beside texts.
_TEXT, _CONTEXT, _LIKES = 30.0, 0.1, 100.0
_FOLDS = 5
#: Permutations of the profiles.
_PERMUTATIONS = 199
#: Prior precision at which they are compared.
_MIDDLING = 24e3
#: Clicks below which nothing is fitted: a fold would hold hardly any.
LEAST_CLICKS = 50


@dataclass(frozen=True)
class Learned:
    """What was learned of text x reader, and what it is worth on readers that no fit saw.

    Attributes:
        taste: the meeting, a member a fold of readers; each has not seen its fold.
        penalty: that was chosen.
        history: whether it reads the profiles' history beside demographics.
        base_loss: (U,) float64 held-out log loss of each reader's sends without the meeting.
        loss: (U,) float64 with it; what is chosen for a reader was chosen on others.
        luck: p-value: the share of permutations of the profiles among the readers that agree with
            the clicks as well (`_luck`).
    """

    taste: ReaderTaste
    penalty: float
    history: bool
    base_loss: np.ndarray
    loss: np.ndarray
    luck: float


def learn_taste(
    sends: ReaderSends,
    features: TextFeatures,
    *,
    seed: int,
    folds: int = _FOLDS,
    dims: int = DIMS,
    penalties: Sequence[float] = PENALTIES,
) -> Learned:
    """Return the meeting of text and reader that predicts best for other readers.

    Args:
        sends: to readers with profiles, at least `LEAST_CLICKS` of them clicked.
        features: of the text, not yet fitted.
        seed: of the folds.
        folds: of readers, from 2; a member each.
        dims: directions of the text.
        penalties: to choose from.
    """
    shown = np.bincount(sends.text, sends.impressions, minlength=len(sends.texts))
    space = TextSpace.fit(features, sends.texts, sends.product, shown + 0.5, dims)
    place_TD = within(space.place(sends.texts), sends.product, shown + 0.5)
    scale = _scale(sends)
    reader_UP = (sends.profiles.features.astype(np.float64) - scale[0]) / scale[1]
    designs = _designs(sends, reader_UP)
    users = len(reader_UP)
    fold_U = np.random.default_rng(seed).permutation(users) % folds
    fold = fold_U[sends.user]
    base, gain = np.zeros(users), {key: np.zeros(users) for key in _keys(designs, penalties)}
    weights: dict[tuple[int, float], list[np.ndarray]] = {key: [] for key in gain}
    held_out = np.zeros(len(sends))
    for out in range(folds):
        train, test = fold != out, fold == out
        offset = _fit_offset(sends, designs[0], train)
        before = _log_loss(sends, offset)
        held_out[test] = offset[test]
        base += np.bincount(sends.user, before * test, minlength=users)
        for d, design in enumerate(designs):
            fitted = _path(sends, design, place_TD, offset, train, penalties)
            for penalty, weight_DP in fitted.items():
                weights[d, penalty].append(design.spread(weight_DP))
                after = _log_loss(sends, offset + design.meeting(sends, place_TD @ weight_DP))
                saved = (before - after) * test
                gain[d, penalty] += np.bincount(sends.user, saved, minlength=users)
    total = {key: float(value.sum()) for key, value in gain.items()}
    chosen = max(total, key=lambda key: total[key])
    loss = base.copy()
    for out in range(folds):
        # What others say is best: choosing on these readers themselves would flatter the meeting.
        others = {key: float(value[fold_U != out].sum()) for key, value in gain.items()}
        key = max(others, key=lambda key: others[key])
        loss[fold_U == out] -= gain[key][fold_U == out]
    taste = ReaderTaste(space, np.stack(weights[chosen]), scale)
    luck = _luck(sends, reader_UP, chosen[0] == 1, place_TD, held_out, seed)
    return Learned(taste, chosen[1], chosen[0] == 1, base, loss, luck)


def _luck(
    sends: ReaderSends,
    reader_UP: np.ndarray,
    history: bool,
    place_TD: np.ndarray,
    offset: np.ndarray,
    seed: int,
) -> float:
    """Return the p-value of a variance-component score test of text x reader, by permutation.

    The statistic is that of Lin (1997, "Variance component testing in generalised linear models
    with random effects"): the squared length of the slope of the likelihood in W at W = 0, each
    axis divided by its variance under a middling prior. It takes all of the log to see whether
    there is anything: a gain in held-out loss can be too small to tell from luck where the slope
    is not.

    Args:
        sends: N.
        reader_UP: standardised profiles.
        history: whether history may meet the text beside demographics.
        place_TD: z of each text, centred within its product.
        offset: (N,) held-out logits without the meeting.
        seed: of the permutations.
    """
    chance = expit(offset)
    error = sends.clicks - sends.impressions * chance
    curve = sends.impressions * chance * (1 - chance)
    seen = np.unique(sends.user)
    reader_UP = reader_UP[seen]
    first = sends.demographic if sends.demographic.any() else np.ones(reader_UP.shape[1], bool)
    weight_T = np.bincount(sends.text, curve, minlength=len(sends.texts))
    values_D, axes_D = np.linalg.eigh((place_TD.T * weight_T) @ place_TD)

    def part(rows: np.ndarray, features_UQ: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return slopes (D, U) by reader, the readers (U, Q) in their axes, and variances."""
        shape = (len(sends.texts), int(seen.max()) + 1)
        sums = csr_matrix((error[rows], (sends.text[rows], sends.user[rows])), shape=shape)
        weight_U = np.bincount(sends.user[rows], curve[rows], minlength=shape[1])[seen]
        spread = (features_UQ.T * weight_U) @ features_UQ / curve.sum()
        values_Q, axes_Q = np.linalg.eigh(spread)
        variance = np.outer(np.maximum(values_D, 0.0), np.maximum(values_Q, 0.0)) + _MIDDLING
        return np.asarray((place_TD @ axes_D).T @ sums[:, seen]), features_UQ @ axes_Q, variance

    parts = [part(np.ones(len(error), bool), reader_UP[:, first])]
    if history:
        parts.append(part(sends.known, reader_UP[:, ~first]))
    rng = np.random.default_rng([seed, 1])
    order = [np.arange(len(seen))] + [rng.permutation(len(seen)) for _ in range(_PERMUTATIONS)]
    size = [sum(float(((g @ x[o]) ** 2 / v).sum()) for g, x, v in parts) for o in order]
    return float((np.array(size) >= size[0]).mean())


def _scale(sends: ReaderSends) -> np.ndarray:
    """Return (2, P) mean and deviation of the readers' features; 1 where all are equal."""
    features = sends.profiles.features.astype(np.float64)
    spread = features.std(axis=0)
    return np.stack([features.mean(axis=0), np.where(spread > 1e-6, spread, 1.0)])


@dataclass(frozen=True)
class _Design:
    """Profile features that may meet the text, by row of the sends.

    Attributes:
        rows: (N, Q) float64.
        columns: (Q,) int64 which of the P features they are.
        width: P.
    """

    rows: np.ndarray
    columns: np.ndarray
    width: int

    def spread(self, weight_DQ: np.ndarray) -> np.ndarray:
        """Return (D, P) with zeros for what is not used."""
        out = np.zeros((len(weight_DQ), self.width))
        out[:, self.columns] = weight_DQ
        return out

    def meeting(self, sends: ReaderSends, wanted_TQ: np.ndarray) -> np.ndarray:
        """Return (N,) logits that the readers add."""
        return np.einsum("nq,nq->n", wanted_TQ[sends.text], self.rows)


def _designs(sends: ReaderSends, reader_UP: np.ndarray) -> list[_Design]:
    """Return demographics alone, then all features; one design where there is one kind."""
    width = reader_UP.shape[1]
    first = sends.demographic if sends.demographic.any() else np.ones(width, bool)
    columns = np.flatnonzero(first)
    designs = [_Design(reader_UP[sends.user][:, columns], columns, width)]
    if not first.all() and sends.known.any():
        rows = reader_UP[sends.user] * (first[None, :] | sends.known[:, None])
        designs.append(_Design(rows, np.arange(width), width))
    return designs


def _keys(designs: list[_Design], penalties: Sequence[float]) -> list[tuple[int, float]]:
    return [(d, float(p)) for d in range(len(designs)) for p in sorted(penalties, reverse=True)]


def _log_loss(sends: ReaderSends, logit: np.ndarray) -> np.ndarray:
    """Return (N,) binomial log loss, nats, up to a constant."""
    loss: np.ndarray = sends.impressions * np.logaddexp(0.0, logit) - sends.clicks * logit
    return loss


def _sum_by(code: np.ndarray, count: int) -> csr_matrix:
    """Return the (count, N) matrix that adds up rows with one code."""
    ones = np.ones(len(code))
    return csr_matrix((ones, (code, np.arange(len(code)))), shape=(count, len(code)))


def _minimum(
    start: np.ndarray, loss: Callable[[np.ndarray], tuple[float, np.ndarray]]
) -> np.ndarray:
    options = {"maxiter": 200, "maxcor": 10, "ftol": 1e-8}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    return np.asarray(found.x, np.float64)


def _fit_offset(sends: ReaderSends, design: _Design, train: np.ndarray) -> np.ndarray:
    """Return (N,) logits without the meeting, learned from the rows ``train`` (N,) bool."""
    n_text, n_context = len(sends.texts), int(sends.context.max()) + 1
    fields = int(sends.field.max()) + 1
    # What a reader likes: a field, and a context.
    kinds = [sends.field[sends.text], fields + sends.context]
    n_kind, width = fields + n_context, design.rows.shape[1]
    rows, clicks, shown = design.rows[train], sends.clicks[train], sends.impressions[train]
    text, context = sends.text[train], sends.context[train]
    add_text, add_context = _sum_by(text, n_text), _sum_by(context, n_context)
    own = [kind[train] for kind in kinds]
    add_kind = _sum_by(own[0], n_kind) + _sum_by(own[1], n_kind)
    rate = (clicks.sum() + 0.5) / (shown.sum() + 1.0)
    start, curve = float(np.log(rate / (1 - rate))), rate * (1 - rate)
    # Parameters are scaled to a curvature of about 1 each.
    scale_text = 1 / np.sqrt(add_text @ shown * curve + _TEXT)
    scale_context = 1 / np.sqrt(add_context @ shown * curve + _CONTEXT)
    scale_kind = 1 / np.sqrt(add_kind @ shown * curve + _LIKES)[:, None]

    def parts(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first, second, third = np.split(theta, [n_text, n_text + n_context])
        likes = third.reshape(n_kind, width) * scale_kind
        return first * scale_text, second * scale_context, likes

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        of_text, of_context, likes = parts(theta)
        liked = np.einsum("nq,nq->n", likes[own[0]] + likes[own[1]], rows)
        logit = start + of_text[text] + of_context[context] + liked
        error = shown * expit(logit) - clicks
        value = (shown * np.logaddexp(0.0, logit) - clicks * logit).sum()
        value += 0.5 * (_TEXT * (of_text**2).sum() + _CONTEXT * (of_context**2).sum())
        value += 0.5 * _LIKES * (likes**2).sum()
        slopes = [
            (add_text @ error + _TEXT * of_text) * scale_text,
            (add_context @ error + _CONTEXT * of_context) * scale_context,
            ((add_kind @ (rows * error[:, None]) + _LIKES * likes) * scale_kind).ravel(),
        ]
        return float(value), np.concatenate(slopes)

    found = _minimum(np.zeros(n_text + n_context + n_kind * width), loss)
    of_text, of_context, likes = parts(found)
    liked = np.einsum("nq,nq->n", likes[kinds[0]] + likes[kinds[1]], design.rows)
    return np.asarray(start + of_text[sends.text] + of_context[sends.context] + liked)


def _path(
    sends: ReaderSends,
    design: _Design,
    place_TD: np.ndarray,
    offset: np.ndarray,
    train: np.ndarray,
    penalties: Sequence[float],
) -> dict[float, np.ndarray]:
    """Return the weights (D, Q) of each penalty, learned from the rows ``train`` (N,) bool."""
    rows, clicks, shown = design.rows[train], sends.clicks[train], sends.impressions[train]
    text, known = sends.text[train], offset[train]
    add_text = _sum_by(text, len(sends.texts))
    chance = expit(known)
    curve = shown * chance * (1 - chance)
    # The curvature is nearly a Kronecker product of texts and readers; in its axes, scaled to 1,
    # a few steps are enough.
    values_D, axes_D = np.linalg.eigh((place_TD.T * (add_text @ curve)) @ place_TD)
    values_Q, axes_Q = np.linalg.eigh((rows.T * curve) @ rows / curve.sum())
    product = np.outer(np.maximum(values_D, 0.0), np.maximum(values_Q, 0.0))
    turned_TD, turned_NQ = place_TD @ axes_D, rows @ axes_Q
    weight = np.zeros(product.shape)
    found = {}
    for penalty in sorted(penalties, reverse=True):
        scale = 1.0 / np.sqrt(product + penalty)

        def loss(
            theta: np.ndarray, penalty: float = penalty, scale: np.ndarray = scale
        ) -> tuple[float, np.ndarray]:
            weight_DQ = theta.reshape(scale.shape) * scale
            wanted = (turned_TD @ weight_DQ)[text]
            logit = known + np.einsum("nq,nq->n", wanted, turned_NQ)
            error = shown * expit(logit) - clicks
            value = (shown * np.logaddexp(0.0, logit) - clicks * logit).sum()
            value += 0.5 * penalty * (weight_DQ**2).sum()
            slope = turned_TD.T @ (add_text @ (turned_NQ * error[:, None])) + penalty * weight_DQ
            return float(value), (slope * scale).ravel()

        weight = _minimum((weight / scale).ravel(), loss).reshape(scale.shape) * scale
        found[float(penalty)] = axes_D @ weight @ axes_Q.T
    return found
