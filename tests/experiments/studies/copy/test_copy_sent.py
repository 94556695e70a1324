"""What would be sent of rewrites: paired lifts by two gold models, and what the report shows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import Records, Rows
from copygym.experiments.studies.copy.rewriting import add_sent, check_rewriting, sent_about
from copygym.experiments.studies.copy.rewriting_report import rewriting_sections, sent_summary
from copygym.experiments.studies.copy.setting import check_task

CONFIG = {
    "task": "rewrite",
    "rewrites": {"kept": 0.2},
    "deliver": {"drafts": 2, "margin": 0.1, "near": 0.5},
    "gold_model": {"encoder": "smollm2"},
    "second_gold_model": {"encoder": "tfidf"},
    "evaluation": {"resamples": 200, "examples": 2},
}
FOUND = {
    "sft": {
        "texts": ["A Better Dog", "The Same Cat"],
        "gold": np.array([0.022, 0.02]),
        "second": np.array([0.01, 0.01]),
        "original_gold": np.array([0.02, 0.02]),
        "original_second": np.array([0.01, 0.01]),
        "measures": {"unchanged": 0.5, "facts_kept": 1.0, "invented": 0.0},
    }
}
TEST = SimpleNamespace(briefs=("of dogs", "of cats"), originals=("A Dog", "The Same Cat"))


class Tasks(SimpleNamespace):
    def __len__(self):
        return len(self.briefs)


@pytest.fixture
def records():
    rows = Rows(0)
    add_sent(rows, CONFIG, FOUND)
    setting = SimpleNamespace(test=Tasks(**vars(TEST)))
    return Records(rows.frame, {0: {"copy": {"rewriting": sent_about(CONFIG, setting, FOUND)}}})


def test_the_lift_is_over_the_originals_by_each_gold_model(records):
    assert records.number("deployable_lift", writer="sft")["value"] == pytest.approx(0.05)
    second = records.number("deployable_lift_second", writer="sft")
    assert (second["low"], second["value"], second["high"]) == (0.0, 0.0, 0.0)
    assert records.number("sent_unchanged", writer="sft")["value"] == 0.5


def test_the_report_shows_originals_beside_what_would_be_sent(records):
    table, examples = (section.tables[0] for section in rewriting_sections(records))
    assert table.columns[1:3] == ("lift by smollm2, %", "lift by tfidf, %")
    first, second = examples.rows
    assert first == ("A Dog", "A Better Dog", "+10.0", "+0.0")
    assert second == ("The Same Cat", "(kept)", "", "")
    assert "against the human originals: +5.0%" in sent_summary(records)


def test_a_study_of_writing_shows_nothing_of_it():
    plain = Records(Rows(0).frame, {0: {"copy": {}}})
    assert rewriting_sections(plain) == [] and sent_summary(plain) == ""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"deliver": {"drafts": 0}}, "deliver has drafts=0"),
        ({"deliver": {"draft": 1}}, "draft"),
        ({"rewrites": None}, "task=rewrite needs rewrites"),
        ({"rewrites": {"least": 0.1}}, "least"),
    ],
)
def test_odd_options_of_rewriting_are_refused(changed, message):
    check_rewriting(CONFIG)
    check_rewriting({**CONFIG, "task": "write", **changed})
    with pytest.raises(UserError, match=message):
        check_rewriting({**CONFIG, **changed})


def test_a_task_without_originals_is_one_sentence():
    storefront = {"data": {"name": "storefront"}}
    check_task({"task": "write", **storefront})
    with pytest.raises(UserError, match="task=rewrite needs a human original"):
        check_task({"task": "rewrite", **storefront})
    with pytest.raises(UserError, match="unknown task 'edit': choose one of rewrite, write"):
        check_task({"task": "edit", **storefront})
