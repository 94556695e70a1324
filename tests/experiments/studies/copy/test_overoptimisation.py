"""E4's job: what it follows, and the mistakes that it names."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from copygym.agents.copywriter.algorithms.best_of_n import best_of_n_kl
from copygym.core.errors import UserError
from copygym.envs.tasks import CopyRows
from copygym.evaluation.records import Records, Rows, joined
from copygym.experiments.studies.copy import overoptimisation as job
from copygym.experiments.studies.copy.overoptimisation_fit import best_of_curve

HEADS = ["single", "mean", "wco", "uwo"]


@pytest.fixture(scope="module")
def run(composed, execute):
    def run(folder, *overrides):
        own = ["experiment=e4", "tiny=true", "tracker=disabled", "overopt.sizes=[1.0]"]
        execute(composed(*own, *overrides), folder)
        return Records.read(folder)

    return run


@pytest.fixture(scope="module")
def records(run, tmp_path_factory):
    """The records of one tiny world."""
    return run(tmp_path_factory.mktemp("e4") / "run")


def test_best_of_n_starts_at_nothing_and_follows_the_proxy_upwards(records):
    drawn = records.where(method="best_of_n")
    assert drawn.values("head") == HEADS
    for head in HEADS:
        own = drawn.where(head=head)
        gain = own.where(metric="gain", reward="proxy").frame
        assert gain["k"].to_list() == [1, 2, 4, 8, 16]
        proxy = gain["value"].to_list()
        assert proxy[0] == own.number("gain", reward="gold", k=1)["value"] == 0.0
        assert proxy == sorted(proxy)
        # Where the curve ends is a number of its own, with the same interval over tasks.
        assert own.number("final_gain", reward="proxy") == own.number("gain", reward="proxy", k=16)
        assert proxy[-1] > 0
        distance = own.where(metric="distance").frame["value"].to_list()
        assert distance == pytest.approx([best_of_n_kl(k) ** 0.5 for k in (1, 2, 4, 8, 16)])
        assert own.number("best_k")["value"] in (1, 2, 4, 8, 16)


def test_ppo_is_followed_by_gold(records):
    learned = records.where(method="ppo", head="single", kl_coef=0.0)
    assert learned.where(metric="samples").frame["value"].to_list() == [8.0, 16.0, 24.0]
    gold = learned.where(metric="gain", reward="gold").frame["value"].to_numpy()
    assert np.isfinite(gold).all()
    assert learned.number("final_gain", reward="gold")["value"] == gold[-1]
    assert learned.number("best_gain", reward="gold")["value"] == gold.max()
    # Before the first update the writer is the one that the draws came from.
    assert learned.number("kl", step=1)["value"] == pytest.approx(0.0, abs=1e-4)


def test_a_run_that_was_stopped_has_no_number_for_the_steps_that_are_lacking():
    rows = Rows(1)
    lines = [
        {"samples": 8.0, "kl": 0.25, "proxy": 1.0, "gold": 2.0},
        {"samples": 16.0, "kl": 1.0, "proxy": 3.0, "gold": -2.0},
    ]
    job.add_learning(rows, lines, 3, "single", 0.0)
    found = Records(rows.frame)
    assert found.where(metric="distance").frame["value"].to_list() == [0.5, 1.0, None]
    assert found.number("final_gain", reward="gold")["value"] == -2.0
    assert found.number("best_gain", reward="gold")["value"] == 2.0
    assert found.number("best_samples")["value"] == 8.0
    # Two points are too few for a law.
    assert found.number("alpha")["value"] is None


@pytest.fixture(scope="module")
def world():
    """The maker of a world's records in which gold and proxy are worth so many times more."""

    def make(seed, times=1.0):
        rows = Rows(seed)
        draws = times * (np.arange(64.0)[None] + np.array([[0.0], [1.0]]))
        job.add_curve(rows, best_of_curve(draws, draws), 50, "mean", "100%")
        line = {"samples": 8.0, "kl": 1.0, "proxy": 0.5 * times, "gold": -0.25 * times}
        job.add_learning(rows, [line], 1, "mean", 0.1)
        told = {
            "synthetic": True, "statistics": {"default": "mean"}, "unit": "world", "log": "made up",
            "writer": "tiny", "tasks": 2, "n": 64, "gold": "Gold is the proxy.",
        }  # fmt: skip
        return Records(rows.frame, {seed: told})

    return make


def test_one_world_is_reported_with_intervals_over_tasks(world):
    records = world(1)
    report = job.report(records)
    assert report.table.columns == ("head, share", "proxy gain", "gold gain", "R2 of the law")
    # Of 64 draws the best is 63 and the mean 31.5, in both tasks alike.
    assert report.table.rows[0][:2] == ("mean, 100%", "32 [32, 32]")
    assert records.number("final_gain", method="best_of_n", reward="gold")["value"] == 31.5
    assert "over 2 tasks" in report.table.caption and len(report.sections) == 2
    (learned,) = report.sections[1].tables
    ppo = dict(zip(learned.columns, learned.rows[0], strict=True))
    assert (ppo["last proxy"], ppo["last gold"], ppo["last KL"]) == ("0.50", "-0.25", "1.0")


def test_several_worlds_are_reported_by_their_mean(world):
    report = job.report(joined([world(1), world(2, times=3.0)]))
    # 31.5 and three times as much.
    assert report.table.rows[0][1] == "63 [32, 94]"
    best_of_n, ppo, each = report.sections
    row = dict(zip(ppo.tables[0].columns, ppo.tables[0].rows[0], strict=True))
    assert row["last gold"] == "-0.50 [-0.75, -0.25]"
    assert {picture.name for picture in best_of_n.pictures} == {
        "best_of_n_gold", "best_of_n_proxy",
    }  # fmt: skip
    assert each.tables[1].rows == (("1", "31.500"), ("2", "94.500"))
    assert report.title == "Gold against proxy on made up, 2 worlds"


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
def test_mistakes_are_named_before_anything_is_learned(run, override, message, tmp_path):
    with pytest.raises(UserError, match=re.escape(message)):
        run(tmp_path / "run", override)
    assert not (tmp_path / "run" / "stages" / "model").exists()
