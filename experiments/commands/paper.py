"""The paper's experiments: what each asks, costs and expects.

``conf/paper/NAME.yaml`` makes ``conf/experiment/NAME.yaml`` a part of a paper experiment:

    id: E5
    question: which agent delivers best?
    minutes: 35          # CPU minutes of one run; null where nobody has measured them
    data: hillstrom      # a dataset that must be there; absent for synthetic worlds
    with: {KEY: VALUE}   # further overrides, where the experiment must not have them itself
    expected:
      - name: what should hold
        value: {metric: ctr, agent: ppo}   # one number of the records over all seeds
        above: 0         # or below, or within: [LOW, HIGH]; a number, or a place like value
        source: who says so

No run reads these files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from copygym.core.errors import UserError, unknown_name
from copygym.evaluation.records import Records
from copygym.experiments.report.tables import Table, interval

_RELATIONS = ("above", "below", "within")
#: Verdicts on a check.
HOLDS, UNCLEAR, FAILS, MISSING = "yes", "not clearly", "no", "no number"


@dataclass(frozen=True)
class Check:
    """Something that a result is expected to show.

    Attributes:
        name: a sentence.
        value: where the number stands: ``metric`` and values of compared columns.
        relation: above, below or within.
        bound: a number, a place like ``value``, or for within a pair of numbers.
        source: who expects it.
    """

    name: str
    value: Any
    relation: str
    bound: Any
    source: str


@dataclass(frozen=True)
class Job:
    """One run of a paper experiment.

    Attributes:
        experiment: its file in ``conf/experiment``, without the ending.
        id: of the paper experiment, such as E5.
        question: that it answers.
        minutes: CPU minutes that it takes; None: not measured.
        data: dataset that it needs; None: synthetic.
        overrides: config key -> value.
        expected: what it should show.
    """

    experiment: str
    id: str
    question: str
    minutes: float | None
    data: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    expected: tuple[Check, ...] = ()

    @property
    def folder(self) -> str:
        """Name of its published results: E1, E1_hillstrom."""
        head = self.experiment[: len(self.id)]
        return self.id + (self.experiment[len(self.id) :] if head == self.id.lower() else "")


def jobs() -> list[Job]:
    """Return all jobs, E1 first.

    Raises:
        UserError: a file is wrong.
    """
    from omegaconf import OmegaConf

    found = []
    for path in files("copygym.conf").joinpath("paper").iterdir():
        if not path.name.endswith(".yaml"):
            continue
        block = OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8")))
        assert isinstance(block, dict)
        found.append(_job(path.name.removesuffix(".yaml"), block))
    return sorted(found, key=lambda job: (int(job.id[1:]), job.experiment))


def _job(experiment: str, block: Mapping[Any, Any]) -> Job:
    place = f"conf/paper/{experiment}.yaml"
    known = ("id", "question", "minutes", "data", "with", "expected")
    for key in block:
        if key not in known:
            raise unknown_name(f"key of {place}", str(key), list(known))
    for key in ("id", "question", "minutes"):
        if key not in block:
            raise UserError(f"{place}: {key} is missing; add it.")
    if not (str(block["id"]).startswith("E") and str(block["id"])[1:].isdigit()):
        raise UserError(f"{place}: id is {block['id']}; give E and a number, such as E5.")
    return Job(
        experiment=experiment,
        id=str(block["id"]),
        question=str(block["question"]),
        minutes=block["minutes"],
        data=block.get("data"),
        overrides=dict(block.get("with") or {}),
        expected=tuple(_check(place, entry) for entry in block.get("expected") or ()),
    )


def _check(place: str, entry: Mapping[str, Any]) -> Check:
    relations = [key for key in _RELATIONS if key in entry]
    if len(relations) != 1 or not {"name", "value", "source"} <= entry.keys():
        raise UserError(
            f"{place}: expected {entry.get('name', '?')!r} needs name, value, source and one of "
            f"{', '.join(_RELATIONS)}."
        )
    (relation,) = relations
    bound = entry[relation]
    for part in (entry["value"], *(() if isinstance(bound, int | float | list) else (bound,))):
        if not isinstance(part, Mapping) or "metric" not in part:
            raise UserError(
                f"{place}: expected {entry['name']!r} names the place {part!r}; write a metric and "
                "columns of the records, as in {metric: ctr, policy: random}."
            )
    return Check(str(entry["name"]), entry["value"], relation, bound, str(entry["source"]))


def chosen(names: list[str]) -> list[Job]:
    """Return the jobs of the named paper experiments, or of experiment files.

    Args:
        names: such as E5, e5_hillstrom; "all" takes every one.

    Raises:
        UserError: a name that nobody knows.
    """
    every = jobs()
    if "all" in names:
        return every
    found: list[Job] = []
    for name in names:
        fitting = [job for job in every if job.id == name.upper()]
        fitting = fitting or [job for job in every if job.experiment == name.lower()]
        if not fitting:
            ids = dict.fromkeys(job.id for job in every)
            raise UserError(f"unknown paper experiment {name!r}: choose all, {', '.join(ids)}.")
        found += [job for job in fitting if job not in found]
    return found


# ------------------------------------------------------------------ expected against obtained


def verdict(check: Check, records: Records) -> tuple[dict[str, float | None], str]:
    """Return the number obtained, as ``{value, low, high}``, and a verdict.

    A number without an interval holds or does not. With one it holds where the whole interval
    does, and "not clearly" where only the value does.

    Raises:
        UserError: the records have no such place.
    """
    obtained = _number(check.value, records)
    low, high = _bounds(check, records)
    value = obtained["value"]
    if value is None or low is None or high is None:
        return obtained, MISSING
    if not low <= value <= high:
        return obtained, FAILS
    inside = all(e is None or low <= e <= high for e in (obtained["low"], obtained["high"]))
    return obtained, HOLDS if inside else UNCLEAR


def _bounds(check: Check, records: Records) -> tuple[float | None, float | None]:
    infinite = float("inf")
    if check.relation == "within":
        low, high = check.bound
        return float(low), float(high)
    other = check.bound
    bound = float(other) if isinstance(other, int | float) else _number(other, records)["value"]
    return (bound, infinite) if check.relation == "above" else (-infinite, bound)


def _number(place: Mapping[str, Any], records: Records) -> dict[str, float | None]:
    return records.number(**{str(key): value for key, value in place.items()})


def expected_table(job: Job, records: Records, *, judged: bool = True) -> Table:
    """Return expected against obtained of one job.

    Args:
        job: what was run.
        records: of all its seeds.
        judged: False for a tiny run, whose numbers mean nothing.

    Raises:
        UserError: the records have no such place as the job expects something of.
    """
    rows = []
    for check in job.expected:
        obtained, answer = verdict(check, records)
        shown = answer if judged else "-"
        rows.append((check.name, _wanted(check, records), interval(obtained), shown, check.source))
    return Table(("expected", "range", "obtained", "holds", "source"), tuple(rows))


def _wanted(check: Check, records: Records) -> str:
    low, high = _bounds(check, records)
    if check.relation == "within":
        return f"{low:g} to {high:g}"
    bound = low if check.relation == "above" else high
    return f"{check.relation} {'-' if bound is None else format(bound, '.4g')}"
