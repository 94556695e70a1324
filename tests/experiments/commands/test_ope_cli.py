"""`copygym ope` on small logs: what it reads, what it refuses, what it says."""

import json
import re

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.evaluation.ope.decisions import decisions, response_model
from copygym.evaluation.ope.judge import evaluate
from copygym.evaluation.ope.policies import built_in, policy_file
from copygym.experiments.commands.main import main as copygym
from copygym.experiments.commands.statistics.ope import FILES, main
from copygym.experiments.commands.statistics.ope_report import warning_lines
from copygym.experiments.report.tables import interval

#: Click rates of hold, mail_a and mail_b for people without and with the trait.
RATES = np.array([[0.02, 0.30, 0.10], [0.02, 0.10, 0.30]])
ARMS = ["hold", "mail_a", "mail_b"]


def frame(n=6000, seed=0, chances=(0.5, 0.3, 0.2)):
    rng = np.random.default_rng(seed)
    trait, arm = rng.integers(0, 2, n), rng.choice(3, n, p=chances)
    clicks = (rng.random(n) < RATES[trait, arm]).astype(int)
    return pl.DataFrame(
        {
            "user_id": [f"u{i}" for i in range(n)],
            "creative_id": [ARMS[a] for a in arm],
            "user_trait": trait,
            "propensity": np.array(chances)[arm],
            "impressions": np.ones(n, int),
            "clicks": clicks,
            "revenue": clicks * rng.exponential(10, n),
        }
    )


@pytest.fixture
def log_file(tmp_path):
    path = tmp_path / "log.csv"
    frame().write_csv(path)
    return path


def read(table):
    return decisions(ClickLog.from_frame(table, name="log"))


def run(log_file, *arguments):
    return main(["--log", str(log_file), "--resamples", "100", *arguments])


def test_policies_of_every_form_find_their_truth(log_file, tmp_path, capsys):
    pl.DataFrame({"arm": ["mail_b"], "probability": [1.0]}).write_csv(tmp_path / "b.csv")
    (tmp_path / "matched.csv").write_text(
        "creative_id,user_trait,probability\nmail_a,0,1\nmail_b,1,0.75\nhold,1,0.25\n"
    )
    rows = frame()["user_trait"].to_numpy()
    wide = pl.DataFrame({"hold": 0.0 * rows, "mail_a": 1.0 - rows, "mail_b": 1.0 * rows})
    wide.write_parquet(tmp_path / "wide.parquet")
    arms = frame()["creative_id"].to_list()
    (tmp_path / "own.csv").write_text(
        "probability\n" + "\n".join(str(float(arm == "mail_a")) for arm in arms)
    )
    files = [f"--policy={tmp_path / name}" for name in ("b.csv", "matched.csv", "wide.parquet")]
    out = tmp_path / "out"
    assert run(
        log_file, *files, f"--policy=own={tmp_path / 'own.csv'}", "--policy=uniform",
        "--policy=best_fixed", "--policy=arms", f"--output={out}",
    ) == 0  # fmt: skip
    result = json.loads((out / "result.json").read_text())
    values = {name: p["estimates"] for name, p in result["policies"].items()}
    truth = {
        "b": 0.2, "matched": 0.5 * 0.30 + 0.5 * (0.75 * 0.30 + 0.25 * 0.02), "wide": 0.30,
        "own": 0.2, "uniform": RATES.mean(), "always hold": 0.02, "always mail_a": 0.2,
        "best_fixed": 0.2,
    }  # fmt: skip
    for name, value in truth.items():
        for estimator, entry in values[name].items():
            # The additive model cannot know the crossing for sure, so that DM gets more room.
            room = 0.05 if estimator == "dm" else 0.03
            assert entry["value"] == pytest.approx(value, abs=room), (name, estimator)
            assert entry["bootstrap"]["low"] < entry["value"] < entry["bootstrap"]["high"]
    logging = frame()["clicks"].mean()
    for estimator in ("ips", "snips", "dr", "sndr"):
        assert values["logging"][estimator]["value"] == pytest.approx(logging)
        gain = values["wide"][estimator]["lift"]
        assert gain["low"] > 0.1
        assert gain["value"] == pytest.approx(values["wide"][estimator]["value"] - logging)
    # Of a policy known for the logged arms alone nothing with a model can be said.
    assert set(values["own"]) == {"ips", "clipped_ips", "snips"}
    assert values["own"]["ips"] == values["always mail_a"]["ips"]
    assert "logged arms only" in result["policies"]["own"]["missing"]["dr"]
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    printed = capsys.readouterr().out
    assert "gain over logging" in printed
    assert "nan" not in printed.lower()
    table = pl.read_csv(out / "estimates.csv")
    assert set(table["policy"]) == set(values)
    page = (out / "report.html").read_text()
    assert "<svg" in page and "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.S).lower()
    # The folder is its own: the same command may write it again.
    assert run(log_file, f"--output={out}") == 0


def test_a_stored_policy_is_that_of_the_same_table(log_file, tmp_path, capsys):
    wide = np.random.default_rng(4).dirichlet(np.ones(3), 6000)
    np.save(tmp_path / "stored.npy", wide)
    pl.DataFrame(dict(zip(ARMS, wide.T, strict=True))).write_parquet(tmp_path / "wide.parquet")
    files = [f"--policy={tmp_path / name}" for name in ("stored.npy", "wide.parquet")]
    assert run(log_file, *files, f"--output={tmp_path / 'out'}") == 0
    policies = json.loads((tmp_path / "out" / "result.json").read_text())["policies"]
    assert policies["stored"] == policies["wide"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda wide: wide[:-1], "has 5,999 rows x 3 arms and the log 6,000 x 3; write one row"),
        (lambda wide: wide[:, :2].copy(), "one column per arm: hold, mail_a, mail_b."),
        (lambda wide: wide * np.where(np.arange(6000) == 4999, 2, 1)[:, None], "row 5000: prob"),
        (lambda wide: wide * np.where(np.arange(6000) == 7, np.nan, 1)[:, None], "row 8: "),
    ],
)
def test_stored_policies_that_cannot_be_meant_are_refused(
    log_file, tmp_path, monkeypatch, change, message
):
    monkeypatch.setattr("copygym.evaluation.ope.policies._CELLS", 3000)
    np.save(tmp_path / "p.npy", change(np.full((6000, 3), 1 / 3)))
    with pytest.raises(UserError, match=re.escape(message)):
        run(log_file, f"--policy={tmp_path / 'p.npy'}")


def test_every_form_of_the_result_shows_the_same_numbers(log_file, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(log_file, "--policy=arms", f"--output={out}") == 0
    printed = capsys.readouterr().out
    policies = json.loads((out / "result.json").read_text())["policies"]
    table = (out / "table.md").read_text()
    for name, policy in policies.items():
        best = policy["estimates"][policy["headline"]]
        value = interval({"value": best["value"], **best["bootstrap"]}, "%")
        cells = [name, policy["headline"], value]
        cells.append(interval(best["lift"], "%") if "lift" in best else "-")
        cells.append(f"{policy['support']['ess']:,.0f}")
        assert f"| {' | '.join(cells)} |" in table
        assert re.search(r" +".join(map(re.escape, cells)) + " ", printed), cells
    rows = pl.read_csv(out / "estimates.csv").to_dicts()
    assert len(rows) == sum(len(policy["estimates"]) for policy in policies.values())
    for row in rows:
        entry = policies[row["policy"]]["estimates"][row["estimator"]]
        assert row["value"] == pytest.approx(entry["value"])
        for kind in ("bootstrap", "normal"):
            for end in ("low", "high"):
                assert row[f"{kind}_{end}"] == pytest.approx(entry[kind][end])
        assert row["gain"] == pytest.approx(entry.get("lift", {}).get("value"))


def test_the_same_command_gives_the_same_bytes(log_file, tmp_path):
    for name in ("one", "two"):
        run(log_file, f"--output={tmp_path / name}")
    for file in FILES:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_dr_is_nearer_than_ips_and_an_agentless_command_names_both(log_file, capsys):
    assert copygym(["ope", "--log", str(log_file), "--resamples", "50", "--brief"]) == 0
    printed = capsys.readouterr().out
    assert "uniform" in printed and "best_fixed" in printed and "snips" not in printed


def test_arms_that_the_log_never_took_are_named(log_file, tmp_path, capsys):
    path = tmp_path / "new.csv"
    path.write_text("arm,probability\nmail_a,0.6\nmail_new,0.4\n")
    run(log_file, f"--policy={path}", f"--output={tmp_path / 'out'}")
    policy = json.loads((tmp_path / "out" / "result.json").read_text())["policies"]["new"]
    assert policy["verdict"] == "not supported"
    assert policy["support"]["outside"] == pytest.approx(0.4)
    assert "40.0% of its decisions are on arms that the log never took (mail_new)" in (
        capsys.readouterr().out
    )


def test_a_policy_that_the_log_cannot_support_is_called_so():
    table = frame(3000, chances=(0.97, 0.02, 0.01))
    log = read(table)
    result = evaluate(log, built_in(log, "arms"), response_model(log), 50, 0)
    assert result["policies"]["always hold"]["verdict"] != "not supported"
    rare = result["policies"]["always mail_b"]
    assert rare["verdict"] == "not supported"
    assert any("effective rows of 3,000" in text for text in rare["warnings"])


def test_wrong_propensities_show_in_the_mean_weight():
    log = read(frame().with_columns(propensity=pl.lit(0.2)))
    result = evaluate(log, built_in(log, "uniform"), None, 50, 0)
    warnings = " ".join(result["policies"]["uniform"]["warnings"])
    assert "the mean weight is 1.667 where 1.000 was to be expected" in warnings
    assert set(result["policies"]["uniform"]["missing"]) == {
        "dm", "dr", "sndr", "switch_dr", "dr_os",
    }  # fmt: skip


def test_a_policy_that_never_does_what_was_done_has_reasons_instead_of_numbers(tmp_path):
    table = frame(3000).filter(pl.col("creative_id") != "mail_b")
    table = table.with_columns(
        clicks=pl.when(pl.col("creative_id") == "hold").then(0).otherwise("clicks")
    )
    log = read(table)
    path = tmp_path / "p.csv"
    # A group whose policy is the arm that no row of the group has taken.
    odd = log.frame["creative_id"] == "hold"
    chances = pl.DataFrame({"hold": 1.0 - odd.cast(pl.Float64), "mail_a": odd.cast(pl.Float64)})
    chances.write_csv(path)
    one = policy_file(log, path, "p")
    result = evaluate(log, [*built_in(log, "arms"), one], response_model(log), 50, 0)
    never = result["policies"]["p"]
    assert set(never["estimates"]) == {"dm"}
    assert "never does what the log did" in never["missing"]["ips"]
    # Nobody clicks without a mail here: 0 with an interval of no width is no estimate.
    assert "no row that the policy" in result["policies"]["always hold"]["missing"]["snips"]
    assert not re.search(r"\bNaN\b", json.dumps(result))


def test_propensities_can_be_estimated_and_that_is_said(tmp_path, capsys):
    rng = np.random.default_rng(1)
    table = frame(8000)
    # Who has the trait gets mail_b much more often, and clicks it more.
    trait = table["user_trait"].to_numpy()
    chances = np.where(trait[:, None] == 1, [[0.2, 0.1, 0.7]], [[0.2, 0.7, 0.1]])
    arm = (rng.random((8000, 1)) >= chances.cumsum(axis=1)).sum(axis=1)
    clicks = (rng.random(8000) < RATES[trait, arm]).astype(int)
    table = table.with_columns(
        creative_id=pl.Series([ARMS[a] for a in arm]), clicks=pl.Series(clicks)
    ).drop("propensity", "revenue")
    path = tmp_path / "log.parquet"
    table.write_parquet(path)
    with pytest.raises(UserError, match=r"no column propensity.*--estimate-propensities"):
        run(path)
    assert run(path, "--policy=uniform", "--estimate-propensities", "--brief") == 0
    assert "propensities are estimated" in capsys.readouterr().out
    log = decisions(ClickLog.from_frame(table, name="log"), estimate=True)
    np.testing.assert_allclose(log.propensities, chances[np.arange(8000), arm], atol=0.05)
    value = evaluate(log, built_in(log, "uniform"), None, 50, 0)["policies"]["uniform"]
    assert value["estimates"]["snips"]["value"] == pytest.approx(RATES.mean(), abs=0.015)
    # The plain mean of the log is far from it.
    assert abs(clicks.mean() - RATES.mean()) > 0.04


def test_revenue_is_an_outcome_in_currency(log_file, capsys):
    run(log_file, "--outcome=revenue", "--brief")
    assert "revenue per impression  " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("arm,probability\nmail_a,0.5\nmail_b,0.4\n", "p.csv: probabilities sum to 0.9, not 1"),
        ("arm,probability\nmail_a,1.5\nmail_b,-0.5\n", "p.csv: a probability is negative"),
        ("arm,probability\nmail_a,x\n", "row 2, column probability: value 'x' is not"),
        ("arm,probability\nmail_a,0.5\nmail_a,0.5\n", "row 3: arm 'mail_a' is there twice"),
        ("arm,probability\nletter,1\n", "none of its arms is in the log"),
        ("arm,age,probability\nmail_a,3,1\n", "column 'age' is no column of the log"),
        ("arm,user_trait,probability\nmail_a,0,1\n", "rows with user_trait 1, for which"),
        (
            "arm,user_trait,probability\nmail_a,0,1\nmail_a,1,0.5\n",
            "user_trait 1: probabilities sum to 0.5, not 1",
        ),
        ("who,probability\nmail_a,1\n", "none that names the arm"),
        ("probability\n0.5\n", "has 1 rows and the log 6,000"),
        ("mail_a,mail_b\n0.5,0.5\n", "has 1 rows and the log 6,000"),
        ("arm,probability\n", "holds a header and no row"),
    ],
)
def test_policy_files_that_cannot_be_meant_are_refused(log_file, tmp_path, content, message):
    path = tmp_path / "p.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=re.escape(message)):
        run(log_file, f"--policy={path}")


def test_names_that_differ_in_case_or_blanks_alone_are_those_of_the_log(log_file, tmp_path, capsys):
    path = tmp_path / "p.csv"
    path.write_text("Arm;Probability\n Mail_A;0.5\nmail_b;0.5\n")
    run(log_file, f"--policy=p={path}", "--brief")
    out = capsys.readouterr().out
    assert "note: p.csv: columns are separated by ';', as the header says." in out
    assert "note: p.csv: column 'Arm' is read as 'arm'." in out
    assert "note: p.csv: arm ' Mail_A' is read as the log's 'mail_a'." in out
    (tmp_path / "q.csv").write_text("arm,probability\nmail_a,0.5\nmail_b,0.5\n")
    log = read(frame())
    weights = [policy_file(log, file, "p").weights for file in (path, tmp_path / "q.csv")]
    assert np.array_equal(*weights)
    path.write_text("arm,probability\nmail_a,0.5\n,0.5\n")
    with pytest.raises(UserError, match="row 3, column arm: it is empty"):
        policy_file(log, path, "p")


def test_logs_and_policies_are_read_with_the_same_options(tmp_path, capsys):
    text = frame().write_csv(separator=";").replace("mail_a", "caf\u00e9")
    (tmp_path / "log.csv").write_bytes(text.encode("latin-1"))
    policy = tmp_path / "p.csv"
    policy.write_bytes("arm;probability\ncaf\u00e9;1\n".encode("latin-1"))
    reading = ["--separator=;", "--encoding=latin-1"]
    run(tmp_path / "log.csv", *reading, f"--policy={policy}", "--brief", "--no-model")
    assert "note:" not in capsys.readouterr().out
    with pytest.raises(UserError, match="say so by --separator ';'"):
        run(tmp_path / "log.csv")
    with pytest.raises(UserError, match=re.escape("--separator=;: dataset storefront maps its")):
        main(["--log", "storefront", "--separator=;"])
    (tmp_path / "wide.csv").write_bytes(frame().write_csv().encode("utf-16"))
    run(tmp_path / "wide.csv", "--policy=uniform", "--brief", "--no-model")
    assert "note: wide.csv is UTF-16 by its byte order mark" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clicks": pl.lit(0)}, "column clicks: all 6,000 rows are 0"),
        ({"clicks": pl.lit(1)}, "every impression was clicked"),
        ({"creative_id": pl.lit("mail_a")}, "the log has 1 arm where at least 2"),
        ({"propensity": pl.lit(0.0)}, "value 0.0 lies outside (0, 1]"),
        ({"propensity": pl.lit(None, pl.Float64)}, "column propensity: the value is empty"),
        (
            {"test_id": (pl.int_range(pl.len()) % 3).cast(pl.String)},
            "the arms belong to 3 tests",
        ),
    ],
)
def test_logs_that_cannot_be_judged_are_refused(tmp_path, change, message):
    path = tmp_path / "log.csv"
    frame().with_columns(**change).write_csv(path)
    with pytest.raises(UserError, match=re.escape(message)):
        run(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy=nowhere.csv"], "nowhere.csv does not exist; give"),
        (["--outcome=opens"], "outcome"),
        (["--agent=nowhere:linucb"], "--agent=nowhere:linucb: there is no such folder"),
        (["--resamples=1"], "give a whole number of 2 or more"),
        (["--policy=uniform", "--policy=uniform"], "two policies are called 'uniform'"),
        (["--set=impressions"], "write NAME=VALUE"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(log_file, arguments, message):
    with pytest.raises(UserError, match=re.escape(message)):
        run(log_file, *arguments)


def test_other_files_in_the_output_folder_are_left_alone(log_file, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="holds other files"):
        run(log_file, f"--output={tmp_path / 'mine'}")
    with pytest.raises(UserError, match="is a file"):
        run(log_file, f"--output={log_file}")
    with pytest.raises(UserError, match="no such file, and no such dataset"):
        main(["--log", "hilstrom"])


def test_a_log_of_several_channels_names_arms_by_both(tmp_path):
    table = frame(2000).with_columns(
        channel=pl.when(pl.col("creative_id") == "hold")
        .then(None)
        .when(pl.int_range(pl.len()) % 2 == 0)
        .then(pl.lit("push"))
        .otherwise(pl.lit("email"))
    )
    log = read(table)
    assert log.arms == ("hold", "mail_a@email", "mail_a@push", "mail_b@email", "mail_b@push")
    path = tmp_path / "p.csv"
    path.write_text("creative_id,channel,probability\nmail_a,push,0.25\nhold,,0.75\n")
    one = policy_file(log, path, "p")
    assert one.actions.block(slice(0, 1)).tolist() == [[0.75, 0, 0.25, 0, 0]]


def test_the_best_fixed_arm_is_not_flattered_by_its_own_luck():
    """Sixty arms that are all alike: the best of them on its own rows would look far better."""
    chosen, flattered = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        arm = rng.integers(0, 60, 3000)
        table = pl.DataFrame(
            {
                "creative_id": [f"c{a:02d}" for a in arm],
                "propensity": np.full(3000, 1 / 60),
                "impressions": np.ones(3000, int),
                "clicks": (rng.random(3000) < 0.2).astype(int),
            }
        )
        log = read(table)
        (best,) = built_in(log, "best_fixed")
        chosen.append(np.average(log.rewards, weights=best.weights))
        flattered.append(max(log.rewards[arm == a].mean() for a in range(60)))
    assert np.mean(chosen) == pytest.approx(0.2, abs=0.04)
    assert np.mean(flattered) > 0.3


def test_a_warning_about_every_policy_is_given_once():
    estimated, weak = "propensities are estimated.", "few rows."
    policies = {"logging": [], "a": [weak, estimated], "b": [estimated], "c": [estimated]}
    lines = warning_lines({"policies": {n: {"warnings": w} for n, w in policies.items()}})
    assert lines == [f"a: {weak}", f"all: {estimated}"]
    alone = {"policies": {"logging": {"warnings": []}, "a": {"warnings": [weak]}}}
    assert warning_lines(alone) == [f"a: {weak}"]


@pytest.mark.parametrize("events", [4, 30])
def test_what_was_done_is_not_known_exactly_from_few_clicks(events):
    log = read(frame().with_columns(clicks=(pl.int_range(pl.len()) < events).cast(pl.Int64)))
    found = evaluate(log, built_in(log, "logging"), None, resamples=20, seed=0)
    logging = found["policies"]["logging"]
    assert logging["verdict"] == ("not supported" if events < 10 else "weak")
    assert f"rests on {events}.0 effective rows with clicks" in logging["warnings"][0]


def test_a_policy_files_row_of_sums_is_no_arm(tmp_path):
    path = tmp_path / "policy.csv"
    path.write_text("arm,probability\nmail_a,0.5\nmail_b,0.5\nTotal,1\n")
    with pytest.raises(UserError, match="'Total' is a sum of the others by its name"):
        policy_file(read(frame()), path, "new")


def keyed(tmp_path, keys, table):
    """Return 600 rows of two arms whose user_k goes through ``keys``, and a policy by user_k."""
    rng = np.random.default_rng(1)
    log = {
        "user_k": [keys[i % len(keys)] for i in range(600)],
        "creative_id": ["a", "b"] * 300,
        "propensity": [0.5] * 600,
        "impressions": [1] * 600,
        "clicks": (rng.random(600) < 0.3).astype(int),
    }
    pl.DataFrame(log).write_csv(tmp_path / "log.csv")
    pl.DataFrame(table).write_parquet(tmp_path / "new.parquet")
    return ["--log", str(tmp_path / "log.csv"), "--policy", str(tmp_path / "new.parquet")]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (["9007199254740993", "9007199254740992"], ["9007199254740993", "9007199254740992"]),
        (["007", "7"], ["007", "7"]),
        (["1", "2"], [1.0, 2.0]),
        (["1", "2"], pl.Series(["1", "2"], dtype=pl.Categorical)),
        (["True", "False"], ["True", "False"]),
    ],
)
def test_a_policy_by_codes_takes_each_code_for_itself(tmp_path, ours, theirs):
    both = {"arm": ["a", "b"], "user_k": theirs, "probability": [1.0, 1.0]}
    assert main([*keyed(tmp_path, ours, both), "--no-model", "--resamples", "20"]) == 0


def test_a_policys_column_that_cannot_be_a_group_or_a_number_is_named(tmp_path):
    fine = {"arm": ["a", "b"], "user_k": ["1", "2"], "probability": [1.0, 1.0]}
    for name, values in (
        ("user_k", [[1], [2]]),
        ("probability", [[1], [1]]),
        ("arm", [b"a", b"b"]),
    ):
        with pytest.raises(UserError, match=f"new.parquet, column {name}: type"):
            main([*keyed(tmp_path, ["1", "2"], fine | {name: values}), "--no-model"])
    words = fine | {"probability": pl.Series(["1", "1"], dtype=pl.Categorical)}
    assert main([*keyed(tmp_path, ["1", "2"], words), "--no-model", "--resamples", "20"]) == 0


def test_a_code_that_a_policy_spells_otherwise_is_another_one(tmp_path):
    table = {"arm": ["a"], "user_k": ["7"], "probability": [1.0]}
    with pytest.raises(UserError, match="the log has rows with user_k '007'"):
        main([*keyed(tmp_path, ["007", "7"], table), "--no-model"])
