"""The fronts: what is public exists, is typed, costs nothing to import, and prints in one line."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import copygym
from copygym.core.lazy import lazy_names

ROOT = Path(__file__).resolve().parents[1]
FRONTS = {
    "copygym": "package",
    "copygym.envs": "envs",
    "copygym.rewards": "rewards",
    "copygym.agents": "agents",
    "copygym.agents.copywriter": "agents/copywriter",
    "copygym.evaluation": "evaluation",
}
HEAVY = ("gymnasium", "hydra", "numpy", "omegaconf", "polars", "stable_baselines3", "torch", "trl")


def of_type_checkers(front):
    """Return name -> where type checkers find it, from the imports under TYPE_CHECKING."""
    tree = ast.parse((ROOT / FRONTS[front] / "__init__.py").read_text())
    (branch,) = [node for node in tree.body if isinstance(node, ast.If)]
    found = {}
    for node in branch.body:
        assert isinstance(node, ast.ImportFrom)
        (alias,) = node.names
        assert alias.asname == alias.name, "only `X as X` is exported again"
        found[alias.name] = f"{node.module}.{alias.name}"
    return found


@pytest.mark.parametrize("front", FRONTS)
def test_public_names_exist_and_are_those_that_type_checkers_see(front):
    module = importlib.import_module(front)
    typed = of_type_checkers(front)
    assert module.__all__ == sorted(typed)
    for name, path in typed.items():
        home, _, attribute = path.rpartition(".")
        if f"{front}.{name}" == path:  # a sub-package
            assert getattr(module, name) is importlib.import_module(path)
        else:
            assert getattr(module, name) is getattr(importlib.import_module(home), attribute)
    assert set(typed) <= set(dir(module))


@pytest.mark.parametrize("front", FRONTS)
def test_what_is_not_there_is_an_attribute_error(front):
    module = importlib.import_module(front)
    with pytest.raises(AttributeError, match=f"module '{front}' has no attribute 'nonsense'"):
        module.nonsense  # noqa: B018
    with pytest.raises(ImportError, match="nonsense"):
        exec(f"from {front} import nonsense")


def test_one_name_has_one_home():
    with pytest.raises(ValueError, match="a name comes from two modules"):
        lazy_names("copygym", {"json": ("loads",), "pickle": ("loads",)})


def fresh(code):
    """Return what Python prints that has imported nothing yet."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded_by(*lines):
    listed = f"import sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    return fresh("\n".join([*lines, listed]))


def test_importing_copygym_is_cheap():
    assert loaded_by("import copygym", "dir(copygym)", "copygym.UserError") == "[]"
    assert loaded_by("import copygym.rewards, copygym.agents, copygym.evaluation") == "[]"
    assert loaded_by("import copygym.agents.copywriter") == "[]"


def test_logs_and_environments_need_no_torch():
    loaded = loaded_by("import copygym", "copygym.ClickLog, copygym.DeliveryVectorEnv")
    assert "torch" not in loaded
    assert "polars" in loaded


def test_the_version_is_the_installed_one():
    from importlib.metadata import version

    assert copygym.__version__ == version("copygym")


def test_python_m_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "copygym", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"copygym {copygym.__version__}\n"


# ------------------------------------------------------------------ prints


def short(value):
    text = repr(value)
    assert "\n" not in text
    assert len(text) < 140, text
    assert "array(" not in text
    return text


def test_logs_and_people_print_in_a_line(users):
    log = copygym.ClickLog.from_frame({"impressions": [1, 2], "clicks": [0, 1]}, name="mine")
    assert short(log) == "ClickLog('mine', 2 columns)"
    assert short(users.catalogue) == "Catalogue(3 creatives x 2 channels, 2 slots, 3 products)"
    assert short(users.profiles) == "Profiles(40 users, 5 features, 3 segments)"
    assert short(users) == "UserModel('hand-made users', synthetic, 40 users, 7 actions, 2 slots)"
    rows = copygym.envs.draw_tasks(users, 50, seed=0)
    assert short(rows) == "CopyRows(50 tasks, 3 products)"


def test_agents_and_evaluations_print_in_a_line(users):
    uniform = copygym.agents.UniformAgent()
    assert short(uniform) == "UniformAgent('uniform')"
    assert short(copygym.SB3Agent("dqn", name="mine")) == "SB3Agent('mine')"
    found = copygym.evaluate(uniform, users, baseline=uniform, horizon=4, resamples=50)
    assert short(found).startswith("Evaluation('uniform' against 'uniform', 40 users, ctr 0.")
    assert short(found.episodes).startswith("Episodes(40 users, ")


def test_models_of_copy_print_in_a_line():
    from copygym.rewards import CopyCounts, make_ctr_model

    numbers = np.arange(4)
    counts = CopyCounts(("a", "b", "c", "d"), numbers // 2, numbers + 10.0, numbers + 0.0)
    assert short(counts) == "CopyCounts(4 arms, 2 tests, 6 of 46 clicked)"
    assert short(make_ctr_model("tfidf")).startswith("CtrModel(ridge")
    assert short(make_ctr_model("tfidf", members=2)).startswith("CtrEnsemble(2 x CtrModel(ridge")


# ------------------------------------------------------------------ data frames

COLUMNS = {"who": ["ann", "bob"], "seen": [3, 2], "clicks": [1, 0]}


@pytest.mark.parametrize("kind", ["dict", "polars", "lazy", "pandas", "pyarrow"])
def test_a_log_is_made_of_any_data_frame(kind):
    if kind == "pandas":
        frame = pytest.importorskip("pandas").DataFrame(COLUMNS)
    elif kind == "pyarrow":
        frame = pytest.importorskip("pyarrow").table(COLUMNS)
    else:
        frame = {"dict": COLUMNS, "polars": pl.DataFrame(COLUMNS), "lazy": pl.LazyFrame(COLUMNS)}
        frame = frame[kind]
    log = copygym.ClickLog.from_frame(
        frame, columns={"user_id": "who", "impressions": "seen"}, constants={"channel": "email"}
    )
    table = log.collect()
    assert table["user_id"].to_list() == ["ann", "bob"]
    assert table["impressions"].to_list() == [3, 2]
    assert table["channel"].unique().to_list() == ["email"]


def test_tables_that_are_none_are_refused():
    with pytest.raises(copygym.UserError, match=r"mine: a list is no table; give a data frame"):
        copygym.ClickLog.from_frame([1, 2], name="mine")
    with pytest.raises(copygym.UserError, match=r"mine: its columns make no table \(.*'clicks'"):
        copygym.ClickLog.from_frame({"impressions": [1, 2], "clicks": [0]}, name="mine")
    with pytest.raises(
        copygym.UserError, match=r"mine, row 2, column 'clicks'|mine, row 2.*clicks"
    ):
        copygym.ClickLog.from_frame({"impressions": [1, 1], "clicks": [0, 3]}, name="mine")
    with pytest.raises(copygym.UserError, match="seen"):
        copygym.ClickLog.from_frame({"clicks": [0]}, columns={"impressions": "seen"})
