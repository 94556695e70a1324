"""With which numbers a run counts: pinned in paper experiments, noted, and compared."""

import os
import re

import pytest

from copygym.core.errors import UserError
from copygym.core.processor import OPTION
from copygym.experiments.app import composed
from copygym.experiments.commands.paper import jobs
from copygym.experiments.runs.identity import difference
from copygym.experiments.runs.numerics import check_numerics, counted_as, numerics, told_apart

PINNED = {
    "dtype": "bfloat16",
    "attention": "eager",
    "kernels": "plain",
    "device": "cpu",
    "threads": 1,
}


@pytest.mark.parametrize("job", jobs(), ids=lambda job: job.experiment)
def test_every_paper_experiment_is_pinned(job):
    config = composed([f"experiment={job.experiment}"])
    assert config["numerics"] == PINNED
    model = (config.get("copywriter") or {}).get("model")
    if model:
        # The tiny writer is float32 on every processor by itself.
        expected = ("auto", "auto") if model["name"] == "tiny" else ("bfloat16", "eager")
        assert (model["dtype"], model["attention"]) == expected


def test_a_pinned_run_counts_so_whatever_the_environment_says(monkeypatch):
    import torch

    monkeypatch.setenv(OPTION, "on")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with counted_as({"numerics": PINNED}):
            assert os.environ[OPTION] == "off"
            assert os.environ["OMP_NUM_THREADS"] == "1"
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert os.environ[OPTION] == "on"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize("config", [{}, composed([])])
def test_others_count_as_the_machine_does(config, monkeypatch):
    monkeypatch.setenv(OPTION, "on")
    with counted_as(config):
        assert os.environ[OPTION] == "on"


def test_the_manifest_says_what_was_used(monkeypatch):
    import torch

    monkeypatch.setenv(OPTION, "off")
    config = composed(["experiment=storefront_rlpf", "copywriter=smollm2"])
    assert numerics(config)["dtype"] == "float32"
    assert numerics(config)["encoders"] == "float32"
    assert numerics(config)["kernels"] == "plain"
    assert numerics(config)["instructions"] == torch.backends.cpu.get_cpu_capability()
    monkeypatch.setenv(OPTION, "on")
    assert numerics(config)["dtype"] == "bfloat16"
    assert numerics(config)["encoders"] == "bfloat16"
    assert numerics(composed(["experiment=storefront_rlpf"]))["dtype"] == "float32"
    assert numerics(composed(["experiment=delivery"]))["dtype"] is None


def test_a_run_with_other_numerics_is_another_run():
    config = composed(["experiment=delivery"])
    other = composed(["experiment=delivery", "numerics=pinned"])
    state = {"config": config, "code": "x", "modules": {}}
    found = difference(state, other)
    assert found is not None
    assert "numerics." in found


def test_a_wrong_value_is_refused_with_the_choices():
    message = "unknown numerics.dtype 'float8' (did you mean 'float32'?): choose one of auto"
    with pytest.raises(UserError, match=re.escape(message)):
        check_numerics(composed(["experiment=delivery", "numerics.dtype=float8"]))


def test_what_was_counted_otherwise_is_said():
    machine = {"processor": "A", "architecture": "x86_64", "accelerator": {"used": False}}
    counted = {"dtype": "bfloat16", "units": ["amx"], "threads": "1"}
    before = {"numerics": counted, "machine": machine, "packages": {"torch": "2.1"}}
    assert told_apart(before, before) == []
    now = {
        "numerics": {**counted, "dtype": "float32", "units": []},
        "machine": {**machine, "processor": "B", "accelerator": {"used": True}},
        "packages": {"torch": "2.2"},
    }
    assert told_apart(before, now) == [
        "language models in bfloat16, here float32",
        "bfloat16 units amx, here none",
        "processor A, here B",
        "no GPU was used, here one was",
        "torch 2.1, here 2.2",
    ]
    del before["numerics"]
    assert "does not say with which dtype" in told_apart(before, now)[0]
