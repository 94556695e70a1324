"""A multirun taken together: one table of all jobs, and the study's own report of its seeds."""

import json
import re
from pathlib import Path

import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import Records
from copygym.experiments.commands import main as cli

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(HERE))


def run(*arguments):
    given = ("job=sweep_job", "tracker=disabled", "name=quick", "out=s")
    return cli.main(["run", *given, *arguments])


def test_seeds_are_one_study(capsys):
    assert run("-m", "seed=1,2,4", "+x=0.5") == 0
    records = Records.read(Path("s"))
    assert records.seeds == (1, 2, 4)
    assert records.by_seed("score", policy="ours (learned)").tolist() == [0.501, 0.502, 0.504]
    # The interquartile mean of three is their mean: a quarter of three is no whole run.
    value = records.number("score", policy="ours (learned)")
    assert value["value"] == pytest.approx(0.5 + 0.007 / 3)
    out = capsys.readouterr().out
    assert out.count("Sweep job") == 1, "each job has printed its own table"
    assert "ours (learned)" in out and "report: s/report.html" in out
    result = json.loads(Path("s/result.json").read_text())
    assert result["seeds"] == [1, 2, 4]
    assert result["summary_numbers"]["other/score"] == 1.0
    manifest = json.loads(Path("s/manifest.json").read_text())
    assert manifest["seed"] == "1, 2, 4"
    assert manifest["command"].startswith("copygym run -m ")
    assert sorted(manifest["stages"]) == ["seed 1", "seed 2", "seed 4"]
    assert {"report.md", "table.md", "about.json"} <= {path.name for path in Path("s").iterdir()}


def test_a_finished_multirun_is_shown_again_and_can_be_reported_again(capsys):
    run("-m", "seed=1,2")
    first = Path("s/records.parquet").read_bytes()
    capsys.readouterr()
    assert run("-m", "seed=1,2") == 0
    said = capsys.readouterr()
    assert "2 finished earlier" in said.err and "Sweep job" in said.out
    assert Path("s/records.parquet").read_bytes() == first
    Path("s/report.html").unlink()
    assert cli.main(["report", "s", "--trust", "sweep_job"]) == 0
    assert Path("s/report.html").exists()


def test_jobs_that_differ_in_more_get_a_column_for_it(capsys):
    assert run("-m", "seed=1,2", "+x=0.25,0.75") == 0
    records = Records.read(Path("s"))
    assert records.compared == ["x", "policy"]
    assert records.by_seed("score", policy="ours (learned)", x="0.75").tolist() == [0.751, 0.752]
    out = capsys.readouterr().out
    assert re.search(r"^0\.25, ours \(learned\) +0\.2515 ", out, re.MULTILINE)
    assert "Jobs that differ in x, taken together." in Path("s/report.md").read_text()


def test_a_multirun_publishes_what_its_jobs_show_together(tmp_path):
    assert run("-m", "seed=1,2", f"publish={tmp_path / 'docs'}") == 0
    names = {path.name for path in (tmp_path / "docs").iterdir()}
    assert names == {
        "result.json", "manifest.json", "records.parquet", "about.json", "table.md", "report.md",
    }  # fmt: skip
    assert Records.read(tmp_path / "docs").seeds == (1, 2)


def test_a_failed_seed_leaves_no_report_of_the_others(capsys):
    assert run("-m", "seed=1,2", "+breaks=user") == cli.USER_ERROR
    assert "2 of 2 jobs failed" in capsys.readouterr().err
    assert not Path("s/records.parquet").exists()


def test_records_of_a_job_that_were_taken_away_are_made_again(capsys):
    run("-m", "seed=1,2")
    before = Records.read(Path("s"))
    (job,) = Path("s").glob("*seed=2*")
    (job / "records.parquet").unlink()
    worked = Path("s/worked").read_text()
    assert run("-m", "seed=1,2") == 0
    assert "1 finished, 1 finished earlier" in capsys.readouterr().err
    assert Records.read(Path("s")).frame.equals(before.frame)
    # Of the job's stages: nothing was computed again.
    assert Path("s/worked").read_text() == worked


def test_a_damaged_job_is_one_sentence(capsys):
    run("-m", "seed=1,2")
    (job,) = Path("s").glob("*seed=2*")
    manifest = json.loads((job / "manifest.json").read_text())
    del manifest["wall_seconds"]
    (job / "manifest.json").write_text(json.dumps(manifest))
    assert run("-m", "seed=1,2") == cli.USER_ERROR
    err = capsys.readouterr().err
    assert "copygym: s cannot be read (KeyError: 'wall_seconds')" in err and "Traceback" not in err


def test_a_folder_without_a_job_is_no_multirun(tmp_path):
    from copygym.experiments.report.page import write_report

    (tmp_path / "records.parquet").write_bytes(b"")
    with pytest.raises(UserError, match="holds no job of a multirun"):
        write_report(tmp_path)
