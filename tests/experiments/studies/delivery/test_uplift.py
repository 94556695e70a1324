import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.evaluation.ope import estimates as ope
from copygym.experiments.studies.delivery.uplift import (
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
    actions = np.arange(n) % 2
    outcomes = {"visit": (np.arange(n) % 4 < 2).astype(float), "spend": np.zeros(n)}
    outcomes["spend"][[1, 3]] = 30.0
    log = ope.OffPolicyLog(actions, np.full(n, propensity), outcomes, {})
    policies = {"always": np.eye(2)[np.ones(n, dtype=int)]}
    weights = ope.importance_weights(log.actions, log.propensities, policies["always"])
    catalogue = make_user_model(n_creatives=1, n_channels=1).catalogue
    test = pl.DataFrame({"user_age": np.arange(n)})
    found = verdicts(log, policies, {"always": ope.support(weights)}, test, catalogue)["always"]
    assert (found["visit"]["verdict"], found["spend"]["verdict"]) == (visit, spend)
    assert found["spend"]["warnings"][0].startswith(begins)


def test_hillstrom_finds_who_likes_which_mail(data_folder, tmp_path, monkeypatch):
    """A fact of the real log: buyers of men's goods visit more after the men's e-mail."""

    from copygym.experiments import app

    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path / "home"))
    config = app.composed([
        "experiment=hillstrom", "tracker=disabled", "learn.steps=20000",
        "evaluation.resamples=300", f"out={tmp_path / 'run'}",
        f"data.path={data_folder / 'hillstrom' / 'hillstrom.csv'}",
    ])  # fmt: skip
    names = {"group": "g", "job_type": "j", "name": "n"}
    app.execute(config, tmp_path / "run", ["run"], names)
    from copygym.core.files.storage import read_json

    result = read_json(tmp_path / "run" / "result.json")
    visits = {name: tree["visit"]["dr"] for name, tree in result["values"].items()}
    # The arms' own visit rates, known from the whole log.
    for name, rate in (("nothing", 0.106), ("mens_email", 0.183), ("womens_email", 0.151)):
        assert visits[name]["low"] - 0.004 < rate < visits[name]["high"] + 0.004
    gain = result["differences"]["bandit_visit - womens_email"]["visit"]["dr"]
    assert gain["low"] > 0
    assert result["shares"]["model_visit"]["1 | 0"]["mens_email"] > 0.9
