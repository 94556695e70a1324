import re

import pytest

from copygym.core.errors import UserError
from copygym.experiments.app import composed
from copygym.experiments.commands import paper
from copygym.experiments.commands.paper import Check, Job, chosen, expected_table, jobs, verdict

RESULT = {
    "summary_numbers": {"a/b": 0.5, "c": 0.2},
    "tree": {"x": {"value": 1.0, "low": 0.8, "high": 1.2}, "rows": [{"n": 3}]},
    "flag": True,
}


def answer(value, relation, bound):
    return verdict(Check("n", value, relation, bound, "s"), RESULT)[1]


def test_every_block_is_read_and_its_files_compose():
    every = jobs()
    ids = [job.id for job in every]
    assert ids == sorted(ids, key=lambda name: int(name[1:]))
    assert {"E1", "E2", "E5", "E9"} <= set(ids)
    for job in every:
        assert job.question.endswith("?")
        assert job.minutes is None or job.minutes > 0
        overrides = [f"experiment={job.experiment}"]
        overrides += [f"{key}={value}" for key, value in job.overrides.items()]
        config = composed(overrides)
        assert job.data in (None, config["data"]["name"])
        assert "expected" not in config


def test_results_of_a_second_log_have_a_folder_of_their_own():
    def folder(experiment, name):
        return Job(experiment, name, "?", 1).folder

    assert folder("e1", "E1") == "E1"
    assert folder("e1_hillstrom", "E1") == "E1_hillstrom"
    assert folder("upworthy_reward", "E2") == "E2"


@pytest.mark.parametrize(
    ("value", "relation", "bound", "expected"),
    [
        ("a/b", "above", 0.4, "yes"),
        ("a/b", "above", 0.6, "no"),
        ("a/b", "above", "c", "yes"),
        ("c", "above", "a/b", "no"),
        ("a/b", "below", 0.6, "yes"),
        ("a/b", "within", [0.5, 0.6], "yes"),
        ("a/b", "within", [0.51, 0.6], "no"),
        # With an interval: all of it, its value only, or not even that.
        (["tree", "x"], "above", 0.7, "yes"),
        (["tree", "x"], "above", 0.9, "not clearly"),
        (["tree", "x"], "above", 1.1, "no"),
        (["tree", "x"], "below", 1.1, "not clearly"),
        (["tree", "x"], "within", [0.7, 1.3], "yes"),
        (["tree", "x"], "within", [0.9, 1.3], "not clearly"),
        (["tree", "rows", 0, "n"], "above", 2, "yes"),
        (["tree", "rows", 1, "n"], "above", 2, "no number"),
        ("nowhere", "above", 0, "no number"),
        ("a/b", "above", "nowhere", "no number"),
        (["flag"], "above", 0, "no number"),
    ],
)
def test_verdicts(value, relation, bound, expected):
    assert answer(value, relation, bound) == expected


def test_a_tiny_run_is_not_judged():
    job = Job("e5", "E5", "?", 1, expected=(Check("so it is", "a/b", "above", 0.4, "theory"),))
    row = ("so it is", "above 0.4", "0.50", "yes", "theory")
    assert expected_table(job, RESULT).rows == (row,)
    assert expected_table(job, RESULT, judged=False).rows[0][3] == "-"


def test_names_choose_jobs():
    assert {job.experiment for job in chosen(["E1"])} == {"e1", "e1_hillstrom"}
    assert [job.experiment for job in chosen(["e1_hillstrom"])] == ["e1_hillstrom"]
    # Named twice, run once.
    assert len(chosen(["E1", "e1"])) == 2
    assert chosen(["all"]) == jobs()
    with pytest.raises(UserError, match=re.escape("experiment 'E99': choose all, E1")):
        chosen(["E99"])


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"id": "E5", "question": "?"}, "minutes is missing"),
        ({"id": "5", "question": "?", "minutes": 1}, "id is 5"),
        ({"id": "E5", "question": "?", "minutes": 1, "cost": 1}, "unknown key of"),
        (
            {"id": "E5", "question": "?", "minutes": 1, "expected": [{"name": "n"}]},
            "expected 'n' needs",
        ),
    ],
)
def test_a_wrong_block_says_what_is_wrong(block, message):
    with pytest.raises(UserError, match=re.escape(message)):
        paper._job("e5", block)
