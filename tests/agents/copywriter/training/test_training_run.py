import random
import re

import numpy as np
import pytest
import torch

from copygym.agents.copywriter.training.checkpoint import (
    CHECKPOINT,
    read_checkpoint,
    write_checkpoint,
)
from copygym.agents.copywriter.training.run import (
    TrainingRun,
    Watch,
    isolated_rng,
    put_weights,
    task_order,
    trainable,
)
from copygym.core.errors import UserError


def length(texts, rows):
    return np.array([len(text) for text in texts], dtype=float)


def make_run(writer, rows, **options):
    settings = {
        "samples": 100,
        "seed": 0,
        "folder": None,
        "judge": None,
        "judge_rows": None,
        "on_progress": None,
        "watch": Watch(),
    } | options
    return TrainingRun("test", {}, writer, rows, length, **settings)


def test_tasks_come_in_shuffled_rounds():
    order = task_order(5, 15, seed=0)

    assert all(sorted(part) == list(range(5)) for part in order.reshape(3, 5).tolist())
    assert order[:5].tolist() != order[5:10].tolist()
    assert order.dtype == np.int64


def test_a_larger_budget_only_adds_tasks():
    np.testing.assert_array_equal(task_order(7, 10, seed=3), task_order(7, 40, seed=3)[:10])


def test_the_seed_chooses_the_order():
    assert task_order(50, 50, seed=0).tolist() != task_order(50, 50, seed=1).tolist()


def test_global_generators_are_seeded_inside_and_restored_after():
    def draws():
        return random.random(), float(torch.rand(())), float(np.random.random())  # noqa: NPY002

    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    expected = draws()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    with isolated_rng(5):
        inside = draws()
    with isolated_rng(5):
        assert draws() == inside

    assert draws() == expected != inside


def test_a_number_that_is_not_finite_stops_and_is_not_recorded(copywriter, rows):
    with make_run(copywriter, rows) as run:
        run.score(["a"], rows.take([0]))
        more = run.end_update(copywriter, copywriter.model, loss=float("nan"), kl=0.5)

    assert not more
    assert run.stopped == "loss became nan"
    assert "loss" not in run.history[0]
    assert run.history[0]["kl"] == 0.5


def test_the_first_reason_to_stop_counts(copywriter, rows):
    run = make_run(copywriter, rows)
    run.stop("one")
    run.stop("two")

    assert run.stopped == "one"


def test_a_line_s_reward_is_the_mean_since_the_last_and_else_the_last(copywriter, rows):
    with make_run(copywriter, rows) as run:
        run.score(["a", "abc"], rows.take([0, 1]))
        run.score(["abcde"], rows.take([0]))
        run.end_update(copywriter, copywriter.model)
        run.end_update(copywriter, copywriter.model)

    assert [line["reward"] for line in run.history] == [3.0, 3.0]


def test_examples_are_kept_every_few_updates(copywriter, rows):
    with make_run(copywriter, rows, watch=Watch(examples_every=2)) as run:
        for text in ("a", "b", "c"):
            run.score([text], rows.take([0]))
            run.end_update(copywriter, copywriter.model)

    assert [example["text"] for example in run.examples] == ["a", "c"]
    assert run.examples[1]["samples"] == 3


def test_weights_are_put_back_by_name(copywriter, make_copywriter):
    other = make_copywriter(seed=1)
    put_weights(other.model, trainable(copywriter.model))

    for name, weight in other.model.named_parameters():
        assert torch.equal(weight, dict(copywriter.model.named_parameters())[name])


def test_a_checkpoint_is_read_back_exactly(tmp_path):
    path, wanted = tmp_path / CHECKPOINT, {"seed": 1, "layers": (1, 2)}
    tensors = {"a": torch.randn(3, 2), "b": torch.arange(4, dtype=torch.bfloat16)}
    write_checkpoint(path, wanted, tensors, {"x": 0.1 + 0.2, "lines": [{"y": 1e-300}]})
    found = read_checkpoint(path, wanted)

    assert found is not None
    assert all(torch.equal(found[0][name], value) for name, value in tensors.items())
    assert found[1] == {"x": 0.1 + 0.2, "lines": [{"y": 1e-300}]}
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT]


def test_no_checkpoint_is_no_error(tmp_path):
    assert read_checkpoint(tmp_path / CHECKPOINT, {}) is None


def test_a_checkpoint_of_other_settings_names_the_setting(tmp_path):
    path = tmp_path / CHECKPOINT
    write_checkpoint(path, {"settings.rank": 8, "seed": 1}, {}, {})
    message = (
        f"{path} is a checkpoint of other settings: settings.rank was 8 and is now 4; "
        "delete it or use another folder."
    )
    with pytest.raises(UserError, match=re.escape(message)):
        read_checkpoint(path, {"settings.rank": 4, "seed": 1})


def test_a_broken_checkpoint_is_refused(tmp_path):
    path = tmp_path / CHECKPOINT
    path.write_bytes(b"half a file")
    with pytest.raises(UserError, match=re.escape(f"{path} is not a checkpoint of ours")):
        read_checkpoint(path, {})


def test_an_empty_brief_is_refused(copywriter, rows):
    from dataclasses import replace

    briefs = (*rows.briefs[:3], "  ", *rows.briefs[4:])
    with pytest.raises(UserError, match=re.escape("the brief of row 3 is empty")):
        make_run(copywriter, replace(rows, briefs=briefs))


class Looks:
    """A judge whose looks have the means of a list; texts differ less from look to look."""

    def __init__(self, *means):
        self.means = list(means)

    def __call__(self, texts, rows):
        # Spread within a look: a fall of under a standard error is no sure one.
        spread = np.where(np.arange(len(texts)) % 2, 1.0, -1.0)
        return self.means.pop(0) + spread * len(self.means)


@pytest.mark.parametrize(
    ("means", "margin", "kept"),
    [
        # Within a standard error of the best look: the last one has learned the most.
        ((0.0, 1.0, 0.9), 1.0, 2),
        # Looks that surely fell are not kept, nor what comes after them while they last.
        ((0.0, 5.0, 1.0, 0.0), 1.0, 1),
        # A fall that is made up for.
        ((0.0, 5.0, 1.0, 4.9), 1.0, 3),
        # Without a margin the best look alone counts.
        ((0.0, 1.0, 0.9), 0.0, 1),
    ],
)
def test_the_weights_of_the_last_look_that_was_not_bad_are_returned(
    make_copywriter, rows, means, margin, kept
):
    copywriter = make_copywriter(seed=1)
    weight = next(iter(trainable(copywriter.model).values()))
    before = weight.clone()
    run = make_run(
        copywriter,
        rows,
        judge=Looks(*means),
        judge_rows=rows,
        watch=Watch(judge_every=1, margin=margin, patience=0),
    )
    with run:
        run.start(copywriter, copywriter.model)
        for update in range(1, len(means)):
            put_weights(copywriter.model, {name_of(copywriter.model, weight): before + update})
            run.end_update(copywriter, copywriter.model)
        found = run.finish(copywriter, copywriter.model)

    assert torch.equal(weight, before + kept)
    assert found.info["judge"] == pytest.approx(means[kept])


def name_of(model, weight):
    return next(n for n, v in model.named_parameters() if v.data_ptr() == weight.data_ptr())


def test_the_judge_reads_what_is_written_at_the_training_temperature(copywriter, rows):
    cold, seen = 0.3, []

    def judge(texts, tasks):
        seen.append(list(texts))
        return length(texts, tasks)

    run = make_run(copywriter, rows, judge=judge, judge_rows=rows, watch=Watch(temperature=cold))
    with run:
        run.start(copywriter, copywriter.model)

    assert seen == [copywriter.write(rows, seed=90_001, temperature=cold)]
    assert seen != [copywriter.write(rows, seed=90_001)]


def test_a_temperature_of_nothing_is_refused():
    with pytest.raises(UserError, match=re.escape("temperature is 0.0; it must be positive.")):
        Watch(temperature=0.0)


def test_what_a_judge_tells_beside_its_scores_is_noted_and_decides_nothing(copywriter, rows):
    looks = Looks(0.0, 5.0, 1.0)

    def judge(texts, tasks):
        # What stands beside says the opposite.
        scores = looks(texts, tasks)
        return scores, {"gold": -scores}

    run = make_run(copywriter, rows, judge=judge, judge_rows=rows, watch=Watch(judge_every=1))
    with run:
        run.start(copywriter, copywriter.model)
        run.end_update(copywriter, copywriter.model)
        run.end_update(copywriter, copywriter.model)
        found = run.finish(copywriter, copywriter.model)
    assert [line["judge/gold"] for line in found.history] == pytest.approx([-5.0, -1.0])
    assert found.info["judge"] == pytest.approx(5.0)


def test_weights_that_the_guards_take_for_broken_are_not_kept(make_copywriter, rows):
    copywriter = make_copywriter(seed=1)
    weight = next(iter(trainable(copywriter.model).values()))
    before = weight.clone()
    run = make_run(
        copywriter, rows, judge=Looks(0.0, 5.0, 9.0), judge_rows=rows, watch=Watch(judge_every=1)
    )
    with run:
        run.start(copywriter, copywriter.model)
        for update, sound in ((1, 1.0), (2, 0.0)):
            put_weights(copywriter.model, {name_of(copywriter.model, weight): before + update})
            run.end_update(copywriter, copywriter.model, sound=sound)
        found = run.finish(copywriter, copywriter.model)
    assert torch.equal(weight, before + 1)
    assert found.info["judge"] == pytest.approx(5.0)
