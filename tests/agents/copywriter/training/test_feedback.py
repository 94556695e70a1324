"""A copywriter trains on Copywriting-v0: the environment draws its tasks and pays for its texts."""

import pickle
import re

import gymnasium as gym
import numpy as np
import pytest
import torch

from copygym.agents.copywriter.training.algorithm import make_algorithm
from copygym.agents.copywriter.training.feedback import Demonstrations
from copygym.core.errors import UserError
from copygym.envs import CopywritingVectorEnv, DeliveryEnv
from copygym.envs.copywriting import EnvReward, draw_tasks
from copygym.envs.people.model import Response

ID = "copygym.envs:copygym/Copywriting-v0"


class LikesThe:
    """Readers who click where a text says "the", and hardly else."""

    def __call__(self, texts, users, creatives, channels, slots):
        the = np.array([text.split().count("the") > 0 for text in texts], dtype=float)
        n = len(texts)
        return Response(-3.0 + 6.0 * the, np.full(n, -1.0), np.full(n, 10.0), np.zeros(n))


def count_the(texts, rows):
    return np.array([text.split().count("the") for text in texts], dtype=float)


@pytest.fixture
def readers(make_user_model):
    return make_user_model(copy_response=LikesThe())


def test_an_environment_stands_for_its_tasks_and_its_reward(copywriter, readers):
    algorithm = make_algorithm("rloo", batch=8, group=4)
    options = {"samples": 16, "seed": 5}
    plain = algorithm.train(copywriter, draw_tasks(readers, 16, 5), count_the, **options)
    for env in (
        CopywritingVectorEnv(8, readers, copy_reward=count_the),
        gym.make(ID, users=readers, copy_reward=count_the),
    ):
        done = algorithm.train(copywriter, env, **options)
        assert [line["reward"] for line in done.history] == [
            line["reward"] for line in plain.history
        ]
        for (name, one), two in zip(
            plain.writer.model.named_parameters(), done.writer.model.parameters(), strict=True
        ):
            assert torch.equal(one, two), name


@pytest.mark.parametrize("name", ["ppo", "best_of_n"])
def test_a_writer_earns_more_clicks_after_training_on_them(copywriter, readers, name):
    """Luck is in every reward, a click or none, and the gain must be far above it."""
    # The texts of a random model hardly end and are not fluent; PPO is not to ask that here.
    ppo = {"missing_eos_penalty": 0.0, "max_fluency_loss": 0.0}
    settings = {"ppo": {"batch": 32, "learning_rate": 1e-2} | ppo, "best_of_n": {"n": 8}}[name]
    env = CopywritingVectorEnv(32, readers)
    trained = make_algorithm(name, **settings).train(copywriter, env, samples=640, seed=0)
    rows, reward = draw_tasks(readers, 192, seed=100_000), EnvReward(env)
    before, after = (
        reward(writer.write(rows, seed=3), rows)[0].mean()
        for writer in (copywriter, trained.writer)
    )
    assert trained.spent.samples <= 640
    assert before < 0.35
    assert after > before + 0.2


def test_the_same_batch_earns_the_same_and_another_its_own_luck(readers):
    env = CopywritingVectorEnv(10, readers)
    rows = draw_tasks(readers, 400, seed=0)
    texts = ["warm coat"] * 200 + ["the coat"] * 200
    reward = EnvReward.of(env)
    clicks, terms = reward(texts, rows)
    env.step(("one",) * 10)
    np.testing.assert_array_equal(reward(texts, rows)[0], clicks)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reward))(texts, rows)[0], clicks)
    np.testing.assert_array_equal(terms["click"], clicks)
    other, _ = reward(["cold coat", *texts[1:]], rows)
    assert (other != clicks).any()
    for scores in (clicks, other):
        assert scores[:200].mean() == pytest.approx(1 / (1 + np.exp(3)), abs=0.06)
        assert scores[200:].mean() == pytest.approx(1 / (1 + np.exp(-3)), abs=0.06)


def test_mistakes_are_one_sentence(copywriter, readers, users):
    algorithm, options = make_algorithm("ppo", batch=8), {"samples": 8, "seed": 0}
    with pytest.raises(UserError, match="a DeliveryEnv gives no writing tasks: train a copywriter"):
        algorithm.train(copywriter, DeliveryEnv(users), **options)
    with pytest.raises(UserError, match=re.escape("ppo got feedback beside an environment")):
        algorithm.train(copywriter, CopywritingVectorEnv(2, readers), count_the, **options)
    with pytest.raises(UserError, match="sft learns from demonstrations; it got reward"):
        make_algorithm("sft").train(copywriter, CopywritingVectorEnv(2, readers), **options)
    with pytest.raises(UserError, match="gives no writing tasks"):
        make_algorithm("sft").train(copywriter, ["Brief: x"], **options)
    assert len(Demonstrations(["the"])) == 1
