"""Experiment: learn what to say and what to send, and judge both against the log (quickstart).

Log -> simulated users and a CTR reward model -> a copywriter (SFT, then the algorithm) -> its best
copies into the catalogue -> a delivery agent on it -> an A/B comparison of copy and policy on
people whom nothing was fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.envs.people.creatives import NewCopy, keep_creatives, with_copy
from copygym.envs.tasks import score_copy
from copygym.evaluation.metrics import policy_metrics, segment_metrics
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import learned_name, policies
from copygym.experiments.studies.campaign.campaign_report import main_table, sections
from copygym.experiments.studies.copy import copywriting
from copygym.experiments.studies.copy.judging import summarise
from copygym.experiments.studies.copy.setting import CopySetting, make_setting
from copygym.experiments.studies.delivery import delivery
from copygym.experiments.studies.learning import ONE_SEED, file_name, play
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.envs.people.model import UserModel
    from copygym.envs.tasks import CopyRows
    from copygym.evaluation.metrics import Episodes
    from copygym.evaluation.rollout import Setting

__all__ = ["main_table", "run", "sections"]

#: The two catalogues that are compared: the log's best creatives, and the best with new copy.
LOGGED, WRITTEN = "logged copy", "with new copy"


def run(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> dict[str, Any]:
    """Run the whole campaign; return the result (JSON types).

    Config keys: those of `copywriting.run` (one algorithm), of `delivery.compare`, and
    ``creatives`` (``per_product``, ``candidates``).
    """
    copywriting.check_writers(config)
    algorithm = _algorithm(config)
    delivery.check_agents(config)
    setting = make_setting(config, folder)
    if setting.fitted is None or setting.gold_users is None:
        raise UserError(
            "a campaign needs a log with users and a known truth; "
            f"{setting.log.name} has none: use experiment=upworthy_rlpf for tests of copy."
        )
    seed = int(config["seed"])
    based = copywriting.with_base(config, folder, setting)
    written = copywriting.write_all(based, folder, trackers, setting, seed)
    copy = summarise(config, setting, {seed: written})
    kept = logged_creatives(config, setting)
    with copywriting.torch_threads(int(config["copywriter"].get("threads", 1))):
        stay, new = best_creatives(based, folder, trackers, setting, algorithm)
    sides = {
        LOGGED: (keep_creatives(setting.readers, kept), keep_creatives(setting.gold_users, kept)),
        WRITTEN: (
            with_copy(setting.readers, new, stay),
            with_copy(setting.gold_users, new, stay),
        ),
    }
    played: dict[str, Episodes] = {}
    curves: dict[str, Any] = {}
    timelines: dict[str, Any] = {}
    for side, (proxy, gold) in sides.items():
        child = folder.child(file_name(side))
        learned = delivery.teach(child, trackers, proxy, config)
        of_users = delivery.evaluation_setting(gold, config)
        for name in policies(config):
            label = f"{side}, {name}"
            curves[label] = learned[name]
            wanted = int(config["evaluation"]["timelines"])
            wanted = wanted if (side, name) == (WRITTEN, learned_name(config)) else 0
            played[label], events = play(name, of_users, child, "evaluate", wanted)
            if events:
                timelines = delivery.shown_timelines(gold, of_users, events)
    return {
        **_numbers(config, played, of_users, gold),
        "title": f"Copy and delivery on {setting.log.name}: {algorithm} and {learned_name(config)}",
        "synthetic": setting.log.synthetic,
        "summary": _summary(config, copy, played, new, stay),
        "copy": copy,
        "creatives": _shown(setting, kept, stay, new),
        "curves": curves,
        "timelines": timelines,
        "fidelity": setting.fitted.fidelity.to_dict(),
        "data": {setting.log.name: setting.data},
        "rows_seen": setting.rows_seen,
        "notes": list(setting.log.notes),
        "assumptions": list(dict.fromkeys([*copy["assumptions"], ONE_SEED])),
        "judge": setting.gold_text,
    }


def _algorithm(config: Mapping[str, Any]) -> str:
    names = list(copywriting.algorithms(config))
    if len(names) != 1:
        raise UserError(
            f"algorithms names {len(names)} ({', '.join(names)}); a campaign uses one copywriter: "
            "set the others to null."
        )
    return names[0]


# ------------------------------------------------------------------ creatives


def logged_creatives(config: Mapping[str, Any], setting: CopySetting) -> np.ndarray:
    """Return (K',) int64 logged creatives that the training reward likes best, by product."""
    rows = _briefs(config, setting)
    per_product = int(config["creatives"]["per_product"])
    best = []
    for product, old in _by_product(setting.readers.catalogue.product_ids).items():
        texts = [setting.readers.catalogue.texts[k] for k in old]
        best.append(old[_best(setting, texts, rows, product, per_product)])
    return np.concatenate(best)


def best_creatives(
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    setting: CopySetting,
    algorithm: str,
    stage: str = "creatives",
) -> tuple[np.ndarray, NewCopy]:
    """Return the copies that the training reward likes best by product, logged or written.

    The catalogue stays as long as `logged_creatives`: what is gained by it is gained by the copy
    and not by having more of it, and the agent has no more to learn.

    Args:
        config: as for `run`, with a base copywriter.
        folder: of the copywriter's stages.
        trackers: get the learning curve.
        setting: tasks and rewards.
        algorithm: who writes, a key of the config's ``algorithms``.
        stage: that keeps the choice; one for each algorithm.

    Returns:
        (K',) int64 logged creatives that stay, and the new ones.
    """
    catalogue = setting.readers.catalogue
    per_product = int(config["creatives"]["per_product"])
    seed = int(config["seed"])

    def compute() -> Record:
        writer, _ = copywriting.improved_writer(config, folder, trackers, setting, seed, algorithm)
        rows = _briefs(config, setting)
        written = writer.write(
            rows,
            seed=derived_seed(seed, "candidates"),
            temperature=float(config["evaluation"]["temperature"]),
            top_p=float(config["evaluation"]["top_p"]),
        )
        kept, texts, source = [], [], []
        own = _by_product(rows.products)
        for product, old in _by_product(catalogue.product_ids).items():
            pool = [catalogue.texts[k] for k in old]
            pool += [t for t in dict.fromkeys(written[i] for i in own[product]) if t not in pool]
            best = _best(setting, pool, rows, product, per_product)
            kept += old[best[best < len(old)]].tolist()
            new = [pool[i] for i in best if i >= len(old)]
            texts += new
            source += [int(rows.creative[own[product][0]])] * len(new)
        arrays = {"kept": np.array(kept, np.int64), "source": np.array(source, np.int64)}
        return Record({"texts": texts}, arrays)

    record = folder.stage(stage, compute)
    source = record.arrays["source"]
    products = [catalogue.product_ids[k] for k in source]
    names = tuple(f"{product}-new-{i}" for i, product in enumerate(products, 1))
    return record.arrays["kept"], NewCopy(names, tuple(record.values["texts"]), source)


def _by_product(products: Sequence[str]) -> dict[str, np.ndarray]:
    """Return each product's positions, int64."""
    names = np.array(products)
    return {name: np.flatnonzero(names == name) for name in dict.fromkeys(products)}


def _best(
    setting: CopySetting, texts: Sequence[str], rows: CopyRows, product: str, count: int
) -> np.ndarray:
    """Return int64 indices of the texts that the readers of a product's tasks like best."""
    audience = rows.take(_by_product(rows.products)[product].tolist())
    # Every text is asked of the same readers.
    value = [
        float(score_copy(setting.reward, [text] * len(audience), audience)[0].mean())
        for text in texts
    ]
    return np.argsort(-np.array(value), kind="stable")[:count]


def _briefs(config: Mapping[str, Any], setting: CopySetting) -> CopyRows:
    """Return tasks of every product, for the copies and as their audience."""
    seed = derived_seed(config["seed"], "briefs")
    return _candidate_tasks(setting, int(config["creatives"]["candidates"]), seed)


def _candidate_tasks(setting: CopySetting, per_product: int, seed: int) -> CopyRows:
    """Return ``per_product`` tasks of every product for readers drawn at random."""
    from copygym.envs.tasks import copy_rows

    rng = np.random.default_rng(seed)
    catalogue = setting.readers.catalogue
    products = np.array(catalogue.product_ids)
    creative = np.concatenate(
        [np.full(per_product, np.flatnonzero(products == p)[0]) for p in dict.fromkeys(products)]
    )
    n = len(creative)
    return copy_rows(
        setting.readers,
        rng.integers(len(setting.readers), size=n),
        creative,
        rng.integers(catalogue.n_channels, size=n),
        rng.integers(catalogue.n_slots, size=n),
    )


def _shown(
    setting: CopySetting, kept: np.ndarray, stay: np.ndarray, new: NewCopy
) -> list[dict[str, str]]:
    """Return both catalogues' creatives for the report."""
    catalogue = setting.readers.catalogue
    before, after = set(kept.tolist()), set(stay.tolist())
    side_of = dict.fromkeys(before - after, "before")
    side_of |= dict.fromkeys(before & after, "before and after")
    side_of |= dict.fromkeys(after - before, "after")
    logged = [
        {"product": catalogue.product_ids[k], "side": side, "text": catalogue.texts[k]}
        for k, side in side_of.items()
    ]
    return logged + [
        {"product": catalogue.product_ids[k], "side": "after, new", "text": text}
        for k, text in zip(new.source, new.texts, strict=True)
    ]


# ------------------------------------------------------------------ numbers


def _numbers(
    config: Mapping[str, Any], played: Mapping[str, Episodes], setting: Setting, gold: UserModel
) -> dict[str, Any]:
    options = config["evaluation"]
    baseline = f"{LOGGED}, {options['baseline']}"
    seed, resamples = derived_seed(config["seed"], "bootstrap"), int(options["resamples"])
    numbers = policy_metrics(played, baseline, None, resamples, seed)
    segments = gold.profiles.segments[setting.rows]
    return {
        **numbers,
        "segments": segment_metrics(
            played, segments, ("clicks_per_user", "profit_per_user"), resamples, seed
        ),
        "policies": list(played),
        "learned": f"{WRITTEN}, {learned_name(config)}",
        "baseline": baseline,
        "upper": None,
        "users": len(setting.rows),
        "horizon": setting.horizon,
        "summary_numbers": {
            f"{name}/{key}": entry["value"]
            for name, by_key in numbers["metrics"].items()
            for key, entry in by_key.items()
        },
    }


def _summary(
    config: Mapping[str, Any],
    copy: Mapping[str, Any],
    played: Mapping[str, Episodes],
    new: NewCopy,
    stay: np.ndarray,
) -> str:
    places = len(new.texts) + len(stay)
    return (
        f"{copy['summary']} New copy then competed with the log's for the "
        f"{int(config['creatives']['per_product'])} places of each product in the catalogue and "
        f"won {len(new.texts)} of {places}, by the training reward. {learned_name(config)} learned "
        f"to deliver the log's best and this catalogue, for {int(config['learn']['steps']):,} "
        "decisions each on simulated users. "
        f"{len(played)} combinations of copy and policy met the same held-out people with the "
        "same luck."
    )
