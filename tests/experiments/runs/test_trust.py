"""A stranger's run folder: what it names is not run, imported or unpickled, by any command."""

import json
import os
import pickle
import re
import shutil
import sys
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from copygym.agents.delivery.base import load_agent
from copygym.core import components, plugins
from copygym.core.errors import UserError
from copygym.experiments import app
from copygym.experiments.commands import main as cli
from copygym.experiments.commands.evaluate.runs import sources_of
from copygym.experiments.runs import trust
from copygym.experiments.runs.folder import read_run
from copygym.experiments.studies.build import instantiated
from copygym.experiments.studies.data import load_log
from copygym.experiments.studies.saved_agents import held_out
from copygym.experiments.tracking.base import LocalFiles

SMALL = (
    "experiment=delivery", "agent=uniform", "tiny=true", "tracker=disabled", "learn.steps=200",
    "env.num_envs=32", "evaluation.timelines=0", "evaluation.users=10", "evaluation.resamples=20",
    "data.n_users=100", "data.n_slots=28", "references.best_fixed=null", "references.upper=null",
)  # fmt: skip


@pytest.fixture(autouse=True)
def named(monkeypatch):
    """Names that one test has trusted are nobody's in the next."""
    monkeypatch.setattr(components, "_trusted", set())


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    base = tmp_path_factory.mktemp("good")
    patch = pytest.MonkeyPatch()
    patch.setenv("COPYGYM_HOME", str(base / "home"))
    config = app.composed([*SMALL, f"out={base / 'run'}"])
    names = {"group": "g", "job_type": "j", "name": "n"}
    app.execute(config, base / "run", ["run"], names)
    yield base / "run"
    patch.undo()


class Touch:
    """A pickle of it makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (eval, (f"__import__('pathlib').Path({str(self.path)!r}).touch() or 1.0",))


@pytest.fixture
def evil(good, tmp_path, monkeypatch):
    """A copy of a run with pickles in it, beside a module that tells that it was imported."""
    folder = tmp_path / "evil"
    shutil.copytree(good, folder)
    pwned = tmp_path / "PWNED"
    for name in ("cache.npz", "cache.pt", "cache.pkl"):
        (folder / "stages" / name).write_bytes(pickle.dumps(Touch(pwned)))
    (tmp_path / "job_of_mine.py").write_text(f"open({str(pwned)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def change(folder, edit, name="run.json"):
    state = json.loads((folder / name).read_text())
    edit(state)
    (folder / name).write_text(json.dumps(state))


def refused(capsys, *arguments, match=""):
    """Return the one sentence with which a command ends, status 2."""
    code = cli.main([str(part) for part in arguments])
    told = capsys.readouterr()
    assert code == 2, told
    assert told.err.startswith("copygym: ")
    assert told.err.count("\n") == 1, told.err
    assert re.search(match, told.err), told.err
    return told.err


def nothing_ran(tmp_path):
    assert not (tmp_path / "PWNED").exists()
    assert not {"job_of_mine", "antigravity"} & set(sys.modules)


OTHER = "ours, of another group"
PAYLOADS = {
    "joblib": {"_target_": "joblib.load", "filename": "evil/stages/cache.npz"},
    "numpy": {"_target_": "numpy.load", "file": "evil/stages/cache.npz", "allow_pickle": True},
    "torch": {"_target_": "torch.load", "f": "evil/stages/cache.pt", "weights_only": False},
    "write": {
        "_target_": "pathlib.Path.write_text",
        "self": {"_target_": "pathlib.Path", "_args_": ["PWNED"]},
        "data": "x",
    },
    "open": {"_target_": "builtins.open", "file": "PWNED", "mode": "w"},
    "traversal": {"_target_": "copygym.experiments.commands.main.os.system",
    "command": "touch PWNED"},
    "ours, but no part": {
        "_target_": "copygym.core.files.storage.write_text", "path": "PWNED", "text": "x",
    },
    OTHER: {
        "_target_": "copygym.agents.copywriter.models.load_copywriter", "name": "hf", "path": "a/b",
    },
    "partial": {"_target_": "os.system", "_partial_": True, "command": "touch PWNED"},
    "a module of the folder": {"_target_": "job_of_mine.main"},
    "an interpolation": {"_target_": "${oc.env:SHELL}"},
    "no text": {"_target_": ["os.system"]},
    "hydra": {"_target_": "hydra.utils.get_method", "path": "job_of_mine.main"},
}  # fmt: skip
PLACES = {
    "the reward": lambda config, payload: config.update(reward=payload),
    "a term": lambda config, payload: config["reward"]["terms"].update(click=payload),
    "a list": lambda config, payload: config["reward"].update(more=[[payload]]),
    "deep": lambda config, payload: config["reward"].update(a={"b": [{"c": payload}]}),
    "the agent": lambda config, payload: config.update(agent=payload),
    "a reference": lambda config, payload: config["references"].update(random=payload),
    "elsewhere": lambda config, payload: config.update(own={"x": [payload]}),
}


@pytest.mark.parametrize(
    ("payload", "place"),
    # A part of copygym, of which nothing is made in the last two places, is no attack.
    [
        (p, q)
        for p in PAYLOADS
        for q in PLACES
        if p != OTHER or q not in ("a reference", "elsewhere")
    ],
)
def test_a_folder_makes_nothing_but_parts_of_copygym(evil, tmp_path, payload, place):
    change(evil, lambda state: PLACES[place](state["config"], PAYLOADS[payload]))
    with pytest.raises(UserError, match="which is no part of copygym"):
        sources_of(evil)
    # Whoever reads the config without that check makes nothing of it either.
    if place not in ("the agent", "a reference", "elsewhere"):
        reward = read_run(evil)[0]["reward"]
        for part in (reward, {"_target_": "builtins.dict", "inner": reward}):
            with pytest.raises(UserError, match="which is no part of copygym"):
                instantiated(part, "reward")
    nothing_ran(tmp_path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda reward: reward["terms"].update(click="${oc.env:HOME}"),
        lambda reward: reward.update({"${oc.env:HOME}": 1}),
        lambda reward: reward.update(_args_=[{"click": 1.0}]),
        lambda reward: reward.update(_recursive_=False),
        lambda reward: reward.update(_convert_="own"),
        lambda reward: reward["terms"].update(click={"_args_": [1]}),
    ],
)
def test_a_folder_asks_hydra_for_nothing_else(evil, tmp_path, edit):
    change(evil, lambda state: edit(state["config"]["reward"]))
    with pytest.raises(UserError, match="which is no part of copygym"):
        sources_of(evil)
    with pytest.raises(UserError):
        instantiated(read_run(evil)[0]["reward"], "reward")
    nothing_ran(tmp_path)


@pytest.mark.parametrize("payload", ["joblib", "write"])
def test_no_command_runs_what_a_folder_names(evil, tmp_path, capsys, payload):
    change(evil, lambda state: PLACES["a term"](state["config"], PAYLOADS[payload]))
    (tmp_path / "sweep").mkdir()
    shutil.copytree(evil, tmp_path / "sweep" / "one")
    texts = tmp_path / "texts.csv"
    texts.write_text("headline,brief\na,b\n")
    for folder in (evil, tmp_path / "sweep"):
        told = refused(capsys, "evaluate", folder, "--users", "5")
        assert PAYLOADS[payload]["_target_"] in told
        assert "--trust" in told
    refused(capsys, "score", "--model", evil, "--input", texts, "--output", tmp_path / "o.csv")
    refused(capsys, "write", "--model", evil, "--briefs", texts)
    # These make nothing of the config, so they do their work.
    assert cli.main(["report", str(evil)]) == 0
    assert cli.main(["evaluate", str(evil), "--saved"]) == 0
    capsys.readouterr()
    nothing_ran(tmp_path)


@pytest.mark.parametrize(
    "job", ["antigravity", "job_of_mine", "copygym.core.files.storage", "os", 7]
)
def test_no_command_imports_a_job_that_a_folder_names(evil, tmp_path, capsys, job):
    change(evil, lambda state: state["config"].update(job=job))
    refused(capsys, "report", evil, match=r"names .* as job, which is no part of copygym")
    refused(capsys, "evaluate", evil)
    # The records are read without the job that wrote them.
    assert cli.main(["evaluate", str(evil), "--saved"]) == 0
    nothing_ran(tmp_path)


def test_a_run_does_not_go_on_in_a_folder_whose_config_a_stranger_has_changed(evil, tmp_path):
    config = json.loads((evil / "run.json").read_text())["config"]

    def swap(state):
        state["state"] = "started"
        state["config"] = {**config, "job": "job_of_mine", "reward": PAYLOADS["open"]}

    change(evil, swap)
    names = {"group": "g", "job_type": "j", "name": "n"}
    with pytest.raises(UserError, match=re.escape("another config (job was job_of_mine, now ")):
        app.execute(config, evil, ["run"], names)
    nothing_ran(tmp_path)


@pytest.mark.parametrize(
    "path",
    ["joblib.load", "job_of_mine.Agent", "copygym.agents.delivery.base.importlib.import_module",
     "copygym.agents.delivery.base.ArrayAgent", "copygym.rewards.RewardShape", "copygym.agents"],
)  # fmt: skip
def test_a_saved_agent_is_one_of_ours(evil, tmp_path, capsys, path):
    agent = evil / "agents" / "uniform__learned"
    change(agent, lambda state: state.update({"class": path}), "agent.json")
    with pytest.raises(UserError, match="which is no agent"):
        load_agent(agent)
    refused(capsys, "evaluate", evil)
    refused(capsys, "ope", "--log", "storefront", "--set", "n_users=50", "--agent", evil)
    nothing_ran(tmp_path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda config: config["data"].update(name="job_of_mine:data"),
        lambda config: config["users"].update(family="job_of_mine:Family"),
        lambda config: config["reward"]["terms"].update({"job_of_mine:term": 1.0}),
        lambda config: config["reward"]["terms"].update({"os:system": 1.0}),
        lambda config: config["env"].update(_target_="job_of_mine:Env"),
        lambda config: config.update(reward={"_target_": "job_of_mine:Reward"}),
        lambda config: config.update(own=["job_of_mine:anything"]),
    ],
)
def test_no_plug_in_that_a_folder_names_is_imported(evil, tmp_path, capsys, edit):
    change(evil, lambda state: edit(state["config"]))
    refused(capsys, "evaluate", evil, "--users", "5", match="names .*--trust")
    nothing_ran(tmp_path)


def test_simulated_users_of_an_outside_family_are_not_imported(evil, tmp_path, capsys):
    model = evil / "users" / "proxy" / "click"
    change(model, lambda state: state.update(family="job_of_mine:Family"), "model.json")
    refused(capsys, "evaluate", evil, "--users", "5", match="response family 'job_of_mine:Family'")
    nothing_ran(tmp_path)


def test_an_entry_point_that_a_folder_names_is_not_imported(evil, tmp_path, capsys, monkeypatch):
    """What is installed is not thereby the folder's to choose."""
    entry = EntryPoint("stranger", "job_of_mine:data", "copygym.dataset")
    monkeypatch.setattr(
        plugins, "entry_points_of", lambda kind: {"stranger": (entry,)} if kind == "dataset" else {}
    )
    log = load_log(json.loads((evil / "run.json").read_text())["config"]["data"])
    change(evil, lambda state: state["config"]["data"].update(name="stranger"))
    refused(capsys, "evaluate", evil, "--users", "5", match="names the dataset 'stranger'")
    with pytest.raises(UserError, match="names the dataset 'stranger'"):
        held_out(log, evil)
    nothing_ran(tmp_path)


# ------------------------------------------------------------------ what users name themselves


def test_what_the_user_names_is_run(evil, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from copygym.rewards import RewardShape\nclass Mine(RewardShape):\n    pass\n"
    )
    own = {"_target_": "mine.Mine", "terms": {"click": 1.0}}
    assert type(instantiated(own, "reward")).__name__ == "Mine"
    change(evil, lambda state: state["config"].update(reward=own))
    refused(capsys, "evaluate", evil, match="'mine.Mine' as reward._target_")
    assert cli.main(["evaluate", str(evil), "--trust", "mine.Mine", "--users", "5"]) == 0


def test_an_outside_agent_is_loaded_once_its_class_is(evil, tmp_path, capsys):
    agent = evil / "agents" / "uniform__learned"
    change(agent, lambda s: s.update({"class": "agents_of_mine.Calm"}), "agent.json")
    (tmp_path / "agents_of_mine.py").write_text(
        "from copygym.agents.delivery.bandits import UniformAgent\n"
        "class Calm(UniformAgent):\n    pass\n"
    )
    match = "agents_of_mine.Calm.*import its module first, or say so by --trust agents_of_mine.Calm"
    with pytest.raises(UserError, match=match):
        load_agent(agent)
    assert "agents_of_mine" not in sys.modules
    refused(capsys, "evaluate", evil, "--users", "5", match=match)
    arguments = ["evaluate", str(evil), "--trust", "agents_of_mine.Calm", "--users", "5"]
    assert cli.main(arguments) == 0
    components._trusted.clear()
    # The module is loaded by now, as by a user who has imported it.
    assert type(load_agent(agent)).__name__ == "Calm"


def test_a_class_that_a_notebook_defines_anew_is_the_newest(tmp_path):
    source = (
        "from copygym.agents.delivery.bandits import UniformAgent\n"
        "class Cell(UniformAgent):\n    pass\n"
    )
    spaces = [{"__name__": "notebook_of_test"} for _ in range(2)]
    for space in spaces:
        exec(source, space)
    spaces[0]["Cell"]().save(tmp_path)
    assert type(load_agent(tmp_path)) is spaces[1]["Cell"]


def test_the_names_of_a_users_own_config_are_trusted_in_its_folder():
    trust.trust_config({"job": "mine.job", "agent": {"_target_": "mine.Agent"}})
    assert components.may_be_run("mine.job")
    assert not components.may_be_run("theirs.job")
    assert components.may_be_named("mine.Agent", "agent")
    assert not components.may_be_named("theirs.Agent", "agent")
    trust.trust_config(
        {"data": {"name": "mine:data"}, "reward": {"terms": {"mine.terms:own:slow": 1.0}}}
    )
    assert components.is_trusted("mine:data")
    assert components.is_trusted("mine.terms:own")
    assert not components.is_trusted("mine.terms")


def test_all_parts_of_our_own_configs_may_be_stored(composed):
    for path in sorted((Path(app.__file__).parents[1] / "conf" / "experiment").glob("*.yaml")):
        config = composed(f"experiment={path.stem}", "out=x")
        trust.check_names(trust.stored(json.loads(json.dumps(config))), path.stem)
        assert components.may_be_run(config["job"])


# ------------------------------------------------------------------ damaged and hostile files

DAMAGED = {
    "empty": "{}",
    "list": "[]",
    "half": '{"a":',
    "deep": '{"a":' * 300 + "1" + "}" * 300,
    "deeper": "[" * 100_000,
    "long number": '{"a": ' + "9" * 5000 + "}",
    "binary": "\x00\ufffd",
    "other types": '{"state": "finished", "config": {"job": 7}, "code": "x", "metrics": 5}',
    "wrong types": '{"state": "finished", "config": [], "code": {}, "policies": 3, "title": []}',
}


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.parametrize(
    "name", ["run.json", "result.json", "about.json", "records.parquet", "stages/data.json"]
)
def test_damaged_files_of_a_run_are_one_sentence(evil, capsys, name, content):
    (evil / name).write_text(DAMAGED[content])
    named = "" if name == "run.json" else re.escape(str(evil / name))
    if name != "stages/data.json":
        refused(capsys, "report", evil, match=named)
    # Whoever compares or plays the policies reads what pages quote as JSON at most.
    if name == "result.json" and content in ("empty", "other types", "wrong types"):
        return
    # Without anything about the records they are numbers all the same.
    if (name, content) == ("about.json", "empty"):
        return
    refused(capsys, "evaluate", evil)
    if name != "stages/data.json":
        refused(capsys, "evaluate", evil, "--saved", match=named)


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.parametrize(
    "name", ["agents/uniform__learned/agent.json", "users/proxy/fitted.json",
             "users/proxy/users.json", "users/proxy/fidelity.json"],
)  # fmt: skip
def test_damaged_files_of_an_agent_or_its_users_are_one_sentence(evil, capsys, name, content):
    (evil / name).write_text(DAMAGED[content])
    refused(capsys, "evaluate", evil, "--users", "5")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("evaluation", 7), ("evaluation", {}), ("env", None), ("seed", "x"), ("data", []),
        ("data", {"name": "os"}), ("agent", 3), ("references", "x"), ("split", None),
        ("reward", None), ("reward", {"_target_": "copygym.rewards.RewardShape", "nope": 1}),
        ("name", None), ("users", 4),
    ],
)  # fmt: skip
def test_a_config_of_other_types_is_one_sentence(evil, capsys, key, value):
    change(evil, lambda state: state["config"].update({key: value}))
    if (key, value) != ("name", None) and key != "users":
        refused(capsys, "evaluate", evil, "--users", "5")


@pytest.mark.parametrize("content", DAMAGED)
def test_a_run_in_a_damaged_folder_is_refused_or_made_again(evil, content):
    config = json.loads((evil / "run.json").read_text())["config"]
    names = {"group": "g", "job_type": "j", "name": "n"}
    for name in ("result.json", "about.json", "records.parquet"):
        before = (evil / name).read_bytes()
        (evil / name).write_text(DAMAGED[content])
        app.execute(config, evil, ["run"], names)
        assert (evil / name).read_bytes() == before
    (evil / "run.json").write_text(DAMAGED[content])
    with pytest.raises(UserError, match=r"is damaged|holds a run with another config"):
        app.execute(config, evil, ["run"], names)


def test_a_figure_named_after_another_place_is_refused(evil, tmp_path, capsys):
    from copygym.experiments.report.figures import draw

    for name in ("../x", "a/b", 'x" onload="y', "", ".hidden"):
        with pytest.raises(UserError, match="a figure is called"):
            draw(name, "", (1, 1), lambda figure: None)
    shutil.rmtree(evil / "figures")
    (evil / "figures").symlink_to(tmp_path)
    refused(capsys, "report", evil, match="is a link")
    assert not (tmp_path / "policies.svg").exists()


def test_pages_of_a_hostile_result_are_inert(evil, capsys):
    name = "<script>alert(1)</script>$_$\x1b]0;x\x07|[a](javascript:b)"
    for file in ("result.json", "about.json"):
        path = evil / file
        path.write_text(path.read_text().replace('"logging"', json.dumps(name)))
    records = pl.read_parquet(evil / "records.parquet")
    texts = pl.col("policy", "versus").replace("logging", name)
    records.with_columns(texts).write_parquet(evil / "records.parquet")

    def edit(result):
        result["title"] = result["summary"] = name
        result["notes"] = result["assumptions"] = [name]

    change(evil, edit, "result.json")
    rows = {name: {"clicks": 1}}
    change(evil, lambda a: a["0"].update(log=name, judge=name, rows_seen=rows), "about.json")
    assert cli.main(["report", str(evil)]) == 0
    for page in ("table.md", "report.md", "report.html"):
        text = (evil / page).read_text()
        assert "<script>alert" not in text
        assert "](javascript" not in text or page == "report.html"
        assert "\x1b" not in text
        assert "alert(1)" in text
    capsys.readouterr()
    assert cli.main(["evaluate", str(evil), "--saved", "--baseline", name]) == 0
    told = capsys.readouterr()
    assert "alert(1)" in told.out
    assert "\x1b" not in told.out + told.err


@pytest.mark.parametrize("value", [None, 7, [3], {"a": {"b": "c"}}])
@pytest.mark.parametrize(
    "key",
    ["simulated", "learned", "baseline", "users", "steps", "statistics", "within_seed", "fidelity",
     "notes", "rows_seen"],
)  # fmt: skip
def test_wrong_types_in_what_records_rest_on_are_one_sentence(evil, capsys, key, value):
    change(evil, lambda about: about["0"].update({key: value}), "about.json")
    for command in (["report"], ["evaluate", "--saved"]):
        code = cli.main([*command, str(evil)])
        told = capsys.readouterr().err
        assert code == 0 or told.startswith(f"copygym: {evil / 'about.json'} "), told
        assert told.count("\n") == (code != 0)


@pytest.mark.parametrize("key", ["title", "summary", "notes", "assumptions"])
@pytest.mark.parametrize("value", [7, {}, [3]])
def test_wrong_types_in_a_result_are_one_sentence(evil, capsys, key, value):
    change(evil, lambda result: result.update({key: value}), "result.json")
    refused(capsys, "report", evil, match=f"result.json has no {key} that could be read")


@pytest.mark.parametrize(
    "edit",
    [
        lambda frame: frame.drop("metric"),
        lambda frame: frame.clear(),
        lambda frame: frame.with_columns(seed=pl.lit("0")),
        lambda frame: frame.with_columns(seed=pl.lit(None, pl.Int64)),
        lambda frame: frame.with_columns(value=pl.lit("much")),
        lambda frame: frame.with_columns(value=pl.lit(None)),
        lambda frame: frame.with_columns(policy=pl.lit(b"x")),
        lambda frame: frame.with_columns(policy=pl.concat_list("policy")),
        lambda frame: frame.with_columns(policy=pl.struct("policy")),
    ],
)
def test_records_of_other_types_are_one_sentence_or_made_again(evil, capsys, edit):
    path = evil / "records.parquet"
    before = pl.read_parquet(path)
    edit(before).write_parquet(path)
    for command in (["report"], ["evaluate"], ["evaluate", "--saved"]):
        refused(capsys, *command, evil, match="records.parquet is damaged")
    config = json.loads((evil / "run.json").read_text())["config"]
    app.execute(config, evil, ["run"], {"group": "g", "job_type": "j", "name": "n"})
    # A stored config has its keys sorted, and so come the policies.
    assert_frame_equal(pl.read_parquet(path), before, check_row_order=False)


PIPES = (
    "run.json", "result.json", "manifest.json", "about.json", "records.parquet",
    "stages/data.json", "users/proxy/fitted.json", "users/proxy/population.parquet",
    "agents/uniform__learned/agent.json",
)  # fmt: skip


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_or_a_device_among_a_folder_s_files_is_refused(evil, name, capsys):
    """Whoever opens a pipe that nobody writes to waits for ever."""
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        (evil / name).unlink()
        make(evil / name)
        for command in (["evaluate"], ["evaluate", "--saved"], ["report"]):
            refused(capsys, *command, evil, match="is a pipe or a device")
        with pytest.raises(UserError, match="is a pipe or a device"):
            load_agent(evil / "agents" / "uniform__learned") if "agents" in name else read_run(evil)


def test_an_array_that_asks_for_any_memory_is_damaged(evil, capsys):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000000,), }\n"
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(evil / "users" / "proxy" / "response.npz", "w") as archive:
        archive.writestr("revenue.npy", npy)
    refused(capsys, "evaluate", evil, match="response.npz is not a readable npz")


def test_numbers_that_ask_for_any_memory_are_one_sentence(evil, capsys):
    change(evil, lambda state: state["config"]["evaluation"].update(episodes=10**13))
    refused(capsys, "evaluate", evil, match="there is not enough memory .*: ask for less")


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("name", ["stages", "agents", "users", "tables", "figures"])
def test_a_run_that_goes_on_writes_through_no_link(evil, tmp_path, name, listed):
    """A link in a stranger's folder leads to a file of the user's, or to a folder of theirs."""
    config = json.loads((evil / "run.json").read_text())["config"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (evil / "result.json").unlink()
    shutil.rmtree(evil / name)
    (evil / name).symlink_to(mine)
    if name == "agents":
        shutil.rmtree(evil / "stages" / "learn")
    if not listed:
        (evil / ".copygym-files").unlink()
    change(evil, lambda state: state.update(state="started"))
    with pytest.raises(UserError, match="is a link, through which nothing is written"):
        app.execute(config, evil, ["run"], {"group": "g", "job_type": "j", "name": "n"})
    assert list(mine.iterdir()) == []


def test_metrics_are_appended_to_no_file_that_a_link_leads_to(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "thesis.txt").write_text("mine\n")
    (tmp_path / "run" / "metrics.jsonl").symlink_to(tmp_path / "thesis.txt")
    with pytest.raises(UserError, match="is a link, through which nothing is written"):
        LocalFiles(tmp_path / "run").log("learn/x", {"reward": 1.0}, 1)
    assert (tmp_path / "thesis.txt").read_text() == "mine\n"


def test_a_folder_does_not_say_where_the_synthetic_log_is_kept(evil, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    change(evil, lambda state: state["config"]["data"].update(path=str(mine)))
    assert cli.main(["evaluate", str(evil), "--users", "5"]) == 0
    assert list(mine.iterdir()) == []
