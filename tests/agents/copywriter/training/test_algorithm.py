"""Every algorithm keeps the contract of `CopyAlgorithm`."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from copygym.agents.copywriter.algorithms.sft.finetune import PeftChoice
from copygym.agents.copywriter.training.algorithm import ALGORITHMS, Trained, make_algorithm
from copygym.agents.copywriter.training.feedback import Demonstrations, Preferences
from copygym.core.errors import UserError

#: Settings under which a budget of 20 samples is a few updates and not a whole number of them.
SMALL = {
    "sft": {"batch": 8},
    "ppo": {"batch": 8},
    "rloo": {"batch": 8, "group": 4},
    "grpo": {"batch": 8, "group": 4},
    "dpo": {"tasks": 2, "group": 4, "batch": 2},
    "rejection": {"tasks": 2, "group": 4, "batch": 2},
    "best_of_n": {"n": 4},
}
BUDGET = 20
#: Those with updates, and those that learn from a reward.
LEARNERS = [name for name in ALGORITHMS if name != "best_of_n"]
REWARDED = [name for name in ALGORITHMS if name != "sft"]

every = pytest.mark.parametrize("name", list(ALGORITHMS))
learners = pytest.mark.parametrize("name", LEARNERS)
rewarded = pytest.mark.parametrize("name", REWARDED)
learners_by_reward = pytest.mark.parametrize("name", [n for n in LEARNERS if n in REWARDED])


def count_the(texts, rows):
    return np.array([text.split().count("the") for text in texts], dtype=float)


class Counting:
    """A reward that counts what it is asked, and has terms."""

    def __init__(self):
        self.asked, self.seen = 0, []

    def __call__(self, texts, rows):
        self.asked += len(texts)
        self.seen.extend(zip(texts, rows.prompts, strict=True))
        words = np.array([len(text.split()) for text in texts], dtype=float)
        return words + 1.0, {"words": words, "one": np.ones(len(texts))}


class Falls:
    """A judge that likes every writer less than the one before."""

    def __init__(self):
        self.looks = 0

    def __call__(self, texts, rows):
        self.looks += 1
        return np.full(len(texts), -float(self.looks))


def feedback(name, rows, reward):
    """Return the reward, or texts to imitate for an algorithm that has no use for one."""
    return (
        reward if name in REWARDED else Demonstrations(["the coffee the people like"] * len(rows))
    )


def train(name, writer, rows, reward, **options):
    settings = {"samples": BUDGET, "seed": 1} | options
    extra = settings.pop("settings", {})
    algorithm = make_algorithm(name, **SMALL[name], **extra)
    return algorithm.train(writer, rows, feedback(name, rows, reward), **settings)


def weights_of(writer):
    return {name: value.detach().clone() for name, value in writer.model.named_parameters()}


@dataclass
class Result:
    """One training, and what was seen around it."""

    trained: Trained
    reward: Counting
    lines: list
    folder: Path
    same_writer: bool
    same_generator: bool
    strays: list


@pytest.fixture(scope="module")
def results():
    """One training of each algorithm, made when first asked for."""
    return {}


@pytest.fixture
def result(results, copywriter, rows, tmp_path_factory, monkeypatch):
    def get(name):
        if name not in results:
            here, folder = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("run")
            monkeypatch.chdir(here)
            reward, lines, before = Counting(), [], weights_of(copywriter)
            torch.manual_seed(3)
            generator = torch.get_rng_state()
            trained = train(
                name,
                copywriter,
                rows,
                reward,
                folder=folder,
                on_progress=lambda samples, line: lines.append((samples, line)),
            )
            after = weights_of(copywriter)
            results[name] = Result(
                trained,
                reward,
                lines,
                folder,
                all(torch.equal(value, before[key]) for key, value in after.items()),
                torch.equal(torch.get_rng_state(), generator),
                list(here.iterdir()),
            )
        return results[name]

    return get


@rewarded
def test_the_budget_is_never_exceeded(result, name):
    trained, reward = result(name).trained, result(name).reward

    assert 0 < reward.asked <= BUDGET
    assert trained.spent.samples == reward.asked


@every
def test_the_result_writes(result, rows, name):
    trained = result(name).trained
    texts = trained.writer.write(rows, seed=0, samples=2)

    assert len(texts) == 2 * len(rows)
    assert all(isinstance(text, str) for text in texts)
    assert trained.stopped


@every
def test_the_starting_writer_is_left_as_it_is(result, name):
    assert result(name).same_writer


@every
def test_the_bill_is_positive_and_consistent(result, name):
    spent = result(name).trained.spent

    assert spent.generated > spent.samples or name not in REWARDED
    assert spent.cpu_seconds > 0
    assert (spent.trained > 0) == (name != "best_of_n")


@every
def test_history_has_the_standard_keys_and_ends_with_the_bill(result, name):
    trained, lines = result(name).trained, result(name).lines
    history = trained.history

    assert len(history) >= 1
    keys = {"samples", "generated", "trained", "cpu_seconds"}
    keys |= {"reward", "kl"} if name in REWARDED else {"loss"}
    for line in history:
        assert keys <= line.keys()
        assert all(isinstance(value, float) and np.isfinite(value) for value in line.values())
    for earlier, later in itertools.pairwise(history):
        assert earlier["samples"] <= later["samples"]
        assert earlier["cpu_seconds"] <= later["cpu_seconds"]
    assert history[-1]["samples"] == trained.spent.samples
    assert history[-1]["generated"] == trained.spent.generated
    assert history[-1]["trained"] == trained.spent.trained
    assert [line for _, line in lines] == history
    used = [line["samples"] for line in history] if name in REWARDED else [8, 16]
    assert [texts for texts, _ in lines] == used


@learners_by_reward
def test_the_reward_and_its_terms_are_in_the_history(result, name):
    trained = result(name).trained
    assert trained.history
    for line in trained.history:
        assert line["reward/one"] == 1.0
        assert line["reward"] == pytest.approx(line["reward/words"] + 1.0)


@rewarded
def test_training_starts_at_the_writer_itself(result, name):
    assert result(name).trained.history[0]["kl"] == pytest.approx(0.0, abs=1e-4)


@rewarded
def test_examples_are_texts_that_were_scored(result, name):
    trained, reward = result(name).trained, result(name).reward

    assert trained.examples
    for example in trained.examples:
        assert (example["text"], example["prompt"]) in reward.seen
        assert example["reward"] == len(example["text"].split()) + 1.0


@every
def test_nothing_is_written_outside_the_folder(result, name):
    assert result(name).strays == []


@every
def test_a_seed_fixes_the_texts(result, copywriter, rows, name):
    first, second = result(name).trained, train(name, copywriter, rows, Counting())

    assert first.writer.write(rows, seed=0) == second.writer.write(rows, seed=0)
    assert untimed(first.history) == untimed(second.history)


@every
def test_global_generators_are_left_alone(result, name):
    assert result(name).same_generator


@rewarded
def test_a_reward_that_is_not_a_number_is_refused(copywriter, rows, name):
    with pytest.raises(UserError, match="it must return finite numbers"):
        train(name, copywriter, rows, lambda texts, rows: np.full(len(texts), np.nan))


@rewarded
def test_a_reward_of_another_length_is_refused(copywriter, rows, name):
    with pytest.raises(UserError, match="it must return one number for each"):
        train(name, copywriter, rows, lambda texts, rows: np.ones(len(texts) + 1))


@every
def test_no_tasks_are_refused(copywriter, rows, name):
    with pytest.raises(UserError, match=re.escape("there are no writing tasks to train on")):
        train(name, copywriter, rows.take([]), Counting())


@every
def test_a_budget_that_is_too_small_is_refused(copywriter, rows, name):
    with pytest.raises(UserError, match="samples"):
        train(name, copywriter, rows, Counting(), samples=1 if name != "ppo" else 0)


@every
def test_a_judge_needs_tasks(copywriter, rows, name):
    message = "a judge was given without judge_rows; give the tasks it should look at."
    with pytest.raises(UserError, match=re.escape(message)):
        train(name, copywriter, rows, Counting(), judge=count_the)


@learners
def test_the_best_judged_writer_is_returned(result, copywriter, rows, name):
    judge = Falls()
    trained = train(
        name,
        copywriter,
        rows,
        Counting(),
        judge=judge,
        judge_rows=rows,
        settings={"judge_every": 1},
    )

    # It liked the starting writer best, so that is what came back.
    assert trained.writer.write(rows, seed=5) == copywriter.write(rows, seed=5)
    assert judge.looks == len(trained.history) + 1
    assert [line["judge"] for line in trained.history] == [
        -float(look) for look in range(2, judge.looks + 1)
    ]
    assert trained.info["judge"] == -1.0
    # What the judge scores is not paid for in samples.
    assert trained.spent.samples == result(name).trained.spent.samples


@learners
@pytest.mark.parametrize(
    ("margin", "change"), [(1.0, "a fall of over 1 standard errors"), (0.0, "no gain")]
)
def test_patience_ends_training(copywriter, rows, name, margin, change):
    trained = train(
        name,
        copywriter,
        rows,
        Counting(),
        judge=Falls(),
        judge_rows=rows,
        settings={"judge_every": 1, "patience": 1, "margin": margin},
    )

    assert len(trained.history) == 1
    assert trained.stopped == f"the judge saw {change} in 1 looks"
    assert trained.spent.samples == (8 if name in REWARDED else 0)


@every
def test_any_seed_that_an_experiment_derives_will_do(copywriter, rows, name):
    trained = train(name, copywriter, rows, Counting(), seed=2**31 - 2)
    assert trained.writer.write(rows.take([0]), seed=1)


def untimed(history):
    return [{key: value for key, value in line.items() if "seconds" not in key} for line in history]


class Interrupts(Counting):
    """A reward that is killed at its n-th call."""

    def __init__(self, at):
        super().__init__()
        self.calls, self.at = 0, at

    def __call__(self, texts, rows):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return super().__call__(texts, rows)


@learners_by_reward
def test_an_interrupted_run_goes_on_to_the_same_result(result, copywriter, rows, tmp_path, name):
    folder, settings = tmp_path / "run", {"save_every": 1}
    with pytest.raises(KeyboardInterrupt):
        train(name, copywriter, rows, Interrupts(2), folder=folder, settings=settings)
    rest = Counting()
    trained = train(name, copywriter, rows, rest, folder=folder, settings=settings)
    whole = result(name).trained

    assert rest.asked == whole.spent.samples - 8
    assert trained.spent.samples == whole.spent.samples
    assert trained.spent.trained == whole.spent.trained
    assert trained.writer.write(rows, seed=0) == whole.writer.write(rows, seed=0)
    assert untimed(trained.history) == untimed(whole.history)
    assert [path.name for path in folder.iterdir()] == ["checkpoint.safetensors"]


@learners
def test_a_finished_run_is_read_back_without_a_sample(result, copywriter, rows, name):
    first, again = result(name), Counting()
    second = train(name, copywriter, rows, again, folder=first.folder)

    assert again.asked == 0
    assert second.stopped == first.trained.stopped
    assert second.history == first.trained.history
    assert second.writer.write(rows, seed=0) == first.trained.writer.write(rows, seed=0)


@learners
def test_a_checkpoint_of_other_settings_is_refused(result, copywriter, rows, name):
    with pytest.raises(UserError) as error:
        train(name, copywriter, rows, Counting(), folder=result(name).folder, seed=2)

    assert "is a checkpoint of other settings: seed was 1 and is now 2" in str(error.value)


@learners
def test_a_checkpoint_of_another_writer_is_refused(result, make_copywriter, rows, name):
    with pytest.raises(UserError, match="is a checkpoint of other settings: weights was"):
        train(name, make_copywriter(seed=9), rows, Counting(), folder=result(name).folder)


def test_an_unknown_algorithm_lists_the_choices():
    message = (
        "unknown algorithm 'sarsa': choose one of best_of_n, dpo, grpo, ppo, rejection, rloo, sft, "
    )
    with pytest.raises(UserError, match=re.escape(message)):
        make_algorithm("sarsa")


@every
def test_an_unknown_option_lists_the_choices(name):
    with pytest.raises(UserError, match=re.escape(f"unknown option of {name} 'lr'")):
        make_algorithm(name, lr=1.0)


@every
def test_names_agree(name):
    assert make_algorithm(name).name == name


# ---------------------------------------------------------------- feedback


@every
def test_feedback_of_another_kind_is_refused(copywriter, rows, name):
    kinds = {
        "reward": count_the,
        "demonstrations": Demonstrations(["the"] * len(rows)),
        "preferences": Preferences(["the"] * len(rows), ["a"] * len(rows)),
    }
    algorithm = make_algorithm(name, **SMALL[name])
    for kind, given in kinds.items():
        if kind not in algorithm.learns_from:
            with pytest.raises(UserError, match=f"{name} learns from .*; it got {kind}"):
                algorithm.train(copywriter, rows, given, samples=BUDGET, seed=0)
    with pytest.raises(UserError, match=f"{name} learns from .*; it got none"):
        algorithm.train(copywriter, rows, samples=BUDGET, seed=0)
    with pytest.raises(UserError, match=f"{name} learns from .*; it got a list, which is none"):
        algorithm.train(copywriter, rows, ["the"], samples=BUDGET, seed=0)


def test_feedback_is_one_for_each_task(copywriter, rows):
    message = "sft got demonstrations for 2 tasks and 12 tasks; give one for each."
    with pytest.raises(UserError, match=re.escape(message)):
        make_algorithm("sft").train(
            copywriter, rows, Demonstrations(["a", "b"]), samples=BUDGET, seed=0
        )
    message = "preferences hold 2 better and 1 worse texts; give one of each per pair."
    with pytest.raises(UserError, match=re.escape(message)):
        Preferences(["a", "b"], ["c"])
    with pytest.raises(UserError, match=re.escape("the text of row 1 is empty")):
        Demonstrations(["a", " "])


#: PPO asks for texts that end and stay fluent; those of a random model never were.
ANY_TEXT = {"missing_eos_penalty": 0.0, "max_fluency_loss": 0.0}
#: Enough to learn a word on the random model: settings and samples.
LEARNING = {
    "sft": ({"learning_rate": 1e-2}, 320),
    "ppo": ({"batch": 32, "learning_rate": 1e-2, **ANY_TEXT}, 480),
    "rloo": ({"batch": 32, "learning_rate": 1e-2}, 640),
    "grpo": ({"batch": 32, "learning_rate": 1e-2}, 320),
    "dpo": ({"tasks": 16, "learning_rate": 1e-2}, 640),
    "rejection": ({"tasks": 16, "group": 8, "learning_rate": 5e-3}, 768),
    "best_of_n": ({"n": 16}, 192),
}


@every
def test_the_reward_rises(copywriter, rows, name):
    settings, samples = LEARNING[name]
    trained = make_algorithm(name, **settings).train(
        copywriter, rows, feedback(name, rows, count_the), samples=samples, seed=0
    )
    tasks = rows.take(np.arange(96) % len(rows))
    before = count_the(copywriter.write(tasks, seed=9), tasks).mean()
    after = count_the(trained.writer.write(tasks, seed=9), tasks).mean()

    assert before < 0.5
    assert after > before + 0.7


@learners
def test_other_architectures_learn_too(name, gpt2, rows):
    """GPT-2 names its layers otherwise, and keeps their weights transposed."""
    settings = {"layers": 2} if name in REWARDED else {"peft": PeftChoice(layers=2)}
    trained = train(name, gpt2, rows, count_the, samples=8, settings=settings)
    assert trained.spent.samples == (8 if name in REWARDED else 0)
    assert len(trained.writer.write(rows.take([0, 1]), seed=0)) == 2
