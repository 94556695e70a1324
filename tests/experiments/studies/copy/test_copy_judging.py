"""Intervals of copywriting comparisons: over seeds and tasks, paired between writers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from copygym.experiments.studies.copy.judging import (
    draw_weights,
    lift_with_interval,
    mean_with_interval,
    no_signal_warnings,
)


def test_a_constant_has_no_width_and_a_constant_factor_is_an_exact_lift():
    weights = draw_weights(3, 50, 200, 0)
    assert mean_with_interval(np.full((3, 50), 0.25), weights) == pytest.approx(
        {"value": 0.25, "low": 0.25, "high": 0.25}
    )
    values = np.random.default_rng(0).random((3, 50))
    # Paired: what varies with seed and task cancels where one writer is the other times 1.1.
    assert lift_with_interval(1.1 * values, values, weights) == pytest.approx(
        {"value": 0.1, "low": 0.1, "high": 0.1}
    )


def test_a_model_without_signal_is_named():
    def setting(model, judge):
        judge = SimpleNamespace(model=SimpleNamespace(no_signal=judge))
        return SimpleNamespace(model=SimpleNamespace(no_signal=model), judge=judge)

    assert no_signal_warnings(setting(False, False)) == []
    (one,) = no_signal_warnings(setting(False, True))
    assert one.startswith("the judge found no signal")
    assert len(no_signal_warnings(setting(True, True))) == 2


def test_one_seed_gives_the_width_of_the_mean_over_tasks():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(1, 400))
    found = mean_with_interval(values, draw_weights(1, 400, 4000, 2))
    width = 2 * 1.96 * values.std() / 20
    assert found["high"] - found["low"] == pytest.approx(width, rel=0.08)


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(5, 400))
    effect = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])[:, None]
    weights = draw_weights(5, 400, 2000, 4)
    alone = mean_with_interval(noise, weights)
    spread = mean_with_interval(noise + effect, weights)
    # Five seeds with a standard deviation of 0.71: the mean's is 0.32.
    assert spread["high"] - spread["low"] == pytest.approx(2 * 1.96 * 0.316, rel=0.15)
    assert alone["high"] - alone["low"] < 0.4


@pytest.mark.slow
def test_intervals_over_seeds_and_tasks_cover():
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(200):
        seeds = rng.normal(0, 0.3, size=(10, 1))
        tasks = rng.normal(0, 0.5, size=(1, 60))
        values = 2.0 + seeds + tasks + rng.normal(size=(10, 60))
        found = mean_with_interval(values, draw_weights(10, 60, 400, trial))
        covered += found["low"] <= 2.0 <= found["high"]
    assert 0.86 <= covered / 200 <= 0.99
