"""Experiment: when does optimising the proxy start to hurt? (E4)

One copywriter, tuned on the log's better copy, is optimised against proxies that differ in how
much of the log they saw and in their head: a single CTR model, or an ensemble's mean, worst case
(WCO) or uncertainty-weighted score (UWO; Coste et al. 2023, arXiv 2310.02743). Best-of-n moves it
by an exact number of nats, PPO by many small steps; gold, which no proxy saw, is followed all the
way and Gao et al.'s laws are fitted (arXiv 2210.10760).

Records: ``method`` ("best_of_n" or "ppo") and ``head`` say what optimised which proxy, ``share``
how much of the log it saw, ``kl_coef`` what PPO paid for a nat, ``reward`` ("proxy" or "gold") what
was gained. ``gain`` and ``distance`` (sqrt(KL), nats) are curves along ``k`` draws or PPO's
``step``; ``final_gain`` is where a curve ends. Best-of-n's gains are logits of a click over one
draw, PPO's standard deviations of the tuned copywriter's draws for a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError, unknown_name
from copygym.core.estimates import mean_estimate
from copygym.core.seeds import derived_seed
from copygym.envs.tasks import CopyReward, CopyRows, score_copy
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.copy import copywriting
from copygym.experiments.studies.copy.overoptimisation_fit import (
    BestOfCurve,
    Law,
    best_of_curve,
    fit_law,
)
from copygym.experiments.studies.copy.overoptimisation_report import report
from copygym.experiments.studies.copy.setting import CopySetting, make_setting
from copygym.experiments.studies.learning import ONE_SEED, file_name
from copygym.experiments.studies.people import has_truth
from copygym.experiments.studies.reward_models import fit_ctr_model
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.agents.copywriter.training.algorithm import CopyAlgorithm
    from copygym.agents.copywriter.writer import Copywriter
    from copygym.rewards.ctr.ensemble import CtrEnsemble

__all__ = ["check", "report", "seed_records"]

#: Proxies by the name that tables show: the first member alone, and the ensemble's heads.
HEADS = ("single", "mean", "wco", "uwo")
_OF_WORLDS = (
    "intervals are over {count} worlds, each with one seed of its people, log, split, fit and "
    "learning."
)
_OF_SPLITS = (
    "intervals are over {count} splits, each with one seed of its fit and learning; all are of the "
    "same log, whose own luck no split can show."
)
#: Texts scored together: bounds memory.
_CHUNK = 4096


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    options = config["overopt"]
    for head in [*options["heads"], *options["ppo"]["heads"]]:
        if head not in HEADS:
            raise unknown_name("overopt head", str(head), list(HEADS))
    members = int(config["reward_model"].get("members", 1))
    if members < 2:
        raise UserError(f"reward_model.members is {members}; an ensemble's heads need more.")
    for price in options["ppo"]["kl_coefs"]:
        _ppo(options, float(price))
    copywriting.check_writers(config)


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Follow gold under best-of-n and PPO; return the records of a world or a split of the log.

    Config keys: those of `make_setting` (``reward_model.members`` > 1), ``copywriter``, and
    ``overopt``: ``heads``, ``sizes`` (shares of the proxy's part of the log), ``beta`` (of UWO),
    ``n`` (draws per task), ``temperature`` and ``ppo`` (``kl_coefs``, ``heads``,
    ``samples``, ``window`` and settings of PPO).
    """
    options = config["overopt"]
    setting = make_setting(config, folder)
    seed = int(config["seed"])
    rows = Rows(seed)
    with copywriting.torch_threads(int(config["copywriter"].get("threads", 1))):
        based = copywriting.with_base(config, folder, setting)
        start = copywriting.sft_writer(based, folder, trackers, setting, seed)
        proxies = {
            size: _proxy(config, folder, setting, size) for size in map(float, options["sizes"])
        }
        drawn = _draw(config, folder, setting, start, proxies)
        for size in proxies:
            for head in options["heads"]:
                curve = best_of_curve(drawn.proxy(size, head, float(options["beta"])), drawn.gold)
                add_curve(
                    rows, curve, int(config["evaluation"]["resamples"]), head, f"{100 * size:g}%"
                )
        for head in options["ppo"]["heads"]:
            for price in map(float, options["ppo"]["kl_coefs"]):
                lines = _learn(
                    config, folder, trackers, setting, start, proxies, drawn, head, price
                )
                add_learning(rows, lines, _length(options, price), head, price)
    return Records(rows.frame, {seed: _about(config, setting)})


def _ppo(options: Mapping[str, Any], price: float) -> CopyAlgorithm:
    """Return PPO at a price of KL."""
    from copygym.agents.copywriter.training.algorithm import make_algorithm

    settings = {
        key: value
        for key, value in options["ppo"].items()
        if key not in ("kl_coefs", "heads", "samples", "window")
    }
    return make_algorithm("ppo", kl_coef=price, **settings)


# ------------------------------------------------------------------ proxies


def _proxy(
    config: Mapping[str, Any], folder: RunFolder, setting: CopySetting, size: float
) -> CtrEnsemble:
    """Return the ensemble fitted on a share of what a proxy may see."""
    log = setting.proxy_log
    if size < 1:
        parts = {"kept": size, "rest": 1 - size}
        seed = derived_seed(int(config["seed"]), "size", str(size))
        split = log.split_by_test if log.has("test_id") else log.split_by_user
        log = split(parts, seed)["kept"]
    model: CtrEnsemble = fit_ctr_model(folder, f"proxy-{size:g}", log, config, "reward_model")
    return model


def _head_scores(scores_MN: np.ndarray, head: str, beta: float) -> np.ndarray:
    """Return a head's scores (N,) from the members' (M, N)."""
    from copygym.rewards.ctr.ensemble import combine

    return scores_MN[0] if head == "single" else combine(scores_MN, head, beta)


@dataclass(frozen=True)
class Drawn:
    """K draws of the starting writer for each of T tasks, scored by everybody.

    Attributes:
        gold: (T, K) gold click logits.
        members: size -> (M, T, K) click logits of the ensemble's members.
    """

    gold: np.ndarray
    members: dict[float, np.ndarray]

    def proxy(self, size: float, head: str, beta: float) -> np.ndarray:
        """Return (T, K) scores of a head."""
        scores_MTK = self.members[size]
        flat = _head_scores(scores_MTK.reshape(len(scores_MTK), -1), head, beta)
        return flat.reshape(self.gold.shape)


def _draw(
    config: Mapping[str, Any],
    folder: RunFolder,
    setting: CopySetting,
    start: Copywriter,
    proxies: Mapping[float, CtrEnsemble],
) -> Drawn:
    """Draw and score all texts of the best-of-n curves, task by task."""
    options, rows = config["overopt"], setting.test
    n, seed = int(options["n"]), derived_seed(int(config["seed"]), "draw")

    def compute() -> Record:
        from copygym.agents.copywriter.drawing import draw
        from copygym.core.progress import progress

        gold = np.zeros((len(rows), n))
        members = {size: np.zeros((len(p.members), len(rows), n)) for size, p in proxies.items()}
        for task in progress(range(len(rows)), what="best of n", unit="task", leave=False):
            row = rows.take([task])
            texts = draw(
                start, row, n=n, seed=seed + task, temperature=float(options["temperature"])
            ).texts
            for first in range(0, n, _CHUNK):
                part = texts[first : first + _CHUNK]
                repeated = row.take(np.zeros(len(part), np.int64))
                gold[task, first : first + _CHUNK] = _gold(setting, part, repeated)
                for size, proxy in proxies.items():
                    scores = proxy.member_scores(part)
                    members[size][:, task, first : first + _CHUNK] = scores
        return Record({}, {"gold": gold, **{f"members-{s:g}": m for s, m in members.items()}})

    arrays = folder.stage("best-of-n/draw", compute).arrays
    return Drawn(arrays["gold"], {size: arrays[f"members-{size:g}"] for size in proxies})


def _gold(setting: CopySetting, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
    """Return gold click logits (N,)."""
    chance = score_copy(setting.gold, texts, rows)[0]
    return np.log(chance) - np.log1p(-chance)


# ------------------------------------------------------------------ learning


@dataclass(frozen=True)
class _Followed:
    """A head as a training reward, with gold as a term that weighs nothing.

    Scores are standardised by the starting writer's draws for the same task, so that a price of KL
    means the same for every head and a line of history does not depend on its tasks.

    Attributes:
        proxy: the ensemble.
        head: of `HEADS`.
        beta: of UWO.
        setting: has gold.
        start: task -> (mean proxy, mean gold) of the starting writer.
        scale: standard deviations of proxy and gold within tasks.
    """

    proxy: CtrEnsemble
    head: str
    beta: float
    setting: CopySetting
    start: Mapping[tuple[int, ...], tuple[float, float]]
    scale: tuple[float, float]

    def __call__(
        self, texts: Sequence[str], rows: CopyRows
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        at = np.array([self.start[key] for key in _keys(rows)])
        scores = _head_scores(self.proxy.member_scores(list(texts)), self.head, self.beta)
        gold = _gold(self.setting, texts, rows)
        return (scores - at[:, 0]) / self.scale[0], {"gold": (gold - at[:, 1]) / self.scale[1]}


def _keys(rows: CopyRows) -> list[tuple[int, ...]]:
    parts = (rows.user, rows.creative, rows.channel, rows.slot)
    return [tuple(int(x) for x in key) for key in zip(*parts, strict=True)]


def _within(scores_TK: np.ndarray) -> float:
    """Return the standard deviation of draws within tasks; 1 where they do not differ."""
    return float(np.sqrt(scores_TK.var(axis=1).mean())) or 1.0


def _learn(
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    setting: CopySetting,
    start: Copywriter,
    proxies: Mapping[float, CtrEnsemble],
    drawn: Drawn,
    head: str,
    price: float,
) -> list[dict[str, float]]:
    """Train PPO against a head at a price of KL; return one line per ``window`` updates."""
    options = config["overopt"]["ppo"]
    size, beta = max(proxies), float(config["overopt"]["beta"])
    scores = drawn.proxy(size, head, beta)
    means = zip(scores.mean(axis=1), drawn.gold.mean(axis=1), strict=True)
    reward: CopyReward = _Followed(
        proxy=proxies[size],
        head=head,
        beta=beta,
        setting=setting,
        start=dict(zip(_keys(setting.test), means, strict=True)),
        scale=(_within(scores), _within(drawn.gold)),
    )
    stage = f"ppo/{file_name(f'{head}-{price:g}')}"

    def compute() -> Record:
        trackers.begin(stage)
        trained = _ppo(config["overopt"], price).train(
            start,
            setting.test,
            reward,
            samples=int(options["samples"]),
            seed=derived_seed(int(config["seed"]), "ppo", head, str(price)),
            folder=folder.file("checkpoints", file_name(f"{head}-{price:g}")),
            on_progress=lambda step, metrics: trackers.log(stage, metrics, step),
        )
        return Record({"history": trained.history, "stopped": trained.stopped})

    history = folder.stage(stage, compute).values["history"]
    lines, window = [], int(options["window"])
    for first in range(0, len(history), window):
        part = history[first : first + window]
        lines.append(
            {
                name: float(np.mean([line[key] for line in part]))
                for name, key in (
                    ("samples", "samples"),
                    ("kl", "kl"),
                    ("proxy", "reward"),
                    ("gold", "reward/gold"),
                )
            }
        )
    return lines


# ------------------------------------------------------------------ the records


def add_curve(rows: Rows, curve: BestOfCurve, resamples: int, head: str, share: str) -> None:
    """Add a best-of-n curve with intervals over tasks, where it ends, and its law."""
    cell = {"method": "best_of_n", "head": head, "share": share}
    seed = derived_seed(0, "bootstrap")
    rows.add_lines("distance", "k", curve.k.tolist(), curve.d.tolist(), **cell)
    for reward, values_TC in (("proxy", curve.proxy_TC), ("gold", curve.gold_TC)):
        gains = [mean_estimate(column, resamples, seed) for column in values_TC.T]
        rows.add_lines("gain", "k", curve.k.tolist(), gains, **cell, reward=reward)
        rows.add("final_gain", gains[-1], **cell, reward=reward)
    gold = curve.gold_TC.mean(axis=0)
    rows.add("best_k", int(curve.k[gold.argmax()]), **cell)
    rows.add_all(_numbers(fit_law("best_of_n", curve.d.tolist(), gold.tolist())), **cell)


def add_learning(
    rows: Rows, lines: Sequence[Mapping[str, float]], length: int, head: str, price: float
) -> None:
    """Add what proxy and gold did while PPO learned, where that ended, and its law.

    Args:
        rows: get the records.
        lines: ``samples``, ``kl``, ``proxy`` and ``gold`` of each step, in order.
        length: steps of a run that nothing stopped; those that are lacking are no numbers.
        head: that was optimised.
        price: of a nat of KL.
    """
    cell = {"method": "ppo", "head": head, "kl_coef": price}
    for step in range(1, length + 1):
        line = lines[step - 1] if step <= len(lines) else {}
        kl = line.get("kl")
        rows.add("samples", line.get("samples"), **cell, step=step)
        rows.add("kl", kl, **cell, step=step)
        rows.add("distance", None if kl is None else max(kl, 0.0) ** 0.5, **cell, step=step)
        for reward in ("proxy", "gold"):
            rows.add("gain", line.get(reward), **cell, step=step, reward=reward)
    last, best = lines[-1], max(lines, key=lambda line: line["gold"])
    rows.add("final_kl", last["kl"], **cell)
    for reward in ("proxy", "gold"):
        rows.add("final_gain", last[reward], **cell, reward=reward)
    rows.add("best_gain", best["gold"], **cell, reward="gold")
    rows.add("best_samples", best["samples"], **cell)
    rows.add_all(_numbers(_learning_law(lines)), **cell)


def _learning_law(lines: Sequence[Mapping[str, float]]) -> Law | None:
    """Return the law of a PPO run, None where too few of its points have left the start."""
    far = [line for line in lines if line["kl"] > 0]
    if len(far) < 3:
        return None
    d = np.sqrt([line["kl"] for line in far])
    return fit_law("rl", d.tolist(), [line["gold"] for line in far])


def _numbers(law: Law | None) -> dict[str, float | None]:
    return {name: getattr(law, name, None) for name in ("alpha", "beta", "r2", "peak")}


def _length(options: Mapping[str, Any], price: float) -> int:
    """Return the steps of `_learn` where nothing ends it early."""
    samples, batch = int(options["ppo"]["samples"]), getattr(_ppo(options, price), "batch", 1)
    return -(-(samples // min(samples, batch)) // int(options["ppo"]["window"]))


def _about(config: Mapping[str, Any], setting: CopySetting) -> dict[str, Any]:
    origin = {
        "data": setting.data,
        "rows_seen": setting.rows_seen,
        "notes": setting.log.notes,
        "assumptions": dict.fromkeys([*setting.readers.assumptions, "every text is judged once."]),
    }
    of_worlds = has_truth(config)
    return about(
        config,
        origin,
        synthetic=setting.log.synthetic,
        one_seed=ONE_SEED,
        over_seeds=_OF_WORLDS if of_worlds else _OF_SPLITS,
        # Laws and gains are means in the paper that they are compared with.
        statistics={"default": "mean"},
        unit="world" if of_worlds else "split",
        log=setting.log.name,
        writer=config["copywriter"]["model"]["name"],
        tasks=len(setting.test),
        n=int(config["overopt"]["n"]),
        gold=setting.gold_text,
    )
