"""W&B sweeps and workspaces as code: what W&B's agent would run is what Hydra would run."""

import json
import re

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from copygym.core.errors import UserError
from copygym.experiments import app
from copygym.experiments.commands.wandb import main
from copygym.experiments.commands.wandb_sweep import wandb_sweep

ARGUMENTS = ["experiment=delivery", "agent=linucb,logistic_ts", "seed=range(3)", "out=some/sweep"]


def agents_command(sweep, run_id, monkeypatch, **values):
    """Return what `wandb agent` starts for one point, as `Agent._command_run` puts it together."""
    chunks = create_sweep_command(list(sweep["command"]))
    monkeypatch.setenv("WANDB_RUN_ID", run_id)  # only now, as the agent does
    filled = create_sweep_command_args({"args": {k: {"value": v} for k, v in values.items()}})
    filled["env"] = ["/usr/bin/env"]
    command = []
    for chunk in chunks:
        whole = chunk.startswith("${") and chunk.endswith("}")
        command += filled[chunk[2:-1]] if whole else [chunk]
    return command


def test_the_agents_command_is_one_run_of_the_multirun(monkeypatch):
    sweep = wandb_sweep([*ARGUMENTS, "tracker.project=mine"])
    assert sweep["parameters"] == {
        "agent": {"values": ["linucb", "logistic_ts"]},
        "seed": {"values": [0, 1, 2]},
    }
    assert (sweep["method"], sweep["name"], sweep["project"]) == ("grid", "sweep", "mine")
    assert "entity" not in sweep and "metric" not in sweep
    command = agents_command(sweep, "abc123", monkeypatch, agent="logistic_ts", seed=2)
    assert command[:3] == ["/usr/bin/env", "copygym", "run"]
    config = app.composed(command[3:])
    assert config["agent"]["_target_"].endswith("LogisticTSAgent")
    assert (config["seed"], config["out"]) == (2, "some/sweep/abc123")
    assert (config["tracker"]["mode"], config["tracker"]["group"]) == ("online", "sweep")


def test_values_keep_their_kind():
    found = wandb_sweep(
        ["agent=linucb", "seed=0,1", "agent.alpha=2,1e-1", "tiny=true,false", "env.budget=null,1.5"]
    )
    assert {key: one["values"] for key, one in found["parameters"].items()} == {
        "seed": [0, 1],
        "agent.alpha": [2, 0.1],
        "tiny": ["true", "false"],
        "env.budget": ["null", 1.5],
    }


def test_searches_have_ranges_and_a_goal():
    found = wandb_sweep(
        [
            "agent=linucb",
            "learn.steps=int(interval(600,3000))",
            "agent.alpha=tag(log,interval(0.1,9))",
        ],
        method="bayes",
        metric="linucb (learned)/clicks_per_user",
    )
    assert found["parameters"] == {
        "learn.steps": {"distribution": "int_uniform", "min": 600, "max": 3000},
        "agent.alpha": {"distribution": "log_uniform_values", "min": 0.1, "max": 9.0},
    }
    assert found["metric"] == {"name": "linucb (learned)/clicks_per_user", "goal": "maximize"}
    assert found["name"] == "delivery-wandb"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["seed=0"], "nothing varies: give a key several values, such as seed=0,1,2."),
        (["agent=linucb,nope"], "unknown agent 'nope': choose one of"),
        (["learn.step=1,2"], "there is no config key or group 'learn.step'"),
        (["seed=0,-1"], "seed=-1: give a whole number of 0 or more."),
        (["agent=a,,"], "cannot read the override 'agent=a,,'"),
        (["agent=glob(*)"], "agent=glob(*): list the options of agent one by one."),
        (["seed=interval(0,1)"], "seed=interval(0,1) has no end of values for --method=grid"),
        (["seed=0,1", "--method", "best"], "unknown method 'best': choose one of bayes, grid"),
        (["seed=0,1", "--method", "bayes"], "--method=bayes needs --metric=NAME"),
        (["seed=0,1", "--goal", "up"], "unknown goal 'up': choose one of maximize, minimize."),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        main(["sweep", *arguments])


def test_the_file_is_what_is_printed(tmp_path, capsys):
    path = tmp_path / "deep" / "sweep.yaml"
    assert main(["sweep", "-m", *ARGUMENTS]) == 0
    printed = capsys.readouterr().out
    assert main(["sweep", *ARGUMENTS, "--output", str(path)]) == 0
    assert path.read_text() == printed
    assert yaml.safe_load(printed) == wandb_sweep(ARGUMENTS)
    with pytest.raises(UserError, match="is a folder; name a file"):
        main(["sweep", *ARGUMENTS, "--output", str(tmp_path)])


def test_a_workspace_needs_its_package_and_an_entity(monkeypatch):
    with pytest.raises(UserError, match="--entity is missing"):
        main(["workspace"])
    monkeypatch.setitem(__import__("sys").modules, "wandb_workspaces", None)
    with pytest.raises(UserError, match=re.escape("`pip install 'copygym[workspaces]'`")):
        main(["workspace", "--json"])


def test_a_workspace_shows_what_runs_log(capsys, monkeypatch, tmp_path):
    pytest.importorskip("wandb_workspaces", reason="extra 'workspaces' is not installed")
    from copygym.experiments.tracking.workspace import CURVES

    assert main(["workspace", "--group", "some", "--json"]) == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    sections = found["spec"]["section"]["panelBankConfig"]["sections"]
    assert [one["name"] for one in sections] == ["Results", *CURVES]
    for pattern in (pattern for lines in CURVES.values() for pattern in lines.values()):
        assert json.dumps(pattern)[1:-1] in text
    patterns = [re.compile(p) for p in CURVES["Learning"].values()]
    assert any(p.match("learn/linucb__learned/reward") for p in patterns)
    # Without a key nothing is sent anywhere.
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(UserError, match="cannot be saved: no W&B key was found"):
        main(["workspace", "--entity", "me"])
