"""Numbers of written copy: intervals over tasks, paired between writers, and what is recorded."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from copygym.evaluation.records import Records, Rows
from copygym.experiments.studies.copy import judging
from copygym.experiments.studies.copy.judging import add_writers, no_signal_warnings, worth_of

CONFIG = {"evaluation": {"resamples": 200}}


def test_a_model_without_signal_is_named():
    def setting(model, judge):
        judge = SimpleNamespace(model=SimpleNamespace(no_signal=judge))
        return SimpleNamespace(model=SimpleNamespace(no_signal=model), judge=judge)

    assert no_signal_warnings(setting(False, False)) == []
    (one,) = no_signal_warnings(setting(False, True))
    assert one.startswith("the judge found no signal")
    assert len(no_signal_warnings(setting(True, True))) == 2


def test_a_text_is_worth_the_same_in_any_company(monkeypatch):
    def proxy(texts, rows):
        liked = np.array([3.0 if text == "good" else 1.0 for text in texts])
        return liked + len(texts), {"worth": liked, "diversity": np.full(len(texts), len(texts))}

    def judge(model, readers):
        return lambda texts, rows: np.full(len(texts), -1.5)

    monkeypatch.setattr(judging, "ClickLogit", judge)
    setting = SimpleNamespace(proxy=proxy, judge=SimpleNamespace(model=None), held_out=None)
    value = worth_of(setting)
    # The proxy's 3, less the judge's 1.5.
    alone, among = value(["good"], [0]), value(["good", "plain"], [0, 0])
    assert alone[0] == among[0] == pytest.approx(1.5)


def writer(gold, **facts):
    return {
        "gold": np.array(gold), "proxy": np.array([1.0, 3.0]),
        "perplexity": np.array([4.0, np.inf]), "measures": {"words_mean": 7.0},
        "terms": {"gibberish": -0.5}, **facts,
    }  # fmt: skip


def test_a_writer_has_a_record_for_each_number():
    rows = Rows(3)
    people = SimpleNamespace(profiles=SimpleNamespace(segments=np.array(["old", "young"])))
    rows_of = SimpleNamespace(user=np.array([0, 1]))
    setting = SimpleNamespace(gold_users=people, test=rows_of, groups=None)
    history = [{"samples": 8.0, "kl": 0.1}, {"samples": 16.0, "kl": 0.2}]
    written = {
        "sft": writer([0.2, 0.4], kl=0.0),
        "ppo": writer([0.3, 0.6], kl=2.0, spent={"samples": 16}, history=history),
    }
    add_writers(rows, CONFIG, setting, written, None)
    records = Records(rows.frame)
    ppo = records.where(writer="ppo")
    whole = {"task": None, "segment": None, "term": None, "step": None}
    assert ppo.number("gold_ctr", **whole)["value"] == pytest.approx(0.45)
    assert ppo.number("lift", versus="sft")["value"] == pytest.approx(0.5)
    # A gibberish term of the reward is not the gibberish measure of the text.
    assert ppo.number("reward_term", term="gibberish")["value"] == -0.5
    # What has no finite perplexity is left out of the median.
    assert ppo.number("perplexity")["value"] == 4.0
    assert ppo.number("gold_ctr", **{**whole, "segment": "young"})["value"] == pytest.approx(0.6)
    assert ppo.number("gold_ctr", **{**whole, "task": 0})["value"] == pytest.approx(0.3)
    assert ppo.number("learning_kl", step=2)["value"] == 0.2
    assert ppo.number("samples")["value"] == 16
    assert records.where(writer="sft", metric="lift").frame.is_empty()
