"""What a study is: a check, the records of one seed, and a report that reads records alone.

A study is data plus a function that scores it. It knows nothing of several seeds: a seed is a job
of its own, which a multirun starts and resumes, and the records of all are joined before they are
reported. It is any object with the three functions of `Study`; ours are modules, and a config
names one as ``job``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from copygym.core.estimates import RESAMPLES
from copygym.evaluation.records import Records
from copygym.experiments.report.page import Report
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.tracking.base import Trackers


class Study(Protocol):
    """An experiment that ``copygym run`` can run."""

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise `UserError` for a mistake in the config that would else be found after minutes."""
        ...

    def seed_records(
        self, config: dict[str, Any], folder: RunFolder, trackers: Trackers
    ) -> Records:
        """Return the records of the config's ``seed``.

        Args:
            config: resolved, JSON types.
            folder: of the run; finished stages in it are read, not computed.
            trackers: get learning curves.
        """
        ...

    def report(self, records: Records) -> Report:
        """Return what records of one seed or more say; nothing else is read."""
        ...


def about(
    config: Mapping[str, Any],
    origin: Mapping[str, Any],
    *,
    synthetic: bool,
    one_seed: str = "",
    over_seeds: str = "",
    statistics: Mapping[str, str] | None = None,
    within_seed: Sequence[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """Return what a seed's numbers rest on, for `Records.about`.

    Args:
        config: of the run; its dataset names the data.
        origin: ``data`` (``sha256`` and ``rows`` of the log, or such a mapping for each log),
            ``rows_seen``, ``notes`` and ``assumptions``.
        synthetic: whether the people are made up.
        one_seed: what the report of a single seed says of its intervals, among the assumptions.
        over_seeds: the same of several; ``{count}`` in it becomes their number.
        statistics: metric -> how its seeds are taken together, where it is not the interquartile
            mean.
        within_seed: columns whose rows are not taken together over seeds.
        more: whatever else the report shows, JSON types.
    """
    data = dict(origin.get("data") or {})
    if "sha256" in data:
        data = {str(config["data"]["name"]): data}
    return {
        "data": data,
        "rows_seen": dict(origin.get("rows_seen") or {}),
        "notes": list(origin.get("notes") or ()),
        "assumptions": list(origin.get("assumptions") or ()),
        "synthetic": synthetic,
        "one_seed": one_seed,
        "over_seeds": over_seeds,
        "statistics": dict(statistics or {}),
        "within_seed": list(within_seed),
        "resamples": int((config.get("evaluation") or {}).get("resamples") or RESAMPLES),
        **more,
    }
