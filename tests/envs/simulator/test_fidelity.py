import re

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.envs.simulator.fidelity import FidelityCard, make_card


def card(**changes):
    rng = np.random.default_rng(3)
    unit = np.repeat(np.arange(1000), 5)
    p = rng.uniform(0.02, 0.5, 5000)
    k = (rng.random(5000) < p) * 1.0
    arm = rng.integers(0, 3, 5000)
    settings = {
        "base_rate": 0.26,
        "name": "toy",
        "family": "logistic",
        "fitted": (2000, 9000),
        "assumptions": ("the moon is made of cheese.",),
        "resamples": 100,
    }
    groups = {"arm": (arm, ["a", "b", "c"]), "channel": (np.full(5000, -1), ["none"])}
    return make_card(changes.get("p", p), np.ones(5000), k, unit, groups, **settings)


def test_card_of_the_truth_is_calibrated_and_skilled():
    judged = card()
    assert judged.log_loss_skill.low > 0.03
    assert judged.log_loss_skill.low < judged.log_loss_skill.value < judged.log_loss_skill.high
    assert judged.auc.low < judged.auc.value < judged.auc.high
    assert judged.ece.value < 2.0 * judged.ece_floor
    assert [group.name for group in judged.groups] == ["a", "b", "c"]
    assert all(group.inside for group in judged.groups)
    assert (judged.held_out_users, judged.held_out_rows) == (1000, 5000)


def test_card_of_a_biased_simulator_says_so():
    judged = card(p=np.full(5000, 0.4))
    assert judged.log_loss_skill.high < 0
    assert judged.auc.value == 0.5
    assert judged.ece.low > 5 * judged.ece_floor
    assert not any(group.inside for group in judged.groups)


def test_card_survives_json(tmp_path):
    judged = card()
    judged.save(tmp_path / "card.json")
    assert FidelityCard.load(tmp_path / "card.json") == judged
    with pytest.raises(UserError, match=re.escape("nowhere.json does not exist")):
        FidelityCard.load(tmp_path / "nowhere.json")


def test_groups_are_found_by_kind():
    judged = card()
    assert [group.name for group in judged.groups_of("arm")] == ["a", "b", "c"]
    assert judged.groups_of("segment") == []
