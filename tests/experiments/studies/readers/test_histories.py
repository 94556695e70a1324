import re

import pytest
from public_columns import write_mind, write_pens

from copygym.core.errors import UserError
from copygym.evaluation.records import Records
from copygym.experiments import app

NAMES = {"group": "g", "job_type": "j", "name": "n"}
SMALL = ("tracker=disabled", "evaluation.resamples=200", "model.encoder=lsa")
LEARN = ("model.learning_rate=0.01", "model.epochs=6", "model.dims=64")


def run(out, *overrides):
    config = app.composed(
        ["experiment=mind_reader", *SMALL, *LEARN, f"out={out}", *map(str, overrides)]
    )
    app.execute(config, out, ["run"], NAMES)
    return Records.read(out)


def test_histories_of_mind_are_worth_something_and_others_nothing(tmp_path):
    folder = write_mind(tmp_path)
    records = run(tmp_path / "run", f"data.path={folder}")
    plain = {"versus": None, "epoch": None}
    own = records.number("auc", model="history x title", **plain)
    assert own["low"] > 0.6
    gain = records.number("auc", model="history x title", versus="titles alone", epoch=None)
    assert gain["low"] > 0.05
    control = records.number("auc", model="another reader's history", **plain)
    assert control["low"] < 0.5 < control["high"] < own["low"]
    report = (tmp_path / "run" / "report.md").read_text()
    assert "| NRMS | 67.76 | 33.05 | 35.94 | 41.63 |" in report
    assert "a causal claim is not" in report


def test_another_part_may_judge(tmp_path):
    for seed, name in enumerate(("train", "dev")):
        (tmp_path / name).mkdir()
        write_mind(tmp_path / name, n=500, seed=seed)
    places = f"data.path={tmp_path / 'train'}", f"judged_on.path={tmp_path / 'dev'}"
    told = run(tmp_path / "run", *places).first
    # The articles of the two parts are others under the same ids: each part has its own titles.
    assert told["rows_seen"]["test"]["rows"] == 4000
    assert told["rows_seen"]["train"]["rows"] + told["rows_seen"]["validation"]["rows"] == 4000


def test_pens_has_the_same_form(tmp_path):
    folder = write_pens(tmp_path, n=800)
    records = run(tmp_path / "run", "dataset=pens", f"data.path={folder}")
    gain = records.number("auc", model="history x title", versus="titles alone", epoch=None)
    assert records.first["log"] == "pens" and gain["value"] > 0.05


def test_a_log_without_histories_is_refused_before_it_is_read(tmp_path):
    with pytest.raises(UserError, match=re.escape("data.history is not true")):
        run(tmp_path / "run", "data.history=false", f"data.path={tmp_path}")
