"""Study: learn what to say and what to send, and judge both against the log (quickstart).

Log -> simulated users and a CTR reward model -> a copywriter (SFT, then the algorithm) -> its best
copies into the catalogue -> a delivery agent on it -> an A/B comparison of copy and policy on
people whom nothing was fitted on.

Records: those of the copywriters by ``writer``, and those of delivery by ``policy``, which names
the catalogue and who delivers it; ``places`` of the catalogue, and ``places_won`` by new copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.envs.people.creatives import NewCopy, keep_creatives, with_copy
from copygym.envs.tasks import score_copy
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import learned_name, policies
from copygym.experiments.studies.campaign.campaign_report import report
from copygym.experiments.studies.copy import copywriting
from copygym.experiments.studies.copy.judging import (
    STATISTICS,
    WITHIN_SEED,
    add_writers,
    copy_about,
    copy_origin,
)
from copygym.experiments.studies.copy.setting import CopySetting, make_setting
from copygym.experiments.studies.delivery import delivery
from copygym.experiments.studies.learning import ONE_SEED, file_name, play
from copygym.experiments.studies.people import has_truth
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.envs.people.model import UserModel
    from copygym.envs.tasks import CopyRows
    from copygym.evaluation.metrics import Episodes

__all__ = ["check", "report", "seed_records"]

#: The two catalogues that are compared: the log's best creatives, and the best with new copy.
LOGGED, WRITTEN = "logged copy", "with new copy"
_OVER_SEEDS = (
    "intervals are over {count} seeds, each with its own split, fits, learning and luck in the "
    "same world."
)


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    copywriting.check_writers(config)
    _algorithm(config)
    delivery.check_agents(config)
    if not has_truth(config):
        raise UserError(
            f"a campaign needs a log with users and a known truth; {config['data']['name']} has "
            "none: use experiment=upworthy_rlpf for tests of copy."
        )


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return the records of the whole campaign with one seed.

    Config keys: those of the copywriting study (one algorithm), those of the delivery study, and
    ``creatives`` (``per_product``, ``candidates``).
    """
    algorithm = _algorithm(config)
    setting = make_setting(config, folder)
    assert setting.fitted is not None and setting.gold_users is not None
    rows = Rows(int(config["seed"]))
    based = copywriting.with_base(config, folder, setting)
    written = copywriting.write_all(based, folder, trackers, setting, rows.seed)
    add_writers(rows, config, setting, written, folder)
    kept = logged_creatives(config, setting)
    with copywriting.torch_threads(int(config["copywriter"].get("threads", 1))):
        stay, new = best_creatives(based, folder, trackers, setting, algorithm)
    rows.add("places", len(stay) + len(new.texts))
    rows.add("places_won", len(new.texts))
    sides = {
        LOGGED: (keep_creatives(setting.readers, kept), keep_creatives(setting.gold_users, kept)),
        WRITTEN: (
            with_copy(setting.readers, new, stay),
            with_copy(setting.gold_users, new, stay),
        ),
    }
    done = _deliver(config, folder, trackers, sides)
    baseline = f"{LOGGED}, {config['evaluation']['baseline']}"
    compared = {**config, "evaluation": {**config["evaluation"], "baseline": baseline}}
    delivery.add_policies(rows, compared, done.played)
    delivery.add_segments(rows, compared, done.played, done.segments)
    delivery.add_curves(rows, done.curves)
    facts = about(
        config,
        copy_origin(setting),
        synthetic=setting.log.synthetic,
        one_seed=ONE_SEED,
        over_seeds=_OVER_SEEDS,
        statistics=STATISTICS,
        within_seed=WITHIN_SEED,
        copy=copy_about(config, setting, written),
        creatives=_both_catalogues(setting, kept, stay, new),
        log=setting.log.name,
        algorithm=algorithm,
        agent=learned_name(config),
        learned=f"{WRITTEN}, {learned_name(config)}",
        baseline=baseline,
        upper=None,
        per_product=int(config["creatives"]["per_product"]),
        users=len(done.segments),
        horizon=int(config["env"]["horizon"]),
        steps=int(config["learn"]["steps"]),
        judge=setting.gold_text,
        timelines=done.timelines,
        fidelity=setting.fitted.fidelity.to_dict(),
        segment_by=list(setting.fitted.profile_builder.demographics.segment_columns),
    )
    return Records(rows.frame, {rows.seed: facts})


def _algorithm(config: Mapping[str, Any]) -> str:
    names = list(copywriting.algorithms(config))
    if len(names) != 1:
        raise UserError(
            f"algorithms names {len(names)} ({', '.join(names)}); a campaign uses one copywriter: "
            "set the others to null."
        )
    return names[0]


@dataclass
class _Delivered:
    """What became of both catalogues.

    Attributes:
        played: episodes by catalogue and policy.
        curves: learning curve by catalogue and policy.
        segments: (U,) segment of each person.
        timelines: of some people, under the learned policy with new copy.
    """

    played: dict[str, Episodes] = field(default_factory=dict)
    curves: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    segments: np.ndarray = field(default_factory=lambda: np.array([], np.str_))
    timelines: dict[str, Any] = field(default_factory=dict)


def _deliver(
    config: dict[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    sides: Mapping[str, tuple[UserModel, UserModel]],
) -> _Delivered:
    """Let every policy learn to deliver each catalogue, and play it for the people of the truth.

    Args:
        config: of the run.
        folder: of the run; a catalogue has a child of it.
        trackers: get the learning curves.
        sides: catalogue -> where agents learn, and who judges.
    """
    done = _Delivered()
    for side, (proxy, gold) in sides.items():
        child = folder.child(file_name(side))
        learned = delivery.teach(child, trackers, proxy, config)
        where = delivery.evaluation_setting(gold, config)
        done.segments = gold.profiles.segments[where.rows]
        for name in policies(config):
            label = f"{side}, {name}"
            done.curves[label] = learned[name]
            wanted = int(config["evaluation"]["timelines"])
            wanted = wanted if (side, name) == (WRITTEN, learned_name(config)) else 0
            done.played[label], events = play(name, where, child, "evaluate", wanted)
            if events:
                done.timelines = delivery.shown_timelines(gold, where, events)
    return done


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
        config: as for `seed_records`, with a base copywriter.
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


def _both_catalogues(
    setting: CopySetting, kept: np.ndarray, stay: np.ndarray, new: NewCopy
) -> list[dict[str, str]]:
    """Return both catalogues' creatives and on which side each is, for the report."""
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
