"""E1: do simulators keep their promises, rank policies as others do, and know whose clicks?"""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from copygym.agents.delivery.bandits import UniformAgent
from copygym.agents.delivery.planner import PlannerAgent
from copygym.core.errors import UserError
from copygym.core.files.storage import read_json
from copygym.envs import Dynamics
from copygym.envs.delivery import DeliveryVectorEnv
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.logs.clicklog import ClickLog
from copygym.evaluation.fidelity.agreement import (
    Values,
    agreement,
    gain,
    gain_share,
    optimism,
    spearman,
    tau_b,
)
from copygym.evaluation.fidelity.judges import (
    LOG,
    Answers,
    Simulator,
    clicks_by_person,
    decision_terms,
    decision_values,
    episode_values,
    held_out_decisions,
    in_memory,
)
from copygym.evaluation.fidelity.segments import (
    chance_of_worst,
    group_rates,
    user_segments,
    worst,
)
from copygym.evaluation.rollout import Setting
from copygym.experiments import app
from copygym.experiments.studies.fidelity import simulator_fidelity as e1

#: A state that stands still but for fatigue and repetitions, which a log tells.
KNOWN = Dynamics(drift_step=0.0, drift_click=0.0, unsubscribe_logit=-np.inf)

# ------------------------------------------------------------------ ranks


@given(
    hnp.arrays(np.int64, (2, 6), elements=st.integers(0, 4)),
    hnp.arrays(np.int64, (2, 6), elements=st.integers(0, 4)),
)
@settings(max_examples=60, deadline=None)
def test_correlations_are_scipys_row_by_row(x, y):
    for ours, theirs in ((tau_b, stats.kendalltau), (spearman, stats.spearmanr)):
        found = ours(x.astype(float), y.astype(float))
        for row in range(len(x)):
            if np.ptp(x[row]) == 0 or np.ptp(y[row]) == 0:
                assert np.isnan(found[row])
            else:
                assert found[row] == pytest.approx(theirs(x[row], y[row]).statistic, abs=1e-12)


def table(value_PJ, judges, noise=0.0, resamples=200, seed=0):
    value_PJ = np.asarray(value_PJ, dtype=float)
    rng = np.random.default_rng(seed)
    draws = value_PJ + noise * rng.normal(size=(resamples, *value_PJ.shape))
    return Values(tuple(f"p{i}" for i in range(len(value_PJ))), judges, value_PJ, draws)


def test_agreement_of_the_same_and_of_the_reversed_order():
    values = table([[1, 10, 40], [2, 20, 30], [3, 30, 20], [4, 40, 10]], ("a", "b", "c"), 0.01)
    same, reverse = agreement(values, "a", "b"), agreement(values, "a", "c")
    assert same["tau"]["value"] == same["rho"]["value"] == 1.0
    assert (same["clear"], same["agreed"], same["pairs"]) == (6, 6, 6)
    assert reverse["tau"]["value"] == reverse["rho"]["value"] == -1.0
    assert (reverse["clear"], reverse["agreed"]) == (6, 0)
    # Gaps are a hundred times the noise: a right simulator would have had the right order.
    assert same["right"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_noise_leaves_no_pair_clear_and_lowers_what_a_right_simulator_gets():
    values = table([[1, 1], [2, 2], [3, 3], [4, 4]], ("a", "b"), noise=20.0)
    found = agreement(values, "a", "b")
    assert found["clear"] == 0
    assert found["right"]["value"] < 0.5


def test_what_a_right_simulator_gets_is_what_right_simulators_get():
    rng = np.random.default_rng(1)
    truth, noise = np.array([0.0, 1.0, 2.0, 3.0, 4.0]), 1.5
    got = tau_b(np.tile(truth, (4000, 1)), truth + noise * rng.normal(size=(4000, 5))).mean()
    draws = np.stack(
        [np.tile(truth, (4000, 1)), truth + noise * rng.normal(size=(4000, 5))], axis=-1
    )
    values = Values(tuple("vwxyz"), ("a", "b"), np.stack([truth, truth], axis=-1), draws)
    assert agreement(values, "a", "b")["right"]["value"] == pytest.approx(got, abs=0.03)


def test_two_policies_have_no_order_and_equal_values_no_correlation():
    assert agreement(table([[1, 2], [2, 1]], ("a", "b")), "a", "b") is None
    found = agreement(table([[1, 1], [1, 2], [1, 3]], ("a", "b")), "a", "b")
    assert found["tau"] is None
    assert found["rho"] is None
    assert found["right"] is None


# ------------------------------------------------------------------ promises


def test_optimism_and_kept_gain_by_hand():
    # Policy p0 learned in A, p1 in B; p2 is the baseline.
    values = table([[3.0, 9.0, 2.0], [8.0, 4.0, 2.5], [1.0, 2.0, 1.0]], ("A", "B", "truth"))
    learned = {"p0": "A", "p1": "B"}
    assert optimism(values, {"p0": "A"}, "truth").value == 1.0
    assert optimism(values, learned, "truth").value == pytest.approx((1.0 + 1.5) / 2)
    # Promised gains 2 and 2; paid 1 and 1.5.
    assert gain(values, learned, "p2", None).value == 2.0
    assert gain(values, learned, "p2", "truth").value == 1.25
    assert gain_share(values, learned, "p2", "truth").value == pytest.approx(0.625)


def test_optimism_is_paired():
    """Judges see the same people, so that what they share of the luck cancels."""
    luck = np.random.default_rng(0).normal(size=(500, 1, 1))
    value = np.array([[3.0, 2.0]])
    values = Values(("p",), ("A", "truth"), value, value + luck)
    assert optimism(values, {"p": "A"}, "truth") == (1.0, pytest.approx(1.0), pytest.approx(1.0))
    assert values.estimate("p", "A").high - values.estimate("p", "A").low > 3


def test_no_share_of_a_gain_that_was_not_promised():
    learned = {"p0": "A"}
    assert gain_share(table([[1.0, 1.0], [2.0, 0.0]], ("A", "B")), learned, "p1", "B") is None
    vague = table([[2.0, 1.0], [1.0, 0.0]], ("A", "B"), noise=5.0)
    assert gain_share(vague, learned, "p1", "B") is None


# ------------------------------------------------------------------ segments


def rates_by_hand():
    predicted = np.concatenate([np.full(100, 0.2), np.full(400, 0.5)])
    clicks = np.concatenate([np.arange(100) < 30, np.arange(400) < 200]).astype(float)
    names = np.repeat(["small", "large"], [100, 400])
    return group_rates(predicted, np.ones(500), clicks, np.arange(500), {"band": names})


def test_group_rates_by_hand():
    large, small = rates_by_hand()
    assert [large["name"], small["name"]] == ["large", "small"]
    assert (small["impressions"], small["predicted"]) == (100, pytest.approx(0.2))
    assert small["observed"]["value"] == pytest.approx(0.3)
    low, high = stats.binomtest(30, 100).proportion_ci(method="wilson")
    assert (small["observed"]["low"], small["observed"]["high"]) == pytest.approx((low, high))
    assert small["ratio"]["value"] == pytest.approx(1.5)
    assert small["z"] == pytest.approx(0.1 / np.sqrt(0.2 * 0.8 / 100))
    assert not small["inside"]
    assert large["inside"]
    assert large["z"] == pytest.approx(0.0)
    assert worst([large, small]) is small


def test_rows_of_one_user_widen_the_interval():
    predicted, clicks = np.full(200, 0.3), (np.arange(200) < 80).astype(float)
    alone, clustered = (
        group_rates(predicted, np.ones(200), clicks, unit, {"all": np.full(200, "x")})[0]
        for unit in (np.arange(200), np.arange(200) // 20)
    )
    assert alone["observed"]["low"] > clustered["observed"]["low"]
    assert abs(alone["z"]) > abs(clustered["z"])


def test_chance_of_a_worst_gap():
    one = {"z": 1.959964}
    assert chance_of_worst([one]) == pytest.approx(0.05, abs=1e-6)
    many = [one, *({"z": 0.1} for _ in range(19))]
    assert chance_of_worst(many) == pytest.approx(1 - 0.95**20, abs=1e-6)
    assert chance_of_worst([{"z": 0.0}]) == pytest.approx(1.0)


def test_segments_of_a_log():
    frame = pl.DataFrame(
        {
            "user_id": [f"u{i}" for i in range(20)],
            "creative_id": ["a", "b"] * 10,
            "impressions": [1] * 20,
            "clicks": [0, 1] * 10,
            "user_age": ["old", None] * 10,
            "user_score": list(range(20)),
        }
    )
    log = ClickLog.from_frame(frame, name="made", synthetic=True)
    found = user_segments(log, log.collect(), None)
    # A score with twenty levels makes no segments, unless it is asked for.
    assert {name: sorted(set(levels)) for name, levels in found.items()} == {
        "age": ["old", "unknown"]
    }
    assert list(user_segments(log, log.collect(), ["score"])) == ["score"]
    with pytest.raises(UserError, match=re.escape("'user_region'")):
        user_segments(log, log.collect(), ["region"])


# ------------------------------------------------------------------ judges


def simulated_log(users, n_slots, seed=0):
    """Return a log of every user's first slots, and the click probability of every row."""
    env = DeliveryVectorEnv(len(users), users=users, horizon=n_slots)
    env.reset(seed=seed, options={"user": np.arange(len(users))})
    rng = np.random.default_rng(seed)
    catalogue, frames, chances = users.catalogue, [], []
    for t in range(n_slots):
        action = rng.integers(0, catalogue.n_actions, len(users))
        _, _, _, _, info = env.step(action)
        outcome = info["outcome"]
        creative = [HOLD if k < 0 else catalogue.creative_ids[k] for k in outcome.creative]
        channel = [None if h < 0 else catalogue.channels[h] for h in outcome.channel]
        frames.append(
            pl.DataFrame(
                {
                    "user_id": users.profiles.user_ids,
                    "timestamp": np.full(len(users), t * 3_600_000_000),
                    "creative_id": creative,
                    "channel": pl.Series(channel, dtype=pl.String),
                    "slot": [catalogue.slots[s] for s in outcome.slot],
                    "propensity": np.full(len(users), 1 / catalogue.n_actions),
                    "impressions": 1,
                    "clicks": (outcome.click & outcome.sent).astype(np.int64),
                }
            )
        )
        chances.append(outcome.click_probability)
    frame = pl.concat(frames).with_columns(
        pl.col("timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    )
    return ClickLog.from_frame(frame, name="made", synthetic=True), np.concatenate(chances)


def test_answers_are_the_simulators_own(make_user_model):
    """In the states that a log led to, a judge says what its environment would have said."""
    users = make_user_model(n_users=60, dynamics=KNOWN)
    log, chances = simulated_log(users, 9)
    rows = held_out_decisions(log, None, users, users.profiles, None, 0)
    answers = Answers(users, rows)
    np.testing.assert_allclose(answers.of_actions(rows.actions), chances, atol=1e-6)
    block = answers.block(slice(100, 180))
    some = np.arange(100, 180)
    np.testing.assert_allclose(block[np.arange(80), rows.actions[some]], chances[some], atol=1e-6)
    np.testing.assert_allclose(
        answers.of_actions(rows.actions[some], some), chances[some], atol=1e-6
    )
    kept_table = in_memory({"a": answers}, rows)["a"]
    np.testing.assert_allclose(kept_table.block(slice(100, 180)), block, atol=1e-6)


def test_rows_before_the_cut_make_the_state_and_are_not_judged(make_user_model):
    users = make_user_model(n_users=30, dynamics=KNOWN)
    log, chances = simulated_log(users, 8)
    cut = 5 * 3_600_000_000
    rows = held_out_decisions(log, cut, users, users.profiles, None, 0)
    assert len(rows) == 30 * 3
    np.testing.assert_allclose(
        Answers(users, rows).of_actions(rows.actions), chances[-90:], atol=1e-6
    )


def test_the_log_and_its_own_world_agree_on_a_policy(make_user_model):
    """Off-policy and asked directly, the world that wrote the log says the same of a policy."""
    users = make_user_model(n_users=400, dynamics=KNOWN)
    log, _ = simulated_log(users, 10)
    rows = held_out_decisions(log, None, users, users.profiles, None, 0)
    a = users.catalogue.n_actions
    judges = in_memory({"truth": Answers(users, rows), LOG: rows.model}, rows)
    policies = {f"always {k}": np.tile(np.eye(a)[k], (len(rows), 1)) for k in (0, 1, 2)}
    policies["uniform"] = np.full((len(rows), a), 1 / a)
    terms = {name: decision_terms(chances, rows, judges) for name, chances in policies.items()}
    values, effective, clicks = decision_values(terms, rows, "dr", 300, 0)
    assert values.judges == ("truth", LOG)
    truth, by_log = values.column("truth")[0], values.column(LOG)[0]
    assert truth[0] == 0.0
    for k, name in enumerate(policies):
        found = values.estimate(name, LOG)
        half = (found.high - found.low) / 2
        assert abs(truth[k] - by_log[k]) <= max(2 * half, 1e-9), name
    # The uniform policy is the logging policy: every row speaks for it.
    assert effective[-1] == pytest.approx(len(rows))
    assert values.value_PJ[-1, 0] == pytest.approx(
        Answers(users, rows).block(slice(0, len(rows))).mean(), rel=1e-5
    )
    assert clicks[-1] == pytest.approx(log.collect()["clicks"].sum())


def test_an_unknown_creative_is_refused(make_user_model):
    users = make_user_model(n_users=10, dynamics=KNOWN)
    log, _ = simulated_log(users, 4)
    strange = log.with_frame(
        log.frame.with_columns(pl.col("creative_id").replace("creative-1", "other"))
    )
    with pytest.raises(UserError, match=re.escape("creative 'other' is not in the catalogue")):
        held_out_decisions(strange, None, users, users.profiles, None, 0)


def home_of(users):
    return Simulator("home", None, users)  # type: ignore[arg-type]


def test_a_planner_goes_on_believing_the_simulator_that_taught_it(make_user_model):
    """It promises itself the most and is paid less where people like something else."""
    users = make_user_model(n_users=30, dynamics=KNOWN, n_channels=1)
    shifted = np.concatenate(
        [users.click_logit[:, :, :1], np.roll(users.click_logit[:, :, 1:], 1, axis=2)], axis=2
    )
    others = replace(users, click_logit=shifted)
    setting = Setting(users, np.arange(30), horizon=6, num_envs=30)

    def taught():
        agent = PlannerAgent(grid=4)
        env = DeliveryVectorEnv(30, users=users, horizon=6)
        agent.learn(env, 0, seed=0)
        env.close()
        return agent

    promised = clicks_by_person(taught(), home_of(users), users, setting)
    paid = clicks_by_person(taught(), home_of(users), others, setting)
    knowing = PlannerAgent(grid=4)
    knowing.horizon = 6
    best = clicks_by_person(knowing, home_of(others), others, setting)
    assert (promised > paid + 0.1).all()
    # Had it been told of the other people, it would have been paid what it was promised.
    np.testing.assert_allclose(best, promised, rtol=1e-5)


def test_episodes_of_a_policy_are_paired_over_people(make_user_model):
    users = make_user_model(n_users=40, dynamics=KNOWN)
    setting = Setting(users, np.arange(40), horizon=4, num_envs=16)
    clicks = clicks_by_person(UniformAgent(), home_of(users), users, setting)
    assert clicks.shape == (40,)
    values = episode_values({"u": np.stack([clicks, clicks + 1.0])}, ("a", "b"), 100, 0)
    assert values.value_PJ[0] == pytest.approx([clicks.mean(), clicks.mean() + 1.0])
    np.testing.assert_allclose(values.draws_RPJ[:, 0, 1] - values.draws_RPJ[:, 0, 0], 1.0)


# ------------------------------------------------------------------ the whole experiment


def configured(*overrides):
    return app.composed([
        "experiment=e1",
        "job=copygym.experiments.studies.fidelity.simulator_fidelity", "tiny=true",
        "tracker=disabled", *overrides,
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("split.judge=0", "split.judge=0: give a share of users above 0."),
        ("evaluation.estimator=dm", "'dm'"),
        ("evaluation.baseline=nobody", "'nobody'"),
        ("references.random.hold=2", "agent.hold is 2"),
    ],
)
def test_mistakes_are_found_before_the_work(override, message):
    with pytest.raises(UserError, match=re.escape(message)):
        e1.check(configured(override))


def test_nobody_to_learn_and_nowhere_to_learn():
    config = configured()
    with pytest.raises(UserError, match=re.escape("simulators is empty")):
        e1.check({**config, "simulators": dict.fromkeys(config["simulators"])})
    with pytest.raises(UserError, match=re.escape("learners is empty")):
        e1.check({**config, "learners": {}})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run with one family and two learners."""
    patch = pytest.MonkeyPatch()
    base = tmp_path_factory.mktemp("e1")
    patch.setenv("COPYGYM_HOME", str(base / "home"))
    config = configured(
        "simulators.boosting=null", "simulators.two_tower=null", "learners.ppo=null",
        "learners.bandit=null", "learners.episodic=null", "references.all_alike=null",
        "arms=true", f"out={base / 'run'}",
    )  # fmt: skip
    app.execute(config, base / "run", ["run"], {"group": "g", "job_type": "j", "name": "n"})
    patch.undo()
    return base / "run"


def test_a_run_says_what_was_promised_and_paid(finished):
    result = read_json(finished / "result.json")
    assert result["synthetic"]
    assert result["homes"] == ["logistic A"]
    assert result["judges"] == ["logistic B", "truth"]
    assert set(result["learned"]) == {"bandit_briefly in logistic A", "planner in logistic A"}
    for policy, home in result["learned"].items():
        for judge in result["judges"]:
            values = result["values"][policy]
            assert result["exploit"][policy]["optimism"][judge]["value"] == pytest.approx(
                values[home]["value"] - values[judge]["value"]
            )
    # Whoever plans with a simulator's tables is worth the most there.
    ours = {name: by["logistic A"]["value"] for name, by in result["values"].items()}
    assert max(ours, key=ours.get) == "planner in logistic A"
    # What holds always is worth nothing, to everybody.
    never = result["decisions"]["always hold"]
    assert never["truth"]["value"] == never["logistic A"]["value"] == 0
    assert set(result["agreement"]) == {
        "log", "truth, decision by decision", "truth, over an episode",
    }  # fmt: skip
    kinds = {rate["kind"] for rate in result["calibration"]["logistic A"]}
    assert kinds == {"age_band", "region", "device", "income", "creative"}
    # Every send of the held-out log is in one level of each kind.
    totals = {
        kind: sum(
            r["impressions"] for r in result["calibration"]["logistic B"] if r["kind"] == kind
        )
        for kind in kinds
    }
    assert len(set(totals.values())) == 1


def test_the_report_has_no_number_that_means_nothing(finished):
    page = (finished / "report.md").read_text()
    assert page.startswith("# Simulator fidelity: storefront")
    assert "**Synthetic data.**" in page
    for heading in ("Exploit test", "Rank agreement", "Calibration by segment"):
        assert f"## {heading}" in page
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", page)
    for name in re.findall(r"\]\((\w+\.svg)\)", page):
        assert (finished / "figures" / name).exists()
    result = read_json(finished / "result.json")
    one = worst([r for r in result["calibration"]["logistic A"] if r["kind"] != "creative"])
    assert f"the worst is {one['kind']}: {one['name']}" in result["summary"]
    assert any("one seed" in text for text in result["assumptions"])


def test_answers_on_logged_decisions_are_those_of_the_fidelity_card(finished):
    """Two ways to the same rates: the fit's own rows, and profiles and states made from the log."""
    result = read_json(finished / "result.json")
    gaps = []
    for name in result["simulators"]:
        card = read_json(finished / "users" / name.lower().replace(" ", "_") / "fidelity.json")
        arms = {g["name"]: g for g in card["groups"] if g["kind"] == "arm"}
        gaps.append(
            max(
                abs(arms[rate["name"]]["simulated"] - rate["predicted"])
                for rate in result["calibration"][name]
                if rate["kind"] == "creative"
            )
        )
    # Rows begin at the later of the two fits' cuts, so that one of them is judged on its very rows.
    assert min(gaps) < 1e-6
    assert max(gaps) < 5e-3


def test_a_log_of_many_decisions_without_truth(tmp_path, monkeypatch):
    """Any log but storefront's is treated as real: here storefront's file under another name."""
    from copygym.envs.datasets import load

    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path / "home"))
    load("storefront", n_users=240, n_slots=28).write(tmp_path / "log.parquet")
    table_of = app.composed([
        "experiment=e1", "job=copygym.experiments.studies.fidelity.simulator_fidelity",
        "dataset=table", f"data.path={tmp_path / 'log.parquet'}",
        "~data.seed", "~data.n_users", "~data.n_slots", "tiny=true", "tracker=disabled",
        "simulators.boosting=null", "simulators.two_tower=null", "learners.ppo=null",
        "learners.bandit=null", "learners.episodic=null", "learners.planner=null",
        f"out={tmp_path / 'run'}",
    ])  # fmt: skip
    names = {"group": "g", "job_type": "j", "name": "n"}
    app.execute(table_of, tmp_path / "run", ["run"], names)
    result = read_json(tmp_path / "run" / "result.json")
    # Over an episode only other simulators can judge; the log judges decisions.
    assert result["judges"] == ["logistic B"]
    assert set(result["agreement"]) == {"log"}
    assert "truth" not in result["summary"]
