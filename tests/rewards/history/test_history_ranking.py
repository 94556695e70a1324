import numpy as np
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score

from copygym.rewards.history.ranking import METRICS, mean_metrics, slate_metrics


def test_a_slate_by_hand():
    # Places of the clicks: 2 and 3 of four.
    found = slate_metrics(
        np.array([0.5, 0.9, 0.6, 0.1]), np.array([1.0, 0, 1, 0]), np.zeros(4, np.int64)
    )
    auc, mrr, five, ten = found[0]
    assert auc == pytest.approx(2 / 4)
    assert mrr == pytest.approx((1 / 2 + 1 / 3) / 2)
    best = 1 + 1 / np.log2(3)
    assert five == ten == pytest.approx((1 / np.log2(3) + 1 / np.log2(4)) / best)


def test_slates_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    slate = np.repeat(np.arange(30), rng.integers(3, 25, 30))
    clicks = (rng.random(len(slate)) < 0.3).astype(float)
    first = np.unique(slate, return_index=True)[1]
    clicks[first], clicks[first + 1] = 1, 0
    scores = rng.normal(size=len(slate))
    found = slate_metrics(scores, clicks, slate)
    for s in range(30):
        y, p = clicks[slate == s], scores[slate == s]
        assert found[s, 0] == pytest.approx(roc_auc_score(y, p))
        assert found[s, 2] == pytest.approx(ndcg_score([y], [p], k=5))
        assert found[s, 3] == pytest.approx(ndcg_score([y], [p], k=10))


def test_equal_scores_are_chance_and_no_order_of_the_file_is_rewarded():
    slate, tied = np.zeros(4, np.int64), np.zeros(4)
    front, back = (
        slate_metrics(tied, np.array(clicks, float), slate)[0]
        for clicks in ([1, 0, 0, 0], [0, 0, 0, 1])
    )
    assert front[0] == back[0] == 0.5
    assert front[1] == 1 / 4 < back[1]


def test_means_have_intervals_over_readers():
    table = np.tile(np.array([[1.0], [0.0]]), (50, 4))
    found = mean_metrics(table, np.arange(100) // 2, 200, 0)
    assert list(found) == list(METRICS)
    # Each reader has one good and one bad slate: nothing is left to chance between readers.
    assert found["auc"].value == found["auc"].low == found["auc"].high == 0.5
    wide = mean_metrics(table, np.arange(100), 200, 0)["auc"]
    assert wide.low < 0.45 and wide.high > 0.55
