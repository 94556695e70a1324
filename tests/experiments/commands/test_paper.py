import re

import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import Records, Rows
from copygym.experiments.app import composed
from copygym.experiments.commands import paper
from copygym.experiments.commands.paper import Check, Job, chosen, expected_table, jobs, verdict


def records():
    rows = Rows(0)
    rows.add("rate", 0.5, agent="a")
    rows.add("rate", 0.2, agent="b")
    rows.add("gain", {"value": 1.0, "low": 0.8, "high": 1.2}, agent="a")
    rows.add("gain", None, agent="b")
    return Records(rows.frame)


A, B = {"metric": "rate", "agent": "a"}, {"metric": "rate", "agent": "b"}
GAIN, NOTHING = {"metric": "gain", "agent": "a"}, {"metric": "gain", "agent": "b"}


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
        assert job.data is None or job.data == config["data"]["name"]
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
        (A, "above", 0.4, "yes"),
        (A, "above", 0.6, "no"),
        (A, "above", B, "yes"),
        (B, "above", A, "no"),
        (A, "below", 0.6, "yes"),
        (A, "within", [0.5, 0.6], "yes"),
        (A, "within", [0.51, 0.6], "no"),
        # With an interval: all of it, its value only, or not even that.
        (GAIN, "above", 0.7, "yes"),
        (GAIN, "above", 0.9, "not clearly"),
        (GAIN, "above", 1.1, "no"),
        (GAIN, "below", 1.1, "not clearly"),
        (GAIN, "within", [0.7, 1.3], "yes"),
        (GAIN, "within", [0.9, 1.3], "not clearly"),
        (NOTHING, "above", 0, "no number"),
        (A, "above", NOTHING, "no number"),
    ],
)
def test_verdicts(value, relation, bound, expected):
    assert verdict(Check("n", value, relation, bound, "s"), records())[1] == expected


def test_a_place_that_the_records_lack_is_refused():
    nowhere = Check("n", {"metric": "rate", "agent": "c"}, "above", 0, "s")
    with pytest.raises(UserError, match="there is no number metric=rate, agent=c"):
        verdict(nowhere, records())


def test_a_tiny_run_is_not_judged():
    job = Job("e5", "E5", "?", 1, expected=(Check("so it is", A, "above", 0.4, "theory"),))
    row = ("so it is", "above 0.4", "0.50", "yes", "theory")
    assert expected_table(job, records()).rows == (row,)
    assert expected_table(job, records(), judged=False).rows[0][3] == "-"


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
        (
            {
                "id": "E5",
                "question": "?",
                "minutes": 1,
                "expected": [{"name": "n", "value": "a/b", "above": 0, "source": "s"}],
            },
            "expected 'n' names the place 'a/b'",
        ),
    ],
)
def test_a_wrong_block_says_what_is_wrong(block, message):
    with pytest.raises(UserError, match=re.escape(message)):
        paper._job("e5", block)
