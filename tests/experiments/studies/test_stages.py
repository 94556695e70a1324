"""Stages that experiments share: parts of a log, and whether it is still the same."""

import re

import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.experiments.runs.folder import open_run
from copygym.experiments.studies.data import check_data, load_log, same_data, split_shares
from copygym.experiments.studies.people import split_users


def test_who_is_in_which_part_does_not_depend_on_the_order_of_keys():
    frame = pl.DataFrame({"user_id": [f"u{i}" for i in range(60)], "impressions": 1, "clicks": 0})
    log = ClickLog.from_frame(frame.lazy(), name="log")
    split = {"train": 0.5, "test": 0.25, "judge": 0.25}
    found = []
    # A saved config has its keys sorted.
    for shares in (split, dict(sorted(split.items()))):
        assert list(split_shares({"split": shares})) == ["train", "test", "judge"]
        parts = split_users(log, {"split": shares, "data": {"name": "table"}, "seed": 0})
        found.append({k: sorted(v.collect()["user_id"]) for k, v in parts.items()})
    assert found[0] == found[1]


def test_an_unknown_part_is_named():
    with pytest.raises(UserError, match=re.escape("unknown part of split 'dev'")):
        split_shares({"split": {"train": 0.5, "dev": 0.5}})


def test_data_of_a_finished_run_is_compared(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id,impressions,clicks\na,1,0\nb,1,1\n")
    config = {"data": {"name": "table", "path": str(path)}}
    run = open_run(tmp_path / "r", config)
    same_data(run, load_log(config["data"]))
    check_data(run, config)
    path.write_text("user_id,impressions,clicks\na,1,1\nb,1,1\n")
    with pytest.raises(UserError, match=r"has changed since this run began.*overwrite=true"):
        check_data(run, config)
    # What is gone contradicts nothing: the result can still be shown.
    path.unlink()
    check_data(run, config)
