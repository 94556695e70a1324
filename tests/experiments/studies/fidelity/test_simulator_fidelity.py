"""E1: do simulators keep their promises, rank policies as others do, and know whose clicks?"""

import re

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.core.files.storage import read_json
from copygym.evaluation.fidelity.agreement import Values
from copygym.evaluation.records import Records, Rows, joined
from copygym.experiments.report.tables import interval
from copygym.experiments.studies.fidelity import simulator_fidelity as e1
from copygym.experiments.studies.fidelity.stages import Decided

#: One family and two learners.
SMALL = (
    "simulators.boosting=null", "simulators.two_tower=null", "learners.ppo=null",
    "learners.bandit=null", "learners.episodic=null",
)  # fmt: skip
WHOLE = {"policy": None, "home": None}


@pytest.fixture(scope="module")
def configured(composed):
    """The maker of E1's configs."""
    return lambda *overrides: composed("experiment=e1", "tiny=true", "tracker=disabled", *overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("split.judge=0", "split.judge=0: give a share of users above 0."),
        ("evaluation.estimator=dm", "'dm'"),
        ("evaluation.baseline=nobody", "'nobody'"),
        ("references.random.hold=2", "agent.hold is 2"),
    ],
)
def test_mistakes_are_found_before_the_work(configured, override, message):
    with pytest.raises(UserError, match=re.escape(message)):
        e1.check(configured(override))


def test_nobody_to_learn_and_nowhere_to_learn(configured):
    config = configured()
    with pytest.raises(UserError, match=re.escape("simulators is empty")):
        e1.check({**config, "simulators": dict.fromkeys(config["simulators"])})
    with pytest.raises(UserError, match=re.escape("learners is empty")):
        e1.check({**config, "learners": {}})


@pytest.fixture(scope="module")
def finished(tmp_path_factory, configured, execute):
    """The folder of a small run."""
    patch = pytest.MonkeyPatch()
    base = tmp_path_factory.mktemp("e1")
    patch.setenv("COPYGYM_HOME", str(base / "home"))
    config = configured(*SMALL, "references.all_alike=null", "arms=true", "seed=1")
    execute(config, base / "run")
    patch.undo()
    return base / "run"


@pytest.fixture(scope="module")
def records(finished):
    """Its records."""
    return Records.read(finished)


@pytest.fixture(scope="module")
def two(records):
    """Records of two seeds: those of the run, and the same a tenth higher."""
    frame = records.frame.with_columns(seed=pl.lit(2, pl.Int64), value=pl.col("value") + 0.1)
    return joined([records, Records(frame, {2: records.first})])


def test_optimism_is_what_was_promised_less_what_is_paid(records):
    assert records.where(metric="optimism", **WHOLE).values("judge") == ["logistic B", "truth"]
    learned = ("bandit_briefly in logistic A", "planner in logistic A")
    assert records.where(metric="promised_gain").values("policy") == list(learned)

    def value(policy, judge):
        return records.number("value", policy=policy, judge=judge, span="episode")["value"]

    for judge in ("logistic B", "truth"):
        gaps = [value(policy, "logistic A") - value(policy, judge) for policy in learned]
        for policy, gap in zip(learned, gaps, strict=True):
            found = records.number("optimism", policy=policy, judge=judge)
            assert found["value"] == pytest.approx(gap)
        whole = records.number("optimism", judge=judge, **WHOLE)
        assert whole["value"] == pytest.approx(sum(gaps) / 2)
        # One simulator taught: what is of it is of all.
        assert whole == records.number("optimism", judge=judge, policy=None, home="logistic A")
        level = records.number("optimism", policy="random", judge=judge)
        expected = value("random", "logistic A") - value("random", judge)
        assert level["value"] == pytest.approx(expected)
    # Whoever plans with a simulator's tables is worth the most there.
    ours = records.where(metric="value", judge="logistic A", span="episode").frame
    assert ours.sort("value")["policy"].to_list()[-1] == "planner in logistic A"


def test_the_share_of_a_gain_is_paid_over_promised(records):
    promised = records.number("promised_gain", **WHOLE)
    assert promised["low"] > 0
    for judge in ("logistic B", "truth"):
        gain = records.number("gain", judge=judge, **WHOLE)["value"]
        share = records.number("gain_share", judge=judge, **WHOLE)["value"]
        assert share == pytest.approx(gain / promised["value"])


def test_what_holds_always_is_worth_nothing_to_everybody(records):
    cell = {"policy": "always hold", "span": "decision"}
    for judge in ("truth", "logistic A", "logistic B"):
        assert records.number("value", judge=judge, **cell)["value"] == 0


def test_policies_are_ranked_by_the_log_and_the_truth(records):
    found = records.where(metric="kendall_tau").frame
    assert set(found.select("reference", "span", "judge").iter_rows()) == {
        *(("log", "decision", f"logistic {half}") for half in "AB"),
        *(("truth", "decision", judge) for judge in ("logistic A", "logistic B", "log")),
        *(("truth", "episode", f"logistic {half}") for half in "AB"),
    }
    supported = records.where(metric="supported").frame["value"].sum()
    counts = records.where(metric="policies", reference="log").frame["value"]
    assert set(counts) == {supported}
    # Over an episode all that learned and the two references are ranked; fixed arms are not.
    assert set(records.where(metric="policies", span="episode").frame["value"]) == {4}


def test_the_log_ranks_only_policies_that_it_supports():
    """By hand: the log has the order of logistic A, the truth its reverse."""
    policies = ("a", "b", "c", "d")
    value_PJ = np.array([[1.0, 4.0, 1.0], [2.0, 3.0, 2.0], [3.0, 2.0, 3.0], [9.0, 9.0, 9.0]])
    draws_RPJ = np.broadcast_to(value_PJ, (20, 4, 3))
    values = Values(policies, ("logistic A", "truth", "log"), value_PJ, draws_RPJ)
    support = Decided(values, np.array([500.0, 500.0, 500.0, 50.0]), np.full(4, 20.0))
    rows = Rows(1)
    supported = e1._add_support(rows, support, believable=True)
    assert supported == ["a", "b", "c"]
    e1._add_agreement(rows, {"decision": values}, supported, ["logistic A"])
    records = Records(rows.frame)
    for judge, reference, tau in (
        ("logistic A", "log", 1.0), ("logistic A", "truth", -1.0), ("log", "truth", -1.0),
    ):  # fmt: skip
        cell = {"judge": judge, "reference": reference}
        assert records.number("kendall_tau", **cell)["value"] == pytest.approx(tau)
        assert records.number("policies", **cell)["value"] == 3
    # A log that contradicts itself supports nobody: the truth then ranks all of them.
    rows = Rows(1)
    supported = e1._add_support(rows, support, believable=False)
    e1._add_agreement(rows, {"decision": values}, supported, ["logistic A"])
    records = Records(rows.frame)
    assert records.number("kendall_tau", judge="logistic A", reference="log")["value"] is None
    assert records.number("kendall_tau", judge="log", reference="truth")["value"] is None
    assert records.number("policies", judge="logistic A", reference="truth")["value"] == 4
    assert set(records.where(metric="supported").frame["value"]) == {0.0}


def test_every_send_is_in_one_segment_of_each_kind(records):
    rates = records.where(metric="impressions", judge="logistic B")
    totals = rates.frame.group_by("kind").agg(pl.col("value").sum())
    kinds = {"age_band", "region", "device", "income", "creative"}
    assert set(totals["kind"]) == kinds
    assert totals["value"].n_unique() == 1
    inside = records.where(metric="inside", judge="logistic B").frame
    for kind, rows in (
        ("segments", inside.filter(pl.col("kind") != "creative")),
        ("creatives", inside.filter(pl.col("kind") == "creative")),
    ):
        share = records.number("inside_share", judge="logistic B", kind=kind)["value"]
        assert share == pytest.approx(rows["value"].mean())


def test_answers_on_logged_decisions_are_those_of_the_fidelity_card(finished, records):
    """Two ways to the same rates: the fit's own rows, and profiles and states made from the log."""
    gaps = []
    for name in ("logistic A", "logistic B"):
        card = read_json(finished / "users" / name.lower().replace(" ", "_") / "fidelity.json")
        arms = {g["name"]: g["simulated"] for g in card["groups"] if g["kind"] == "arm"}
        rates = records.where(metric="simulated_rate", judge=name, kind="creative").frame
        gaps.append(max(abs(arms[r["segment"]] - r["value"]) for r in rates.to_dicts()))
        assert records.number("auc", judge=name)["value"] == card["auc"][0]
    # Rows begin at the later of the two fits' cuts, so that one of them is judged on its very rows.
    assert min(gaps) < 1e-6
    assert max(gaps) < 5e-3


def cell_of(table, row, column):
    (cells,) = [cells for cells in table.rows if cells[0] == row]
    return cells[table.columns.index(column)]


def test_the_table_shows_the_records(records, two):
    for shown in (records, two):
        table = e1.report(shown).table
        for row, column, number in (
            (
                "truth",
                "optimism, clicks per person",
                shown.number("optimism", judge="truth", **WHOLE),
            ),
            (
                "logistic B",
                "tau with the truth, over an episode",
                shown.number("kendall_tau", judge="logistic B", reference="truth", span="episode"),
            ),
        ):
            assert cell_of(table, row, column) == interval(number)
        share = shown.number("gain_share", judge="truth", **WHOLE)
        assert cell_of(table, "truth", "gain share %") == interval(share, "%")
        inside = shown.number("inside_share", judge="logistic A", kind="segments")
        assert cell_of(table, "logistic A", "segments inside %") == interval(inside, "%")
        assert cell_of(table, "truth", "tau with the log") == "-"


def test_several_seeds_are_shown_together_and_the_lowest_in_full(records, two):
    report = e1.report(two)
    assert report.title == "Simulator fidelity: storefront, 2 worlds"
    mean = two.number("optimism", judge="truth", **WHOLE)
    one = records.number("optimism", judge="truth", **WHOLE)
    assert mean["value"] == pytest.approx(one["value"] + 0.05)
    headings = [section.heading for section in report.sections]
    assert headings[:3] == ["Over 2 worlds", "Each world", "World 1: Exploit test"]
    (by_world, *_) = report.sections[1].tables
    assert [row[0] for row in by_world.rows] == ["1", "2"]
    assert cell_of(by_world, "2", "truth") == f"{one['value'] + 0.1:.3f}"
    alone = e1.report(records).sections
    assert [section.tables for section in report.sections[2:]] == [s.tables for s in alone]


def test_the_sections_show_promises_ranks_and_segments(records):
    exploit, ranks, segments, decisions, cards = e1.report(records).sections
    policy = "planner in logistic A"
    values, optimism, gain, share, each = exploit.tables
    promised = records.number("value", policy=policy, judge="logistic A", span="episode")
    assert cell_of(values, policy, "promised") == interval(promised)
    assert values.columns == ("policy", "promised", "logistic B", "truth")
    assert [row[0] for row in optimism.rows] == [
        "logistic A", "all", "random, as logistic A sees it",
    ]  # fmt: skip
    whole = records.number("promised_gain", **WHOLE)
    assert cell_of(gain, "all", "promised") == interval(whole)
    assert cell_of(share, "all", "truth") == interval(
        records.number("gain_share", judge="truth", **WHOLE), "%"
    )
    own = records.number("optimism", policy=policy, judge="truth")
    assert cell_of(each, policy, "truth") == interval(own)
    # Of so small a log too few policies are supported to be ranked by it.
    assert any(text.startswith("Ranked by the log: fewer than three") for text in ranks.text)
    assert len(ranks.tables) == len(ranks.pictures) == 2
    cell = {"judge": "logistic A", "reference": "truth", "span": "episode"}
    agreed, clear = (records.number(n, **cell)["value"] for n in ("agreed_pairs", "clear_pairs"))
    assert cell_of(ranks.tables[1], "logistic A", "clear pairs agreed") == (
        f"{agreed:.0f} of {clear:.0f}"
    )
    z = records.where(metric="z", judge="logistic A").frame.filter(pl.col("kind") != "creative")
    worst = z.sort(pl.col("value").abs()).row(-1, named=True)
    name = f"{worst['kind']}: {worst['segment']}"
    assert cell_of(segments.tables[0], "logistic A: segments", "worst") == name
    assert f"the worst is {name}" in e1.report(records).summary
    few = records.where(metric="supported", value=0.0).values("policy")
    assert {row[0] for row in decisions.tables[0].rows if row[0].endswith(" *")} == {
        f"{policy} *" for policy in few
    }
    assert cell_of(cards.tables[0], "logistic B", "AUC") == interval(
        records.number("auc", judge="logistic B")
    )


def test_the_page_has_no_number_that_means_nothing(finished):
    page = (finished / "report.md").read_text()
    assert page.startswith("# Simulator fidelity: storefront\n")
    assert "**Synthetic data.**" in page
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b|\bnull\b", page)
    for name in re.findall(r"\]\((\w+\.svg)\)", page):
        assert (finished / "figures" / name).exists()
    assert any("one seed" in text for text in read_json(finished / "result.json")["assumptions"])


def test_a_log_of_many_decisions_without_truth(tmp_path, monkeypatch, composed, execute):
    """Any log but storefront's is treated as real: here storefront's file under another name."""
    from copygym.envs.datasets import load

    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path / "home"))
    load("storefront", n_users=240, n_slots=28).write(tmp_path / "log.parquet")
    config = composed(
        "experiment=e1", "dataset=table", f"data.path={tmp_path / 'log.parquet'}",
        "~data.seed", "~data.n_users", "~data.n_slots", "tiny=true", "tracker=disabled",
        *SMALL, "learners.planner=null",
    )  # fmt: skip
    execute(config, tmp_path / "run")
    records = Records.read(tmp_path / "run")
    # Over an episode only other simulators can judge; the log judges decisions.
    assert records.where(metric="optimism").values("judge") == ["logistic B"]
    assert records.where(metric="kendall_tau").values("reference") == ["log"]
    report = e1.report(records)
    assert "truth" not in report.summary
    assert report.table.columns[-2:] == ("tau with the log", "segments inside %")
