"""Saved users whose files are damaged are refused at load, in a sentence that names the file."""

import re

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.core.files.storage import read_arrays, write_arrays
from copygym.core.models.weights import check_finite, finite, load_weights
from copygym.envs.simulator.fitted import load_users, save_users


@pytest.fixture
def saved(make_user_model, tmp_path):
    save_users(make_user_model(), tmp_path)
    return tmp_path


def refused(folder, file):
    with pytest.raises(UserError, match=re.escape(str(folder / file))) as refusal:
        load_users(folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("file", ["tables.npz", "population.parquet", "users.json"])
def test_a_file_that_is_cut_off_is_named(saved, file):
    path = saved / file
    path.write_bytes(path.read_bytes()[:-60])
    refused(saved, file)


@pytest.mark.parametrize("file", ["tables.npz", "population.parquet"])
def test_a_flipped_byte_ends_in_no_traceback(saved, file):
    content = bytearray((saved / file).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (saved / file).write_bytes(content)
    try:
        load_users(saved)
    except UserError as error:
        assert str(saved / file) in str(error)


def test_tables_that_lack_an_array_or_hold_nan_are_refused(saved):
    tables = dict(read_arrays(saved / "tables.npz"))
    for name, table in tables.items():
        write_arrays(saved / "tables.npz", {k: v for k, v in tables.items() if k != name})
        if name != "logging_policy":
            refused(saved, "tables.npz")
        if table.dtype.kind == "f":
            write_arrays(saved / "tables.npz", tables | {name: np.full_like(table, np.nan)})
            refused(saved, "tables.npz")
    write_arrays(saved / "tables.npz", tables)
    load_users(saved)


def test_minus_infinity_is_the_logit_of_what_never_happens_and_nothing_else(tmp_path):
    path = tmp_path / "a.npz"
    finite(path, {"logit": np.array([-np.inf, 0.0]), "n": np.array([1, 2])}, never=True)
    for value, never in ((np.inf, True), (np.nan, True), (-np.inf, False)):
        with pytest.raises(UserError, match=r"a\.npz"):
            finite(path, {"logit": np.array([value, 0.0])}, never=never)


def test_weights_must_be_those_of_the_module(tmp_path):
    import torch

    module = torch.nn.Linear(2, 3)
    whole = {name: value.clone() for name, value in module.state_dict().items()}
    load_weights(module, {k: v.numpy() for k, v in whole.items()}, tmp_path / "w")
    for change in (
        {"weight": whole["weight"]},
        whole | {"more": torch.ones(1)},
        whole | {"bias": torch.ones(2)},
        whole | {"bias": torch.full((3,), float("inf"))},
    ):
        with pytest.raises(UserError, match=re.escape(str(tmp_path / "w"))):
            load_weights(module, change, tmp_path / "w")
    check_finite("x", [("empty", torch.zeros(0)), ("codes", torch.ones(2, dtype=torch.uint8))])
