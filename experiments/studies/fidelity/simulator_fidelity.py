"""Study E1: are the simulated users like the real ones, where it matters to a policy?

A fidelity card scores a simulator's predictions. This asks what a card cannot tell: whether a
policy that learned in one simulator keeps its promise in others and in the truth (exploit test),
whether simulators rank policies as the log does (rank agreement), and whose clicks they get wrong
(calibration by segment). Users are split in three: one half fits the simulators in which agents
learn (A), one fits those that only judge (B), and the rest are the people on whom all is judged.

Records: ``value`` of each ``policy`` by each ``judge`` (a simulator, the log, the truth) over a
``span`` (an episode or a single decision); ``optimism``, ``gain`` and ``gain_share`` by
``judge``, and ``promised_gain``, of a policy or of all that learned in ``home``, the simulator that
promises (null: of all learned policies), and ``optimism`` about the baseline; the numbers of
`agreement` by ``judge``, ``reference`` and ``span``; those of `group_rates` by ``judge``, ``kind``
and ``segment``, and ``inside_share`` and ``chance_of_worst`` of all user segments or creatives
(``kind``); how much of the log speaks for a policy (``effective_rows``, ``effective_clicks``,
``supported``); each simulator's fidelity card; ``log_rows`` and ``log_clicks``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError, unknown_name
from copygym.core.estimates import RESAMPLES
from copygym.core.seeds import derived_seed
from copygym.evaluation.fidelity.agreement import (
    LEAST_POLICIES,
    Values,
    agreement,
    gain,
    gain_share,
    optimism,
)
from copygym.evaluation.fidelity.judges import LOG, TRUTH, HeldOutDecisions, Simulator
from copygym.evaluation.fidelity.segments import RATES, chance_of_worst
from copygym.evaluation.ope.estimators import ESTIMATORS
from copygym.evaluation.ope.judge import LEAST_ESS, LEAST_EVENTS
from copygym.evaluation.records import Records, Rows
from copygym.experiments.report.evidence import contradictions
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import Policy, given, instantiated
from copygym.experiments.studies.data import PARTS, load_log, same_data, seen, split_shares
from copygym.experiments.studies.fidelity import stages
from copygym.experiments.studies.fidelity.reading import CREATIVES, DECISION, EPISODE, SEGMENTS
from copygym.experiments.studies.fidelity.simulator_fidelity_report import report
from copygym.experiments.studies.learning import ONE_SEED
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog

__all__ = ["check", "report", "seed_records"]

_OVER_WORLDS = (
    "intervals are over {count} worlds, each with one seed of its people, log, split, fit and "
    "learning."
)
_OVER_SPLITS = (
    "intervals are over {count} splits, each with one seed of its fit and learning; all are of the "
    "same log, whose own luck no split can show."
)
_DECISION = (
    "decision by decision, a policy's value is that of its next decision in the states that the "
    "log led to, over the held-out people's rows after the time that profiles are made from."
)
#: What of a fidelity card is recorded.
_CARD = ("fitted_users", "fitted_rows", "log_loss_skill", "auc", "ece", "ece_floor")


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    for part, share in {**dict.fromkeys(PARTS), **split_shares(config)}.items():
        if not share:
            raise UserError(f"split.{part}={share or 0:g}: give a share of users above 0.")
    if not given(config, "simulators"):
        raise UserError("simulators is empty: name at least one, such as logistic.")
    if not given(config, "learners"):
        raise UserError("learners is empty: name at least one agent that learns in a simulator.")
    estimator = config["evaluation"]["estimator"]
    if estimator not in ESTIMATORS or estimator == "dm":
        known = [name for name in ESTIMATORS if name != "dm"]
        raise unknown_name("evaluation.estimator", str(estimator), known)
    references = given(config, "references")
    learners = {name: parts["agent"] for name, parts in given(config, "learners").items()}
    for name, agent in [*references.items(), *learners.items()]:
        Policy(name, agent).make()
    instantiated(config["reward"], "reward")
    baseline = str(config["evaluation"]["baseline"])
    if baseline not in references:
        raise unknown_name("evaluation.baseline", baseline, list(references))


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return the records of one world, or of one split of a log.

    Config keys: ``split`` (train: half A; judge: half B; test: the people who are judged),
    ``simulators`` (name -> options of `fit_users`), ``references`` and ``learners`` (name ->
    ``agent`` and ``steps``, null for ``learn.steps``), ``arms`` (judge every arm for everybody,
    too), ``env``, ``reward``, and of ``evaluation``: ``users``, ``episodes``, ``num_envs``,
    ``resamples``, ``baseline`` (policy), ``estimator``, ``segments``.
    """
    log = load_log(config["data"])
    log.require("user_id", "creative_id", "propensity")
    data = same_data(folder, log)
    parts = log.split_by_user(split_shares(config), derived_seed(config["seed"], "split"))
    rows_seen = folder.stage("split", lambda: Record({k: seen(v) for k, v in parts.items()})).values
    halves = stages.fit_halves(folder, parts, log, config)
    homes = stages.train(folder, trackers, halves, config)
    held_out = stages.judged_decisions(parts["test"], halves, config)
    decided = stages.decide(folder, held_out, homes, halves.people, parts["test"], config)
    rates = stages.calibrate(folder, held_out, halves, parts["test"], config)
    horizon, baseline = int(config["env"]["horizon"]), str(config["evaluation"]["baseline"])
    by_span = {DECISION: decided.values}
    if horizon > 1:
        by_span[EPISODE] = stages.play(folder, homes, halves.people, config)
    main = by_span.get(EPISODE, decided.values)
    learned = {n: home.name for n, home in homes.items() if n not in given(config, "references")}
    simulators = [one.name for one in halves.simulators]
    judges = [j for j in main.judges if j not in {one.name for one in halves.first}]

    rows = Rows(int(config["seed"]))
    _add_values(rows, by_span, learned)
    _add_promises(rows, main, learned, judges, baseline)
    believed = _add_support(rows, decided, believable=not contradictions(log.notes))
    _add_agreement(rows, by_span, believed, simulators)
    _add_rates(rows, rates)
    _add_log(rows, held_out, halves.simulators)
    world = halves.truth is not None
    told = about(
        config,
        {
            "data": {log.name: data},
            "rows_seen": rows_seen,
            "notes": list(log.notes),
            "assumptions": _assumptions(log, halves, horizon),
        },
        synthetic=log.synthetic,
        one_seed=ONE_SEED,
        over_seeds=_OVER_WORLDS if world else _OVER_SPLITS,
        statistics={"default": "mean"},
        within_seed=("segment",),
        # Those of the config are over people; there are fewer seeds to draw from.
        resamples=RESAMPLES,
        log=log.name,
        unit="world" if world else "split",
        baseline=baseline,
        estimator=str(config["evaluation"]["estimator"]),
        horizon=horizon,
        people=len(halves.first[0].people),
        users=len(stages.setting_of(halves.first[0], config).rows)
        if horizon > 1
        else len(halves.first[0].people),
    )
    return Records(rows.frame, {rows.seed: told})


def _add_values(rows: Rows, by_span: Mapping[str, Values], learned: Mapping[str, str]) -> None:
    for span, values in by_span.items():
        for policy in values.policies:
            for judge in values.judges:
                cell = {"policy": policy, "home": learned.get(policy), "judge": judge}
                rows.add("value", values.estimate(policy, judge), **cell, span=span)


def _add_promises(
    rows: Rows, values: Values, learned: Mapping[str, str], judges: Sequence[str], baseline: str
) -> None:
    """Add what simulators promised and judges pay: all policies, by simulator, one by one."""
    homes = list(dict.fromkeys(learned.values()))
    groups: list[tuple[dict[str, str], Mapping[str, str]]] = [({}, learned)]
    for home in homes:
        groups.append(({"home": home}, {p: own for p, own in learned.items() if own == home}))
    groups += [({"policy": p, "home": home}, {p: home}) for p, home in learned.items()]
    for cell, members in groups:
        rows.add("promised_gain", gain(values, members, baseline, None), **cell)
        for judge in judges:
            own = {**cell, "judge": judge}
            rows.add("gain", gain(values, members, baseline, judge), **own)
            rows.add("optimism", optimism(values, members, judge), **own)
            rows.add("gain_share", gain_share(values, members, baseline, judge), **own)
    # What learned nothing has nothing to exploit: its optimism is the simulators' level alone.
    for home in homes:
        for judge in judges:
            level = optimism(values, {baseline: home}, judge)
            rows.add("optimism", level, policy=baseline, home=home, judge=judge)


def _add_support(rows: Rows, decided: stages.Decided, *, believable: bool) -> list[str]:
    """Add how much of the log speaks for each policy; return those for which it is enough.

    Args:
        rows: to add to.
        decided: what the log says.
        believable: False for a log that contradicts itself, which supports nobody.
    """
    enough = []
    for policy, ess, clicks in zip(
        decided.values.policies, decided.rows, decided.clicks, strict=True
    ):
        supported = bool(believable and ess >= LEAST_ESS and clicks >= LEAST_EVENTS)
        numbers = {"effective_rows": ess, "effective_clicks": clicks, "supported": supported}
        rows.add_all(numbers, policy=policy)
        enough += [policy] if supported else []
    return enough


def _add_agreement(
    rows: Rows, by_span: Mapping[str, Values], believed: Sequence[str], simulators: Sequence[str]
) -> None:
    """Add how far every simulator ranks policies as the log and the truth do.

    Args:
        rows: to add to.
        by_span: span -> values.
        believed: policies that the log supports.
        simulators: names.
    """
    decided = by_span[DECISION]
    supported = decided.select(believed)
    sets = [(supported, judge, LOG, DECISION) for judge in simulators]
    if TRUTH in decided.judges:
        few = len(believed) < LEAST_POLICIES
        same = decided if few else supported
        sets += [(same, judge, TRUTH, DECISION) for judge in simulators]
        # The log's own ranking stands beside the simulators', on the policies that it supports.
        sets.append((supported, LOG, TRUTH, DECISION))
        if EPISODE in by_span:
            sets += [(by_span[EPISODE], judge, TRUTH, EPISODE) for judge in simulators]
    for values, judge, reference, span in sets:
        found = agreement(values, judge, reference)
        rows.add_all(found, judge=judge, reference=reference, span=span)


def _add_rates(rows: Rows, rates: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Add simulated and real click rates, and how many of them agree."""
    for judge, groups in rates.items():
        for rate in groups:
            cell = {"judge": judge, "kind": rate["kind"], "segment": rate["segment"]}
            rows.add_all({name: rate[name] for name in RATES}, **cell)
        for kind in (SEGMENTS, CREATIVES):
            own = [rate for rate in groups if (rate["kind"] == "creative") == (kind == CREATIVES)]
            inside = sum(rate["inside"] for rate in own) / len(own) if own else None
            rows.add("inside_share", inside, judge=judge, kind=kind)
            worst = chance_of_worst([rate["z"] for rate in own]) if own else None
            rows.add("chance_of_worst", worst, judge=judge, kind=kind)


def _add_log(rows: Rows, log: HeldOutDecisions, simulators: Sequence[Simulator]) -> None:
    """Add the fidelity cards, and how much was logged."""
    for one in simulators:
        card = one.fitted.fidelity
        rows.add_all({name: getattr(card, name) for name in _CARD}, judge=one.name)
    rows.add("log_rows", len(log))
    rows.add("log_clicks", (log.decisions.rewards * log.decisions.sizes).sum())


def _assumptions(log: ClickLog, halves: stages.Halves, horizon: int) -> list[str]:
    owners: dict[str, list[str]] = {}
    for one in halves.simulators:
        for text in one.fitted.users.assumptions:
            owners.setdefault(text, []).append(one.name)
    sentences = [
        text if len(names) == len(halves.simulators) else f"{', '.join(names)}: {text}"
        for text, names in owners.items()
    ]
    if horizon > 1:
        sentences.append(_DECISION)
        sentences.append("in logged decisions, interests are taken not to have drifted.")
    sentences.append("the propensities are taken as the log gives them.")
    if halves.truth is not None:
        sentences += halves.truth.assumptions
    return [text for text in dict.fromkeys(sentences) if text not in log.notes]
