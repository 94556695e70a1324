"""Experiment: when does optimising the proxy start to hurt? (E4)

One copywriter, tuned on the log's better copy, is optimised against proxies that differ in how
much of the log they saw and in their head: a single CTR model, or an ensemble's mean, worst case
(WCO) or uncertainty-weighted score (UWO; Coste et al. 2023, arXiv 2310.02743). Best-of-n moves it
by an exact number of nats, PPO by many small steps; gold, which no proxy saw, is followed all the
way and Gao et al.'s laws are fitted (arXiv 2210.10760).
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
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.copy import copywriting
from copygym.experiments.studies.copy.overoptimisation_fit import (
    BestOfCurve,
    best_of_curve,
    fit_law,
)
from copygym.experiments.studies.copy.overoptimisation_report import label_of, main_table, sections
from copygym.experiments.studies.copy.setting import CopySetting, make_setting
from copygym.experiments.studies.learning import ONE_SEED, file_name
from copygym.experiments.studies.reward_models import fit_ctr_model
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.agents.copywriter.training.algorithm import CopyAlgorithm
    from copygym.agents.copywriter.writer import Copywriter
    from copygym.rewards.ctr.ensemble import CtrEnsemble

__all__ = ["main_table", "run", "sections"]

#: What `numbers_of` a run are.
NUMBERS = {
    "proxy gain": "of the best of all draws over one draw, in logits of a click by the row's proxy",
    "gold gain": "the same by gold",
    "R2 of the law": "Gao et al.'s, of the gold gained",
    "last KL": "nats, at the end of learning",
    "last proxy": "in standard deviations of the tuned copywriter's draws for a task, less their "
    "mean",
    "last gold": "the same of gold",
}
#: Proxies by the name that tables show: the first member alone, and the ensemble's heads.
HEADS = ("single", "mean", "wco", "uwo")
#: Texts scored together: bounds memory.
_CHUNK = 4096


def run(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Follow gold under best-of-n and PPO; return the result (JSON types).

    Config keys: those of `make_setting` (``reward_model.members`` > 1), ``copywriter``, and
    ``overopt``: ``heads``, ``sizes`` (shares of the proxy's part of the log), ``beta`` (of UWO),
    ``n`` (draws per task), ``temperature`` and ``ppo`` (``kl_coefs``, ``heads``,
    ``samples``, ``window`` and settings of PPO).
    """
    options = _checked(config)
    copywriting.check_writers(config)
    setting = make_setting(config, folder)
    seed = int(config["seed"])
    with copywriting.torch_threads(int(config["copywriter"].get("threads", 1))):
        based = copywriting.with_base(config, folder, setting)
        start = copywriting.sft_writer(based, folder, trackers, setting, seed)
        proxies = {
            size: _proxy(config, folder, setting, size) for size in map(float, options["sizes"])
        }
        drawn = _draw(config, folder, setting, start, proxies)
        curves = {
            (size, head): best_of_curve(drawn.proxy(size, head, float(options["beta"])), drawn.gold)
            for size in proxies
            for head in options["heads"]
        }
        learned = {
            (head, float(price)): _learn(
                config, folder, trackers, setting, start, proxies, drawn, head, float(price)
            )
            for head in options["ppo"]["heads"]
            for price in options["ppo"]["kl_coefs"]
        }
    return _result(config, setting, curves, learned)


def _checked(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``overopt`` of the config, or say what is wrong with it."""
    options: dict[str, Any] = dict(config["overopt"])
    for head in [*options["heads"], *options["ppo"]["heads"]]:
        if head not in HEADS:
            raise unknown_name("overopt head", str(head), list(HEADS))
    members = int(config["reward_model"].get("members", 1))
    if members < 2:
        raise UserError(f"reward_model.members is {members}; an ensemble's heads need more.")
    for price in options["ppo"]["kl_coefs"]:
        _ppo(options, float(price))
    return options


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


def _headed(scores_MN: np.ndarray, head: str, beta: float) -> np.ndarray:
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
        flat = _headed(scores_MTK.reshape(len(scores_MTK), -1), head, beta)
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
        from tqdm import trange

        from copygym.agents.copywriter.drawing import draw

        gold = np.zeros((len(rows), n))
        members = {size: np.zeros((len(p.members), len(rows), n)) for size, p in proxies.items()}
        for task in trange(len(rows), desc="best of n", unit="task", disable=None, leave=False):
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
        scores = _headed(self.proxy.member_scores(list(texts)), self.head, self.beta)
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


# ------------------------------------------------------------------ the result


def _result(
    config: Mapping[str, Any],
    setting: CopySetting,
    curves: Mapping[tuple[float, str], BestOfCurve],
    learned: Mapping[tuple[str, float], list[dict[str, float]]],
) -> dict[str, Any]:
    options = config["overopt"]
    resamples = int(config["evaluation"]["resamples"])
    seed = derived_seed(0, "bootstrap")
    best_of = [
        {"size": size, "head": head, **_curve(curve, resamples, seed)}
        for (size, head), curve in curves.items()
    ]
    ppo = [
        {"head": head, "kl_coef": price, "lines": lines, "law": _learning_law(lines)}
        for (head, price), lines in learned.items()
    ]
    kind = "a synthetic log" if setting.log.synthetic else "a real log"
    writer = config["copywriter"]["model"]["name"]
    largest = max(float(size) for size in options["sizes"])
    full = [entry for entry in best_of if entry["size"] == largest]
    words = "; ".join(
        f"{entry['head']} {entry['gold'][-1]['value']:+.2f} "
        f"[{entry['gold'][-1]['low']:+.2f}, {entry['gold'][-1]['high']:+.2f}]"
        for entry in full
    )
    return {
        "title": f"Gold against proxy on {setting.log.name}",
        "synthetic": setting.log.synthetic,
        "summary": (
            f"On {kind} ({setting.log.name}), copy of a tuned copywriter ({writer}) was optimised "
            f"against CTR models. Gold click logit gained by the best of "
            f"{int(options['n']):,} draws over one draw, {len(setting.test)} tasks: {words}. "
            f"{setting.gold_text}"
        ),
        "best_of_n": best_of,
        "ppo": ppo,
        "tasks": len(setting.test),
        "n": int(options["n"]),
        "gold": setting.gold_text,
        "data": {setting.log.name: setting.data},
        "rows_seen": setting.rows_seen,
        "notes": list(setting.log.notes),
        "assumptions": list(
            dict.fromkeys([*setting.readers.assumptions, "every text is judged once.", ONE_SEED])
        ),
        "curves": curves_of(best_of, ppo),
        "summary_numbers": numbers_of(best_of, ppo),
    }


def numbers_of(
    best_of: Sequence[Mapping[str, Any]], ppo: Sequence[Mapping[str, Any]]
) -> dict[str, float | None]:
    """Return `NUMBERS` by proxy and by learning, named COLUMN/ROW."""
    found: dict[str, float | None] = {}
    for entry in best_of:
        row = label_of(entry)
        found[f"proxy gain/{row}"] = entry["proxy"][-1]["value"]
        found[f"gold gain/{row}"] = entry["gold"][-1]["value"]
        found[f"R2 of the law/{row}"] = entry["law"]["r2"]
    for run in ppo:
        row = f"PPO, {label_of(run)}"
        last = run["lines"][-1]
        found[f"last KL/{row}"] = last["kl"]
        found[f"last proxy/{row}"] = last["proxy"]
        found[f"last gold/{row}"] = last["gold"]
    return found


def curves_of(
    best_of: Sequence[Mapping[str, Any]], ppo: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return proxy and gold against the distance from the start, of draws and of learning."""

    def figure(caption: str, what: str, unit: str, lines: dict[str, Any]) -> dict[str, Any]:
        labels = {"x_label": "sqrt(KL), nats", "y_label": f"{what}, {unit}"}
        return {"caption": f"{what.capitalize()} {caption}", **labels, "lines": lines}

    curves: dict[str, Any] = {}
    for what in ("gold", "proxy"):
        drawn = {
            label_of(entry): {"x": entry["d"], "y": [point["value"] for point in entry[what]]}
            for entry in best_of
        }
        learned = {
            label_of(run): {
                "x": [max(line["kl"], 0.0) ** 0.5 for line in run["lines"]],
                "y": [line[what] for line in run["lines"]],
            }
            for run in ppo
        }
        curves[f"best_of_n_{what}"] = figure(
            "gained by the best of 1, 2, 4 ... draws.", what, "logits", drawn
        )
        curves[f"ppo_{what}"] = figure(
            "while PPO moves away from the tuned copywriter.", what, "SD", learned
        )
    return curves


def _curve(curve: BestOfCurve, resamples: int, seed: int) -> dict[str, Any]:
    """Return a curve with intervals over tasks, and its law."""

    def points(values_TC: np.ndarray) -> list[dict[str, float]]:
        return [mean_estimate(column, resamples, seed).to_dict() for column in values_TC.T]

    gold = curve.gold_TC.mean(axis=0)
    return {
        "k": curve.k.tolist(),
        "d": curve.d.tolist(),
        "proxy": points(curve.proxy_TC),
        "gold": points(curve.gold_TC),
        "law": fit_law("best_of_n", curve.d.tolist(), gold.tolist()).to_dict(),
        "best_k": int(curve.k[gold.argmax()]),
    }


def _learning_law(lines: Sequence[Mapping[str, float]]) -> dict[str, Any] | None:
    """Return the law of a PPO run, None where too few of its points have left the start."""
    far = [line for line in lines if line["kl"] > 0]
    if len(far) < 3:
        return None
    d = np.sqrt([line["kl"] for line in far])
    return fit_law("rl", d.tolist(), [line["gold"] for line in far]).to_dict()
