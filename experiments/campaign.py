"""Experiment: learn what to say and what to send, and judge both against the log (quickstart).

Log -> simulated users and a CTR reward model -> a copywriter (SFT, then the algorithm) -> its best
copies into the catalogue -> a delivery agent on it -> an A/B comparison of copy and policy on
people whom nothing was fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.envs.copyrows import score_copy
from copygym.envs.errors import UserError
from copygym.experiments import copywriting, delivery
from copygym.experiments.campaign_report import main_table, sections
from copygym.experiments.copy_judging import summarise
from copygym.experiments.copy_setting import CopySetting, make_setting
from copygym.experiments.creatives import NewCopy, chosen, with_copy
from copygym.experiments.folder import Record, RunFolder
from copygym.experiments.metrics import policy_metrics, segment_metrics
from copygym.experiments.stages import (
    ONE_SEED,
    derived_seed,
    file_name,
    learned_name,
    play,
    policies,
)
from copygym.experiments.tracking import Trackers

if TYPE_CHECKING:
    from copygym.envs.users import UserModel
    from copygym.experiments.evaluate import Setting
    from copygym.experiments.metrics import Episodes

__all__ = ["main_table", "run", "sections"]

#: The two catalogues that are compared: the log's best creatives, and these with the new ones.
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
            f"job=copygym.experiments.campaign needs a log with users and a known truth; "
            f"{setting.log.name} has none: use experiment=upworthy_rlpf for tests of copy."
        )
    seed = int(config["seed"])
    based = copywriting.with_base(config, folder, setting)
    written = copywriting.write_all(based, folder, trackers, setting, seed)
    copy = summarise(config, setting, {seed: written})
    kept = logged_creatives(setting, int(config["creatives"]["per_product"]))
    with copywriting.torch_threads(int(config["copywriter"].get("threads", 1))):
        new = new_creatives(based, folder, trackers, setting, algorithm)
    sides = {
        LOGGED: (chosen(setting.readers, kept), chosen(setting.gold_users, kept)),
        WRITTEN: (
            with_copy(setting.readers, new, kept),
            with_copy(setting.gold_users, new, kept),
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
        "summary": _summary(config, setting, copy, played),
        "copy": copy,
        "creatives": _shown(setting, kept, new),
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


def logged_creatives(setting: CopySetting, per_product: int) -> np.ndarray:
    """Return the logged creatives that the proxy's people clicked most often, by product."""
    catalogue = setting.readers.catalogue
    tables = 1.0 / (1.0 + np.exp(-setting.readers.click_logit[:, :, 1:].astype(np.float64)))
    by_creative = tables.mean(axis=(0, 1)).reshape(catalogue.n_creatives, -1).mean(axis=1)
    return _best_by_product(np.array(catalogue.product_ids), by_creative, per_product)


def new_creatives(
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    setting: CopySetting,
    algorithm: str,
    stage: str = "creatives",
) -> NewCopy:
    """Return the written copies that the training reward likes best, by product.

    Args:
        config: as for `run`, with a base copywriter.
        folder: of the copywriter's stages.
        trackers: get the learning curve.
        setting: tasks and rewards.
        algorithm: who writes, a key of the config's ``algorithms``.
        stage: that keeps the choice; one for each algorithm.
    """
    options = config["creatives"]
    seed = int(config["seed"])

    def compute() -> Record:
        writer, _ = copywriting.improved_writer(config, folder, trackers, setting, seed, algorithm)
        rows = _candidate_tasks(setting, int(options["candidates"]), derived_seed(seed, "briefs"))
        texts = writer.write(
            rows,
            seed=derived_seed(seed, "candidates"),
            temperature=float(config["evaluation"]["temperature"]),
            top_p=float(config["evaluation"]["top_p"]),
        )
        # Every distinct text is asked of the same readers of its product, not of its own only.
        scores = np.zeros(len(texts))
        for product in dict.fromkeys(rows.products):
            own = [i for i, name in enumerate(rows.products) if name == product]
            distinct = list(dict.fromkeys(texts[i] for i in own))
            audience = rows.take([own[j % len(own)] for j in range(len(own))])
            value = {
                text: float(score_copy(setting.reward, [text] * len(own), audience)[0].mean())
                for text in distinct
            }
            for i in own:
                scores[i] = value[texts[i]]
        first = np.array([texts.index(text) == i for i, text in enumerate(texts)])
        scores[~first] = -np.inf
        best = _best_by_product(np.array(rows.products), scores, int(options["per_product"]))
        return Record(
            {"texts": [texts[i] for i in best]}, {"source": rows.creative[best].astype(np.int64)}
        )

    record = folder.stage(stage, compute)
    source = record.arrays["source"]
    products = [setting.readers.catalogue.product_ids[k] for k in source]
    names = tuple(f"{product}-new-{i}" for i, product in enumerate(products, 1))
    return NewCopy(names, tuple(record.values["texts"]), source)


def _candidate_tasks(setting: CopySetting, per_product: int, seed: int) -> Any:
    """Return ``per_product`` tasks of every product for readers drawn at random."""
    from copygym.envs.copyrows import copy_rows

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


def _best_by_product(products: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """Return (K',) int64 rows with the highest scores of each product, best first."""
    best = []
    for product in dict.fromkeys(products.tolist()):
        own = np.flatnonzero((products == product) & np.isfinite(scores))
        best.append(own[np.argsort(-scores[own], kind="stable")][:count])
    return np.concatenate(best)


def _shown(setting: CopySetting, kept: np.ndarray, new: NewCopy) -> list[dict[str, str]]:
    """Return both sides' creatives for the report."""
    catalogue = setting.readers.catalogue
    logged = [
        {"product": catalogue.product_ids[k], "side": LOGGED, "text": catalogue.texts[k]}
        for k in kept
    ]
    return logged + [
        {"product": catalogue.product_ids[k], "side": "new copy", "text": text}
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
    setting: CopySetting,
    copy: Mapping[str, Any],
    played: Mapping[str, Episodes],
) -> str:
    return (
        f"{copy['summary']} The best {int(config['creatives']['per_product'])} new copies of each "
        f"product then joined the log's best in the catalogue, and {learned_name(config)} learned "
        f"to deliver without and with them, for {int(config['learn']['steps']):,} decisions each "
        "on simulated users. "
        f"{len(played)} combinations of copy and policy met the same held-out people with the "
        "same luck."
    )
