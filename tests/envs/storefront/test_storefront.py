"""The synthetic world: deterministic, learnable, and not to be farmed."""

import re
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.datasets import card, load
from copygym.envs.datasets.storefront import make_world
from copygym.envs.datasets.storefront_log import START, _count_reached, simulate_log
from copygym.envs.delivery import DeliveryVectorEnv
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.profiles.builder import ProfileBuilder, Profiles
from copygym.envs.storefront.copy import FIELDS, PRINCIPLES, PRODUCTS
from copygym.envs.storefront.features import copy_features
from copygym.envs.storefront.world import CHANNELS, SLOTS, StorefrontWorld, default_users

N = 400


@pytest.fixture(scope="module")
def world():
    return StorefrontWorld(seed=0, n_users=N)


@pytest.fixture(scope="module")
def log(world):
    return simulate_log(world, n_slots=28, seed=0)


def mean_click_logit(world, text, creative, channel):
    """Return the mean true click logit of a text over the world's users."""
    users = np.arange(world.n_users)
    same = [np.full(world.n_users, value) for value in (creative, channel, 0)]
    return world.response_to_text([text] * world.n_users, users, *same).click_logit.mean()


# ------------------------------------------------------------------ the catalogue


def test_the_catalogue_covers_the_eight_fields(world):
    catalogue = world.catalogue
    assert catalogue.n_creatives == 24
    assert len(set(catalogue.texts)) == 24
    assert catalogue.topics == FIELDS
    assert np.bincount(catalogue.topic_of_creative).tolist() == [3] * 8
    assert catalogue.popularity.sum() == pytest.approx(1.0)
    assert "3 minutes" in catalogue.briefs[0]


def test_creatives_read_well_and_a_few_overclaim(world):
    features = list(map(copy_features, world.catalogue.texts, world.products))
    assert min(f.fluency for f in features) > 0.98
    assert sum(f.claims > 0 for f in features) == 4
    used = np.array([f.principles for f in features]) > 0
    assert (used.sum(axis=0) >= 3).all(), dict(zip(PRINCIPLES, used.sum(axis=0), strict=True))


def test_a_list_of_keywords_is_no_writing():
    kettle = PRODUCTS[0]
    good = kettle.creatives[1]
    listed = f"{good} kettle steel boil water litre minute warranty offer Sunday warm"
    assert copy_features(listed, kettle).fluency < 0.85
    bare = copy_features("kettle boil water litre minute warranty offer Sunday warm", kettle)
    assert bare.fluency < 0.1
    assert bare.relevance == 0.0


def test_facts_support_their_own_numbers():
    kettle = PRODUCTS[0]
    assert copy_features("It boils a litre of water in 3 minutes.", kettle).claims == 0
    assert copy_features("It boils a litre of water in 2 minutes.", kettle).claims == 1
    assert copy_features("The best kettle, guaranteed, is free.", kettle).claims == 3


# ------------------------------------------------------------------ no farming

GIBBERISH = "xqz vbnrt plk wqe zzgh qrtp mnbv lkjh gfds trewq yxcv pqwz"
PADDING = " And that is what we have for you here, as it was then and as it will be for all of us"
ATTACKS = {
    "repetition": lambda text, facts: f"{text} {text}",
    "keyword stuffing": lambda text, facts: text + " " + re.sub(r"\b\w{1,3}\b|[.,]", "", facts),
    "length": lambda text, facts: text + (PADDING + ".") * 3,
    "gibberish": lambda text, facts: f"{text} {GIBBERISH}.",
    "all principles": lambda text, facts: (
        text
        + " Hello, dear friend: hurry and join the thousands whom experts recommend this gift to."
    ),
    "shouting": lambda text, facts: text.upper() + "!!!",
    "cue repetition": lambda text, facts: text + " Hurry! Hurry! Hurry! Hurry! Hurry!",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_raises_the_clicks_of_a_good_copy(world, attack):
    for k, text in enumerate(world.catalogue.texts):
        product = world.products[k]
        if copy_features(text, product).claims:
            continue
        attacked = ATTACKS[attack](text, " ".join(product.facts))
        for h in range(len(CHANNELS)):
            before = mean_click_logit(world, text, k, h)
            assert mean_click_logit(world, attacked, k, h) <= before + 1e-9, (text, CHANNELS[h])


def test_random_stuffing_seldom_helps_and_never_much(world):
    rng = np.random.default_rng(0)
    gains = []
    for k in (1, 3, 6, 12, 19, 21):
        text, vocabulary = world.catalogue.texts[k], " ".join(world.products[k].facts).split()
        before = mean_click_logit(world, text, k, 0)
        for _ in range(15):
            stuffing = " ".join(rng.choice(vocabulary, rng.integers(6, 25))).replace(".", "")
            gains.append(mean_click_logit(world, f"{text} {stuffing}.", k, 0) - before)
    # The stuffing holds true facts; what gets through is a fact told by chance.
    assert np.mean(np.array(gains) > 0) < 0.15
    assert np.mean(gains) < -0.5
    assert np.max(gains) < 0.6


def test_gibberish_is_far_below_the_worst_catalogue_copy(world):
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyz      ")
    noise = ["".join(rng.choice(letters, 120)) for _ in range(10)]
    shuffled = ["".join(rng.permutation(list(t))) for t in world.catalogue.texts[:8]]
    words = ["kettle kettle boil water kettle litre", "the of and the a to the of", GIBBERISH]
    for h in range(len(CHANNELS)):
        worst = min(mean_click_logit(world, t, k, h) for k, t in enumerate(world.catalogue.texts))
        best_noise = max(mean_click_logit(world, t, 0, h) for t in noise + shuffled + words)
        assert best_noise < worst - 1.0


def test_empty_and_odd_texts_are_answered_with_finite_numbers(world):
    texts = ["", " ", "!!!", "\n", "a", "Ünïcödé für alle", "🙂", "5" * 500, "a-" * 300]
    n = len(texts)
    zeros = np.zeros(n, dtype=np.int64)
    response = world.response_to_text(texts, zeros, zeros, zeros, zeros)
    assert all(np.isfinite(field).all() for field in response)
    assert response.click_logit[0] < mean_click_logit(world, world.catalogue.texts[0], 0, 0) - 2


def test_unsupported_claims_trade_clicks_for_conversions_and_unsubscribes(world):
    honest = "The Alto kettle boils a litre of water in 3 minutes, and keeps it warm for an hour."
    bold = honest[:-1] + ", guaranteed."
    users = np.arange(N)
    zeros = np.zeros(N, dtype=np.int64)
    a = world.response_to_text([honest] * N, users, zeros, zeros, zeros)
    b = world.response_to_text([bold] * N, users, zeros, zeros, zeros)
    assert (b.click_logit > a.click_logit).all()
    assert (b.conversion_logit < a.conversion_logit).all()
    assert (b.unsubscribe_logit > a.unsubscribe_logit).all()


def test_good_new_copy_can_beat_the_catalogue(world):
    better = (
        "Engineers at the Home Test Lab measured the Alto kettle: it boils a litre of water in 3 "
        "minutes. The spring offer ends on Sunday."
    )
    best = max(mean_click_logit(world, world.catalogue.texts[k], k, 0) for k in range(3))
    assert mean_click_logit(world, better, 0, 0) > best


def test_principles_move_those_who_are_susceptible(world):
    i = list(PRINCIPLES).index("scarcity")
    users = np.argsort(world.people.susceptibility[:, i])[[0, -1]]
    zeros = np.zeros(2, dtype=np.int64)
    plain = "The Alto kettle boils a litre of water in 3 minutes for you."
    scarce = "Last chance: the Alto kettle boils a litre of water in 3 minutes for you."
    gain = (
        world.response_to_text([scarce] * 2, users, zeros, zeros, zeros).click_logit
        - world.response_to_text([plain] * 2, users, zeros, zeros, zeros).click_logit
    )
    assert gain[0] < 0 < gain[1]


# ------------------------------------------------------------------ gold users


def test_gold_tables_are_the_truth(world):
    users = world.user_model(users=np.array([5, 9]))
    rng = np.random.default_rng(0)
    a = rng.integers(1, users.catalogue.n_actions, 50)
    u, s = rng.integers(0, 2, 50), rng.integers(0, len(SLOTS), 50)
    k, h = users.catalogue.creative_of_action[a], users.catalogue.channel_of_action[a]
    texts = [users.catalogue.texts[i] for i in k]
    response = users.copy_response(texts, u, k, h, s)
    np.testing.assert_allclose(users.click_logit[u, s, a], response.click_logit, rtol=1e-5)
    np.testing.assert_allclose(users.conversion_logit[u, a], response.conversion_logit, rtol=1e-5)
    np.testing.assert_allclose(users.expected_revenue[u, a], response.expected_revenue, rtol=1e-5)
    np.testing.assert_allclose(
        users.unsubscribe_offset[u, a], response.unsubscribe_logit, rtol=1e-5, atol=1e-6
    )
    assert np.isneginf(users.click_logit[:, :, 0]).all()
    assert users.synthetic
    assert "synthetic" in users.assumptions[0]


def test_gold_users_follow_the_order_of_the_profiles(world):
    everyone = world.user_model()
    ids = world.user_ids[[7, 3]]
    seen = Profiles(ids, np.ones((2, 1)), ("x",), np.array(["a", "b"]))
    two = world.user_model(seen)
    np.testing.assert_array_equal(two.click_logit, everyone.click_logit[[7, 3]])
    assert two.profiles is seen
    stranger = Profiles(np.array(["who"]), np.ones((1, 1)), ("x",), np.array(["a"]))
    with pytest.raises(UserError, match=re.escape("user 'who' is not one of the 400 users")):
        world.user_model(stranger)


def test_the_world_is_a_function_of_its_seed(world):
    again, other = StorefrontWorld(0, N), StorefrontWorld(1, N)
    np.testing.assert_array_equal(again.user_model().click_logit, world.user_model().click_logit)
    assert not set(other.user_ids) & set(world.user_ids)
    with pytest.raises(UserError, match=re.escape("n_users is 0")):
        StorefrontWorld(n_users=0)


def test_default_users_are_made_once():
    users = default_users()
    assert len(users) == 256
    assert default_users() is users


# ------------------------------------------------------------------ the log


def test_the_logging_policy_supports_every_action(world):
    policy = world.logging_policy(np.arange(N))
    np.testing.assert_allclose(policy.sum(axis=-1), 1.0)
    assert policy.min() >= 0.002
    assert 0.3 <= 1 - policy[:, :, 0].mean() <= 0.42


def test_the_log_is_a_function_of_its_seed(world, log):
    assert simulate_log(world, n_slots=28, seed=0).equals(log)
    assert not simulate_log(world, n_slots=28, seed=1).equals(log)


def test_the_log_has_the_rates_of_a_plausible_campaign(log):
    sends = log.filter(pl.col("creative_id") != HOLD)
    assert 0.3 <= sends.height / log.height <= 0.42
    assert 0.04 <= sends["clicks"].mean() <= 0.08
    assert 0.06 <= sends["conversions"].sum() / sends["clicks"].sum() <= 0.17
    assert sends.filter(pl.col("conversions") == 1)["revenue"].is_between(10, 200).all()


def test_holds_show_nothing_and_earn_nothing(log):
    holds = log.filter(pl.col("creative_id") == HOLD)
    for name in ("channel", "text", "product_id", "topic"):
        assert holds[name].null_count() == holds.height
    assert holds.select("clicks", "conversions", "revenue", "unsubscribes").sum().row(0) == (
        0, 0, 0.0, 0,
    )  # fmt: skip


def test_a_user_s_rows_stop_after_the_unsubscribe(log):
    left = log.filter(pl.col("unsubscribes") == 1).select("user_id", left="timestamp")
    assert left.height > 0
    assert left["user_id"].is_unique().all()
    after = log.join(left, on="user_id").filter(pl.col("timestamp") > pl.col("left"))
    assert after.height == 0
    stayed = log.filter(~pl.col("user_id").is_in(left["user_id"].to_list()))
    assert (stayed.group_by("user_id").len()["len"] == 28).all()


def test_recorded_propensities_are_those_of_the_policy(world, log):
    policy = world.logging_policy(np.arange(N))
    names = {name: i for i, name in enumerate(world.catalogue.action_names)}
    for row in log.sample(200, seed=0).iter_rows(named=True):
        sent = row["creative_id"] != HOLD
        action = names[f"{row['creative_id']}@{row['channel']}"] if sent else 0
        u = world.rows_of(np.array([row["user_id"]]))[0]
        expected = policy[u, SLOTS.index(row["slot"]), action]
        assert row["propensity"] == pytest.approx(expected, rel=1e-5)


def test_frequencies_in_the_log_match_the_propensities(log):
    # E[1 / propensity of what was done] is the number of actions.
    weight = (1 / log["propensity"]).mean()
    assert weight == pytest.approx(73, rel=0.1)


def test_load_writes_once_and_reads_it_again(tmp_path, monkeypatch):
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path))
    first = load("storefront", n_users=30, n_slots=4)
    files = list((tmp_path / "data" / "storefront").iterdir())
    assert len(files) == 1
    stamp = files[0].stat().st_mtime_ns
    again = load("storefront", n_users=30, n_slots=4)
    assert files[0].stat().st_mtime_ns == stamp
    assert first.collect().equals(again.collect())
    assert first.synthetic
    assert "synthetic" in first.notes[0]
    assert card("storefront").synthetic
    with pytest.raises(UserError, match=re.escape("n_slots is 0")):
        load("storefront", n_slots=0)
    with pytest.raises(UserError, match=re.escape("is a file: data.path of storefront")):
        load("storefront", files[0], n_users=30)


@pytest.mark.parametrize("name", ["mine.csv", "mine.CSV.gz", "mine.parquet"])
def test_a_missing_log_of_the_user_s_is_no_folder_to_be_made(tmp_path, name):
    with pytest.raises(UserError, match="add dataset=table"):
        load("storefront", tmp_path / name, n_users=30, n_slots=4)
    assert list(tmp_path.iterdir()) == []


def test_no_log_is_written_beside_the_user_s(tmp_path):
    (tmp_path / "mine.csv").write_text("user_id,clicks\n")
    with pytest.raises(UserError, match=re.escape("holds 'mine.csv', which is none of")):
        load("storefront", tmp_path, n_users=30, n_slots=4)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


def test_a_flipped_bit_of_the_kept_log_is_noticed_and_made_again(tmp_path, caplog):
    whole = load("storefront", tmp_path, n_users=30, n_slots=4).collect()
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    again = load("storefront", tmp_path, n_users=30, n_slots=4)
    assert "was damaged" in caplog.text
    assert again.collect().equals(whole)
    assert file.read_bytes() == content and list(tmp_path.iterdir()) == [file]


def test_profiles_of_the_log_see_interests(tmp_path):
    log = load("storefront", tmp_path, n_users=1500, n_slots=56)
    world = StorefrontWorld(0, 1500)
    profiles = ProfileBuilder().fit(log).transform(log)
    rows = world.rows_of(profiles.user_ids)
    names = [profiles.names.index(f"interest_{field}") for field in FIELDS]
    seen = profiles.features[:, names]
    true = world.people.interest[rows]
    r = [np.corrcoef(seen[:, f], true[:, f])[0, 1] for f in range(len(FIELDS))]
    assert np.mean(r) > 0.25


# ------------------------------------------------------------------ headroom


def clicks_per_user(users, policy, horizon=28):
    """Return (N,) expected clicks of one episode of every user, and who unsubscribed."""
    n = len(users)
    env = DeliveryVectorEnv(num_envs=n, users=users, horizon=horizon)
    env.reset(seed=3, options={"user": np.arange(n)})
    alive, clicks = np.ones(n, dtype=bool), np.zeros(n)
    rng = np.random.default_rng(0)
    for _ in range(horizon):
        _, _, terminated, _, info = env.step(policy(env.state, rng))
        outcome = info["outcome"]
        clicks += alive * outcome.sent * outcome.click_probability
        alive &= ~terminated
    return clicks


def test_the_ladder_of_policies_has_headroom():
    users = StorefrontWorld(0, 1500).user_model()
    catalogue, dynamics = users.catalogue, users.dynamics
    rate = 1 / (1 + np.exp(-users.click_logit[:, :, 1:].astype(float)))
    rested = rate.max(axis=2).mean(axis=1)
    best_arm = 1 + int(rate.mean(axis=(0, 1)).argmax())

    def logging(state, rng):
        p = users.logging_policy[state["user"], state["slot"]].cumsum(axis=1)
        return (rng.random((len(p), 1)) * p[:, -1:] >= p).sum(axis=1)

    def greedy(state, rng, threshold=0.0):
        logit = users.click_logit[state["user"], state["slot"], 1:].astype(float)
        logit += state["drift"][:, catalogue.topic_of_action[1:]]
        seen = np.log1p(state["repetitions"][:, catalogue.creative_of_action[1:]])
        logit -= dynamics.repetition_click * seen
        best = logit.max(axis=1) - dynamics.fatigue_click * state["fatigue"]
        send = 1 / (1 + np.exp(-best)) >= threshold * rested[state["user"]]
        return np.where(send, 1 + logit.argmax(axis=1), 0)

    ladder = [
        lambda state, rng: rng.integers(0, catalogue.n_actions, len(state["user"])),
        logging,
        lambda state, rng: np.full(len(state["user"]), best_arm),
        greedy,
        lambda state, rng: greedy(state, rng, threshold=0.4),
    ]
    clicks = [clicks_per_user(users, policy) for policy in ladder]
    for lower, upper in pairwise(clicks):
        gain = upper - lower
        # The two runs share their luck: the paired interval is the one that counts.
        assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))


def test_new_options_leave_the_world_as_it_was(world, log):
    same = make_world(world.seed, world.n_users, favourites=1.0, trend=0.0, dynamics={})
    assert simulate_log(same, n_slots=28, seed=1).equals(
        simulate_log(StorefrontWorld(world.seed, world.n_users), n_slots=28, seed=1)
    )
    # The truth is a column more, and nothing else.
    known = simulate_log(same, n_slots=28, seed=1, truth=True)
    assert known.drop("click_probability").equals(simulate_log(same, n_slots=28, seed=1))


def test_a_marketer_with_favourites_makes_a_longer_tail(world):
    rows = np.arange(50)
    plain = world.logging_policy(rows)
    fond = make_world(world.seed, world.n_users, favourites=4.0).logging_policy(rows)
    np.testing.assert_allclose(fond.sum(axis=-1), 1)
    assert (fond > 0).all()
    shares = [np.sort(policy[:, :, 1:].mean(axis=(0, 1))) for policy in (plain, fond)]
    rare, common = (share[:7].sum() / share.sum() for share in reversed(shares))
    assert rare < common / 2


def test_a_trend_moves_everybody_together():
    still = {"drift_step": 0.0, "drift_click": 0.0}
    logs = [
        simulate_log(make_world(3, 200, trend=trend, dynamics=still), 20, 3, truth=True)
        for trend in (0.0, 0.3)
    ]
    where = ["user_id", "timestamp", "creative_id", "topic"]
    both = logs[0].join(logs[1], on=where, suffix="_moved").filter(pl.col("creative_id") != HOLD)
    odds = [
        (pl.col(name) / (1 - pl.col(name))).log()
        for name in ("click_probability_moved", "click_probability")
    ]
    start = pl.lit(START).dt.replace_time_zone("UTC")
    slot = (pl.col("timestamp") - start).dt.total_hours() // 6
    shift = both.select("topic", slot=slot, shift=odds[0] - odds[1])
    # Fatigue and repetitions are alike in both, so that all of the difference is the trend.
    each = shift.group_by("topic", "slot").agg(pl.col("shift").median(), n=pl.len())
    apart = shift.join(each, on=["topic", "slot"], suffix="_of_all")
    assert (apart["shift"] - apart["shift_of_all"]).abs().median() < 1e-4
    assert each["shift"].std() > 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"favourites": 0.5}, "favourites is 0.5; it must be at least 1"),
        ({"trend": -1.0}, "trend is -1.0; it must be at least 0"),
        ({"dynamics": {"drift": 1.0}}, "data.dynamics option"),
    ],
)
def test_options_that_make_no_world_are_refused(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        make_world(1, 10, **options)


def test_draws_are_those_of_a_count_over_the_whole_row():
    rng = np.random.default_rng(0)
    cumulative = rng.random((200, 7)).cumsum(axis=1)
    cumulative[0] = 1.0  # equal entries: an action without a chance
    draw = rng.random(200) * cumulative[:, -1]
    draw[0], draw[1], draw[2] = 1.0, 0.0, cumulative[2, 3]
    assert (_count_reached(cumulative, draw) == (draw[:, None] >= cumulative).sum(axis=1)).all()


def test_the_gold_tables_are_the_response_to_each_text():
    world = StorefrontWorld(seed=3, n_users=20)
    users = world.user_model()
    catalogue = users.catalogue
    for action in (1, 5, catalogue.n_actions - 1):
        k = int(catalogue.creative_of_action[action])
        for slot in range(catalogue.n_slots):
            response = world.response_to_text(
                [catalogue.texts[k]] * 20,
                np.arange(20),
                np.full(20, k),
                np.full(20, catalogue.channel_of_action[action]),
                np.full(20, slot),
            )
            click = users.click_logit[:, slot, action]
            assert (click == response.click_logit.astype(np.float32)).all()
        assert (
            users.unsubscribe_offset[:, action] == response.unsubscribe_logit.astype(np.float32)
        ).all()
