"""Profiles: shrinkage with known values, cold start, exact updates, no leakage."""

import datetime as dt
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copygym.core.errors import UserError
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.profiles.builder import ProfileBuilder, Profiles
from copygym.envs.profiles.history import (
    STRONGEST,
    affinity_correlation,
    correlation,
    prior_strength,
    shrink,
)

TOPICS = ("news", "travel")


def make_frame(n_rows=600, n_users=30, seed=0) -> pl.DataFrame:
    """Return a small log; young users like travel, and each user has a rate of their own."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, n_users, n_rows)
    topic = rng.integers(0, 2, n_rows)
    held = rng.random(n_rows) < 0.3
    young = user % 2 == 0
    rate = np.clip(0.1 + 0.25 * (young & (topic == 1)) + 0.3 * (user % 5 == 0), 0, 1)
    clicks = ((rng.random(n_rows) < rate) & ~held).astype(int)
    sent = ~held
    start = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)

    def where_sent(values):
        return [str(v) if s else None for v, s in zip(values, sent, strict=True)]

    return pl.DataFrame(
        {
            "user_id": [f"u{u:02d}" for u in user],
            "timestamp": [start + dt.timedelta(hours=i) for i in range(n_rows)],
            "creative_id": np.where(held, HOLD, "c").tolist(),
            "text": where_sent(np.where(topic == 1, "Save 20% now", "Read the story")),
            "topic": where_sent(np.array(TOPICS)[topic]),
            "channel": where_sent(np.array(["email", "sms"])[rng.integers(0, 2, n_rows)]),
            "slot": np.array(["am", "pm"])[np.arange(n_rows) % 2].tolist(),
            "impressions": [1] * n_rows,
            "clicks": clicks,
            "conversions": clicks,
            "revenue": clicks * rng.gamma(2.0, 10.0, n_rows),
            "user_age_band": np.where(young, "young", "old").tolist(),
            "user_visits": (user * 1.5).tolist(),
        }
    )


def make_log(frame=None, **options) -> ClickLog:
    return ClickLog.from_frame(make_frame(**options) if frame is None else frame, name="made")


def feature(profiles, name):
    return profiles.features[:, profiles.names.index(name)]


# ------------------------------------------------------------------ the estimators


def test_correlation_has_its_value_by_hand():
    half = np.full(2, 0.5)
    # Residuals +1 and -1: excess 2 - 1 over pairs 2 * 1 * 0.25 twice.
    assert correlation(np.array([2.0, 0.0]), np.full(2, 2.0), half) == pytest.approx(1.0)
    assert correlation(np.array([1.0, 1.0]), np.full(2, 2.0), half) == pytest.approx(-1.0)
    assert correlation(np.array([1.0, 0.0]), np.ones(2), half) == 0.0


def test_correlation_recovers_that_of_a_beta_binomial():
    rng = np.random.default_rng(0)
    n = rng.integers(5, 40, 20_000)
    k = rng.binomial(n, rng.beta(2.0, 18.0, n.size))
    assert correlation(k, n, np.full(n.size, 0.1)) == pytest.approx(1 / 21, rel=0.08)


def test_affinity_is_told_from_propensity():
    rng = np.random.default_rng(1)
    n = np.full((20_000, 3), 10)
    shared = rng.beta(2.0, 18.0, (20_000, 1)) * np.ones((1, 3))
    own = rng.beta(2.0, 18.0, (20_000, 3))
    mean = np.full(n.shape, 0.1)
    assert affinity_correlation(rng.binomial(n, shared), n, mean) == pytest.approx(0, abs=0.006)
    assert affinity_correlation(rng.binomial(n, own), n, mean) == pytest.approx(1 / 21, abs=0.006)


def test_strength_is_the_inverse_of_the_correlation():
    assert prior_strength(0.1) == pytest.approx(9.0)
    assert prior_strength(0.0) == STRONGEST
    assert prior_strength(-0.2) == STRONGEST
    assert shrink(np.array([3.0]), np.array([10.0]), np.array([0.1]), 10.0) == pytest.approx(0.2)


# ------------------------------------------------------------------ history


def test_propensity_is_the_posterior_mean_of_the_user_s_segment():
    log = make_log()
    builder = ProfileBuilder().fit(log)
    history, profiles = builder.learned_history, builder.transform(log)
    sent = make_frame().filter(pl.col("creative_id") != HOLD)
    for row, user in list(enumerate(profiles.user_ids))[:6]:
        own = sent.filter(pl.col("user_id") == user)
        prior = history.segment_rate[builder.segments.index(profiles.segments[row])]
        m = history.strength
        theta = (own["clicks"].sum() + m * prior) / (own.height + m)
        column = history.names.index("propensity")
        raw = np.log(theta / (1 - theta))
        expected = (raw - history.scale[0, column]) / history.scale[1, column]
        assert feature(profiles, "propensity")[row] == pytest.approx(expected, abs=1e-5)


def test_young_users_are_seen_to_like_travel():
    log = make_log(n_rows=4000)
    profiles = ProfileBuilder().fit(log).transform(log)
    lift = feature(profiles, "interest_travel")
    assert lift[profiles.segments == "young"].mean() > lift[profiles.segments == "old"].mean() + 1
    assert profiles.interest.shape == (30, 2)


def test_hold_rows_are_no_exposures():
    frame = make_frame()
    builder = ProfileBuilder().fit(make_log(frame))
    state = builder.summarise(make_log(frame))
    sent = frame.filter(pl.col("creative_id") != HOLD)
    assert state["n"].sum() == sent.height < frame.height
    # Holds may happen any number of times before the last row without changing a profile.
    more = pl.concat([frame, *[frame.filter(pl.col("creative_id") == HOLD)] * 3])
    twice = builder.transform(make_log(more))
    np.testing.assert_array_equal(twice.features, builder.transform(make_log(frame)).features)


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, 599), seed=st.integers(0, 5))
def test_an_update_equals_the_batch(cut, seed):
    frame = make_frame(seed=seed)
    builder = ProfileBuilder().fit(make_log(frame))
    state = builder.summarise(make_log(frame[:cut]))
    updated = builder.profiles(builder.update(state, make_log(frame[cut:])))
    batch = builder.transform(make_log(frame))
    assert updated.user_ids.tolist() == batch.user_ids.tolist()
    np.testing.assert_allclose(updated.features, batch.features, atol=1e-5)


def test_recency_grows_with_the_days_since_the_last_click():
    frame = make_frame()
    builder = ProfileBuilder().fit(make_log(frame))
    later = frame.tail(1).with_columns(
        pl.col("timestamp") + pl.duration(days=30), user_id=pl.lit("u99"), clicks=pl.lit(0)
    )
    then = builder.transform(
        make_log(pl.concat([frame, later], how="vertical_relaxed")), users=["u00", "u01"]
    )
    now = builder.transform(make_log(frame), users=["u00", "u01"])
    assert (feature(then, "recency") > feature(now, "recency")).all()


def test_recency_and_frequency_are_those_of_the_log():
    frame = make_frame()
    builder = ProfileBuilder().fit(make_log(frame))
    history, profiles = builder.learned_history, builder.transform(make_log(frame))
    sent, now = frame.filter(pl.col("creative_id") != HOLD), frame["timestamp"].max()
    raw = {"recency": [], "frequency": []}
    for user in profiles.user_ids:
        own = sent.filter(pl.col("user_id") == user)
        clicked = own.filter(pl.col("clicks") == 1)
        since = clicked["timestamp"].max() if clicked.height else own["timestamp"].min()
        raw["recency"].append(np.log1p((now - since) / dt.timedelta(days=1)))
        raw["frequency"].append(np.log1p(clicked.height))
    for name, values in raw.items():
        mean, deviation = history.scale[:, history.names.index(name)]
        expected = (np.array(values) - mean) / deviation
        np.testing.assert_allclose(feature(profiles, name), expected, atol=1e-5)
    # Somebody unknown is as idle as the segment, give or take one user's weight of the prior.
    cold = builder.cold_start(pl.DataFrame({"user_age_band": ["young"]}))
    young = profiles.segments == "young"
    for name in raw:
        values = feature(profiles, name)
        prior = (values[young].sum() + values.mean()) / (young.sum() + 1)
        assert feature(cold, name)[0] == pytest.approx(prior, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    scale=st.sampled_from([0.0, 1.0, 1e6, 1e300]),
    rows=st.integers(1, 40),
    seed=st.integers(0, 100),
)
def test_features_are_finite_and_clipped_whatever_the_log(scale, rows, seed):
    frame = make_frame(n_rows=rows, seed=seed).with_columns(
        pl.col("user_visits") * scale, pl.col("revenue") * scale
    )
    log = make_log(frame)
    features = ProfileBuilder().fit(log).transform(log).features
    assert np.isfinite(features).all()
    assert np.abs(features).max() <= 5


# ------------------------------------------------------------------ cold start


def test_a_user_without_a_past_gets_the_segment_s_prior():
    log = make_log()
    builder = ProfileBuilder().fit(log)
    newcomer = pl.DataFrame({"user_id": ["new"], "user_age_band": ["young"], "user_visits": [3.0]})
    cold = builder.cold_start(newcomer)
    known = builder.transform(log, users=newcomer)
    np.testing.assert_array_equal(cold.features, known.features)
    assert cold.segments.tolist() == ["young"]
    history, g = builder.learned_history, builder.segments.index("young")
    rate = history.segment_rate[g]
    column = history.names.index("propensity")
    prior = (np.log(rate / (1 - rate)) - history.scale[0, column]) / history.scale[1, column]
    assert feature(cold, "propensity")[0] == pytest.approx(prior, abs=1e-5)


def test_a_user_with_nothing_but_holds_is_cold():
    frame = make_frame()
    builder = ProfileBuilder().fit(make_log(frame))
    held = frame.head(1).with_columns(
        user_id=pl.lit("held"), creative_id=pl.lit(HOLD), clicks=pl.lit(0), conversions=pl.lit(0)
    )
    warm = builder.transform(
        make_log(pl.concat([frame, held], how="vertical_relaxed")), users=["held"]
    )
    cold = builder.cold_start(held.select("user_id", "user_age_band", "user_visits"))
    np.testing.assert_allclose(warm.features, cold.features, atol=1e-6)


def test_cold_start_depends_on_demographics_and_survives_unknown_ones():
    builder = ProfileBuilder().fit(make_log(n_rows=4000))
    both = pl.DataFrame({"user_age_band": ["young", "old", "martian", None]})
    cold = builder.cold_start(both)
    lift = feature(cold, "interest_travel")
    assert lift[0] > lift[1]
    assert cold.segments.tolist() == ["young", "old", "unknown", "unknown"]
    assert cold.user_ids[0] == "new-0"
    assert len(builder.cold_start(both.head(0))) == 0


# ------------------------------------------------------------------ demographics and leakage


def test_without_times_profiles_are_demographics_alone():
    frame = make_frame().drop("timestamp")
    log = make_log(frame)
    builder = ProfileBuilder().fit(log)
    assert builder.names == ("user_visits", "user_age_band=old", "user_age_band=young")
    flipped = make_log(frame.with_columns(clicks=1 - pl.col("clicks"), conversions=pl.lit(0)))
    np.testing.assert_array_equal(
        builder.transform(log).features, builder.transform(flipped).features
    )
    forced = ProfileBuilder(history=True).fit(log)
    assert "propensity" in forced.names


def test_users_without_ids_are_their_demographics():
    frame = make_frame().drop("user_id", "timestamp", "user_visits")
    profiles = ProfileBuilder().fit(make_log(frame)).transform(make_log(frame))
    assert profiles.user_ids.tolist() == ["age_band=old", "age_band=young"]
    nobody = make_log(frame.drop("user_age_band"))
    profiles = ProfileBuilder().fit(nobody).transform(nobody)
    assert profiles.user_ids.tolist() == ["everyone"]
    assert profiles.features.shape == (1, 0)
    assert profiles.segments.tolist() == ["all"]


def test_rare_levels_are_merged_and_numbers_standardised():
    visits = np.arange(100.0)
    frame = pl.DataFrame(
        {
            "user_id": [f"u{i:03d}" for i in range(100)],
            "clicks": [0] * 100,
            "impressions": [1] * 100,
            "user_city": ["A"] * 60 + ["B"] * 38 + ["C", "D"],
            "user_visits": visits,
        }
    )
    profiles = (builder := ProfileBuilder(min_share=0.05).fit(make_log(frame))).transform(
        make_log(frame)
    )
    assert builder.demographics.categorical["user_city"] == ("A", "B", "other")
    assert feature(profiles, "user_city=other").sum() == 2
    expected = (visits - visits.mean()) / visits.std()
    np.testing.assert_allclose(feature(profiles, "user_visits"), expected, atol=1e-5)


def test_segments_by_several_columns():
    log = make_log(make_frame().with_columns(user_vip=(pl.col("user_visits") > 20).cast(pl.Int64)))
    builder = ProfileBuilder(segment_by=["user_age_band", "user_vip"]).fit(log)
    assert set(builder.segments) == {"old | 0", "old | 1", "young | 0", "young | 1", "unknown"}


def test_segments_by_a_large_number_keep_all_its_digits():
    visits = pl.when(pl.col("user_visits") > 20).then(1_234_567).otherwise(1_234_568)
    builder = ProfileBuilder(segment_by=["user_n"]).fit(
        make_log(make_frame().with_columns(user_n=visits.cast(pl.Int64)))
    )
    assert set(builder.segments) == {"1234567", "1234568", "unknown"}


def test_refunds_beyond_what_was_paid_lower_the_monetary_feature():
    frame = make_frame()
    refunded = pl.when(pl.col("user_id") == "u00").then(-500.0).otherwise(pl.col("revenue"))
    before = ProfileBuilder().fit(log := make_log(frame)).transform(log)
    log = make_log(frame.with_columns(revenue=refunded))
    after = ProfileBuilder().fit(log).transform(log)
    assert np.isfinite(after.features).all()
    assert feature(after, "monetary")[0] == feature(after, "monetary").min()
    assert feature(before, "monetary")[0] > feature(before, "monetary").min()


# ------------------------------------------------------------------ files and mistakes


def test_saved_and_loaded_builders_agree(tmp_path):
    log = make_log()
    builder = ProfileBuilder(segment_by=["user_age_band"]).fit(log)
    builder.save(tmp_path)
    loaded = ProfileBuilder.load(tmp_path)
    expected = builder.transform(log)
    np.testing.assert_array_equal(loaded.transform(log).features, expected.features)
    assert loaded.names == builder.names
    expected.write(tmp_path / "profiles.parquet")
    read = Profiles.read(tmp_path / "profiles.parquet")
    np.testing.assert_array_equal(read.features, expected.features)
    assert read.user_ids.tolist() == expected.user_ids.tolist()
    assert read.names == expected.names


def test_take_and_index_of():
    log = make_log()
    profiles = ProfileBuilder().fit(log).transform(log)
    index = profiles.index_of(np.array(["u03", "nobody", "u01"]))
    assert index.tolist() == [3, -1, 1]
    assert profiles.take(np.array([3, 1])).user_ids.tolist() == ["u03", "u01"]
    nobody = profiles.take(np.zeros(0, dtype=np.int64))
    assert nobody.index_of(np.array(["u01"])).tolist() == [-1]


def test_mistakes_are_named(tmp_path):
    log = make_log()
    with pytest.raises(UserError, match=re.escape("was not fitted")):
        ProfileBuilder().transform(log)
    with pytest.raises(UserError, match=re.escape("unknown profile column 'user_shoe'")):
        ProfileBuilder(segment_by=["user_shoe"]).fit(log)
    with pytest.raises(UserError, match=re.escape("'user_visits' is a number with 30 values")):
        ProfileBuilder(segment_by=["user_visits"]).fit(log)
    with pytest.raises(UserError, match=re.escape("profiles.history is 'sometimes'")):
        ProfileBuilder(history="sometimes")
    with pytest.raises(UserError, match=re.escape("the log has no user_id column")):
        ProfileBuilder(history=True).fit(make_log(make_frame().drop("user_id")))
    builder = ProfileBuilder().fit(log)
    with pytest.raises(UserError, match=re.escape("made: column 'topic' is missing")):
        builder.transform(make_log(make_frame().drop("topic")))
    with pytest.raises(UserError, match=re.escape("profile_builder.json does not exist")):
        ProfileBuilder.load(tmp_path)
    with pytest.raises(UserError, match=re.escape("feature 'x' of user 'a' is nan")):
        Profiles(np.array(["a"]), np.array([[np.nan]]), ("x",), np.array(["all"]))
    with pytest.raises(UserError, match=re.escape("expected (1, 2)")):
        Profiles(np.array(["a"]), np.zeros((1, 1)), ("x", "y"), np.array(["all"]))


def test_raw_means_shrink_nothing_and_fall_back_where_nothing_was_shown():
    clicks, shown = np.array([1.0, 0.0]), np.array([4.0, 0.0])
    np.testing.assert_allclose(shrink(clicks, shown, np.full(2, 0.1), 0), [0.25, 0.1])
    # The posterior mean of a beta prior of strength 8 and mean 1/10: (1 + .8) / (4 + 8).
    np.testing.assert_allclose(shrink(clicks[:1], shown[:1], np.full(1, 0.1), 8), [0.15])
    log = ClickLog.from_frame(make_frame(), name="small")
    raw = ProfileBuilder(strength=0.0).fit(log).learned_history
    assert raw is not None
    assert raw.strength == 0
    assert set(raw.facet_strength.values()) == {0}
    with pytest.raises(UserError, match=re.escape("profiles.strength is -1")):
        ProfileBuilder(strength=-1)


def test_rates_alone_leave_recency_and_frequency_out(tmp_path):
    log = ClickLog.from_frame(make_frame(), name="small")
    whole, rates = ProfileBuilder().fit(log), ProfileBuilder(rfm=False).fit(log)
    assert set(whole.names) - set(rates.names) == {"recency", "frequency", "monetary"}
    columns = [whole.names.index(name) for name in rates.names]
    np.testing.assert_array_equal(
        rates.transform(log).features, whole.transform(log).features[:, columns]
    )
    rates.save(tmp_path)
    again = ProfileBuilder.load(tmp_path)
    np.testing.assert_array_equal(again.transform(log).features, rates.transform(log).features)
