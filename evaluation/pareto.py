"""Several aims at once: who is dominated, and how much of what can be had a set of policies covers.

Points are (P, D): P policies, D aims, more is better in each. Pure functions.
"""

from __future__ import annotations

import numpy as np


def is_dominated(points_PD: np.ndarray) -> np.ndarray:
    """Return (P,) bool: another point is no worse in any aim and better in one."""
    points = np.asarray(points_PD, dtype=np.float64)
    no_worse = np.all(points[None] >= points[:, None], axis=-1)
    better = np.any(points[None] > points[:, None], axis=-1)
    return np.asarray(np.any(no_worse & better, axis=1))


def hypervolume(points_PD: np.ndarray) -> float:
    """Return the volume between 0 and the points: what at least one of them reaches in all aims.

    By slices along the last aim (While, Hingston, Barone and Huband 2006, "A faster algorithm for
    calculating hypervolume"); exact, and fast enough for dozens of points in four aims. What a
    point has below 0 counts as 0.

    Args:
        points_PD: (P, D) on scales where 0 is worth nothing.
    """
    points = np.maximum(np.asarray(points_PD, dtype=np.float64), 0.0)
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(points.max())
    order = points[np.argsort(-points[:, -1], kind="stable")]
    floors = np.append(order[1:, -1], 0.0)
    volume = 0.0
    for count, floor in enumerate(floors, 1):
        thickness = order[count - 1, -1] - floor
        if thickness > 0:
            above = order[:count, :-1]
            volume += thickness * hypervolume(above[~is_dominated(above)])
    return volume


def contributions(points_PD: np.ndarray) -> np.ndarray:
    """Return (P,) float64: the volume that is lost without each point."""
    points = np.asarray(points_PD, dtype=np.float64)
    whole = hypervolume(points)
    return np.array([whole - hypervolume(np.delete(points, i, axis=0)) for i in range(len(points))])
