"""``copygym update``: a finished run learns from a further log, in a folder of its own."""

import json

import polars as pl
import pytest

from copygym.core.files.storage import write_json
from copygym.envs import datasets
from copygym.envs.simulator.fit import fit_users
from copygym.envs.simulator.fitted import FittedUsers
from copygym.envs.simulator.update import People
from copygym.experiments.commands.main import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What a finished run leaves, and a new log."""
    base = tmp_path_factory.mktemp("update")
    patch = pytest.MonkeyPatch()
    patch.setenv("COPYGYM_HOME", str(base / "home"))
    log = datasets.load("storefront", n_users=120, n_slots=28)
    patch.undo()
    middle = pl.col("timestamp") < log.collect()["timestamp"].median()
    fitted = fit_users(
        log.filter(middle), text_encoder=None, audiences=None, n_users=40,
        options={"max_coefficients": 60},
    )  # fmt: skip
    folder = base / "run"
    fitted.save(folder / "users" / "proxy")
    People.of(fitted.profile_builder, log.filter(middle)).save(folder / "users" / "proxy")
    config = {"seed": 0, "data": {"name": "storefront"}}
    write_json(folder / "run.json", {"state": "finished", "config": config, "code": "x"})
    write_json(folder / "result.json", {"data": {"storefront": {"sha256": "x"}}})
    log.filter(~middle).collect().write_parquet(base / "new.parquet")
    return folder, base / "new.parquet"


def test_a_run_learns_and_stays_what_it_was(run, tmp_path, capsys):
    folder, log = run
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    out = tmp_path / "out"
    assert main(["update", str(folder), "--log", str(log), "--out", str(out)]) == 0
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    said = capsys.readouterr().out
    assert "profiles: exact, 120 people, 0 of them new." in said
    told = json.loads((out / "update.json").read_text())
    assert told["left_out"] == 0
    assert told["logs"][0]["rows"] == pl.read_parquet(log).height
    updated = FittedUsers.load(out / "users" / "proxy")
    assert (
        updated.click_model.beta != FittedUsers.load(folder / "users" / "proxy").click_model.beta
    ).any()
    people = People.load(out / "users" / "proxy")
    assert (
        people.sends["sends"].sum() > People.load(folder / "users" / "proxy").sends["sends"].sum()
    )
    # Once more onto what came out: the same log is refused.
    assert main(["update", str(out), "--log", str(log), "--out", str(tmp_path / "more")]) == 2
    assert "has learned from this log already" in capsys.readouterr().err
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize(("arguments", "said"), [
    (["--keep", "0"], "--keep=0: it must lie between 0 and 1"),
    (["--delay-hours", "0"], "it must be above 0"),
    (["--out", "{folder}"], "is there already; name a new folder"),
])  # fmt: skip
def test_mistakes_leave_no_folder(run, tmp_path, capsys, arguments, said):
    folder, log = run
    out = tmp_path / "out"
    given = [text.format(folder=folder) for text in arguments]
    assert main(["update", str(folder), "--log", str(log), "--out", str(out), *given]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_run_without_simulated_users_cannot_learn(run, tmp_path, capsys):
    folder, log = run
    empty = tmp_path / "empty"
    for name in ("run.json", "result.json"):
        write_json(empty / name, json.loads((folder / name).read_text()))
    assert main(["update", str(empty), "--log", str(log), "--out", str(tmp_path / "o")]) == 2
    assert "has no simulated users" in capsys.readouterr().err
