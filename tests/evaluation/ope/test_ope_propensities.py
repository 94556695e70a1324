import numpy as np
import polars as pl
import pytest
from scipy.stats import t

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.evaluation.ope.decisions import decisions
from copygym.evaluation.ope.judge import evaluate
from copygym.evaluation.ope.policies import built_in
from copygym.evaluation.ope.propensities import CONTRADICTED, check_propensities
from copygym.evaluation.ope.support import effective_events
from copygym.evaluation.ope.terms import Terms, check_log
from copygym.experiments.report.evidence import cautions, log_notes, noted

#: P(arm | segment) of a policy that looks at the segment.
TRUE = np.array([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]])
ARMS = ("hold", "a", "b")


def drawn(chances, rng):
    return (rng.random(len(chances))[:, None] > chances.cumsum(axis=1)).sum(axis=1)


def checked(stated, seed=0, n=3000, chances=TRUE):
    """The check of a log whose policy is ``chances`` by segment and says that it is ``stated``."""
    rng = np.random.default_rng(seed)
    segment = rng.integers(0, 3, n)
    actions = drawn(chances[segment], rng)
    groups = {"user_segment": segment.astype(str)}
    return check_propensities(ARMS, actions, stated[segment, actions], groups=groups)


def test_the_mean_of_an_arm_is_known():
    found = check_propensities(ARMS[:2], np.array([0, 0, 0, 1]), np.full(4, 0.5))
    assert [(one.arm, one.share, one.mean) for one in found.arms] == [
        ("hold", 0.75, 1.5),
        ("a", 0.25, 0.5),
    ]
    assert not found.contradictions  # four rows prove nothing


def test_impressions_weigh():
    sizes = np.array([1.0, 1.0, 2.0])
    found = check_propensities(ARMS[:2], np.array([0, 0, 1]), np.full(3, 0.5), sizes)
    assert [one.mean for one in found.arms] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("stated", "where"),
    [
        (np.full((3, 3), 1 / 3), "where user_segment"),  # the shares, of a policy that looks
        (TRUE[[1, 2, 0]], "over the log"),  # of other segments
        (TRUE / 2, "over the log"),
        (TRUE / 100, "over the log"),  # percents taken for shares once too often
    ],
)
def test_propensities_of_another_policy_contradict_the_shares(stated, where):
    (sentence,) = checked(stated).contradictions
    assert sentence.startswith(f"{CONTRADICTED}: {where}")
    assert "per decision, where 1 is expected" in sentence


def test_shares_that_are_not_the_propensities_contradict_them():
    chances = np.tile([0.5, 0.3, 0.2], (3, 1))
    (sentence,) = checked(np.full((3, 3), 1 / 3), chances=chances).contradictions
    assert "1 / propensity of 'b' adds up to 0.596" in sentence
    assert "(3 arms are off)" in sentence


def test_propensities_that_never_change_and_add_up_to_1_are_too_high_as_well_as_too_low():
    # Half of the decisions of one arm are missing from the log: no arm is above, one is below.
    rng = np.random.default_rng(0)
    chances = np.array([0.9, 0.1])
    actions = drawn(np.tile(chances, (40_000, 1)), rng)
    kept = (actions == 0) | (rng.random(len(actions)) < 0.5)
    stated = chances[actions]
    assert checked_two(actions, stated) == ()
    (sentence,) = checked_two(actions[kept], stated[kept])
    assert "1 / propensity of 'a' adds up to 0.5" in sentence


def checked_two(actions, propensities):
    return check_propensities(ARMS[:2], actions, propensities).contradictions


@pytest.mark.parametrize("seed", range(20))
def test_the_propensities_of_a_log_never_contradict_it(seed):
    assert not checked(TRUE, seed).contradictions
    for kind in ("rare", "skewed", "one arm a user", "not on offer", "in groups", "without luck"):
        assert not check_propensities(*valid(kind, np.random.default_rng(seed))).contradictions


def valid(kind, rng):
    """Arguments of a check of a log that tells its propensities truly."""
    n, a = int(rng.choice([30, 300, 3000])), int(rng.choice([2, 5, 30]))
    context, sizes, unit = rng.integers(0, 3, n), None, None
    chances = np.full((n, a), 1 / a)
    if kind == "rare":
        chances[:] = 0.003
        chances[:, 0] = 1 - 0.003 * (a - 1)
    elif kind == "skewed":
        chances = 0.999 * rng.dirichlet(np.full(a, 0.1), size=n) + 0.001 / a
    elif kind == "not on offer":
        offered = rng.random((n, a)) < 0.6
        offered[:, 0] = True
        chances = offered / offered.sum(axis=1, keepdims=True)
    elif kind == "in groups":
        unit = rng.integers(0, max(2, n // 10), n)
        chances = (0.9 * rng.dirichlet(np.full(a, 0.5), size=unit.max() + 1) + 0.1 / a)[unit]
        sizes = rng.geometric(0.2, n).astype(float)
    elif kind == "without luck":  # for one group of people there is no choice
        chances[context == 0] = np.eye(a)[0]
    actions = drawn(chances, rng)
    if kind == "one arm a user":
        unit = rng.integers(0, max(2, n // 10), n)
        actions = drawn(chances[: unit.max() + 1], rng)[unit]
    names = [f"arm {k}" for k in range(a)]
    groups = {"context_x": context.astype(str), "user_y": rng.integers(0, 8, n).astype(str)}
    return names, actions, chances[np.arange(n), actions], sizes, unit, groups


def test_users_who_always_get_one_arm_prove_less_than_as_many_rows():
    # Three of four users drew arm 0: luck, though their 400 rows look like proof.
    unit = np.repeat(np.arange(4), 100)
    actions = np.repeat([0, 0, 0, 1], 100)
    chances = np.full(400, 0.5)
    assert not check_propensities(ARMS[:2], actions, chances, unit=unit).contradictions
    assert check_propensities(ARMS[:2], actions, chances).contradictions


def test_certainty_and_impossible_choices_need_no_mean():
    actions = np.array([0, 1, 2, 0])
    (sentence,) = check_propensities(ARMS, actions, np.ones(4)).contradictions
    assert "every propensity is 1 though 3 arms were taken" in sentence
    (sentence,) = check_propensities(ARMS, actions, np.array([0.5, 1e-160, 1, 1])).contradictions
    assert "'a' was once taken with propensity 1e-160" in sentence
    assert not check_propensities(ARMS[:1], np.zeros(4, int), np.ones(4)).contradictions


def log_of(stated, n=2000, clicked=0.2, **columns):
    rng = np.random.default_rng(1)
    actions = drawn(np.tile([0.5, 0.3, 0.2], (n, 1)), rng)
    frame = pl.DataFrame(
        {
            "creative_id": np.array(ARMS)[actions],
            "impressions": np.ones(n, int),
            "clicks": (rng.random(n) < clicked).astype(int),
            "propensity": np.asarray(stated)[actions],
            **columns,
        }
    )
    return ClickLog.from_frame(frame, name="made up")


def test_no_policy_is_supported_by_propensities_that_contradict_the_shares():
    log = decisions(log_of([1 / 3, 1 / 3, 1 / 3]))
    targets = [*built_in(log, "logging"), *built_in(log, "uniform"), *built_in(log, "arms")]
    result = evaluate(log, targets, None, resamples=20, seed=0)
    verdicts = {name: policy["verdict"] for name, policy in result["policies"].items()}
    assert verdicts.pop("logging") == "supported"  # what was done is known without weights
    assert set(verdicts.values()) == {"not supported"}
    assert result["policies"]["uniform"]["warnings"][0].startswith(CONTRADICTED)
    right = decisions(log_of([0.5, 0.3, 0.2]))
    result = evaluate(right, built_in(right, "uniform"), None, resamples=20, seed=0)
    assert result["policies"]["uniform"]["verdict"] == "supported"
    assert [one["arm"] for one in result["propensity_check"]] == list(ARMS)


def test_estimated_propensities_are_not_asked_about_themselves():
    log = decisions(log_of([1 / 3, 1 / 3, 1 / 3]), estimate=True)
    assert log.propensity_check.contradictions == ()


def test_a_log_is_noted_where_a_run_or_a_check_reads_it():
    wrong, right = log_of([1 / 3] * 3), log_of([0.5, 0.3, 0.2])
    (note,) = noted(wrong).notes
    assert note.startswith(CONTRADICTED)
    assert noted(right).notes == ()
    assert log_notes(wrong) == [note]
    assert log_notes(right) == []
    assert cautions({"notes": ["something else", note]}) == [note]


def test_arms_of_several_tests_are_not_on_offer_to_all():
    tests = np.where(np.arange(2000) % 2, "t1", "t2")
    assert noted(log_of([1 / 3] * 3, test_id=tests)).notes == ()


def test_few_clicks_are_said():
    few = np.zeros(2000)
    few[:8] = 1
    assert log_notes(log_of([0.5, 0.3, 0.2], clicked=few)) == [
        "not supported: 4 clicks on sends in 998 rows; fewer than 10 tell no choice from another."
    ]


@pytest.mark.parametrize(
    ("train", "judge", "beginning"),
    [
        (
            {"clicks": 9, "organic": 5},
            {"clicks": 100},
            "not supported: the log has 4 clicks on sends in its part 'train'; fewer than 10",
        ),
        ({"clicks": 1}, {"clicks": 0}, "not supported: the log has 1 click on a send in its part"),
        (
            {"clicks": 10},
            {"clicks": 49},
            "weak: the log has 10 clicks on sends in its part 'train', 49",
        ),
    ],
)
def test_a_run_on_few_clicks_says_so(train, judge, beginning):
    (sentence,) = cautions({"rows_seen": {"train": train, "judge": judge}})
    assert sentence.startswith(beginning)


def test_a_run_on_enough_clicks_says_nothing():
    assert cautions({"rows_seen": {"train": {"clicks": 50}, "tests": {"rows": 3}}}) == []
    assert cautions({}) == []


def test_weights_of_any_size_have_an_effective_number():
    huge = np.array([1e200, 1e200, 0.0, 0.0])
    assert effective_events(Terms(np.ones(4), huge)) == pytest.approx(2)


def test_a_propensity_of_nothing_is_refused():
    with pytest.raises(UserError, match=r"row 1: propensity is 1e-160, and no log is long enough"):
        check_log(np.array([0, 1]), np.array([0.5, 1e-160]))


def test_an_arms_interval_by_hand():
    """Two arms, 10,000 decisions, every weight 0 or 2: mean 1 with a standard error of 0.01."""
    actions = np.arange(10_000) % 2
    check = check_propensities(["a", "b"], actions, np.full(10_000, 0.5))
    # One false alarm in 10,000 for both arms together (Bonferroni); t has the degrees of freedom
    # of the 5,000 decisions that took the arm.
    half = t.isf(1e-4 / 2 / 2, 4999) * 0.01
    for arm in check.arms:
        assert (arm.share, arm.mean) == (0.5, 1.0)
        assert (arm.low, arm.high) == pytest.approx((1 - half, 1 + half))
    assert check.constant and not check.contradictions
