"""E11: what is revealed and what is not, groups by popularity, updates, and its mistakes."""

import json
import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.profiles.builder import ProfileBuilder
from copygym.evaluation.records import Records, Rows, joined, number
from copygym.experiments.report.tables import interval
from copygym.experiments.studies.newcomers import (
    cold_start,
    drift,
    long_tail,
    new_rare_changing,
)
from copygym.experiments.studies.newcomers.cold_start import after, revealed, value
from copygym.experiments.studies.newcomers.drift import Fits, Updated, between, edges
from copygym.experiments.studies.newcomers.known_log import (
    demographics,
    known_log,
    scores,
    sends_of,
)
from copygym.experiments.studies.newcomers.long_tail import deciles, group_scores
from copygym.experiments.studies.newcomers.new_rare_changing import add_scores

STILL = {"drift_step": 0.0, "drift_click": 0.0}


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture(scope="module")
def known():
    return known_log(3, {"n_users": 120, "n_slots": 40, "dynamics": STILL})


@pytest.fixture(scope="module")
def sends(known):
    return sends_of(known, known.log, known.world.catalogue, 0.8)


@pytest.fixture
def config(composed):
    return lambda *more: composed("experiment=e11", "tiny=true", "tracker=disabled", *more)


def flipped(log, condition):
    """Return the log with clicks and no clicks swapped where ``condition`` holds."""
    sent = pl.col("creative_id") != "hold"
    swapped = pl.when(condition & sent).then(1 - pl.col("clicks")).otherwise(pl.col("clicks"))
    return log.with_frame(log.frame.with_columns(clicks=swapped))


# ------------------------------------------------------------------ the truth


def test_each_send_has_its_own_truth(known, sends):
    users = known.world.user_model(users=known.world.rows_of(sends.ids))
    d = known.world.dynamics
    logit = users.click_logit[sends.user, sends.slot, sends.action]
    logit = logit - d.fatigue_click * sends.fatigue
    logit = logit - d.repetition_click * np.log1p(sends.repetitions)
    np.testing.assert_allclose(sends.truth, 1 / (1 + np.exp(-logit)), atol=2e-5)


def test_the_truth_has_no_excess_and_everything_else_has(sends):
    own = scores(sends.truth, sends)
    assert own["excess"] == pytest.approx(0, abs=1e-9)
    assert own["calibration"] == pytest.approx(1)
    assert scores(np.full(len(sends), sends.truth.mean()), sends)["excess"] > 5
    # One send with a true chance of 1/2 that is given 1/4: KL = -log(2 sqrt(1/4 * 3/4)).
    one = replace(sends.take(np.arange(len(sends)) == 0), truth=np.array([0.5]))
    expected = -1000 * np.log(2 * np.sqrt(0.25 * 0.75))
    assert scores(np.array([0.25]), one)["excess"] == pytest.approx(expected)


# ------------------------------------------------------------------ new users


def test_the_first_sends_are_revealed_and_no_other(known, sends):
    for n in (0, 1, 3):
        shown = revealed(known.log, n).collect()
        counts = shown.group_by("user_id").len()["len"]
        assert shown.height == np.minimum(np.bincount(sends.user), n).sum()
        assert n == 0 or counts.max() == n
    first = revealed(known.log, 1).collect().sort("user_id")
    every = known.log.sends().collect().sort("user_id", "timestamp")
    assert first["timestamp"].equals(
        every.group_by("user_id", maintain_order=True).first()["timestamp"]
    )


def test_what_is_hidden_changes_no_profile(known):
    builder = ProfileBuilder(rfm=False).fit(known.log)
    people = demographics(known.log)
    rank = pl.col("timestamp").rank("ordinal").over("user_id")
    own = builder.transform(revealed(known.log, 4), users=people).features
    order = known.log.sends().frame.with_columns(r=rank).filter(pl.col("r") > 4)
    hidden = order.select("user_id", "timestamp", hidden=pl.lit(True))
    joined = known.log.frame.join(hidden, on=["user_id", "timestamp"], how="left")
    late = flipped(known.log.with_frame(joined), pl.col("hidden").fill_null(False))
    late = late.with_frame(late.frame.drop("hidden"))
    np.testing.assert_array_equal(own, builder.transform(revealed(late, 4), users=people).features)
    # The same change is seen as soon as it is revealed.
    assert (own != builder.transform(revealed(late, 6), users=people).features).any()


def test_what_is_hidden_changes_no_prediction(config, monkeypatch):
    settings = config("cold_start.data.n_users=150", "cold_start.reveal=[0,2]")
    settings["cold_start"]["profiles"] = {"shrunk": {"rfm": False}}

    def found(make):
        monkeypatch.setattr(cold_start, "known_log", make)
        scored = cold_start.measure({**settings, "seed": 3}, None)["scores"]
        # Neither is of the clicks themselves: the truth judges both.
        return [(cell, values.get("excess"), values["value"]) for cell, values in scored]

    def swapped(seed, options):
        """The same people and truth, but other clicks of judged people after their second send."""
        whole = known_log(seed, options)
        split = {"train": 0.8, "test": 0.2}
        judged = whole.log.split_by_user(split, derived_seed(seed, "split"))["test"]
        shown = revealed(judged, 2).frame.select("user_id", "timestamp", shown=pl.lit(True))
        ids = judged.frame.select("user_id").unique().with_columns(judged=pl.lit(True))
        frame = whole.log.frame.join(shown, on=["user_id", "timestamp"], how="left")
        frame = frame.join(ids, on="user_id", how="left")
        hidden = pl.col("judged").fill_null(False) & pl.col("shown").is_null()
        other = flipped(whole.log.with_frame(frame), hidden)
        assert other.collect()["clicks"].sum() > 2 * whole.log.collect()["clicks"].sum()
        return replace(whole, log=other.with_frame(other.frame.drop("shown", "judged")))

    assert found(known_log) == found(swapped)


def test_nothing_revealed_is_the_profile_of_demographics(known):
    builder = ProfileBuilder(rfm=False).fit(known.log)
    people = demographics(known.log)
    np.testing.assert_array_equal(
        builder.transform(revealed(known.log, 0), users=people).features,
        builder.cold_start(people).features,
    )


def test_all_numbers_revealed_are_judged_by_the_same_sends(sends):
    rest = after(sends, 5)
    assert (rest.order >= 5).all()
    assert len(rest) == np.maximum(np.bincount(sends.user) - 5, 0).sum()
    with pytest.raises(UserError, match="reveal fewer"):
        after(sends, 1000)


@pytest.mark.parametrize("column", ["user_id", "timestamp"])
def test_a_log_that_says_not_who_or_when_reveals_nothing(known, column):
    log = known.log.with_frame(known.log.frame.drop(column))
    with pytest.raises(UserError, match=column):
        revealed(log, 1)


def test_the_value_is_that_of_what_is_believed_best():
    gold = np.array([[[0.0, 0.1, 0.3]], [[0.0, 0.2, 0.4]]])
    believed = np.array([[[0.9, 0.5, 0.1]], [[0.9, 0.1, 0.2]]])
    assert value(gold, gold) == pytest.approx(35)
    assert value(believed, gold) == pytest.approx(25)


# ------------------------------------------------------------------ rare products


def test_groups_part_the_creatives_evenly_by_how_often_they_were_sent():
    sent = np.array([5, 100, 7, 7, 0, 60, 3, 1, 50, 2])
    group = deciles(sent, 5)
    assert np.bincount(group).tolist() == [2] * 5
    assert group[1] == group[5] == 0
    assert group[4] == group[7] == 4
    for g in range(4):
        assert sent[group == g].min() >= sent[group == g + 1].max()
    assert np.bincount(deciles(np.arange(23), 10)).min() == 2
    with pytest.raises(UserError, match="9 creatives make no 10 groups"):
        deciles(np.arange(9), 10)


def test_a_group_is_scored_by_its_own_sends(sends, known):
    creative = known.world.catalogue.creative_of_action[sends.action]
    here = np.zeros(known.world.catalogue.n_creatives, bool)
    here[:12] = True
    rows = here[creative]
    chance = np.where(rows, sends.truth, 0.9)
    error = np.where(here, 0.25, 9.0)
    found = group_scores(chance, sends, creative, here, error)
    assert found["excess"] == pytest.approx(0, abs=1e-9)
    assert found["calibration"] == pytest.approx(0, abs=1e-9)
    assert found["error"] == pytest.approx(0.5)
    # Twice the true chance is a gap of all of it.
    assert group_scores(2 * chance, sends, creative, here, error)["calibration"] == pytest.approx(1)


# ------------------------------------------------------------------ changing tastes


def test_periods_part_the_time(known):
    cuts = edges(known.log, 4)
    pieces = [between(known.log, cuts, p, p + 1).height for p in range(4)]
    assert sum(pieces) == known.log.height
    assert min(pieces) > 0
    one = known.log.filter(pl.col("timestamp") == pl.col("timestamp").min())
    with pytest.raises(UserError, match="one period only"):
        edges(one, 4)
    with pytest.raises(UserError, match="timestamp"):
        edges(known.log.with_frame(known.log.frame.drop("timestamp")), 4)


@pytest.mark.parametrize("how", drift.UPDATES)
def test_no_update_sees_the_period_that_it_predicts(how, config):
    known = known_log(3, {"n_users": 150, "n_slots": 48})
    settings = config("drift.window=1")
    cuts = edges(known.log, 3)
    later = pl.col("timestamp").cast(pl.Int64) >= int(cuts[2])

    def features(log: ClickLog) -> np.ndarray:
        parts = log.split_by_user({"train": 0.7, "test": 0.3}, 0)
        fits = Fits(parts["train"], parts["test"], known.world.catalogue, cuts, settings)
        model = Updated(how, fits)
        model.before(1)
        fitted, profiles = model.before(2)
        return np.concatenate(
            [profiles.features.ravel(), fitted.users.click_logit[:, :, 1:].ravel()]
        )

    np.testing.assert_array_equal(features(known.log), features(flipped(known.log, later)))


def test_updates_help_where_tastes_change_and_do_no_harm_where_they_stand(config, tmp_path):
    settings = config(
        "drift.periods=4", "drift.data.n_users=600", "drift.data.n_slots=112",
        "drift.updates=[once,everything]", "drift.worlds.changing.trend=0.2",
    )  # fmt: skip
    settings["seed"] = 5
    rows = Rows(5)
    add_scores(rows, "drift", drift.measure(settings, None)["scores"])
    gain = {
        tastes: number(
            rows.frame, "excess", tastes=tastes, update="everything", period=None, versus="once"
        )["value"]
        for tastes in ("standing", "changing")
    }
    assert gain["standing"] < 2
    assert gain["changing"] < -5


# ------------------------------------------------------------------ the whole


def test_differences_are_those_of_one_world():
    def cell(profile, n=None):
        # In a stage's order of keys, which is that of the alphabet.
        return {"n_sends": n, "profile": profile}

    rows = Rows(0)
    scored = [
        [cell("truth"), {"value": 9.0}],
        [cell("population"), {"excess": 5.0, "value": 1.0}],
        [cell("raw means", 2), {"excess": 4.0, "value": 2.0}],
        [cell("shrunk", 2), {"excess": 3.0, "value": 4.0}],
    ]
    add_scores(rows, "cold_start", scored)
    found = rows.frame.drop_nulls("versus")
    assert number(found, "excess", profile="shrunk", versus="population")["value"] == -2.0
    assert number(found, "value", profile="shrunk", versus="raw means")["value"] == 2.0
    assert number(found, "excess", profile="raw means", versus="population")["value"] == -1.0
    # Nothing is compared with itself, or the truth with anything.
    assert set(found["profile"]) == {"shrunk", "raw means"}


@pytest.mark.parametrize(
    ("part", "cell", "expected"),
    [
        (long_tail, {"model": "text", "group": 3}, {"model": "number", "group": 3}),
        (long_tail, {"model": "number", "group": 3}, None),
        (long_tail, {"model": None, "group": 3}, None),
        (
            drift,
            {"tastes": "changing", "update": "window", "period": None},
            {"tastes": "changing", "update": "once", "period": None},
        ),
        (drift, {"tastes": "changing", "update": "once", "period": 4}, None),
    ],
)
def test_baselines_are_of_the_same_group_or_period(part, cell, expected):
    assert [other for _, other in part.baselines(cell)] == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["cold_start.reveal=[]"], "cold_start.reveal=[]"),
        (["cold_start.reveal=[-1,2]"], "cold_start.reveal=[-1, 2]"),
        (["long_tail.models=[fame]"], "'fame'"),
        (["long_tail.groups=1"], "a tail needs at least 2 groups"),
        (["drift.updates=[never]"], "'never'"),
        (["drift.first=4"], "must leave at least 1 to predict"),
        (["drift.window=0"], "drift.window=0"),
        (["cold_start=null", "long_tail=null", "drift=null"], "leave at least one"),
    ],
)
def test_mistakes_are_found_before_anything_is_fitted(config, overrides, message):
    with pytest.raises(UserError, match=re.escape(message)):
        new_rare_changing.check(config(*overrides))


@pytest.fixture(scope="module")
def folders(composed, execute, tmp_path_factory):
    """Runs of two worlds: new users and drift only, small."""
    place = tmp_path_factory.mktemp("e11")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPYGYM_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        for seed in (1, 2):
            execute(composed(*SMALL, f"seed={seed}"), place / str(seed))
    return place


SMALL = (
    "experiment=e11", "tiny=true", "tracker=disabled", "long_tail=null",
    "cold_start.data.n_users=150", "cold_start.reveal=[0,2]",
    "drift.updates=[once,everything]",
)  # fmt: skip


@pytest.fixture(scope="module")
def one(folders):
    return Records.read(folders / "1")


@pytest.fixture(scope="module")
def two(folders, one):
    return joined([one, Records.read(folders / "2")])


@pytest.mark.parametrize("several", [False, True])
def test_the_page_shows_the_records(several, one, two):
    records = two if several else one
    page = new_rare_changing.report(records)
    cold = {"question": "cold_start", "profile": "shrunk", "n_sends": 2}
    later = {"question": "drift", "tastes": "changing", "update": "everything", "period": None}
    rows = {row[0]: row[1:] for row in page.table.rows}
    for label, versus, cell in (
        ("new users: shrunk, 2", "demographics", cold),
        ("changing tastes: fitted anew on everything", "once", later),
    ):
        excess, gain = (
            interval(number(records.estimates, "excess", **cell, versus=other))
            for other in (None, versus)
        )
        assert rows[label] == (excess, gain)
        assert gain in page.summary
        assert ("[" in gain) == several
    assert rows["new users: demographics"][1] == "-"
    assert rows["changing tastes: fitted once"][1] == "-"
    new, changing = page.sections
    assert new.tables[0].rows[-1][0] == "truth"
    paired = {row[0]: row[1:] for row in new.tables[1].rows}
    assert "shrunk, 2 - raw means" in paired
    periods = [row[0] for row in changing.tables[0].rows]
    assert periods == ["3", "4", "all"]
    assert changing.tables[0].columns == ("period", "once", "everything", "everything - once")
    assert len(changing.pictures) == 2


def test_over_worlds_differences_are_paired(two):
    cell = {"question": "cold_start", "profile": "shrunk", "n_sends": 2}
    one, other = (
        two.by_seed("excess", **cell | {"profile": name}, versus=None) for name in
        ("shrunk", "raw means")
    )  # fmt: skip
    gain = two.number("excess", **cell, versus="raw means")
    assert gain["value"] == pytest.approx((one - other).mean())


def test_a_second_run_gives_the_same_and_a_killed_one_goes_on(
    folders, one, composed, execute, tmp_path
):
    folder, config = folders / "1", composed(*SMALL, "seed=1")
    execute(config, tmp_path / "again")
    assert Records.read(tmp_path / "again").frame.equals(one.frame)
    stages = {p: p.stat().st_mtime_ns for p in folder.rglob("stages/**/*.json")}
    (folder / "result.json").unlink()
    state = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**state, "state": "started"}))
    execute(config, folder)
    assert {p: p.stat().st_mtime_ns for p in stages} == stages
    assert Records.read(folder).frame.equals(one.frame)


def test_creatives_are_shown_by_group():
    rows = Rows(0)
    values = {"excess": 1.0, "error": 2.0, "calibration": 0.1, "log_loss": 0.2}
    scored = [[{"model": None, "group": g}, {"share": 0.5, "sends": 4.0 - g}] for g in (1, 2)]
    scored += [
        [{"model": model, "group": g}, {**values, "excess": base + (g or 5)}]
        for model, base in (("number", 10.0), ("text", 20.5))
        for g in (1, 2, None)
    ]
    add_scores(rows, "long_tail", scored)
    records = Records(rows.frame, {0: {"long_tail": {"creatives": 2}}})
    page = new_rare_changing.report(records)
    sizes, excess, *_ = page.sections[0].tables
    assert [row[:2] for row in sizes.rows] == [("1", "50"), ("2", "50")]
    assert excess.columns == ("group", "number", "text", "text - number")
    assert [row[0] for row in excess.rows] == ["1", "2", "all"]
    assert [float(cell) for cell in excess.rows[1][1:]] == [12, 22, 10]
    assert page.table.rows[0][0] == "most sent creatives: by number"
    assert page.table.rows[-1][0] == "rarest of 2 groups: by text"
    assert float(page.table.rows[-1][2]) == 10
