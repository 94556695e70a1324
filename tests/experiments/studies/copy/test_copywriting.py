"""Copywriting and campaign jobs, in their tiny form, with a copywriter trained on the spot."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from copygym.core.errors import UserError
from copygym.experiments import app
from copygym.experiments.studies.copy.copywriting import ANY, BASE, BEST, SFT, saved_writer

NAMES = {"group": "g", "job_type": "j", "name": "n"}
SMALL = ["copywriter=tiny", "reward_model=tfidf", "data.n_users=200"]
CAMPAIGN = [
    "learn.steps=600",
    "env.num_envs=16",
    "references.best_fixed=null",
    "evaluation.users=20",
    "evaluation.timelines=1",
]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("COPYGYM_HOME", str(tmp_path_factory.getbasetemp() / "home"))
    yield
    patch.undo()


def execute(experiment: str, folder: Path, *overrides: str) -> dict:
    given = [f"experiment={experiment}", "tiny=true", "tracker=disabled", f"out={folder}"]
    config = app.composed([*given, *SMALL, *overrides])
    app.execute(config, folder, ["run"], NAMES)
    return json.loads((folder / "result.json").read_text())


COMPARED = [
    "seeds=[0,1]",
    "+algorithm@algorithms.best=best_of_n",
    "+algorithms.best.n=4",
    # Fewer simulated readers than people of the test part: best-of-n must not ask for the first's
    # opinion on tasks of the others.
    "users.n_users=32",
]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A finished comparison of two algorithms over two seeds."""
    folder = tmp_path_factory.mktemp("copy") / "run"
    return folder, execute("storefront_rlpf", folder, *COMPARED)


def test_a_kept_writer_is_read_as_the_config_reads_its_model(compared):
    kept = next(compared[0].rglob("writers/sft"))

    def read(**model):
        return saved_writer({"copywriter": {"model": model}}, kept)

    assert read(attention="eager").model.config._attn_implementation == "eager"
    assert read(attention="sdpa").model.config._attn_implementation == "sdpa"
    with pytest.raises(UserError, match="unknown device 'abacus'"):
        read(device="abacus")


def test_every_writer_is_judged_with_intervals_and_its_bill(compared):
    folder, result = compared
    assert result["order"] == [BEST, ANY, BASE, SFT, "ppo", "best"]
    assert result["seeds"] == [0, 1] and result["synthetic"]
    for name, entry in result["writers"].items():
        for key in ("gold_ctr", "lift", "proxy"):
            assert set(entry[key]) == {"value", "low", "high"}, name
        assert 0 < entry["gold_ctr"]["value"] < 1
        assert {"distinct_2", "self_bleu", "compliance_rate"} <= set(entry["measures"])
    assert result["writers"]["sft"]["lift"]["value"] == 0
    assert 0 < result["writers"]["ppo"]["spent"]["samples"] <= 16
    assert len(result["samples"]) == 2
    report = (folder / "report.html").read_text()
    for expected in ("Is it still copy?", "Before and after", "<svg", "synthetic data"):
        assert expected in report
    assert "user_id" not in report


def test_the_parts_of_the_log_are_disjoint_people(compared):
    _, result = compared
    seen = result["rows_seen"]
    assert set(seen) == {"proxy", "judge", "test"}
    assert sum(part["users"] for part in seen.values()) == 200


def test_a_finished_comparison_is_reported_and_a_second_one_is_equal(compared, tmp_path):
    _, result = compared
    again = execute("storefront_rlpf", tmp_path / "again", *COMPARED)

    def without_time(document):
        if isinstance(document, dict):
            return {
                key: without_time(value)
                for key, value in document.items()
                if "seconds" not in key and "samples_per" not in key
            }
        if isinstance(document, list):
            return [without_time(entry) for entry in document]
        return document

    assert without_time(again) == without_time(result)


def test_a_campaign_compares_copy_and_policy(tmp_path):
    result = execute("quickstart", tmp_path / "run", *CAMPAIGN)
    policies = result["policies"]
    assert {name.split(", ")[0] for name in policies} == {"logged copy", "with new copy"}
    assert result["baseline"] == "logged copy, logging"
    assert result["learned"].startswith("with new copy, maskable_ppo")
    places = Counter(
        (entry["product"], side)
        for entry in result["creatives"]
        for side in ("before", "after")
        if side in entry["side"]
    )
    # One place a product (tiny), before and after.
    assert len(places) == 16 and set(places.values()) == {1}
    report = (tmp_path / "run" / "report.html").read_text()
    for expected in ("What is sent: before and after", "The copywriter alone", "Timelines"):
        assert expected in report


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("algorithms.ppo=null", "algorithms is empty; name at least one"),
        ("+algorithms.ppo.kl_cof=1", "kl_cof"),
        ("split.judge=0", "split.judge=0: give a share above 0."),
        ("samples=0", "samples=0: give a whole number of 1 or more."),
        ("+copy_reward.terms.likes=1", "likes"),
        ("+copywriter.sft.rate=1", "unknown key of copywriter.sft 'rate'"),
        ("+copywriter.sft.peft.rnak=1", "unknown key of copywriter.sft.peft 'rnak'"),
        ("copywriter.sft.peft.kind=lura", "unknown peft kind 'lura'"),
        ("+copywriter.tiny.width=1", "unknown key of copywriter.tiny 'width'"),
        ("judge_model=tfidf", "judge_model is 'tfidf', not a config part with _target_"),
    ],
)
def test_a_mistake_is_found_before_anything_is_learned(override, expected, tmp_path):
    with pytest.raises(UserError, match=re.escape(expected)):
        execute("storefront_rlpf", tmp_path / "run", override)
    stages = tmp_path / "run" / "stages"
    assert not (stages / "learn").exists() and not (stages / "model").exists()


def test_the_fields_of_a_campaign_need_people_with_a_truth(tmp_path):
    extra = "+algorithm@algorithms.best=best_of_n"
    with pytest.raises(UserError, match="a campaign uses one copywriter"):
        execute("quickstart", tmp_path / "run", *CAMPAIGN, extra)
