"""Records: the one tidy table that a study writes, and what can be said of it over seeds.

A record is one number. Its columns say which: ``seed``, whatever the study compares (agent,
reward, users, step, ...), ``metric``, and ``value`` with ``low`` and ``high`` where the number has
an interval of its own. A report filters and draws records; it computes nothing that they lack. The
form is bsuite's (Osband et al. 2020, "Behaviour Suite for Reinforcement Learning"): an experiment
is data plus a function that scores it.

Conventions for columns that studies share: ``policy`` (or ``agent``, ``writer``) names what is
compared; ``versus`` names what a paired difference is taken from and is null for plain values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.estimates import RESAMPLES
from copygym.core.files.storage import check_ends, read_json, understood, write_bytes, write_text
from copygym.core.seeds import derived_seed
from copygym.evaluation.over_seeds import over_seeds

if TYPE_CHECKING:
    import polars as pl

#: Columns of every table of records; all others say what is compared.
NUMBER = ("value", "low", "high")
FIXED = ("seed", "metric", *NUMBER)
#: Files of records in a folder.
TABLE, ABOUT = "records.parquet", "about.json"
#: How a metric's seeds are taken together where a study does not say otherwise.
STATISTIC = "iqm"


class Rows:
    """Collects records of one seed.

    Args:
        seed: that they are of.
        columns: on every record.
    """

    def __init__(self, seed: int, **columns: Any) -> None:
        self.seed = seed
        self._columns = columns
        self._rows: list[dict[str, Any]] = []

    def add(self, metric: str, number: Any, **columns: Any) -> None:
        """Add a record.

        Args:
            metric: its name.
            number: a number, None for none, or an estimate: an `Estimate` or a mapping with
                ``value`` and perhaps ``low`` and ``high``.
            columns: what the number is of; text or a number each.
        """
        value, low, high = _parts(number)
        row = {"seed": self.seed, **self._columns, **columns, "metric": metric}
        self._rows.append(row | {"value": value, "low": low, "high": high})

    def add_all(self, numbers: Mapping[str, Any], **columns: Any) -> None:
        """Add a record for each metric of a mapping."""
        for metric, number in numbers.items():
            self.add(metric, number, **columns)

    def add_lines(
        self, metric: str, x: str, xs: Iterable[Any], numbers: Iterable[Any], **columns: Any
    ) -> None:
        """Add a record for each point of a curve; column ``x`` says where on it."""
        for place, number in zip(xs, numbers, strict=True):
            self.add(metric, number, **columns, **{x: place})

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def frame(self) -> pl.DataFrame:
        """The records as a table: compared columns in the order in which they first came."""
        import polars as pl

        names = dict.fromkeys(name for row in self._rows for name in row)
        compared = [name for name in names if name not in FIXED]
        columns: dict[str, Any] = {
            "seed": pl.Series([r["seed"] for r in self._rows], dtype=pl.Int64)
        }
        for name in compared:
            columns[name] = _column([row.get(name) for row in self._rows])
        columns["metric"] = pl.Series([r["metric"] for r in self._rows], dtype=pl.String)
        for name in NUMBER:
            columns[name] = pl.Series([row[name] for row in self._rows], dtype=pl.Float64)
        return pl.DataFrame(columns)


def _column(values: list[Any]) -> pl.Series:
    """Return what is compared: whole numbers, numbers or text, whatever came first."""
    import polars as pl

    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool}:
        return pl.Series(values, dtype=pl.Boolean)
    if kinds <= {int}:
        return pl.Series(values, dtype=pl.Int64)
    if kinds <= {int, float}:
        return pl.Series([None if v is None else float(v) for v in values], dtype=pl.Float64)
    return pl.Series([None if v is None else str(v) for v in values], dtype=pl.String)


def _parts(number: Any) -> tuple[float | None, float | None, float | None]:
    if number is None:
        return None, None, None
    if hasattr(number, "to_dict"):
        number = number.to_dict()
    if not isinstance(number, Mapping):
        number = {"value": number}
    value, low, high = (_finite(number.get(name)) for name in NUMBER)
    return value, low, high


def _finite(value: Any) -> float | None:
    if value is None or not np.isfinite(value):
        return None
    return float(value)


@dataclass(frozen=True)
class Records:
    """The records of a study for one seed or several.

    Attributes:
        frame: one row a number; columns ``seed`` (Int64), those that are compared, ``metric``
            (String), ``value``, ``low`` and ``high`` (Float64, null where there is no number).
        about: seed -> what its numbers rest on (JSON types): ``data`` (checksums and rows),
            ``rows_seen``, ``notes``, ``assumptions``, ``synthetic``, texts, settings.
            ``statistics`` maps a metric to how its seeds are taken together ("mean" for shares of
            seeds; "default" is for all others, else "iqm"); ``within_seed`` lists columns whose
            rows are of one seed alone (segments, which another seed may not have); ``resamples``
            and ``boot`` (a seed) are the bootstrap's.
    """

    frame: pl.DataFrame
    about: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [name for name in FIXED if name not in self.frame.columns]
        if missing:
            raise UserError(
                f"records have no column {missing[0]}: they need {', '.join(FIXED)} and the "
                "columns that are compared."
            )

    def __repr__(self) -> str:
        return (
            f"Records({self.frame.height} numbers, seeds {list(self.seeds)}, "
            f"by {', '.join(self.compared) or 'metric'})"
        )

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in ascending order."""
        return tuple(sorted(self.frame["seed"].unique().to_list()))

    @property
    def compared(self) -> list[str]:
        """Names of the columns that are compared."""
        return [name for name in self.frame.columns if name not in FIXED]

    @property
    def first(self) -> Mapping[str, Any]:
        """What the numbers of the lowest seed rest on."""
        return self.about[min(self.about)] if self.about else {}

    def values(self, column: str) -> list[Any]:
        """Return what is in a compared column, null aside, in the order of the records."""
        found = self.frame[column].drop_nulls()
        return found.unique(maintain_order=True).to_list()

    def where(self, **conditions: Any) -> Records:
        """Return the records with these values; None asks for null, a list for any of its values.

        Raises:
            UserError: there is no such column.
        """
        return Records(filtered(self.frame, **conditions), self.about)

    @property
    def whole(self) -> Records:
        """The numbers of what text names: no differences, no points along a numeric column."""
        import polars as pl

        aside = [n for n in self.compared if n == "versus" or self.frame[n].dtype != pl.String]
        return Records(filtered(self.frame, **dict.fromkeys(aside)).drop(aside), self.about)

    def only(self, seed: int | None = None) -> Records:
        """Return the records of one seed; None: of the lowest."""
        seed = min(self.seeds) if seed is None else seed
        about = {key: told for key, told in self.about.items() if key == seed}
        return Records(filtered(self.frame, seed=seed), about)

    @cached_property
    def estimates(self) -> pl.DataFrame:
        """The numbers without ``seed``: of one seed its own, of several an estimate over them.

        Raises:
            UserError: a number is there for some seeds only.
        """
        return self.over_seeds()

    def over_seeds(self, statistic: str | None = None) -> pl.DataFrame:
        """Return the numbers of all seeds taken together, intervals by bootstrap over seeds.

        Args:
            statistic: a name in `evaluation.aggregate.STATISTICS`; None: each metric's own.

        Returns:
            The columns of ``frame`` without ``seed``; one seed's numbers stay as they are.

        Raises:
            UserError: a number is there for some seeds only.
        """
        keys = [*self.compared, "metric"]
        if len(self.seeds) < 2:
            return self.frame.drop("seed")
        about = self.first
        own = {} if statistic is not None else dict(about.get("statistics") or {})
        frame = self.frame
        for name in about.get("within_seed") or ():
            frame = filtered(frame, **{name: None})
        return over_seeds(
            frame,
            keys,
            statistic or own.get("default", STATISTIC),
            own,
            int(about.get("resamples") or RESAMPLES),
            int(about.get("boot", derived_seed(0, "bootstrap"))),
        )

    def number(self, metric: str, **cell: Any) -> dict[str, float | None]:
        """Return one number over all seeds, as ``{value, low, high}``.

        Args:
            metric: its name.
            cell: values of compared columns; columns that are not named must not tell numbers
                apart.

        Raises:
            UserError: there is no such number, or there are several.
        """
        return number(self.estimates, metric, **cell)

    def by_seed(self, metric: str, **cell: Any) -> np.ndarray:
        """Return one number of each seed, (S,) float64 in the order of `seeds`; NaN for none."""
        found = filtered(self.frame, metric=metric, **cell).sort("seed")
        if found["seed"].to_list() != list(self.seeds):
            raise UserError(f"{_describe(metric, cell)} is not one number a seed.")
        return found["value"].cast(float).fill_null(np.nan).to_numpy()

    def numbers(self) -> dict[str, float]:
        """Return the plain values over all seeds by name, ``CELL/metric``, for dashboards.

        Differences and points of curves (rows with a number in a compared column) are left out.
        """
        found = {}
        for row in self.estimates.iter_rows(named=True):
            cell = [row[name] for name in self.compared if row[name] is not None]
            if row.get("versus") is None and all(isinstance(part, str) for part in cell):
                found["/".join([*cell, row["metric"]])] = row["value"]
        return found

    def write(self, folder: Path) -> None:
        """Write ``records.parquet`` and ``about.json``, each whole or not at all."""
        import io

        buffer = io.BytesIO()
        self.frame.write_parquet(buffer, statistics=False)
        told = {str(seed): about for seed, about in self.about.items()}
        text = json.dumps(told, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        # First: by it an output of which a kill left half is known for ours.
        write_text(folder / ABOUT, text + "\n")
        write_bytes(folder / TABLE, buffer.getvalue())

    @classmethod
    def read(cls, folder: Path) -> Records:
        """Return the records in a folder.

        Raises:
            UserError: there are none, or they are damaged.
        """
        import polars as pl

        path = folder / TABLE
        check_ends(path)
        if not path.is_file():
            raise UserError(f"{folder} has no {TABLE}: no study has finished there.")
        about = read_json(folder / ABOUT)
        with understood(folder / ABOUT):
            told = {int(seed): dict(entry) for seed, entry in about.items()}
        try:
            frame = pl.read_parquet(path.read_bytes())
        except (Exception, pl.exceptions.PanicException) as error:
            raise _damaged(path, " ".join(str(error).split())[:120]) from None
        _check_types(frame, path)
        return cls(frame, told)


def _check_types(frame: pl.DataFrame, path: Path) -> None:
    """Check that a table from a file, which may be anybody's, has the types of records.

    Raises:
        UserError: a column is missing or of another type, or a row has no seed or metric.
    """
    import polars as pl

    numbers = dict.fromkeys(NUMBER, pl.Float64)
    types = {"seed": pl.Int64, "metric": pl.String, **numbers}
    for name, kind in types.items():
        if frame.schema.get(name) != kind:
            raise _damaged(path, f"its column {name} is {frame.schema.get(name)}, not {kind}")
    for name, found in frame.schema.items():
        if found not in (pl.Boolean, pl.Int64, pl.Float64, pl.String):
            raise _damaged(path, f"its column {name} is {found}, which is no text and no number")
    if not frame.height or frame["seed"].null_count() or frame["metric"].null_count():
        raise _damaged(path, "it has no rows, or rows without a seed or a metric")


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path} is damaged ({why}); delete it and make it again by the same run.")


def joined(parts: Sequence[Records]) -> Records:
    """Return the records of several seeds, or of several runs, as one table.

    Raises:
        UserError: a column holds text in one part and numbers in another.
    """
    import polars as pl

    try:
        frame = pl.concat([part.frame for part in parts], how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        raise UserError(f"records do not fit together: {' '.join(str(error).split())}") from None
    compared = [name for name in frame.columns if name not in FIXED]
    about = {seed: told for part in parts for seed, told in part.about.items()}
    return Records(frame.select("seed", *compared, "metric", *NUMBER), about)


def filtered(frame: pl.DataFrame, **conditions: Any) -> pl.DataFrame:
    """Return the rows of a table of records with these values; None is null, a list any of it.

    Raises:
        UserError: there is no such column.
    """
    import polars as pl

    for name, value in conditions.items():
        if name not in frame.columns:
            if value is None:
                continue
            raise UserError(
                f"records have no column {name!r}: choose among {', '.join(frame.columns)}."
            )
        if value is None:
            frame = frame.filter(pl.col(name).is_null())
        elif isinstance(value, list | tuple):
            frame = frame.filter(pl.col(name).is_in(list(value)))
        else:
            frame = frame.filter(pl.col(name) == value)
    return frame


def number(frame: pl.DataFrame, metric: str, **cell: Any) -> dict[str, float | None]:
    """Return one number of a table without seeds, as ``{value, low, high}``.

    Raises:
        UserError: there is no such number, or there are several.
    """
    found = filtered(frame, metric=metric, **cell)
    if "versus" in frame.columns and "versus" not in cell:
        found = filtered(found, versus=None)
    if found.height != 1:
        said = "there is no number" if not found.height else f"there are {found.height} numbers"
        raise UserError(f"{said} {_describe(metric, cell)} in the records.")
    row = found.row(0, named=True)
    return {name: row[name] for name in NUMBER}


def _describe(metric: str, cell: Mapping[str, Any]) -> str:
    return ", ".join([f"metric={metric}", *(f"{name}={value}" for name, value in cell.items())])


def cells(frame: pl.DataFrame, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the combinations of these columns that a table has, in the order of its rows."""
    yield from frame.select(columns).unique(maintain_order=True).iter_rows(named=True)
