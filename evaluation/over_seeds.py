"""Values over seeds: one number of each cell of a table, with its bootstrap interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from copygym.core.errors import UserError
from copygym.core.estimates import with_interval
from copygym.evaluation.aggregate import STATISTICS, bootstrap

if TYPE_CHECKING:
    import polars as pl

#: Scores whose resamples are held at a time.
_CELLS = 64


def over_seeds(
    frame: pl.DataFrame,
    keys: Sequence[str],
    statistic: str,
    own: Mapping[str, str],
    resamples: int,
    seed: int,
) -> pl.DataFrame:
    """Return one row for each combination of ``keys``: a statistic over seeds with its interval.

    All cells share the draws, so that numbers of the same seeds stay paired. A cell that is no
    number in one seed (the CTR of a policy that sent nothing) is none over all.

    Args:
        frame: columns ``seed``, ``keys`` (``metric`` among them) and ``value``.
        keys: what tells numbers apart.
        statistic: a name in `aggregate.STATISTICS`.
        own: metric -> its statistic, where it has another.
        resamples: of the bootstrap over seeds.
        seed: of the draws.

    Returns:
        ``keys``, ``value``, ``low``, ``high``, in the order in which cells first come.

    Raises:
        UserError: a cell lacks a seed that others have, or has one twice.
    """
    import polars as pl

    seeds = sorted(frame["seed"].unique().to_list())
    grouped = (
        frame.sort("seed", maintain_order=True)
        .group_by(keys, maintain_order=True)
        .agg(pl.col("seed"), pl.col("value"))
    )
    order = frame.select(keys).unique(maintain_order=True)
    grouped = order.join(grouped, on=keys, how="left", nulls_equal=True, maintain_order="left")
    for row in grouped.filter(pl.col("seed") != pl.lit(seeds, dtype=pl.List(pl.Int64))).iter_rows(
        named=True
    ):
        cell = ", ".join(f"{key}={row[key]}" for key in keys if row[key] is not None)
        lacking = sorted(set(seeds) - set(row["seed"]))
        if lacking:
            raise UserError(
                f"the records of {cell} lack seed {lacking[0]}, which others have: run that seed "
                "again, or leave it out of all."
            )
        raise UserError(f"the records of {cell} have a seed twice: leave one of them out.")
    values = np.array(grouped["value"].to_list(), dtype=np.float64).reshape(len(order), len(seeds))
    names = [own.get(metric, statistic) for metric in grouped["metric"]]
    found = np.full((len(order), 3), np.nan)
    whole = np.isfinite(values).all(axis=1)
    for name in dict.fromkeys(names):
        rows = np.flatnonzero(whole & np.array([other == name for other in names]))
        for start in range(0, len(rows), _CELLS):
            part = rows[start : start + _CELLS]
            found[part] = _estimates(values[part], name, resamples, seed)
    numbers = {
        name: pl.Series(found[:, i], nan_to_null=True)
        for i, name in enumerate(("value", "low", "high"))
    }
    return order.with_columns(**numbers)


def _estimates(values_CS: np.ndarray, name: str, resamples: int, seed: int) -> np.ndarray:
    """Return (C, 3) value, low and high of C cells over S seeds, all from the same draws."""
    statistic = STATISTICS[name]
    # Only which seeds are drawn depends on the generator, so one matrix of draws serves all cells.
    places = np.arange(values_CS.shape[1], dtype=np.float64)[:, None]
    drawn = bootstrap(
        lambda samples: samples[..., 0].astype(np.intp), places, resamples=resamples, seed=seed
    )
    spread_NC = np.stack([statistic(row[drawn][..., None]) for row in values_CS], axis=-1)
    return np.array(
        [
            with_interval(float(statistic(row[:, None])), spread_NC[:, i])
            for i, row in enumerate(values_CS)
        ]
    )
