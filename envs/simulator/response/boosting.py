"""Gradient-boosted trees as a response model (sklearn's histogram boosting)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from copygym.core.files.storage import (
    check_saves_over,
    read_arrays,
    read_json,
    write_arrays,
    write_json,
)
from copygym.envs.simulator.response.design import Actions, Counts, Sizes
from copygym.envs.simulator.response.trees import evaluate_trees, export_trees

#: Categorical features in the order of the first columns; sklearn takes up to 255 categories.
_CATEGORICAL = ("creative", "product", "topic", "channel", "slot")
_MAX_CATEGORIES = 250


class BoostingResponse:
    """Histogram gradient boosting on profile, categories and text vector.

    Fitted by `sklearn.ensemble.HistGradientBoostingClassifier` (after LightGBM, Ke et al. 2017)
    with the counts as weights; then only the trees' arrays are kept
    (`copygym.envs.simulator.response.trees`), so that it saves without pickle. It can't take
    offsets: state effects are estimated after it, not with it.

    Creatives are told apart by text, product and topic; their ids are a feature only where the log
    has no texts. Otherwise the trees would split on ids and know nothing of a new text.

    Args:
        learning_rate: shrinkage of each tree.
        max_trees: upper limit; fewer where validation data say so.
        max_leaves: leaves of a tree.
        min_rows_leaf: observations (rows, before weighting) that a leaf needs at least.
        l2: ridge on the leaves.
        patience: trees without gain on the validation data before it stops.
        max_rows: larger logs are thinned to this many (user, cell) rows at random, because the
            histograms are built in memory.
    """

    takes_offset = False

    def __init__(
        self,
        *,
        learning_rate: float = 0.06,
        max_trees: int = 300,
        max_leaves: int = 15,
        min_rows_leaf: int = 200,
        l2: float = 5.0,
        patience: int = 15,
        max_rows: int = 1_000_000,
    ) -> None:
        self._options: dict[str, Any] = {
            "learning_rate": learning_rate,
            "max_trees": max_trees,
            "max_leaves": max_leaves,
            "min_rows_leaf": min_rows_leaf,
            "l2": l2,
            "patience": patience,
            "max_rows": max_rows,
        }
        self._known: dict[str, np.ndarray] = {}
        self._base = 0.0
        self._trees: dict[str, np.ndarray] = {}

    @property
    def n_trees(self) -> int:
        """Number of trees that were kept."""
        return len(self._trees.get("roots", ()))

    def fit(
        self,
        counts: Counts,
        actions: Actions,
        sizes: Sizes,
        *,
        validation: Counts | None = None,
        seed: int = 0,
    ) -> BoostingResponse:
        """Fit to ``counts``; see `ResponseModel.fit`."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        rng = np.random.default_rng(seed)
        counts = _thin(counts, self._options["max_rows"], rng)
        shown = actions.take(np.unique(counts.cell))
        self._known = {
            name: codes[codes >= 0]
            for name in _CATEGORICAL[1 if sizes.text else 0 :]
            if len(codes := np.unique(getattr(shown, name))) <= _MAX_CATEGORIES
            and (codes >= 0).sum() > 1
        }
        features, label, weight = self._rows(counts, actions)
        extra: dict[str, np.ndarray] = {}
        if validation is not None and len(validation):
            held = self._rows(_thin(validation, self._options["max_rows"], rng), actions)
            extra = dict(zip(("X_val", "y_val", "sample_weight_val"), held, strict=True))
        estimator = HistGradientBoostingClassifier(
            learning_rate=self._options["learning_rate"],
            max_iter=self._options["max_trees"],
            max_leaf_nodes=self._options["max_leaves"],
            min_samples_leaf=self._options["min_rows_leaf"],
            l2_regularization=self._options["l2"],
            early_stopping=bool(extra),
            n_iter_no_change=self._options["patience"],
            categorical_features=list(range(len(self._known))) or None,
            random_state=seed,
        )
        estimator.fit(features, label, sample_weight=weight, **extra)
        self._base, self._trees = export_trees(estimator)
        return self

    def logit(self, profiles_NP: np.ndarray, actions: Actions) -> np.ndarray:
        """Return (N,) float64 logits, row by row."""
        features = np.hstack([self._action_features(actions), profiles_NP])
        return evaluate_trees(self._base, self._trees, features.astype(np.float64))

    def table(self, profiles_UP: np.ndarray, actions: Actions) -> np.ndarray:
        """Return (U, M) float64 logits of every user with every action."""
        from copygym.core.progress import progress

        columns_MQ = self._action_features(actions)
        out = np.empty((len(profiles_UP), len(columns_MQ)))
        step = max(1, 2_000_000 // max(len(columns_MQ) * columns_MQ.shape[1], 1))
        starts = range(0, len(profiles_UP), step)
        for start in progress(starts, "boosting table"):
            profiles = profiles_UP[start : start + step]
            left = np.tile(columns_MQ, (len(profiles), 1))
            right = np.repeat(profiles, len(columns_MQ), axis=0)
            features = np.hstack([left, right]).astype(np.float64)
            logit = evaluate_trees(self._base, self._trees, features)
            out[start : start + step] = logit.reshape(len(profiles), -1)
        return out

    def save(self, folder: str | Path) -> None:
        """Write ``model.json`` and ``model.npz``."""
        folder = Path(folder)
        check_saves_over(folder, "model.json", {"family"}, "model.npz")
        known = {f"known_{name}": codes for name, codes in self._known.items()}
        write_arrays(folder / "model.npz", {**self._trees, **known})
        state = {"family": "boosting", "options": self._options, "base": self._base}
        write_json(folder / "model.json", {**state, "known": list(self._known)})

    @classmethod
    def load(cls, folder: str | Path) -> BoostingResponse:
        """Read what `save` wrote."""
        state = read_json(Path(folder) / "model.json")
        arrays = read_arrays(Path(folder) / "model.npz")
        model = cls(**state["options"])
        model._base = state["base"]
        model._known = {name: arrays.pop(f"known_{name}") for name in state["known"]}
        model._trees = arrays
        return model

    def _action_features(self, actions: Actions) -> np.ndarray:
        """Return (M, Q) float32: category codes (NaN where unknown), hold, text."""
        columns = [_codes(getattr(actions, name), known) for name, known in self._known.items()]
        columns.append(actions.hold.astype(np.float32))
        return np.column_stack([*columns, actions.text]).astype(np.float32)

    def _rows(self, counts: Counts, actions: Actions) -> tuple[Any, np.ndarray, np.ndarray]:
        """Return features, labels and weights: a row for the successes, one for the failures."""
        failures = counts.trials - counts.successes
        rows = np.concatenate([np.flatnonzero(counts.successes > 0), np.flatnonzero(failures > 0)])
        n_positive = int((counts.successes > 0).sum())
        label = (np.arange(len(rows)) < n_positive).astype(np.int64)
        weight = np.where(label == 1, counts.successes[rows], failures[rows])
        action_features = self._action_features(actions)
        features = np.hstack(
            [action_features[counts.cell[rows]], counts.profiles[counts.user[rows]]]
        )
        return features, label, weight


def _codes(value: np.ndarray, known: np.ndarray) -> np.ndarray:
    place = np.minimum(np.searchsorted(known, value), len(known) - 1)
    return np.where(known[place] == value, place, np.nan)


def _thin(counts: Counts, max_rows: int, rng: np.random.Generator) -> Counts:
    if len(counts) <= max_rows:
        return counts
    return counts.take(np.sort(rng.choice(len(counts), max_rows, replace=False)))
