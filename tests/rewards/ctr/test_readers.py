"""Which text suits which reader: found where it was planted, nowhere else, and kept on disk."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.special import expit

from copygym.core.errors import UserError
from copygym.envs.copywriting import draw_tasks
from copygym.envs.profiles.builder import Profiles
from copygym.envs.storefront.world import StorefrontWorld
from copygym.rewards.ctr.data import CopyCounts, text_folds
from copygym.rewards.ctr.encoders import TfidfFeatures
from copygym.rewards.ctr.model import load_ctr_model, make_ctr_model
from copygym.rewards.ctr.response import answered_by, texts_answered_by
from copygym.rewards.ctr.sends import ReaderSends
from copygym.rewards.ctr.signal import reader_signal

PRODUCTS = ("kettle", "novel")
CALLS = ("hurry now", "experts agree", "a gift", "your friends")
TEXTS = tuple(f"the {p} {c} number {i}" for p in PRODUCTS for c in CALLS for i in range(3))
SMALL = {"words": 200, "characters": 0, "min_count": 1}


def planted(effect=0.8, n=600, seed=0, per=20):
    """Return sends to readers with two features, the first of which likes the call to hurry."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 2)).astype(np.float32)
    ids = np.array([f"u{i}" for i in range(n)])
    profiles = Profiles(ids, features, ("user_pace", "user_noise"), np.full(n, "all"))
    user = np.repeat(np.arange(n), per)
    text = rng.integers(0, len(TEXTS), n * per)
    hurry = np.array(["hurry" in t for t in TEXTS], float)
    # Interest in a product is none of its texts' business.
    product = np.arange(len(TEXTS)) // (len(TEXTS) // 2)
    logit = -1.5 + 0.8 * features[user, 1] * (2 * product[text] - 1)
    logit += effect * features[user, 0] * (hurry[text] - 0.25)
    clicks = (rng.random(len(user)) < expit(logit)).astype(float)
    ones = np.ones(len(user))
    zeros = np.zeros(len(user), np.int64)
    return ReaderSends(
        TEXTS, product, product, text, user, zeros, ones.astype(bool), ones, clicks, profiles
    )


def shuffled(sends, seed=1):
    order = np.random.default_rng(seed).permutation(len(sends.profiles))
    features = sends.profiles.features[order]
    return replace(sends, profiles=replace(sends.profiles, features=features))


def blind(members=1, **options):
    """Return a model of the texts alone, yet to learn readers."""
    rng = np.random.default_rng(0)
    test = np.repeat(np.arange(2), len(TEXTS) // 2)
    counts = CopyCounts(
        TEXTS, test, np.full(len(TEXTS), 900.0), rng.binomial(900, 0.2, len(TEXTS)).astype(float)
    )
    model = make_ctr_model("tfidf", tfidf=SMALL, members=members, **options)
    if members > 1:
        return model.fit_folds(counts, text_folds(counts, members, 0), seed=0)
    return model.fit(counts, counts, seed=0)


@pytest.fixture(scope="module")
def sends():
    return planted()


@pytest.fixture(scope="module")
def reader_aware(sends):
    model = blind()
    model.learn_readers(sends, seed=0)
    return model


def test_a_planted_taste_is_found_and_meets_new_texts(reader_aware, sends):
    assert reader_aware.reads_readers and reader_aware.profile_dims == 2
    signal = reader_aware.report["readers"]
    assert signal["gain"]["low"] > 0 and signal["luck"] < 0.02
    assert signal["verdict"].startswith("Personal copy can be learned from this log")
    quick, calm = np.array([[1.5, 0.0]]), np.array([[-1.5, 0.0]])
    new = ["the kettle hurry now while it lasts", "the kettle experts agree on it"]

    def preference(reader):
        hurry, agree = reader_aware.score(new, np.repeat(reader, 2, axis=0))
        return hurry - agree

    # The truth is 3 x 0.8 = 2.4; what is learned is shrunk.
    assert 0.8 < preference(quick) - preference(calm) < 2.6


def test_interest_in_a_product_is_not_taken_for_taste_in_its_texts(sends):
    signal = reader_signal(planted(effect=0.0), seed=0, features=TfidfFeatures(**SMALL))
    assert not signal.found
    assert signal.verdict.startswith("Personal copy cannot be learned from this log")


def test_readers_in_another_order_have_no_taste(sends):
    model = blind()
    signal = model.learn_readers(shuffled(sends), seed=0)
    assert not signal.found and not model.reads_readers and model.profile_dims == 0
    texts = list(TEXTS[:2])
    told = model.score(texts, sends.profiles.features[:2])
    np.testing.assert_array_equal(told, model.score(texts))


def test_the_average_reader_gets_the_texts_own_score(reader_aware, sends):
    middle = sends.profiles.features.mean(axis=0, keepdims=True)
    texts = list(TEXTS)
    got = reader_aware.score(texts, np.repeat(middle, len(texts), axis=0))
    np.testing.assert_allclose(got, reader_aware.score(texts), atol=1e-5)


def test_a_table_is_what_scores_say_one_by_one(reader_aware, sends):
    texts, profiles = [*TEXTS[:4], ""], sends.profiles.features[:3]
    table = reader_aware.table(texts, profiles)
    for row, profile in zip(table, profiles, strict=True):
        one = reader_aware.score(texts, np.repeat(profile[None], len(texts), axis=0))
        np.testing.assert_allclose(row, one, rtol=1e-12)
    # Nothing is seen, so nobody likes it more than others do.
    assert (table[:, -1] == reader_aware.blank_logit).all()


def test_learning_is_the_same_twice_and_in_any_order_of_rows(sends, reader_aware):
    again, mixed = blind(), blind()
    again.learn_readers(sends, seed=0)
    order = np.random.default_rng(3).permutation(len(sends))
    rows = ("text", "user", "context", "known", "impressions", "clicks")
    mixed.learn_readers(replace(sends, **{k: getattr(sends, k)[order] for k in rows}), seed=0)
    profiles = sends.profiles.features[:24]
    expected = reader_aware.score(TEXTS, profiles)
    np.testing.assert_array_equal(again.score(TEXTS, profiles), expected)
    np.testing.assert_allclose(mixed.score(TEXTS, profiles), expected, atol=1e-3)


@pytest.mark.parametrize("members", [1, 5])
def test_a_saved_model_reads_readers_as_before(sends, tmp_path, members):
    model = blind(members)
    model.learn_readers(sends, seed=0)
    model.save(tmp_path / "m")
    loaded = load_ctr_model(tmp_path / "m")
    profiles = sends.profiles.features[:24]
    np.testing.assert_array_equal(loaded.score(TEXTS, profiles), model.score(TEXTS, profiles))
    assert loaded.reads_readers and loaded.report["readers"]["found"]
    if members > 1:
        spread = model.std(TEXTS, profiles)
        np.testing.assert_array_equal(loaded.std(TEXTS, profiles), spread)


DAMAGES = {
    "a weight is NaN": lambda t: t["weights"].__setitem__((0, 0, 0), np.nan),
    "there are fewer weights": lambda t: t.update(weights=t["weights"][:, :-1]),
    "there is no scale": lambda t: t.pop("scale"),
    "a deviation is zero": lambda t: t["scale"].__setitem__((1, 0), 0.0),
    "directions are of other texts": lambda t: t.update(directions=t["directions"][1:]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_readers_are_refused_at_load(reader_aware, tmp_path, damage):
    reader_aware.save(tmp_path / "m")
    path = tmp_path / "m" / "readers" / "readers.safetensors"
    tensors = {key: value.copy() for key, value in load_file(path).items()}
    damage(tensors)
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path)
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "m"))):
        load_ctr_model(tmp_path / "m")
    shutil.rmtree(path.parent)
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "m"))):
        load_ctr_model(tmp_path / "m")


def test_profiles_of_another_width_are_refused(reader_aware):
    with pytest.raises(UserError, match="trained with 2 profile features"):
        reader_aware.score(["the kettle"], np.zeros((1, 5)))
    with pytest.raises(UserError, match="a profile holds a number that is none"):
        reader_aware.score(["the kettle"], np.full((1, 2), np.nan))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: replace(s, product=np.arange(len(TEXTS))), "every product has one text only"),
        (
            lambda s: replace(s, profiles=replace(s.profiles, features=np.ones((600, 2)))),
            "all readers have the same profile",
        ),
        (lambda s: replace(s, clicks=s.clicks * (np.arange(len(s)) < 100)), "fewer than 50"),
    ],
    ids=["one text a product", "equal profiles", "hardly a click"],
)
def test_what_cannot_tell_readers_apart_says_why(sends, change, reason):
    signal = reader_signal(change(sends), seed=0, features=TfidfFeatures(**SMALL))
    assert not signal.found and signal.gain is None
    assert reason in signal.verdict
    model = blind(readers=True)
    model.learn_readers(change(sends), seed=0)
    assert not model.reads_readers


@pytest.fixture(scope="module")
def answered(sends):
    """Storefront users, and the same with a model's answers, which differ by reader."""
    users = StorefrontWorld(seed=0, n_users=40).user_model()
    width = users.profiles.features.shape[1]
    names = tuple(f"user_{i}" for i in range(width))
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(sends.profiles), width)).astype(np.float32)
    features[:, :2] = sends.profiles.features
    people = Profiles(sends.profiles.user_ids, features, names, sends.profiles.segments)
    model = blind()
    model.learn_readers(replace(sends, profiles=people), seed=0)
    assert model.reads_readers
    return users, model, texts_answered_by(users, model)


def test_tables_keep_the_product_and_take_the_texts_from_the_model(answered):
    users, model, tables = answered
    catalogue = users.catalogue
    own = np.flatnonzero(np.array(catalogue.product_ids) == catalogue.product_ids[0])
    share = catalogue.popularity[own] / catalogue.popularity[own].sum()

    def logits(people):
        table = people.click_logit[:, :, 1:].astype(np.float64)
        return table.reshape(len(people), catalogue.n_slots, -1, catalogue.n_channels)[:, :, own]

    before, after = logits(users), logits(tables)
    level = (np.einsum("k,uskh->ush", share, values) for values in (before, after))
    np.testing.assert_allclose(*level, atol=1e-4)
    score = model.table([catalogue.texts[k] for k in own], users.profiles.features)
    score -= (score @ share)[:, None]
    # What a text is clicked over all readers is the model's; tastes go up and down from there.
    wanted = score - 0.5 * score.var(axis=0)
    wanted = wanted[:, 1] - wanted[:, 0]
    assert np.ptp(wanted) > 0
    got = after[:, :, 1] - after[:, :, 0]
    np.testing.assert_allclose(got, np.broadcast_to(wanted[:, None, None], got.shape), atol=1e-4)


def test_free_text_is_answered_by_reader_on_the_tables_scale(answered):
    users, model, tables = answered
    rows = draw_tasks(users, 12, 0)
    logged = [users.catalogue.texts[k] for k in rows.creative]
    place = (rows.user, rows.creative, rows.channel, rows.slot)
    action = 1 + rows.creative * users.catalogue.n_channels + rows.channel
    same = tables.copy_response(logged, *place).click_logit
    np.testing.assert_allclose(same, tables.click_logit[rows.user, rows.slot, action], atol=1e-4)
    new = ["hurry now, it ends soon"] * 12
    profiles = users.profiles.features[rows.user]
    shift = model.score(new, profiles) - model.score(logged, profiles)
    got = tables.copy_response(new, *place).click_logit - same
    # Readers of one creative differ by what the model says; the level is that of the rate.
    for creative in set(rows.creative):
        own = np.flatnonzero(rows.creative == creative)
        np.testing.assert_allclose(np.diff(got[own]), np.diff(shift[own]), atol=1e-4)


def test_a_text_on_which_tastes_differ_is_not_counted_twice(answered):
    """Scores of texts over all readers are click rates: likes and dislikes must not raise them."""
    users, model, tables = answered
    features = users.profiles.features
    creative = 0
    own = np.flatnonzero(np.array(users.catalogue.product_ids) == users.catalogue.product_ids[0])
    share = users.catalogue.popularity[own] / users.catalogue.popularity[own].sum()
    mean = model.table([users.catalogue.texts[k] for k in own], features) @ share
    u = np.arange(len(users))
    nought = np.zeros_like(u)
    level, rate = [], []
    for text in ("hurry now, it ends soon", "hello friend, it is quiet"):
        answer = tables.copy_response([text] * len(u), u, nought + creative, nought, nought)
        of_model = model.table([text], features)[:, 0] - mean
        level.append(np.mean(answer.click_logit))
        rate.append(of_model.mean() - 0.5 * of_model.var())
    assert level[1] - level[0] == pytest.approx(rate[1] - rate[0], abs=1e-3)


class Committee:
    """Members that agree on two words and differ on six."""

    def member_scores(self, texts):
        size = np.array([len(text.split()) for text in texts], float)
        return np.stack([0.1 * size * sign for sign in (1.0, 1.0, -1.0, -1.0)])

    def score(self, texts, profiles=None):
        return self.member_scores(texts).mean(axis=0)


def test_caution_is_about_what_was_never_sent():
    users = StorefrontWorld(seed=0, n_users=10).user_model()
    texts = ["one two", "one two three four five six", users.catalogue.texts[0]]
    u = np.arange(3)
    nought = np.zeros_like(u)

    def answers(caution):
        people = texts_answered_by(users, Committee(), caution=caution)
        return people.copy_response(texts, nought, nought, nought, nought).click_logit

    own = np.flatnonzero(np.array(users.catalogue.product_ids) == users.catalogue.product_ids[0])
    words = np.array([len(users.catalogue.texts[k].split()) for k in own], float)
    sent = users.catalogue.popularity[own]
    usual = (words * sent).sum() / sent.sum()
    lost = answers(0.0) - answers(2.0)
    assert lost[2] == pytest.approx(0.0, abs=1e-6)
    assert lost[:2] == pytest.approx(2.0 * 0.1 * np.abs(np.array([2.0, 6.0]) - usual), abs=1e-6)


def test_a_model_that_has_learned_none_is_not_told_who_reads(answered):
    with pytest.raises(UserError, match="profiles: true, but the CTR model has learned no readers"):
        answered_by(answered[0], blind(), profiles=True)


def test_readers_false_learns_none(sends):
    model = blind(readers=False)
    assert model.learn_readers(sends, seed=0) is None and not model.reads_readers
    with pytest.raises(UserError, match=r"unknown reward_model\.readers 'often'"):
        make_ctr_model("tfidf", readers="often")
