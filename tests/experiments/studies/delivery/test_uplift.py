import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from public_columns import BOUGHT, VISITS

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.evaluation.records import Records
from copygym.experiments.report.tables import interval
from copygym.experiments.studies.delivery import uplift
from copygym.experiments.studies.delivery.uplift import (
    catalogue_decisions,
    fixed_arms,
    logged_actions,
    response_models,
    verdicts,
)


def test_actions_of_a_log(make_user_model):
    catalogue = make_user_model(n_channels=1).catalogue
    test = pl.DataFrame({"creative_id": ["creative-1", "hold", "creative-0", "creative-2"]})
    assert logged_actions(test, catalogue).tolist() == [2, 0, 1, 3]
    assert fixed_arms(catalogue) == {
        "nothing": 0, "creative-0": 1, "creative-1": 2, "creative-2": 3,
    }  # fmt: skip


def test_a_log_with_several_channels_is_refused(make_user_model):
    with pytest.raises(UserError, match=re.escape("the log has 2 channels")):
        logged_actions(pl.DataFrame({"creative_id": ["hold"]}), make_user_model().catalogue)


def test_expectations_by_hand(make_user_model):
    users = make_user_model(n_users=1, n_creatives=2, n_channels=1, n_slots=1)
    users = replace(
        users,
        click_logit=np.array([[[-np.inf, 0.0, np.log(3)]]]),
        conversion_logit=np.array([[-np.inf, 0.0, np.log(1 / 3)]]),
        expected_revenue=np.array([[0.0, 8.0, 16.0]]),
    )
    models = response_models(users)
    np.testing.assert_allclose(models["clicks"], [[0.0, 0.5, 0.75]])
    np.testing.assert_allclose(models["revenue"], [[0.0, 2.0, 3.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("propensity", "visit", "spend", "begins"),
    [
        (0.5, "supported", "not supported", "its value rests on 2.0 effective rows with spend"),
        (0.25, "not supported", "not supported", "the propensities contradict the arms' shares"),
    ],
)
def test_each_outcome_of_a_policy_has_a_verdict(make_user_model, propensity, visit, spend, begins):
    n = 800
    row = np.arange(n)
    frame = pl.DataFrame(
        {
            "user_id": [f"u{i}" for i in row],
            "creative_id": np.where(row % 2, "creative-0", "hold"),
            "propensity": np.full(n, propensity),
            "impressions": np.ones(n, dtype=np.int64),
            "clicks": (row % 4 < 2).astype(np.int64),
            "revenue": np.where((row == 1) | (row == 3), 30.0, 0.0),
            "user_age": row,
        }
    )
    log = ClickLog.from_frame(frame, name="mail", infer_features=True)
    catalogue = make_user_model(n_creatives=1, n_channels=1).catalogue
    columns = {"visit": "clicks", "spend": "revenue"}
    logs = {name: catalogue_decisions(log, column, catalogue) for name, column in columns.items()}
    found = verdicts(logs, {"always": np.eye(2)[np.ones(n, dtype=int)]})["always"]
    assert (found["visit"]["verdict"], found["spend"]["verdict"]) == (visit, spend)
    assert found["spend"]["warnings"][0].startswith(begins)


def test_arms_are_the_catalogue_s_where_the_log_never_took_one(make_user_model):
    frame = pl.DataFrame(
        {
            "creative_id": ["creative-2", "hold", "creative-0"],
            "propensity": [0.25] * 3,
            "impressions": [1] * 3,
            "clicks": [1, 0, 0],
        }
    )
    log = ClickLog.from_frame(frame, name="mail")
    found = catalogue_decisions(log, "clicks", make_user_model(n_channels=1).catalogue)
    assert found.arms == ("hold", "creative-0", "creative-1", "creative-2")
    assert found.actions.tolist() == [3, 0, 1]
    assert found.rewards.tolist() == [1.0, 0.0, 0.0]


def visits(records, policy, **cell):
    cell = {"estimator": "dr", "versus": None, **cell}
    return records.number("visit", policy=policy, **cell)


def share(records, policy, segment, arm):
    return records.number("share", policy=policy, segment=segment, arm=arm)["value"]


def test_hillstrom_finds_who_likes_which_mail(data_folder, tmp_path, monkeypatch):
    """A fact of the real log: buyers of men's goods visit more after the men's e-mail."""
    records = hillstrom(data_folder, tmp_path, monkeypatch, "evaluation.resamples=300")
    # The arms' own visit rates, known from the whole log.
    for name, rate in (("nothing", 0.106), ("mens_email", 0.183), ("womens_email", 0.151)):
        found = visits(records, name)
        assert found["low"] - 0.004 < rate < found["high"] + 0.004
    assert visits(records, "bandit_visit", versus="womens_email")["low"] > 0
    assert share(records, "model_visit", "1 | 0", "mens_email") > 0.9


def test_planted_tastes_are_found(made_folder, tmp_path, monkeypatch, cells_of):
    """Each kind of customer gets the e-mail that was made to suit it."""
    small = ("evaluation.resamples=100", "users.n_users=600", "evaluation.users=1000")
    records = hillstrom(made_folder, tmp_path, monkeypatch, *small)
    for policy in ("model_visit", "bandit_visit"):
        assert share(records, policy, "1 | 0", "mens_email") > 0.9
        assert share(records, policy, "0 | 1", "womens_email") > 0.9
    for arm, name in (("No E-Mail", "nothing"), ("Mens E-Mail", "mens_email")):
        rate, found = np.dot(VISITS[arm], BOUGHT), visits(records, name)
        assert found["low"] < rate < found["high"]
    gain = visits(records, "model_visit", versus="mens_email")
    # 0.40 instead of 0.10 for the 45% who bought women's goods alone.
    assert gain["low"] < 0.3 * BOUGHT[1] < gain["high"] and gain["low"] > 0
    report = uplift.report(records)
    shown = cells_of(report.table)
    assert list(shown)[:3] == ["nothing", "mens_email", "womens_email"]
    assert shown["model_visit"]["visit per customer"] == interval(visits(records, "model_visit"))
    differences = cells_of(report.sections[0].tables[0])
    assert differences["model_visit, mens_email"]["visit per customer"] == interval(gain)
    who = next(s for s in report.sections if s.heading == "Who gets what").tables
    table = next(t for t in who if "model_visit" in t.caption)
    assert cells_of(table)["1 | 0"]["mens_email %"] == (
        f"{100 * share(records, 'model_visit', '1 | 0', 'mens_email'):.0f}"
    )


def hillstrom(folder, tmp_path, monkeypatch, *overrides):
    """Return the records of the experiment on the log in ``folder``."""
    from copygym.experiments import app

    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path / "home"))
    config = app.composed([
        "experiment=hillstrom", "tracker=disabled", "learn.steps=20000",
        f"out={tmp_path / 'run'}", f"data.path={folder / 'hillstrom' / 'hillstrom.csv'}",
        *overrides,
    ])  # fmt: skip
    names = {"group": "g", "job_type": "j", "name": "n"}
    app.execute(config, tmp_path / "run", ["run"], names)
    return Records.read(tmp_path / "run")
