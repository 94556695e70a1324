import re
from functools import partial

import pytest

from copygym.core.errors import UserError
from copygym.experiments.studies.campaign import ablation
from copygym.experiments.studies.campaign.ablation import _effects, arms


@pytest.fixture(scope="module")
def config(composed):
    return partial(composed, "experiment=e12", "tiny=true")


def test_copy_delivery_and_both_have_the_same_budget(config):
    settings = config("learn.steps=1000", "sample_cost=10")
    spent = {name: arm.steps + 10 * arm.samples for name, arm in arms(settings).items()}
    assert spent == {
        "neither": 0, "copy": 1000, "delivery": 1000, "both": 1000, "both, twice": 2000,
    }  # fmt: skip


def test_effects_are_gains_over_neither():
    clicks = {"neither": 1.0, "copy": 1.5, "delivery": 2.0, "both": 2.2, "both, twice": 2.8}
    found = _effects({name: {"clicks_per_user": value} for name, value in clicks.items()})
    assert found["copy"] == pytest.approx(0.5)
    assert found["both - delivery"] == pytest.approx(0.2)
    assert found["both - copy"] == pytest.approx(0.7)
    # 1.8 together, 0.5 + 1.0 alone.
    assert found["interaction"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds=[1]", "an interval over seeds needs at least 2"),
        ("learn.steps=150", "learn.steps=150 is less than two samples of sample_cost=100"),
        ("algorithms.ppo=null", "algorithms is empty"),
        ("references.logging=null", "evaluation.baseline=logging is no policy"),
        ("dataset=coupon", "dataset=coupon: new copy must be judged"),
    ],
)
def test_mistakes_are_found_before_anything_is_learned(config, override, message):
    wrong = config(*([] if override.startswith("dataset") else [override]))
    if override.startswith("dataset"):
        wrong = {**wrong, "data": {"name": "coupon"}}
    with pytest.raises(UserError, match=re.escape(message)):
        ablation.check(wrong)
