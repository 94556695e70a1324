"""A linear CTR scorer: ridge regression of log-odds within tests, weighted by evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from copygym.core.errors import UserError
from copygym.core.files.storage import read_json, write_json
from copygym.core.models.weights import check_shape
from copygym.rewards.ctr.data import CopyCounts
from copygym.rewards.ctr.encoders import TextFeatures, load_features
from copygym.rewards.ctr.files import read_tensors, write_tensors

#: Clicks beyond which an arm gets no more weight: what is left is the test's own spread.
EVIDENCE_CAP = 100.0
#: Share of the test's mean that is taken off before the regression, by loss.
DEMEAN = {"bradley_terry": 1.0, "binomial": 0.0, "both": 0.5}
PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)
#: Features above which the normal equations are solved by iteration.
_DENSE = 6000


def log_odds(counts: CopyCounts) -> np.ndarray:
    """Return (N,) empirical logits log((k + 1/2) / (n - k + 1/2)) (Haldane 1956, Anscombe 1956)."""
    return np.log((counts.clicks + 0.5) / (counts.impressions - counts.clicks + 0.5))


def evidence(counts: CopyCounts, cap: float = EVIDENCE_CAP) -> np.ndarray:
    """Return (N,) weights of the logits, mean 1: 1 / (1 / (k + 1/2) + 1 / cap).

    1 / (k + 1/2) is the sampling variance of an empirical logit of a rare event; 1 / cap stands
    for what no count removes, so that a few huge arms don't decide alone.
    """
    weights = 1.0 / (1.0 / (counts.clicks + 0.5) + 1.0 / cap)
    return weights / weights.mean()


def centre(values: np.ndarray, weights: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return ``values`` (N,) less their weighted mean in each test."""
    _, group = np.unique(test, return_inverse=True)
    total = np.bincount(group, weights)
    return values - (np.bincount(group, weights * values) / total)[group]


def within_test_fit(scores: np.ndarray, counts: CopyCounts) -> float:
    """Return the weighted correlation of scores and observed logits within tests.

    Scale-free and smooth: early stopping and penalties are chosen by it, since the share of right
    pairs jumps.
    """
    weights = evidence(counts)
    x, y = (centre(v, weights, counts.test) for v in (scores, log_odds(counts)))
    bottom = (weights * x**2).sum() * (weights * y**2).sum()
    return float((weights * x * y).sum() / np.sqrt(bottom)) if bottom > 0 else 0.0


class RidgeScorer:
    """Ridge on text features: min sum_i w_i (y_i - x_i b)^2 + penalty |b|^2, tests demeaned.

    With tests fully demeaned (``bradley_terry``) only contrasts of arms of one test count: it is
    the weighted least-squares form of Bradley-Terry on clicks, whose log-odds of two arms are the
    difference of their logits. Without (``binomial``) level counts too. ``both`` takes half of
    the mean off, the random-effects compromise (Fuller and Battese 1973).

    Args:
        features: of the text.
        loss: ``bradley_terry``, ``binomial`` or ``both``.
        penalties: tried on the validation tests; the best by `within_test_fit` is kept.
    """

    kind: ClassVar[str] = "ridge"

    def __init__(
        self,
        features: TextFeatures,
        *,
        loss: str = "bradley_terry",
        penalties: Sequence[float] = PENALTIES,
    ) -> None:
        if not penalties or min(penalties) <= 0:
            raise UserError(f"penalties={list(penalties)}: give a list of numbers above 0.")
        self.features, self.loss = features, loss
        self.penalties = tuple(float(p) for p in penalties)
        self.report: dict[str, Any] = {}
        self._coefficients = np.zeros(0)

    def fit(self, train: CopyCounts, validation: CopyCounts, *, seed: int) -> None:
        """Fit on ``train``; choose the penalty on ``validation``. ``seed`` is not used: no luck."""
        self.features.fit(train.texts)
        texts = self.features.transform(train.texts)
        solve = _solver(texts, train, DEMEAN[self.loss])
        held = self.features.transform(validation.texts)
        fits = {}
        for penalty in self.penalties:
            coefficients = solve(penalty)
            quality = within_test_fit(held @ coefficients, validation)
            fits[f"{penalty:g}"] = quality
            if quality >= max(fits.values()):
                self._coefficients, self.report["penalty"] = coefficients, penalty
        self.report["validation_fit"] = fits

    def raw(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N,) float64 scores on the scale of log-odds, up to a constant."""
        return np.asarray(self.features.transform(texts) @ self._coefficients, dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write features, coefficients and settings."""
        self.features.save(folder)
        write_tensors(folder / "ridge.safetensors", {"coefficients": self._coefficients})
        write_json(
            folder / "scorer.json",
            {
                "kind": self.kind,
                "loss": self.loss,
                "penalties": list(self.penalties),
                "report": self.report,
            },
        )

    @classmethod
    def load(cls, folder: Path) -> RidgeScorer:
        """Read what `save` wrote; scores exactly as the saved one did."""
        path = folder / "ridge.safetensors"
        state, arrays = read_json(folder / "scorer.json"), read_tensors(path)
        scorer = cls(load_features(folder), loss=state["loss"], penalties=state["penalties"])
        scorer.report = state["report"]
        scorer._coefficients = arrays["coefficients"]
        check_shape(path, "coefficients", scorer._coefficients, (scorer.features.width,))
        return scorer


def _solver(rows: Any, counts: CopyCounts, demean: float) -> Callable[[float], np.ndarray]:
    """Return the function from a penalty to the coefficients (E,)."""
    weights = evidence(counts)
    _, group = np.unique(counts.test, return_inverse=True)
    total = np.bincount(group, weights)
    mean = float((weights * log_odds(counts)).sum() / weights.sum())
    target = _demean(log_odds(counts) - mean, weights, group, total, demean)
    dense = isinstance(rows, np.ndarray) and rows.shape[1] <= _DENSE
    if dense:
        from scipy.sparse import csr_matrix

        x = rows.astype(np.float64)
        if demean < 1:
            x -= x.mean(axis=0)
        gather = csr_matrix((weights, (group, np.arange(len(group)))), shape=(len(total), len(x)))
        x -= demean * ((gather @ x) / total[:, None])[group]
        if len(x) < x.shape[1]:
            # Fewer rows than features: the same coefficients from the smaller Gram matrix.
            root = np.sqrt(weights)
            x *= root[:, None]
            values, vectors = np.linalg.eigh(x @ x.T)
            answer = vectors.T @ (root * target)
            return lambda penalty: x.T @ (vectors @ (answer / (np.maximum(values, 0.0) + penalty)))
        values, vectors = np.linalg.eigh((x * weights[:, None]).T @ x)
        answer = vectors.T @ (x.T @ (weights * target))
        return lambda penalty: vectors @ (answer / (np.maximum(values, 0.0) + penalty))
    return _iterative(rows, weights, group, total, target, demean)


def _demean(
    values: np.ndarray, weights: np.ndarray, group: np.ndarray, total: np.ndarray, share: float
) -> np.ndarray:
    return values - share * (np.bincount(group, weights * values) / total)[group]


def _iterative(
    rows: Any,
    weights: np.ndarray,
    group: np.ndarray,
    total: np.ndarray,
    target: np.ndarray,
    demean: float,
) -> Callable[[float], np.ndarray]:
    """Solve the normal equations of sparse rows by conjugate gradients, never densifying them."""
    from scipy.sparse.linalg import LinearOperator, cg

    size = rows.shape[1]

    def apart(values: np.ndarray) -> np.ndarray:
        """Return M' W M v of the demeaning M, which is its own transpose under W."""
        return weights * _twice(values)

    def _twice(values: np.ndarray) -> np.ndarray:
        once = _demean(values, weights, group, total, demean)
        return _demean(once, weights, group, total, demean)

    answer = rows.T @ (weights * _demean(target, weights, group, total, demean))

    def solve(penalty: float) -> np.ndarray:
        normal = LinearOperator(
            (size, size), matvec=lambda b: rows.T @ apart(rows @ b.ravel()) + penalty * b.ravel()
        )
        return np.asarray(cg(normal, answer, rtol=1e-5, maxiter=500)[0])

    return solve
