"""E10 end to end in its smallest form, its measures, and its mistakes."""

import json
import re

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.experiments.studies.privacy import privacy, privacy_report
from copygym.experiments.studies.privacy.privacy import attack_auc

TINY = ("experiment=e10", "tiny=true", "tracker=disabled")


def test_the_smallest_form_learns_every_setting_and_goes_on_where_it_was(
    composed, execute, tmp_path, monkeypatch, tmp_path_factory
):
    pytest.importorskip("opacus")
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path_factory.getbasetemp() / "home"))
    folder, config = tmp_path / "run", composed(*TINY)
    execute(config, folder)
    result = json.loads((folder / "result.json").read_text())
    assert result["synthetic"]
    private = [name for name, s in result["settings"].items() if s["epsilon"]]
    assert len(private) == 5  # two budgets central and federated, one of few people
    for name in private:
        setting = result["settings"][name]
        assert setting["noise"] > 0
        assert 0.9 * setting["epsilon"] < setting["spent"] <= setting["epsilon"]
        assert setting["attack_bound"] < 1
    for name in result["settings"]:
        assert 0 < result["estimates"][name]["auc"]["value"] < 1
    assert result["estimates"]["central"]["auc_lost"] == {"value": 0, "low": 0, "high": 0}
    truth = result["estimates"]["the truth, everybody rested"]
    assert truth["truth_correlation"]["value"] == pytest.approx(1)
    # Who knows the truth ranks best: the seed's rows and logits are in the same order.
    assert truth["auc"]["value"] > 0.7
    assert set(result["curves"]) == {"central", "federated"}
    assert {int(done) for done in result["curves"]["central"]} == {5, 10}
    assert {p.stem for p in (folder / "figures").glob("*.svg")} == {"epsilon", "people", "rounds"}
    assert "How many people it takes" in (folder / "report.md").read_text()
    # One setting of one seed was lost: it alone is learned again, and the end is the same.
    stages = {p: p.stat().st_mtime_ns for p in folder.rglob("stages/**/*.json")}
    lost = folder / "seeds" / "2" / "stages" / "settings" / "central__epsilon_1.json"
    for path in (lost, folder / "seeds" / "2" / "stages" / "values.json", folder / "result.json"):
        path.unlink()
        stages.pop(path, None)
    state = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**state, "state": "started"}))
    execute(config, folder)
    assert {p: p.stat().st_mtime_ns for p in stages} == stages
    assert json.loads((folder / "result.json").read_text()) == result


def test_fewer_people_come_first(composed):
    """A saved result has its names in alphabetical order, where 1,000 stands before 250."""
    config = composed("experiment=e10")
    noise = {str(e): {"noise": 1.0, "spent": e} for e in config["privacy"]["epsilons"]}
    chosen = privacy.settings(config, noise)
    entry = {"value": 0.6, "low": 0.5, "high": 0.7}
    result = {
        "settings": {s.name: privacy._described(s, noise, 1e-5) for s in reversed(chosen)},
        "estimates": {s.name: {"auc": entry, "attack_auc": entry} for s in chosen},
        "people": 6000,
        "unit": "worlds",
    }
    rows = privacy_report._by_people(result).tables[0].rows
    assert [row[0] for row in rows] == ["250", "1,000", "3,000", "6,000"] * 2


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
    assert found["central, 250 people, epsilon 1"].people == 250


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seeds=[1]"], "an interval over seeds needs at least 2"),
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
