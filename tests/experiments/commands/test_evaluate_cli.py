"""`copygym evaluate`: saved agents played again, one run or several, and what is refused."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from copygym.agents.delivery.schedule import Schedule, ScheduleAgent
from copygym.core.errors import UserError
from copygym.envs.datasets import load
from copygym.evaluation.records import Records
from copygym.experiments import app
from copygym.experiments.commands.evaluate import play as evaluate_play
from copygym.experiments.commands.evaluate import runs as evaluate_runs
from copygym.experiments.commands.evaluate.command import main
from copygym.experiments.commands.evaluate.report import groups_of, over_runs
from copygym.experiments.commands.main import main as cli_main
from copygym.experiments.studies.data import load_log
from copygym.experiments.studies.saved_agents import held_out

SMALL = (
    "tiny=true", "tracker=disabled", "learn.steps=600", "env.num_envs=32",
    "evaluation.timelines=0", "references.best_fixed.episodes=32",
    "references.best_fixed.finalists=1", "references.best_fixed.periods=[2]",
)  # fmt: skip


def finish(folder, *overrides):
    config = app.composed([*overrides, *SMALL, f"out={folder}"])
    app.execute(config, folder, ["run"], {"group": "g", "job_type": "j", "name": "n"})
    return folder


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Three finished runs: two agents on seed 0, one of them on seed 1."""
    base = tmp_path_factory.mktemp("sweep")
    patch = pytest.MonkeyPatch()
    patch.setenv("COPYGYM_HOME", str(base / "home"))
    for name, agent, seed in (("a", "linucb", 0), ("b", "uniform", 0), ("c", "linucb", 1)):
        overrides = ("experiment=delivery", "data.n_slots=28", f"agent={agent}", f"seed={seed}")
        finish(base / "runs" / name, *overrides)
    yield base / "runs"
    patch.undo()


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A finished run on a log that counts as real, without propensities."""
    base = tmp_path_factory.mktemp("real")
    patch = pytest.MonkeyPatch()
    patch.setenv("COPYGYM_HOME", str(base / "home"))
    path = base / "log.parquet"
    load("storefront", n_users=300, n_slots=28).collect().drop("propensity").write_parquet(path)
    yield finish(
        base / "run", "dataset=table", f"data.path={path}", "agent=linucb",
        "users.text_encoder=null", "users.costs=0.02",
        "references.logging=null", "evaluation.baseline=random",
    )  # fmt: skip
    patch.undo()


class Evaluation:
    """What ``--json`` prints."""

    def __init__(self, printed):
        content = json.loads(printed)
        about = {int(seed): entry for seed, entry in content["about"].items()}
        frame = pl.DataFrame(content["records"], infer_schema_length=None)
        self.records = Records(frame, about)
        self.about = self.records.first
        self.groups = groups_of(self.records)
        self.aggregates = content["aggregates"]

    def judged(self, seed=0, judge="judge", versus=None):
        """Return policy -> metric -> (value, low, high) of one seed, first told by one judge."""
        part = self.records.where(seed=seed, judge=judge, versus=versus).frame
        found = {}
        for row in part.iter_rows(named=True):
            found.setdefault(row["policy"], {})[row["metric"]] = (
                row["value"], row["low"], row["high"],
            )  # fmt: skip
        return found

    @property
    def over(self):
        return over_runs(self.records)


def evaluated(capsys, *arguments):
    assert main([*map(str, arguments), "--json"]) == 0
    return Evaluation(capsys.readouterr().out)


def own_numbers(run):
    """Return the whole policies' records of a run: (policy, versus, metric) -> numbers."""
    frame = Records.read(run).where(segment=None, step=None).frame
    return numbers_of(frame.filter(~pl.col("metric").str.starts_with("learning_")))


def numbers_of(frame):
    return {
        (row["policy"], row["versus"], row["metric"]): (row["value"], row["low"], row["high"])
        for row in frame.iter_rows(named=True)
    }


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_without_options_it_gives_the_runs_own_numbers(sweep, capsys):
    before = stamps(sweep / "a")
    result = evaluated(capsys, sweep / "a")
    assert numbers_of(result.records.where(judge="judge").frame) == own_numbers(sweep / "a")
    assert result.about["policies"] == [
        "random", "logging", "best_fixed", "linucb (learned)", "upper",
    ]  # fmt: skip
    assert result.aggregates is None
    assert any("one seed" in text for text in result.about["assumptions"])
    # The run itself is only read.
    assert stamps(sweep / "a") == before


def test_another_seed_is_other_luck_and_the_same_again(sweep, capsys):
    own, first, again = (
        evaluated(capsys, sweep / "a", *more) for more in ((), ("--seed=7",), ("--seed=7",))
    )
    assert first.judged() == again.judged()
    assert first.judged() != own.judged()


def test_all_meet_the_same_luck(sweep, capsys):
    """The agent that learned nothing is the random reference: no noise lies between the two."""
    result = evaluated(capsys, sweep / "b", "--seed=3")
    for judge in ("judge", "simulator"):
        metrics = result.judged(judge=judge)
        assert metrics["uniform (learned)"] == metrics["random"]


def test_more_users_than_there_are_means_all(sweep, capsys):
    result = evaluated(capsys, sweep / "a", "--users=5000", "--episodes=2")
    (group,) = result.groups
    assert group["users"] == group["held_out"] == 100
    assert group["episodes"] == 2
    assert any("more than the 100 people held out" in text for text in result.about["remarks"])
    assert evaluated(capsys, sweep / "a", "--users=12").groups[0]["users"] == 12


def test_another_horizon_shortens_episodes(sweep, capsys):
    result = evaluated(capsys, sweep / "a", "--horizon=6", "--seed=1")
    # Every second slot of six, less those after an unsubscribe.
    sends, _, _ = result.judged()["best_fixed"]["sends_per_user"]
    assert 2.5 < sends <= 3
    assert any("learned for 28 slots and played 6" in text for text in result.about["remarks"])


def test_a_schedule_keeps_its_rhythm_under_another_horizon(tmp_path):
    agent = ScheduleAgent()
    agent.best, agent.horizon = Schedule(1, 3, 1), 28
    agent.save(tmp_path)
    for horizon in (7, 28, 50):
        again = evaluate_play._loaded(tmp_path, horizon)
        time = np.arange(horizon)
        obs = (1.0 - time / horizon).astype(np.float32)[:, None]
        sent = again.propensities(obs, np.ones((horizon, 2), dtype=bool))[:, 1]
        np.testing.assert_array_equal(np.flatnonzero(sent), time[time % 3 == 1])


def test_the_gap_is_the_simulators_value_less_the_judges(sweep, capsys):
    result = evaluated(capsys, sweep / "a")
    gaps = result.judged(judge="gap")
    assert list(gaps) == result.about["policies"]
    for name, gap in gaps.items():
        simulator, judge = (
            result.judged(judge=key)[name]["clicks_per_user"][0] for key in ("simulator", "judge")
        )
        assert gap["clicks_per_user"][0] == pytest.approx(simulator - judge)


def test_effective_sample_sizes_are_those_of_the_held_out_log(sweep, capsys):
    result = evaluated(capsys, sweep / "a")
    ess, rows = (
        {name: numbers[metric][0] for name, numbers in result.judged(judge="log").items()}
        for metric in ("ess", "rows")
    )
    config = json.loads((sweep / "a" / "run.json").read_text())["config"]
    held, _, _ = held_out(load_log(config["data"]), sweep / "a")
    frame = held.collect()
    # Random gives every action the same chance: its weights are 1/p up to a factor.
    weights = 1 / frame["propensity"].to_numpy()
    assert rows["random"] == len(frame) == ess["logging"]
    assert ess["random"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert 0 < ess["linucb (learned)"] < len(frame)
    assert ess["upper"] is None


def test_several_runs_are_one_table_over_seeds(sweep, capsys):
    # The folder of the runs stands for all of them; a run named twice counts once.
    result = evaluated(capsys, sweep, sweep / "a", "--seed=2")
    assert [group["runs"] for group in result.groups] == [["a", "b"], ["c"]]
    assert result.about["unit"] == "seeds"
    shown = result.over.where(judge="judge", versus=None, metric="clicks_per_user").frame
    runs = dict(zip(shown["policy"], shown["runs"], strict=True))
    # References of runs that differ in their agent alone are the same, so they count once.
    assert runs == {
        "random": 2, "logging": 2, "best_fixed": 2, "linucb (learned)": 2,
        "uniform (learned)": 1, "upper": 2,
    }  # fmt: skip
    assert shown["policy"].to_list() == list(runs)
    values = [result.judged(seed)["linucb (learned)"]["clicks_per_user"][0] for seed in (0, 1)]
    mean = result.over.number("clicks_per_user", judge="judge", policy="linucb (learned)")
    assert mean["value"] == pytest.approx(np.mean(values))
    assert [mean["low"], mean["high"]] == pytest.approx(sorted(values))
    # One run: its interval is over its users.
    own = result.over.number("clicks_per_user", judge="judge", policy="uniform (learned)")
    assert tuple(own.values()) == result.judged()["uniform (learned)"]["clicks_per_user"]


def test_several_runs_are_aggregated(sweep, capsys):
    result = evaluated(capsys, sweep, "--seed=2", "--metric=reward_per_user")
    for seed, score in enumerate(result.aggregates["scores"]["linucb (learned)"]):
        value, low, high = (
            result.judged(seed)[name]["reward_per_user"][0]
            for name in ("linucb (learned)", "logging", "upper")
        )
        assert score == pytest.approx([(value - low) / (high - low)])
    assert "uniform (learned)" in result.aggregates["left_out"]


def changed_copy(run, target, part, **values):
    """Copy a run as if some values of its config had been others."""
    shutil.copytree(run, target)
    state = json.loads((target / "run.json").read_text())
    state["config"][part].update(values)
    (target / "run.json").write_text(json.dumps(state))
    return target


def test_agents_and_tasks_that_share_a_name_are_told_apart(sweep, tmp_path, capsys):
    wide = changed_copy(sweep / "a", tmp_path / "wide", "agent", alpha=9.0)
    result = evaluated(capsys, sweep / "a", wide, "--users=10")
    (group,) = result.groups
    assert len(group["learned"]) == 2
    assert group["learned"][1] == "linucb (learned), alpha=9.0"
    # Another reward is another task, in which one run is too few for aggregates.
    other = changed_copy(sweep / "a", tmp_path / "other", "reward", terms={"conversion": 1.0})
    assert main([str(sweep / "a"), str(other), "--users=10"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^policy +task +runs ", printed, flags=re.MULTILINE)
    assert re.search(r"^random +reward\.terms\.conversion=1.0 +1 ", printed, flags=re.MULTILINE)
    assert "Aggregates need at least 2" in printed
    assert "95% intervals over each run's held-out users" in printed


def test_the_text_and_the_files_say_the_same(sweep, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli_main(["evaluate", str(sweep), "--output", str(out)]) == 0
    printed = capsys.readouterr().out
    files = ["about.json", "records.parquet", "report.html", "table.md"]
    assert sorted(path.name for path in out.iterdir() if path.name[0] != ".") == files
    row = next(line for line in printed.splitlines() if line.startswith("linucb (learned)"))
    shown = (out / "table.md").read_text()
    for cell in re.split(r"\s{2,}", row):
        assert f"| {cell} " in shown
    assert shown.startswith("Synthetic data. Means over runs")
    page = (out / "report.html").read_text()
    for expected in ("Aggregates over seeds", "Run by run", "optimality gap", "<svg", "synthetic"):
        assert expected in page
    assert not re.search(r"(src|href)=\"(?!#)", page)
    for text in (printed, page, shown):
        assert not re.search(r"\bnan\b", text.lower())
    assert Records.read(out).first["unit"] == "seeds"
    # Again over its own output.
    assert cli_main(["evaluate", str(sweep), "--output", str(out)]) == 0


@pytest.mark.parametrize("name", ["linucb (learned)", "linucb__learned", "linucb"])
def test_agents_are_chosen_by_any_of_their_names(sweep, name, capsys):
    result = evaluated(capsys, sweep / "a", "--agents", name)
    assert result.about["policies"] == ["logging", "linucb (learned)", "upper"]
    other = evaluated(capsys, sweep / "a", "--agents", name, "--baseline", "random")
    assert other.about["baseline"] == "random"
    assert set(other.judged(versus="random")) == {"linucb (learned)", "upper"}


def test_a_real_log_is_judged_by_the_runs_second_simulator(real, capsys):
    result = evaluated(capsys, real)
    assert numbers_of(result.records.where(judge="judge").frame) == own_numbers(real)
    assert "no experiment has confirmed it" in result.groups[0]["judge"]
    assert result.judged() != result.judged(judge="simulator")
    assert not result.about["synthetic"]
    assert not result.judged(judge="log")
    assert any("the log has no propensities" in text for text in result.about["remarks"])


# ------------------------------------------------------------------ which runs, which names


def saved_run(folder, job="delivery", state="finished", **config):
    """Write what the command reads first of a run, and nothing else."""
    folder.mkdir(parents=True)
    whole = {"job": f"copygym.experiments.{job}", "name": job, **config}
    content = {"state": state, "code": "0", "config": whole}
    (folder / "run.json").write_text(json.dumps(content))
    (folder / "result.json").write_text("{}")
    return folder


def test_a_headroom_run_is_a_source_of_its_world(sweep, tmp_path):
    run = shutil.copytree(sweep / "c", tmp_path / "run")
    state = json.loads((run / "run.json").read_text())
    state["config"]["job"] = "copygym.experiments.studies.delivery.headroom"
    state["config"]["data"]["seed"] = 1
    (run / "run.json").write_text(json.dumps(state))
    (source,) = evaluate_runs.sources_of(run)
    assert (source.seed, source.world, source.path) == (1, "1", run)
    assert source.order == ("random", "logging", "best_fixed", "linucb (learned)", "upper")


def test_configs_are_told_apart_by_what_differs():
    one, two = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 5}, "d": 3}
    told = evaluate_runs._told_apart([one, two, one])
    assert list(told.values()) == ["a.c=2", "a.c=5"]
    assert list(evaluate_runs._told_apart([one, one]).values()) == [""]
    # A key that only one of them has names that one.
    told = evaluate_runs._told_apart([one, {**one, "e": True}])
    assert list(told.values()) == ["no. 1", "e=True"]


@pytest.mark.parametrize(
    ("job", "way_out"),
    [
        ("uplift", "copygym ope --log LOG --agent {run}:NAME"),
        ("reward_model", "copygym score --model {run}"),
        ("campaign", "copygym write --model {run}"),
        ("copywriting", "copygym write --model {run}"),
        ("peeking", "copygym abtest"),
        ("headlines", "copygym report {run}"),
    ],
)
def test_a_run_of_another_job_is_sent_to_its_own_command(tmp_path, job, way_out):
    run = saved_run(tmp_path / "run", job)
    with pytest.raises(UserError, match=re.escape(way_out.format(run=run))) as refused:
        main([str(run)])
    assert "only those of delivery and headroom" in str(refused.value)


def test_folders_without_a_finished_run_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        main([str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match="holds no copygym run"):
        main([str(tmp_path)])
    run = saved_run(tmp_path / "run", state="started")
    with pytest.raises(UserError, match=re.escape(f"has not finished; go on with it by the same `copygym run` command with out={run}")):  # fmt: skip # noqa: E501
        main([str(run)])
    # One of a multirun's as well.
    with pytest.raises(UserError, match="has not finished"):
        main([str(tmp_path)])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--agents", "linucb", "dqn"],
            "unknown agent 'dqn': choose one of best_fixed, linucb (learned), logging",
        ),
        (["--baseline", "ppo"], "unknown baseline 'ppo': choose one of best_fixed"),
        (["--metric", "ctr"], "unknown metric 'ctr': choose one of clicks_per_user"),
        (["--users", "0"], "--users=0: give a whole number of 1 or more."),
        (["--seed", "-1"], "--seed=-1: give a whole number of 0 or more."),
        (["--horizon", "0"], "--horizon=0: give"),
        (["--episodes", "0"], "--episodes=0: give"),
        (["--resamples", "1"], "--resamples=1: give a whole number of 2 or more."),
        (["--users", "many"], "--users=many: give a whole number of 1 or more, without"),
    ],
)
def test_mistakes_are_told_in_a_sentence(sweep, arguments, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        main([str(sweep / "a"), *arguments])


def test_a_sweeps_summary_is_one_run_of_its_group(sweep, tmp_path, capsys, monkeypatch):
    from copygym.experiments.tracking.wandb import WandbMirror

    sent = {"tables": [], "images": []}
    start = WandbMirror.__init__
    monkeypatch.setattr(
        WandbMirror,
        "__init__",
        lambda self, config, folder, told, names: (
            sent.update(names=names, told=told, config=config),
            start(self, config, folder, told, names),
        )[-1],
    )
    monkeypatch.setattr(WandbMirror, "table", lambda _, name, table: sent["tables"].append(name))
    monkeypatch.setattr(WandbMirror, "records", lambda _, frame: sent.update(rows=frame.height))
    monkeypatch.setattr(WandbMirror, "image", lambda _, name, png: sent["images"].append(name))
    monkeypatch.setattr(WandbMirror, "summary", lambda _, values: sent.update(values=values))
    arguments = [str(sweep), "--output", str(tmp_path), "--resamples", "50", "--json"]
    assert main([*arguments, "--track", "offline"]) == 0
    captured = capsys.readouterr()
    result = Evaluation(captured.out)
    assert sent["names"] == {"group": "runs", "job_type": "summary", "name": "runs-summary"}
    assert sent["tables"][0] == "main"
    assert sent["rows"] == result.records.frame.height
    assert "policies" in sent["images"]
    mean = result.over.number("clicks_per_user", judge="judge", policy="linucb (learned)")
    assert sent["values"]["linucb (learned)/clicks_per_user"] == mean["value"]
    iqm = result.aggregates["statistics"]["linucb (learned)"]["iqm"]
    assert sent["values"]["aggregate/linucb (learned)/iqm_low"] == iqm["low"]
    assert len(list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))) == 1
    assert f"wandb sync {tmp_path}/wandb/offline-*" in captured.err
    # Again over its own output, W&B's folder included.
    assert main([*arguments, "--track", "disabled"]) == 0
    with pytest.raises(UserError, match="--track needs --output=FOLDER"):
        main([str(sweep), "--track", "offline"])
    with pytest.raises(UserError, match=re.escape("unknown tracker.mode 'on'")):
        main([*arguments, "--track", "on"])


def test_a_folder_does_not_say_where_w_and_b_keeps_its_summary(
    sweep, tmp_path, capsys, monkeypatch
):
    from copygym.experiments.commands.evaluate import summary

    run = changed_copy(
        sweep / "a", tmp_path / "run", "tracker",
        project="theirs", entity="them", group="their-group",
    )  # fmt: skip
    configs = []
    mirror = SimpleNamespace(mode="disabled")
    monkeypatch.setattr(summary, "log_summary", lambda *told: (configs.append(told[2]), mirror)[-1])
    arguments = [str(run), "--users=5", "--output", str(tmp_path / "out"), "--track", "offline"]
    for name in ("WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    assert main(arguments) == 0
    monkeypatch.setenv("WANDB_PROJECT", "ours")
    monkeypatch.setenv("WANDB_ENTITY", "us")
    assert main(arguments) == 0
    assert main([*arguments, "--project", "mine", "--entity", "me", "--group", "all"]) == 0
    capsys.readouterr()
    assert [(one.project, one.entity, one.group) for one in configs] == [
        ("copygym", None, "run"), ("ours", "us", "run"), ("mine", "me", "all"),
    ]  # fmt: skip


def test_an_output_folder_in_use_is_refused(sweep, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        main([str(sweep / "a"), "--output", str(tmp_path)])
    with pytest.raises(UserError, match="is a file"):
        main([str(sweep / "a"), "--output", str(tmp_path / "notes.txt")])


def test_a_run_that_lost_its_files_is_refused(sweep, real, tmp_path):
    run = shutil.copytree(sweep / "a", tmp_path / "run")
    shutil.rmtree(run / "agents" / "random")
    with pytest.raises(UserError, match=r"random is missing, where agent random was saved"):
        main([str(run)])
    run = shutil.copytree(real, tmp_path / "real")
    shutil.rmtree(run / "users" / "judge")
    with pytest.raises(UserError, match=r"judge is missing, where the run saved its simulated"):
        main([str(run)])


def test_a_log_that_has_changed_is_refused(real, tmp_path):
    run = shutil.copytree(real, tmp_path / "run")
    state = json.loads((run / "run.json").read_text())
    path = tmp_path / "log.parquet"
    pl.read_parquet(state["config"]["data"]["path"])[:-1].write_parquet(path)
    state["config"]["data"]["path"] = str(path)
    (run / "run.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match="has changed since run was run"):
        main([str(run)])


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert "copygym evaluate sweep --output evaluation" in shown
    assert "jobs delivery and headroom" in shown
