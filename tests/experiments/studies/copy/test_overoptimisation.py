"""E4's job: what it follows, and the mistakes that it names."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from copygym.agents.copywriter.algorithms.best_of_n import best_of_n_kl
from copygym.core.errors import UserError
from copygym.core.files.storage import read_json
from copygym.envs.tasks import CopyRows
from copygym.experiments import app
from copygym.experiments.studies.copy import overoptimisation as job

NAMES = {"group": "g", "job_type": "j", "name": "n"}


def execute(folder, *overrides):
    composed = app.composed([
        "experiment=e4", "job=copygym.experiments.studies.copy.overoptimisation",
        "tiny=true",
        "tracker=disabled", *overrides,
    ])  # fmt: skip
    app.execute(composed, folder, ["run"], NAMES)
    return read_json(folder / "result.json")


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return execute(tmp_path_factory.mktemp("e4") / "run")


def test_best_of_n_starts_at_nothing_and_follows_the_proxy_upwards(result):
    assert [entry["head"] for entry in result["best_of_n"]] == ["single", "mean", "wco", "uwo"]
    for entry in result["best_of_n"]:
        assert entry["k"] == [1, 2, 4, 8, 16]
        assert entry["d"] == pytest.approx([best_of_n_kl(k) ** 0.5 for k in entry["k"]])
        proxy = [point["value"] for point in entry["proxy"]]
        assert proxy[0] == entry["gold"][0]["value"] == 0.0
        assert proxy == sorted(proxy)
        assert proxy[-1] > 0
        assert entry["law"]["kind"] == "best_of_n"


def test_ppo_is_followed_by_gold(result):
    (run,) = result["ppo"]
    assert (run["head"], run["kl_coef"]) == ("single", 0.0)
    assert [line["samples"] for line in run["lines"]] == [8.0, 16.0, 24.0]
    assert all(np.isfinite([line["gold"], line["proxy"]]).all() for line in run["lines"])
    # Before the first update the writer is the one that the draws came from.
    assert run["lines"][0]["kl"] == pytest.approx(0.0, abs=1e-4)


class _Members:
    def member_scores(self, texts):
        lengths = np.array([float(len(text)) for text in texts])
        return np.stack([lengths, -lengths])


def test_gold_is_watched_and_never_rewarded():
    twice = np.zeros(2, np.int64)
    rows = CopyRows(("p",) * 2, ("b",) * 2, ("x",) * 2, ("push",) * 2, twice, twice, twice, twice)

    def follow(chance, head="single"):
        return job._Followed(
            proxy=_Members(),
            head=head,
            beta=1.0,
            setting=SimpleNamespace(gold=lambda texts, rows: np.array(chance)),
            start={(0, 0, 0, 0): (3.0, 0.0)},
            scale=(2.0, 0.5),
        )(["abc", "abcde"], rows)

    scores, terms = follow([0.5, 0.5])
    assert scores == pytest.approx([0.0, 1.0])
    assert terms["gold"] == pytest.approx([0.0, 0.0])
    others, other_terms = follow([0.5, 0.9])
    assert others == pytest.approx(scores)
    assert other_terms["gold"][1] == pytest.approx(np.log(9.0) / 0.5)
    # The worst case of a member and its opposite.
    assert follow([0.5, 0.5], "wco")[0] == pytest.approx([(-3 - 3) / 2, (-5 - 3) / 2])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("overopt.heads=[best]", "unknown overopt head 'best'"),
        ("reward_model.members=1", "reward_model.members is 1; an ensemble's heads need more"),
        (
            "overopt.ppo.kl_coefs=[-1]",
            "overopt.ppo.kl_coefs=[-1]: give a list of numbers of 0 or more",
        ),
    ],
)
def test_mistakes_are_named_before_anything_is_learned(override, message, tmp_path):
    with pytest.raises(UserError, match=re.escape(message)):
        execute(tmp_path / "run", override)
    assert not (tmp_path / "run" / "stages" / "model").exists()
