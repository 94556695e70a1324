import json
import re
from pathlib import Path

import pytest

from copygym.evaluation.records import Records, Rows
from copygym.experiments import app as run
from copygym.experiments.commands.main import main
from copygym.experiments.commands.paper import jobs


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No data at hand, and relative folders that are nobody's."""
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def calls(monkeypatch):
    """What `copygym run` would have got; it leaves a finished run in its folder."""
    found = []

    def fake(arguments):
        found.append(arguments)
        (out,) = [a for a in arguments if a.startswith("out=")]
        folder = Path(out.removeprefix("out=").strip("'"))
        folder.mkdir(parents=True, exist_ok=True)
        state = {"state": "finished", "code": "of a test", "config": {}}
        (folder / "run.json").write_text(json.dumps(state))
        (folder / "result.json").write_text("{}")
        (experiment,) = [a for a in arguments if a.startswith("experiment=")]
        records_of(experiment.removeprefix("experiment=")).write(folder)
        return 0

    monkeypatch.setattr(run, "run_app", fake)
    return found


def records_of(experiment):
    """Return records with a number in each place of which something is expected."""
    (job,) = [job for job in jobs() if job.experiment == experiment]
    places = [place for check in job.expected for place in (check.value, check.bound)]
    rows = Rows(0)
    told = []
    for place in places:
        if isinstance(place, dict) and place not in told:
            told.append(place)
            cell = {key: value for key, value in place.items() if key != "metric"}
            values = {("naive", 1): 0.05, ("always_valid", 100): 0.2}
            rows.add(place["metric"], values.get((cell.get("method"), cell.get("looks"))), **cell)
    return Records(rows.frame)


def refused(*arguments, capsys):
    assert main(["reproduce", *arguments]) == 2
    return capsys.readouterr().err


def test_without_a_name_it_lists_questions_costs_and_needs(capsys):
    assert main(["reproduce"]) == 0
    text = capsys.readouterr().out
    assert "which agent delivers best?" in text
    assert re.search(r"e1_hillstrom +5 CPU minutes +needs hillstrom", text)
    assert re.findall(r"^E\d+", text, re.M) == [f"E{number}" for number in range(1, 16)]


def test_a_full_run_is_published_and_judged(calls, tmp_path, capsys):
    assert main(["reproduce", "E9", "--data", str(tmp_path)]) == 0
    (arguments,) = calls
    assert "experiment=e9" in arguments
    assert "out=outputs/reproduce/e9" in arguments
    assert "publish=docs/results/E9" in arguments
    assert f"data.path={tmp_path}" in arguments
    text = capsys.readouterr().out
    assert "expected against obtained" in text
    page = (tmp_path / "docs/results/E9/expected.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| false claims")]
    # 5% holds, the always-valid test's 20% does not, and the third is no number.
    assert [row.split(" | ")[-2] for row in rows] == ["yes", "no number", "no"]


def test_a_tiny_run_is_neither_published_nor_judged(calls, tmp_path, capsys):
    assert main(["reproduce", "E9", "--tiny", "--data", str(tmp_path), "tracker=disabled"]) == 0
    (arguments,) = calls
    assert {"tiny=true", "tracker=disabled"} <= set(arguments)
    assert not any(a.startswith("publish") for a in arguments)
    assert "out=outputs/reproduce/e9-tiny" in arguments
    assert "its numbers mean nothing" in capsys.readouterr().out
    assert not (tmp_path / "docs").exists()


def test_each_dataset_is_found_in_the_folder_of_all(calls, tmp_path):
    (tmp_path / "all" / "upworthy").mkdir(parents=True)
    assert main(["reproduce", "E7", "--data", str(tmp_path / "all")]) == 0
    assert f"data.path={tmp_path / 'all' / 'upworthy'}" in calls[0]
    assert "data.release=content_experiments" in calls[0]


def test_what_needs_data_is_left_out_where_there_are_none(calls, capsys):
    assert main(["reproduce", "E1"]) == 0
    assert [a for arguments in calls for a in arguments if a.startswith("experiment")] == [
        "experiment=e1"
    ]
    assert "e1_hillstrom needs hillstrom: say `copygym data get" in capsys.readouterr().out


def test_mistakes_are_one_sentence(calls, tmp_path, capsys):
    assert "e9 needs upworthy" in refused("E9", capsys=capsys)
    assert "unknown paper experiment 'E77'" in refused("E77", capsys=capsys)
    assert "is for no experiment" in refused("seed=1", capsys=capsys)
    missing = refused("E9", "--data", str(tmp_path / "no"), capsys=capsys)
    assert "no does not exist" in missing
    assert "see `copygym reproduce --help`" in refused("E9", "--tinny", capsys=capsys)
    assert not calls


def test_all_states_its_cost_and_asks_first(calls, capsys, monkeypatch):
    assert main(["reproduce", "all"]) == 2
    captured = capsys.readouterr()
    assert re.search(r"together [\d,]+ CPU minutes", captured.out)
    assert "add --yes" in captured.err
    assert not calls
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stdin.readline", lambda: "n\n")
    assert "not started" in refused("all", capsys=capsys)
    assert not calls
    assert main(["reproduce", "all", "--yes"]) == 0
    assert len(calls) >= 3


def test_one_failure_does_not_stop_the_others(monkeypatch, calls, capsys, tmp_path):
    from copygym.core.errors import UserError

    fake = run.run_app

    def failing(arguments):
        if "experiment=e1" in arguments:
            raise UserError("the config is wrong.")
        return fake(arguments)

    monkeypatch.setattr(run, "run_app", failing)
    assert main(["reproduce", "E1", "--data", str(tmp_path)]) == 2
    text = capsys.readouterr().err
    assert "e1: the config is wrong." in text
    assert "1 of 2 jobs failed (e1)" in text
    assert len(calls) == 1


def test_the_paths_of_a_user_reach_the_run_as_they_are(calls, tmp_path):
    odd = tmp_path / "my logs, it's=odd"
    odd.mkdir()
    assert main(["reproduce", "E9", "--data", str(odd)]) == 0
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (path,) = [a for a in calls[0] if a.startswith("data.path")]
    assert OverridesParser.create().parse_override(path).value() == str(odd)
