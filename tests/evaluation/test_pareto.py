import numpy as np
import pytest

from copygym.evaluation.pareto import contributions, hypervolume, is_dominated


def test_a_point_that_is_worse_somewhere_and_better_nowhere_is_dominated():
    points = np.array([[1, 3], [2, 2], [1, 2], [3, 1]])
    assert is_dominated(points).tolist() == [False, False, True, False]
    # Equal points do not dominate each other.
    assert is_dominated(np.array([[1, 1], [1, 1]])).tolist() == [False, False]


def test_the_volume_of_boxes():
    assert hypervolume(np.array([[0.5, 0.4]])) == pytest.approx(0.2)
    # Two boxes that share 1 x 1.
    assert hypervolume(np.array([[2, 1], [1, 3]])) == pytest.approx(2 + 3 - 1)
    assert hypervolume(np.array([[2, 1, 1], [1, 3, 2]])) == pytest.approx(2 + 6 - 1)
    assert hypervolume(np.empty((0, 3))) == 0


def test_nothing_in_one_aim_is_nothing_at_all():
    assert hypervolume(np.array([[0.9, 0.0]])) == 0
    assert hypervolume(np.array([[0.9, -2.0]])) == 0


def test_the_volume_is_the_share_of_random_points_below():
    rng = np.random.default_rng(0)
    points = rng.random((7, 4))
    draws = rng.random((200_000, 4))
    below = (draws[:, None] <= points[None]).all(axis=-1).any(axis=1).mean()
    assert hypervolume(points) == pytest.approx(below, abs=0.005)


def test_the_order_of_points_and_aims_does_not_matter():
    rng = np.random.default_rng(1)
    points = rng.random((6, 3))
    assert hypervolume(points[::-1]) == pytest.approx(hypervolume(points))
    assert hypervolume(points[:, ::-1]) == pytest.approx(hypervolume(points))


def test_what_is_lost_without_a_point():
    points = np.array([[2.0, 1.0], [1.0, 3.0], [0.5, 0.5]])
    assert contributions(points).tolist() == pytest.approx([1.0, 2.0, 0.0])
