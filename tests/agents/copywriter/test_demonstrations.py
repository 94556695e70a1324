"""Demonstrations: the copy that won, for the tasks it won in, and pairs that really differ."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from copygym.agents.copywriter.contests import two_levels
from copygym.agents.copywriter.demonstrations import (
    better_copy,
    preference_pairs,
    rewrites,
    shared_words,
    shrunken_ratio,
    two_proportion_z,
)
from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog


def log_of_tests(**extra):
    """Return three tests: one with a clear winner, one with none, one with a single arm."""
    frame = {
        "test_id": ["a", "a", "a", "b", "b", "c"],
        "text": ["good", "bad", "worse", "this", "that", "alone"],
        "brief": ["brief a"] * 3 + ["brief b"] * 2 + ["brief c"],
        "impressions": [1000] * 6,
        "clicks": [90, 50, 40, 31, 30, 500],
    }
    return ClickLog.from_frame(pl.DataFrame(frame | extra), name="tests")


def users_log(users, n=6000, taste=3.0, seed=0):
    """Return sends in which a user clicks the creative of his kind ``taste`` times as often.

    Creative 0 is sent ten times as often as the others; all belong to one product.
    """
    rng = np.random.default_rng(seed)
    user = rng.integers(len(users), size=n)
    creative = rng.choice(3, size=n, p=[10 / 12, 1 / 12, 1 / 12])
    rate = np.where(user % 3 == creative, 0.1 * taste, 0.1)
    catalogue = users.catalogue
    return ClickLog.from_frame(
        pl.DataFrame(
            {
                "user_id": users.profiles.user_ids[user],
                "creative_id": [catalogue.creative_ids[k] for k in creative],
                "text": [catalogue.texts[k] for k in creative],
                "product_id": ["product"] * n,
                "channel": [catalogue.channels[i % 2] for i in range(n)],
                "slot": [catalogue.slots[i % 2] for i in range(n)],
                "impressions": np.ones(n, int),
                "clicks": (rng.random(n) < rate).astype(int),
            }
        ),
        name="sends",
    )


# ---------------------------------------------------------------- tests


def test_the_winner_of_a_test_is_better_copy():
    texts, rows = better_copy(log_of_tests(), min_z=1.96)
    assert texts == ["good"]
    assert rows.briefs == ("brief a",)
    assert rows.prompts[0] == "Brief: brief a\nReader: anybody\nChannel: any, any"


def test_weaker_evidence_gives_more_copy_and_never_single_arms():
    texts, rows = better_copy(log_of_tests(), min_z=0.0)
    assert sorted(texts) == ["good", "this"]
    assert sorted(rows.briefs) == ["brief a", "brief b"]


def test_arms_with_another_picture_are_another_test():
    log = log_of_tests(context_eyecatcher=["x", "y", "y", "x", "x", "x"])
    texts, _ = better_copy(log, min_z=1.0)
    assert texts == ["bad"]


def test_rows_without_brief_or_text_are_left_out():
    briefs = [None, "brief a", "brief a", "brief b", "brief b", "brief c"]
    texts, _ = better_copy(log_of_tests(brief=briefs), min_z=1.0)
    assert texts == ["bad"]


def test_pairs_of_tests_differ_significantly():
    rows, chosen, rejected = preference_pairs(log_of_tests())
    assert list(zip(chosen, rejected, strict=True)) == [("good", "bad"), ("good", "worse")]
    assert set(rows.briefs) == {"brief a"}


def test_the_limit_is_kept_and_the_seed_fixes_the_draw():
    log = log_of_tests()
    assert len(better_copy(log, min_z=0.0, limit=1)[0]) == 1
    draws = {preference_pairs(log, limit=1, seed=seed)[2][0] for seed in range(20)}
    assert draws == {"bad", "worse"}
    assert preference_pairs(log, limit=1, seed=3)[2] == preference_pairs(log, limit=1, seed=3)[2]


def test_no_winner_is_refused_with_the_way_out():
    message = "tests: no arm beats the rest of its test by z >= 9, so there is no better copy"
    with pytest.raises(UserError, match=re.escape(message)):
        better_copy(log_of_tests(), min_z=9.0)
    with pytest.raises(UserError, match=re.escape("tests: no two texts differ by z >= 9")):
        preference_pairs(log_of_tests(), min_z=9.0)


def test_a_log_without_text_is_refused(users):
    frame = pl.DataFrame({"creative_id": ["a", "b"], "impressions": [9, 9], "clicks": [1, 2]})
    log = ClickLog.from_frame(frame, name="mute")
    for learn in (better_copy, preference_pairs):
        with pytest.raises(UserError, match="mute: the log has no column text"):
            learn(log, users)


# ---------------------------------------------------------------- users


def test_a_log_of_users_gives_each_segment_its_copy(users):
    texts, rows = better_copy(users_log(users), users, limit=600)
    assert len(texts) == len(rows) == 600
    segments = users.profiles.segments[rows.user]
    for kind in range(3):
        own = Counter(t for t, s in zip(texts, segments, strict=True) if s == f"likes-{kind}")
        assert own.most_common(1)[0][0] == users.catalogue.texts[kind]
    assert [users.catalogue.texts[k] for k in rows.creative] == texts
    assert rows.prompts[0].startswith("Brief: Brief of product")


def test_the_logging_policys_taste_is_taken_out(users):
    # With no differences in taste, what was sent ten times as often is no more often shown.
    texts, _ = better_copy(users_log(users, n=20000, taste=1.0), users, limit=3000, sharpness=0.0)
    share = Counter(texts)[users.catalogue.texts[0]] / len(texts)
    assert share == pytest.approx(1 / 3, abs=0.05)


def test_pairs_of_users_prefer_what_the_segment_clicks(users):
    rows, chosen, rejected = preference_pairs(users_log(users), users, min_z=3.5, limit=300)
    assert all(c != r for c, r in zip(chosen, rejected, strict=True))
    kind = rows.user % 3
    right = [c == users.catalogue.texts[k] for c, k in zip(chosen, kind, strict=True)]
    assert np.mean(right) > 0.95


def test_strangers_to_the_users_are_left_out(users):
    log = users_log(users)
    strangers = log.with_frame(log.frame.with_columns(user_id=pl.lit("nobody")))
    with pytest.raises(UserError, match="no row shows a text of the catalogue to a user"):
        better_copy(strangers, users)


def test_a_log_without_clicks_is_refused(users):
    log = users_log(users)
    with pytest.raises(UserError, match="no row was clicked"):
        better_copy(log.with_frame(log.frame.with_columns(clicks=pl.lit(0))), users)


# ---------------------------------------------------------------- numbers


def test_z_is_the_pooled_two_proportion_statistic():
    # 90/1000 against 60/1000: pooled .075, spread sqrt(.075 * .925 * .002) = .011779
    z = two_proportion_z(*(np.array([float(x)]) for x in (90, 1000, 60, 1000)))
    assert z == pytest.approx(0.03 / 0.0117792, rel=1e-4)


def test_ratios_shrink_to_one_as_far_as_the_evidence_is_noise():
    expected = np.full(2000, 10.0)
    rng = np.random.default_rng(0)
    noise = shrunken_ratio(rng.poisson(expected).astype(float), expected)
    assert np.abs(noise - 1).max() < 0.25
    true = rng.gamma(4.0, 1 / 4.0, size=2000)  # variance 1/4
    clicks = rng.poisson(expected * true).astype(float)
    # posterior mean with the true prior: (clicks + 4) / (10 + 4)
    assert shrunken_ratio(clicks, expected) == pytest.approx((clicks + 4) / 14, abs=0.15)


def test_upworthy_gives_headlines_for_ledes(data_folder):
    from copygym.envs.datasets import load

    log = load("upworthy", data_folder / "upworthy" / "exploratory.parquet")
    texts, rows = better_copy(log)
    assert len(texts) > 1000
    assert len(set(rows.briefs)) > 500
    assert all(prompt.startswith("Brief: ") for prompt in rows.prompts)
    _, chosen, rejected = preference_pairs(log, limit=500)
    assert len(chosen) == len(rejected) == 500


def test_demonstrations_open_as_clicked_headlines_do(made_folder):
    from copygym.envs.datasets import load

    log = load("upworthy", made_folder / "upworthy" / "exploratory.parquet")
    texts, rows = better_copy(log)
    assert set(rows.briefs) == set(log.collect()["brief"])
    # Half of the openings lift clicks; they are more than nine tenths of what is to be imitated.
    lifted = [text.startswith(("Nobody expected", "See what happened when")) for text in texts]
    assert sum(lifted) / len(texts) > 0.9
    _, chosen, rejected = preference_pairs(log, limit=100)
    assert len(chosen) == len(rejected) == 100
    worst = sum(text.startswith("Minutes of the meeting where") for text in rejected)
    assert worst > 0 == sum(text.startswith("Minutes of the meeting where") for text in chosen)


# ---------------------------------------------------------------- audiences


def of_audiences(users):
    """Return the users in two audiences: kinds 0 and 1, and kind 2."""
    kind = np.arange(len(users)) % 3
    profiles = replace(
        users.profiles, audience=(kind == 2).astype(int), audience_names=("most", "some")
    )
    return replace(users, profiles=profiles)


def share(texts, rows, users, creative, audience):
    own = [t for t, a in zip(texts, rows.audience, strict=True) if a == audience]
    return own.count(users.catalogue.texts[creative]) / len(own)


def test_copy_is_better_for_an_audience(users):
    known = of_audiences(users)
    texts, rows = better_copy(users_log(users), known, limit=1500)
    assert set(rows.audience.tolist()) == {0, 1}
    assert share(texts, rows, users, 2, audience=1) > 0.6
    assert share(texts, rows, users, 2, audience=0) < 0.3


def test_an_audience_of_few_clicks_learns_the_product_s_better_copy(users):
    """Everybody likes creative 0; two readers, who saw each creative twice, clicked another."""
    few = np.arange(len(users)) < 2
    audience = replace(users.profiles, audience=few.astype(int), audience_names=("most", "two"))
    n, catalogue = len(users), users.catalogue
    creative = np.tile(np.arange(3), n)
    person = np.repeat(np.arange(n), 3)
    clicks = np.where(creative == 0, 6, 2)
    clicks = np.where(person < 2, np.where(creative == 1, 1, 0) + (creative == 0), clicks)
    frame = pl.DataFrame(
        {
            "user_id": users.profiles.user_ids[person],
            "creative_id": [catalogue.creative_ids[k] for k in creative],
            "text": [catalogue.texts[k] for k in creative],
            "product_id": ["product"] * len(person),
            "channel": [catalogue.channels[0]] * len(person),
            "slot": [catalogue.slots[0]] * len(person),
            "impressions": np.where(person < 2, 2, 20),
            "clicks": clicks,
        }
    )
    log = ClickLog.from_frame(frame, name="few")
    texts, rows = better_copy(log, replace(users, profiles=audience), limit=4000)
    assert share(texts, rows, users, 0, audience=1) > 0.6


def test_two_levels_of_shrinkage_end_at_the_creative_s_ratio():
    creative = np.array([0, 1, 0, 1])
    expected = np.array([400.0, 400.0, 1.0, 1.0])
    ratio = two_levels(np.array([800.0, 400.0, 1.0, 1.0]), expected, creative)
    assert ratio[0] == pytest.approx(2.0, rel=0.05)
    assert ratio[2] == pytest.approx(ratio[0], rel=0.1)  # one click tells an audience nothing
    assert ratio[3] == pytest.approx(ratio[1], rel=0.1)


def test_a_score_chooses_what_suits_the_reader(users):
    """By counts nothing differs; the score says that readers of kind 1 like creative 1."""
    kind = users.profiles.features[:, 1]

    def score(texts, profiles):
        likes = np.array([text == users.catalogue.texts[1] for text in texts])
        return 2.0 * likes * profiles[:, 1] + 5.0 * profiles[:, 1]

    log = users_log(users, taste=1.0)
    texts, rows = better_copy(log, users, score=score, limit=3000, seed=1)
    liked = np.array([text == users.catalogue.texts[1] for text in texts])
    fans = kind[rows.user] > 0.5
    assert liked[fans].mean() > 0.9
    assert liked[~fans].mean() == pytest.approx(1 / 3, abs=0.1)
    # A reader with a favourite is drawn as often as one without.
    assert fans.mean() == pytest.approx(1 / 3, abs=0.1)


def test_a_score_of_nothing_changes_nothing_and_the_seed_fixes_it(users):
    log = users_log(users, taste=1.0)
    flat = {"score": lambda texts, profiles: np.zeros(len(texts)), "limit": 2000, "seed": 5}
    texts, rows = better_copy(log, users, **flat)
    assert Counter(texts)[users.catalogue.texts[0]] / 2000 == pytest.approx(1 / 3, abs=0.1)
    again, same = better_copy(log, users, **flat)
    assert texts == again
    np.testing.assert_array_equal(rows.user, same.user)


def test_what_may_not_be_shown_is_left_out(users):
    banned = users.catalogue.texts[0]

    def allowed(texts, briefs):
        assert all(brief.startswith("Brief of product") for brief in briefs)
        return np.array([text != banned for text in texts])

    log = users_log(users)
    assert banned not in better_copy(log, users, allowed=allowed, limit=500)[0]
    pairs = preference_pairs(log, users, min_z=2.0, allowed=allowed, limit=500)
    assert banned not in pairs[1] and banned in pairs[2]
    with pytest.raises(UserError, match="no row was clicked among the texts that may be shown"):
        better_copy(log, users, allowed=lambda texts, _: np.zeros(len(texts), bool))
    assert better_copy(
        log_of_tests(), min_z=0.0, allowed=lambda texts, _: np.array([t != "good" for t in texts])
    )[0] == ["this"]


def test_pairs_are_those_of_the_product_where_no_audience_tells_copy_apart(users):
    known = replace(
        users.profiles,
        audience=np.arange(len(users)),
        audience_names=tuple(map(str, range(len(users)))),
    )
    log = users_log(users, n=3000, taste=1.0)
    better = log.frame.with_columns(
        clicks=pl.when(pl.col("creative_id") == "creative-1").then(1).otherwise(pl.col("clicks"))
    )
    rows, chosen, _ = preference_pairs(
        log.with_frame(better), replace(users, profiles=known), min_z=12.0, limit=50
    )
    assert set(chosen) == {users.catalogue.texts[1]}
    assert len(rows) == 50


def test_one_text_a_product_is_what_is_imitated(users):
    log = users_log(users)
    one = log.with_frame(log.frame.filter(pl.col("creative_id") == "creative-1"))
    texts, _ = better_copy(one, users, limit=20)
    assert set(texts) == {users.catalogue.texts[1]}
    with pytest.raises(UserError, match="no two texts differ by z >= "):
        preference_pairs(one, users)


# ---------------------------------------------------------------- pairs to rewrite


def log_of_edits():
    """Return two tests: one whose arms are edits of each other, one whose arms share nothing."""
    return ClickLog.from_frame(
        pl.DataFrame(
            {
                "test_id": ["a", "a", "a", "b", "b"],
                "text": ["see the dog", "see the good dog", "A CAT", "one thing", "other matter"],
                "brief": ["of dogs"] * 3 + ["of things"] * 2,
                "impressions": [1000] * 5,
                "clicks": [40, 80, 60, 90, 30],
            }
        ),
        name="edits",
    )


def test_words_in_common_are_a_share_of_all():
    assert shared_words("See the dog!", "see the good dog") == pytest.approx(3 / 4)
    assert shared_words("one", "two") == 0.0 and shared_words("", "!") == 1.0


def test_the_weaker_of_close_texts_is_rewritten_into_the_better():
    texts, rows = rewrites(log_of_edits(), kept=0.0, limit=5)
    assert set(texts) == {"see the good dog"} and set(rows.originals) == {"see the dog"}
    assert len(texts) == len(rows) == 5
    assert rows.prompts[0].split("\n")[:2] == ["Brief: of dogs", "Original: see the dog"]
    # Without the floor the pair that shares nothing teaches too.
    _, free = rewrites(log_of_edits(), least_shared=0.0, kept=0.0, limit=200)
    assert "other matter" in free.originals


def test_a_share_of_the_originals_is_the_best_and_stays():
    texts, rows = rewrites(log_of_edits(), kept=0.25, limit=400)
    same = [text == original for text, original in zip(texts, rows.originals, strict=True)]
    assert sum(same) == 100 and len(texts) == 400
    assert {text for text, stays in zip(texts, same, strict=True) if stays} == {
        "see the good dog",
        "one thing",
    }


def test_no_close_pair_is_one_sentence():
    with pytest.raises(UserError, match=r"share 76% to 80% of their words.*lower min_z"):
        rewrites(log_of_edits(), least_shared=0.76)
    with pytest.raises(UserError, match="no two texts differ"):
        rewrites(log_of_edits(), least_shared=0.2, most_shared=0.7)
    with pytest.raises(UserError, match="kept is 1, least_shared"):
        rewrites(log_of_edits(), kept=1.0)


def test_a_log_of_users_gives_pairs_for_the_readers_of_the_better_copy(users):
    texts, rows = rewrites(users_log(users), users, least_shared=0.0, limit=50)
    assert len(texts) == len(rows) == len(rows.originals) == 50
