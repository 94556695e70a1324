"""Logs that cannot teach what is asked of them: one sentence, or a stated fallback."""

import re

import numpy as np
import polars as pl
import pytest
from public_columns import write_upworthy_content

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.profiles.audiences import EVERYBODY, AudienceModel
from copygym.envs.profiles.builder import ProfileBuilder
from copygym.experiments import app
from copygym.experiments.studies.copy.setting import brief_notes
from copygym.rewards.copy.grounding import check_copy

NAMES = {"group": "g", "job_type": "j", "name": "n"}


def headlines(folder, **columns):
    """Write tests of headlines with a brief each, as a user's own log."""
    table = pl.read_csv(write_upworthy_content(folder, n_tests=40)).rename({"headline": "text"})
    stories = {"brief": pl.format("Story {} is told here.", pl.col("test_id"))}
    table = table.with_columns(**stories | columns)
    path = folder / "log.csv"
    table.write_csv(path)
    return path


def write_copy(folder, path, *overrides):
    config = app.composed(
        [
            "experiment=upworthy_rlpf", "tiny=true", "tracker=disabled", "copywriter=tiny",
            "reward_model=tfidf", "reward_model@judge_model=tfidf", "dataset=table",
            f"data.path={path}", f"out={folder / 'run'}", *overrides,
        ]
    )  # fmt: skip
    app.execute(config, folder / "run", ["run"], NAMES)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"brief": pl.lit("")}, "column brief: it is empty in all tests"),
        ({"brief": pl.lit("Kettle.")}, "column brief: all tests have the same brief"),
        ({"text": pl.format("Story {}.", "test_id")}, "no test has two different texts"),
    ],
)
def test_tests_that_leave_nothing_to_write_or_to_learn(tmp_path, columns, said):
    path = headlines(tmp_path, **columns)
    with pytest.raises(UserError, match=re.escape(said)):
        write_copy(tmp_path, path)


def test_rewriting_without_originals_is_one_sentence(tmp_path):
    config = app.composed(
        ["experiment=storefront_rlpf", "tiny=true", "tracker=disabled", "task=rewrite"]
    )
    with pytest.raises(UserError, match="task=rewrite needs a human original for every task"):
        app.execute(config, tmp_path / "run", ["run"], NAMES)


# --- briefs


def log_of(briefs):
    n = len(briefs)
    columns = {"brief": briefs, "text": ["a"] * n, "impressions": [1] * n, "clicks": [0] * n}
    return ClickLog.from_frame(columns, name="log")


def test_briefs_without_facts_are_told_among_the_notes():
    (note,) = brief_notes(log_of(["Product: kettle.", "Product: lamp. Facts: It costs 9 dollars."]))
    assert note.startswith("1 of 2 briefs state no facts, such as 'Product: kettle.'")
    assert brief_notes(log_of(["It costs 9 dollars."])) == []


def test_without_facts_a_claim_is_false_and_plain_words_pass():
    kinds = [finding.kind for finding in check_copy("It costs 49 dollars.", "Product: kettle.")]
    assert kinds == ["false"]
    assert check_copy("Treat yourself.", "Product: kettle.") == ()


def test_of_facts_that_contradict_each_other_both_may_be_said_and_a_third_may_not():
    brief = "The kettle costs 49 dollars. The kettle costs 59 dollars."
    for price, fine in ((49, True), (59, True), (69, False)):
        assert (check_copy(f"The kettle costs {price} dollars.", brief) == ()) is fine


# --- audiences


def profiles(ages, groups):
    n = len(ages)
    log = ClickLog.from_frame(
        {
            "user_id": [f"u{i:03}" for i in range(n)],
            "user_age": ages,
            "user_group": groups,
            "impressions": [1] * n,
            "clicks": [i % 2 for i in range(n)],
        }
    )
    return ProfileBuilder(history=False).fit(log).transform(log)


def test_two_people_are_no_audience_of_their_own():
    rng = np.random.default_rng(0)
    ages = [*rng.integers(20, 30, 198).tolist(), 95, 96]
    people = profiles(ages, ["many"] * 198 + ["rare"] * 2)
    model = AudienceModel.fit(people, seed=0)
    sizes = np.bincount(model.assign(people), minlength=len(model))
    assert sizes.min() >= 20 and sizes.sum() == 200


@pytest.mark.parametrize("n", [2, 200])
def test_equal_profiles_or_two_people_in_all_are_one_audience(n):
    people = profiles([40] * n, ["all"] * n)
    model = AudienceModel.fit(people, seed=0)
    assert model.names == (EVERYBODY,) and set(model.assign(people)) == {0}
