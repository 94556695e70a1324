"""`copygym data prepare`: the rows of `ClickLog.read`, by user and in order, from any engine."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from copygym.core.errors import UserError
from copygym.core.files.storage import write_json
from copygym.envs.datasets import load
from copygym.envs.logs import prepare as module
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.prepare import prepare
from copygym.experiments.commands.data import main

MAP = {"user_id": "who", "timestamp": "when", "clicks": "opened", "text": "subject"}
#: bob's rows are out of order; ann has two at one time, whose order in the file is kept.
LINES = """who,when,opened,subject,user_zip
bob,2024-05-02,0,Hello,012
ann,2024-05-03,1,Hi,123
bob,2024-05-01,1,Hi,012
cat,2024-05-01,0,Hello,7
ann,2024-05-03,0,Hello,123
"""


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Pieces so small that every log has several."""
    monkeypatch.setattr(module, "PIECE_ROWS", 700)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "mails.csv"
    path.write_text(LINES, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def storefront(tmp_path_factory):
    """Storefront traffic (synthetic) as a folder of three Parquet files."""
    folder = tmp_path_factory.mktemp("storefront")
    frame = load("storefront", folder / "world", n_users=60, n_slots=40).collect()
    frame = frame.sample(fraction=1.0, shuffle=True, seed=5)
    (folder / "log").mkdir()
    cuts = [0, 500, 501, frame.height]
    for number, (low, high) in enumerate(pairwise(cuts)):
        frame[low:high].write_parquet(folder / "log" / f"{number}.parquet")
    return folder / "log"


def in_memory(log, key, partitions):
    """Return the parts as they should be, made of the whole log at once."""
    frame = log.collect().with_row_index("number")
    code = pl.Series([zlib.crc32(value.encode()) % partitions for value in frame[key]])
    order = [name for name in (key, "timestamp", "number") if name in frame.columns]
    return [frame.filter(code == k).sort(order).drop("number") for k in range(partitions)]


def parts_of(folder):
    return [pl.read_parquet(path) for path in sorted(folder.glob("part-*.parquet"))]


def check_parts(folder, wanted):
    found = parts_of(folder)
    assert len(found) == len(wanted)
    for part, want in zip(found, wanted, strict=True):
        assert_frame_equal(part, want)
    assert_frame_equal(ClickLog.read(folder).collect(), pl.concat(wanted))


def test_parts_hold_the_log_by_user_and_in_time_order(tmp_path, storefront):
    manifest = prepare(storefront, tmp_path / "out", partitions=3)
    check_parts(tmp_path / "out", in_memory(ClickLog.read(storefront), "user_id", 3))
    users = [set(part["user_id"]) for part in parts_of(tmp_path / "out")]
    assert not (users[0] & users[1] or users[0] & users[2] or users[1] & users[2])
    for part in parts_of(tmp_path / "out"):
        step = part.select(pl.col("timestamp").diff().over("user_id"))["timestamp"]
        assert (step.drop_nulls().dt.total_microseconds() >= 0).all()
    assert manifest["complete"] and manifest["key"] == "user_id"
    assert manifest["rows"] == sum(part["rows"] for part in manifest["parts"].values())
    assert not list((tmp_path / "out").glob(".*"))
    assert json.loads((tmp_path / "out" / "preparation.json").read_text()) == manifest


def test_a_csv_with_a_map(tmp_path, table, capsys):
    words = [f"--map={name}={column}" for name, column in MAP.items()]
    out = tmp_path / "out"
    assert main(["prepare", str(table), "--out", str(out), "--partitions=2", *words,
                 "--set=impressions=1"]) == 0  # fmt: skip
    said = capsys.readouterr().out
    assert "5 rows in 2 parts by user_id (2 to 3 rows)" in said and "no time zone" in said
    log = ClickLog.read(table, columns=MAP, constants={"impressions": "1"})
    check_parts(out, in_memory(log, "user_id", 2))
    prepared = ClickLog.read(out)
    assert prepared.notes == log.notes
    frame = prepared.collect()
    ann, bob = (frame.filter(pl.col("user_id") == name) for name in ("ann", "bob"))
    assert ann["text"].to_list() == ["Hi", "Hello"] and bob["clicks"].to_list() == [1, 0]
    assert frame["user_zip"].to_list().count("012") == 2


@pytest.mark.parametrize("columns", ["test_id,creative_id", "creative_id"])
def test_logs_without_users(tmp_path, columns):
    path = tmp_path / "tests.csv"
    cells = [f"t{i % 7},c{i}" if "test_id" in columns else f"c{i}" for i in range(50)]
    rows = "".join(f"{cell},9,{i % 9}\n" for i, cell in enumerate(cells))
    path.write_text(f"{columns},impressions,clicks\n{rows}")
    manifest = prepare(path, tmp_path / "out", partitions=4)
    if "test_id" in columns:
        check_parts(tmp_path / "out", in_memory(ClickLog.read(path), "test_id", 4))
    else:
        whole = ClickLog.read(path).collect()
        check_parts(tmp_path / "out", [whole.gather_every(4, k) for k in range(4)])
    assert manifest["key"] == ("test_id" if "test_id" in columns else None)


def test_more_parts_than_users_and_the_default_number(tmp_path, table, monkeypatch):
    options = {"columns": MAP, "constants": {"impressions": 1}}
    prepare(table, tmp_path / "many", partitions=9, **options)
    assert sorted(part.height for part in parts_of(tmp_path / "many"))[:6] == [0] * 6
    assert ClickLog.read(tmp_path / "many").height == 5
    monkeypatch.setattr(module, "PART_ROWS", 2)
    assert prepare(table, tmp_path / "default", **options)["partitions"] == 3


def stop_after(monkeypatch, parts):
    """Let a preparation die after so many parts, as by a kill: nothing is tidied up."""
    write = module.Deal.write

    def dies(deal, part, rows):
        if part == parts:
            shutil.copytree(deal.out, deal.out.with_name("killed"))
            raise KeyboardInterrupt
        return write(deal, part, rows)

    monkeypatch.setattr(module.Deal, "write", dies)


def test_a_killed_preparation_goes_on(tmp_path, storefront, monkeypatch):
    wanted = in_memory(ClickLog.read(storefront), "user_id", 4)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 2)
        prepare(storefront, tmp_path / "out", partitions=4)
    out = tmp_path / "killed"  # with the staged rows that a killed process leaves
    assert (out / ".staging").exists() and len(parts_of(out)) == 2
    with pytest.raises(UserError, match="of which 2 of 4 parts are written; run its `copygym data"):
        ClickLog.read(out)
    with pytest.raises(UserError, match="has 4 parts, not the 3 of --partitions"):
        prepare(storefront, out, partitions=3)
    before = [path.stat().st_mtime_ns for path in sorted(out.glob("part-*"))]
    prepare(storefront, out)
    check_parts(out, wanted)
    assert [path.stat().st_mtime_ns for path in sorted(out.glob("part-*"))][:2] == before
    assert not (out / ".staging").exists()


def test_what_kills_at_the_ends_leave_is_cleared_away(tmp_path, storefront):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".preparation.json.abcd1234.copygym.tmp").write_text("half")  # as it began
    prepare(storefront, out, partitions=2)
    assert not list(out.glob(".preparation*"))
    (out / ".staging/000000").mkdir(parents=True)  # between the last part and its end
    (out / ".staging/.copygym-files").touch()
    (out / ".staging/000000/rows.parquet").write_bytes(b"x")
    prepare(storefront, out, partitions=2)
    assert sorted(p.name for p in out.iterdir()) == [
        "part-00000.parquet",
        "part-00001.parquet",
        "preparation.json",
    ]


def test_a_preparation_whose_parts_are_all_there_ends(tmp_path, storefront):
    out = tmp_path / "out"
    wanted = prepare(storefront, out, partitions=2)
    manifest = json.loads((out / "preparation.json").read_text())
    write_json(out / "preparation.json", {**manifest, "complete": False})
    assert prepare(storefront, out, partitions=2) == wanted


def test_a_flipped_bit_of_a_part_is_noticed_and_made_again(tmp_path, storefront):
    out = tmp_path / "out"
    manifest = prepare(storefront, out, partitions=2)
    part = out / "part-00001.parquet"
    content = part.read_bytes()
    assert ClickLog.read(out).height == manifest["rows"]
    part.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    with pytest.raises(UserError, match=r"part-00001.parquet is missing or not the .* content"):
        ClickLog.read(out)
    assert prepare(storefront, out) == manifest
    assert part.read_bytes() == content


def test_a_lost_part_is_noticed_and_made_again(tmp_path, storefront, monkeypatch):
    out = tmp_path / "out"
    manifest = prepare(storefront, out, partitions=4)
    content = (out / "part-00001.parquet").read_bytes()
    (out / "part-00001.parquet").unlink()
    (out / "part-00002.parquet").write_bytes(b"half")
    with pytest.raises(UserError, match=r"part-00001.parquet is missing or not the .* bytes"):
        ClickLog.read(out)
    assert prepare(storefront, out) == manifest
    assert (out / "part-00001.parquet").read_bytes() == content
    check_parts(out, in_memory(ClickLog.read(storefront), "user_id", 4))
    monkeypatch.setattr(module.ClickLog, "read", lambda *a, **k: pytest.fail("read again"))
    assert prepare(storefront, out) == manifest


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mail.csv", "--out=o"], "mail.csv: there is no such file; did you mean 'mails.csv'?"),
        (["mails.csv"], "the following arguments are required: --out"),
        (
            ["mails.csv", "--out=o", "--partitions=0"],
            "--partitions 0: a log has 1 to 100,000",
        ),
        (
            ["mails.csv", "--out=o", "--engine=spark"],
            "unknown engine 'spark': choose one of",
        ),
        (["mails.csv", "--out=o", "--address=a:1"], "--address a:1: only `--engine ray` joins"),
        (["mails.csv", "--out=mails.csv"], "mails.csv is a file; --out names a folder."),
        (["mails.csv", "--out=."], ". holds the source itself"),
        (["mails.csv", "--out=other"], "other holds 'notes.txt' and no preparation.json"),
        (["mixed", "--out=o"], "mixed is a folder with 1 CSV files (a.csv) and Parquet files"),
        (["mails.csv", "--out=o"], "mails.csv: column 'impressions' is missing"),
        (
            ["mails.csv", "--out=o", "--set=impressions=1", "--map=clicks=subject"],
            "mails.csv, row 2, column subject: value 'Hello' is not a number",
        ),
    ],
)
def test_mistakes(tmp_path, table, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    for folder in ("other", "mixed"):
        Path(folder).mkdir()
    Path("other/notes.txt").touch()
    Path("mixed/a.csv").touch()
    Path("mixed/a.parquet").touch()
    with pytest.raises(UserError, match=re.escape(message)):
        main(["prepare", *argv])
    assert not Path("o").exists()


def test_another_source_or_other_options(tmp_path, table):
    out = tmp_path / "out"
    options = {"columns": MAP, "constants": {"impressions": 1}}
    prepare(table, out, **options)
    with pytest.raises(UserError, match="as another file, or with other options"):
        prepare(table, out, **options, time_zone="Europe/Berlin")
    table.write_text(LINES + "dot,2024-05-05,1,Hi,8\n")
    with pytest.raises(UserError, match="the file has changed since; choose another --out"):
        prepare(table, out, **options)
    manifest = json.loads((out / "preparation.json").read_text())
    (out / "preparation.json").write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(UserError, match="format 2 is not the 1 that this copygym writes"):
        ClickLog.read(out)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("partitions", "x"), ("partitions", 10**12), ("partitions", 0), ("source", 7),
        ("parts", {"part-00000.parquet": 1}), ("parts", {"part-00000.parquet": {"bytes": "1"}}),
        ("notes", None), ("complete", "yes"),
    ],
)  # fmt: skip
def test_a_manifest_that_was_edited_is_one_sentence(tmp_path, storefront, entry, value):
    out = tmp_path / "out"
    manifest = prepare(storefront, out, partitions=2)
    (out / "preparation.json").write_text(json.dumps(manifest | {entry: value}))
    for read in (lambda: ClickLog.read(out), lambda: prepare(storefront, out)):
        with pytest.raises(UserError, match=r"preparation.json has .*: it is damaged"):
            read()


def test_without_ray_the_extra_is_named(tmp_path, table, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=re.escape("--engine ray needs Ray: pip install 'copygym[")):
        prepare(table, tmp_path / "out", engine="ray", columns=MAP, constants={"impressions": 1})
    assert parts_of(tmp_path / "out") == []


#: One Ray for all of them; it takes longer to start than the rest.
RAY = """
import json, sys
from pathlib import Path
from copygym.envs.logs import prepare as module
from copygym.core.ray_session import ray_session

module.PIECE_ROWS = 700
init = {"address": "local", "num_cpus": 2, "object_store_memory": 100_000_000,
        "include_dashboard": False, "log_to_driver": False}
with ray_session(init, asked="a test", instead="skip it", option="") as ray:
    for job in json.loads(sys.argv[1]):
        module.prepare(**job, engine="ray")
    print(ray.util.get_node_ip_address())
"""


def test_ray_gives_the_same_rows(tmp_path, storefront, table, ray_token):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("--engine ray needs Ray (copygym[ray])")
    mapped = {"columns": MAP, "constants": {"impressions": 1}}
    wanted = {
        "storefront": prepare(storefront, tmp_path / "storefront", partitions=4),
        "table": prepare(table, tmp_path / "table", partitions=5, **mapped),
        "resumed": prepare(storefront, tmp_path / "resumed", partitions=4),
    }
    (tmp_path / "resumed" / "part-00002.parquet").unlink()
    jobs = [
        {"source": str(storefront), "out": str(tmp_path / "ray-storefront"), "partitions": 4},
        {"source": str(table), "out": str(tmp_path / "ray-table"), "partitions": 5, **mapped},
        {"source": str(storefront), "out": str(tmp_path / "resumed")},
    ]
    done = subprocess.run(
        [sys.executable, "-c", RAY, json.dumps(jobs)],
        capture_output=True, text=True, timeout=280, check=False, cwd=tmp_path, env={**os.environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "127.0.0.1"
    for name, folder in (
        ("storefront", "ray-storefront"), ("table", "ray-table"), ("resumed", "resumed")
    ):  # fmt: skip
        check_parts(tmp_path / folder, parts_of(tmp_path / name))
        found = json.loads((tmp_path / folder / "preparation.json").read_text())
        assert found == wanted[name]


def test_a_folder_of_the_user_s_with_the_name_of_ours_stays(table, tmp_path):
    mine = tmp_path / "out" / ".staging"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="was not made by copygym"):
        prepare(table, tmp_path / "out")
    assert (mine / "thesis.txt").read_text() == "mine"


def test_an_empty_folder_of_the_user_s_stays_when_the_log_is_refused(tmp_path):
    (tmp_path / "bad.csv").write_text("user_id,clicks\na,x\n")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError):
        prepare(tmp_path / "bad.csv", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_was_said_of_rows_is_said_once_of_a_prepared_log(tmp_path):
    rows = [f"u{i % 3},Hold-out,1,{i % 2}" for i in range(6)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,creative_id,impressions,clicks", *rows]))
    (tmp_path / "log.csv").open("a").write("\nu1,Hold-out,1,0\n")
    assert main(["prepare", str(tmp_path / "log.csv"), "--out", str(tmp_path / "p")]) == 0
    original, prepared = (ClickLog.read(tmp_path / name) for name in ("log.csv", "p"))
    assert len(original.notes) == 2 and "repeat" in original.notes[1]
    assert set(prepared.notes) == set(original.notes)
