"""From a log to simulated users: end to end on small synthetic logs, and on Hillstrom's."""

import inspect
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from public_columns import VISITS

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.from_log import catalogue_from_log
from copygym.envs.people.dynamics import Dynamics
from copygym.envs.people.model import UserModel
from copygym.envs.simulator.fit import fit_users
from copygym.envs.simulator.fitted import FittedUsers
from copygym.envs.simulator.population import simulate
from copygym.envs.simulator.response import FAMILIES, make_response
from copygym.envs.simulator.response.encode import encode

CREATIVES = ("boots-1", "boots-2", "tea-1", "tea-2")
TEXTS = ("save on boots", "warm boots now", "fresh tea today", "tea for you")
SLOTS = ("morning", "evening")
START = datetime(2025, 3, 3, 8, tzinfo=UTC)


def toy_frame(users=400, steps=40, seed=0):
    """A log with a timeline: taste by age, fatigue .5, unsubscribes, recorded propensities.

    Click logit: -1 + 1.5 * (old and tea, or young and boots) - .5 * fatigue; a send has
    probability .5 and falls on each creative alike.
    """
    rng = np.random.default_rng(seed)
    old = rng.random(users) < 0.5
    z, rows = np.zeros(users), []
    for t in range(steps):
        sent = rng.random(users) < 0.5
        creative = rng.integers(0, 4, users)
        likes = old == (creative >= 2)
        p = 1 / (1 + np.exp(-(-1 + 1.5 * likes - 0.5 * z)))
        click = sent & (rng.random(users) < p)
        bought = click & (rng.random(users) < 0.3)
        left = sent & (rng.random(users) < 1 / (1 + np.exp(4.5 - 0.4 * z)))
        for u in range(users):
            rows.append(
                {
                    "user_id": f"u{u:03}",
                    "timestamp": START + timedelta(hours=12 * t),
                    "creative_id": CREATIVES[creative[u]] if sent[u] else "hold",
                    "text": TEXTS[creative[u]] if sent[u] else None,
                    "product_id": CREATIVES[creative[u]].split("-")[0] if sent[u] else None,
                    "slot": SLOTS[t % 2],
                    "propensity": 0.125 if sent[u] else 0.5,
                    "impressions": 1,
                    "clicks": int(click[u]),
                    "conversions": int(bought[u]),
                    "revenue": 20.0 * bought[u],
                    "unsubscribes": int(left[u]),
                    "user_age": "old" if old[u] else "young",
                }
            )
        z = 0.8 * z + sent
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def frame():
    return toy_frame()


def as_log(frame, **options):
    return ClickLog.from_frame(frame, name="toy", **options)


@pytest.fixture(scope="module")
def fitted(frame):
    return fit_users(as_log(frame, synthetic=True), n_users=100, seed=1)


def click_rates(users):
    return 1 / (1 + np.exp(-users.click_logit.astype(np.float64)))


# ---------------------------------------------------------------- the catalogue


def test_catalogue_is_sorted_and_slots_follow_the_day(frame):
    catalogue = catalogue_from_log(as_log(frame), costs=0.02)
    assert catalogue.creative_ids == CREATIVES
    assert catalogue.texts == TEXTS
    assert catalogue.topics == ("boots", "tea")
    assert catalogue.channels == ("any",)
    assert catalogue.slots == SLOTS  # sorted by name, evening would come first
    assert catalogue.cost_per_send.tolist() == [0.02]
    assert catalogue.popularity == pytest.approx(np.full(4, 0.25), abs=0.02)


def test_a_night_over_midnight_is_still_in_order(frame):
    hours = {"morning": 8, "day": 14, "night": 23}
    shifted = frame.head(900).with_columns(
        slot=pl.Series(list(hours) * 300),
        timestamp=pl.Series(
            [
                START.replace(hour=hours[s]) + timedelta(days=i, hours=i % 4)
                for i, s in enumerate(list(hours) * 300)
            ]
        ),
    )
    slots = catalogue_from_log(as_log(shifted)).slots
    start = slots.index("morning")
    assert slots[start:] + slots[:start] == ("morning", "day", "night")


def test_minimal_log_gets_one_product_topic_channel_and_slot():
    frame = pl.DataFrame({"creative_id": ["b", "a"], "impressions": [3, 1], "clicks": [1, 0]})
    catalogue = catalogue_from_log(as_log(frame))
    assert catalogue.creative_ids == ("a", "b") == catalogue.texts
    assert catalogue.topics == ("all",)
    assert (catalogue.channels, catalogue.slots) == (("any",), ("any",))
    assert catalogue.popularity.tolist() == [0.25, 0.75]


def test_slots_and_costs_that_do_not_fit_are_refused(frame):
    with pytest.raises(UserError, match=re.escape("'evening' is not among the configured slots")):
        catalogue_from_log(as_log(frame), slots=["morning"])
    with pytest.raises(UserError, match=re.escape("users.costs names no cost for channel 'any'")):
        catalogue_from_log(as_log(frame), costs={"email": 0.1})


def test_encoding_keeps_every_row_in_order_of_user_and_time(frame):
    log = as_log(frame.sample(fraction=1.0, shuffle=True, seed=3))
    catalogue = catalogue_from_log(log)
    rows, users = encode(log, None, catalogue)
    expected = frame.sort("user_id", "timestamp")
    names = np.array(["hold", *catalogue.creative_ids])
    assert names[rows.action].tolist() == expected["creative_id"].to_list()
    assert users.gather(rows.user.tolist()).to_list() == expected["user_id"].to_list()
    assert rows.clicks.tolist() == expected["clicks"].to_list()


# ---------------------------------------------------------------- a log with a timeline


def test_simulated_users_have_the_taste_of_the_real_ones(fitted):
    users = fitted.users
    old = users.profiles.segments == "old"
    rate = click_rates(users)[:, :, 1:].mean(axis=1)
    boots, tea = rate[:, :2].mean(axis=1), rate[:, 2:].mean(axis=1)
    like, dislike = 1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(1.0))
    assert tea[old].mean() == pytest.approx(like, abs=0.06)
    assert boots[old].mean() == pytest.approx(dislike, abs=0.06)
    assert boots[~old].mean() == pytest.approx(like, abs=0.06)
    assert (users.click_logit[:, :, 0] == -np.inf).all()


def test_fatigue_is_measured_and_repetition_found_absent(fitted):
    dynamics = fitted.users.dynamics
    assert dynamics.fatigue_click == pytest.approx(0.5, abs=0.1)
    assert dynamics.repetition_click == pytest.approx(0.0, abs=0.1)
    assert dynamics.unsubscribe_logit == pytest.approx(-4.5, abs=0.5)
    assert dynamics.unsubscribe_fatigue == pytest.approx(0.4, abs=0.2)
    assert dynamics.assumed == ("fatigue_decay", "drift_persistence", "drift_step", "drift_click")
    assert any(s.startswith("fatigue_click = ") for s in fitted.fidelity.effects)
    assert any(s.startswith("dynamics.drift_step = 0.05 is d") for s in fitted.users.assumptions)


def test_what_follows_the_click_is_learned(fitted):
    users = fitted.users
    conversion = 1 / (1 + np.exp(-users.conversion_logit[:, 1:]))
    assert conversion.mean() == pytest.approx(0.3, abs=0.05)
    np.testing.assert_allclose(users.expected_revenue[:, 1:], 20.0, rtol=1e-5)


def test_logging_policy_is_the_recorded_one(fitted):
    policy = fitted.users.logging_policy
    np.testing.assert_allclose(policy[:, :, 0], 0.5, atol=1e-6)
    np.testing.assert_allclose(policy[:, :, 1:], 0.125, atol=1e-6)


def test_card_judges_users_that_the_fit_never_saw(fitted):
    card = fitted.fidelity
    assert card.synthetic and card.fitted_users == 320 and card.held_out_users == 80
    assert card.log_loss_skill.low > 0.02 and card.auc.low > 0.55
    assert card.ece.value < 2.5 * card.ece_floor
    arms = [group for group in card.groups if group.kind == "arm"]
    assert [group.name for group in arms] == list(CREATIVES)
    assert sum(group.inside for group in arms) >= 3
    assert {group.kind for group in card.groups} == {"segment", "arm", "channel", "slot"}


def test_profiles_know_only_the_first_part_of_the_log(frame):
    # In the second half, the outcomes of half of the users are wiped out: no profile may notice.
    late = pl.col("timestamp") > START + timedelta(hours=12 * 20)
    changed = frame.with_columns(
        pl.when(late & pl.col("user_id").str.ends_with("7")).then(0).otherwise(c).alias(c)
        for c in ("clicks", "conversions", "revenue")
    )
    models = [fit_users(as_log(x), n_users=400, seed=1).users for x in (frame, changed)]
    np.testing.assert_array_equal(models[0].profiles.features, models[1].profiles.features)
    assert not np.array_equal(models[0].click_logit, models[1].click_logit)


def test_free_text_is_scored_by_its_words_and_product(fitted):
    users = fitted.users
    old = int(np.flatnonzero(users.profiles.segments == "old")[0])
    zero = np.zeros(2, dtype=np.int64)
    answer = users.copy_response(
        ["save on warm boots", "fresh tea"], np.array([old, old]), np.array([0, 2]), zero, zero
    )
    assert answer.click_logit[1] > answer.click_logit[0] + 0.8
    np.testing.assert_allclose(answer.expected_revenue, 20.0, rtol=1e-5)
    assert all(np.isfinite(field).all() for field in answer)


def test_saved_users_are_the_same_users(fitted, tmp_path):
    fitted.save(tmp_path)
    loaded = FittedUsers.load(tmp_path)
    for name in ("click_logit", "conversion_logit", "expected_revenue", "logging_policy"):
        np.testing.assert_array_equal(getattr(loaded.users, name), getattr(fitted.users, name))
    assert loaded.users.dynamics == fitted.users.dynamics
    assert loaded.users.assumptions == fitted.users.assumptions
    assert loaded.fidelity == fitted.fidelity
    assert loaded.users.profiles.names == fitted.users.profiles.names
    zero = np.zeros(1, dtype=np.int64)
    before, after = (
        f.users.copy_response(["new boots"], zero, zero, zero, zero) for f in (fitted, loaded)
    )
    np.testing.assert_allclose(before, after, atol=1e-6)
    assert not list(tmp_path.rglob("*.pkl"))


def test_equal_seeds_give_equal_users(frame, fitted):
    again = fit_users(as_log(frame, synthetic=True), n_users=100, seed=1)
    np.testing.assert_array_equal(again.users.click_logit, fitted.users.click_logit)
    other = fit_users(as_log(frame, synthetic=True), n_users=100, seed=2)
    assert list(other.users.profiles.user_ids) != list(fitted.users.profiles.user_ids)


def test_order_of_the_rows_does_not_matter(frame, fitted):
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=5)
    again = fit_users(as_log(shuffled, synthetic=True), n_users=100, seed=1)
    np.testing.assert_allclose(again.users.click_logit, fitted.users.click_logit, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("boosting", {"min_rows_leaf": 40, "max_trees": 40}),
        ("two_tower", {"max_epochs": 8, "learning_rate": 1e-2, "batch_rows": 512}),
    ],
)
def test_other_families_learn_the_same_taste(frame, family, options):
    users = fit_users(as_log(frame), family=family, options=options, n_users=60, seed=1).users
    old = users.profiles.segments == "old"
    rate = click_rates(users)[:, :, 1:].mean(axis=1)
    lean = rate[:, 2:].mean(axis=1) - rate[:, :2].mean(axis=1)
    assert lean[old].mean() > 0.2 and lean[~old].mean() < -0.2


def test_ensemble_fits_and_saves(frame, tmp_path):
    fitted = fit_users(as_log(frame), ensemble=2, n_users=20, text_encoder=None, seed=1)
    fitted.save(tmp_path)
    loaded = FittedUsers.load(tmp_path)
    cells = fitted.response.encoder.cells().take(np.array([1]))
    features = fitted.users.profiles.features[:1]
    assert loaded.click_model.std(features, cells) == fitted.click_model.std(features, cells) > 0


def test_holdout_log_judges_instead_of_a_part(frame):
    parts = as_log(frame).split_by_user({"train": 0.7, "test": 0.3}, seed=0)
    card = fit_users(parts["train"], holdout=parts["test"], n_users=20, seed=1).fidelity
    assert card.fitted_users == parts["train"].frame.collect()["user_id"].n_unique()
    assert card.held_out_users == parts["test"].frame.collect()["user_id"].n_unique()
    assert card.log_loss_skill.low > 0.02


# ---------------------------------------------------------------- people beside the fit


def test_profiles_of_others_know_the_log_up_to_the_cut(frame, fitted):
    log, population = as_log(frame), fitted.users.profiles
    assert fitted.cut == pytest.approx((START + timedelta(hours=240)).timestamp() * 1e6, rel=1e-4)
    again = fitted.profiles_of(log, users=population.user_ids)
    np.testing.assert_array_equal(again.features, population.features)
    np.testing.assert_array_equal(again.segments, population.segments)
    whole = fitted.profile_builder.transform(log, users=population.user_ids)
    moved = (whole.features - again.features).mean(axis=0)
    assert moved[whole.names.index("frequency")] > 0.5


def test_who_comes_after_the_cut_gets_the_cold_start_and_is_not_dropped(frame, fitted):
    late = frame.filter(pl.col("timestamp") > START + timedelta(hours=400)).with_columns(
        user_id=pl.lit("late-") + pl.col("user_id")
    )
    profiles = fitted.profiles_of(as_log(pl.concat([frame, late])))
    assert len(profiles) == 2 * frame["user_id"].n_unique()
    assert (np.sort(profiles.user_ids) == profiles.user_ids).all()
    who = pl.DataFrame({"user_id": ["late-u000"], "user_age": [late["user_age"][0]]})
    cold = fitted.profile_builder.cold_start(who)
    found = profiles.take(profiles.index_of(np.array(["late-u000"])))
    np.testing.assert_array_equal(found.features, cold.features)
    assert found.segments.tolist() == [late["user_age"][0]]


def test_cut_is_saved_and_a_folder_without_it_is_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    assert FittedUsers.load(tmp_path).cut == fitted.cut
    state = json.loads((tmp_path / "fitted.json").read_text())
    del state["cut"]
    (tmp_path / "fitted.json").write_text(json.dumps(state))
    with pytest.raises(
        UserError, match=re.escape("an older version wrote it; fit the users again")
    ):
        FittedUsers.load(tmp_path)


def test_everybody_has_an_audience_and_a_folder_keeps_them(frame, fitted, tmp_path):
    profiles = fitted.users.profiles
    audiences = fitted.profile_builder.audiences
    assert profiles.audience_names == audiences.names
    assert len(set(audiences.names)) == len(audiences.names) > 1
    fitted.save(tmp_path / "fit")
    loaded = FittedUsers.load(tmp_path / "fit")
    np.testing.assert_array_equal(loaded.users.profiles.audience, profiles.audience)
    assert loaded.users.profiles.audience_names == audiences.names
    others = loaded.profiles_of(as_log(frame))
    assert others.audience.shape == (len(others),)
    same = others.index_of(profiles.user_ids)
    np.testing.assert_array_equal(others.audience[same], profiles.audience)
    # Profiles that somebody made without them get theirs when their people are simulated.
    bare = replace(others, audience=None, audience_names=())
    np.testing.assert_array_equal(simulate(loaded, bare).profiles.audience, others.audience)


def test_audiences_can_be_left_out(frame):
    fit = fit_users(as_log(frame), seed=0, audiences=None)
    assert fit.users.profiles.audience is None
    assert fit.profile_builder.audiences is None


def test_catalogue_of_a_larger_log_is_kept_whole(frame):
    with_sms = frame.head(400).with_columns(channel=pl.lit("sms"), slot=pl.lit("night"))
    larger = pl.concat([frame.with_columns(channel=pl.lit("email")), with_sms])
    catalogue = catalogue_from_log(as_log(larger), slots=[*SLOTS, "night"])
    part = larger.filter(pl.col("creative_id") != "tea-2", pl.col("channel") == "email")
    users = fit_users(
        as_log(part), catalogue=catalogue, n_users=20, text_encoder=None, seed=1
    ).users
    c = users.catalogue
    assert (c.creative_ids, c.channels) == (CREATIVES, ("email", "sms"))
    assert c.slots == (*SLOTS, "night")
    assert c.popularity[3] == 0 and c.popularity.sum() == pytest.approx(1)
    unseen, seen = c.action(3, 0), c.action(2, 0)
    p = click_rates(users)[:, 0]
    # Never sent: the product's other creative is all that is known of it.
    np.testing.assert_allclose(p[:, unseen], p[:, seen], atol=0.1)
    with pytest.raises(UserError, match=re.escape("no row shows a creative of the catalogue")):
        fit_users(
            as_log(part.with_columns(creative_id=pl.col("creative_id") + "x")), catalogue=catalogue
        )


# ---------------------------------------------------------------- logs that know less


def sends_only(frame):
    return frame.filter(pl.col("creative_id") != "hold").drop("propensity")


def quick(log):
    return fit_users(log, n_users=40, text_encoder=None, seed=1).users


def test_without_hold_rows_the_times_tell_how_often_logging_sends(frame):
    # Half of the evening's sends to the old are lost: 1 of 4 slots there, else 1 of 2.
    rare = (pl.col("slot") == "evening") & (pl.col("user_age") == "old")
    kept = sends_only(frame).filter(~rare | (pl.int_range(pl.len()) % 2 == 0))
    users = quick(as_log(kept))
    hold, old = users.logging_policy[:, :, 0], users.profiles.segments == "old"
    np.testing.assert_allclose(hold[~old], 0.5, atol=0.02)
    np.testing.assert_allclose(hold[old][:, 0], 0.5, atol=0.02)
    np.testing.assert_allclose(hold[old][:, 1], 0.75, atol=0.02)
    sends = users.logging_policy[:, :, 1:] / (1 - hold[:, :, None])
    np.testing.assert_allclose(sends, 0.25, atol=0.04)
    assert any(
        re.fullmatch(
            r"the log has no hold rows: how often logging sends is estimated from sends per user "
            r"and slot \(4[34]\.\d%\)\.",
            s,
        )
        for s in users.assumptions
    )


def test_without_hold_rows_and_timeline_logging_sends_always_and_says_so(frame):
    said = "the log has no hold rows and no timeline: logging is taken to send in every slot."
    users = quick(as_log(sends_only(frame).drop("timestamp")))
    assert users.logging_policy[:, :, 0].max() < 1e-6
    assert said in users.assumptions


def test_with_hold_rows_nothing_is_assumed_of_the_sends(frame):
    users = quick(as_log(frame.drop("propensity")))
    np.testing.assert_allclose(users.logging_policy[:, :, 0], 0.5, atol=0.03)
    assert not any("hold rows" in s for s in users.assumptions)


def test_creatives_with_several_texts_are_counted(frame, fitted):
    words = pl.when(pl.col("user_id") == "u003").then(pl.lit("boots!")).otherwise(pl.col("text"))
    other = frame.with_columns(text=pl.when(pl.col("text").is_not_null()).then(words))
    assert "several texts" not in " ".join(fitted.users.assumptions)
    said = (
        "4 creatives have several texts in the log (such as 'boots-1'): the alphabetically first "
        "stands for all of them."
    )
    users = quick(as_log(other))
    assert said in users.assumptions
    assert set(users.catalogue.texts) == {"boots!"}


def aggregated():
    rng = np.random.default_rng(2)
    n = rng.integers(200, 2000, 60)
    rate = np.where(np.arange(60) % 2, 0.2, 0.05)
    text = np.where(np.arange(60) % 2, "you will not believe this", "report on the budget")
    return pl.DataFrame(
        {
            "creative_id": [f"c{i:02}" for i in range(60)],
            "text": [f"{t} {i}" for i, t in enumerate(text)],
            "test_id": [f"t{i // 2:02}" for i in range(60)],
            "impressions": n,
            "clicks": rng.binomial(n, rate),
        }
    )


def test_headlines_without_users_are_one_user_who_reads():
    fitted = fit_users(as_log(aggregated()), seed=0)
    users = fitted.users
    assert len(users) == 1 and users.profiles.features.shape == (1, 0)
    assert users.conversion_logit.max() == -np.inf
    assert users.dynamics == replace(Dynamics(), assumed=users.dynamics.assumed)
    assert len(users.dynamics.assumed) == 8
    zero = np.zeros(2, dtype=np.int64)
    answer = users.copy_response(
        ["you will not believe the cat", "report on the cat"], zero, zero, zero, zero
    )
    assert answer.click_logit[0] > answer.click_logit[1] + 0.8
    assert fitted.fidelity.auc.value > 0.6
    assert any("records no conversions" in s for s in users.assumptions)


def test_organic_clicks_give_hold_a_response(frame):
    rng = np.random.default_rng(4)
    quiet = frame.drop("timestamp", "slot").with_columns(
        clicks=pl.when(pl.col("creative_id") == "hold")
        .then(pl.Series(rng.binomial(1, 0.1, frame.height)))
        .otherwise(pl.col("clicks"))
    )
    fitted = fit_users(as_log(quiet), n_users=50, seed=0)
    hold = click_rates(fitted.users)[:, :, 0]
    assert hold.mean() == pytest.approx(0.1, abs=0.02)
    assert "hold" in {group.name for group in fitted.fidelity.groups}
    assert fitted.users.dynamics.fatigue_click == 0.25


def test_log_with_one_arm_is_refused(frame):
    one = frame.filter(pl.col("creative_id") == "tea-1")
    with pytest.raises(UserError, match=re.escape("the log has 1 arm")):
        fit_users(as_log(one))


def test_log_without_clicks_is_refused(frame):
    none = frame.with_columns(clicks=0, conversions=0, revenue=0.0)
    with pytest.raises(UserError, match=re.escape("no clicks are left to fit")):
        fit_users(as_log(none))


def test_log_of_clicks_alone_is_refused(frame):
    clicked = as_log(frame.with_columns(clicks=pl.col("impressions")))
    expected = "every impression was clicked"
    with pytest.raises(UserError, match=expected):
        fit_users(clicked)
    with pytest.raises(UserError, match=expected):
        clicked.require_outcomes()
    as_log(frame).require_outcomes()


def test_counts_beyond_32_bits_are_added_up_exactly():
    frame = pl.DataFrame(
        {
            "user_id": ["a", "a", "b"],
            "creative_id": "x",
            "impressions": [3_000_000_000, 3_000_000_001, 5],
            "clicks": [2_500_000_000, 2_500_000_000, 1],
        }
    )
    log = as_log(frame)
    rows, _ = encode(log, None, catalogue_from_log(log))
    counts = rows.counts(np.zeros((2, 1), np.float32), n_actions=2)
    assert counts.trials.tolist() == [6_000_000_001, 5]
    assert counts.successes.tolist() == [5_000_000_000, 1]


def test_log_that_does_not_say_what_was_shown_is_refused():
    frame = pl.DataFrame({"impressions": [5, 5], "clicks": [1, 2]})
    with pytest.raises(UserError):
        fit_users(as_log(frame))


def test_tables_that_would_not_fit_are_refused_before_the_fit(frame):
    with pytest.raises(UserError, match=re.escape("more than users.max_table_gb=1e-06")):
        fit_users(as_log(frame), max_table_gb=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "svm"}, "unknown response family 'svm'"),
        ({"dynamics": {"fatigue": 1}}, "unknown users.dynamics option 'fatigue'"),
        ({"history_fraction": 1.5}, "users.history_fraction is 1.5"),
        ({"calibration": "magic"}, "unknown calibration 'magic'"),
        ({"n_users": 0}, "users.n_users is 0"),
    ],
)
def test_bad_options_are_named(frame, options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        fit_users(as_log(frame), **options)


def test_history_without_times_would_leak_and_is_refused(frame):
    with pytest.raises(UserError, match=re.escape("would know the click it predicts")):
        fit_users(as_log(frame.drop("timestamp")), profiles={"history": True})


@pytest.mark.parametrize("family", FAMILIES)
def test_config_names_only_options_that_exist(family):
    with initialize_config_module("copygym.conf", version_base="1.3"):
        config = OmegaConf.to_container(compose(f"users/{family}").users)
    inspect.signature(fit_users).bind(None, **config)
    assert config["family"] == family
    make_response(family, config["options"])
    declared = {name: value for name, value in vars(Dynamics()).items() if name != "assumed"}
    assert config["dynamics"] == declared


# ---------------------------------------------------------------- real data

MERCHANDISE = ("mens", "womens")


def hillstrom_rates(folder):
    """Return the card, (U, 3) click rates of nothing and both e-mails, and who bought what."""
    from copygym.envs.datasets import load

    fitted = fit_users(load("hillstrom", folder / "hillstrom"), n_users=500, seed=0)
    users = fitted.users
    assert isinstance(users, UserModel) and not users.synthetic
    names = users.profiles.names
    bought = [users.profiles.features[:, names.index(f"user_{x}")] > 0 for x in MERCHANDISE]
    return fitted.fidelity, click_rates(users)[:, 0], *bought


def test_hillstrom_users_prefer_their_own_merchandise(data_folder):
    card, rate, mens, womens = hillstrom_rates(data_folder)
    assert card.log_loss_skill.low > 0.02 and 0.62 < card.auc.value < 0.68
    assert card.ece.value < 2.5 * card.ece_floor
    arms = {group.name: group for group in card.groups if group.kind == "arm"}
    assert set(arms) == {"hold", "mens_email", "womens_email"}
    assert sum(arm.inside for arm in arms.values()) >= 2
    # README of the data: buyers of men's goods visit more after the men's e-mail.
    gain = rate[:, 1] - rate[:, 2]  # men's e-mail against women's
    assert gain[mens & ~womens].mean() > 0.03 > abs(gain[womens & ~mens].mean())


def test_planted_tastes_are_fitted(made_folder):
    """The rates that were planted, by arm and by what was bought before."""
    card, rate, mens, womens = hillstrom_rates(made_folder)
    assert card.log_loss_skill.low > 0.05 and card.auc.value > 0.68
    planted = np.array(list(VISITS.values()))
    arms = [1, 2]  # nobody clicks in the model where nothing was sent
    for kind, who in ((0, mens & ~womens), (1, womens & ~mens)):
        np.testing.assert_allclose(rate[who].mean(axis=0)[arms], planted[arms, kind], atol=0.07)
