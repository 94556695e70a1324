"""docs/python.md: every block of every section runs, and gives what the page says of it."""

import re
from pathlib import Path

import numpy as np
import pytest

from copygym.agents import load_agent
from copygym.core.estimates import Estimate

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "python.md").read_text(encoding="utf-8")


def sections(page: str) -> dict[str, str]:
    """Return heading -> the Python blocks under it, as one program."""
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    blocks = [
        "\n".join(re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))
        for text in parts[2::2]
    ]
    return dict(zip(parts[1::2], blocks, strict=True))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a section in a folder of its own and return its names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path / "home"))

    def go(beginning):
        (heading,) = [name for name in sections(PAGE) if name.startswith(beginning)]
        names = {"__name__": "page"}
        exec(compile(sections(PAGE)[heading], f"docs/python.md, {heading}", "exec"), names)
        return names

    return go


def inside(estimate):
    return isinstance(estimate, Estimate) and estimate.low <= estimate.value <= estimate.high


def test_every_section_has_code():
    assert len(sections(PAGE)) == 5
    assert all(sections(PAGE).values())


def test_own_log_and_model(run, tmp_path):
    names = run("Your own log and your own model")
    assert names["log"].checksum()  # the last of the two, from memory
    assert (
        names["ClickLog"].read("clicks.csv", columns=names["names"]).height == names["log"].height
    )
    learned, held_out = (set(names["parts"][p].collect()["user_id"]) for p in ("learn", "people"))
    assert not learned & held_out
    assert set(names["people"].profiles.user_ids) == held_out
    found = names["found"]
    assert found.users == len(held_out)
    assert inside(found.metrics["ctr"])
    assert inside(found.differences["clicks_per_user"])
    obs = np.zeros((3, *names["venv"].observation_space.shape), dtype=np.float32)
    mask = np.ones((3, names["catalogue"].n_actions), dtype=bool)
    mask[:, 5] = False
    again = load_agent(tmp_path / "agent")
    assert (again.propensities(obs, mask)[:, 5] == 0).all()
    np.testing.assert_array_equal(
        again.propensities(obs, mask), names["agent"].propensities(obs, mask)
    )


def test_own_reward_and_copywriter(run, tmp_path):
    names = run("Your own reward")
    before, after = names["writer"], names["imitated"].writer
    shown = names["texts"], names["tasks"]
    assert after.perplexity(*shown).mean() < before.perplexity(*shown).mean()
    assert np.isfinite(names["better"].history[-1]["reward"])
    assert names["again"].spent.samples == names["better"].spent.samples == 64
    assert (tmp_path / "writer").is_dir()


def test_own_policy_off_policy(run):
    names = run("Your own policy")
    assert names["actions"][0] == "hold"
    assert names["young"].any()
    assert inside(names["mine"].value)
    logged = names["log"].collect()
    rate = logged["clicks"].sum() / logged["impressions"].sum()
    assert names["both"]["logging"].value.value == pytest.approx(rate)
    assert names["both"]["mine"].value == pytest.approx(names["mine"].value)


def test_ab_test(run):
    names = run("An A/B test")
    once, often = names["once"], names["often"]
    difference = names["treatment"].mean() - names["control"].mean()
    assert once.difference.value == pytest.approx(difference)
    assert once.p < often.p
    assert once.difference.high < often.difference.high


def test_own_steps(run):
    names = run("Your own steps")
    assert names["done"]
    assert 0 < names["clicks"].mean() < 14
    assert names["brief"].startswith("Brief:")
    assert 0 < names["info"]["click_probability"] < 1
