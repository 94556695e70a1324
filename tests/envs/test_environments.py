"""Contracts of every registered environment."""

import json
import multiprocessing
import pickle
import re
import subprocess
import sys
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import copygym.envs
from copygym.envs import DeliveryEnv, DeliveryVectorEnv, Dynamics, UserError
from copygym.envs.people.kernel import STATE_NAMES
from copygym.envs.people.model import Response
from copygym.envs.registration import ENVIRONMENTS, register_environments

IDS = [f"copygym.envs:{name}" for name in ENVIRONMENTS]
CAMPAIGN = "copygym.envs:copygym/Campaign-v1"


def action_for(env, rng):
    """A legal action: spaces with texts get a sentence, the rest a sample."""
    if isinstance(env.action_space, gym.spaces.Text):
        return " ".join(["word"] * int(rng.integers(1, 8)))
    if isinstance(env.action_space, gym.spaces.Dict):
        n = int(env.action_space["deliver"].n)
        return {"deliver": int(rng.integers(n)), "copy": "" if rng.random() < 0.5 else "Read this"}
    return int(rng.integers(env.action_space.n))


def stack_actions(actions):
    """The vector form of single actions."""
    if isinstance(actions[0], str):
        return tuple(actions)
    if isinstance(actions[0], dict):
        return {
            "deliver": np.array([a["deliver"] for a in actions]),
            "copy": tuple(a["copy"] for a in actions),
        }
    return np.array(actions)


def row(observation, i):
    if isinstance(observation, dict):
        return {name: part[i] for name, part in observation.items()}
    return observation[i]


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b if isinstance(a, str) else np.array_equal(a, b)


@pytest.mark.parametrize("name", IDS)
def test_passes_gymnasiums_checker(name, users):
    check_env(gym.make(name, users=users).unwrapped, skip_render_check=True)


def test_passes_stable_baselines3_checker(users):
    # The other two observe and act in texts, which SB3 has no spaces for.
    env = gym.make(IDS[0], users=users, render_mode="rgb_array").unwrapped
    check_env_sb3(env, warn=True, skip_render_check=False)


@pytest.mark.parametrize("name", IDS)
def test_same_seed_same_trajectory(name, users):
    trajectories = []
    for _ in range(2):
        env, rng = gym.make(name, users=users), np.random.default_rng(3)
        record = [env.reset(seed=11)[0]]
        for _ in range(60):
            observation, reward, terminated, truncated, _ = env.step(action_for(env, rng))
            record += [observation, reward]
            if terminated or truncated:
                record.append(env.reset()[0])
        trajectories.append(record)
    assert all(same(a, b) for a, b in zip(*trajectories, strict=True))


@pytest.mark.parametrize("name", IDS)
def test_different_seeds_differ(name, users):
    env, seen = gym.make(name, users=users), []
    for seed in range(8):
        observation, info = env.reset(seed=seed)
        seen.append(str(observation) + str(info.get("user")))
    assert len(set(seen)) > 1


@pytest.mark.parametrize("name", IDS)
def test_vector_equals_single_seed_for_seed(name, users):
    n, steps = 5, 70
    short = {"audience": 2, "horizon": 10} if "Campaign" in name else {}
    vector = gym.make_vec(
        name, num_envs=n, vectorization_mode="vector_entry_point", users=users, **short
    )
    singles = [gym.make(name, users=users, **short) for _ in range(n)]
    rng = np.random.default_rng(0)
    observation, _ = vector.reset(seed=100)
    firsts = [env.reset(seed=100 + i)[0] for i, env in enumerate(singles)]
    assert all(same(row(observation, i), first) for i, first in enumerate(firsts))
    ended = 0
    for _ in range(steps):
        actions = [action_for(env, rng) for env in singles]
        observation, reward, terminated, truncated, info = vector.step(stack_actions(actions))
        for i, env in enumerate(singles):
            o, r, te, tr, one = env.step(actions[i])
            assert r == reward[i]
            assert (te, tr) == (terminated[i], truncated[i])
            assert one["click_probability"] == info["click_probability"][i]
            assert one["regret"] == info["regret"][i]
            for term, value in one["reward_terms"].items():
                assert value == info["reward_terms"][term][i]
            if te or tr:
                ended += 1
                final = o["delivery"] if isinstance(o, dict) else o
                assert same(final, info["final_obs"][i])
                o, _ = env.reset()
            assert same(o, row(observation, i))
    assert ended >= n  # the autoreset was exercised


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
@pytest.mark.parametrize("name", IDS)
def test_renders_the_timeline(name, mode, users):
    env, rng = gym.make(name, users=users, render_mode=mode), np.random.default_rng(0)
    env.reset(seed=0)
    env.step(action_for(env, rng))
    picture = env.render()
    if mode == "ansi":
        assert "1 slots" in picture
    else:
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.std() > 0


@pytest.mark.parametrize("name", IDS)
def test_pickled_environment_goes_on_identically(name, users):
    env, rng = gym.make(name, users=users).unwrapped, np.random.default_rng(0)
    env.reset(seed=5)
    env.step(action_for(env, rng))
    env.reset()
    copy = pickle.loads(pickle.dumps(env))
    action = action_for(env, rng)
    assert same(env.step(action)[0], copy.step(action)[0])


def _first_observation(name):
    return np.asarray(gym.make(name).reset(seed=1)[0])


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_ids_work_in_workers(method):
    name = "copygym.envs:copygym/Delivery-v0"
    with multiprocessing.get_context(method).Pool(1) as pool:
        there = pool.apply(_first_observation, (name,))
    assert np.array_equal(there, _first_observation(name))


def test_registration_is_idempotent():
    before = len(gym.registry)
    register_environments()
    assert len(gym.registry) == before


def test_importing_envs_stays_light():
    code = (
        "import sys, json, copygym.envs; "
        "print(json.dumps([m for m in ('torch','transformers','sklearn','matplotlib','wandb',"
        "'numba','pandas') if m in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


def test_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        _ = copygym.envs.Nope


class TestDelivery:
    def test_holding_costs_and_earns_nothing(self, users):
        env = DeliveryEnv(users=users)
        env.reset(seed=0)
        for _ in range(27):
            _, reward, terminated, truncated, info = env.step(0)
            assert (reward, terminated, truncated) == (0.0, False, False)
            assert info["outcome"].cost[0] == 0.0
        assert env.step(0)[3]  # truncated at the horizon

    def test_fatigue_follows_its_recursion(self, make_user_model):
        users = make_user_model(dynamics=Dynamics(fatigue_decay=0.5, unsubscribe_logit=-np.inf))
        env, fatigue = DeliveryEnv(users=users), 0.0
        env.reset(seed=0)
        for action in (1, 1, 0, 2, 0, 0):
            outcome = env.step(action)[4]["outcome"]
            assert outcome.fatigue[0] == pytest.approx(fatigue)
            fatigue = 0.5 * fatigue + (action > 0)
            assert outcome.next_fatigue[0] == pytest.approx(fatigue)

    def test_click_probability_is_the_documented_logit(self, make_user_model):
        dynamics = Dynamics(
            fatigue_decay=0.5, fatigue_click=0.3, repetition_click=0.7, drift_step=0.0,
            drift_click=0.0, unsubscribe_logit=-np.inf,
        )  # fmt: skip
        users = make_user_model(dynamics=dynamics)
        env = DeliveryEnv(users=users)
        env.reset(seed=0, options={"user": 4})
        env.step(3)
        env.step(3)
        p = env.step(3)[4]["click_probability"]
        logit = users.click_logit[4, 0, 3] - 0.3 * (0.5 + 1) - 0.7 * np.log1p(2)
        assert p == pytest.approx(1 / (1 + np.exp(-logit)))

    def test_best_action_has_no_regret_and_others_have(self, make_user_model):
        users = make_user_model(dynamics=Dynamics(drift_step=0.0))
        env = DeliveryEnv(users=users)
        for action in range(users.catalogue.n_actions):
            env.reset(seed=0, options={"user": 1})
            regret = env.step(action)[4]["regret"]
            best = int(users.click_logit[1, 0].argmax())
            assert (regret == 0) == (action == best)

    def test_clicks_come_at_the_stated_rate(self, users):
        n = 20_000
        env = DeliveryVectorEnv(n, users=users)
        env.reset(seed=0)
        outcome = env.step(np.full(n, 2))[4]["outcome"]
        p, click = outcome.click_probability, outcome.click
        z = (click.sum() - p.sum()) / np.sqrt((p * (1 - p)).sum())
        assert abs(z) < 4

    def test_purchases_follow_clicks_only(self, users):
        env = DeliveryVectorEnv(5_000, users=users)
        env.reset(seed=0)
        outcome = env.step(np.ones(5_000, int))[4]["outcome"]
        assert outcome.conversion.sum() > 0
        assert not (outcome.conversion & ~outcome.click).any()
        assert np.array_equal(outcome.revenue > 0, outcome.conversion)

    def test_policies_meet_the_same_luck(self, users):
        """Whatever was done before, the draw at (user, slot) is the same."""
        n = 300
        runs = []
        for first in (0, 1):
            env = DeliveryVectorEnv(n, users=users, reward=None)
            env.reset(seed=9)
            env.step(np.full(n, first))
            p = env.step(np.full(n, 3))[4]["outcome"]
            runs.append((p.click, p.click_probability))
        (rested, p_rested), (tired, p_tired) = runs
        assert (p_tired < p_rested).mean() > 0.9
        # Common random numbers: almost nobody clicks tired who would not have clicked rested.
        assert (tired & ~rested).sum() <= (p_tired > p_rested).sum()

    def test_drift_noise_has_unit_variance(self, make_user_model):
        dynamics = Dynamics(drift_persistence=0.0, drift_step=1.0, drift_click=0.0)
        env = DeliveryVectorEnv(20_000, users=make_user_model(dynamics=dynamics))
        env.reset(seed=0)
        env.step(np.zeros(20_000, int))
        drift = env.state["drift"].astype(float)
        assert drift.mean() == pytest.approx(0, abs=0.02)
        assert drift.var() == pytest.approx(1, abs=0.02)

    def test_forbidden_action_is_executed_as_hold(self, make_user_model):
        allowed = np.ones((40, 7), bool)
        allowed[:, 2] = False
        env = DeliveryEnv(users=make_user_model(allowed=allowed))
        _, info = env.reset(seed=0)
        assert not info["action_mask"][2]
        outcome = env.step(2)[4]["outcome"]
        assert outcome.action[0] == 0
        assert not outcome.sent[0]

    def test_budget_is_never_overspent(self, users):
        env = DeliveryVectorEnv(50, users=users, budget=0.12)
        env.reset(seed=0)
        spent, rng = np.zeros(50), np.random.default_rng(0)
        for _ in range(27):
            _, _, terminated, _, info = env.step(rng.integers(0, 7, 50))
            spent += info["outcome"].cost
            spent[terminated] = 0.0
            assert (spent <= 0.12 + 1e-12).all()

    def test_masks_say_what_is_affordable(self, users):
        env = DeliveryEnv(users=users, budget=0.02)
        _, info = env.reset(seed=0)
        cheap = users.catalogue.cost_of_action <= 0.02
        assert np.array_equal(info["action_mask"], cheap)

    def test_logged_propensity_is_reported(self, make_user_model):
        policy = np.full((40, 2, 7), 1 / 7)
        env = DeliveryEnv(users=make_user_model(logging_policy=policy))
        env.reset(seed=0)
        assert env.step(3)[4]["propensity"] == pytest.approx(1 / 7)

    def test_unknown_propensity_is_left_out(self, users):
        env = DeliveryEnv(users=users)
        env.reset(seed=0)
        assert "propensity" not in env.step(3)[4]

    def test_a_schedule_beats_sending_always(self, make_user_model):
        """The scripted policy must beat a bound: the world is not won by spamming."""
        users = make_user_model(
            dynamics=Dynamics(fatigue_click=0.6, repetition_click=0.1, drift_step=0.0)
        )
        n = 2_000
        best = users.click_logit[:, 0].argmax(axis=1)
        clicks = {}
        for every in (1, 4):
            env = DeliveryVectorEnv(n, users=users)
            env.reset(seed=0, options={"user": np.arange(n) % 40})
            total, alive = np.zeros(n), np.ones(n, bool)
            for t in range(28):
                send = best[env.state["user"]] if t % every == 0 else np.zeros(n, int)
                outcome = env.step(send)[4]["outcome"]
                total += outcome.click * alive
                alive &= ~outcome.unsubscribe
            clicks[every] = total.mean()
        assert clicks[4] > 1.1 * clicks[1]

    @pytest.mark.parametrize("action", [-1, 7])
    def test_action_out_of_range(self, users, action):
        env = DeliveryEnv(users=users)
        env.reset(seed=0)
        with pytest.raises(ValueError, match=re.escape("outside 0..6")):
            env.step(action)
        vector = DeliveryVectorEnv(2, users=users)
        vector.reset(seed=0)
        with pytest.raises(ValueError, match=re.escape("0..6")):
            vector.step(np.array([0, action]))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"horizon": 0}, "num_envs and horizon must be at least 1"),
            ({"budget": -1.0}, "budget is -1.0; it must be 0 or more"),
        ],
    )
    def test_bad_arguments(self, users, arguments, message):
        with pytest.raises(UserError, match=re.escape(message)):
            DeliveryEnv(users=users, **arguments)

    def test_bad_user_option(self, users):
        with pytest.raises(UserError, match=re.escape("row numbers in 0..39")):
            DeliveryEnv(users=users).reset(seed=0, options={"user": 40})


class TestCopywriting:
    def test_reward_depends_on_the_text(self, users):
        env = gym.make_vec(
            IDS[1], num_envs=4_000, vectorization_mode="vector_entry_point", users=users
        )
        env.reset(seed=0)
        short = env.step(("Buy",) * 4_000)[1].mean()
        long = env.step(("word " * 6,) * 4_000)[1].mean()
        assert short > long + 0.1

    def test_task_can_be_fixed_and_is_in_the_prompt(self, users):
        env = gym.make(IDS[1], users=users)
        prompt, info = env.reset(
            seed=0, options={"user": 2, "creative": 1, "channel": 1, "slot": 0}
        )
        assert info == {"user": 2, "creative": 1, "channel": 1, "slot": 0}
        assert prompt.splitlines()[0] == "Brief: Brief of product 1"
        assert prompt.splitlines()[1].startswith("Reader: likes topic-2")
        assert prompt.splitlines()[2] == "Channel: channel-1, slot-0"

    def test_bad_task(self, users):
        with pytest.raises(UserError, match=re.escape("options['creative'] must lie in 0..2")):
            gym.make(IDS[1], users=users).reset(options={"creative": 3})

    def test_users_without_free_text(self, make_user_model):
        with pytest.raises(UserError, match="cannot answer free text"):
            gym.make(IDS[1], users=make_user_model())

    def test_characters_outside_the_space_and_long_texts_are_survived(self, users):
        env = gym.make(IDS[1], users=users).unwrapped
        env.reset(seed=0)
        _, _, terminated, _, info = env.step("日本語 \x00 " + "long " * 4000)
        assert terminated
        assert info["outcome"].length[0] <= 251


REWARDS = {
    "nan": (
        lambda outcome: (np.where(np.arange(len(outcome.sent)) == 0, np.nan, 1.0), {}),
        "returned nan for decision 0; it must return finite numbers",
    ),
    "infinite": (
        lambda outcome: np.full(len(outcome.sent), -np.inf),
        "returned -inf for decision 0; it must return finite numbers",
    ),
    "scalar": (lambda outcome: (1.0, {}), "returned shape () for"),
    "short": (lambda outcome: np.ones(len(outcome.sent) + 1)[1:-1], "returned shape ("),
    "column": (lambda outcome: (np.ones((len(outcome.sent), 1)), {}), "returned shape ("),
    "text": (lambda outcome: (["much"] * len(outcome.sent), {}), "returned list; it must return"),
    "nothing": (lambda outcome: None, "returned shape () for"),
    "no terms": (lambda outcome: (outcome.click, outcome.click), "returned ndarray as its terms"),
    "bad term": (
        lambda outcome: (outcome.click, {"luck": np.full(len(outcome.sent), np.nan)}),
        "returned nan as its term 'luck' for decision 0",
    ),
}


class TestRewardCallables:
    @pytest.mark.parametrize("kind", REWARDS)
    @pytest.mark.parametrize("name", IDS)
    def test_answers_that_are_no_rewards_are_refused_by_name(self, users, name, kind):
        reward, message = REWARDS[kind]
        reward.__name__ = "my_reward"
        pattern = re.escape(f"the reward my_reward {message}")
        env = gym.make(name, users=users, reward=reward).unwrapped
        env.reset(seed=0)
        with pytest.raises(UserError, match=pattern):
            env.step(action_for(env, np.random.default_rng(0)))
        vector = gym.make_vec(
            name, 3, vectorization_mode="vector_entry_point", users=users, reward=reward
        )
        vector.reset(seed=0)
        actions = [action_for(env, np.random.default_rng(i)) for i in range(3)]
        with pytest.raises(UserError, match=pattern):
            vector.step(stack_actions(actions))

    def test_a_reward_that_gives_one_array_at_every_step_rewrites_no_earlier_reward(self, users):
        buffer = np.zeros(2)

        def counting(outcome):
            buffer[:] += 1
            return buffer

        env = DeliveryVectorEnv(2, users=users, reward=counting)
        env.reset(seed=0)
        first, second = (env.step(np.zeros(2, int))[1] for _ in range(2))
        assert (first.tolist(), second.tolist()) == ([1.0, 1.0], [2.0, 2.0])

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (np.ones(2) * 1j, "returned ndarray; it must return 2 numbers"),
            (np.ma.masked_array([1, 2], mask=[False, True]), "returned nan for decision 1"),
        ],
    )
    def test_what_a_number_cannot_hold_is_refused(self, users, answer, message):
        env = DeliveryVectorEnv(2, users=users, reward=lambda outcome: answer)
        env.reset(seed=0)
        with pytest.raises(UserError, match=message):
            env.step(np.zeros(2, int))

    def test_a_reward_alone_will_do_of_any_kind_of_number(self, users):
        env = DeliveryVectorEnv(4, users=users, reward=lambda outcome: outcome.sent)
        env.reset(seed=0)
        _, reward, _, _, info = env.step(np.array([0, 1, 0, 2]))
        assert reward.dtype == np.float64
        assert reward.tolist() == [0.0, 1.0, 0.0, 1.0]
        assert info["reward_terms"] == {}

    def test_what_cannot_be_called_is_refused_at_once(self, users):
        with pytest.raises(UserError, match=re.escape("reward=3 cannot be called")):
            DeliveryEnv(users=users, reward=3)


@pytest.mark.parametrize("name", IDS)
class TestResets:
    def vector(self, name, users):
        return gym.make_vec(name, 2, vectorization_mode="vector_entry_point", users=users)

    def test_whole_numbers_of_any_type_are_seeds(self, name, users):
        env, vector = gym.make(name, users=users).unwrapped, self.vector(name, users)
        assert same(env.reset(seed=np.int64(3))[0], env.reset(seed=3)[0])
        first = vector.reset(seed=3)[0]
        for seed in (np.int64(3), np.uint8(3), [3, 4], (np.int32(3), 4), np.array([3, 4])):
            assert same_parts(vector.reset(seed=seed)[0], first)

    def test_a_row_without_a_seed_of_its_own_is_no_fault(self, name, users):
        vector = self.vector(name, users)
        vector.reset(seed=3)
        again = vector.reset(seed=[3, None])[0]
        assert same(row(again, 0), row(vector.reset(seed=3)[0], 0))

    @pytest.mark.parametrize("seed", [1.5, "7", -1, np.nan])
    def test_other_seeds_are_refused(self, name, users, seed):
        message = re.escape(f"reset got seed={seed!r}; give a whole number of 0 or more")
        vector = self.vector(name, users)
        for reset, bad in (
            (gym.make(name, users=users).unwrapped.reset, seed),
            (vector.reset, seed),
            (vector.reset, [0, seed]),
        ):
            with pytest.raises(UserError, match=message):
                reset(seed=bad)
        with pytest.raises(UserError, match=re.escape("reset got 3 seeds for 2 environments")):
            vector.reset(seed=[1, 2, 3])

    def test_unknown_options_are_refused_with_the_choices(self, name, users):
        for env in (gym.make(name, users=users).unwrapped, self.vector(name, users)):
            env.reset(seed=0)
            before = env.reset(seed=0)[0]
            with pytest.raises(
                UserError,
                match=r"unknown reset option 'users' \(did you mean 'user'\?\): choose one of",
            ):
                env.reset(options={"users": [1, 2]})
            with pytest.raises(UserError, match=re.escape("reset got options=[1]; give a dict of")):
                env.reset(options=[1])
            assert same_parts(env.reset(seed=0, options={})[0], before)

    @pytest.mark.parametrize("user", [1.5, "me", None, [[0], [1, 2]], np.nan])
    def test_users_that_are_no_rows_are_refused(self, name, users, user):
        if user is None:
            user = [None, 1]
        for env in (gym.make(name, users=users).unwrapped, self.vector(name, users)):
            with pytest.raises(UserError, match=re.escape("options['user']")):
                env.reset(seed=0, options={"user": user})


def same_parts(a, b):
    """Compare observations of any kind, rows by rows."""
    if isinstance(a, dict):
        return all(same_parts(a[key], b[key]) for key in b)
    return a == b if isinstance(a, str | tuple) else np.array_equal(a, b)


def one_word_better(texts, users, creatives, channels, slots):
    """Answer a text by its number of words."""
    words = np.array([len(text.split()) for text in texts], dtype=float)
    return Response(-words, np.full(len(words), -1.0), np.full(len(words), 10.0), words - 1)


class TestCampaign:
    def test_what_is_left_of_the_budget_is_shown_to_whose_turn_it_is(self, make_user_model):
        users = make_user_model(dynamics=Dynamics(unsubscribe_logit=-np.inf))
        for version, shown in (("v1", [0.8, 0.6, 0.4, 0.2]), ("v0", [1.0, 1.0, 0.8, 0.6])):
            name = f"copygym.envs:copygym/Campaign-{version}"
            env = gym.make(name, users=users, audience=3, horizon=4, budget=0.05).unwrapped
            env.reset(seed=0, options={"user": [0, 1, 2]})
            left = [self.left(env, env.step({"deliver": 1, "copy": ""})) for _ in range(4)]
            assert left == pytest.approx(shown), version

    @pytest.mark.parametrize("n", [1, 3])
    def test_what_is_left_follows_a_hand_calculation_in_every_row(self, make_user_model, n):
        """Sends of 0.02 and 0.04 and holds; what cannot be afforded is executed as hold."""
        users = make_user_model(dynamics=Dynamics(unsubscribe_logit=-np.inf))
        catalogue = replace(users.catalogue, cost_per_send=np.array([0.02, 0.04]))
        env = gym.make_vec(
            CAMPAIGN, n, vectorization_mode="vector_entry_point",
            users=replace(users, catalogue=catalogue), audience=3, horizon=4, budget=0.1,
        )  # fmt: skip
        always = [1] * 4 + [0] * 8, [0.8, 0.6, 0.4, *[0.2] * 8]
        mixed = [0, 2, 1, 0, 1, *[2] * 7], [1.0, 0.6, 0.4, 0.4, *[0.2] * 7]
        dear = [2, 2, 2, 2, 0, 2, *[0] * 6], [0.6, *[0.2] * 10]
        plans = [always, mixed, dear][:n]
        column = env.unwrapped._room.batch.layout()["state"].start
        column += STATE_NAMES.index("budget_left")
        observation, _ = env.reset(seed=0)
        assert observation["delivery"][:, column].tolist() == [1.0] * n
        for step in range(11):
            deliver = np.array([actions[step] for actions, _ in plans])
            observation, *_, info = env.step({"deliver": deliver, "copy": ("",) * n})
            left = np.array([shares[step] for _, shares in plans])
            np.testing.assert_allclose(observation["delivery"][:, column], left, atol=1e-6)
            np.testing.assert_allclose(info["budget_left"], 0.1 * left, atol=1e-12)
        # The twelfth decision ends the campaign: the next one has its whole budget.
        deliver = np.array([actions[11] for actions, _ in plans])
        observation, _, _, truncated, info = env.step({"deliver": deliver, "copy": ("",) * n})
        assert truncated.all()
        np.testing.assert_allclose(info["final_obs"][:, column], 0.2, atol=1e-6)
        assert observation["delivery"][:, column].tolist() == [1.0] * n

    def test_vector_equals_single_seed_for_seed(self, make_user_model):
        """Written and catalogue's copy, holds, unsubscribes and three campaigns in a row."""
        users = make_user_model(
            dynamics=Dynamics(unsubscribe_logit=-2.0), copy_response=one_word_better
        )
        options = {"users": users, "audience": 3, "horizon": 5, "budget": 0.2}
        vector = gym.make_vec(CAMPAIGN, 4, vectorization_mode="vector_entry_point", **options)
        singles = [gym.make(CAMPAIGN, **options).unwrapped for _ in range(4)]
        observation, info = vector.reset(seed=11)
        for i, env in enumerate(singles):
            alone, there = env.reset(seed=11 + i)
            assert same(row(observation, i), alone)
            assert np.array_equal(info["action_mask"][i], there["action_mask"])
        rng, ended, left_early = np.random.default_rng(0), np.zeros(4, int), 0
        for _ in range(45):
            deliver = rng.integers(0, users.catalogue.n_actions, 4)
            copies = tuple(rng.choice(["", "one", "one two"], 4).tolist())
            observation, rewards, terminated, truncated, info = vector.step(
                {"deliver": deliver, "copy": copies}
            )
            for i, env in enumerate(singles):
                step = env.step({"deliver": int(deliver[i]), "copy": copies[i]})
                alone, reward, stopped, late, there = step
                assert (reward, stopped, late) == (rewards[i], terminated[i], truncated[i])
                assert there["budget_left"] == info["budget_left"][i]
                assert there["click_probability"] == info["click_probability"][i]
                left_early += int(there["outcome"].unsubscribe[0])
                if stopped or late:
                    assert np.array_equal(info["final_obs"][i], alone["delivery"])
                    alone, there = env.reset()
                    ended[i] += 1
                assert same(row(observation, i), alone)
                assert np.array_equal(info["action_mask"][i], there["action_mask"])
        assert ended.min() >= 3
        assert left_early > 0

    def test_a_campaign_begins_with_its_whole_budget_again(self, users):
        env = gym.make(CAMPAIGN, users=users, audience=2, budget=0.05).unwrapped
        env.reset(seed=0)
        assert self.left(env, env.step({"deliver": 1, "copy": ""})) == pytest.approx(0.8)
        observation, info = env.reset()
        assert self.left(env, (observation, {"budget_left": 0.05})) == 1.0
        assert info["action_mask"].all()

    def left(self, env, step):
        observation, *_, info = step
        column = env._room.batch.layout()["state"].start + STATE_NAMES.index("budget_left")
        assert 0 <= info["budget_left"] <= 0.05
        return float(observation["delivery"][column])

    def test_budget_is_shared(self, users):
        env = gym.make(CAMPAIGN, users=users, audience=3, budget=0.1)
        env.reset(seed=0)
        spent, done = 0.0, False
        while not done:
            _, _, terminated, truncated, info = env.step({"deliver": 2, "copy": ""})
            spent += info["outcome"].cost[0]
            assert info["budget_left"] == pytest.approx(0.1 - spent)
            done = terminated or truncated
        assert spent == pytest.approx(0.1)

    def test_users_are_visited_in_turn(self, make_user_model):
        users = make_user_model(dynamics=Dynamics(unsubscribe_logit=-np.inf))
        env = gym.make(CAMPAIGN, users=users, audience=3, horizon=4)
        observation, _ = env.reset(seed=0, options={"user": [0, 1, 2]})
        visits, done = [observation["reader"]], False
        while not done:
            observation, _, terminated, truncated, _ = env.step({"deliver": 1, "copy": ""})
            visits.append(observation["reader"])
            done = terminated or truncated
        assert truncated
        assert len(visits) == 13
        kinds = [next(k for k in "012" if f"likes topic-{k}" in v) for v in visits[:6]]
        assert kinds == ["0", "1", "2", "0", "1", "2"]

    def test_unsubscribed_users_are_passed_over_until_none_is_left(self, make_user_model):
        users = make_user_model(dynamics=Dynamics(unsubscribe_logit=50.0))
        env = gym.make(CAMPAIGN, users=users, audience=3)
        env.reset(seed=0)
        ends = [env.step({"deliver": 1, "copy": ""})[2:4] for _ in range(3)]
        assert ends == [(False, False), (False, False), (True, False)]

    def test_written_copy_replaces_the_catalogues(self, users):
        env = gym.make(CAMPAIGN, users=users, audience=1)
        env.reset(seed=0, options={"user": [0]})
        written = env.step({"deliver": 1, "copy": "one two three"})[4]
        assert written["click_probability"] == pytest.approx(1 / (1 + np.exp(3)))
        assert written["outcome"].length[0] == 3

    def test_empty_audience(self, users):
        with pytest.raises(UserError, match="at least one user"):
            gym.make(CAMPAIGN, users=users, audience=0)
