"""What the verdict on a policy says of spam, of chance and of a simulator that knows nothing."""

import pytest

from copygym.evaluation.records import Records, Rows
from copygym.experiments.studies.delivery.verdict import reasons_against, verdict

GOOD = {"clicks_per_user": 1.4, "unsubscribe_rate": 0.08, "sends_per_user": 11.0, "ctr": 0.12}
LOG = {"clicks_per_user": 0.7, "unsubscribe_rate": 0.09, "sends_per_user": 10.0, "ctr": 0.07}
OTHERS = {
    "random": {"clicks_per_user": 0.5, "unsubscribe_rate": 0.3, "sends_per_user": 20.0,
               "ctr": 0.03},
    "best_fixed": {"clicks_per_user": 0.9, "unsubscribe_rate": 0.08, "sends_per_user": 12.0,
                   "ctr": 0.08},
}  # fmt: skip


def records(learned, gains=None, skill=(0.08, 0.06, 0.1)):
    rows = Rows(0)
    for policy, numbers in {"ppo (learned)": learned, "logging": LOG, **OTHERS}.items():
        for metric, value in numbers.items():
            rows.add(metric, value, policy=policy)
    for metric in ("clicks_per_user", "unsubscribe_rate"):
        value = learned[metric] - LOG[metric]
        told = (gains or {}).get(
            metric, {"value": value, "low": value - 0.02, "high": value + 0.02}
        )
        rows.add(metric, told, policy="ppo (learned)", versus="logging")
    about = {"learned": "ppo (learned)", "baseline": "logging",
             "fidelity": {"log_loss_skill": list(skill)}}  # fmt: skip
    return Records(rows.frame, {0: about})


def test_a_policy_that_is_better_in_every_way_may_be_tried():
    assert reasons_against(records(GOOD)) == []
    assert verdict(records(GOOD)).startswith("Nothing here speaks against")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unsubscribe_rate": 0.31}, "drives away 31.0% of people, where logging loses 9.0%"),
        ({"clicks_per_user": 0.45}, "what sends at random gets as many clicks"),
        ({"clicks_per_user": 0.85}, "the best schedule gets as many clicks"),
        ({"sends_per_user": 21.0, "ctr": 0.05}, "sends 21.0 messages a user where logging sends"),
        ({"clicks_per_user": 0.71}, "neither clicks nor profit are shown to be more"),
    ],
)
def test_what_speaks_against_it_is_said_with_numbers(change, words):
    told = verdict(records(GOOD | change))
    assert told.startswith("Do not deploy ppo (learned), because") and words in told


def test_a_simulator_without_skill_comes_first():
    told = verdict(records(GOOD | {"unsubscribe_rate": 0.4}, skill=(0.001, -0.002, 0.004)))
    assert told.index("no better than their mean") < told.index("drives away")
