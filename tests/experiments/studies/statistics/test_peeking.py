"""E9: what it finds in its tiny form, and the audit of the real archive."""

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import joined
from copygym.experiments import app
from copygym.experiments.report.tables import interval
from copygym.experiments.runs.folder import open_run
from copygym.experiments.studies.statistics import peeking
from copygym.experiments.studies.statistics import peeking_simulation as simulate
from copygym.experiments.tracking.base import make_trackers


def run(folder, *overrides):
    given = ["experiment=e9", "tiny=true", "tracker=disabled", f"out={folder}", *overrides]
    config = app.composed(given)
    names = {"group": "g", "job_type": "j", "name": "n"}
    trackers = make_trackers(config["tracker"], folder, config, names)
    peeking.check(config)
    return peeking.seed_records(config, open_run(folder, config), trackers)


def test_without_a_log_the_audit_is_left_out_and_said_so(tmp_path, cells_of):
    records = run(tmp_path / "run", "peeking.replications=1500")
    report = peeking.report(records)
    assert "No log was given (data.path)" in report.summary
    assert sorted(records.values("looks")) == [1, 2, 5, 10, 20, 100]
    for looks in records.values("looks"):
        naive, theory, valid = (
            records.number("rejected", question="peeking", method=method, looks=looks)
            for method in ("naive", "theory", "always_valid")
        )
        assert naive["value"] == pytest.approx(theory["value"], abs=0.05)
        assert valid["value"] < 0.05
        row = cells_of(report.table)[str(looks)]
        assert row["fixed-horizon test, peeked at"] == interval(naive, "%")
        assert row["theory"] == f"{100 * theory['value']:.1f}"
        assert row["always-valid test"] == interval(valid, "%")
    for correlation in records.values("correlation"):
        cell = {"question": "cuped", "correlation": correlation}
        ratio = records.number("variance_ratio", method="cuped", **cell)
        assert ratio["value"] == pytest.approx(1 - correlation**2, abs=0.02)
    tables = [report.table, *(table for s in report.sections for table in s.tables)]
    cells = [cell for table in tables for row in table.rows for cell in row]
    assert not any("nan" in cell or "None" in cell for cell in cells)
    assert "Not run" in report.sections[-1].text[0]
    assert [p.name for s in report.sections for p in s.pictures] == ["type_1_error", "power"]


def test_the_audit_of_the_real_archive(tmp_path, data_folder):
    path = data_folder / "upworthy" / "exploratory.parquet"
    records = run(tmp_path / "run", f"data.path={path}", "peeking.replications=50")
    inside, outside = (records.number("flagged", weeks=part) for part in ("inside", "outside"))
    assert inside["value"] == pytest.approx(2 / 3, abs=0.03)
    assert outside["value"] == pytest.approx(0.005, abs=0.002)
    assert records.first["rows_seen"]["audit"]["rows"] == 19_025
    assert "66.4%" in peeking.report(records).summary


def test_the_audit_finds_the_weeks_that_lost_an_arms_traffic(tmp_path, made_folder):
    path = made_folder / "upworthy" / "exploratory.parquet"
    records = run(tmp_path / "run", f"data.path={path}", "peeking.replications=50")
    inside, outside = (records.number("flagged", weeks=part) for part in ("inside", "outside"))
    assert (inside["value"], outside["value"]) == (1, 0)
    assert records.first["rows_seen"]["audit"]["rows"] == 1200


def test_seeds_of_the_simulation_are_taken_together(tmp_path):
    parts = [
        run(tmp_path / str(seed), f"seed={seed}", "peeking.replications=60") for seed in (1, 2)
    ]
    records = joined(parts)
    cell = {"question": "peeking", "method": "naive", "looks": 100}
    values = records.by_seed("rejected", **cell)
    assert records.number("rejected", **cell)["value"] == pytest.approx(values.mean())
    assert peeking.report(records).table.rows[-1][0] == "100"


def test_wrong_configs_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="7 looks cannot be spaced evenly among 10"):
        run(tmp_path / "a", "peeking.looks=[1,7,10]")
    with pytest.raises(UserError, match=r"bandit\.lifts: a lift of 30"):
        run(tmp_path / "c", "bandit.lifts=[30]")
    with pytest.raises(UserError, match="E9 audits the Upworthy archive"):
        run(tmp_path / "b", "data.name=hillstrom", "data.path=x.csv")


def test_shares_have_wilsons_interval():
    # 0 of 10: Wilson's upper end is z^2 / (n + z^2).
    found = peeking.share(np.zeros(10))
    assert found.low == pytest.approx(0, abs=1e-12)
    assert found.high == pytest.approx(3.8415 / 13.8415, rel=1e-3)


def test_rejections_by_hand():
    z_RL = np.array([[2.5, 0.0, 0.0, 0.0], [0.0, 2.5, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0]])
    assert simulate.ever_rejected(z_RL, 4, 0.05, None).tolist() == [True, True, True]
    assert simulate.ever_rejected(z_RL, 2, 0.05, None).tolist() == [False, True, True]
    assert simulate.ever_rejected(z_RL, 1, 0.05, None).tolist() == [False, False, True]
    assert simulate.ever_rejected(z_RL, 4, 0.05, 4).tolist() == [False, False, True]
    assert simulate.first_rejection(np.array([[0, 9.0, 9.0], [0, 0, 0]]), 0.05, 3).tolist() == [
        2,
        3,
    ]


def test_without_a_click_there_is_no_z():
    z_RL = simulate.z_paths(np.random.default_rng(0), 3, 2, 5, [0.0, 0.0])
    assert (z_RL == 0).all()
