"""Experiment E13: does personal copy pay?

Three copywriters are trained with the same budget in the same world: one whose reward knows the
reader, one whose reward, demonstrations and prompts know none (blind), and, as control, one whose
reward and demonstrations took each training reader for another (permuted). What each would send is
judged by the world, for its reader against what was written for others, beside choices of the log's
own copy: on the log's products, on launches that no log shows, and by the size of the log.

Records: those of `judging` and `readers` by ``writer``, with ``gain`` over several ``versus``;
``deliverable`` share of draws and ``own`` share of what is sent; with ``products`` "launches" those
of launches; along ``size`` (users of the log) the curve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.agents.copywriter.gate import Gate
from copygym.core.errors import UserError
from copygym.core.estimates import mean_estimate
from copygym.core.seeds import derived_seed
from copygym.envs.copywriting import draw_tasks
from copygym.envs.tasks import CopyRows, score_copy
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
)
from copygym.experiments.studies.copy.personal_report import DEFAULT, report
from copygym.experiments.studies.copy.readers import (
    BEST_ALL,
    BEST_DEMOGRAPHIC,
    BEST_EACH,
    LOG_ALL,
    LOG_EACH,
    honest_copy,
    logged_choices,
)
from copygym.experiments.studies.copy.setting import CopySetting, make_setting, setting_seed
from copygym.experiments.studies.copy.storefront import (
    BLIND,
    PERMUTED,
    launch_setting,
    other_readers,
)
from copygym.experiments.studies.learning import ONE_SEED, file_name
from copygym.experiments.studies.people import has_truth
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.agents.copywriter.writer import Copywriter

__all__ = ["check", "report", "seed_records"]

#: Endings of what would be sent: the best of a writer's own draws, and of these and the log's copy.
SENT, WITH_LOG = ", sent", " or log, sent"
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
    ``evaluation.draws`` (texts a task, the best of which is sent); ``curve`` (``sizes`` of logs in
    users, those at which a writer is trained too, ``writer_sizes``, and ``tasks``).
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
    written = copywriting.write_all(based, folder, trackers, setting, rows.seed)
    arms = [Arm("", based, folder, trackers, setting, rows.seed, name)]
    for kind in (BLIND, PERMUTED):
        other = other_readers(config, folder, setting, kind)
        arms.append(Arm(kind, based, folder.child(kind), trackers, other, rows.seed, name))
    shares: dict[str, dict[str, float]] = {}
    for arm in arms:
        sent = arm.sent()
        shares |= {arm.label(name + how): found.shares for how, found in sent.items()}
        texts = {name + how: found.texts for how, found in sent.items()}
        if arm.kind:
            learned = copywriting.write_learned(based, arm.folder, trackers, arm.setting, rows.seed)
            texts = {own: part.texts for own, part in learned.items()} | texts
        for own, found in texts.items():
            label = arm.label(own)
            written[label] = _judged(based, folder, label, found, setting)
    add_writers(rows, config, setting, written, folder)
    for label, share in shares.items():
        rows.add_all(share, writer=label)
    chosen = logged_choices(folder, setting)
    permuted = logged_choices(arms[2].folder, arms[2].setting)[LOG_EACH]
    wrong = f"{LOG_EACH}, {PERMUTED}"
    _add_values(rows, config, {wrong: permuted}, setting, {LOG_ALL: chosen[LOG_ALL]})
    everything = {**written, **chosen}
    for how in (SENT, WITH_LOG):
        names = (name + how, arms[2].label(name + how))
        others = (LOG_EACH, arms[1].label(name + how))
        _add_gains(
            rows,
            config,
            {label: everything[label] for label in names},
            {label: everything[label] for label in others},
            setting,
        )
    launches = _add_launches(rows, config, folder, arms)
    _add_curve(rows, config, folder, trackers, setting)
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
class Sent:
    """What an arm would send.

    Attributes:
        texts: one a task.
        shares: ``passed_first`` of the first draws, ``passed`` tasks that a draw answers, and
            ``own``, tasks to which it is sent.
    """

    texts: list[str]
    shares: dict[str, float]


@dataclass(frozen=True)
class Arm:
    """One way to train a copywriter.

    Attributes:
        kind: what readers are taken for; "" is what they are.
        config: of the run, with a base copywriter.
        folder: of the arm's stages.
        trackers: get the learning curves.
        setting: what it learns from, and the test tasks as it is told of them.
        seed: of training and sampling, the same for all arms.
        algorithm: who writes.
    """

    kind: str
    config: dict[str, Any]
    folder: RunFolder
    trackers: Trackers
    setting: CopySetting
    seed: int
    algorithm: str

    def label(self, writer: str) -> str:
        """Return the name of one of the arm's writers in tables."""
        return f"{self.kind} {writer}".strip()

    def sent(self, setting: CopySetting | None = None, place: str = "test") -> dict[str, Sent]:
        """Return what this arm would send for each test task: with `SENT` and with `WITH_LOG`.

        Several texts are drawn for each task, and of those that pass the grounding check the one
        that the arm's own reward likes best is taken; where none passes after some retries, the
        log's honest copy that it likes best. `WITH_LOG` sends that also where it is liked better.

        Args:
            setting: other tasks, and who scores texts for them; None: the arm's own.
            place: of the stage, one for each setting.
        """
        setting = self.setting if setting is None else setting
        tasks, known = setting.test, honest_copy(setting)
        size = [len(texts) for texts in known]
        asked = tasks.take(np.repeat(np.arange(len(tasks)), size))
        worth = _worth(setting)([text for texts in known for text in texts], asked)
        liked = list(np.split(worth, np.cumsum(size)[:-1]))
        order = [np.argsort(-part, kind="stable").tolist() for part in liked]
        logged = [[texts[k] for k in own] for texts, own in zip(known, order, strict=True)]

        def compute() -> Record:
            writer, _ = copywriting.improved_writer(
                self.config, self.folder, self.trackers, self.setting, self.seed, self.algorithm
            )
            options = self.config["evaluation"]
            gate = Gate(
                writer,
                samples=int(options["draws"]),
                prefer=_worth(setting),
                temperature=float(options["temperature"]),
                top_p=float(options["top_p"]),
            )
            found = gate.write(tasks, logged, seed=derived_seed(self.seed, "send", place))
            shares = {"passed_first": found.passed_first, "passed": found.passed}
            return Record(
                {"texts": list(found.texts), "shares": shares}, {"drawn": found.drawn >= 0}
            )

        record = self.folder.stage(f"send/{place}", compute)
        texts, shares = record.values["texts"], record.values["shares"]
        own = record.arrays["drawn"]
        better = own & (_worth(setting)(texts, tasks) >= [part.max() for part in liked])
        mixed = [texts[i] if better[i] else logged[i][0] for i in range(len(tasks))]
        return {
            SENT: Sent(texts, {**shares, "own": float(own.mean())}),
            WITH_LOG: Sent(mixed, {**shares, "own": float(better.mean())}),
        }


def _worth(setting: CopySetting) -> Callable[[Sequence[str], CopyRows], np.ndarray]:
    """Return the proxy reward of each text by itself, whatever it is scored together with."""

    def worth(texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        scores, terms = score_copy(setting.proxy, texts, rows)
        return scores - terms.get("diversity", np.zeros(len(texts)))

    return worth


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
    rows: Rows, config: dict[str, Any], folder: RunFolder, arms: list[Arm]
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
        label = arm.label(arm.algorithm + SENT)
        sent = arm.sent(asked, "launches")[SENT]
        rows.add_all(sent.shares, writer=label, products="launches")
        parts[label] = _judged(arm.config, place, label, sent.texts, own)
    baselines = {name: parts[name] for name in (DEFAULT, arms[1].label(arms[1].algorithm + SENT))}
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


def _add_curve(
    rows: Rows,
    config: dict[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    setting: CopySetting,
) -> None:
    """Add what choosing, and writing, is worth by the size of the log."""
    curve, own = config["curve"], int(config["data"]["n_users"])
    (name,) = copywriting.algorithms(config)
    for size in map(int, curve["sizes"]):
        part = {**config, "data": {**config["data"], "n_users": size}}
        child = folder.child(f"users-{size}")
        found = setting if size == own else make_setting(part, child)
        wide = _more_tasks(config, found, int(curve["tasks"]))
        chosen = logged_choices(child, wide)
        names = (LOG_ALL, LOG_EACH, BEST_ALL, BEST_DEMOGRAPHIC, BEST_EACH)
        one = {LOG_ALL: chosen[LOG_ALL]}
        _add_values(rows, config, {n: chosen[n] for n in names}, wide, one, size=size)
        rows.add("clicks", found.rows_seen["proxy"]["clicks"], size=size)
        if size in curve["writer_sizes"] and size != own:
            based = dict(copywriting.with_base(part, child, found))
            arm = Arm("", based, child, trackers, found, rows.seed, name)
            logged = logged_choices(child.child("written"), found)
            for how, sent_texts in arm.sent().items():
                label = name + how
                sent = {label: _judged(based, child, label, sent_texts.texts, found)}
                versus = {n: logged[n] for n in (LOG_ALL, LOG_EACH)}
                _add_values(rows, config, sent, found, versus, size=size)


def _more_tasks(config: Mapping[str, Any], setting: CopySetting, tasks: int) -> CopySetting:
    """Return the setting with other test tasks, for what is chosen and not written."""
    assert setting.gold_users is not None
    seed = derived_seed(setting_seed(config), "tasks", "curve")
    readers = int(config["tasks"]["readers"])
    return replace(setting, test=draw_tasks(setting.gold_users, tasks, seed, readers))
