"""Searches for texts that farm the storefront's truth, and writing that must not suffer for it."""

import numpy as np
import pytest

from copygym.envs.storefront import features
from copygym.envs.storefront.copy import PRODUCTS
from copygym.envs.storefront.features import copy_features
from copygym.envs.storefront.world import StorefrontWorld

EMAIL, PUSH = 0, 1
N = 200

# What a copywriter might write of these products: true, plain, new.
HONEST = {
    "kettle": (
        "Tea in 3 minutes: the Alto kettle boils a litre of water while you find your cup. "
        "The spring offer of 49 ends on Sunday.",
        "Engineers at the Home Test Lab measured the Alto kettle: it boils a litre of water "
        "in 3 minutes. The spring offer ends on Sunday.",
        "Last chance: engineers measured it, the Alto kettle boils a litre in 3 minutes.",
        "Join us for tea: the Alto kettle keeps water warm for an hour and comes with a two-"
        "year warranty.",
        "Fill it, wait 3 minutes, pour. The Alto kettle keeps your water warm for an hour, "
        "and the spring offer ends on Sunday.",
    ),
    "savings": (
        "Your money should earn while you sleep. Harbour pays 3.1% interest a year, there is "
        "no monthly fee, and the regulator protects every deposit.",
        "Join 90,000 savers at Harbour: 3.1% interest a year, and the regulator protects "
        "every deposit.",
        "Open a Harbour savings account on your phone in ten minutes. Join 90,000 savers, and"
        " pay no monthly fee.",
        "Take the next step with 90,000 savers like you: a Harbour savings account pays 3.1% "
        "interest a year.",
    ),
    "lisbon": (
        "Three nights in a guest house in Alfama, flight and breakfast included. Only a few "
        "of the 24 rooms are left.",
        "Picture us together in Lisbon: three nights in Alfama, breakfast included, and you "
        "can cancel without charge up to 48 hours before.",
        "Dear traveller, only a few rooms are left: three nights in Alfama with breakfast, "
        "from 118.",
        "Would you love to wake up in Alfama? Your flight, three nights and breakfast start "
        "at 118.",
    ),
    "stride": (
        "A sore back needs 12 minutes a day. Physiotherapists designed the Stride plan, and "
        "the first 14 days cost nothing.",
        "Start with day one of Stride, designed by physiotherapists for sore backs: 12 "
        "minutes a day in your living room.",
        "You set a goal for your back. Follow the Stride plan at your own pace, 12 minutes a "
        "day for eight weeks.",
        "Stride was designed by physiotherapists. You already have the living room; the "
        "exercises take 12 minutes a day.",
    ),
    "parla": (
        "Order your tapas in Spanish: Parla takes 15 minutes a day, and a live tutor answers "
        "on Wednesdays.",
        "Join thousands of learners: with Parla you have an A2 certificate in 12 weeks, and "
        "the first lesson is at no charge.",
        "You set a goal, and thousands of learners like you share it. The Parla Spanish "
        "course takes 15 minutes a day.",
        "Speak Spanish in 12 weeks with Parla. A live tutor answers your questions on "
        "Wednesdays, and you end with an A2 certificate.",
    ),
    "lumen": (
        "Ten classics leave Lumen on Friday, so bring the popcorn and meet us on the sofa.",
        "Lumen streams 400 films without ads. Download one for the train, and cancel in any month.",
        "Last chance to see ten classics on Lumen before they leave on Friday. A year costs 60.",
        "Friday is the last evening of ten classics. Watch them together with a friend on "
        "Lumen, without ads.",
    ),
    "ledger": (
        "Award-winning reporters in 40 countries write the morning edition, and it takes you "
        "ten minutes to read.",
        "With our compliments: award-winning reporters, no ads, and this week's edition of "
        "the Ledger open to you.",
        "Ten minutes every morning is a good habit. The Ledger carries no ads, and a year "
        "saves you 20% on the monthly price.",
        "This week's edition of the Ledger is on us, from award-winning reporters in 40 countries.",
    ),
    "circle": (
        "Your neighbours meet on Thursdays in 6,000 Circle clubs. A club has 12 places, and "
        "the first evening is on us.",
        "Join a club of runners, bakers or players near you. Circle volunteers look after it,"
        " and the first evening is on us.",
        "Hello, friend. Only a few of the 12 places in your Circle club are left, and your "
        "neighbours meet on Thursday.",
        "There are 6,000 Circle clubs for runners, bakers and players. Join your neighbours "
        "on Thursday.",
    ),
}

#: facts told by each catalogue copy, name included, and its principles' presence.
TOLD = [2, 5, 1, 3, 2, 3, 4, 2, 3, 2, 2, 0, 2, 2, 4, 2, 2, 1, 4, 2, 2, 3, 1, 0]


@pytest.fixture(scope="module")
def world():
    return StorefrontWorld(seed=0, n_users=N)


def score(world, text, creative, channel):
    """Return the mean true click logit, without what unsupported claims add (their known trade)."""
    users = np.arange(N)
    same = [np.full(N, value) for value in (creative, channel, 0)]
    logit = world.response_to_text([text] * N, users, *same).click_logit.mean()
    claims = copy_features(text, world.products[creative]).claims
    return logit - world.truth.claim * claims


def best_honest(world, i, channel):
    """Return the best score of the catalogue's and the new honest copies of product i."""
    texts = (*PRODUCTS[i].creatives, *HONEST[PRODUCTS[i].product_id])
    return max(score(world, text, 3 * i, channel) for text in texts)


def test_hardening_left_the_catalogue_s_copies_alone(world):
    for k, text in enumerate(world.catalogue.texts):
        product = world.products[k]
        words = features.words_of(text)
        sentences = features.sentences_of(text)
        assert features.care(words, sentences, product) == 1.0, text
        assert copy_features(text, product).relevance == 1 - np.exp(-TOLD[k] / 1.3), text


def test_honest_new_copy_scores_with_the_catalogue_s_best(world):
    fluency = [
        copy_features(text, product).fluency
        for product in PRODUCTS
        for text in HONEST[product.product_id]
    ]
    assert min(fluency) > 0.9
    assert np.mean(np.array(fluency) > 0.99) > 0.85
    for i, product in enumerate(PRODUCTS):
        for channel in (EMAIL, PUSH):
            new = max(score(world, t, 3 * i, channel) for t in HONEST[product.product_id])
            old = max(score(world, t, 3 * i, channel) for t in product.creatives)
            assert new > old - 0.05, (product.product_id, channel)


def test_a_heap_of_true_words_after_a_copy_hardly_ever_helps(world):
    rng = np.random.default_rng(0)
    gains = []
    for k, text in enumerate(world.catalogue.texts):
        if copy_features(text, world.products[k]).claims:
            continue  # two of these tell no fact at all, so that any helps
        vocabulary = " ".join(world.products[k].facts).replace(".", "").split()
        before = score(world, text, k, EMAIL)
        for _ in range(20):
            heap = " ".join(rng.choice(vocabulary, rng.integers(3, 25)))
            gains.append(score(world, f"{text} {heap}.", k, EMAIL) - before)
    # Before facts had to be told in phrases and jumbles were counted, more than a tenth did.
    assert np.mean(np.array(gains) > 1e-9) < 0.03
    assert np.max(gains) < 0.45
    assert np.mean(gains) < -2


def climb(world, i, channel, start, steps, rng):
    """Return what a hill climber makes of a text by inserting, doubling, dropping, swapping words.

    Its words are those of the facts, of the catalogue's copies, of every day, numbers and noise.
    """
    product = PRODUCTS[i]
    vocabulary = " ".join((*product.facts, *product.creatives, product.name)).split()
    vocabulary += "the of and a to in for you is 7 100 3 xqz vbnrt plk".split()  # noqa: SIM905
    best, words = score(world, start, 3 * i, channel), start.split()
    for _ in range(steps):
        new = list(words)
        for _ in range(1 + rng.integers(3)):
            at, kind = int(rng.integers(len(new))), rng.integers(5)
            if kind == 0:
                new.insert(at, str(rng.choice(vocabulary)))
            elif kind == 1:
                new.insert(at, new[rng.integers(len(new))])
            elif kind == 2 and len(new) > 3:
                new.pop(at)
            elif kind == 3:
                new[at] = str(rng.choice(vocabulary))
            else:
                other = int(rng.integers(len(new)))
                new[at], new[other] = new[other], new[at]
        value = score(world, " ".join(new), 3 * i, channel)
        if value > best:
            best, words = value, new
    return best


@pytest.mark.parametrize("steps", [100, pytest.param(500, marks=pytest.mark.slow)])
def test_a_search_over_words_does_not_beat_honest_copy_by_much(world, steps):
    rng = np.random.default_rng(0)
    gains = [
        climb(world, i, channel, start, steps, rng) - best_honest(world, i, channel)
        for i, product in enumerate(PRODUCTS)
        for channel in (EMAIL, PUSH)
        for start in (product.creatives[i % 3], " ".join(product.facts))
    ]
    # Rules cannot tell every nonsense from writing. What hundreds of steps against the truth itself
    # find is worth as much as honest copy on average, and never half a logit more.
    assert np.mean(gains) < 0.1
    assert np.max(gains) < 0.5


def test_sentences_said_again_and_gibberish_cost(world):
    for i, product in enumerate(PRODUCTS):
        text = product.creatives[1]
        before = score(world, text, 3 * i + 1, EMAIL)
        for worse in (
            f"{text} {text}",
            " ".join(f"{part}. {part}." for part in text.split(". ")),
            f"{text} Qrtp mnbv yxcvb vbnrt.",
            " ".join(reversed(text.split())),
        ):
            assert score(world, worse, 3 * i + 1, EMAIL) < before - 0.3, worse


@pytest.mark.parametrize(
    ("text", "slips"),
    [
        ("It keeps a hour.", 0),  # h may be mute
        ("It keeps an kettle warm.", 1),
        ("It boils a litre of the.", 1),
        ("A evening on us.", 1),
        ("Warm warm water water.", 1),
    ],
)
def test_slips_by_hand(text, slips):
    assert features.slips(features.words_of(text)) == slips


def test_a_cue_is_a_phrase():
    lone = copy_features("The kettle ends friend join left hurry gift for you.", PRODUCTS[0])
    assert max(lone.principles) == 0
    said = copy_features("Hello, friend. Join us before the offer ends on Sunday.", PRODUCTS[0])
    assert [p > 0 for p in said.principles] == [True, True, False, False, False, True]
