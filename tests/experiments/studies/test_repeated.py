"""An experiment over seeds: means, what stands apart, and what a second call has to do again."""

import json
import re
from pathlib import Path

import pytest

from copygym.core.errors import UserError
from copygym.experiments import app
from copygym.experiments.studies import repeated

NAMES = {"group": "g", "job_type": "j", "name": "n"}


@pytest.fixture(scope="module", autouse=True)
def _job():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield


def execute(folder, *overrides):
    composed = app.composed([
        "experiment=e1", "tracker=disabled", "repeat.job=repeated_job", "seeds=[1,2,3]",
        *overrides,
    ])  # fmt: skip
    app.execute(composed, folder, ["run"], NAMES)
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repeated") / "run"
    execute(folder)
    return folder


@pytest.fixture
def result(finished):
    return json.loads((finished / "result.json").read_text())


def test_numbers_are_means_over_seeds_with_an_interval(result):
    entry = result["estimates"]["zebra"]["score"]
    assert entry["value"] == 2.0
    assert 1.0 <= entry["low"] < 2.0 < entry["high"] <= 3.0
    assert result["summary_numbers"]["score/ape"] == 4.0
    # Equal in every seed.
    assert result["estimates"]["lonely"]["other"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_a_number_that_one_seed_lacks_is_none_in_all(result):
    assert result["estimates"]["ape"]["tau/truth"]["value"] is None
    assert result["seeds"]["1"]["tau/truth/ape"] == 1.0


def test_every_seed_is_a_world_of_its_own(result):
    assert result["first"]["summary"] == "Seed 1, world 1."
    assert {name: entry["sha256"] for name, entry in result["data"].items()} == {
        "world 1: storefront": "1", "world 2: storefront": "2", "world 3: storefront": "3",
    }  # fmt: skip
    # The same in all, so that it need not be said thrice.
    assert result["rows_seen"] == {"train": {"rows": 10, "users": 5}}


def test_the_assumption_of_one_seed_gives_way_to_that_of_several(result):
    first, last = result["assumptions"]
    assert first == "people are numbers."
    assert last.startswith("intervals are over 3 worlds")


def test_a_curve_ends_where_its_shortest_does(result):
    line = result["curves"]["path"]["lines"]["a"]
    assert line["x"] == [0.0, 1.0]
    assert line["y"] == [0.0, 2.0]
    assert line["low"][1] < 2.0 < line["high"][1]


def test_tables_keep_the_order_and_part_what_shares_no_column(finished, result):
    table = repeated.main_table(result)
    assert table.columns == ("", "score", "tau/truth")
    assert [row[0] for row in table.rows] == ["zebra", "ape"]
    assert table.rows[0][2] == table.rows[1][2] == "-"
    assert "score: what counts." in table.caption
    page = (finished / "report.md").read_text()
    for heading in ("Over 3 worlds", "Each world", "World 1", "World 1: Own"):
        assert f"## {heading}\n" in page
    assert "| lonely | 1.0 [1.0, 1.0] |" in page
    for name in re.findall(r"\]\((\w+\.svg)\)", page):
        assert (finished / "figures" / name).exists()
    assert "mean_path.svg" in page


def test_seeds_are_shown_in_order_and_the_lowest_in_full(tmp_path):
    result = execute(tmp_path / "run", "seeds=[10,2]")
    assert result["first"]["summary"] == "Seed 2, world 2."
    page = (tmp_path / "run" / "report.md").read_text()
    assert "|  | world 2 | world 10 |" in page
    assert "## World 2\n" in page


def test_seeds_stand_apart_in_the_metrics(finished):
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["score"]) for line in lines] == [
        ("seeds/1/learn", 1.0), ("seeds/2/learn", 2.0), ("seeds/3/learn", 3.0),
    ]  # fmt: skip


def test_finished_seeds_are_not_done_again(tmp_path):
    folder = tmp_path / "run"
    switch = ("+breaks_at=3",)
    with pytest.raises(RuntimeError, match="broken"):
        execute(folder, *switch)
    with pytest.raises(RuntimeError, match="broken"):
        execute(folder, *switch)
    worked = {
        seed: len((folder / "seeds" / seed / "worked").read_text().splitlines())
        for seed in ("1", "2", "3")
    }
    assert worked == {"1": 1, "2": 1, "3": 2}


def test_a_job_without_numbers_is_named(tmp_path):
    with pytest.raises(UserError, match="repeated_job has no summary numbers"):
        execute(tmp_path / "run", "+silent=true")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds=[1]", "an interval over seeds needs at least 2"),
        ("seeds=[1,2,1]", "a seed given twice counts once"),
        ("repeat.job=copygym.nowhere", "repeat.job=copygym.nowhere is no module"),
        ("repeat.job=copygym.experiments.studies.repeated", "would repeat itself"),
        ("~repeat", "there is nothing to repeat"),
        ("~seeds", "seeds are missing"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, override, message):
    with pytest.raises(UserError, match=re.escape(message)):
        execute(tmp_path / "run", override)
    assert not (tmp_path / "run").exists()
