"""E13: what an arm would send, what readers are taken for, and what its report makes of records."""

import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.envs.profiles.builder import Profiles
from copygym.evaluation.records import Records, Rows, joined
from copygym.experiments.runs.folder import Record
from copygym.experiments.studies.copy import copywriting, personal
from copygym.experiments.studies.copy.personal import SENT, WITH_LOG, Arm
from copygym.experiments.studies.copy.storefront import BLIND, PERMUTED, taken_for

OPTIONS = {"draws": 2, "temperature": 1.0, "top_p": 1.0}
#: What the reward makes of a text.
WORTH = {"good": 3.0, "better": 4.0, "false": 9.0, "logged": 2.0, "best logged": 3.5}


@pytest.fixture
def config(composed):
    return partial(composed, "experiment=e13", "tiny=true", "copywriter=tiny")


class Folder:
    """Keeps no stage."""

    def stage(self, name, compute):
        found = compute()
        assert isinstance(found, Record)
        return found


class Tasks(tuple):
    """Tasks that are numbers."""

    briefs = ()
    originals = ()

    def take(self, index):
        return Tasks(self[i] for i in np.asarray(index).tolist())


@pytest.fixture
def arm(monkeypatch):
    """Three tasks: two good draws, one good draw that the log beats, and none that passes."""
    drawn = [["good", "better"], ["good", "false"], ["false", "false"]]

    class Writer:
        def write(self, rows, *, seed, temperature, top_p, samples):
            return [text for task in rows for text in drawn[task]]

    def proxy(texts, rows):
        # What depends on the company that a text is in is left out.
        liked = np.array([WORTH[text] for text in texts])
        return liked + len(texts), {"worth": liked, "diversity": np.full(len(texts), len(texts))}

    setting = SimpleNamespace(test=Tasks(range(3)), proxy=proxy)
    monkeypatch.setattr(copywriting, "improved_writer", lambda *_: (Writer(), {}))
    monkeypatch.setattr(personal, "honest_copy", lambda _: [["logged", "best logged"]] * 3)
    check = "copygym.agents.copywriter.gate"
    bad = (SimpleNamespace(kind="false"),)
    monkeypatch.setattr(f"{check}._check", lambda rows, i, text: bad if text == "false" else ())
    monkeypatch.setattr(f"{check}.warn_of_briefs", lambda _: None)
    return Arm("", {"evaluation": OPTIONS}, Folder(), None, setting, 0, "ppo")


def test_an_arm_sends_its_best_draw_that_passes_and_the_log_s_where_none_does(arm):
    sent = arm.sent()
    assert sent[SENT].texts == ["better", "good", "best logged"]
    assert sent[SENT].shares["own"] == pytest.approx(2 / 3)
    assert sent[SENT].shares["passed_first"] == pytest.approx(3 / 6)
    # With the log in the choice, what is liked better is sent.
    assert sent[WITH_LOG].texts == ["better", "best logged", "best logged"]
    assert sent[WITH_LOG].shares["own"] == pytest.approx(1 / 3)


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
    writers = ["sft", "ppo", "ppo, sent", "blind ppo, sent", "permuted ppo, sent"]
    chosen = ["log, one for all", "log, chosen for each"]
    for name in [*writers, *chosen]:
        own = gain if name == "ppo, sent" else 0.0
        rows.add("gold_ctr", 0.1 * (1 + own), writer=name)
        rows.add("personal_gain", own, writer=name)
        if name in writers:
            rows.add("proxy", 1.0, writer=name)
            rows.add("kl", 0.0, writer=name)
            rows.add("reward_term", 0.0, writer=name, term="length")
        for other in ("log, one for all", "log, chosen for each", "blind ppo, sent"):
            if other != name:
                rows.add("gain", own, writer=name, versus=other)
        rows.add("gold_ctr", 0.1, writer=name, task=0)
        rows.add("trait", 0.5, writer=name, audience="old", trait="words")
    for size in (100, 1000):
        rows.add("clicks", size / 2, size=size)
        rows.add("gold_ctr", 0.1, writer="log, chosen for each", size=size)
        rows.add("gain", gain, writer="log, chosen for each", versus="log, one for all", size=size)
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
    assert "By the size of the log" in headings
    assert "Launches: products that no log shows" in headings
    assert "By world" in headings


def test_one_world_without_launches_is_reported_too():
    one = world(1, 0.1)
    one.about[1]["launches"] = None
    page = personal.report(Records(one.frame, one.about))
    assert "one world" in page.title
    assert not any("Launches" in section.heading for section in page.sections)
