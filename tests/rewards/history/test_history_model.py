import re

import numpy as np
import pytest
from public_columns import write_mind

from copygym.core.errors import UserError
from copygym.envs import datasets
from copygym.rewards.history.model import HistoryModel
from copygym.rewards.history.ranking import slate_metrics
from copygym.rewards.history.slates import Slates, shuffled_readers

OPTIONS = {"dims": 64, "learning_rate": 0.01, "epochs": 6}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Slates of readers who like one topic each, by time."""
    folder = write_mind(tmp_path_factory.mktemp("mind"))
    log = datasets.load("mind", folder, history=True)
    articles = datasets.articles("mind", folder)
    split = log.split_by_time({"train": 0.7, "validation": 0.1, "test": 0.2})
    return {name: Slates.from_log(part, articles) for name, part in split.items()}


@pytest.fixture(scope="module")
def model(parts):
    return HistoryModel("lsa", **OPTIONS).fit(parts["train"], parts["validation"], seed=0)


def auc(model, slates):
    return slate_metrics(model.slate_scores(slates), slates.clicks, slates.slate)[:, 0].mean()


def test_histories_tell_which_title_is_clicked(parts, model):
    test = parts["test"]
    assert model.reads_readers and model.profile_dims == 64
    assert auc(model, test) > 0.65
    # The control: somebody else's history tells nothing.
    others = test.with_histories_of(shuffled_readers(test, 0))
    assert abs(auc(model, others) - 0.5) < 0.06


def test_training_betters_the_likeness_it_begins_with(model):
    losses = model.report["validation_loss"]
    assert len(losses) == 7 and model.report["epoch"] == int(np.argmin(losses))
    assert min(losses) < losses[0] - 0.02


def test_titles_alone_know_no_reader(parts):
    blind = HistoryModel("lsa", reads=False, **OPTIONS)
    blind.fit(parts["train"], parts["validation"], seed=0)
    assert not blind.reads_readers and blind.profile_dims == 0
    assert abs(auc(blind, parts["test"]) - 0.5) < 0.06


def test_it_is_a_reward_that_reads_readers(parts, model):
    """Texts and profiles one by one give the scores of the slates."""
    test = parts["test"]
    texts = [test.titles[i] for i in test.shown[:20]]
    profiles = model.profiles(test)[test.slate[:20]]
    np.testing.assert_allclose(model.score(texts, profiles), model.slate_scores(test)[:20])
    assert not np.allclose(model.score(texts, profiles), model.score(texts))
    with pytest.raises(UserError, match=re.escape("profiles have 64 numbers; got (20, 3)")):
        model.score(texts, profiles[:, :3])


def test_a_seed_fixes_every_number_and_a_saved_model_scores_alike(parts, model, tmp_path):
    again = HistoryModel("lsa", **OPTIONS).fit(parts["train"], parts["validation"], seed=0)
    model.save(tmp_path / "model")
    loaded = HistoryModel.load(tmp_path / "model")
    expected = model.slate_scores(parts["test"])
    for other in (again, loaded):
        np.testing.assert_array_equal(other.slate_scores(parts["test"]), expected)
    assert loaded.options == model.options and loaded.report == model.report


def test_late_reads_count_more(parts):
    test = parts["test"]
    recent = HistoryModel("lsa", half_life=0.01, **OPTIONS)
    recent.fit(parts["train"], parts["validation"], seed=0)
    last = test.read[test.ends - 1]
    vectors = recent._vectors([test.titles[i] for i in last])
    np.testing.assert_allclose(recent.profiles(test), vectors, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank": 0}, "must be 1 or more"),
        ({"half_life": 0.0}, "half_life must be above 0"),
        ({"learning_rate": 0.0}, "must be above 0"),
    ],
)
def test_wrong_options_are_told(options, said):
    with pytest.raises(UserError, match=re.escape(said)):
        HistoryModel("lsa", **options)


def test_an_untrained_model_says_so(tmp_path):
    model = HistoryModel("lsa")
    for use in (lambda: model.score(["a"]), lambda: model.save(tmp_path / "model")):
        with pytest.raises(UserError, match="the history model is not trained"):
            use()
