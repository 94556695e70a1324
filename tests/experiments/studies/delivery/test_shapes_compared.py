import json
import re
from functools import partial

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.experiments.studies.delivery import shapes_compared
from copygym.experiments.studies.delivery.shapes_compared import aims

UNUSED = ("conversion", "profit", "fatigue_aware", "diversity", "novelty", "balanced")


@pytest.fixture(scope="module")
def config(small_worlds):
    """The maker of configs with two shapes."""
    return partial(small_worlds, "experiment=e6", *(f"shapes.{name}=null" for name in UNUSED))


def test_each_agent_learns_with_each_shape_and_has_its_place(
    config, execute, tmp_path, monkeypatch, tmp_path_factory
):
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path_factory.getbasetemp() / "home"))
    folder = tmp_path / "run"
    execute(config(), folder)
    result = json.loads((folder / "result.json").read_text())
    learned = {f"{a}, {s}" for a in ("linear_ts", "maskable_ppo") for s in ("click", "retention")}
    assert set(result["front"]) == learned
    assert result["policies"][:2] == ["random", "logging"]
    assert result["policies"][-1] == "upper"
    for entry in result["front"].values():
        assert 0 <= entry["on_front"]["value"] <= 1
        assert entry["contribution"]["value"] >= 0
    for agent in result["agents"].values():
        assert 0 < agent["hypervolume"]["value"] < 1
    page = (folder / "report.md").read_text()
    assert "What the shapes buy" in page
    assert (folder / "figures" / "aims.png").exists()
    # A finished world is read, not learned again.
    stages = {p: p.stat().st_mtime_ns for p in folder.rglob("stages/**/*.json")}
    (folder / "result.json").unlink()
    state = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**state, "state": "started"}))
    execute(config(), folder)
    assert {p: p.stat().st_mtime_ns for p in stages} == stages
    assert json.loads((folder / "result.json").read_text()) == result


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
        (["seeds=[1]"], "an interval over seeds needs at least 2"),
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
