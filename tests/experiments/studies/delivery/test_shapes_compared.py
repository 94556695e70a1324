import json
import re
from functools import partial

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import Records
from copygym.experiments.report.tables import interval
from copygym.experiments.studies.delivery import shapes_compared
from copygym.experiments.studies.delivery.shapes_compared import aims

UNUSED = ("conversion", "profit", "fatigue_aware", "diversity", "novelty", "balanced")


@pytest.fixture(scope="module")
def config(small_worlds):
    """The maker of configs with two shapes."""
    return partial(small_worlds, "experiment=e6", *(f"shapes.{name}=null" for name in UNUSED))


@pytest.fixture(scope="module")
def compared(tmp_path_factory, config, records_of):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPYGYM_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        folder = tmp_path_factory.mktemp("e6")
        return records_of(shapes_compared, config, folder), folder


def test_each_agent_learns_with_each_shape_and_has_its_place(compared):
    records, _ = compared
    cells = records.where(metric="on_front").frame.select("agent", "shape").unique().rows()
    learned = {(a, s) for a in ("linear_ts", "maskable_ppo") for s in ("click", "retention")}
    assert set(cells) == learned
    assert records.where(shape=None, metric="ctr").values("agent") == ["random", "logging", "upper"]
    for agent in ("linear_ts", "maskable_ppo"):
        for seed in records.seeds:
            one = records.only(seed)
            volume = one.number("hypervolume", agent=agent)["value"]
            lost = [
                one.number("contribution", agent=agent, shape=shape)["value"]
                for shape in ("click", "retention")
            ]
            # What two shapes add beyond each other is less than what they cover.
            assert 0 < volume < 1 and 0 <= sum(lost) <= volume + 1e-12
    # In each world somebody is on the front.
    on_front = records.where(metric="on_front").frame.group_by("seed").agg(pl.col("value").max())
    assert on_front["value"].to_list() == [1.0, 1.0]


def test_the_report_shows_the_records(compared, cells_of):
    records, _ = compared
    report = shapes_compared.report(records)
    table = cells_of(report.table)
    assert list(table)[:2] == ["random", "logging"] and list(table)[-1] == "upper"
    entry = records.number("profit_per_user", agent="linear_ts", shape="click")
    assert table["linear_ts, click"]["profit/user"] == interval(entry)
    assert table["random"]["on the front %"] == "-"
    section = report.sections[0]
    volumes = cells_of(section.tables[0])
    assert volumes["maskable_ppo"]["hypervolume"] == interval(
        records.number("hypervolume", agent="maskable_ppo")
    )
    assert [picture.name for picture in section.pictures] == ["aims"]
    # The shares of worlds are means, not interquartile ones.
    shares = records.by_seed("on_front", agent="linear_ts", shape="click")
    mean = records.number("on_front", agent="linear_ts", shape="click")["value"]
    assert mean == pytest.approx(shares.mean())
    assert shapes_compared.report(records.only()).title.endswith("one world of storefront")


def test_a_finished_world_is_read_not_learned_again(compared, config, execute):
    records, folder = compared
    job = folder / "seed=1"
    stages = {p: p.stat().st_mtime_ns for p in job.rglob("stages/**/*.json")}
    (job / "records.parquet").unlink()
    state = json.loads((job / "run.json").read_text())
    (job / "run.json").write_text(json.dumps({**state, "state": "started"}))
    execute(config("seed=1"), job)
    assert stages and {p: p.stat().st_mtime_ns for p in stages} == stages
    assert Records.read(job).frame.equals(records.only(1).frame, null_equal=True)


def test_aims_are_better_when_larger():
    upper = {"clicks_per_user": 4.0, "profit_per_user": 10.0}
    values = {
        "clicks_per_user": 1.0,
        "profit_per_user": 5.0,
        "unsubscribe_rate": 0.25,
        "intra_list_diversity": 0.5,
    }
    np.testing.assert_allclose(aims(values, upper), [0.25, 0.5, 0.75, 0.5])
    # Who sends once to everybody has no variety.
    none = aims({**values, "intra_list_diversity": None}, upper)
    np.testing.assert_allclose(none, [0.25, 0.5, 0.75, 0.0])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["references.upper=null"], "references.upper is null"),
        (["shapes.click=null", "shapes.retention=null"], "shapes is empty"),
        (["agents.linear_ts=null", "agents.maskable_ppo=null"], "agents is empty"),
        (["dataset=hillstrom"], "dataset=hillstrom: shapes are compared in a synthetic world"),
    ],
)
def test_mistakes_are_found_before_anything_is_learned(config, overrides, message):
    if overrides == ["dataset=hillstrom"]:
        wrong = {**config(), "data": {"name": "hillstrom"}}
    else:
        wrong = config(*overrides)
    with pytest.raises(UserError, match=re.escape(message)):
        shapes_compared.check(wrong)
