"""The contract of plug-ins: one part of each kind, brought by a package that copygym knows not."""

import json
import shutil
from pathlib import Path

import pytest

from copygym.evaluation.records import Records

CONF = Path(__file__).parent / "package" / "conf"
DELIVERY = (
    "experiment=delivery", "agent=patient", "dataset=parcels", "env=weekday", "reward=frugal",
    "users=by_creative", "tiny=true", "tracker=disabled", "learn.steps=400", "evaluation.users=10",
    "evaluation.resamples=20", "evaluation.timelines=0", "references.best_fixed=null",
    "references.upper=null",
)  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def delivered(copygym, work):
    """A finished run whose dataset, environment, agent, reward and users are the package's."""
    done = copygym("run", "--config-dir", CONF, *DELIVERY, "out=run", cwd=work)
    assert done.returncode == 0, done.stderr
    return work / "run"


def test_a_run_of_outside_parts(delivered):
    assert json.loads((delivered / "result.json").read_text())["synthetic"]
    records = Records.read(delivered)
    assert "patient (learned)" in records.frame["policy"].to_list()
    # The dataset is not called storefront and yet has a world, which is who judges.
    assert records.first["judge"].startswith("Judged in the synthetic world itself")
    assert not (delivered / "users" / "judge").exists()
    click = json.loads((delivered / "users" / "proxy" / "click" / "model.json").read_text())
    assert click == {"family": "parcels.models:ByCreative"}


def test_the_outside_environment_is_that_of_learning_and_evaluation(delivered):
    """Nobody is sent anything in the quiet slot: a quarter of eight slots."""
    agent = json.loads((delivered / "agents" / "patient__learned" / "agent.json").read_text())
    assert agent["class"] == "parcels.agents.Patient"
    whole = {"versus": None, "segment": None, "step": None}
    records = Records.read(delivered)
    sends = records.number("sends_per_user", policy="patient (learned)", **whole)["value"]
    assert 0 < sends <= 6


def test_a_finished_run_is_shown_again(delivered, copygym, work):
    done = copygym("run", "--config-dir", CONF, *DELIVERY, "out=run", cwd=work)
    assert done.returncode == 0, done.stderr
    assert "this run is finished" in done.stderr


def test_a_stranger_s_run_imports_nothing_unless_it_is_trusted(delivered, copygym, work):
    first = copygym("evaluate", "run", "--users", "5", cwd=work)
    assert first.returncode == 2
    assert first.stderr.count("\n") == 1 and "--trust" in first.stderr
    named = (
        "parcels.agents.Patient", "parcels", "weekday", "frugal", "parcels.rewards:frugal",
        "parcels.models:ByCreative",
    )  # fmt: skip
    trusted = [word for name in named for word in ("--trust", name)]
    done = copygym("evaluate", "run", "--users", "5", *trusted, cwd=work)
    assert done.returncode == 0, done.stderr
    assert "patient" in done.stdout


@pytest.mark.parametrize("part", ["parcels", "parcels.models:ByCreative"])
def test_each_name_in_a_folder_must_be_trusted(delivered, copygym, work, part, tmp_path):
    others = {
        "parcels.agents.Patient", "weekday", "frugal", "parcels", "parcels.models:ByCreative",
    } - {part}  # fmt: skip
    trusted = [word for name in sorted(others) for word in ("--trust", name)]
    shutil.copytree(delivered, tmp_path / "copy")
    done = copygym("evaluate", "copy", "--users", "5", *trusted, cwd=tmp_path)
    assert done.returncode == 2
    assert part in done.stderr


def test_an_outside_experiment_runs_and_reports(copygym, work):
    done = copygym(
        "run", "--config-dir", CONF, "experiment=count_clicks", "dataset=parcels", "tiny=true",
        "tracker=disabled", "out=counted", cwd=work,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((work / "counted" / "result.json").read_text())["summary_numbers"]
    assert [value > 0 for name, value in found.items() if name.endswith("/clicks")] == [True]
    refused = copygym("report", "counted", cwd=work)
    assert refused.returncode == 2 and "--trust" in refused.stderr
    assert copygym("report", "counted", "--trust", "count_clicks", cwd=work).returncode == 0


def test_a_writer_is_trained_by_outside_parts(copygym, work):
    done = copygym(
        "run", "--config-dir", CONF, "experiment=storefront_rlpf", "copywriter=tiny", "tiny=true",
        "tracker=disabled", "reward_model=letters", "reward_model@judge_model=letters",
        "copy_reward=quiet", "+algorithm@algorithms.first=first_draft", "algorithms.ppo=null",
        "dataset=parcels", "out=copy", cwd=work,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "first" in Records.read(work / "copy").frame["writer"].to_list()


def test_a_misspelt_dataset_lists_the_plug_in_s(copygym, work):
    done = copygym("data", "card", "parcel", cwd=work)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "unknown dataset 'parcel'" in done.stderr
    assert "hillstrom" in done.stderr and "did you mean 'parcels'?" in done.stderr


def test_datasets_are_listed_without_being_imported(copygym, work, installed):
    done = copygym("data", "list", cwd=work)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("parcels")]
    assert "plug-in" in line and "copygym-parcels" in line
    assert "nobody is real" in copygym("data", "card", "parcels", cwd=work).stdout
