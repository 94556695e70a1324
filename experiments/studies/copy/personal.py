"""Experiment E13: does personal copy pay?

One writer is tuned on the log's better copy. From there it is trained with the same budget, tasks
and prompts by a reward that knows the reader, and by one that knows none (blind). Of as many drafts
the models of clicks of each arm choose what is sent to whom; as control, so do models that took
each reader for another while they learned (permuted). The world judges it for its reader against
what others are sent, beside choices of the log's own copy, on the log's products and on launches
that no log shows.

Records: those of `judging` and `readers` by ``writer``, with ``gain`` over several ``versus``;
``passed_first`` share of drafts that pass the check and ``own`` share of what is sent; with
``products`` "launches" those of launches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.agents.copywriter.drafts import Drafts, Sent, draw_drafts, pooled, sent_of
from copygym.core.errors import UserError
from copygym.core.estimates import mean_estimate
from copygym.core.seeds import derived_seed
from copygym.envs.tasks import CopyRows
from copygym.evaluation.personal import crossed, gain_over, personal_gain
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.copy import copywriting
from copygym.experiments.studies.copy.judging import (
    WITHIN_SEED,
    add_writers,
    copy_about,
    copy_origin,
    judge_texts,
    worth_of,
)
from copygym.experiments.studies.copy.personal_report import DEFAULT, report
from copygym.experiments.studies.copy.readers import (
    honest_copy,
)
from copygym.experiments.studies.copy.setting import CopySetting, make_setting
from copygym.experiments.studies.copy.storefront import (
    BLIND,
    PERMUTED,
    launch_setting,
    other_rewards,
)
from copygym.experiments.studies.learning import ONE_SEED, file_name
from copygym.experiments.studies.people import has_truth
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.agents.copywriter.protocol import Writer
    from copygym.agents.copywriter.writer import Copywriter

__all__ = ["check", "report", "seed_records"]

#: Endings of what would be sent: the best of a writer's drafts, of these and the log's copy, and of
#: the blind writer's drafts by models that know the reader.
SENT, WITH_LOG, CHOSEN = ", sent", " or log, sent", ", chosen for each"
#: The log as a writer.
LOG = "log"
_OVER_SEEDS = (
    "intervals are over {count} worlds, each with its own products, people and log, and one seed "
    "of its split, fits, training and sampling."
)


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    if not has_truth(config):
        raise UserError(
            f"dataset={config['data']['name']}: whether copy suits its reader must be judged by "
            "people, which only the truth of a synthetic world can, such as storefront's."
        )
    copywriting.check_writers(config)
    if len(copywriting.algorithms(config)) != 1:
        raise UserError(
            f"algorithms names {', '.join(copywriting.algorithms(config))}: leave one, and set the "
            "others to null."
        )
    if int(config["tasks"]["readers"]) < 2:
        raise UserError(
            f"tasks.readers={config['tasks']['readers']}: copy is personal where it suits its "
            "reader better than another, so that at least 2 must be asked for the same."
        )


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return one world's records; every fit, every writer and every judgement is a stage.

    Config keys: those of the copywriting study with one algorithm; ``tasks.launches``;
    ``evaluation.draws`` (drafts a task).
    """
    setting = make_setting(config, folder)
    with copywriting.torch_threads(int(config["copywriter"].get("threads", 1))):
        return _records(config, folder, trackers, setting)


def _records(
    config: dict[str, Any], folder: RunFolder, trackers: Trackers, setting: CopySetting
) -> Records:
    based = dict(copywriting.with_base(config, folder, setting))
    (name,) = copywriting.algorithms(config)
    rows = Rows(int(config["seed"]))
    start = partial(copywriting.sft_writer, based, folder, trackers, setting, rows.seed)
    aware = Arm("", based, folder, trackers, setting, start, rows.seed, name)
    blind, permuted = (
        replace(
            aware,
            kind=kind,
            folder=folder.child(kind),
            setting=other_rewards(config, folder, setting, kind),
        )
        for kind in (BLIND, PERMUTED)
    )
    tasks = len(setting.test)
    tuned, own, unread = aware.drafts(copywriting.SFT), aware.drafts(), blind.drafts()
    texts = {
        copywriting.BEST: setting.human[0],
        copywriting.ANY: setting.human[1],
        copywriting.SFT: tuned.first(tasks),
        name: own.first(tasks),
        blind.label(name): unread.first(tasks),
    }
    sent: dict[str, Sent] = {}
    for how in (SENT, WITH_LOG):
        sent[copywriting.SFT + how] = aware.sent(tuned, how)
        sent[name + how] = aware.sent(own, how)
        sent[blind.label(name + how)] = blind.sent(unread, how)
        # Nothing but the choice of the control knows readers, and it knows the wrong ones.
        sent[f"{name}{how}, {PERMUTED}"] = permuted.sent(own, how)
    # What was written without the reader, chosen by who knows the reader: writing or choosing?
    sent[blind.label(name + CHOSEN)] = aware.sent(unread)
    sent[LOG + SENT] = aware.sent(None)
    texts |= {label: found.texts for label, found in sent.items()}
    written = {
        label: _judged(based, folder, label, found, setting) for label, found in texts.items()
    }
    add_writers(rows, config, setting, written, folder)
    for label, found in sent.items():
        rows.add_all(found.shares, writer=label)
    ours = {name + how: written[name + how] for how in (SENT, WITH_LOG)}
    others = {label: part for label, part in written.items() if label in sent and label not in ours}
    _add_gains(rows, config, ours, others, setting)
    launches = _add_launches(rows, config, folder, (aware, blind))
    facts = about(
        config,
        copy_origin(setting, folder),
        synthetic=True,
        one_seed=ONE_SEED,
        over_seeds=_OVER_SEEDS,
        statistics={"default": "mean"},
        within_seed=WITHIN_SEED,
        copy=copy_about(config, setting, written, name + SENT),
        algorithm=name,
        draws=int(config["evaluation"]["draws"]),
        launches=launches,
    )
    return Records(rows.frame, {rows.seed: facts})


def _judged(
    config: Mapping[str, Any], folder: RunFolder, label: str, texts: list[str], setting: CopySetting
) -> dict[str, Any]:
    def base() -> Copywriter:
        return copywriting.base_writer(config)

    return judge_texts(folder, file_name(label), texts, {}, setting, base)


# ------------------------------------------------------------------ arms


@dataclass(frozen=True)
class Arm:
    """One reward that trains a copywriter and chooses what is sent.

    Attributes:
        kind: what readers are taken for; "" is what they are.
        config: of the run, with a base copywriter.
        folder: of the arm's stages.
        trackers: get the learning curves.
        setting: the arm's rewards, and the tasks, which are the same for all arms.
        start: makes the writer from which training starts, the same for all arms.
        seed: of training and sampling, the same for all arms.
        algorithm: who writes.
    """

    kind: str
    config: dict[str, Any]
    folder: RunFolder
    trackers: Trackers
    setting: CopySetting
    start: Callable[[], Copywriter]
    seed: int
    algorithm: str

    def label(self, writer: str) -> str:
        """Return the name of one of the arm's writers in tables."""
        return f"{self.kind} {writer}".strip()

    def drafts(
        self, writer: str | None = None, tasks: CopyRows | None = None, place: str = "test"
    ) -> Drafts:
        """Return what was written for some tasks, from its stage.

        Args:
            writer: who writes: the arm's algorithm (None), or SFT.
            tasks: None: the test tasks.
            place: of the stage, one for each set of tasks.
        """
        tasks = self.setting.test if tasks is None else tasks
        name = writer or self.algorithm

        def compute() -> Record:
            found = draw_drafts(self._writer(name), tasks, self.config["evaluation"], self.seed)
            return Record({"texts": found.texts}, {"passed": found.passed})

        record = self.folder.stage(f"drafts/{file_name(name)}-{place}", compute)
        return Drafts(record.values["texts"], record.arrays["passed"])

    def _writer(self, name: str) -> Writer:
        if name == copywriting.SFT:
            return self.start()
        known = (self.config, self.folder, self.trackers, self.setting, self.seed)
        writer: Writer = copywriting.improved_writer(*known, name, start=self.start)[0]
        return writer

    def sent(
        self, drafts: Drafts | None, how: str = SENT, setting: CopySetting | None = None
    ) -> Sent:
        """Return what would be sent of some drafts.

        Of all drafts for a product, channel and slot that pass the check the arm's models of clicks
        choose for each reader; with `WITH_LOG`, among the log's honest copy as well.

        Args:
            drafts: of whichever writer, for the tasks; None: the log's copy alone is sent.
            how: `SENT` or `WITH_LOG`.
            setting: other tasks, and who scores texts for them; None: the arm's own.
        """
        setting = self.setting if setting is None else setting
        assert setting.groups is not None
        tasks, known = setting.test, honest_copy(setting)
        new = pooled(drafts, setting.groups) if drafts else [[] for _ in known]
        found = sent_of(new, known, tasks, worth_of(setting), with_log=how == WITH_LOG)
        shares = drafts.shares(len(tasks)) if drafts else {}
        return replace(found, shares=found.shares | shares)


# ------------------------------------------------------------------ records

Parts = Mapping[str, Mapping[str, Any]]


def _how(config: Mapping[str, Any]) -> dict[str, Any]:
    resamples = int(config["evaluation"]["resamples"])
    return {"resamples": resamples, "seed": derived_seed(0, "bootstrap")}


def _add_values(
    rows: Rows,
    config: Mapping[str, Any],
    parts: Parts,
    setting: CopySetting,
    versus: Parts,
    **columns: Any,
) -> None:
    """Add click rates, personal gains and gains over others; ``columns`` go on every record."""
    group, how = setting.groups, _how(config)
    assert group is not None
    for name, part in parts.items():
        rows.add("gold_ctr", mean_estimate(part["gold"], unit=group, **how), writer=name, **columns)
        gain = personal_gain(crossed(group), part["crossed"], group, **how)
        rows.add("personal_gain", gain, writer=name, **columns)
    _add_gains(rows, config, parts, versus, setting, **columns)


def _add_gains(
    rows: Rows,
    config: Mapping[str, Any],
    parts: Parts,
    versus: Parts,
    setting: CopySetting,
    **columns: Any,
) -> None:
    for name, part in parts.items():
        for other, base in versus.items():
            if other != name:
                gain = gain_over(part["gold"], base["gold"], setting.groups, **_how(config))
                rows.add("gain", gain, writer=name, versus=other, **columns)


def _add_launches(
    rows: Rows, config: dict[str, Any], folder: RunFolder, arms: Sequence[Arm]
) -> dict[str, Any] | None:
    """Add what each arm's copy is worth for products that the log never showed.

    Returns:
        Some of it, for the report; None where the world has no launches.
    """
    own = launch_setting(config, arms[0].setting)
    if own is None:
        return None
    place = folder.child("launches")
    parts = {DEFAULT: _judged(arms[0].config, place, DEFAULT, own.human[0], own)}
    for arm in arms:
        asked = launch_setting(config, arm.setting)
        assert asked is not None
        drafts = arm.drafts(tasks=own.test, place="launches")
        for how in (SENT, WITH_LOG):
            sent = arm.sent(drafts, how, asked)
            label = arm.label(arm.algorithm + how)
            rows.add_all(sent.shares, writer=label, products="launches")
            parts[label] = _judged(arm.config, place, label, sent.texts, own)
    others = (DEFAULT, *(arm.label(arm.algorithm + SENT) for arm in arms[1:]))
    baselines = {name: parts[name] for name in others}
    _add_values(rows, config, parts, own, baselines, products="launches")
    shown = np.unique(np.array(own.test.products), return_index=True)[1].tolist()
    return {
        "tasks": len(own.test),
        "products": len(shown),
        "writers": list(parts),
        "examples": [
            {"product": own.test.products[i], **{name: p["texts"][i] for name, p in parts.items()}}
            for i in shown
        ],
    }
