"""What copywriters learn from and who judges them, built from a log in separate parts.

The proxy, the judge that stops training and the gold reward see disjoint parts of the log. In a
synthetic world gold is its own truth for people of the test part; elsewhere it is a CTR model of
another family fitted on tests that neither of the other two saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.agents.copywriter.training.feedback import (
    DEMONSTRATIONS,
    PREFERENCES,
    Demonstrations,
    Feedback,
    Preferences,
)
from copygym.core.errors import UserError, unknown_name
from copygym.envs.tasks import CopyReward, CopyRows, copy_rows, score_copy
from copygym.evaluation.personal import grouped
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import instantiated
from copygym.experiments.studies.data import load_log, same_data, seen
from copygym.experiments.studies.gold import PARTS
from copygym.experiments.studies.people import has_truth

if TYPE_CHECKING:
    from copygym.agents.copywriter.writer import Copywriter
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.people.model import UserModel
    from copygym.envs.simulator.fitted import FittedUsers
    from copygym.rewards.copy.fluency import Fluency

#: Folder of the untuned writer among a run's writers.
UNTUNED = "base"
#: What a copywriter may be asked: copy from the brief alone, or a variation of a human text.
TASKS = ("write", "rewrite")


MODEL = (
    "Gold is a CTR model of another family, fitted on tests that neither the reward model nor the "
    "copywriter saw; no experiment with readers has confirmed it."
)


@dataclass(frozen=True)
class CopySetting:
    """Everything that the comparison of copywriters holds fixed.

    Attributes:
        log: the click log.
        data: its checksum and rows.
        rows_seen: what each part of the log holds.
        proxy_log: the part that the reward model and the copywriter may learn from.
        readers: simulated readers whose answer to free text is the proxy; Copywriting-v0's users.
        model: the proxy CTR model.
        train: tasks to train on.
        validation: tasks on which the judge looks.
        test: tasks of the evaluation.
        demonstrations: the log's better copy and its tasks.
        preferences: (tasks, chosen, rejected) pairs of the log, for DPO.
        reward: the training reward, for tasks of the readers.
        proxy: the same reward for the test tasks, whose people are others.
        judge: held-out reward for early stopping.
        gold: P(click) of texts, (N,) float64.
        human: what the log shows for each test task: the better copy and another one.
        training_texts: all copy that any model was trained on.
        gold_text: says who judges.
        fitted: the simulated users of the proxy where the log has users, else None.
        gold_users: people of the test part as the truth simulates them, where there is one.
        held_out: the same people as the proxy simulates them.
        fluency: of texts under the writer before all tuning, which a copy reward may ask for.
        second_gold: P(click) by a gold model of another family, where the task is to rewrite.
    """

    log: ClickLog
    data: dict[str, Any]
    rows_seen: dict[str, Any]
    proxy_log: ClickLog
    readers: UserModel
    model: Any
    train: CopyRows
    validation: CopyRows
    test: CopyRows
    demonstrations: tuple[list[str], CopyRows]
    preferences: tuple[CopyRows, list[str], list[str]]
    reward: CopyReward
    proxy: CopyReward
    judge: CopyReward
    gold: CopyReward
    human: tuple[list[str], list[str]]
    training_texts: tuple[str, ...]
    gold_text: str
    fitted: FittedUsers | None = None
    gold_users: UserModel | None = None
    held_out: UserModel | None = None
    fluency: Fluency | None = None

    @property
    def groups(self) -> np.ndarray | None:
        """(N,) int64 test tasks that ask several readers for the same copy; None without readers.

        What was written for one task of a group can be shown to the readers of the others.
        """
        if self.gold_users is None:
            return None
        return grouped(self.test.products, self.test.channel, self.test.slot)

    second_gold: CopyReward | None = None

    @property
    def rewriting(self) -> bool:
        """Whether the tasks are to rewrite a human text."""
        return bool(self.test.originals)

    def feedback(self, learns_from: Sequence[str]) -> tuple[CopyRows, Feedback]:
        """Return tasks and feedback on them, of the kind that suits an algorithm best.

        Args:
            learns_from: kinds of feedback, the best first; see `CopyAlgorithm.learns_from`.
        """
        if learns_from[0] == DEMONSTRATIONS:
            texts, rows = self.demonstrations
            return rows, Demonstrations(texts)
        if learns_from[0] == PREFERENCES:
            rows, better, worse = self.preferences
            return rows, Preferences(better, worse)
        return self.train, self.reward


def make_setting(config: Mapping[str, Any], folder: RunFolder) -> CopySetting:
    """Return the setting of a config; its models are fitted in stages of ``folder``.

    Config keys: ``setting_seed`` (see `setting_seed`), ``task`` (of `TASKS`), ``data``, ``split``
    (shares of `PARTS`), ``reward_model``, ``judge_model``, ``gold_model`` (not used where the world
    is known), ``copy_reward``, ``tasks`` (numbers of ``train``, ``validation`` and ``test`` tasks,
    and of the ``readers`` who are asked for the same copy), ``users`` and ``env`` for logs with
    users; to rewrite, also ``second_gold_model`` and ``rewrites`` (options of
    `copygym.agents.copywriter.demonstrations.rewrites`).
    """
    config = {**config, "seed": setting_seed(config)}
    check_task(config)
    log = load_log(config["data"])
    data = same_data(folder, log)
    log = log.with_notes(*brief_notes(log))
    if has_truth(config) or config.get("users"):
        if not has_truth(config):
            log.require("user_id", "text", "product_id")
        from copygym.experiments.studies.copy.storefront import storefront_setting

        return storefront_setting(log, data, config, folder)
    from copygym.experiments.studies.copy.tests import headline_setting

    return headline_setting(log, data, config, folder)


#: Distinct briefs that are looked at for facts.
_LOOKED_AT = 200


def brief_notes(log: ClickLog) -> list[str]:
    """Return what to know of a log whose briefs state no facts: a note, or none."""
    from copygym.rewards.copy.grounding import has_facts

    if not log.has("brief"):
        return []
    briefs = log.frame.select("brief").drop_nulls().unique(maintain_order=True).head(_LOOKED_AT)
    known = briefs.collect(engine="streaming")["brief"].to_list()
    bare = [brief for brief in known if brief.strip() and not has_facts(brief)]
    if not bare:
        return []
    return [
        f"{len(bare)} of {len(known)} briefs state no facts, such as {bare[0][:60]!r}: of copy for "
        "them only the form is checked, and a claim that needs a fact counts as false."
    ]


def check_task(config: Mapping[str, Any]) -> None:
    """Raise unless the config's ``task`` is known, and has originals where it is to rewrite.

    Raises:
        UserError: it is not.
    """
    task = config.get("task", TASKS[0])
    if task not in TASKS:
        raise unknown_name("task", str(task), list(TASKS))
    if task == "rewrite" and has_truth(config):
        raise UserError(
            "task=rewrite needs a human original for every task, which tests of headlines have and "
            "this world's readers have not; use task=write, or dataset=upworthy."
        )


def setting_seed(config: Mapping[str, Any]) -> int:
    """Return the seed of the split, the tasks and the models of clicks.

    It is a key of its own so that several ``seed`` of learning share one setting; without it, a
    seed is all of it anew.
    """
    return int(config.get("setting_seed", config["seed"]))


def shares(config: Mapping[str, Any], names: Sequence[str] = PARTS) -> dict[str, float]:
    """Return the shares of the parts, which add up to 1.

    Raises:
        UserError: a part is missing or has no share.
    """
    given = config["split"]
    for name in names:
        if not given.get(name):
            raise UserError(f"split.{name}={given.get(name)}: give a share above 0.")
    total = sum(float(given[name]) for name in names)
    return {name: float(given[name]) / total for name in names}


@dataclass(frozen=True)
class ClickLogit:
    """The click logit that a CTR model gives to texts, as a `CopyReward`.

    Attributes:
        model: a CTR model.
        readers: the population that rows name; a model that reads readers is told who they are.
    """

    model: Any
    readers: UserModel | None = None

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        """Return (N,) float64 logits."""
        from copygym.rewards.ctr.readers import reads_readers

        known: dict[str, Any] = {}
        if self.readers is not None and reads_readers(self.model):
            known = {"profiles": self.readers.profiles.features[rows.user]}
        return np.asarray(self.model.score(list(texts), **known), np.float64)


@dataclass(frozen=True)
class Witnessed:
    """A judge beside whose scores stands what gold says of the same texts, which decides nothing.

    Attributes:
        judge: decides when training stops.
        gold: P(click) of texts, (N,) float64.
        people: (P,) int64 sorted readers whose rows gold has as 0 ... P - 1; None: gold's own.
    """

    judge: CopyReward
    gold: CopyReward
    people: np.ndarray | None = None

    @property
    def model(self) -> Any:
        """The judge's model of clicks."""
        return getattr(self.judge, "model", None)

    def __call__(
        self, texts: Sequence[str], rows: CopyRows
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the judge's scores (N,) and gold's."""
        own = rows
        if self.people is not None:
            own = replace(rows, user=np.searchsorted(self.people, rows.user))
        return score_copy(self.judge, texts, rows)[0], {
            "gold": score_copy(self.gold, texts, own)[0]
        }


@dataclass(frozen=True)
class UntunedFluency:
    """Mean log probability per token of texts under the run's copywriter before all tuning.

    It is read when it is first asked: a tiny one is trained after the setting is made.

    Args:
        model: the config's ``copywriter.model``.
        folder: of the run, which keeps a tiny one.
    """

    model: Mapping[str, Any]
    folder: RunFolder
    _known: dict[str, float] = field(default_factory=dict, repr=False)

    @cached_property
    def _writer(self) -> Copywriter:
        spec = dict(self.model)
        if spec.get("name") == "tiny" and not spec.get("path"):
            spec["path"] = str(self.folder.file("writers", UNTUNED))
        writer: Copywriter = instantiated(spec, "copywriter.model")
        return writer

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N,) float64 nats; nan of a text of one token."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            values = -np.log(self._writer.perplexity(new))
            self._known.update(zip(new, values.tolist(), strict=True))
        return np.array([self._known[text] for text in texts], np.float64)


def copy_shape(
    config: Mapping[str, Any],
    model: Any,
    readers: UserModel,
    reference_texts: Sequence[str],
    fluency: Fluency | None,
) -> CopyReward:
    """Return the config's copy reward, given the models and texts that its terms need."""
    from copygym.rewards.copy.shape import CopyRewardShape

    make = instantiated(config["copy_reward"], "copy_reward")
    resources: dict[str, Any] = {
        "model": model,
        "users": readers,
        "reference_texts": reference_texts,
    }
    if isinstance(make, partial) and make.func is CopyRewardShape:
        resources["fluency"] = fluency
    reward: CopyReward = make(**resources)
    return reward


def describe_parts(folder: RunFolder, parts: Mapping[str, ClickLog]) -> dict[str, Any]:
    """Return what each part of the log holds, from its stage."""
    record = folder.stage("split", lambda: Record({k: seen(v) for k, v in parts.items()}))
    values: dict[str, Any] = record.values
    return values


def sample_rows(n_tasks: int, available: int, seed: int) -> np.ndarray:
    """Return ``n_tasks`` of ``available`` rows, each at most once while they last."""
    rng = np.random.default_rng(seed)
    order = np.concatenate(
        [rng.permutation(available) for _ in range(-(-n_tasks // max(available, 1)))]
    )
    return order[:n_tasks]


def rows_at(users: UserModel, user: np.ndarray, creative: np.ndarray) -> CopyRows:
    """Return tasks on the first channel in the first slot."""
    nought = np.zeros(len(creative), np.int64)
    return copy_rows(users, user, creative, nought, nought)


__all__ = ["PARTS", "ClickLogit", "CopySetting", "make_setting"]
