"""Study E10: what does privacy cost?

One click model learns from the same people centrally and federated, as it is and under
differential privacy for whole people at several budgets, and from fewer people. Held-out people
judge; an attacker tries to tell from a person's loss whether they were learned from. A seed is all
of it anew: in storefront another world, elsewhere another split of the log.

Records: ``learner`` (or a reference), ``epsilon`` (null without privacy) and ``people`` (null for
all of the training part), and what it is worth (``auc``, ``log_loss``, ...), costs (``auc_lost``,
``epsilon_spent``, ``noise`` in clips) and gives away (``attack_auc``, ``attack_bound``); ``auc`` of
some by ``round``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from scipy.special import expit

from copygym.core.errors import UserError
from copygym.core.progress import progress
from copygym.core.scores import auc_counts, expected_calibration_error, log_loss_counts, log_losses
from copygym.core.seeds import derived_seed
from copygym.envs.simulator.population import align_to_catalogue
from copygym.envs.simulator.response.design import Counts
from copygym.envs.simulator.response.model import make_response
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.data import load_log, same_data, seen, split_shares
from copygym.experiments.studies.learning import file_name
from copygym.experiments.studies.people import has_truth, true_world, whole_catalogue
from copygym.experiments.studies.privacy.privacy_report import CENTRAL, FEDERATED, report
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers
from copygym.rewards.private.budget import epsilon_spent, largest_attack_auc, noise_for
from copygym.rewards.private.data import PrivateData, UserRows, people_encoder, private_data
from copygym.rewards.private.training import ClickModel, PrivateOptions, train

__all__ = ["check", "report", "seed_records"]

TRUTH = "the truth, everybody rested"
USUAL = "logistic response model"
BASE = "click rate alone"

_ONE_SEED = (
    "there is one seed of the split, the rounds and the noise: nothing here says how much of it is "
    "luck."
)
_OVER_SEEDS = (
    "intervals are over {{count}} {unit}, each with one seed of its split, its rounds and its "
    "noise; they do not cover other settings of a learner than those of the config file, which "
    "says where they were chosen; no budget covers that choice."
)
_ASSUMPTIONS = (
    "the budget protects a person's rows and profile in the weights of one released model. The "
    "number of people, the sender's creatives, channels and slots, and the declared levels of "
    "profiles count as public.",
    "the numbers of this page are measured on the log without noise; no budget covers them.",
    "the noise comes from a seeded generator, so that the run repeats: whoever knows the seed can "
    "take it off again.",
    "the attack is one threshold on a person's loss; a better one may find more, up to the bound.",
)


@dataclass(frozen=True)
class Setting:
    """One way to learn.

    Attributes:
        learner: central or federated, perhaps clipped or with fewer rounds.
        options: of the training, noise included.
        epsilon: of the budget; None for no privacy.
        people: how many to learn from; None: all of the training part.
    """

    learner: str
    options: PrivateOptions
    epsilon: float | None = None
    people: int | None = None

    @property
    def name(self) -> str:
        """The setting in one line, for stages and progress bars."""
        people = "" if self.people is None else f", {self.people:,} people"
        return f"{self.learner}{people}{_budget(self.epsilon)}"

    @property
    def cell(self) -> dict[str, Any]:
        """Its columns in the records."""
        epsilon = None if self.epsilon is None else float(self.epsilon)
        return {"learner": self.learner, "epsilon": epsilon, "people": self.people}


def _budget(epsilon: float | None) -> str:
    return "" if epsilon is None else f", epsilon {epsilon:g}"


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    privacy = config["privacy"]
    if config["few"]["people"] and config["few"]["epsilon"] not in privacy["epsilons"]:
        raise UserError(
            f"few.epsilon={config['few']['epsilon']} is not among privacy.epsilons="
            f"{privacy['epsilons']}: choose one of them."
        )
    settings(config, {str(e): {"noise": 1.0} for e in privacy["epsilons"]})
    ClickModel(1, 1, start_rate=config["training"]["start_rate"])
    people_encoder(config["features"]["people"])


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return the records of one world, or of one split of a log.

    Config keys: ``split``, ``features`` (of `private_data`), ``training`` (of `PrivateOptions`,
    and ``start_rate``), ``central`` and ``federated`` (what they have beyond it), ``privacy``
    (``epsilons``, ``delta``, ``accountant``), ``few`` (``people``, ``epsilon``) and
    ``evaluation`` (``resamples``, ``every``: rounds between two points of a curve).
    """
    noise = folder.stage("noise", lambda: Record(_noise(config))).values
    chosen = settings(config, noise)
    log = load_log(config["data"])
    described = same_data(folder, log)
    shares = split_shares(config)
    learn = shares["train"] / sum(shares.values())
    parts = log.split_by_user(
        {"train": learn, "test": 1.0 - learn}, derived_seed(config["seed"], "split")
    )
    data = private_data(
        parts["train"], parts["test"], whole_catalogue(log, config), **config["features"]
    )
    delta = float(config["privacy"]["delta"])
    _check_delta(delta, len(data.train))
    truth = _truth(data, config) if has_truth(config) else None
    rows = Rows(int(config["seed"]))
    found = [
        _learned_values(setting, data, truth, config, folder)
        for setting in progress(chosen, what="learn", unit="setting")
    ]
    best = next(
        record["values"]["auc"]
        for setting, record in zip(chosen, found, strict=True)
        if setting.name == CENTRAL
    )

    def add(values: Mapping[str, float], cell: Mapping[str, Any]) -> None:
        rows.add_all({**values, "auc_lost": best - values["auc"]}, **cell)

    for name, values in _references(data, truth).items():
        add(values, {"learner": name})
    for setting, record in zip(chosen, found, strict=True):
        add(record["values"], setting.cell)
        if setting.epsilon is not None:
            spent = noise[str(setting.epsilon)]["spent"]
            rows.add("epsilon_spent", spent, **setting.cell)
            rows.add("noise", setting.options.noise, **setting.cell)
            bound = largest_attack_auc(setting.epsilon, delta)
            rows.add("attack_bound", bound, **setting.cell)
        for done, auc in record["curve"].items():
            rows.add("auc", auc, **setting.cell, round=int(done))
            trackers.log("rounds", {f"{setting.name}/auc": auc}, int(done))
    in_world = has_truth(config)
    unit = "worlds" if in_world else "splits of one log"
    told = about(
        config,
        {
            "data": described,
            "rows_seen": {name: seen(part.sends()) for name, part in parts.items()},
            "notes": list(log.notes),
            "assumptions": list(_ASSUMPTIONS),
        },
        synthetic=in_world,
        one_seed=_ONE_SEED,
        over_seeds=_OVER_SEEDS.format(unit=unit),
        log=str(config["data"]["name"]),
        unit=unit,
        delta=delta,
        accountant=str(config["privacy"]["accountant"]),
        people={"train": len(data.train), "test": len(data.test)},
        sample_rate=float(config["training"]["sample_rate"]),
        parameters=(1 + data.train.cells_ME.shape[1]) * (1 + data.train.people_UP.shape[1]),
        local_steps={s.learner: s.options.local_steps for s in chosen},
    )
    return Records(rows.frame, {rows.seed: told})


def _noise(config: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return epsilon -> ``noise`` in clips and the epsilon that it ``spent``."""
    privacy, training = config["privacy"], config["training"]
    rounds = float(training["sample_rate"]), int(training["rounds"]), str(privacy["accountant"])
    delta, found = float(privacy["delta"]), {}
    for epsilon in progress(privacy["epsilons"], what="noise", unit="budget"):
        noise, spent = _noise_of(float(epsilon), delta, *rounds)
        found[str(epsilon)] = {"noise": noise, "spent": spent}
    return found


@lru_cache
def _noise_of(
    epsilon: float, delta: float, sample_rate: float, rounds: int, accountant: str
) -> tuple[float, float]:
    """Return noise and the epsilon that it spends; the seeds of a multirun share them."""
    noise = noise_for(epsilon, delta, sample_rate, rounds, accountant)
    return noise, epsilon_spent(noise, delta, sample_rate, rounds, accountant)


def settings(
    config: Mapping[str, Any], noise: Mapping[str, Mapping[str, float]]
) -> tuple[Setting, ...]:
    """Return every way to learn, in the order of tables.

    Args:
        config: of the run.
        noise: epsilon -> ``noise`` in clips.
    """
    training = {key: value for key, value in config["training"].items() if key != "start_rate"}
    central = PrivateOptions(**training, **config["central"])
    federated = PrivateOptions(**training, **config["federated"])
    found = [
        Setting(CENTRAL, replace(central, clip=None)),
        Setting("central, clipped", central),
        Setting(FEDERATED, replace(federated, clip=None)),
        Setting(
            "federated, equal passes",
            replace(federated, clip=None, rounds=max(1, federated.rounds // federated.local_steps)),
        ),
    ]
    for kind, options in ((CENTRAL, central), (FEDERATED, federated)):
        found += [
            Setting(kind, replace(options, noise=noise[str(e)]["noise"]), e)
            for e in config["privacy"]["epsilons"]
        ]
    epsilon = config["few"]["epsilon"]
    for people in config["few"]["people"]:
        private = replace(central, noise=noise[str(epsilon)]["noise"])
        found += [
            Setting(CENTRAL, replace(central, clip=None), None, people),
            Setting(CENTRAL, private, epsilon, people),
        ]
    return tuple(found)


def _check_delta(delta: float, people: int) -> None:
    if delta * people >= 1:
        raise UserError(
            f"privacy.delta={delta} of {people} people allows to leak somebody whole; give one "
            f"below {1 / people:.2g}."
        )


def _learned_values(
    setting: Setting,
    data: PrivateData,
    truth: np.ndarray | None,
    config: Mapping[str, Any],
    folder: RunFolder,
) -> dict[str, Any]:
    """Return ``values`` and ``curve`` of a setting, from its stage."""
    if setting.people is not None and setting.people > len(data.train):
        raise UserError(
            f"few.people: {setting.people} is more than the {len(data.train)} people of the "
            "training part; give fewer."
        )
    stage = f"settings/{file_name(setting.name)}"
    return folder.stage(stage, partial(_learned, setting, data, truth, config)).values


def _learned(
    setting: Setting, data: PrivateData, truth: np.ndarray | None, config: Mapping[str, Any]
) -> Record:
    """Return a setting's values, and its AUC by round where it is neither private nor of few."""
    rows = data.train
    if setting.people is not None:
        rng = np.random.default_rng(derived_seed(config["seed"], "few"))
        some = rng.permutation(len(rows))[: setting.people]
        rows = rows.take(torch.from_numpy(np.sort(some)))
    start = float(config["training"]["start_rate"])
    model = ClickModel(rows.cells_ME.shape[1], rows.people_UP.shape[1], start_rate=start)
    every, curve = int(config["evaluation"]["every"]), {}

    def on_round(done: int) -> None:
        if done % every == 0:
            curve[str(done)] = _auc(model.logits(data.test), data.test)

    # The same people take part in the same rounds in every setting.
    train(
        model,
        rows,
        setting.options,
        seed=derived_seed(config["seed"], "learn"),
        on_round=on_round if setting.name in (CENTRAL, FEDERATED) else None,
    )
    return Record({"values": judged(model.logits, rows, data.test, truth), "curve": curve})


def judged(
    logits: Callable[[UserRows], np.ndarray],
    members: UserRows,
    others: UserRows,
    truth: np.ndarray | None = None,
) -> dict[str, float]:
    """Return what a model is worth to people whom it has not seen, and what it tells of the others.

    Args:
        logits: of the rows of some people, (U, T).
        members: whom it was learned from.
        others: whom it was not.
        truth: (N,) true logits of the others' rows, in the order of `UserRows.flat`.
    """
    rows_UT = {"members": logits(members), "others": logits(others)}
    _, _, n_N, k_N = others.flat()
    shown = others.impressions_UT.numpy() > 0
    logit_N = rows_UT["others"][shown]
    p_N = np.clip(expit(logit_N), 1e-9, 1 - 1e-9)
    values = {
        "auc": auc_counts(logit_N, n_N, k_N),
        "log_loss": log_loss_counts(p_N, n_N, k_N),
        "ece": expected_calibration_error(p_N, n_N, k_N),
        "attack_auc": attack_auc(
            user_losses(rows_UT["members"], members), user_losses(rows_UT["others"], others)
        ),
    }
    if truth is not None:
        # A model that says the same of everybody agrees with nothing.
        flat = np.ptp(logit_N) < 1e-9
        values["truth_correlation"] = 0.0 if flat else float(np.corrcoef(logit_N, truth)[0, 1])
    return values


def _auc(logit_UT: np.ndarray, rows: UserRows) -> float:
    _, _, n_N, k_N = rows.flat()
    return auc_counts(logit_UT[rows.impressions_UT.numpy() > 0], n_N, k_N)


def user_losses(logit_UT: np.ndarray, rows: UserRows) -> np.ndarray:
    """Return (U,) float64: each person's mean log loss per impression, in nats."""
    user_N, _, n_N, k_N = rows.flat()
    p_N = np.clip(expit(logit_UT[rows.impressions_UT.numpy() > 0]), 1e-9, 1 - 1e-9)
    return np.bincount(user_N, log_losses(p_N, n_N, k_N)) / np.bincount(user_N, n_N)


def attack_auc(members: np.ndarray, others: np.ndarray) -> float:
    """Return the chance that a person learned from has a lower loss than one who was not.

    The threshold attack of Yeom et al. 2018 (arXiv 1709.01604) at all thresholds: 0.5 is a guess.

    Args:
        members: (M,) mean losses of people learned from.
        others: (K,) mean losses of others.
    """
    losses = np.concatenate([members, others])
    return auc_counts(-losses, np.ones(len(losses)), np.arange(len(losses)) < len(members))


# ------------------------------------------------------------------ references


def _references(data: PrivateData, truth: np.ndarray | None) -> dict[str, dict[str, float]]:
    """Return the values of what stands beside the settings."""
    _, _, n_N, k_N = data.train.flat()
    rate = (k_N.sum() + 0.5) / (n_N.sum() + 1.0)

    def base(rows: UserRows) -> np.ndarray:
        return np.full(rows.cell_UT.shape, np.log(rate / (1 - rate)))

    found = {
        BASE: judged(base, data.train, data.test, truth),
        USUAL: judged(usual(data), data.train, data.test, truth),
    }
    if truth is not None:
        true_UT = np.zeros(data.test.cell_UT.shape)
        true_UT[data.test.impressions_UT.numpy() > 0] = truth
        # It was learned from nobody, so that there is nothing to attack.
        found[TRUTH] = judged(lambda _: true_UT, data.test, data.test, truth)
        found[TRUTH]["attack_auc"] = float("nan")
    return found


def usual(data: PrivateData) -> Callable[[UserRows], np.ndarray]:
    """Return the logits of the response model of simulated users, fitted as always.

    It has the same features, crosses them by block and chooses its penalties by the evidence.
    """
    user, cell, n_N, k_N = data.train.flat()
    order = np.lexsort((user, cell))
    columns = (user.astype(np.int32), cell.astype(np.int32), n_N, k_N)
    counts = Counts(data.train.people_UP.numpy(), *(column[order] for column in columns))
    model = make_response("logistic").fit(counts, data.cells, data.sizes)

    def logits(rows: UserRows) -> np.ndarray:
        table_UM = model.table(rows.people_UP.numpy(), data.cells)
        return np.asarray(np.take_along_axis(table_UM, rows.cell_UT.numpy(), axis=1), np.float64)

    return logits


def _truth(data: PrivateData, config: Mapping[str, Any]) -> np.ndarray:
    """Return (N,) true logits of the held-out rows, without the fatigue that nobody can see."""
    world = true_world(config)
    users = world.user_model(users=world.rows_of(data.test.ids))
    table = align_to_catalogue(users, data.catalogue).click_logit
    user, cell, _, _ = data.test.flat()
    return table.reshape(len(table), -1)[user, cell].astype(np.float64)
