"""Copywriting and campaign jobs, in their tiny form, with a copywriter trained on the spot."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import Records, joined
from copygym.experiments import app
from copygym.experiments.studies.copy import copywriting
from copygym.experiments.studies.copy.copywriting import ANY, BASE, BEST, FEW, SFT, saved_writer
from copygym.experiments.studies.copy.readers import CHOICES

NAMES = {"group": "g", "job_type": "j", "name": "n"}
SMALL = ["copywriter=tiny", "reward_model=tfidf", "data.n_users=200"]
CAMPAIGN = [
    # Two threads of torch wait for each other where other tests use the cores.
    "copywriter.threads=1",
    "samples=8",
    "users.n_users=64",
    "learn.steps=300",
    "env.num_envs=8",
    "env.horizon=14",
    "evaluation.users=20",
    "evaluation.timelines=1",
]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("COPYGYM_HOME", str(tmp_path_factory.getbasetemp() / "home"))
    yield
    patch.undo()


def execute(experiment: str, folder: Path, *overrides: str) -> Records:
    given = [f"experiment={experiment}", "tiny=true", "tracker=disabled", f"out={folder}"]
    config = app.composed([*given, *SMALL, *overrides])
    app.execute(config, folder, ["run"], NAMES)
    return Records.read(folder)


COMPARED = [
    "+algorithm@algorithms.best=best_of_n",
    "algorithms.best.n=4",
    # Fewer simulated readers than people of the test part: best-of-n must not ask for the first's
    # opinion on tasks of the others.
    "users.n_users=32",
]
WHOLE = {"task": None, "segment": None, "term": None, "step": None}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Finished comparisons of two algorithms with two seeds, the first one's folder first."""
    folder = tmp_path_factory.mktemp("copy")
    found = [execute("storefront_rlpf", folder / f"{s}", f"seed={s}", *COMPARED) for s in (0, 1)]
    return folder / "0", found


def test_a_kept_writer_is_read_as_the_config_reads_its_model(compared):
    kept = next(compared[0].rglob("writers/sft"))

    def read(**model):
        return saved_writer({"copywriter": {"model": model}}, kept)

    assert read(attention="eager").model.config._attn_implementation == "eager"
    assert read(attention="sdpa").model.config._attn_implementation == "sdpa"
    with pytest.raises(UserError, match="unknown device 'abacus'"):
        read(device="abacus")


def test_every_writer_is_judged_with_intervals_and_its_bill(compared):
    folder, (records, _) = compared
    written = [BEST, ANY, BASE, FEW, SFT, "ppo", "best"]
    # Log's copy chosen for readers, and what could be chosen, are judged by gold alone.
    assert records.values("writer") == [*written, *CHOICES]
    assert records.seeds == (0,) and records.first["synthetic"]
    for name in (*written, *CHOICES):
        gold = records.number("gold_ctr", writer=name, **WHOLE)
        assert 0 < gold["low"] <= gold["value"] <= gold["high"] < 1
    for name in written:
        for measure in ("distinct_2", "self_bleu", "compliance_rate"):
            assert records.number(measure, writer=name)["value"] is not None
    lift = records.number("lift", writer="ppo", versus="sft")["value"]
    rates = [records.number("gold_ctr", writer=w, **WHOLE)["value"] for w in ("ppo", "sft")]
    assert lift == pytest.approx(rates[0] / rates[1] - 1.0)
    assert 0 < records.number("samples", writer="ppo")["value"] <= 16
    report = (folder / "report.html").read_text()
    for expected in ("Is it still copy?", "Before and after", "<svg", "synthetic data"):
        assert expected in report
    assert "user_id" not in report


def test_copies_stand_side_by_side_in_a_column_that_wraps(compared):
    _, (records, _) = compared
    (section,) = [
        s for s in copywriting.report(records).sections if s.heading == "Before and after"
    ]
    assert len(section.tables) == 2
    for table, example in zip(section.tables, records.first["copy"]["examples"], strict=True):
        assert table.texts == (1,)
        for name, text, gold in table.rows:
            assert text == example["texts"][name]
            task = {**WHOLE, "task": example["task"]}
            value = records.number("gold_ctr", writer=name, **task)["value"]
            assert gold == f"{100 * value:.2f}"


def test_seeds_of_learning_share_what_they_learn_from(compared):
    _, (first, second) = compared
    for name in (BEST, ANY):
        texts = [part.first["copy"]["examples"][0]["texts"][name] for part in (first, second)]
        assert texts[0] == texts[1]
    judged = [part.number("proxy", writer=BEST) for part in (first, second)]
    assert judged[0] == judged[1]
    sft = [part.number("gold_ctr", writer=SFT, **WHOLE)["value"] for part in (first, second)]
    assert sft[0] != sft[1]


def test_several_seeds_are_reported_by_their_mean(compared):
    _, parts = compared
    records = joined(parts)
    report = copywriting.report(records)
    value = {
        part.seeds[0]: part.number("gold_ctr", writer="ppo", **WHOLE)["value"] for part in parts
    }
    both = records.number("gold_ctr", writer="ppo", **WHOLE)
    assert both["value"] == pytest.approx((value[0] + value[1]) / 2)
    assert (both["low"], both["high"]) == pytest.approx(tuple(sorted(value.values())))
    assert "2 seeds" in report.table.caption
    each = report.sections[-1]
    assert each.heading == "By seed" and len(each.tables) == 3
    ppo = each.tables[0].columns.index("ppo")
    assert [row[ppo] for row in each.tables[0].rows] == [f"{100 * value[s]:.3f}" for s in (0, 1)]


def test_the_parts_of_the_log_are_disjoint_people(compared):
    seen = compared[1][0].first["rows_seen"]
    assert set(seen) == {"proxy", "judge", "test"}
    assert sum(part["users"] for part in seen.values()) == 200


def test_a_second_run_is_equal_but_for_its_time(compared, tmp_path):
    def without_time(records):
        return records.frame.filter(~records.frame["metric"].str.contains("seconds|samples_per"))

    again = execute("storefront_rlpf", tmp_path / "again", "seed=0", *COMPARED)
    assert without_time(again).equals(without_time(compared[1][0]))


def test_a_campaign_compares_copy_and_policy(tmp_path):
    records = execute("quickstart", tmp_path / "run", *CAMPAIGN)
    about, policies = records.first, records.where(versus=None).values("policy")
    assert {name.split(", ")[0] for name in policies} == {"logged copy", "with new copy"}
    assert about["baseline"] == "logged copy, logging"
    assert about["learned"].startswith("with new copy, maskable_ppo")
    cell = {"policy": about["learned"], "segment": None}
    clicks = records.number("clicks_per_user", **cell)["value"]
    gain = records.number("clicks_per_user", **cell, versus=about["baseline"])["value"]
    before = records.number("clicks_per_user", policy=about["baseline"], segment=None)["value"]
    assert gain == pytest.approx(clicks - before)
    # One place a product (tiny) and audience, before and after.
    shown = about["creatives"]
    audiences = {entry["audience"] for entry in shown}
    places = {(entry["product"], entry["audience"]) for entry in shown}
    assert len(audiences) > 1
    assert len(shown) == len(places) == 8 * len(audiences)
    # New copy is compared with the log's under each policy, paired by user.
    without = about["learned"].replace("with new copy", "logged copy")
    paired = records.number("clicks_per_user", **cell, versus=without)["value"]
    alone = records.number("clicks_per_user", policy=without, segment=None, versus=None)["value"]
    assert paired == pytest.approx(clicks - alone)
    assert 0 <= records.number("passed")["value"] <= 1
    assert 0 <= records.number("sendable")["value"] <= 1
    assert records.number("places")["value"] == len(shown)
    won = [entry["new"] == "yes" for entry in shown]
    assert records.number("places_won")["value"] == sum(won)
    assert all(entry["before"] != entry["after"] for entry in shown if entry["new"] == "yes")
    report = (tmp_path / "run" / "report.html").read_text()
    for expected in (
        "What new copy is worth", "What is sent: before and after", "The copywriter alone",
        "Timelines", "Learning curve",
        "Is it still copy?", "How real are the simulated users?",
    ):  # fmt: skip
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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+algorithm@algorithms.best=best_of_n"], "a campaign uses one copywriter"),
        (["evaluation.baseline=nobody"], "evaluation.baseline=nobody is no policy of this run"),
    ],
)
def test_a_campaign_needs_one_copywriter_and_a_policy_to_compare_with(overrides, message, tmp_path):
    with pytest.raises(UserError, match=re.escape(message)):
        execute("quickstart", tmp_path / "run", *CAMPAIGN, *overrides)
