"""The log of a study: loaded, described, counted, and the same when the study goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError, unknown_name
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.runs.trust import reading

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog


#: Parts of a log by user, in the order in which they are drawn.
PARTS = ("train", "test", "judge")


def load_log(data: Mapping[str, Any]) -> ClickLog:
    """Load the log that the config's ``data`` part describes.

    Args:
        data: ``name`` of the dataset, ``path`` or None, and the loader's options.

    Raises:
        UserError: an unknown name or option, a fault of the log, one with nothing to learn from
            (everything that was sent was clicked), or a path that a synthetic log would be
            written to though nobody made the folder.
    """
    from copygym.experiments.report.evidence import noted

    log = _as_told(data)
    log.require_outcomes()
    return noted(log)


def _as_told(data: Mapping[str, Any]) -> ClickLog:
    """Return the log, whatever it can teach."""
    from copygym.envs.datasets import card, load

    with reading(data):
        synthetic = card(str(data["name"])).synthetic
    path = data.get("path")
    if path is not None and synthetic and not Path(path).exists():
        raise UserError(
            f"data.path={path} does not exist: {data['name']} makes its log itself and keeps it in "
            "that folder, so make it first; for a log of your own add dataset=table."
        )
    options = {key: value for key, value in data.items() if key not in ("name", "path")}
    return load(str(data["name"]), path, **options)


def describe(log: ClickLog) -> dict[str, Any]:
    """Return what the manifest says of a log: checksum and rows."""
    return {"sha256": log.checksum(), "rows": log.height, "synthetic": log.synthetic}


def seen(log: ClickLog) -> dict[str, int]:
    """Return rows, impressions, clicks and (where known) users of a part of a log.

    Where people click while nothing is sent, ``organic`` says how many of the clicks are such.
    """
    import polars as pl

    from copygym.experiments.report.evidence import organic_clicks

    counts = [pl.len().alias("rows"), pl.col("impressions").sum(), pl.col("clicks").sum()]
    for column, name in (("user_id", "users"), ("test_id", "tests")):
        if log.has(column):
            counts.append(pl.col(column).n_unique().alias(name))
    row = log.frame.select(counts).collect(engine="streaming").to_dicts()[0]
    organic = organic_clicks(log)
    extra = {"organic": organic} if organic else {}
    return {key: int(value) for key, value in row.items()} | extra


def same_data(folder: RunFolder, log: ClickLog) -> dict[str, Any]:
    """Store the log's description; a resumed run must find the same log.

    Raises:
        UserError: the file has changed since the run began.
    """
    description = describe(log)
    stored = folder.stage("data", lambda: Record(description)).values
    if stored["sha256"] != description["sha256"]:
        raise UserError(
            f"{log.source or log.name} has changed since this run began; choose another out= or "
            "add overwrite=true."
        )
    return stored


def check_data(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Compare the log with the one that a finished run has used.

    A synthetic log is made from the config, which is equal; a file that was taken away since
    leaves the result as it is.

    Raises:
        UserError: the file has changed, or cannot be read any more.
    """
    from copygym.envs.datasets import card

    data = config.get("data")
    if not data or not folder.has_stage("data") or card(str(data["name"])).synthetic:
        return
    if data.get("path") is not None and not Path(data["path"]).exists():
        return
    same_data(folder, _as_told(data))


def split_shares(config: Mapping[str, Any]) -> dict[str, float]:
    """Return the config's shares of users, in an order that its keys do not decide.

    Who is in which part depends on the order of the parts.

    Raises:
        UserError: there is a part that no experiment knows.
    """
    split = config["split"]
    for name in split:
        if name not in PARTS:
            raise unknown_name("part of split", str(name), list(PARTS))
    return {name: float(split[name]) for name in PARTS if name in split}
