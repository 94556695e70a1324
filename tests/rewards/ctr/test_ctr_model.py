import json
import multiprocessing
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from copygym.core.errors import UserError
from copygym.core.files.written import LIST
from copygym.core.scores import expected_calibration_error
from copygym.rewards.ctr.calibration import Calibration
from copygym.rewards.ctr.data import CopyCounts, text_folds
from copygym.rewards.ctr.encoders import TfidfFeatures
from copygym.rewards.ctr.ensemble import CtrEnsemble, combine
from copygym.rewards.ctr.model import fingerprint, load_ctr_model, make_ctr_model, stack_weights
from copygym.rewards.ctr.ranking import headline_metrics
from copygym.rewards.ctr.ridge import RidgeScorer, centre, evidence, log_odds, within_test_fit

SMALL = {"words": 500, "characters": 0, "min_count": 2}
NEW = ["cat secret music", "cat report music", "a word nobody has seen"]


def small(**options):
    return make_ctr_model("tfidf", tfidf=SMALL, **options)


@pytest.fixture(scope="module")
def parts(made_up):
    return made_up(tests=300, seed=0), made_up(tests=80, seed=1), made_up(tests=150, seed=2)


@pytest.fixture(scope="module")
def model(parts):
    return small().fit(parts[0], parts[1], seed=0)


def test_it_learns_which_words_are_clicked(model, parts):
    test = parts[2]
    metrics = headline_metrics(model.score(test.texts), test)
    assert metrics["pairwise_significant"] > 0.9
    assert metrics["lift"] > 0.6 * metrics["lift_oracle"]
    good, bad, _ = model.score(NEW)
    # The planted difference of a good and a bad word is 1.0; ridge shrinks it.
    assert good - bad == pytest.approx(1.0, abs=0.3)


def test_probability_is_calibrated_on_held_out_tests(model, parts):
    test = parts[2]
    chance = model.probability(test.texts)
    np.testing.assert_allclose(chance, expit(model.score(test.texts)))
    assert chance.mean() == pytest.approx(test.clicks.sum() / test.impressions.sum(), rel=0.15)
    assert expected_calibration_error(chance, test.impressions, test.clicks, bins=10) < 0.005


def test_tests_with_another_level_do_not_confuse_bradley_terry(made_up):
    """Levels are given by a word: within-test learning must not credit the word."""
    counts = made_up(tests=200, seed=5)
    shift = np.where(counts.test % 2 == 0, 3.0, 1.0)
    texts = tuple(
        f"{text} {'harbour' if test % 2 == 0 else 'meadow'}"
        for text, test in zip(counts.texts, counts.test, strict=True)
    )
    moved = CopyCounts(texts, counts.test, counts.impressions, np.round(counts.clicks * shift))
    gaps = {}
    for loss in ("bradley_terry", "both", "binomial"):
        scorer = RidgeScorer(TfidfFeatures(**SMALL), loss=loss, penalties=[3.0])
        scorer.fit(moved, moved, seed=0)
        low, high = scorer.raw(["cat meadow", "cat harbour"])
        gaps[loss] = high - low
    assert abs(gaps["bradley_terry"]) < 0.01
    assert gaps["bradley_terry"] < gaps["both"] < gaps["binomial"]


def test_sparse_and_dense_solvers_agree(parts):
    train = parts[0]

    class Dense(TfidfFeatures):
        def transform(self, texts):
            return super().transform(texts).toarray()

    for loss in ("bradley_terry", "both", "binomial"):
        raw = []
        for kind in (TfidfFeatures, Dense):
            scorer = RidgeScorer(kind(**SMALL), loss=loss, penalties=[10.0])
            scorer.fit(train, train, seed=0)
            raw.append(scorer.raw(train.texts))
        gap = raw[0] - raw[1]
        # The dense solver centres its columns for binomial, a constant for every text.
        assert np.ptp(gap) < (1e-3 if loss == "bradley_terry" else 0.2 * np.ptp(raw[0])), loss


def test_a_saved_model_scores_alike_without_pickle(model, parts, tmp_path):
    model.save(tmp_path / "m")
    loaded = load_ctr_model(tmp_path / "m")
    texts = [*parts[2].texts[:50], *NEW]
    np.testing.assert_array_equal(loaded.score(texts), model.score(texts))
    files = [path for path in (tmp_path / "m").rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files if path.name != LIST}
    assert kinds == {".json", ".safetensors"}
    vocabulary = json.loads((tmp_path / "m" / "part-0-ridge" / "features.json").read_text())
    assert "secret" in vocabulary["vocabularies"][0]


def test_a_seed_fixes_every_number(model, parts):
    again = small().fit(parts[0], parts[1], seed=0)
    np.testing.assert_array_equal(again.score(NEW), model.score(NEW))


def test_scores_do_not_depend_on_company_or_order(model):
    together = model.score(NEW)
    alone = [model.score([text])[0] for text in NEW]
    np.testing.assert_allclose(together, alone, atol=1e-12)
    np.testing.assert_array_equal(model.score(NEW[::-1]), together[::-1])
    assert model.score([]).shape == (0,)


def test_stacking_gives_weight_to_what_helps(made_up):
    counts = made_up(tests=200, seed=4)
    rng = np.random.default_rng(0)
    signal, noise = log_odds(counts), rng.normal(size=len(counts))
    weights = stack_weights(np.column_stack([2 * signal, noise, -signal]), counts)
    assert weights[0] == pytest.approx(0.5, abs=0.02)
    assert abs(weights[1]) < 0.05 and weights[2] == 0
    useless = stack_weights(np.column_stack([-signal, -2 * signal]), counts)
    assert useless.tolist() == [0.5, 0.5]


def test_within_test_fit_is_a_correlation(made_up):
    counts = made_up(tests=50)
    level = 10.0 * counts.test
    assert within_test_fit(3 * log_odds(counts) + level, counts) == pytest.approx(1.0)
    assert within_test_fit(-log_odds(counts), counts) == pytest.approx(-1.0)
    assert within_test_fit(level, counts) == pytest.approx(0.0)


def test_ensemble_heads_by_hand():
    scores = np.array([[1.0, 4.0], [3.0, 4.0], [5.0, 4.0]])
    assert combine(scores, "mean", 1.0).tolist() == [3.0, 4.0]
    assert combine(scores, "wco", 1.0).tolist() == [1.0, 4.0]
    # Variance over M: ((-2)^2 + 0 + 2^2) / 3 = 8 / 3.
    np.testing.assert_allclose(combine(scores, "uwo", 0.5), [3.0 - 4 / 3, 4.0])
    with pytest.raises(UserError, match=re.escape("unknown ensemble head 'median'")):
        combine(scores, "median", 1.0)


def test_an_ensemble_is_unsure_of_what_it_has_not_seen(parts, tmp_path):
    ensemble = small(members=4, head="uwo", beta=2.0).fit(parts[0], parts[1], seed=0)
    scores = ensemble.member_scores(NEW)
    assert scores.shape == (4, 3) and (ensemble.std(NEW)[:2] > 0).all()
    np.testing.assert_allclose(
        ensemble.score(NEW), scores.mean(axis=0) - 2.0 * ensemble.std(NEW) ** 2
    )
    ensemble.save(tmp_path / "e")
    loaded = load_ctr_model(tmp_path / "e")
    assert loaded.head == "uwo" and len(loaded.members) == 4
    np.testing.assert_array_equal(loaded.score(NEW), ensemble.score(NEW))
    file = tmp_path / "e" / "ctr_model.json"
    state = json.loads(file.read_text())
    for wrong in (True, 1, 0, "4", None):
        file.write_text(json.dumps(state | {"members": wrong}))
        with pytest.raises(UserError, match="members, which are not those in its folder"):
            load_ctr_model(tmp_path / "e")


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_recovers_rates_and_keeps_the_order(method):
    rng = np.random.default_rng(0)
    # Raw scores have no natural zero: their mean must be taken care of.
    raw = 3 + rng.normal(size=2000)
    shown = np.full(2000, 5000.0)
    clicks = rng.binomial(5000, expit(-5.5 + 0.5 * raw)).astype(float)
    counts = CopyCounts(("",) * 2000, np.arange(2000), shown, clicks)
    calibration = Calibration(method)
    calibration.fit(raw, counts)
    grid = np.linspace(1, 5, 9)
    np.testing.assert_allclose(calibration.logit(grid), -5.5 + 0.5 * grid, atol=0.08)
    assert (np.diff(calibration.logit(np.linspace(-1, 7, 500))) > 0).all()
    again = Calibration.from_state(json.loads(json.dumps(calibration.state())))
    np.testing.assert_array_equal(again.logit(grid), calibration.logit(grid))


def test_calibration_does_not_turn_the_order_round():
    raw = np.linspace(-1, 1, 50)
    counts = CopyCounts(("",) * 50, np.arange(50), np.full(50, 1000.0), 100 - 90 * (raw > 0))
    calibration = Calibration()
    calibration.fit(raw, counts)
    assert calibration.slope > 0
    # And it says that better scores meant no more clicks.
    assert calibration.flat


def test_the_slope_is_that_within_tests():
    # Scores of the second product are higher and its click rate is lower; within both, a point of
    # score is a point of logit.
    raw = np.array([0.0, 1.0, 5.0, 6.0])
    logits = np.array([-1.0, 0.0, -4.0, -3.0])
    shown = np.full(4, 1e6)
    counts = CopyCounts(
        ("a", "b", "c", "d"), np.array([0, 0, 1, 1]), shown, shown / (1 + np.exp(-logits))
    )
    calibration = Calibration("temperature")
    calibration.fit(raw, counts)
    assert calibration.slope == pytest.approx(1.0, abs=0.02)
    assert not calibration.flat
    expected = (shown / (1 + np.exp(-calibration.logit(raw)))).sum()
    assert expected == pytest.approx(counts.clicks.sum(), rel=1e-4)


def _score(folder, home, texts, answers):
    answers.put(load_ctr_model(folder).keep_scores(home).score(texts).tolist())


def test_score_cache_serves_several_processes(model, tmp_path):
    model.save(tmp_path / "m")
    texts = [f"cat secret {i}" for i in range(30)]
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    arguments = (tmp_path / "m", tmp_path / "scores", texts, answers)
    workers = [context.Process(target=_score, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert found[0] == found[1] == model.score(texts).tolist()
    # From the cache alone: the scorers must not be asked.
    cached = load_ctr_model(tmp_path / "m").keep_scores(tmp_path / "scores")
    cached._weighted_sum = lambda *_: pytest.fail("computed although every score is cached")
    assert cached.score(texts).tolist() == found[0]


def test_a_model_that_is_fitted_again_forgets_its_scores(parts, tmp_path):
    again = small().fit(parts[0], parts[1], seed=0)
    again.save(tmp_path / "m")
    first = again.keep_scores(tmp_path / "scores").score(NEW)
    flipped = replace(parts[0], clicks=parts[0].impressions - parts[0].clicks)
    again.fit(flipped, parts[1], seed=0)
    fresh = small().fit(flipped, parts[1], seed=0)
    assert again.score(NEW).tolist() == fresh.score(NEW).tolist() != first.tolist()
    with pytest.raises(UserError, match="save the CTR model before"):
        again.keep_scores(tmp_path / "scores")


def test_two_models_do_not_share_cached_scores(model, parts, tmp_path):
    other = small(loss="binomial").fit(parts[0], parts[1], seed=0)
    for name, one in (("a", model), ("b", other)):
        one.save(tmp_path / name)
        load_ctr_model(tmp_path / name).keep_scores(tmp_path / "scores").score(NEW)
    assert len(list((tmp_path / "scores").glob("*.sqlite"))) == 2


def test_mistakes_are_named(model, tmp_path):
    with pytest.raises(UserError, match=re.escape("unknown tuning 'half'")):
        make_ctr_model(tuning="half")
    with pytest.raises(UserError, match=re.escape("unknown loss 'hinge'")):
        small(loss="hinge")
    with pytest.raises(UserError, match=re.escape("encoder=tfidf has no layers")):
        make_ctr_model("tfidf", "lora")
    for options, message in (
        ({"layers": [1]}, "encoder=tfidf has no layers: leave layers out"),
        ({"network": {"epochs": 9}}, "with tuning=frozen no network is trained"),
        ({"head": "nonsense"}, "unknown ensemble head 'nonsense'"),
        ({"head": "wco"}, "head=wco combines several members"),
        ({"beta": -1.0}, "beta >= 0"),
        ({"share": 7.0}, "0 < share <= 1"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            make_ctr_model("tfidf", **options)
    for companion in ({"layers": [1]}, {"encoder": "minilm", "layer": [1]}):
        with pytest.raises(UserError, match=re.escape(f"companion {companion}: give {{encoder:")):
            small(companions=[companion])
    with pytest.raises(UserError, match=re.escape("unknown companion 'bert'")):
        small(companions=["bert"])
    with pytest.raises(UserError, match=re.escape("unknown calibration 'platt'")):
        small(calibration="platt")
    with pytest.raises(UserError, match=re.escape("an ensemble needs at least 1")):
        small(members=0)
    with pytest.raises(UserError, match=re.escape("is not trained")):
        small().score(NEW)
    with pytest.raises(UserError, match=re.escape("holds no CTR reward model")):
        load_ctr_model(tmp_path)
    with pytest.raises(UserError, match=re.escape("is no folder")):
        load_ctr_model(tmp_path / "absent")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=re.escape("files that are no CTR model")):
        model.save(tmp_path / "other")
    assert (tmp_path / "other" / "thesis.txt").read_text() == "mine"


def test_saving_again_loses_no_file_that_was_put_beside_the_model(model, tmp_path):
    model.save(tmp_path / "m")
    before = fingerprint(tmp_path / "m")
    model.save(tmp_path / "m")
    assert fingerprint(tmp_path / "m") == before
    (tmp_path / "m" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=re.escape("m holds 'thesis.txt'")):
        model.save(tmp_path / "m")
    assert (tmp_path / "m" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("lost", ["ridge.safetensors", "features.safetensors", "scorer.json"])
def test_a_model_folder_without_its_weights_says_so(model, tmp_path, lost):
    model.save(tmp_path / "m")
    (tmp_path / "m" / "part-0-ridge" / lost).unlink()
    with pytest.raises(UserError, match=re.escape("train")) as found:
        load_ctr_model(tmp_path / "m")
    assert lost in str(found.value)


def test_damaged_weights_say_so(model, tmp_path):
    model.save(tmp_path / "m")
    (tmp_path / "m" / "part-0-ridge" / "ridge.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match=re.escape("is damaged")):
        load_ctr_model(tmp_path / "m")


def test_a_model_is_found_in_the_run_folder_that_holds_it(model, tmp_path):
    model.save(tmp_path / "run" / "reward_model")
    np.testing.assert_array_equal(load_ctr_model(tmp_path / "run").score(NEW), model.score(NEW))


def test_saving_again_replaces_the_model_whole(model, parts, tmp_path):
    model.save(tmp_path / "m")
    small(members=2).fit(parts[0], parts[1], seed=0).save(tmp_path / "m")
    assert not (tmp_path / "m" / "part-0-ridge").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]
    shutil.rmtree(tmp_path / "m")


# ---------------------------------------------------------------- committees and small logs


def _few(made_up, seed):
    """Four products with forty texts each, seldom shown."""
    return made_up(tests=4, arms=40, impressions=800, seed=seed)


def test_each_member_of_a_committee_leaves_out_one_fold(made_up):
    counts = _few(made_up, 0)
    fold = text_folds(counts, 5, seed=0)
    committee = CtrEnsemble([small() for _ in range(5)], share=1.0)
    committee.fit_folds(counts, fold, seed=0)
    assert [m.report["arms"] for m in committee.members] == (160 - np.bincount(fold)).tolist()
    one, member = small(), committee.members[3]
    for scorer, settled in zip(one.scorers, member.scorers, strict=True):
        scorer.penalties = settled.penalties
    one.fit(counts.take(fold != 3), counts.take(fold == 3), seed=9)
    for scorer, settled in zip(one.scorers, member.scorers, strict=True):
        np.testing.assert_allclose(settled.raw(NEW), scorer.raw(NEW))
    np.testing.assert_allclose(
        committee.score(NEW), np.mean([m.score(NEW) for m in committee.members], axis=0)
    )


def test_a_committee_s_scale_depends_less_on_luck_than_one_split_s(made_up):
    """The planted difference of a good and a bad word is 1, whichever texts are held out."""
    counts = _few(made_up, 0)

    def gaps(committee):
        found = []
        for seed in range(6):
            fold = text_folds(counts, 5, seed=seed)
            if committee:
                model = CtrEnsemble([small() for _ in range(5)], share=1.0)
                model.fit_folds(counts, fold, seed=0)
            else:
                model = small().fit(counts.take(fold != 0), counts.take(fold == 0), seed=0)
            good, bad, _ = model.score(NEW)
            found.append(good - bad)
        return np.array(found)

    assert gaps(True).std() < gaps(False).std()
    assert gaps(True).mean() == pytest.approx(1.0, abs=0.4)


class Columns:
    """Made-up dense features: more of them than texts."""

    def fit(self, texts):
        pass

    def transform(self, texts):
        return np.array(
            [np.random.default_rng(len(t) * 97 + ord(t[0])).normal(size=30) for t in texts]
        )


def test_ridge_has_one_solution_whether_rows_or_features_are_more(made_up):
    counts = made_up(tests=4, arms=3, seed=4)
    scorer = RidgeScorer(Columns(), penalties=[3.0])
    scorer.fit(counts, counts, seed=0)
    weights = evidence(counts)
    x = np.column_stack(
        [centre(column, weights, counts.test) for column in Columns().transform(counts.texts).T]
    )
    target = centre(
        log_odds(counts) - np.average(log_odds(counts), weights=weights), weights, counts.test
    )
    expected = np.linalg.solve(
        (x * weights[:, None]).T @ x + 3.0 * np.eye(30), x.T @ (weights * target)
    )
    np.testing.assert_allclose(scorer.raw(NEW), Columns().transform(NEW) @ expected, atol=1e-9)


def test_a_committee_has_one_scale_that_no_lucky_fold_blows_up():
    """Three copies of each of twelve products: a fold alone compares a text or two."""
    rng = np.random.default_rng(0)
    tones = ("The {} is made of steel.", "Psst! Treat yourself to the {}.", "Dear friend, a {}.")
    names = [f"product{i}" for i in range(12)]
    texts = tuple(tone.format(name) for name in names for tone in tones)
    true = np.tile([0.15, 0.0, -0.15], 12) - 2.4
    shown = np.full(36, 180.0)
    spreads = []
    for draw in range(4):
        clicks = rng.binomial(180, 1 / (1 + np.exp(-true))).astype(float)
        counts = CopyCounts(texts, np.repeat(np.arange(12), 3), shown, clicks)
        committee = CtrEnsemble([make_ctr_model("tfidf") for _ in range(5)], share=1.0)
        committee.fit_folds(counts, text_folds(counts, 5, draw), seed=draw)
        first = committee.members[0]
        for member in committee.members:
            assert member.weights.tolist() == first.weights.tolist()
            assert member.calibration.numbers == first.calibration.numbers
            assert member.scorers[0].report["penalty"] == first.scorers[0].report["penalty"]
        spreads.append(committee.score(texts).std())
    # With a scale for each fold some of them were ten times the truth's .12.
    assert max(spreads) < 0.4
