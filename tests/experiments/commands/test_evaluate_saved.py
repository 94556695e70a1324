"""Aggregates over saved records; the runs are made up."""

import json
import re

import pytest

from copygym.evaluation.records import Records, Rows
from copygym.experiments.commands.main import main

REFERENCES = ("random", "logging", "upper")


def write(folder, agent, seed, learned, *, world=1, **more):
    """Write a finished delivery run whose policies got 1, 2, ``learned`` and 4 clicks a user."""
    folder.mkdir(parents=True)
    config = {
        "name": "delivery",
        "job": "copygym.experiments.studies.delivery.delivery",
        "seed": seed,
        "agent": {"_target_": "a.B", "name": agent},
        "references": {name: {"_target_": "a.C"} for name in REFERENCES},
        "data": {"name": "storefront", "seed": world},
        "evaluation": {"baseline": "logging"},
    }
    state = {"state": "finished", "code": "c", "config": config, **more}
    (folder / "run.json").write_text(json.dumps(state))
    values = {"random": 1.0, "logging": 2.0, f"{agent} (learned)": learned, "upper": 4.0}
    rows = Rows(seed)
    for name, value in values.items():
        rows.add("clicks_per_user", value, policy=name)
        rows.add("clicks_per_user", value - 2.0, policy=name, versus="logging")
        rows.add("clicks_per_user", 9.0, policy=name, segment="new")
    save(folder, rows, within_seed=["segment"])


def save(folder, rows, **about):
    Records(rows.frame, {rows.seed: about}).write(folder)
    (folder / "result.json").write_text("{}")


def compared(folder, seed):
    """Write a finished run of some study: a writer with two briefs beside two references."""
    folder.mkdir(parents=True)
    config = {"name": "mine", "job": "my_package.study", "seed": seed}
    state = {"state": "finished", "code": "c", "config": config}
    (folder / "run.json").write_text(json.dumps(state))
    rows = Rows(seed)
    for brief, gain in (("short", 1.0), ("long", 3.0)):
        rows.add("score", gain + seed, writer="trained", brief=brief)
    rows.add("score", 0.5, writer="base")
    rows.add("score", 4.0, writer="upper")
    rows.add("cost", 1.0, writer="base")
    save(folder, rows, baseline="base")


@pytest.fixture
def sweep(tmp_path):
    for seed in range(3):
        write(tmp_path / f"a{seed}", "good", seed, 3.0 + 0.1 * seed)
        write(tmp_path / f"b{seed}", "bad", seed, 1.5)
    return tmp_path


def found(capsys, *arguments):
    assert main(["evaluate", *map(str, arguments), "--saved", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments):
    assert main(["evaluate", *map(str, arguments), "--saved"]) == 2
    return capsys.readouterr().err


def test_runs_that_differ_in_their_agent_are_compared(sweep, capsys):
    result = found(capsys, sweep)
    # 0 is logging's 2 clicks and 1 the upper reference's 4.
    assert [row[0] for row in result["scores"]["good (learned)"]] == pytest.approx([0.5, 0.55, 0.6])
    assert result["statistics"]["bad (learned)"]["iqm"]["value"] == pytest.approx(-0.25)
    # Six runs are three, each with both agents: references count once.
    assert len(result["scores"]["random"]) == 3
    assert result["beats"]["good (learned)"]["value"] == 1


def test_it_prints_tables(sweep, capsys):
    assert main(["evaluate", str(sweep), "--saved"]) == 0
    text = capsys.readouterr().out
    assert "IQM" in text
    assert "good (learned) > logging" in text


def test_seeds_that_only_one_agent_has_leave_it_out(sweep, capsys):
    write(sweep / "c", "rare", 0, 3.0)
    result = found(capsys, sweep)
    assert "rare (learned) was not run at least twice" in result["left_out"]["rare (learned)"]


def test_one_run_is_no_aggregate(tmp_path, capsys):
    write(tmp_path / "run", "good", 0, 3.0)
    assert main(["evaluate", str(tmp_path / "run"), "--saved"]) == 0
    assert "need at least 2 runs" in capsys.readouterr().out


def test_records_of_any_study_are_compared(tmp_path, capsys):
    for seed in range(3):
        compared(tmp_path / str(seed), seed)
    result = found(capsys, tmp_path, "--metric", "score")
    assert result["baseline"] == "base"
    assert result["tasks"] == ["brief=short", "brief=long"]
    # 0 is the base's 0.5 and 1 the upper reference's 4, which both briefs share.
    scores = [[(gain + seed - 0.5) / 3.5 for gain in (1.0, 3.0)] for seed in range(3)]
    for row, expected in zip(result["scores"]["trained"], scores, strict=True):
        assert row == pytest.approx(expected)
    assert result["statistics"]["base"]["mean"]["value"] == 0
    assert "unknown metric 'clicks_per_user': choose one of cost, score" in refused(
        capsys, tmp_path
    )


def test_records_without_policies_are_refused(tmp_path, capsys):
    write(tmp_path / "run", "good", 0, 3.0)
    rows = Rows(0)
    rows.add("clicks_per_user", 1.0, method="fixed")
    save(tmp_path / "run", rows)
    assert "no column that names policies" in refused(capsys, tmp_path)
    (tmp_path / "run" / "records.parquet").unlink()
    assert "has no records.parquet" in refused(capsys, tmp_path)


def test_mistakes_are_one_sentence(sweep, tmp_path, capsys):
    assert "holds no copygym run" in refused(capsys, tmp_path / "nowhere")
    assert "--seed is for playing again" in refused(capsys, sweep, "--seed", "0")
    assert "--agents is for playing" in refused(capsys, sweep, "--agents", "good")
    assert "has no policy 'nobody'" in refused(capsys, sweep, "--baseline", "nobody")
    write(sweep / "d", "slow", 0, 1.0, state="started")
    assert re.search(r"the run in .*d has not finished", refused(capsys, sweep))
