"""The comparison with golden trajectories: it must see drift, and say where and how far."""

import json
import re
from pathlib import Path

import pytest


@pytest.fixture
def recorded(request):
    if request.config.getoption("--record-golden"):
        pytest.skip("these tests compare with what is recorded")
    path = Path(__file__).parent / "linucb.json"
    return json.loads(path.read_text(encoding="utf-8"))["trajectory"]


def test_rounding_is_no_drift(golden, recorded):
    recorded["reward"] *= 1 + 1e-5
    recorded["theta"][0] += 1e-7
    golden("linucb", recorded)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": 61.0}, "reward: 60 became 61, off by 1"),
        ({"clicks_by_slot": [9, 11, 9, 10, 4, 5, 9, 4]}, "clicks_by_slot[0]: 8 became 9"),
        ({"clicks_by_slot": [8.0, 11, 9, 10, 4, 5, 9, 4]}, "clicks_by_slot[0]: 8 became 8.0"),
        ({"clicks_by_slot": [8]}, "clicks_by_slot[7] is missing"),
        ({"more": 1}, "more is new"),
    ],
)
def test_drift_is_named_with_its_size(golden, recorded, change, message):
    with pytest.raises(pytest.fail.Exception, match=re.escape(message)):
        golden("linucb", recorded | change)


def test_what_is_no_number_is_never_recorded(golden):
    with pytest.raises(ValueError, match="JSON"):
        golden("linucb", {"reward": float("nan")})
