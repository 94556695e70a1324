"""The learner for Campaign-v1: it writes, delivers and paces one shared budget."""

import re

import numpy as np
import pytest

from copygym.agents.campaign import CampaignAgent, draft_tasks
from copygym.core.errors import UserError
from copygym.envs import CampaignVectorEnv, Dynamics
from copygym.envs.people.model import Response

CAMPAIGNS = 16
PATIENT = Dynamics(unsubscribe_logit=-np.inf)


class LikesGems:
    """Readers who like their own creative, and a text with "gem" in it."""

    def __call__(self, texts, users, creatives, channels, slots):
        gem = np.array(["gem" in text for text in texts], dtype=float)
        n = len(texts)
        logit = -4.0 + 2.5 * (users % 3 == creatives) + 1.5 * gem
        return Response(logit, np.full(n, -1.0), np.full(n, 10.0), np.zeros(n))


class Drafter:
    """Writes a good and a bad text for each task, in an order that varies."""

    def __init__(self):
        self.rows = None

    def write(self, rows, *, seed, temperature=1.0, top_p=1.0, samples=1):
        self.rows = rows
        return [("a gem", "a dud")[(i + j) % 2] for i in range(len(rows)) for j in range(samples)]


@pytest.fixture
def readers(make_user_model):
    return make_user_model(copy_response=LikesGems(), dynamics=PATIENT)


def campaigns(users, **options):
    return CampaignVectorEnv(
        CAMPAIGNS, users, **{"audience": 4, "horizon": 12, "budget": 0.2} | options
    )


def clicks(env, act, episodes=4, seed=99):
    """Return the mean reward of a campaign over ``episodes`` of each row."""
    obs, info = env.reset(seed=seed)
    done, total = np.zeros(env.num_envs, int), 0.0
    while done.min() < episodes:
        playing = done < episodes
        obs, reward, terminated, truncated, info = env.step(act(obs, info["action_mask"]))
        total += reward[playing].sum()
        done += terminated | truncated
    return total / (episodes * env.num_envs)


def at_random(seed, *, hold):
    """Return the policy that picks any allowed send, or holding as well."""
    rng = np.random.default_rng(seed)

    def act(obs, mask):
        odds = mask.astype(float)
        odds[:, 0] = odds[:, 0] if hold else np.where(mask[:, 1:].any(axis=1), 0.0, 1.0)
        deliver = [rng.choice(len(row), p=row / row.sum()) for row in odds]
        return {"deliver": np.array(deliver), "copy": ("",) * len(deliver)}

    return act


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_beats_chance_and_sending_always_and_its_drafts_help(readers, seed):
    agents = [CampaignAgent(Drafter()), CampaignAgent(None)]
    for agent in agents:
        agent.learn(campaigns(readers), 8000, seed=seed)
    writes, catalogue = (clicks(campaigns(readers), agent.act) for agent in agents)
    chance = clicks(campaigns(readers), at_random(seed, hold=True))
    always = clicks(campaigns(readers), at_random(seed, hold=False))
    assert max(chance, always) < 1.5
    assert catalogue > 4.0
    assert writes > catalogue + 0.8


def test_it_holds_where_a_send_is_worth_little_because_money_is_short(make_user_model):
    """Nobody clicks in the first slot and half do in the second; ten sends for 48 visits."""
    users = make_user_model(dynamics=PATIENT)
    users.click_logit[:, 0, 1:] = -4.0
    users.click_logit[:, 1, 1:] = 0.0
    agent = CampaignAgent(None)
    agent.learn(campaigns(users, budget=0.1), 6000, seed=0)
    paced = clicks(campaigns(users, budget=0.1), agent.act)
    agent._budget = None
    unpaced = clicks(campaigns(users, budget=0.1), agent.act)
    assert paced > unpaced + 1.0
    assert paced > 3.0


def test_the_price_is_the_lowest_that_a_visits_share_affords(users):
    agent = CampaignAgent(None)
    env = campaigns(users)  # 0.2 for 4 * 12 visits
    agent.bind(env, seed=0)
    agent._prices = np.array([0.0, 1.0, 2.0, 3.0])
    agent._spending = np.array([0.02, 0.01, 0.004, 0.0])
    obs, _ = env.reset(seed=0)
    delivery = obs["delivery"][:4].copy()
    delivery[:, agent._time] = [1.0, 0.5, 0.25, 1.0]
    delivery[:, agent._left] = [1.0, 1.0, 1.0, 0.1]
    # A visit's share: 0.2 / 48 = 0.0042, 0.2 / 24 = 0.0083, 0.2 / 12 = 0.0167, 0.02 / 48 = 0.0004.
    assert agent._price(delivery).tolist() == [2.0, 2.0, 1.0, 3.0]
    agent._budget = None
    assert agent._price(delivery).tolist() == [0.0] * 4


def test_recent_visits_spend_less_the_higher_the_price(readers):
    agent = CampaignAgent(Drafter())
    agent.learn(campaigns(readers), 1000, seed=0)
    assert (np.diff(agent._spending) <= 0).all()
    assert agent._spending[0] > 0.01
    assert agent._spending[-1] == 0.0


def test_drafts_are_for_every_segment_and_creative(readers):
    writer = Drafter()
    agent = CampaignAgent(writer, drafts=2)
    agent.bind(campaigns(readers), seed=0)
    assert agent.texts.shape == (3, 3, 3)
    assert (agent.texts[:, :, 0] == "").all()
    assert agent.texts[0, 1].tolist() == ["", "a dud", "a gem"]
    rows, segments = writer.rows, readers.profiles.segments
    assert rows.creative.tolist() == [0, 1, 2] * 3
    assert [segments[u] for u in rows.user[::3]] == ["likes-0", "likes-1", "likes-2"]
    # The reader is the one nearest to the segment's mean.
    members = np.flatnonzero(segments == "likes-1")
    features = readers.profiles.features[members]
    nearest = members[((features - features.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    assert draft_tasks(readers, ["likes-1"]).user.tolist() == [nearest] * 3


def test_what_it_does_is_allowed_and_holding_says_nothing(readers):
    agent = CampaignAgent(Drafter())
    env = campaigns(readers, budget=0.03)
    agent.learn(env, 1500, seed=1)
    obs, info = env.reset(seed=5)
    held = sent = 0
    for _ in range(48):
        action = agent.act(obs, info["action_mask"])
        assert info["action_mask"][np.arange(CAMPAIGNS), action["deliver"]].all()
        assert env.action_space.contains(action)
        for deliver, copy in zip(action["deliver"], action["copy"], strict=True):
            assert deliver > 0 or copy == ""
        held += (action["deliver"] == 0).sum()
        sent += (action["deliver"] > 0).sum()
        obs, _, _, _, info = env.step(action)
    assert held > 0
    assert 0 < sent <= 3 * CAMPAIGNS


def test_a_seed_fixes_what_is_learned(readers):
    first, second, other = (CampaignAgent(Drafter()) for _ in range(3))
    seen = []
    first.learn(campaigns(readers), 600, seed=3, on_progress=lambda n, m: seen.append(m["reward"]))
    second.learn(campaigns(readers), 600, seed=3)
    other.learn(campaigns(readers), 600, seed=4)
    np.testing.assert_array_equal(first.value.theta, second.value.theta)
    assert (first.value.theta != other.value.theta).any()
    assert seen
    # Learning again begins again.
    other.learn(campaigns(readers), 600, seed=3)
    np.testing.assert_array_equal(first.value.theta, other.value.theta)


def test_mistakes_are_one_sentence(make_user_model):
    silent = make_user_model()
    with pytest.raises(UserError, match=re.escape("hand-made users cannot answer free text")):
        CampaignAgent(Drafter()).bind(campaigns(silent), seed=0)
    env = campaigns(silent)
    obs, info = env.reset(seed=0)
    with pytest.raises(UserError, match="agent 'campaign' has not learned yet"):
        CampaignAgent(None).act(obs, info["action_mask"])
    for options in ({"drafts": -1}, {"shrinkage": 0.0}):
        with pytest.raises(UserError, match="give 0 drafts or more"):
            CampaignAgent(None, **options)
