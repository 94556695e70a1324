"""E10 end to end in its smallest form, its measures, and its mistakes."""

import json
import re

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.evaluation.records import Records, Rows, joined
from copygym.experiments.report.tables import interval
from copygym.experiments.studies.privacy import privacy, privacy_report
from copygym.experiments.studies.privacy.privacy import attack_auc, report

TINY = ("experiment=e10", "tiny=true", "tracker=disabled")


@pytest.fixture(scope="module")
def folders(composed, execute, tmp_path_factory):
    """Runs of two seeds in one place."""
    pytest.importorskip("opacus")
    place = tmp_path_factory.mktemp("e10")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPYGYM_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        for seed in (1, 2):
            execute(composed(*TINY, f"seed={seed}"), place / str(seed))
    return place


@pytest.fixture(scope="module")
def one(folders):
    return Records.read(folders / "1")


@pytest.fixture(scope="module")
def two(folders, one):
    return joined([one, Records.read(folders / "2")])


def of(records, metric, learner, epsilon=None, people=None):
    cell = {"learner": learner, "epsilon": epsilon, "people": people, "round": None}
    return records.number(metric, **cell)


def test_the_smallest_form_learns_every_setting(one, folders):
    assert one.first["synthetic"]
    bounds = one.where(metric="attack_bound").frame
    assert bounds.height == 5  # two budgets central and federated, one of few people
    for row in bounds.iter_rows(named=True):
        cell = (row["learner"], row["epsilon"], row["people"])
        assert of(one, "noise", *cell)["value"] > 0
        spent = of(one, "epsilon_spent", *cell)["value"]
        assert 0.9 * row["epsilon"] < spent <= row["epsilon"]
        assert row["value"] < 1
    auc = one.where(metric="auc").frame["value"]
    assert ((auc > 0) & (auc < 1)).all()
    assert of(one, "auc_lost", "central")["value"] == 0
    assert of(one, "truth_correlation", privacy.TRUTH)["value"] == pytest.approx(1)
    # Who knows the truth ranks best: the seed's rows and logits are in the same order.
    assert of(one, "auc", privacy.TRUTH)["value"] > 0.7
    curves = one.frame.drop_nulls("round")
    assert set(curves["learner"]) == {"central", "federated"}
    assert set(curves["round"]) == {5, 10}
    drawn = {p.stem for p in (folders / "1" / "figures").glob("*.svg")}
    assert drawn == {"epsilon", "people", "rounds"}


def test_what_is_lost_is_what_central_learning_has_more(one):
    rows = one.where(metric="auc_lost", round=None).frame
    central = of(one, "auc", "central")["value"]
    for row in rows.iter_rows(named=True):
        own = of(one, "auc", row["learner"], row["epsilon"], row["people"])["value"]
        assert row["value"] == pytest.approx(central - own)


@pytest.mark.parametrize("several", [False, True])
def test_the_page_shows_the_records(several, one, two):
    records = two if several else one
    page = report(records)
    rows = {row[0]: dict(zip(page.table.columns, row, strict=True)) for row in page.table.rows}
    assert len(rows) == 3 + 4 + 4  # references, settings without privacy, two budgets twice
    shown = rows["central, epsilon 8"]
    assert shown["AUC"] == interval(of(records, "auc", "central", 8))
    assert ("[" in shown["AUC"]) == several
    spent = of(records, "epsilon_spent", "central", 8)["value"]
    assert shown["epsilon spent"] == f"{spent:.2f}"
    bound = of(records, "attack_bound", "central", 8)["value"]
    assert shown["bound on attacks"] == f"{bound:.3f}"
    assert rows["central"]["epsilon spent"] == "infinite"
    assert rows["click rate alone"]["epsilon spent"] == "-"
    assert interval(of(records, "auc_lost", "federated")) in page.summary
    headings = [section.heading for section in page.sections]
    assert headings[:2] == ["What a budget costs", "How many people it takes"]
    assert ("By world" in headings) == several


def test_over_worlds_every_world_is_shown(two):
    section = report(two).sections[-1]
    table = section.tables[0]
    place = table.columns.index("central, 50 people, epsilon 1")
    each = two.by_seed("auc", learner="central", people=50, epsilon=1, round=None)
    assert [row[0] for row in table.rows] == ["1", "2"]
    assert [float(row[place]) for row in table.rows] == pytest.approx(each, abs=6e-4)
    entry = of(two, "auc", "central", 1, 50)
    assert entry["value"] == pytest.approx(each.mean())


def test_a_lost_setting_alone_is_learned_again(folders, composed, execute, one):
    folder = folders / "1"
    stages = {p: p.stat().st_mtime_ns for p in folder.rglob("stages/**/*.json")}
    lost = folder / "stages" / "settings" / "central__epsilon_1.json"
    for path in (lost, folder / "result.json"):
        path.unlink()
        stages.pop(path, None)
    state = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**state, "state": "started"}))
    execute(composed(*TINY, "seed=1"), folder)
    assert {p: p.stat().st_mtime_ns for p in stages} == stages
    assert Records.read(folder).frame.equals(one.frame)


def test_fewer_people_come_first():
    rows = Rows(0)
    for people in (1000, 3000, 250, None):
        for epsilon in (1.0, None):
            cell = {"learner": "central", "people": people, "epsilon": epsilon}
            rows.add("auc", 0.6, **cell)
            rows.add("attack_auc", 0.5, **cell)
    about = {"people": {"train": 6000}, "unit": "worlds"}
    section = privacy_report._by_people(rows.frame, Records(rows.frame, {0: about}))
    shown = [row[:2] for row in section.tables[0].rows]
    counts = ["250", "1,000", "3,000", "6,000"]
    assert shown == [(n, budget) for budget in ("no privacy", "epsilon 1") for n in counts]


def test_the_attack_is_the_auc_of_losses():
    assert attack_auc(np.array([0.1, 0.2]), np.array([0.3, 0.4])) == 1.0
    assert attack_auc(np.array([0.3, 0.4]), np.array([0.1, 0.2])) == 0.0
    assert attack_auc(np.array([0.1, 0.4]), np.array([0.2, 0.3])) == 0.5
    assert attack_auc(np.array([0.1]), np.array([0.1])) == 0.5


def test_settings_are_one_mechanism(composed):
    config = composed("experiment=e10")
    noise = {str(e): {"noise": float(10 - e)} for e in config["privacy"]["epsilons"]}
    found = {s.name: s for s in privacy.settings(config, noise)}
    assert found["central"].options.clip is None
    assert found["central"].options.noise == 0
    assert found["central, clipped"].options.clip == 1
    assert found["central, epsilon 0.5"].options.noise == 9.5
    assert found["federated, epsilon 8"].options.local_steps == 4
    assert found["federated, epsilon 8"].epsilon == 8
    equal = found["federated, equal passes"].options
    assert equal.rounds * equal.local_steps == found["central"].options.rounds
    few = found["central, 250 people, epsilon 1"]
    assert few.cell == {"learner": "central", "epsilon": 1.0, "people": 250}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["privacy.epsilons=[0]"], "privacy.epsilons=[0]: give a list of numbers above 0"),
        (["privacy.epsilons=[-1]"], "privacy.epsilons=[-1]"),
        (["privacy.delta=1"], "privacy.delta=1: give a number between 0 and 1"),
        (["central.clip=0"], "central.clip=0: give a number above 0"),
        (["federated.clip=null"], "federated.clip=null: give a number above 0"),
        (["few.epsilon=3"], "few.epsilon=3 is not among privacy.epsilons=[1, 8]"),
        (["training.server=lamb"], "unknown server 'lamb'"),
        (["features.people.user_region=north"], "features.people.user_region is 'north'"),
    ],
)
def test_mistakes_are_found_before_anything_is_learned(
    composed, execute, tmp_path, overrides, message
):
    with pytest.raises(UserError, match=re.escape(message)):
        execute(composed(*TINY, *overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_delta_that_gives_somebody_away_is_refused():
    with pytest.raises(UserError, match=re.escape("privacy.delta=0.01 of 200 people")):
        privacy._check_delta(0.01, 200)
