"""Which saved agents of finished runs can be played again, and which belong together.

Runs that differ in their agent alone meet the same held-out people with the same luck, so that
they form one `Group` with one set of references. Runs with other seeds or other worlds are further
groups of the same task.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from copygym.core.errors import UserError, unknown_name
from copygym.core.files.storage import read_json, understood
from copygym.evaluation.records import TABLE, Records
from copygym.experiments.runs.trust import check_names, read_state
from copygym.experiments.runs.validate import validate
from copygym.experiments.studies.build import learned_name
from copygym.experiments.studies.learning import file_name

#: Jobs whose agents can be played again.
JOBS = ("delivery", "headroom")
#: What serves the runs of other jobs; RUN is the run's folder.
ELSEWHERE = {
    "uplift": "its policies are judged off-policy: copygym ope --log LOG --agent RUN:NAME",
    "campaign": "copygym write --model RUN takes its copywriter",
    "ablation": "copygym write --model RUN takes its copywriter",
    "copywriting": "copygym write --model RUN takes its copywriter",
    "overoptimisation": "copygym write --model RUN takes its copywriter",
    "reward_model": "copygym score --model RUN takes its reward model",
    "peeking": "copygym abtest judges A/B tests",
    "ope_coverage": "copygym ope judges policies on a log",
    "sequential_coverage": "copygym ope --horizon judges policies on a log",
}
OTHERWISE = (
    "copygym report RUN shows its result, copygym evaluate RUN --saved compares its policies"
)
#: Config parts that decide nothing of what is simulated, of the references or of the luck.
_ASIDE = ("agent", "seed", "name", "out", "resume", "overwrite", "publish", "tracker")
#: What a run's config has to hold for its agents to be played.
_NEEDED = {
    "data": ("name",),
    "split": (),
    "users": (),
    "env": ("horizon", "budget"),
    "evaluation": ("users", "episodes", "num_envs", "resamples", "baseline"),
    "references": (),
}
#: Parts of ``evaluation`` that only say how numbers are shown.
_SHOWN = ("timelines", "resamples")


@dataclass(frozen=True)
class Source:
    """A folder with the saved agents of one delivery experiment.

    Attributes:
        name: for tables.
        path: holds ``agents/`` and ``users/``.
        config: of the experiment.
        code: hash of the sources that it ran on.
        order: of its policies in tables.
    """

    name: str
    path: Path
    config: dict[str, Any]
    code: str
    order: tuple[str, ...]

    @property
    def world(self) -> str:
        """The synthetic world's seed; empty for a log that has none."""
        return str((self.config.get("data") or {}).get("seed", ""))

    @property
    def seed(self) -> int:
        """Of the split, the fit and the learning."""
        return int(self.config["seed"])


@dataclass(frozen=True)
class Group:
    """Sources that differ in their agent alone.

    Attributes:
        sources: the first one's references are played.
        agents: policy -> its folder, in the order of tables.
        learned: those among them that are the runs' own.
        task: what the group's config has that others' have not; empty where there is one task.
    """

    sources: tuple[Source, ...]
    agents: dict[str, Path]
    learned: tuple[str, ...]
    task: str


def sources_of(folder: Path) -> list[Source]:
    """Return the sources of a run, or of all runs of a multirun's folder.

    Raises:
        UserError: no such folder, no run in it, one that has not finished, or one of another job.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give the one that `copygym run` printed.")
    return [_source(run) for run in runs_in(folder)]


def runs_in(folder: Path) -> list[Path]:
    """Return the folder of a run itself, or those of the runs of a multirun.

    Raises:
        UserError: it is neither.
    """
    if (folder / "run.json").exists():
        return [folder]
    runs = sorted(path.parent for path in folder.glob("*/run.json"))
    if not runs:
        raise UserError(f"{folder} holds no copygym run; give the folder that it printed.")
    return runs


def _source(folder: Path) -> Source:
    with understood(folder / "run.json"):
        return _checked(folder)


def _checked(folder: Path) -> Source:
    state = finished_state(folder)
    config = state["config"]
    job = str(config["job"]).rpartition(".")[2]
    if job not in JOBS:
        other = ELSEWHERE.get(job, OTHERWISE).replace("RUN", str(folder))
        raise UserError(
            f"{folder} is a run of {config['name']}, and only those of delivery and headroom "
            f"have agents to play again; {other}."
        )
    # What follows makes the reward that the config describes.
    check_names(config, folder / "run.json")
    validate(config)
    for part, keys in _NEEDED.items():
        held = config.get(part)
        lost = [] if isinstance(held, dict) else [part]
        lost = lost or [f"{part}.{key}" for key in keys if key not in held]
        if lost:
            raise UserError(
                f"{folder / 'run.json'} has no {lost[0]} that could be read: it is damaged; repeat "
                "the run in another folder."
            )
    # A stored config has its keys sorted: the order of tables is that of the records.
    with understood(folder / TABLE):
        order = tuple(Records.read(folder).where(versus=None, segment=None).values("policy"))
    return Source(folder.name, folder, config, str(state["code"]), order)


def finished_state(folder: Path) -> dict[str, Any]:
    """Return the content of ``run.json`` of a finished run, its config `trust.Stored`.

    Raises:
        UserError: the run has not finished, or its files are damaged.
    """
    state = read_state(folder)
    if state["state"] != "finished" or not (folder / "result.json").exists():
        raise UserError(
            f"the run in {folder} has not finished; go on with it by the same `copygym run` "
            f"command with out={folder}."
        )
    read_json(folder / "result.json")
    return state


def groups_of(sources: Sequence[Source]) -> list[Group]:
    """Return the sources in groups that share everything but the agent.

    Raises:
        UserError: a saved agent is missing.
    """
    members: dict[str, list[tuple[Source, str, str]]] = {}
    for member in zip(sources, labels_of(sources), tasks_of(sources), strict=True):
        members.setdefault(meeting(member[0]), []).append(member)
    return [_group(group) for group in members.values()]


def meeting(source: Source) -> str:
    """Return what names the people and the luck that a run's agents met."""
    return _key([setting_of(source.config), source.seed])


def _group(members: Sequence[tuple[Source, str, str]]) -> Group:
    first, _, task = members[0]
    learned: dict[str, Path] = {}
    for source, label, _ in members:
        learned.setdefault(label, _agent_folder(source, learned_name(source.config)))
    agents: dict[str, Path] = {}
    for name in first.order:
        own = name == learned_name(first.config)
        agents |= learned if own else {name: _agent_folder(first, name)}
    return Group(tuple(source for source, _, _ in members), agents, tuple(learned), task)


def _agent_folder(source: Source, name: str) -> Path:
    folder = source.path / "agents" / file_name(name)
    if not (folder / "agent.json").exists():
        raise UserError(f"{folder} is missing, where agent {name} was saved; repeat the run.")
    return folder


def setting_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides what is simulated and what the references are."""
    found = {key: value for key, value in config.items() if key not in _ASIDE}
    shown = config.get("evaluation") or {}
    found["evaluation"] = {k: v for k, v in shown.items() if k not in _SHOWN}
    return found


def _task(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stays the same over the seeds and the worlds of one task."""
    found = setting_of(config)
    data = config.get("data") or {}
    found["data"] = {key: value for key, value in data.items() if key != "seed"}
    return found


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def tasks_of(sources: Sequence[Source]) -> list[str]:
    """Return each source's task: the keys in which it differs from other tasks."""
    tasks = [_task(source.config) for source in sources]
    names = _told_apart(tasks)
    return [names[_key(task)] for task in tasks]


def labels_of(sources: Sequence[Source]) -> list[str]:
    """Return a name for each source's own agent; what differs is added where two share a name.

    A run that is about no agent of its own has an empty one.
    """
    agents: dict[str, list[Any]] = {}
    for source in sources:
        agents.setdefault(_own(source), []).append(source.config.get("agent"))
    names = {own: _told_apart(configs) for own, configs in agents.items()}
    apart = [names[_own(source)][_key(source.config.get("agent"))] for source in sources]
    return [
        own and ", ".join(text for text in (own, difference) if text)
        for own, difference in zip(map(_own, sources), apart, strict=True)
    ]


def _own(source: Source) -> str:
    agent = source.config.get("agent")
    return learned_name(source.config) if isinstance(agent, Mapping) else ""


def _told_apart(configs: Sequence[Any]) -> dict[str, str]:
    """Return for each distinct config (as JSON) up to three KEY=VALUE that tell it from others."""
    flat = {_key(config): _flat(config) for config in configs}
    keys = sorted({key for entry in flat.values() for key in entry})
    differing = [key for key in keys if len({_key(e.get(key)) for e in flat.values()}) > 1]
    if len(flat) == 1:
        return dict.fromkeys(flat, "")
    found = {}
    for number, (name, entry) in enumerate(flat.items(), 1):
        own = [f"{key}={entry[key]}" for key in differing if key in entry]
        found[name] = ", ".join(own[:3]) + (", ..." if len(own) > 3 else "") or f"no. {number}"
    if len(set(found.values())) < len(found):
        # The first keys are not enough.
        return {name: f"no. {n}: {text}" for n, (name, text) in enumerate(found.items(), 1)}
    return found


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {
            key: entry
            for part, inner in value.items()
            for key, entry in _flat(inner, f"{prefix}.{part}" if prefix else str(part)).items()
        }
    return {prefix: value}


def chosen(groups: Sequence[Group], wanted: Sequence[str], baseline: str | None) -> list[Group]:
    """Return the groups with the wanted agents, their baseline and the upper reference only.

    Args:
        groups: what to choose from.
        wanted: names as tables show them, as folders have them, or of an agent alone; none: all.
        baseline: name of the baseline; None: each run's own.

    Raises:
        UserError: a name that no group has, or a group without its baseline.
    """
    known = list(dict.fromkeys(name for group in groups for name in group.agents))
    names = {found for name in wanted for found in _matching(name, known)}
    found = []
    for group in groups:
        base = baseline_of(group, baseline)
        keep = names | {base, "upper"} if wanted else set(group.agents)
        found.append(
            replace(
                group,
                agents={name: path for name, path in group.agents.items() if name in keep},
                learned=tuple(name for name in group.learned if name in keep),
            )
        )
    bases = {baseline_of(group, baseline) for group in groups}
    if len(bases) > 1:
        raise UserError(
            f"the runs have different baselines ({', '.join(sorted(bases))}); name one of them "
            "by --baseline."
        )
    return found


def baseline_of(group: Group, baseline: str | None) -> str:
    """Return the policy of a group from which differences are taken.

    Args:
        group: of runs.
        baseline: its name; None: the runs' own.

    Raises:
        UserError: the group has no such policy.
    """
    name = str(baseline or group.sources[0].config["evaluation"]["baseline"])
    return _matching(name, list(group.agents), "baseline")[0]


def _matching(name: str, known: list[str], what: str = "agent") -> list[str]:
    """Return the policies of a name; several agents may differ in their options alone."""
    if name in known:
        return [name]
    found = [one for one in known if name in (file_name(one), one.partition(" (learned)")[0])]
    if not found:
        raise unknown_name(what, name, known)
    return found
