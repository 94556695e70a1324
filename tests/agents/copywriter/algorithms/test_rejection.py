import re

import numpy as np
import pytest
import torch

from copygym.agents.copywriter.algorithms import rejection
from copygym.agents.copywriter.algorithms.rejection import Rejection
from copygym.agents.copywriter.training.budget import Spent
from copygym.core.errors import UserError


def count_the(texts, rows):
    return np.array([text.split().count("the") for text in texts], dtype=float)


@pytest.fixture
def imitated(monkeypatch):
    """What each round would fine-tune on."""
    seen = []

    def finetune(writer, texts, rows, *, on_progress, **settings):
        seen.append((texts, rows, settings))
        on_progress(1, {"loss": 1.0})
        return Spent(trained=7, cpu_seconds=1e6)

    monkeypatch.setattr(rejection, "finetune", finetune)
    return seen


def test_the_favourite_of_each_task_is_imitated(imitated, copywriter, rows):
    asked = []

    def reward(texts, rows):
        asked.append((list(texts), list(rows.prompts)))
        return count_the(texts, rows)

    Rejection(tasks=6, group=4).train(copywriter, rows, reward, samples=48, seed=0)

    assert len(imitated) == len(asked) == 2
    for (texts, tasks, _), (drawn, prompts) in zip(imitated, asked, strict=True):
        groups = [(drawn[i : i + 4], prompts[i]) for i in range(0, len(drawn), 4)]
        counts = [[text.split().count("the") for text in group] for group, _ in groups]
        expected = [
            (group[int(np.argmax(count))], prompt)
            for (group, prompt), count in zip(groups, counts, strict=True)
            if max(count) > min(count)
        ]
        assert list(zip(texts, tasks.prompts, strict=True)) == expected
        assert expected


def test_steps_follow_the_kept_texts_and_the_bill_is_not_counted_twice(imitated, copywriter, rows):
    trained = Rejection(tasks=6, group=4, epochs=3, batch=2).train(
        copywriter, rows, count_the, samples=24, seed=0
    )
    texts, _, settings = imitated[0]

    assert settings["steps"] == int(np.ceil(len(texts) * 3 / 2))
    assert settings["batch_size"] == 2
    assert trained.spent.trained == 7
    assert trained.spent.cpu_seconds < 1000


def test_tasks_whose_texts_score_alike_teach_nothing(imitated, copywriter, rows):
    trained = Rejection(tasks=4, group=4).train(
        copywriter, rows, lambda texts, rows: np.ones(len(texts)), samples=16, seed=0
    )

    assert imitated == []
    assert trained.history[0]["n_kept"] == 0.0
    assert trained.writer.write(rows, seed=0) == copywriter.write(rows, seed=0)


def test_empty_texts_are_never_imitated(imitated, copywriter, rows):
    def likes_nothing(texts, rows):
        return np.array([-float(len(text)) for text in texts])

    Rejection(tasks=12, group=16).train(copywriter, rows, likes_nothing, samples=192, seed=0)

    assert all(text.strip() for texts, _, _ in imitated for text in texts)


def test_only_the_layers_matrices_change(copywriter, rows):
    trained = Rejection(tasks=8, group=4).train(copywriter, rows, count_the, samples=64, seed=0)
    before = dict(copywriter.model.named_parameters())
    changed = {
        name
        for name, weight in trained.writer.model.named_parameters()
        if not torch.equal(weight, before[name])
    }

    assert changed
    assert all(name.endswith("_proj.weight") and ".layers." in name for name in changed)
    assert trained.history[-1]["kept_reward"] >= trained.history[-1]["reward"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": 0}, "tasks is 0; it must be at least 1."),
        ({"group": 1}, "group is 1; a favourite needs at least 2 texts."),
        ({"temperature": 0.0}, "temperature is 0.0; it must be positive."),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be positive."),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Rejection(**settings)
