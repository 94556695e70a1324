"""E13: what an arm would send, what readers are taken for, and what its report makes of records."""

import re
from functools import partial

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.envs.profiles.builder import Profiles
from copygym.evaluation.records import Records, Rows, joined
from copygym.experiments.studies.copy import personal
from copygym.experiments.studies.copy.storefront import BLIND, PERMUTED, taken_for


@pytest.fixture
def config(composed):
    return partial(composed, "experiment=e13", "tiny=true", "copywriter=tiny")


def test_what_readers_are_taken_for():
    features = np.arange(12, dtype=np.float32).reshape(4, 3) / 4
    known = Profiles(
        np.array(list("abcd")), features, ("user_x", "y", "z"), np.array(list("ssts")),
        np.array([0, 0, 1, 0]), ("old", "young"),
    )  # fmt: skip
    assert taken_for(known, "", 0) is known
    blind = taken_for(known, BLIND, 0)
    assert not blind.features.any()
    assert set(blind.segments) == {"everybody"}
    assert blind.audience is None
    wrong = taken_for(known, PERMUTED, 3)
    assert wrong.user_ids.tolist() == known.user_ids.tolist()
    order = [features.tolist().index(row) for row in wrong.features.tolist()]
    assert sorted(order) == [0, 1, 2, 3]
    assert order != [0, 1, 2, 3]
    # All that is known of a person goes together.
    assert wrong.audience.tolist() == known.audience[order].tolist()
    assert wrong.segments.tolist() == known.segments[order].tolist()


def test_mistakes_are_one_sentence(config):
    with pytest.raises(UserError, match=re.escape("tasks.readers=1: copy is personal where")):
        personal.check(config("tasks.readers=1"))
    with pytest.raises(UserError, match="which only the truth of a synthetic world can"):
        personal.check(config("data.name=upworthy"))
    with pytest.raises(UserError, match="leave one, and set the others to null"):
        personal.check(config("+algorithm@algorithms.dpo=dpo"))
    personal.check(config())


def world(seed, gain):
    """The records of a made-up world in which personal copy gains so much."""
    rows = Rows(seed)
    writers = ["sft", "ppo", "ppo, sent", "blind ppo, sent", "ppo, sent, permuted", "log, sent"]
    chosen = ["log, one for all", "log, chosen for each"]
    for name in [*writers, *chosen]:
        own = gain if name == "ppo, sent" else 0.0
        rows.add("gold_ctr", 0.1 * (1 + own), writer=name)
        rows.add("personal_gain", own, writer=name)
        if name in writers:
            rows.add("proxy", 1.0, writer=name)
            rows.add("kl", 0.0, writer=name)
            rows.add("reward_term", 0.0, writer=name, term="length")
        for other in ("log, one for all", "log, sent", "blind ppo, sent"):
            if other != name:
                rows.add("gain", own, writer=name, versus=other)
        rows.add("gold_ctr", 0.1, writer=name, task=0)
        rows.add("trait", 0.5, writer=name, audience="old", trait="words")
    for name in ("marketer's default", "ppo, sent"):
        rows.add("gold_ctr", 0.1, writer=name, products="launches")
    copy = {
        "log": "made up", "rows": 10, "model": "tiny", "algorithms": ["ppo"], "samples": 8,
        "tasks": 4, "trained": "one seed", "gold": "The world judges.", "kl": "KL.",
        "warnings": [], "stopped": {}, "examples": [],
        "personal": {"writer": "ppo, sent", "audiences": ["old"], "words": {}, "side_by_side": []},
    }  # fmt: skip
    texts = {"marketer's default": "Here it is.", "ppo, sent": "Yours."}
    launches = {
        "tasks": 4, "products": 1, "writers": list(texts),
        "examples": [{"product": "kettle", **texts}],
    }  # fmt: skip
    told = {
        "copy": copy, "algorithm": "ppo", "draws": 2, "launches": launches, "synthetic": True,
        "statistics": {"default": "mean"}, "within_seed": ["task", "audience"],
    }  # fmt: skip
    return Records(rows.frame, {seed: told})


def test_the_report_holds_the_luck_of_worlds():
    page = personal.report(joined([world(1, 0.1), world(2, 0.3)]))
    assert "2 worlds" in page.title
    assert "personal" in page.title
    assert "20 [10, 30]%" in page.summary
    (sent,) = [row for row in page.table.rows if row[0] == "ppo, sent"]
    assert "20 [10, 30]" in sent[2]
    headings = [section.heading for section in page.sections]
    assert "Launches: products that no log shows" in headings
    assert "By world" in headings


def test_one_world_without_launches_is_reported_too():
    one = world(1, 0.1)
    one.about[1]["launches"] = None
    page = personal.report(Records(one.frame, one.about))
    assert "one world" in page.title
    assert not any("Launches" in section.heading for section in page.sections)
