"""Policies to judge off-policy: built-in ones and those in files.

A file says how likely each arm is: for everybody, for each group of rows, or row by row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.tables.files import is_csv, open_table, readable
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.logs.columns import Source, is_text, refuse_types
from copygym.envs.logs.numbers import real, whole
from copygym.evaluation.abtest.file.arms import is_total
from copygym.evaluation.ope.decisions import Decisions, best_fixed
from copygym.evaluation.ope.terms import ActionValues, Grouped, PerRow, check_table

#: Policies that need no file; ``arms`` stands for one policy per arm.
BUILT_IN = ("logging", "uniform", "best_fixed", "arms")
#: Columns of a policy file that say how likely, and of what.
PROBABILITY, ARM = "probability", "arm"
#: Numbers of a stored policy that are checked at once.
_CELLS = 1 << 20


@dataclass(frozen=True)
class Target:
    """A policy over a log's arms.

    Attributes:
        name: for tables.
        weights: (N,) float64 importance weights.
        actions: its probabilities for all arms; None where only those of the logged arms are
            known (then no estimator with a response model can be had).
        outside: mean probability of arms that the log never took.
        outside_arms: some of them.
        logging: True for the logging policy itself.
        note: how it came about, for the report.
        remarks: what was unusual about its file, for the user to read.
    """

    name: str
    weights: np.ndarray
    actions: ActionValues | None
    outside: float = 0.0
    outside_arms: tuple[str, ...] = ()
    logging: bool = False
    note: str = ""
    remarks: tuple[str, ...] = ()


def target(
    log: Decisions,
    name: str,
    actions: ActionValues,
    outside: float = 0.0,
    outside_arms: tuple[str, ...] = (),
    note: str = "",
) -> Target:
    """Return a policy that gives every arm of the log a probability."""
    weights = actions.of_actions(log.actions) / log.propensities
    return Target(name, weights, actions, outside, outside_arms, note=note)


def logging_policy(log: Decisions) -> Target:
    """Return the policy that wrote the log: every weight is 1."""
    return Target("logging", np.ones(len(log)), None, logging=True, note="what was done")


def built_in(log: Decisions, name: str) -> list[Target]:
    """Return the policies of a name in `BUILT_IN`."""
    arms = len(log.arms)
    if name == "logging":
        return [logging_policy(log)]
    if name == "uniform":
        return [target(log, name, Grouped(np.full((1, arms), 1 / arms)), note="all arms alike")]
    if name == "best_fixed":
        note = "one arm for everybody, chosen on the other folds"
        return [target(log, name, best_fixed(log), note=note)]
    return [
        target(log, f"always {arm}", Grouped(np.eye(arms)[[index]]), note="one arm for everybody")
        for index, arm in enumerate(log.arms)
    ]


def policy_file(
    log: Decisions, path: Path, name: str, *, separator: str | None = None, encoding: str = "utf-8"
) -> Target:
    """Return the policy in a file.

    Three forms are read. With a column ``probability`` and a column ``arm`` (or ``creative_id``
    and, if need be, ``channel``): one row per arm, or one per arm and group, where the other
    columns are columns of the log whose values make the group. With ``probability`` alone: one row
    per log row, for the arm that the log took. Else: one row per log row and one column per arm.
    A ``.npy`` file is a fourth, for long logs: rows x arms in the log's order of both, which is
    read block by block and never as a whole. Names that differ in case or blanks alone from those
    that are meant are read as these.

    Args:
        log: the decisions to judge it on.
        path: of the file.
        name: of the policy.
        separator: of the log's file; taken for this one too where its header is split by it.
        encoding: of a CSV without a byte order mark.

    Raises:
        UserError: names file, row or group, and the way out.
    """
    if not path.is_file():
        raise UserError(
            f"{path} does not exist; give a .csv, .parquet or .npy file with the policy's "
            f"probabilities, or one of {', '.join(BUILT_IN)}."
        )
    if path.suffix == ".npy":
        return _table_target(log, path, name)
    opened = open_table(path, separator=separator, encoding=encoding, detect=True)
    with readable(path):
        table = opened.frame.collect()
    refuse_types(table.schema, Source(str(path)))
    if not table.height:
        raise UserError(f"{path} holds a header and no row; write the policy's probabilities.")
    table, renamed = _plain_names(log, table, path)
    found = _policy(log, table, path, name)
    return replace(found, remarks=(*_of(path, opened.notes), *_of(path, renamed), *found.remarks))


def _of(path: Path, notes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(note if path.name in note else f"{path.name}: {note}" for note in notes)


def _plain(name: str) -> str:
    """Return a name without what people write in different ways: case, and blanks around it."""
    return name.strip().casefold()


def _close(name: str, known: Iterable[str], path: Path, of: str) -> str:
    """Return the one of ``known`` names that is meant by ``name``; ``name`` itself if none is.

    Raises:
        UserError: several are meant alike.
    """
    names = list(known)
    if name in names:
        return name
    alike = [one for one in names if _plain(one) == _plain(name)]
    if len(alike) > 1:
        raise UserError(
            f"{path}: {name!r} may be {' or '.join(map(repr, alike))} of the {of}; write it as the "
            f"{of} does."
        )
    return alike[0] if alike else name


def _plain_names(
    log: Decisions, table: pl.DataFrame, path: Path
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the table with its columns called as the log and this module call them."""
    known = [*dict.fromkeys((ARM, PROBABILITY, *log.frame.columns, *log.arms))]
    meant = {column: _close(column, known, path, "log") for column in table.columns}
    changed = {column: name for column, name in meant.items() if column != name}
    if len(set(meant.values())) < len(meant):
        twice = next(n for n in meant.values() if list(meant.values()).count(n) > 1)
        raise UserError(f"{path}, row 1: column {twice!r} is there twice; remove one of them.")
    notes = tuple(f"column {old!r} is read as {new!r}." for old, new in changed.items())
    return table.rename(changed), notes


def _policy(log: Decisions, table: pl.DataFrame, path: Path, name: str) -> Target:
    """Return the policy of a table, by its form."""
    if PROBABILITY not in table.columns:
        return _by_row(log, table, path, name)
    if {ARM, "creative_id"} & set(table.columns):
        return _by_group(log, _with_arm(table), path, name)
    if table.columns != [PROBABILITY]:
        extra = next(c for c in table.columns if c != PROBABILITY)
        raise UserError(
            f"{path}: there is a column {extra!r} but none that names the arm; add a column {ARM} "
            "(or creative_id), or leave probability alone, one row per log row."
        )
    chosen = _numbers(table, PROBABILITY, path)
    _same_length(log, table, path)
    outside = np.flatnonzero(~((chosen >= 0) & (chosen <= 1)))
    if len(outside):
        raise UserError(
            f"{path}, row {_row(path, outside[0])}: probability is {chosen[outside[0]]:g}; it must "
            "lie in [0, 1]."
        )
    note = "known for the logged arms only"
    return Target(name, chosen / log.propensities, None, note=note)


def _with_arm(table: pl.DataFrame) -> pl.DataFrame:
    if ARM in table.columns:
        return table.with_columns(pl.col(ARM).cast(pl.String))
    name = pl.col("creative_id").cast(pl.String)
    if "channel" not in table.columns:
        return table.with_columns(name.alias(ARM)).drop("creative_id")
    both = pl.concat_str([name, pl.col("channel").cast(pl.String)], separator="@")
    arm = pl.when((name == HOLD) | pl.col("channel").is_null()).then(name).otherwise(both)
    return table.with_columns(arm.alias(ARM)).drop("creative_id", "channel")


def _numbers(table: pl.DataFrame, column: str, path: Path) -> np.ndarray:
    raw = table[column]
    kind = raw.dtype
    if kind.is_temporal():
        raise UserError(f"{path}, column {column}: type {kind} is no number; write numbers.")
    text = raw.cast(pl.String).str.strip_chars() if is_text(kind) else raw
    values = text.cast(pl.Float64, strict=False)
    bad = np.flatnonzero((values.is_null() | ~values.is_finite()).fill_null(True).to_numpy())
    if len(bad):
        raise UserError(
            f"{path}, row {_row(path, bad[0])}, column {column}: value "
            f"{table[column][int(bad[0])]!r} is not a probability; write a number in [0, 1]."
        )
    return values.to_numpy()


def _row(path: Path, index: int | np.integer) -> int:
    return int(index) + (2 if is_csv(path) else 1)


def _same_length(log: Decisions, table: pl.DataFrame, path: Path) -> None:
    if table.height != len(log):
        raise UserError(
            f"{path} has {table.height:,} rows and the log {len(log):,}; a policy row by row needs "
            "one row per log row, in its order."
        )


def _logged_names(
    log: Decisions, table: pl.DataFrame, path: Path
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the table with its arms called as in the log, and what was renamed."""
    arms = table[ARM].to_list()
    empty = [index for index, arm in enumerate(arms) if arm is None or not arm.strip()]
    if empty:
        raise UserError(
            f"{path}, row {_row(path, empty[0])}, column {ARM}: it is empty; name an arm of the "
            "log."
        )
    meant = {arm: _close(arm, log.arms, path, "log") for arm in dict.fromkeys(arms)}
    notes = tuple(f"arm {a!r} is read as the log's {m!r}." for a, m in meant.items() if a != m)
    return table.with_columns(pl.Series(ARM, [meant[arm] for arm in arms])), notes


def _arm_places(log: Decisions, arms: list[str], path: Path) -> tuple[list[int], tuple[str, ...]]:
    """Return the place of each arm in the log (-1: not there), and the names of the strangers."""
    place = {arm: index for index, arm in enumerate(log.arms)}
    strangers = tuple(dict.fromkeys(arm for arm in arms if arm not in place))
    total = next((arm for arm in strangers if is_total(arm)), None)
    if total is not None:
        raise UserError(
            f"{path}: {total!r} is a sum of the others by its name, and no arm; delete it."
        )
    if len(strangers) == len(set(arms)):
        raise UserError(
            f"{path}: none of its arms is in the log (the file has {', '.join(strangers[:3])}, the "
            f"log {', '.join(log.arms[:3])}); name them as the log does."
        )
    return [place.get(arm, -1) for arm in arms], strangers


def _by_row(log: Decisions, table: pl.DataFrame, path: Path, name: str) -> Target:
    _same_length(log, table, path)
    places, strangers = _arm_places(log, table.columns, path)
    first = _row(path, 0)
    values = np.column_stack([_numbers(table, column, path) for column in table.columns])
    check_table(values, lambda row: f"{path}, row {row + first}")
    wide = np.zeros((len(log), len(log.arms)))
    known = [i for i, place in enumerate(places) if place >= 0]
    wide[:, [places[i] for i in known]] = values[:, known]
    outside = float(np.average(1.0 - wide.sum(axis=1), weights=log.sizes)) if strangers else 0.0
    return target(log, name, PerRow(wide), outside, strangers[:3], "row by row")


def _table_target(log: Decisions, path: Path, name: str) -> Target:
    from copygym.evaluation.ope.stream import OnDisk

    values = OnDisk.open(path)
    rows, arms = len(log), len(log.arms)
    if values.shape != (rows, arms):
        raise UserError(
            f"{path} has {values.shape[0]:,} rows x {values.shape[1]:,} arms and the log {rows:,} "
            f"x {arms:,}; write one row per log row and one column per arm: {', '.join(log.arms)}."
        )
    step = max(1, _CELLS // arms)
    for start in range(0, rows, step):
        block = values.block(slice(start, min(start + step, rows))).astype(np.float64)
        first = start + 1

        def where(row: int, first: int = first) -> str:
            return f"{path}, row {row + first}"

        check_table(block, where)
    return target(log, name, values, note="row by row")


def _by_group(log: Decisions, table: pl.DataFrame, path: Path, name: str) -> Target:
    keys = [c for c in table.columns if c not in (ARM, PROBABILITY)]
    for key in keys:
        if key not in log.frame.columns:
            raise UserError(
                f"{path}: column {key!r} is no column of the log, so it cannot tell which rows a "
                f"probability is for; the log has {', '.join(log.frame.columns[:12])}."
            )
    table, renamed = _logged_names(log, table, path)
    places, strangers = _arm_places(log, table[ARM].to_list(), path)
    chances = _numbers(table, PROBABILITY, path)
    if keys:
        codes, group = _group_codes(log, table, keys, path)
    else:
        codes, group = np.zeros(table.height, dtype=np.int64), None
    wide = np.zeros((int(codes.max()) + 1, len(log.arms) + 1))
    seen = np.zeros(wide.shape, dtype=bool)
    for row, (g, place) in enumerate(zip(codes, places, strict=True)):
        if place >= 0 and seen[g, place]:
            raise UserError(
                f"{path}, row {_row(path, row)}: arm {table[ARM][row]!r} is there twice"
                f"{' for this group' if keys else ''}; keep one row."
            )
        seen[g, place] = True
        wide[g, place] += chances[row]

    def where(g: int) -> str:
        if not keys:
            return f"{path}"
        row = int(np.flatnonzero(codes == g)[0])
        return f"{path}, {', '.join(f'{key} {table[key][row]}' for key in keys)}"

    check_table(wide, where)
    share = np.array([1.0]) if group is None else np.bincount(group, log.sizes, len(wide))
    outside = float(np.average(wide[:, -1], weights=share)) if strangers else 0.0
    note = f"by {', '.join(keys)}" if keys else "alike for everybody"
    policy = Grouped(np.ascontiguousarray(wide[:, :-1]), group)
    return replace(
        target(log, name, policy, outside, strangers[:3], note), remarks=_of(path, renamed)
    )


def _group_codes(
    log: Decisions, table: pl.DataFrame, keys: list[str], path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of each row of the file, and of each row of the log."""

    # As text on both sides, since a CSV knows no numbers. Where the log has numbers, 1 and 1.0 are
    # one group; codes are as they are spelt: 007 is not 7.
    def text(frame: pl.DataFrame, key: str) -> pl.Expr:
        kind, ours = frame.schema[key], log.frame.schema[key]
        plain = pl.col(key).cast(pl.String)
        plain = plain.str.to_lowercase() if ours == pl.Boolean else plain.str.strip_chars()
        if not ours.is_numeric() or kind.is_temporal():
            return plain.fill_null("").alias(key)
        numbers = (whole(key, kind).cast(pl.String), real(key, kind).cast(pl.String))
        return pl.coalesce(*numbers, plain).fill_null("").alias(key)

    left = table.select(text(table, key) for key in keys)
    groups = left.unique(maintain_order=True).with_row_index("__group__")
    codes = left.join(groups, on=keys, how="left", maintain_order="left")["__group__"]
    right = log.frame.select(text(log.frame, key) for key in keys)
    found = right.join(groups, on=keys, how="left", maintain_order="left")["__group__"]
    if found.null_count():
        row = int(np.flatnonzero(found.is_null().to_numpy())[0])
        values = ", ".join(f"{key} {log.frame[key][row]!r}" for key in keys)
        raise UserError(
            f"{path}: the log has rows with {values}, for which the file gives no probability; add "
            "rows for them."
        )
    return codes.to_numpy().astype(np.int64), found.to_numpy().astype(np.int64)
