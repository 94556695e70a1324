"""Short form of the kills and of what else befalls a machine; `run_kills.py` is the long one."""

import pytest
from kill_cases import CASES, Larder
from killing import differences, kill_often, server
from other_faults import full_disk, memory, no_wandb, one_folder, one_output, one_second, one_sweep

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(1200)]

#: Kills of each command here; the long form has 20 or more.
KILLS = 3


@pytest.fixture(scope="module")
def runs():
    with server() as started:
        yield started


@pytest.fixture(scope="module")
def larder(runs, tmp_path_factory):
    return Larder(tmp_path_factory.mktemp("larder") / "shared", runs)


def clean(found):
    assert found.clean, "\n".join([*found.refused, *found.tracebacks, *found.losses])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_killed_command_ends_as_one_that_was_not(case, runs, larder, tmp_path):
    found = kill_often(
        runs, case.arguments, tmp_path / "whole", larder.preparer(case), kills=KILLS, seed=0
    )
    clean(found)
    assert found.kills == KILLS


@pytest.mark.parametrize("case", ["run: delivery, a bandit", "ope --output", "data prepare"])
def test_a_full_disk_is_a_sentence_and_costs_nothing(case, runs, tmp_path):
    clean(full_disk(runs, case, tmp_path / "disk", tries=4, seed=0))


@pytest.mark.parametrize("together", [one_folder, one_sweep, one_output, one_second])
def test_processes_at_once_do_no_harm(together, runs, tmp_path):
    clean(together(runs, tmp_path / "together", 3))


def test_a_run_needs_no_wandb(runs, tmp_path):
    clean(no_wandb(runs, tmp_path / "wandb"))


def test_runs_in_one_process_leave_no_memory(runs, tmp_path):
    clean(memory(runs, tmp_path / "memory", 8))


def test_a_difference_would_be_seen():
    """The comparison of folders can fail."""
    whole = {"a.json": {"x": {"y": 1}}, "b": b"1"}
    assert differences(whole, whole) == []
    assert differences(whole, {"a.json": {"x": {"y": 2}}, ".b.tmp": b""}) == [
        ".b.tmp was left behind",
        "a.json differs at x.y: 1 and 2",
        "b is missing",
    ]
