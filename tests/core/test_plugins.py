"""Names of parts: ours, an installed package's, a module's; and what a file may not name."""

import re
import sys
from types import SimpleNamespace

import pytest

from copygym.core import components, plugins
from copygym.core.errors import UserError

OWN = {"ours": "json:dumps", "here": 7}


def entry(name, value, package="somebody"):
    """Stand in for an entry point of an installed package; its load imports the module."""

    def load():
        module, _, attribute = value.partition(":")
        part = __import__(module)
        return getattr(part, attribute) if attribute else part

    return SimpleNamespace(name=name, value=value, load=load, dist=SimpleNamespace(name=package))


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """A module that tells that it was imported, and no names from other tests."""
    monkeypatch.setattr(components, "_trusted", set())
    monkeypatch.setattr(plugins, "_found", {})
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine_of_test.py").write_text("class Part:\n    fit = load = 1\n")
    monkeypatch.delitem(sys.modules, "mine_of_test", raising=False)


@pytest.fixture
def install(monkeypatch):
    def install(**kinds):
        monkeypatch.setattr(plugins, "entry_points_of", lambda kind: kinds.get(kind, {}))

    return install


def refused(match, call, *arguments, **options):
    with pytest.raises(UserError, match=match) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_name_is_ours_first(install):
    install(agent={"ours": (entry("ours", "mine_of_test:Part"),)})
    import json

    assert plugins.find("agent", "ours", OWN) is json.dumps
    assert plugins.find("agent", "here", OWN) == 7
    assert "mine_of_test" not in sys.modules


def test_an_entry_point_and_a_path_are_the_same_part(install):
    install(agent={"theirs": (entry("theirs", "mine_of_test:Part"),)})
    part = plugins.find("agent", "theirs", OWN, needs=("fit", "load"))
    assert plugins.path_of(part) == "mine_of_test:Part"
    assert plugins.find("agent", "mine_of_test:Part", OWN) is part


def test_listing_imports_nothing(install):
    install(agent={"theirs": (entry("theirs", "mine_of_test:Part"),)})
    assert plugins.choices("agent", OWN) == ["ours", "here", "theirs"]
    told = refused("unknown agent 'their'", plugins.find, "agent", "their", OWN)
    assert "theirs" in told and told.endswith("did you mean 'theirs'?")
    assert "mine_of_test" not in sys.modules


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("no_such_module:Part", "there is no module no_such_module"),
        ("mine_of_test.deeper:Part", "there is no module mine_of_test.deeper"),
        ("mine_of_test:Absent", "has no attribute 'Absent'"),
        ("mine_of_test:Part", "has no 'predict'"),
        ("mine_of_test.Part", "unknown agent"),
        ("two words:Part", "unknown agent"),
        ("https://place", "unknown agent"),
    ],
)
def test_mistakes_are_one_sentence(name, match):
    refused(match, plugins.find, "agent", name, OWN, needs=("predict",))


def test_a_broken_import_of_the_user_s_own_module_is_shown_in_full(tmp_path):
    (tmp_path / "half_of_test.py").write_text("import no_such_module_either\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_either"):
        plugins.find("agent", "half_of_test:Part", OWN)


def test_an_entry_point_that_cannot_be_imported_names_its_package(install):
    install(agent={"theirs": (entry("theirs", "no_such_module:Part"),)})
    refused("of somebody cannot be imported", plugins.find, "agent", "theirs", OWN)


def test_two_packages_of_one_name_are_told_apart(install):
    both = (entry("theirs", "a:A", "first"), entry("theirs", "b:B", "second"))
    install(agent={"theirs": both})
    refused("in first and second: name the one .* a:A or b:B", plugins.find, "agent", "theirs", OWN)


# ------------------------------------------------------------------ what files name


@pytest.mark.parametrize("name", ["mine_of_test:Part", "theirs"])
def test_what_a_file_names_is_not_imported(install, name):
    install(agent={"theirs": (entry("theirs", "mine_of_test:Part"),)})
    refused(
        f"FILE names the agent {name!r}.*--trust {name}",
        plugins.find, "agent", name, OWN, stored="FILE",
    )  # fmt: skip
    with plugins.stored_names("FOLDER"):
        refused("FOLDER names", plugins.find, "agent", name, OWN)
        refused("FOLDER names", plugins.target, name)
    assert "mine_of_test" not in sys.modules


@pytest.mark.parametrize("trusted", ["mine_of_test:Part", "mine_of_test.Part", "theirs"])
@pytest.mark.parametrize("name", ["mine_of_test:Part", "theirs"])
def test_a_name_is_trusted_in_all_its_spellings(install, trusted, name):
    install(agent={"theirs": (entry("theirs", "mine_of_test:Part"),)})
    components.trust([trusted])
    assert plugins.find("agent", name, OWN, stored="FILE").fit == 1


def test_what_this_process_has_found_for_its_user_may_be_stored():
    part = plugins.find("agent", "mine_of_test:Part", OWN)
    assert plugins.find("agent", "mine_of_test:Part", OWN, stored="FILE") is part
    # As another kind of part the file gets nothing.
    refused("names the dataset", plugins.find, "dataset", "mine_of_test:Part", OWN, stored="FILE")


def test_a_loaded_module_is_no_permission():
    """``os`` is loaded in every process; what a file would call in it is not found."""
    refused("names the reward term", plugins.find, "reward_term", "os:system", {}, stored="FILE")


def test_the_names_of_files_are_read_strictly_only_inside_the_block():
    with plugins.stored_names("OUTER"), plugins.stored_names("INNER"):
        refused("INNER names", plugins.find, "agent", "mine_of_test:Part", OWN)
    assert plugins.find("agent", "mine_of_test:Part", OWN).fit == 1


@pytest.mark.parametrize(
    ("name", "base"),
    [("ours", "ours"), ("ours:slow", "ours"), ("mine:term", "mine:term"),
     ("mine:term:slow", "mine:term"), ("theirs:slow", "theirs")],
)  # fmt: skip
def test_a_term_s_suffix_is_cut(install, name, base):
    install(reward_term={"theirs": (entry("theirs", "mine_of_test:Part"),)})
    assert plugins.term_name(name, OWN) == base


def test_two_kinds_with_one_name_are_no_target(install):
    found = {"theirs": (entry("theirs", "mine_of_test:Part"),)}
    install(agent=found, dataset=found)
    refused(re.escape("for agent and for dataset"), plugins.target, "theirs")
