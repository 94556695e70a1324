"""Copy terms: known values, bounds, what they need, and the shape that sums them."""

import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from copygym.envs import UserError
from copygym.envs.base import default_users
from copygym.envs.copywriting import draw_tasks
from copygym.envs.storefront.copy import PRODUCTS
from copygym.envs.storefront.world import StorefrontWorld
from copygym.envs.tasks import copy_rows, score_copy
from copygym.rewards.copy.compliance import unsupported_claims
from copygym.rewards.copy.ngrams import NearestText, character_grams, pairwise_jaccard
from copygym.rewards.copy.shape import TERMS, CopyRewardShape
from copygym.rewards.ctr.response import CtrResponse, answered_by, texts_answered_by

KETTLE = PRODUCTS[0]


class WordModel:
    """A CTR model whose logit is minus the words; members disagree by a tenth per word."""

    def score(self, texts, profiles=None):
        words = np.array([len(t.split()) for t in texts], dtype=float)
        return -words if profiles is None else -words + profiles[:, 0]

    def std(self, texts, profiles=None):
        words = np.array([len(t.split()) for t in texts]) / 10
        return words if profiles is None else words + np.abs(profiles[:, 0])


class ReaderModel(WordModel):
    """Knows readers by their first feature."""

    reads_readers = True


class TextModel(WordModel):
    """The same, learned from texts alone."""

    reads_readers = False


class SingleModel:
    def score(self, texts, profiles=None):
        return np.zeros(len(texts))


def by_letters(texts):
    """Return log probabilities per token that fall with the length; of an empty text none."""
    return np.array([-len(text) / 10 if text.strip() else np.nan for text in texts])


@pytest.fixture(scope="module")
def store():
    return default_users()


def tasks(store, n, channel=0, creative=0):
    at = np.zeros(n, np.int64)
    return copy_rows(store, at, at + creative, at + channel, at)


def value(store, term, texts, channel=0, creative=0, **given):
    shape = CopyRewardShape({term: given.pop("options", 1.0)}, **given)
    return score_copy(shape, texts, tasks(store, len(texts), channel, creative))[0]


# ---------------------------------------------------------------- what readers do


def test_ctr_is_the_model_s_logit_and_stays_bounded(store):
    texts = ["one two", "word " * 40]
    assert value(store, "ctr", texts, model=WordModel()).tolist() == [-2.0, -15.0]
    p = value(store, "ctr", ["one two"], model=WordModel(), options={"probability": True})
    assert p[0] == pytest.approx(1 / (1 + np.exp(2)))


def test_ctr_hands_over_the_reader_s_profile(store):
    rows = draw_tasks(store, 5, 0)
    shape = CopyRewardShape({"ctr": {"profiles": True}}, model=ReaderModel(), users=store)
    expected = store.profiles.features[rows.user, 0] - 2
    np.testing.assert_allclose(shape(["one two"] * 5, rows)[0], expected, rtol=1e-6)
    # A model that reads readers is told without being asked, and one of texts is not.
    told, alone = (
        CopyRewardShape({"ctr": 1.0}, model=model, users=store)(["one two"] * 5, rows)[0]
        for model in (ReaderModel(), WordModel())
    )
    np.testing.assert_allclose(told, expected, rtol=1e-6)
    assert (alone == -2).all()


def test_expected_click_is_the_simulated_reader_s(store):
    rows = draw_tasks(store, 30, 3)
    texts = [store.catalogue.texts[k] for k in rows.creative]
    actions = 1 + rows.creative * store.catalogue.n_channels + rows.channel
    table = store.click_logit[rows.user, rows.slot, actions]
    shape = CopyRewardShape({"expected_click": 1.0}, users=store)
    np.testing.assert_allclose(score_copy(shape, texts, rows)[0], table, rtol=1e-5)


def test_uncertainty_is_the_ensemble_s_standard_deviation(store):
    got = value(store, "uncertainty", ["a b c"], model=WordModel(), options=-2.0)
    assert got[0] == pytest.approx(-0.6)
    rows = draw_tasks(store, 5, 0)
    shape = CopyRewardShape({"uncertainty": {"profiles": True}}, model=ReaderModel(), users=store)
    expected = np.abs(store.profiles.features[rows.user, 0]) + 0.3
    np.testing.assert_allclose(shape(["a b c"] * 5, rows)[0], expected, rtol=1e-6)
    with pytest.raises(UserError, match=re.escape("copy term 'ctr' needs the readers' profiles")):
        CopyRewardShape({"ctr": {"profiles": True}}, model=ReaderModel())


@pytest.mark.parametrize("term", ["ctr", "uncertainty"])
def test_profiles_are_refused_where_the_model_knows_texts_alone(store, term):
    class Texts(WordModel):
        reads_readers = False

    message = f"copy term '{term}' has profiles: true, but its CTR model learned from texts alone"
    with pytest.raises(UserError, match=re.escape(message)):
        CopyRewardShape({term: {"profiles": True}}, model=Texts(), users=store)
    CopyRewardShape({term: {"profiles": False}}, model=Texts(), users=store)


def test_a_term_of_another_package_is_named_by_its_path(store, tmp_path, monkeypatch):
    (tmp_path / "copy_terms_of_test.py").write_text(
        "import numpy as np\n"
        "def hats(resources, per=1.0):\n"
        "    return lambda texts, rows: per * np.array([t.count('hat') for t in texts], float)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    terms = {
        "copy_terms_of_test:hats": 1.0,
        "copy_terms_of_test:hats:twice": {"weight": -1.0, "per": 3.0},
    }
    scores, values = CopyRewardShape(terms)(["hat hat", "coat"], tasks(store, 2))
    assert scores.tolist() == [2.0 - 6.0, 0.0]
    assert list(values) == [*terms, "floor"]
    with pytest.raises(UserError, match="has no option 'size': choose one of weight, per"):
        CopyRewardShape({"copy_terms_of_test:hats": {"size": 1}})


# ---------------------------------------------------------------- the text itself


def test_length_is_zero_in_the_channel_s_band_and_the_log_ratio_outside(store):
    texts = ["word " * n for n in (14, 40, 80, 7, 1)]
    expected = [0, 0, np.log(2), np.log(2), 2.0]
    np.testing.assert_allclose(value(store, "length", texts, channel=0), expected)  # email
    np.testing.assert_allclose(
        value(store, "length", ["word " * 36], channel=1), [np.log(2)]  # push, up to 18
    )  # fmt: skip
    options = {"unit": "characters", "bands": {"default": [10, 20], "sms": [1, 5]}}
    assert value(store, "length", ["x" * 40], options=options)[0] == pytest.approx(np.log(2))
    assert value(store, "length", ["x" * 5], channel=2, options=options)[0] == 0


def test_repetition_by_hand(store):
    texts = ["buy now buy now buy now", "kettle kettle kettle kettle", "warm water in 3 minutes"]
    # Pairs: 5 with 2 distinct; 3 with 1, and 2 of 4 long words are beyond the second.
    np.testing.assert_allclose(value(store, "repetition", texts), [3 / 5, 2 / 3, 0])


def test_faultless_copy_has_no_faults(store):
    for k, text in enumerate(store.catalogue.texts):
        for term in ("repetition", "gibberish"):
            assert value(store, term, [text], creative=k)[0] == 0, (term, text)


def test_character_grams_and_jaccard_by_hand():
    # " abc " has the grams " abc", "abc "; " abcd " has " abc", "abcd", "bcd ".
    assert len(character_grams("abc")) == 2
    assert len(character_grams("ABC  ")) == 2
    assert pairwise_jaccard(["abc", "abcd", "xyz", ""]).tolist() == [
        [1, 0.25, 0, 0],
        [0.25, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
    ]


def test_nearest_text_equals_brute_force():
    rng = np.random.default_rng(0)
    words = ["warm", "water", "kettle", "in", "minutes", "the", "of", "spring", "offer", "ends"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 8))) for _ in range(60)]
    brute = pairwise_jaccard(texts)[40:, :40].max(axis=1)
    np.testing.assert_allclose(NearestText(texts[:40]).similarity(texts[40:]), brute)
    contained = NearestText(["the warm water of spring"], "containment")
    assert contained.similarity(["warm water", "", "xyz xyz"]).tolist() == [1.0, 0.0, 0.0]


def test_near_duplicates_cost_and_others_do_not(store):
    reference = ["The Alto kettle boils a litre of water in 3 minutes."]
    texts = [reference[0], reference[0].upper(), "Three nights in Lisbon, breakfast included."]
    got = value(store, "near_duplicate", texts, reference_texts=reference)
    assert got.tolist() == [1.0, 1.0, 0.0]
    close = value(store, "near_duplicate", [reference[0][:-5]], reference_texts=reference)
    assert 0 < close[0] < 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It boils a litre of water in 3 minutes.", ()),
        ("It boils a litre of water in three minutes.", ()),
        ("It boils a litre of water in 2 minutes.", ("2",)),
        ("Save 90% on the bill.", ("90%",)),
        ("Now 49% off.", ("49%",)),  # the brief's 49 is a price
        ("The best kettle, guaranteed, is free.", ("best", "free", "guaranteed")),
        ("It cures you.", ("cures",)),
        ("People in Paris love what the Home Test Lab measured on Sundays.", ("Paris",)),
        ("Why This Kettle Is Loved In Paris And Rome", ()),  # title case says nothing
        ("See how Obama did it.", ("Obama",)),  # the name itself is no title case
        ("Meet Obama and his dog Rex in Paris.", ("Obama", "Paris", "Rex")),
        ("One of us, with 49.00 to spend.", ()),
        ("Twelve reasons to love it.", ("12",)),
    ],
)
def test_claims_that_the_brief_does_not_support(text, found):
    assert unsupported_claims(text, KETTLE.brief) == found


def test_catalogue_copy_is_flagged_where_the_world_says_so(store):
    flagged = [bool(unsupported_claims(t, p)) for t, p in
               zip(store.catalogue.texts, store.catalogue.briefs, strict=True)]  # fmt: skip
    assert np.flatnonzero(flagged).tolist() == [2, 11, 17, 23]


def test_what_keeps_to_the_brief_costs_less_than_what_leaves_it(store):
    rows = tasks(store, 3)
    brief = rows.briefs[0]
    texts = [
        brief,
        f"Look: {brief.split('.')[0]}",
        "They Told Her She Couldn't Sing. Watch Her.",
    ]
    recited, kept, left = score_copy(CopyRewardShape({"off_brief": 1.0}), texts, rows)[0]
    assert recited == 0.0
    assert left > kept + 0.3
    strict = CopyRewardShape({"off_brief": {"enough": 1.0}})
    assert score_copy(strict, texts, rows)[0][1] > kept


def test_compliance_counts_up_to_the_worst(store):
    texts = ["The best kettle.", "The best, free and guaranteed miracle."]
    np.testing.assert_allclose(value(store, "compliance", texts), [1 / 3, 1.0])


def test_diversity_compares_within_a_product(store):
    at = np.array([0, 0, 0, 3])
    rows = copy_rows(store, at * 0, at, at * 0, at * 0)
    shape = CopyRewardShape({"diversity": 1.0})
    got = shape(["same copy", "same copy", "wxyz", "same copy"], rows)[0]
    np.testing.assert_allclose(got, [0.5, 0.5, 1.0, 1.0])


def test_a_formula_is_what_texts_for_other_products_say_and_the_log_does_not(store):
    at = np.array([0, 0, 3, 6, 9])
    rows = copy_rows(store, at * 0, at, at * 0, at * 0)
    texts = [
        "Here's what it boils.",
        "Here's what it costs.",
        "Here’s what you sit on.",
        "It is on sale.",
        "You sit.",
    ]
    log = ["It is on sale."] * 3 + ["Here's what it does."]

    def formula(reference_texts):
        shape = CopyRewardShape({"formula": 1.0}, reference_texts=reference_texts)
        return shape(texts, rows)[0]

    # Three texts are for other products than the first two; four are for others than the rest.
    np.testing.assert_allclose(formula(["Nothing of it."]), [1 / 3, 1 / 3, 2 / 4, 0, 1 / 4])
    # A quarter of the log says "here's what".
    np.testing.assert_allclose(formula(log), [1 / 12, 1 / 12, 1 / 4, 0, 1 / 4])


def test_a_text_alone_is_no_formula(store):
    assert value(store, "formula", ["Here's what it is."], reference_texts=["a b"])[0] == 0.0


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 1, 1),
        ("  \n", 1, 1),
        ("12 %", 1, 1),
        ("Buy it now<|im_end|>", 1, 1),
        ("Brief: Product: Alto kettle", 1, 1),
        ("Dear {name}, hello", 1, 1),
        ("Read https://x.y", 1, 1),
        ("One line.\nAnother line.", 0.5, 0.5),
        ("xqz vbnrt plkm wqrt zzgh", 0.8, 1),
        ("yaaaaaay it is here", 0.4, 0.6),
        ("An NHS nurse's well-known tip: 3.1% a year – “really”!", 0, 0),
    ],
)
def test_gibberish(store, text, low, high):
    assert low <= value(store, "gibberish", [text])[0] <= high


def test_reciting_a_form_is_no_copy(store):
    texts = [
        "The Alto kettle. Price: 49. Facts: Boils a litre.",
        "At this price: 49.",
        "Facts only.",
    ]
    assert value(store, "gibberish", texts).tolist() == [1.0, 0.0, 0.0]
    rows = tasks(store, 1)
    # A story with one label is no form, and its headline may take it up.
    story = replace(rows, briefs=("Warning: strong words. She says them all.",))
    assert CopyRewardShape({"gibberish": 1.0})(["Warning: Strong Words"], story)[0][0] == 0.0


def test_every_term_answers_odd_texts_with_bounded_numbers(store):
    texts = ["", " ", "\n\n", "a", "🙂" * 9, "日本語のテキスト", "5" * 800, "a-" * 300, "\ud800"]
    shape = CopyRewardShape(dict.fromkeys(TERMS, 1.0), model=WordModel(), users=store, floor=False,
                            reference_texts=["", "a", "🙂"], fluency=by_letters)  # fmt: skip
    _, terms = score_copy(shape, texts, tasks(store, len(texts)).rewriting(["a"] * len(texts)))
    assert set(terms) == set(TERMS)
    for name, values in terms.items():
        assert np.isfinite(values).all(), name
        most = {"ctr": 15, "expected_click": 15, "gain": 15, "fluency": 3}.get(name, 2)
        assert np.abs(values).max() <= most, name


# ---------------------------------------------------------------- the shape


def test_the_score_is_the_sum_of_its_weighted_terms(store):
    terms = {"ctr": 2.0, "length": {"weight": -0.5}, "length:hard": {"weight": -1, "unit": "words"}}
    shape = CopyRewardShape(terms, model=WordModel())
    scores, parts = score_copy(shape, ["word " * 80], tasks(store, 1))
    assert scores[0] == pytest.approx(-30 - 1.5 * np.log(2))
    assert parts["length:hard"][0] == pytest.approx(-np.log(2))
    np.testing.assert_allclose(scores, sum(parts.values()))
    assert shape.terms == terms


def test_a_shape_pickles_and_scores_the_same(store):
    texts = list(store.catalogue.texts[:6])
    rows = draw_tasks(store, 6, 1).rewriting(texts[::-1])
    terms = {name: 1.0 for name in TERMS if name != "expected_click"}
    shape = CopyRewardShape(
        terms, model=WordModel(), users=store, reference_texts=texts[:2], fluency=by_letters
    )
    again = pickle.loads(pickle.dumps(shape))
    np.testing.assert_array_equal(shape(texts, rows)[0], again(texts, rows)[0])


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, "a copy reward needs at least one term"),
        ({"clicks": 1}, "unknown copy term 'clicks': choose one of compliance, ctr"),
        ({"ctr": 1}, "copy term 'ctr' needs a trained CTR reward model: give model="),
        ({"expected_click": 1}, "copy term 'expected_click' needs simulated users"),
        ({"uncertainty": 1}, "copy term 'uncertainty' needs an ensemble"),
        ({"near_duplicate": 1}, "copy term 'near_duplicate' needs the training log's copies"),
        (
            {"length": {"words": 3}},
            "copy term 'length' has no option 'words': choose one of weight",
        ),
        ({"length": "much"}, "copy term 'length' has weight 'much'"),
        ({"length": float("nan")}, "copy term 'length' has weight nan"),
        ({"length": {"unit": "pages"}}, "unknown unit of copy term 'length' 'pages'"),
        ({"length": {"unit": "characters"}}, "needs bands with a default"),
        ({"length": {"bands": {"sms": [9, 3]}}}, "has the band [9, 3] for 'sms'"),
        ({"compliance": {"worst": 0}}, "has worst=0"),
    ],
)
def test_mistakes_are_one_sentence(terms, message):
    with pytest.raises(UserError, match=re.escape(message)):
        CopyRewardShape(terms)


@pytest.mark.parametrize("enough", [0, 1.5, True, "much"])
def test_a_cosine_that_is_none_is_refused(enough):
    with pytest.raises(UserError, match="copy term 'off_brief' has enough="):
        CopyRewardShape({"off_brief": {"enough": enough}})


def test_mistakes_in_what_was_handed_in(store):
    with pytest.raises(UserError, match=re.escape("got a single one; train it with members=3")):
        CopyRewardShape({"uncertainty": -1}, model=SingleModel())
    silent = replace(store, copy_response=None)
    with pytest.raises(UserError, match=re.escape("cannot answer free text")):
        CopyRewardShape({"expected_click": 1}, users=silent)
    with pytest.raises(UserError, match=re.escape("has floor=1.0; it must lie in [0, 1)")):
        CopyRewardShape({"near_duplicate": {"floor": 1.0}}, reference_texts=["a"])


@pytest.mark.parametrize("name", ["ctr", "ctr_only", "ctr_conservative", "expected_click"])
def test_the_named_rewards_can_be_made_and_prefer_copy_to_noise(store, name):
    from pathlib import Path

    folder = Path(__file__).parents[3] / "conf" / "copy_reward"
    config = OmegaConf.load(folder / f"{name}.yaml")
    make = instantiate(config)
    shape = make(
        model=WordModel(),
        users=store,
        reference_texts=["Another text altogether."],
        fluency=by_letters,
    )
    good, noise = "It boils a litre of water in 3 minutes.", "zzz xqzt " * 20
    scores, terms = score_copy(shape, [good, noise], tasks(store, 2))
    assert set(terms) == set(config.terms) | ({"floor"} if config.floor else set())
    assert scores[0] > scores[1]


# ---------------------------------------------------------------- a CTR model as users


def test_ctr_response_takes_clicks_from_the_model_and_the_rest_from_the_catalogue(store):
    rows = draw_tasks(store, 20, 5)
    actions = 1 + rows.creative * store.catalogue.n_channels + rows.channel
    index = (rows.user, rows.creative, rows.channel, rows.slot)
    response = CtrResponse(WordModel(), store)(["one two"] * 20, *index)
    assert (response.click_logit == -2).all()
    np.testing.assert_array_equal(
        response.conversion_logit, store.conversion_logit[rows.user, actions]
    )
    np.testing.assert_array_equal(
        response.expected_revenue, store.expected_revenue[rows.user, actions]
    )
    np.testing.assert_array_equal(
        response.unsubscribe_logit, store.unsubscribe_offset[rows.user, actions]
    )


def test_a_model_of_texts_leaves_users_channels_and_slots_to_the_tables(store):
    users = texts_answered_by(store, TextModel())
    everybody = np.arange(len(store))
    at = np.zeros(len(store), np.int64)
    index = (everybody, at + 4, at + 1, at + 2)
    short, long = (
        users.copy_response([text] * len(store), *index).click_logit
        for text in ("one two", "one two three")
    )
    np.testing.assert_allclose(short - long, 1.0)
    table = store.click_logit[:, 2, 1 + 4 * 3 + 1]
    np.testing.assert_allclose(short - short[0], table - table[0], atol=1e-5)


def test_a_text_of_the_catalogue_is_answered_as_its_table_says(store):
    users = texts_answered_by(store, TextModel())
    rows = draw_tasks(users, 50, 3)
    index = (rows.user, rows.creative, rows.channel, rows.slot)
    texts = [users.catalogue.texts[k] for k in rows.creative]
    actions = 1 + rows.creative * users.catalogue.n_channels + rows.channel
    np.testing.assert_allclose(
        users.copy_response(texts, *index).click_logit,
        users.click_logit[rows.user, rows.slot, actions],
        atol=1e-6,
    )


def test_a_product_s_level_stays_and_its_texts_differ_as_the_model_says(store):
    users = texts_answered_by(store, TextModel())
    catalogue = users.catalogue
    words = -np.array([len(text.split()) for text in catalogue.texts], float)
    shape = (catalogue.n_slots, catalogue.n_creatives, catalogue.n_channels)
    before, after = (
        u.click_logit[:, :, 1:].mean(axis=0, dtype=np.float64).reshape(shape)
        for u in (store, users)
    )
    for product in set(catalogue.product_ids):
        own = np.flatnonzero(np.array(catalogue.product_ids) == product)
        share = catalogue.popularity[own] / catalogue.popularity[own].sum()
        np.testing.assert_allclose(
            np.einsum("k,skh->sh", share, after[:, own]),
            np.einsum("k,skh->sh", share, before[:, own]),
            atol=1e-4,
        )
        difference = after[:, own] - after[:, own[:1]]
        expected = (words[own] - words[own[0]])[None, :, None]
        np.testing.assert_allclose(
            difference, np.broadcast_to(expected, difference.shape), atol=1e-4
        )


def test_users_answered_by_a_model_say_so(store):
    users = answered_by(store, WordModel())
    assert "CTR model" in users.assumptions[-1]
    rows = draw_tasks(users, 4, 0)
    shape = CopyRewardShape({"expected_click": 1.0}, users=users)
    assert (shape(["one two three"] * 4, rows)[0] == -3).all()


def test_a_centred_click_ranks_the_texts_of_a_task_as_before_and_forgets_the_reader():
    world = StorefrontWorld(seed=0, n_users=40)
    users = world.user_model()
    rows = draw_tasks(users, 60, seed=1)
    plain = CopyRewardShape({"expected_click": 1.0}, users=users)
    centred = CopyRewardShape({"expected_click": {"centred": True}}, users=users)
    first, second = (
        [users.catalogue.texts[k] for k in ks] for ks in (rows.creative, rows.creative // 3 * 3)
    )
    gap = plain(first, rows)[0] - plain(second, rows)[0]
    np.testing.assert_allclose(centred(first, rows)[0] - centred(second, rows)[0], gap)
    assert centred(first, rows)[0].std() < 0.6 * plain(first, rows)[0].std()
    # The mean over a product's catalogue copies is 0 by construction.
    kettle = rows.take(np.zeros(3, np.int64))
    product = users.catalogue.product_ids.index(kettle.products[0])
    texts = users.catalogue.texts[product : product + 3]
    assert centred(texts, kettle)[0].mean() == pytest.approx(0.0, abs=1e-5)
