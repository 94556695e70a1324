"""What ends the resume of a run, and what does not."""

import json
import re
import subprocess
import sys
import textwrap

import pytest

from copygym.core.errors import UserError
from copygym.experiments.runs import code
from copygym.experiments.runs.code import job_code
from copygym.experiments.runs.folder import Record, open_run
from copygym.experiments.runs.source import read_source

STUDIES = "copygym.experiments.studies"
PEEKING = {
    "name": "e9",
    "job": f"{STUDIES}.statistics.peeking",
    "seed": 0,
    "peeking": {"replications": 10},
    "federated": {"clip": 1.0},
    "out": "x",
}


@pytest.fixture
def edit(tmp_path, monkeypatch):
    """Lets a module of copygym look as if somebody had changed its source."""

    def edit(module, change):
        original = code._file

        def source(spec):
            path = original(spec)
            if spec.name != module:
                return path
            copy = tmp_path / "edited" / path.name
            if not copy.exists():
                copy.parent.mkdir()
                copy.write_text(change(path.read_text()))
            return copy

        monkeypatch.setattr(code, "_file", source)

    return edit


def with_comment(source):
    return f'"""Another docstring."""\n# A comment.\n{source}\n\n# Another one.\n'


def with_constant(source):
    return f"{source}\n_NEW = 1\n"


@pytest.mark.parametrize(
    ("module", "change"),
    [
        (f"{STUDIES}.statistics.peeking", with_comment),
        ("copygym.evaluation.abtest.compare", with_comment),
        (f"{STUDIES}.statistics.peeking_report", with_constant),
        ("copygym.experiments.report.tables", with_constant),
        ("copygym.experiments.tracking.base", with_constant),
        ("copygym.experiments.runs.manifest", with_constant),
        (f"{STUDIES}.privacy.privacy", with_constant),
        ("copygym.agents.copywriter.writer", with_constant),
    ],
)
def test_a_change_that_no_number_can_depend_on_lets_a_run_go_on(module, change, edit, tmp_path):
    open_run(tmp_path / "r", PEEKING).stage("peeking", lambda: Record({"x": 1}))
    edit(module, change)
    again = open_run(tmp_path / "r", PEEKING)
    assert again.read("peeking").values == {"x": 1}


@pytest.mark.parametrize(
    "module",
    [
        f"{STUDIES}.statistics.peeking",
        "copygym.evaluation.abtest.compare",
        "copygym.envs.datasets.upworthy",  # imported by a name that is put together
        "copygym.core.seeds",
        "copygym.core.estimates",
    ],
)
def test_a_constant_of_a_module_that_the_job_uses_ends_it_by_name(module, edit, tmp_path):
    open_run(tmp_path / "r", PEEKING)
    edit(module, with_constant)
    message = (
        f"out={tmp_path / 'r'} holds a run with the same config but made by another version of the "
        f"code ({module} changed since); choose another out=, or add overwrite=true"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        open_run(tmp_path / "r", PEEKING)


def test_a_folder_that_does_not_name_its_modules_is_refused_all_the_same(tmp_path):
    open_run(tmp_path / "r", PEEKING)
    path = tmp_path / "r" / "run.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"code": "0", "modules": None}))
    with pytest.raises(UserError, match=re.escape("another version of the code; choose another")):
        open_run(tmp_path / "r", PEEKING)


def test_a_part_of_the_config_counts_with_the_code_that_it_names():
    job = f"{STUDIES}.delivery.delivery"
    plain = job_code({"job": job}).modules
    bandit = job_code({"job": job, "agent": {"_target_": "copygym.agents.LinUCBAgent"}}).modules
    # Through the front that imports names on first use.
    assert "copygym.agents.delivery.linear" in bandit.keys() - plain.keys()
    assert "copygym.agents.delivery.sb3" not in bandit
    # E9 knows no agents.
    peeking = PEEKING | {"agent": {"_target_": "copygym.agents.LinUCBAgent"}}
    assert job_code(peeking).modules == job_code(PEEKING).modules


def test_a_section_that_the_job_does_not_name_may_change(tmp_path):
    open_run(tmp_path / "r", PEEKING)
    open_run(tmp_path / "r", PEEKING | {"federated": {"clip": 2.0}, "central": {"clip": 1}})
    for message, change in {
        "another config (peeking.replications was 10, now 20)": {"peeking": {"replications": 20}},
        "another config (name was e9, now x)": {"name": "x"},
    }.items():
        with pytest.raises(UserError, match=re.escape(message)):
            open_run(tmp_path / "r", PEEKING | change)


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("finished", [True, False])
def test_a_second_study_in_a_folder_is_refused_by_both_names_and_nothing_is_lost(
    finished, tmp_path
):
    run = open_run(tmp_path / "r", PEEKING)
    run.stage("peeking", lambda: Record({"x": 1}))
    if finished:
        run.mark_finished()
    before = contents(tmp_path)
    other = {**PEEKING, "job": f"{STUDIES}.privacy.privacy", "federated": {"clip": 3.0}}
    message = (
        f"out={tmp_path / 'r'} holds a run with another config (job was {PEEKING['job']}, now "
        f"{other['job']}); choose another out=, or add overwrite=true"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        open_run(tmp_path / "r", other)
    assert contents(tmp_path) == before


def test_a_run_of_the_old_layout_is_refused_in_one_sentence_and_nothing_is_lost(tmp_path):
    open_run(tmp_path / "r", PEEKING).stage("peeking", lambda: Record({"x": 1}))
    path = tmp_path / "r" / "run.json"
    old = {**PEEKING, "job": "copygym.experiments.peeking", "worlds": [1, 2]}
    # As it was written before modules were named.
    state = {"state": "finished", "code": "0" * 16, "config_sha256": "1" * 64, "config": old}
    path.write_text(json.dumps(state))
    before = contents(tmp_path)
    with pytest.raises(
        UserError, match=re.escape("job was copygym.experiments.peeking, now ")
    ) as caught:
        open_run(tmp_path / "r", PEEKING)
    assert str(caught.value).count("\n") == 0
    assert contents(tmp_path) == before


def test_a_key_that_is_gone_or_new_is_a_change(tmp_path):
    open_run(tmp_path / "r", PEEKING | {"cuped": {"users": None, "replications": 2}})
    with pytest.raises(UserError, match=re.escape("(cuped.users was None, now absent)")):
        open_run(tmp_path / "r", PEEKING | {"cuped": {"replications": 2}})


def test_an_emptied_section_is_a_change(tmp_path):
    open_run(tmp_path / "r", PEEKING | {"cuped": {}})
    with pytest.raises(UserError, match=re.escape("another config (cuped was {}, now None)")):
        open_run(tmp_path / "r", PEEKING | {"cuped": None})


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Somebody's package on the path: a job, what it imports inside a function, and a bystander."""
    folder = tmp_path / "site" / "shop"
    folder.mkdir(parents=True)
    sources = {
        "__init__": "",
        "job": "import numpy\n\ndef run(config):\n    from . import luck\n    return luck.N\n",
        "luck": "N = 1\n",
        "reward": "from shop.luck import N\n",
        "bystander": "N = 2\nraise RuntimeError('it was imported')\n",
    }
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def test_code_of_other_packages_counts_with_what_it_imports_and_is_not_run(shop):
    found = job_code({"job": "shop.job"})
    assert set(found.modules) == {"shop", "shop.job", "shop.luck"}
    assert not [name for name in sys.modules if name.partition(".")[0] == "shop"]
    (shop / "luck.py").write_text("N = 10\n")
    assert job_code({"job": "shop.job"}).id != found.id
    (shop / "luck.py").write_text("N = 1  # as before\n")
    assert job_code({"job": "shop.job"}).id == found.id


@pytest.mark.parametrize("name", ["shop.reward.Reward", "shop.reward:Reward"])
def test_a_part_of_another_package_counts(shop, name):
    key = "name" if ":" in name else "_target_"
    job = f"{STUDIES}.delivery.delivery"
    found = job_code({"job": job, "reward": {key: name}})
    assert {"shop.reward", "shop.luck"} <= set(found.modules)


@pytest.mark.parametrize(
    "source",
    [
        "OWN = {'a': 'shop.luck:N'}\n",
        "_ROOM = 'shop'\nOWN = {'a': f'{_ROOM}.luck:N'}\n",
        "OWN = {name: f'shop.{name}' for name in 'ab'}\n",
        "import importlib\ndef f(): return importlib.import_module('shop.luck')\n",
        "from shop import luck\n",
        "from .luck import N\n",
        "import shop.luck as luck\n",
    ],
)
def test_an_import_counts_however_it_is_written(shop, source):
    (shop / "job.py").write_text(source)
    assert "shop.luck" in job_code({"job": "shop.job"}).modules


def test_what_only_a_type_checker_imports_does_not_count(shop):
    (shop / "job.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from shop.luck import N\n"
    )
    assert set(job_code({"job": "shop.job"}).modules) == {"shop", "shop.job"}


def test_a_part_that_an_installed_package_offers_counts(shop, monkeypatch):
    monkeypatch.setattr(code, "_entry_points", lambda: {"parcels": ["shop.reward:Reward"]})
    job = f"{STUDIES}.delivery.delivery"
    assert "shop.luck" in job_code({"job": job, "data": {"name": "parcels"}}).modules
    assert "shop.luck" not in job_code({"job": job, "data": {"name": "hillstrom"}}).modules


def test_a_job_whose_source_is_missing_reads_every_section():
    assert job_code({"job": "nobody.knows.it"}).reads("anything")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x = 1\n", "x = (\n    1  # one\n)\n", True),
        ("def f():\n    return 1\n", 'def f():\n    """One."""\n    return 1\n', True),
        ("x = 1\n", "x = 1.0\n", False),
        ("x = 1\n", "x = True\n", False),
        ("x = 'a'\n", "x = b'a'\n", False),
        ("x = -1\n", "x = +1\n", False),
        ("x = None\n", "x = ...\n", False),
        ("f(a, b)\n", "f(b, a)\n", False),
        ("x = 'text'\n", "x = 'other'\n", False),
        ("def f(): pass\n", "async def f(): pass\n", False),
    ],
)
def test_the_hash_is_of_what_code_does(one, other, same, tmp_path):
    def hashed(source):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.py"
        path.write_text(source)
        return read_source(path, 0, 0, "", "").hash

    assert (hashed(one) == hashed(other)) is same


@pytest.mark.parametrize(
    "job",
    ["delivery.delivery", "statistics.peeking", "copy.copywriting", "headlines.bandits"],
)
def test_what_a_job_has_imported_is_among_what_it_reaches(job):
    script = f"""
        import sys
        import copygym.experiments.studies.{job}
        print(*(name for name in sys.modules if name.partition(".")[0] == "copygym"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    loaded = {name for name in done.stdout.split() if code._counts(name)}
    reached = set(job_code({"job": f"{STUDIES}.{job}"}).modules)
    # What only reports and tracking have imported aside.
    assert {name for name in loaded if name.startswith(STUDIES)} <= reached
    assert len(loaded & reached) > 20
