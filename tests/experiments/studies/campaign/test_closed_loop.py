"""E14: rounds of deliver, collect and update in worlds that move."""

import re

import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import Records, number
from copygym.experiments.runs.folder import open_run
from copygym.experiments.studies.campaign import closed_loop
from copygym.experiments.studies.campaign.closed_loop import CONTINUAL, ONE_SHOT, TRUTH


@pytest.fixture(scope="module")
def config(composed):
    return composed("experiment=closed_loop", "tiny=true", "tracker=disabled")


@pytest.fixture(scope="module")
def finished(config, execute, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loop") / "run"
    execute(config, folder)
    return folder


def test_all_arms_meet_the_same_people_until_their_policies_differ(finished):
    records = Records.read(finished)
    frame = records.estimates

    def value(metric, policy, **cell):
        return number(frame, metric, tastes="changing", policy=policy, versus=None, **cell)["value"]

    # One-shot and continual without exploration have learned the same before the first round.
    greedy = "continual without exploration"
    assert value("reward", ONE_SHOT, round=1) == value("reward", greedy, round=1)
    assert value("regret", TRUTH, round=None) == 0.0
    for policy in closed_loop.ARMS:
        rounds = sum(value("reward", policy, round=index) for index in (1, 2))
        assert rounds == pytest.approx(value("reward", policy, round=None))


def test_a_loop_that_was_stopped_goes_on_from_its_last_round(finished, config):
    folder = open_run(finished, config)
    loop = closed_loop.Loop(config, folder, "changing", dict(config["loop"]["worlds"]["changing"]))
    stages = finished / "stages" / "changing"
    whole = loop.play(CONTINUAL)
    for path in stages.glob(f"{CONTINUAL}/round-2*"):
        path.unlink()
    assert loop.play(CONTINUAL).values == whole.values


@pytest.mark.parametrize(("override", "said"), [
    ("loop.rounds=0", "loop.rounds=0: give at least 1"),
    ("loop.control=1.0", "give a share of people between 0 and 1"),
    ("loop.worlds.changing=null", "loop.worlds is empty"),
])  # fmt: skip
def test_mistakes_are_refused_at_once(composed, override, said):
    config = composed("experiment=closed_loop", "tiny=true", override)
    with pytest.raises(UserError, match=re.escape(said)):
        closed_loop.check(config)


def test_people_of_a_real_log_cannot_answer(composed):
    config = composed("experiment=closed_loop", "tiny=true", "dataset=hillstrom")
    with pytest.raises(UserError, match="copygym update"):
        closed_loop.check(config)
