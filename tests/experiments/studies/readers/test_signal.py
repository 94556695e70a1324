import re

import numpy as np
import polars as pl
import pytest
from public_columns import write_coupon, write_hillstrom

from copygym.core.errors import UserError
from copygym.envs import datasets
from copygym.envs.logs.clicklog import ClickLog
from copygym.evaluation.ope.decisions import decisions
from copygym.evaluation.records import Records, joined
from copygym.experiments import app
from copygym.experiments.studies.readers.choice import Choices, best_text, choice_values
from copygym.experiments.studies.readers.signal import compared, report
from copygym.experiments.studies.readers.signal_report import over_readers

NAMES = {"group": "g", "job_type": "j", "name": "n"}


def run(out, *overrides):
    config = app.composed(
        [
            "experiment=signal", "tracker=disabled", "evaluation.resamples=200", "folds=2",
            f"out={out}", *map(str, overrides),
        ]
    )  # fmt: skip
    app.execute(config, out, ["run"], NAMES)
    return Records.read(out)


CARD = {"policy": None, "estimator": None, "versus": None, "text": None}
LESS = {"estimator": "dr", "versus": "best for everybody", "profiles": None, "text": None}


@pytest.fixture(scope="module")
def hillstrom(tmp_path_factory):
    """Two draws of the folds on buyers who like the e-mail about what they bought."""
    folder = tmp_path_factory.mktemp("hillstrom")
    path = write_hillstrom(folder)
    return [run(folder / f"run{seed}", f"data.path={path}", f"seed={seed}") for seed in (1, 2)]


def test_it_matters_who_reads_and_choosing_pays_where_both_were_planted(hillstrom):
    one = hillstrom[0]
    gain = one.number("gain", profiles="own", **CARD)
    assert gain["low"] > 0.01 and one.number("found", profiles="own", **CARD)["value"] == 1
    visits = one.number("clicks", policy="by profile", **LESS)
    # By hand: buyers of one kind visit at 0.4 by their own e-mail, at 0.1 by the other.
    assert visits["low"] > 0.05 and abs(visits["value"] - 0.9 * (0.4 - 0.25)) < 0.03
    text = (one.about[1]["card"]["own"]["verdict"], report(one).summary)
    assert "can be learned" in text[0] and "It matters who reads" in text[1]


def test_permuted_profiles_give_nothing(hillstrom):
    for records in hillstrom:
        gain = records.number("gain", profiles="permuted", **CARD)
        assert abs(gain["value"]) < 1e-3
        visits = records.number("clicks", policy="by permuted profile", **LESS)
        assert visits["low"] - 1e-9 <= 0 <= visits["high"] + 1e-9


def test_over_draws_intervals_stay_over_readers(hillstrom):
    both = joined(hillstrom)
    own = [records.number("gain", profiles="own", **CARD) for records in hillstrom]
    found = over_readers(both.estimates, "gain", profiles="own", **CARD)
    for end in ("value", "low", "high"):
        assert found[end] == pytest.approx(np.mean([one[end] for one in own]))
    page = report(both)
    assert "means over 2 draws of the folds" in page.table.caption
    assert "By draw" in [section.heading for section in page.sections]


def test_a_log_without_propensities_has_a_card_and_says_why_there_is_no_choice(tmp_path):
    path = write_coupon(tmp_path)
    records = run(tmp_path / "run", "dataset=coupon", f"data.path={path}")
    assert records.number("gain", profiles="own")["value"] is not None
    text = (tmp_path / "run" / "report.md").read_text()
    assert "is not estimated: the log has no propensities" in text


def test_texts_of_all_products_are_compared_or_of_each(tmp_path):
    log = datasets.load("coupon", write_coupon(tmp_path))
    assert not compared(log, "log").has("product_id") and compared(log, "product") is log
    assert compared(log, "log").collect()["topic"].unique().to_list() == ["all"]


# --- bad input


def table(path, **columns):
    n = 600
    rng = np.random.default_rng(0)
    user, text = rng.integers(60, size=n), rng.integers(2, size=n)
    rows = {
        "user_id": [f"u{i:02}" for i in user],
        "user_age": np.where(user < 30, 25, 60),
        "product_id": ["kettle"] * n,
        "creative_id": [f"c{i}" for i in text],
        "text": np.array(["Save money.", "New today."])[text],
        "impressions": [1] * n,
        "clicks": (rng.random(n) < np.where((user < 30) == (text == 1), 0.6, 0.1)).astype(int),
    }
    whole = {name: column for name, column in (rows | columns).items() if column is not None}
    pl.DataFrame(whole).write_csv(path)
    return path


def own_log(tmp_path, *overrides, **columns):
    path = table(tmp_path / "log.csv", **columns)
    return run(tmp_path / "run", "dataset=table", f"data.path={path}", *overrides)


def test_a_log_of_one_s_own_has_a_card(tmp_path):
    assert own_log(tmp_path).number("gain", profiles="own")["low"] > 0.01


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        ("user_id", "has no column user_id: whether it matters who reads cannot be told"),
        ("text", "has no column text: whether it matters who reads what cannot be told"),
    ],
)
def test_without_readers_or_texts_it_is_one_sentence(tmp_path, lost, why):
    with pytest.raises(UserError, match=re.escape(why)):
        own_log(tmp_path, **{lost: None})


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"user_age": [40] * 600}, "all readers have the same profile"),
        ({"user_age": None}, "all readers have the same profile"),
        ({"text": ["Save money."] * 600}, "every product has one text only"),
        ({"clicks": [1] * 9 + [0] * 591}, "it holds 9 clicks, fewer than 50"),
    ],
)
def test_where_nothing_can_be_learned_the_card_says_why(tmp_path, columns, why):
    records = own_log(tmp_path, **columns)
    assert records.first["card"]["own"]["reason"].startswith(why)
    assert f"Personal copy cannot be learned from this log: {why}" in report(records).summary


def test_wrong_keys_are_refused(tmp_path):
    with pytest.raises(UserError, match=re.escape("unknown outcome 'visits'")):
        own_log(tmp_path, "outcomes=[visits]")
    with pytest.raises(UserError, match=re.escape("compare=brand: write log")):
        own_log(tmp_path, "compare=brand")


# --- choices


def randomised(n=4000):
    rng = np.random.default_rng(0)
    user, arm = rng.integers(2, size=n), rng.integers(3, size=n)
    rate = np.array([[0.1, 0.5, 0.2], [0.1, 0.2, 0.6]])[user, arm]
    return ClickLog.from_frame(
        {
            "user_id": [f"u{i}" for i in range(n)],
            "user_kind": user,
            "creative_id": np.array(["hold", "a", "b"])[arm],
            "text": np.array([None, "Text A", "Text B"], dtype=object)[arm].tolist(),
            "channel": ["email"] * n,
            "propensity": [1 / 3] * n,
            "impressions": [1] * n,
            "clicks": (rng.random(n) < rate).astype(int),
        },
        infer_features=True,
    )  # fmt: skip


def test_choices_of_a_log():
    log = randomised()
    known = decisions(log)
    choices = Choices.of(known)
    assert known.arms == ("hold", "a", "b") and choices.texts == ("Text A", "Text B")
    assert choices.text_of_arm.tolist() == [-1, 0, 1]
    np.testing.assert_array_equal(choices.chosen(np.array([1, 0])), [[0, 0, 1], [0, 1, 0]])
    np.testing.assert_allclose(choices.random(2), [[0, 0.5, 0.5]] * 2)
    np.testing.assert_allclose(choices.shares(choices.random(2)), [0.5, 0.5])
    assert best_text(log, choices.texts) == 1  # (0.2 + 0.6) / 2 against (0.5 + 0.2) / 2


def test_the_value_of_a_choice_by_hand():
    log = randomised()
    choices = Choices.of(decisions(log))
    kind = log.collect()["user_kind"].to_numpy()
    policies = {"all b": choices.everybody(1, len(kind)), "by kind": choices.chosen(kind)}
    found = choice_values(log, policies, ["clicks"], "all b", resamples=200, seed=0)
    for estimator in ("ips", "snips", "dr"):
        less = found["differences"]["by kind"]["clicks"][estimator]
        assert less["value"] == pytest.approx((0.5 - 0.2) / 2, abs=0.03)
        assert 0 < less["low"] < less["value"] < less["high"]
    assert found["verdicts"]["by kind"]["clicks"]["verdict"] == "supported"
