"""Fitted gradient-boosted trees as plain arrays, and their evaluation without sklearn.

sklearn's estimators can only be saved by pickle. Their trees are arrays, though, so this module
copies the arrays out of a fitted `HistGradientBoostingClassifier` and walks them itself; a test
holds the two to 1e-6 of each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

#: Names of the arrays that describe T trees with M nodes and B categorical splits in all.
TREE_ARRAYS = (
    "roots",  # (T,) int64 first node of each tree
    "value",  # (M,) float64 logit of a leaf
    "feature",  # (M,) int64
    "threshold",  # (M,) float64, smaller or equal goes left
    "left",  # (M,) int64 node index over all trees
    "right",  # (M,) int64
    "leaf",  # (M,) bool
    "missing_left",  # (M,) bool
    "bitset",  # (M,) int64 row of ``categories``; -1 for a numeric split
    "categories",  # (B, 8) uint32, bit c set: category c goes left
)


def export_trees(estimator: Any) -> tuple[float, dict[str, np.ndarray]]:
    """Return the base logit and the arrays `TREE_ARRAYS` of a fitted binary classifier.

    Args:
        estimator: a fitted `sklearn.ensemble.HistGradientBoostingClassifier` whose categorical
            features come first and have the codes 0 ... n-1, all of them seen in fitting.
    """
    trees = [stage[0] for stage in estimator._predictors]
    nodes = [tree.nodes for tree in trees]
    roots = np.cumsum([0, *(len(n) for n in nodes)])
    first_bitset = np.cumsum([0, *(len(tree.raw_left_cat_bitsets) for tree in trees)])
    parts: dict[str, list[np.ndarray]] = {name: [] for name in TREE_ARRAYS[1:]}
    for i, (tree, node) in enumerate(zip(trees, nodes, strict=True)):
        categorical = node["is_categorical"].astype(bool)
        bitset = node["bitset_idx"].astype(np.int64) + first_bitset[i]
        parts["value"].append(node["value"].astype(np.float64))
        parts["feature"].append(node["feature_idx"].astype(np.int64))
        parts["threshold"].append(node["num_threshold"].astype(np.float64))
        parts["left"].append(node["left"].astype(np.int64) + roots[i])
        parts["right"].append(node["right"].astype(np.int64) + roots[i])
        parts["leaf"].append(node["is_leaf"].astype(bool))
        parts["missing_left"].append(node["missing_go_to_left"].astype(bool))
        parts["bitset"].append(np.where(categorical, bitset, -1))
        parts["categories"].append(tree.raw_left_cat_bitsets.reshape(-1, 8).astype(np.uint32))
    arrays = {name: np.concatenate(part) for name, part in parts.items() if part}
    arrays["roots"] = roots[:-1].astype(np.int64)
    return float(np.ravel(estimator._baseline_prediction)[0]), arrays


def evaluate_trees(
    base: float, trees: dict[str, np.ndarray], features_NQ: np.ndarray
) -> np.ndarray:
    """Return (N,) float64 logits: ``base`` plus the leaf that each row reaches in every tree.

    Args:
        base: logit before the first tree.
        trees: what `export_trees` returned; no trees at all is allowed.
        features_NQ: (N, Q) float64; NaN is missing, also for categories never seen.
    """
    out = np.full(len(features_NQ), base)
    if trees.get("roots", np.zeros(0)).size:
        _walk(np.ascontiguousarray(features_NQ), out, *(trees[name] for name in TREE_ARRAYS))
    return out


@njit(cache=True)
def _walk(  # type: ignore[no-untyped-def]
    features, out, roots, value, feature, threshold, left, right, leaf, missing_left, bitset, cats
):
    for i in range(features.shape[0]):
        for t in range(roots.size):
            node = roots[t]
            while not leaf[node]:
                x = features[i, feature[node]]
                row = bitset[node]
                if np.isnan(x):
                    go_left = missing_left[node]
                elif row >= 0:
                    code = np.int64(x)
                    go_left = (np.int64(cats[row, code // 32]) >> (code % 32)) & 1 == 1
                else:
                    go_left = x <= threshold[node]
                node = left[node] if go_left else right[node]
            out[i] += value[node]
