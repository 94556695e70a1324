"""E8's worlds: their truth is what their logs say, and the summary counts what it says."""

import re

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.evaluation.ope.judge import LEAST_ESS, WEAK_EVENTS
from copygym.evaluation.records import Records, Rows
from copygym.experiments.studies.statistics import ope_coverage as e8


@pytest.fixture(scope="module")
def randomised():
    """A randomised log of two arms in four cells, with spend."""
    rng = np.random.default_rng(0)
    n = 8000
    cell, arm = rng.integers(0, 4, n), rng.integers(0, 2, n)
    clicks = rng.random(n) < 0.05 + 0.04 * cell + 0.1 * arm * (cell > 1)
    return pl.DataFrame(
        {
            "creative_id": np.where(arm == 1, "mail", "hold"),
            "user_a": cell % 2,
            "user_b": cell // 2,
            "propensity": np.full(n, 0.5),
            "impressions": np.ones(n, int),
            "clicks": clicks.astype(int),
            "revenue": clicks * rng.exponential(20, n),
        }
    )


@pytest.fixture(scope="module")
def real(randomised):
    return e8.randomised_world(ClickLog.from_frame(randomised, name="log"), ["user_a", "user_b"])


@pytest.fixture(scope="module")
def synthetic():
    return e8.storefront_world(seed=1, n_users=60)


def test_worlds_are_made_of_distributions(real, synthetic):
    for world in (real, synthetic):
        assert world.share_G.sum() == pytest.approx(1)
        for table in (world.logging_GA, *world.targets.values()):
            np.testing.assert_allclose(table.sum(axis=1), 1)
            assert (table >= 0).all()
        assert world.logging_GA.min() > 0
    assert synthetic.synthetic and not real.synthetic


def test_the_truth_of_a_randomised_log_is_its_own_mean(real, randomised):
    mails = randomised.filter(pl.col("creative_id") == "mail")
    by_cell = mails.group_by("user_a", "user_b").agg(pl.col("clicks").mean())
    cells = randomised.group_by("user_a", "user_b").len()
    joined = by_cell.join(cells, on=["user_a", "user_b"])
    expected = (joined["clicks"] * joined["len"]).sum() / len(randomised)
    assert real.truth("visit", "always mail") == pytest.approx(expected)
    mixed = 0.5 * (real.truth("spend", "always mail") + real.truth("spend", "always hold"))
    assert real.truth("spend", "uniform") == pytest.approx(mixed)


@pytest.mark.parametrize("kind", ["real", "synthetic"])
def test_logs_of_a_world_have_its_policy_and_its_means(kind, request):
    world = request.getfixturevalue(kind)
    n = 200_000
    cell, arm, outcomes = world.draw(n, np.random.default_rng(2))
    weights = 1 / world.logging_GA[cell, arm]
    for a in range(min(world.logging_GA.shape[1], 4)):
        hit = (arm == a) * weights
        assert hit.mean() == pytest.approx(1, abs=5 * hit.std() / np.sqrt(n))
    for name, target in world.targets.items():
        for outcome, rewards in outcomes.items():
            terms = target[cell, arm] * weights * rewards
            error = terms.std() / np.sqrt(n)
            assert terms.mean() == pytest.approx(world.truth(outcome, name), abs=4 * error)


def test_an_arm_that_was_never_tried_in_a_cell_is_refused(randomised):
    less = randomised.filter((pl.col("user_a") == 0) | (pl.col("creative_id") == "hold"))
    log = ClickLog.from_frame(less, name="log")
    with pytest.raises(UserError, match=re.escape("cells: no row of mail where (1, 0)")):
        e8.randomised_world(log, ["user_a", "user_b"])


def test_coverage_is_a_share_with_its_own_interval():
    found = e8.share(np.r_[np.ones(95, bool), np.zeros(5, bool)])
    assert found["value"] == 0.95
    assert found["low"] == pytest.approx(0.8882, abs=1e-3)
    assert found["high"] == pytest.approx(0.9785, abs=1e-3)


def test_records_compare_with_the_truth(real):
    truth = real.truth("visit", "uniform")
    values = np.array(
        [
            [truth, truth - 1, truth + 1, truth - 1, truth + 1, 500, 80],
            [1.2 * truth, truth + 0.1, truth + 1, truth - 1, truth + 1, 300, 80],
        ]
    )
    rows = Rows(0)
    e8._add_world(rows, real, {"visit/uniform/ips": values})
    records = Records(rows.frame, {0: {"log_rows": {real.name: 500}, "replications": 2}})
    found = {metric: records.number(metric)["value"] for metric in records.frame["metric"]}
    assert found["relative_error"] == pytest.approx(np.sqrt(0.04 / 2))
    assert found["relative_bias"] == pytest.approx(0.1)
    assert (found["bootstrap_coverage"], found["normal_coverage"]) == (0.5, 1.0)
    assert found["effective_rows"] == 400
    report = e8.report(records)
    (row,) = report.table.rows
    assert row[:2] == (f"{real.name}, visit: ips", "1")
    assert row[3:] == ("+10.0", "50.0 (50.0 to 50.0)", "100.0 (100.0 to 100.0)")
    # Neither 93 nor 97% of the logs: it is counted as missing its goal.
    assert "Of 1 pairs" in report.summary and "intervals of 0 cover" in report.summary
    detail = report.sections[0].tables[0].rows[0]
    assert detail[:4] == ("uniform: ips", f"{truth:.4g}", "400", "80")


def test_an_unknown_world_is_refused():
    with pytest.raises(UserError, match=re.escape("unknown entry of truths 'mars'")):
        e8.check({"truths": ["mars"]})
    with pytest.raises(UserError, match="truths is empty"):
        e8.check({"truths": []})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["real", "synthetic"])
def test_intervals_cover_as_often_as_they_say(kind, request):
    world = request.getfixturevalue(kind)
    hits = {}
    for seed in range(200):
        for key, kept in e8.replicate(world, 6000, 200, seed).items():
            truth = world.truth(*key[:2])
            inside = [kept[1] <= truth <= kept[2], kept[3] <= truth <= kept[4]]
            hits.setdefault(key, []).append([*inside, *kept[5:]])
    for (_, policy, estimator), found in hits.items():
        boot, normal, ess, events = np.mean(found, axis=0)
        if estimator != "dm" and ess >= LEAST_ESS and events >= WEAK_EVENTS:
            # Three standard errors of 200 logs around 95%.
            assert min(boot, normal) > 0.90, (policy, estimator)
