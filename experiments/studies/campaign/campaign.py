"""Study: learn what to say and what to send, and judge both against the log (quickstart).

Log -> simulated users and a CTR reward model -> a copywriter (SFT, then the algorithm) -> its best
copies into the catalogue -> a delivery agent on it -> an A/B comparison of copy and policy on
people whom nothing was fitted on.

Records: those of the copywriters by ``writer``, and those of delivery by ``policy``, which names
the catalogue and who delivers it, with the differences by new copy for each; ``places`` of the
catalogue, ``places_won`` by new copy, and the shares that passed the grounding check: of all that
was written (``passed``) and of what is sent (``sendable``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.files.storage import write_json
from copygym.core.seeds import derived_seed
from copygym.evaluation.metrics import policy_metrics
from copygym.evaluation.records import Records, Rows
from copygym.experiments.plans.saved import CREATIVES, Creatives
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.build import learned_name, policies
from copygym.experiments.studies.campaign.campaign_report import report
from copygym.experiments.studies.campaign.creatives import (
    Places,
    audiences_of,
    cautious,
    logged_places,
    sendable_share,
    written_places,
)
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
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.envs.people.model import UserModel
    from copygym.envs.render import Event
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


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return the records of the whole campaign with one seed.

    Config keys: those of the copywriting study (one algorithm), those of the delivery study, and
    ``creatives`` (``products``, ``per_product``, ``candidates``, ``readers``, ``caution``).
    """
    algorithm = _algorithm(config)
    setting = make_setting(config, folder)
    assert setting.fitted is not None and setting.gold_users is not None
    rows = Rows(int(config["seed"]))
    based = copywriting.with_base(config, folder, setting)
    written = copywriting.write_all(based, folder, trackers, setting, rows.seed)
    add_writers(rows, config, setting, written, folder)
    setting = cautious(config, setting)
    assert setting.fitted is not None
    logged = logged_places(config, setting)
    with copywriting.torch_threads(int(config["copywriter"].get("threads", 1))):
        new = written_places(based, folder, trackers, setting, algorithm)
    rows.add("places", new.choice_AK.size)
    rows.add("places_won", int((new.choice_AK >= setting.readers.catalogue.n_creatives).sum()))
    rows.add("passed", new.passed)
    rows.add("sendable", sendable_share(new, setting.readers.catalogue))
    places = {LOGGED: logged, WRITTEN: new}
    done = _deliver(config, folder, trackers, setting, places)
    baseline = f"{LOGGED}, {config['evaluation']['baseline']}"
    compared = {**config, "evaluation": {**config["evaluation"], "baseline": baseline}}
    delivery.add_policies(rows, compared, done.played)
    _add_gains(rows, compared, done.played)
    delivery.add_segments(rows, compared, done.played, done.segments)
    delivery.add_curves(rows, done.curves)
    facts = about(
        config,
        copy_origin(setting, folder),
        synthetic=setting.log.synthetic,
        one_seed=ONE_SEED,
        over_seeds=_OVER_SEEDS,
        statistics=STATISTICS,
        within_seed=WITHIN_SEED,
        copy=copy_about(config, setting, written),
        creatives=_both_catalogues(setting, logged, new),
        log=setting.log.name,
        algorithm=algorithm,
        agent=learned_name(config),
        learned=f"{WRITTEN}, {learned_name(config)}",
        baseline=baseline,
        upper=None,
        per_product=int(config["creatives"]["per_product"]),
        caution=float(config["creatives"]["caution"]),
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
    setting: CopySetting,
    places: Mapping[str, Places],
) -> _Delivered:
    """Let every policy learn to deliver each catalogue, and play it for the people of the truth.

    Args:
        config: of the run.
        folder: of the run; a catalogue has a child of it.
        trackers: get the learning curves.
        setting: has the users in whom agents learn, and those who judge.
        places: what each catalogue shows.
    """
    done = _Delivered()
    for side, shown in places.items():
        proxy, gold = shown.sides(setting)
        child = folder.child(file_name(side))
        write_json(child.file(CREATIVES), _creatives(setting, shown))
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
                own = _with_own_copy(
                    events, gold, where.rows, shown.texts(setting.readers.catalogue)
                )
                done.timelines = delivery.shown_timelines(gold, where, own)
    return done


def _creatives(setting: CopySetting, places: Places) -> dict[str, Any]:
    """Return the copy of every audience and place, as `copygym deliver` reads it."""
    catalogue = setting.readers.catalogue
    new = places.copy
    known = catalogue.n_creatives
    source = np.concatenate([np.arange(known), new.source if new else np.empty(0, np.int64)])
    ids = np.array([*catalogue.creative_ids, *(new.names if new else ())], dtype=np.str_)
    return Creatives(
        audiences_of(setting.readers),
        source[places.choice_AK],
        ids[places.choice_AK],
        np.array(places.texts(catalogue), dtype=np.str_),
        places.choice_AK >= known,
    ).to_dict()


def _add_gains(rows: Rows, config: Mapping[str, Any], played: Mapping[str, Episodes]) -> None:
    """Add what every policy gains by new copy: differences from the same policy with logged copy.

    That of the baseline is among the policies' differences already.
    """
    options = config["evaluation"]
    for name in policies(config):
        before, after = f"{LOGGED}, {name}", f"{WRITTEN}, {name}"
        if before == options["baseline"]:
            continue
        numbers = policy_metrics(
            {before: played[before], after: played[after]},
            before,
            None,
            int(options["resamples"]),
            derived_seed(config["seed"], "bootstrap"),
        )
        rows.add_all(numbers["differences"][after], policy=after, versus=before)


def _with_own_copy(
    events: list[list[Event]], users: UserModel, rows: np.ndarray, texts: list[list[str]]
) -> list[list[Event]]:
    """Return users' events with the text that their audience saw, of A lists of K' texts."""
    audience = users.profiles.audience
    told = []
    for row, timeline in zip(rows.tolist(), events, strict=False):
        own = texts[0 if audience is None else int(audience[row])]
        told.append([e if e.creative < 0 else e._replace(text=own[e.creative]) for e in timeline])
    return told


def _both_catalogues(setting: CopySetting, logged: Places, written: Places) -> list[dict[str, str]]:
    """Return what every audience sees of every product on both sides, for the report."""
    catalogue = setting.readers.catalogue
    before, after = logged.texts(catalogue), written.texts(catalogue)
    return [
        {
            "product": catalogue.product_ids[creative],
            "audience": audience,
            "before": before[a][place],
            "after": after[a][place],
            "new": "yes" if written.choice_AK[a, place] >= catalogue.n_creatives else "no",
        }
        for a, audience in enumerate(audiences_of(setting.readers))
        for place, creative in enumerate(logged.choice_AK[a].tolist())
    ]
