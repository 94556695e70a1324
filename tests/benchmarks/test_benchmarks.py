"""The benchmarks run and report; how fast anything is, no test may say."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch):
    # benchmarks/ is no part of the installed package.
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def rows():
    from benchmarks.measure import Goal, Row

    goal = Goal("ratio", ">=", 20.0)
    return [
        Row("fast", "steps per CPU second", 400.0, 10.0, "a peer", goal, "Fairly."),
        Row("slow", "steps per CPU second", 100.0, 10.0, "a peer", goal),
        Row("small", "GB", 5.0, goal=Goal("ours", "<", 6.0)),
        Row("alone", "steps", 7.0, None, "old peer", goal, missing="no Python 3.8 was found"),
    ]


def test_ratio_and_goal_of_each_kind_of_row(rows):
    assert [row.ratio for row in rows] == [40.0, 10.0, None, None]
    assert [row.met for row in rows] == [True, False, True, None]
    assert [str(row.goal) for row in rows] == [
        "ratio >= 20",
        "ratio >= 20",
        "ours < 6",
        "ratio >= 20",
    ]


def test_report_says_why_a_peer_is_missing_and_names_no_host(rows, tmp_path):
    from benchmarks import report

    run = report.document(rows, "make bench")
    report.write(run, tmp_path / "benchmarks.json")
    page = (tmp_path / "benchmarks.md").read_text()
    assert "Not measured: no Python 3.8 was found." in page
    assert re.search(
        r"\| fast \| steps per CPU second \| 400 \| 10 \| 40 \| ratio >= 20 \| yes", page
    )
    assert "| NO |" in page
    assert "no Python 3.8 was found" in report.text_table(run["rows"])
    assert set(run["machine"]) == {
        "processor", "cores", "memory_gb", "system", "python", "versions",
    }  # fmt: skip
    stored = json.loads((tmp_path / "benchmarks.json").read_text())
    assert {"name", "ours", "peer", "ratio", "goal", "met", "missing"} <= set(stored["rows"][0])
    assert stored["rows"][3]["peer"] is None
    assert sorted(f.name for f in tmp_path.iterdir()) == ["benchmarks.json", "benchmarks.md"]


def test_rows_measured_again_replace_those_of_an_earlier_run_and_say_so(rows):
    from benchmarks import report

    earlier = report.document(rows[:3], "make bench")
    again = report.document(
        [replace(rows[1], ours=300.0), rows[3]], "python -m benchmarks --only x"
    )
    run = report.merged(earlier, again)
    assert [(row["name"], row["ours"]) for row in run["rows"]] == [
        ("fast", 400.0), ("slow", 300.0), ("small", 5.0), ("alone", 7.0),
    ]  # fmt: skip
    page = report.page(run)
    assert page.count("Measured again by `python -m benchmarks --only x` on ") == 2
    assert "Written by `make bench`" in page
    earlier["machine"] = {**earlier["machine"], "cores": -1}
    with pytest.raises(ValueError, match="another machine"):
        report.merged(earlier, again)


def test_turns_alternate_and_give_the_fastest(monkeypatch):
    from benchmarks import measure

    calls = []
    answers = {"ours": iter([1.0, 9.0, 3.0]), "peer": iter([10.0, 20.0, 90.0])}

    def fake_rate(work):
        calls.append(work())
        return next(answers[calls[-1]])

    monkeypatch.setattr(measure, "rate", fake_rate)
    assert measure.interleaved(lambda: "ours", lambda: "peer", 3) == (9.0, 90.0)
    assert calls == ["ours", "peer"] * 3


def test_missing_and_failed_peer_environments_give_their_reason(tmp_path):
    from benchmarks.peers import peer_rate

    gone = peer_rate("recsim_ng_graph", 1, 1, home=tmp_path)
    assert gone.rate is None
    assert gone.missing == "recsim-ng is not installed: run benchmarks/make_peers.sh recsim-ng"
    (tmp_path / "recsim-ng.failed").write_text("no Python of version 3.10 was found\n")
    failed = peer_rate("recsim_ng_graph", 1, 1, home=tmp_path)
    assert failed.missing == (
        "recsim-ng could not be installed: no Python of version 3.10 was found"
    )


def test_run_json_reports_the_last_line_of_a_failure():
    from benchmarks.measure import run_json

    with pytest.raises(RuntimeError, match=re.escape("ValueError: not today")):
        run_json([sys.executable, "-c", "raise ValueError('not today')"])
    assert run_json([sys.executable, "-c", "print('noise'); print('{\"a\": 1}')"]) == {"a": 1}


@pytest.mark.timeout(300)
def test_smallest_rows_run_and_are_written(tmp_path):
    path = tmp_path / "out" / "bench.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--tiny", "--only", "single", "help", "--json", path],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    run = json.loads(path.read_text())
    assert [row["name"] for row in run["rows"]] == [
        "DeliveryEnv, one user, against SCOPE-RL",
        "DeliveryEnv, one user, against RecSim",
        "copygym --help",
    ]
    for row in run["rows"]:
        assert row["ours"] > 0
        assert row["peer"] or row["missing"] or row["name"] == "copygym --help"
        assert row["name"] in done.stdout


def test_big_log_is_written_with_the_rows_asked_for(tmp_path):
    import polars as pl

    from benchmarks import biglog

    path = tmp_path / "log.parquet"
    biglog.write_log(path, 3000)
    log = pl.read_parquet(path)
    assert log.height == 3000
    assert log["user_id"].n_unique() > 50
    assert [f.name for f in tmp_path.iterdir()] == ["log.parquet"]


def test_unknown_names_are_refused_with_the_choices():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--only", "nothing"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "biglog" in done.stderr
