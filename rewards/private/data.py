"""A log as people with rows, whose features tell of nobody else.

What is computed over people leaks what it was computed from: a mean age, the set of regions that
occur, a click rate that profiles are shrunk to. Here only what is public goes in: the sender's own
creatives, channels and slots, and columns of the person with levels or a scale that the config
declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from copygym.core.errors import UserError, unknown_name
from copygym.core.text.encoders import make_text_encoder
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.profiles.demographics import Demographics
from copygym.envs.simulator.response.design import (
    BLOCKS,
    ActionEncoder,
    Actions,
    Sizes,
    action_matrix,
)
from copygym.envs.simulator.response.encode import encode

#: A declared number is cut here, in declared deviations.
_LIMIT = 3.0


@dataclass(frozen=True)
class UserRows:
    """U people with T rows each, padded.

    Attributes:
        ids: (U,) str.
        people_UP: float32 declared features.
        cells_ME: float32 features of the M things that can be sent, each in each slot.
        cell_UT: int64 rows of ``cells_ME``; 0 in padding.
        impressions_UT: float32; 0 in padding.
        clicks_UT: float32.
    """

    ids: np.ndarray
    people_UP: Tensor
    cells_ME: Tensor
    cell_UT: Tensor
    impressions_UT: Tensor
    clicks_UT: Tensor

    def __len__(self) -> int:
        """U."""
        return len(self.cell_UT)

    def flat(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return (N,) user, cell, impressions and clicks of the rows that are no padding."""
        user, place = np.nonzero(self.impressions_UT.numpy() > 0)
        at = user, place
        n_N, k_N = (a.numpy()[at].astype(np.float64) for a in (self.impressions_UT, self.clicks_UT))
        return user, self.cell_UT.numpy()[at], n_N, k_N

    def take(self, index: Tensor) -> UserRows:
        """Return the people at ``index`` ((B,) int64 or (U,) bool)."""
        return UserRows(
            self.ids[index.numpy()],
            self.people_UP[index],
            self.cells_ME,
            self.cell_UT[index],
            self.impressions_UT[index],
            self.clicks_UT[index],
        )


@dataclass(frozen=True)
class PrivateData:
    """Both parts of a log in the same features.

    Attributes:
        train: people to learn from, all with a send.
        test: people who judge.
        catalogue: what was sent.
        cells: what the rows of ``cells_ME`` are.
        sizes: of `action_matrix`.
    """

    train: UserRows
    test: UserRows
    catalogue: Catalogue
    cells: Actions
    sizes: Sizes


def people_encoder(columns: Mapping[str, Any]) -> Demographics:
    """Return the encoder of people that a config declares.

    Args:
        columns: column -> list of its levels, or ``{centre, scale}`` of a number.

    Raises:
        UserError: a column is declared as neither.
    """
    numeric: dict[str, tuple[float, float]] = {}
    categorical: dict[str, tuple[str, ...]] = {}
    for name, said in columns.items():
        if isinstance(said, Mapping) and set(said) == {"centre", "scale"} and said["scale"] > 0:
            numeric[name] = float(said["centre"]), float(said["scale"])
        elif isinstance(said, list | tuple) and said:
            categorical[name] = tuple(str(level) for level in said)
        else:
            raise UserError(
                f"features.people.{name} is {said!r}: declare a list of its levels, or centre and "
                "scale (above 0) of a number; nothing of it is learned from people."
            )
    return Demographics(numeric, categorical, (), ())


def private_data(
    train: ClickLog,
    test: ClickLog,
    catalogue: Catalogue,
    *,
    people: Mapping[str, Any],
    sends: list[str],
    text_encoder: str | None = "lsa",
    text_dims: int = 16,
    max_rows: int = 100,
) -> PrivateData:
    """Return both logs' sends as people with rows.

    Args:
        train: people to learn from.
        test: other people, who judge.
        catalogue: the sender's: creatives, channels, slots.
        people: declared columns; see `people_encoder`.
        sends: blocks of `action_matrix` that describe a send, such as text, channel, slot.
        text_encoder: see `make_text_encoder`; LSA is fitted on the sender's own texts.
        text_dims: the largest number of text features.
        max_rows: sends of a person beyond the first so many are left out; bounds the memory.

    Raises:
        UserError: an unknown block or column, or nobody in the training log was sent anything.
    """
    for block in sends:
        if block not in BLOCKS:
            raise unknown_name("block of features.sends", block, list(BLOCKS))
    rows, users = encode(train, test, catalogue)
    rows = rows.take(np.flatnonzero(rows.sent))
    texts = catalogue.texts
    encoder = ActionEncoder(
        catalogue,
        make_text_encoder(text_encoder if any(texts) else None, texts, dims=text_dims),
        text_dims=text_dims,
    )
    cells_ME = torch.from_numpy(action_matrix(encoder.cells(), encoder.sizes, tuple(sends)))
    features = people_encoder(people).features(_one_row_each([train, test], users, list(people)))
    features_UP = torch.from_numpy(np.clip(features, -_LIMIT, _LIMIT).astype(np.float32))
    cell = rows.slot.astype(np.int64) * catalogue.n_actions + rows.action
    parts = []
    for held_out in (False, True):
        mine = np.flatnonzero(rows.held_out == held_out)
        user, first, count = np.unique(rows.user[mine], return_index=True, return_counts=True)
        place = np.arange(len(mine)) - np.repeat(first, count)
        keep = place < max_rows
        shape = len(user), int(min(count.max(initial=0), max_rows))
        at = np.repeat(np.arange(len(user)), count)[keep], place[keep]
        columns = []
        for values in (cell, rows.trials.astype(np.float32), rows.clicks.astype(np.float32)):
            padded = np.zeros(shape, values.dtype)
            padded[at] = values[mine][keep]
            columns.append(torch.from_numpy(padded))
        names = users.gather(user).to_numpy().astype(np.str_)
        parts.append(UserRows(names, features_UP[torch.from_numpy(user)], cells_ME, *columns))
    if not len(parts[0]):
        raise UserError(f"{train.source or train.name}: nobody to learn from was sent anything.")
    return PrivateData(parts[0], parts[1], catalogue, encoder.cells(), encoder.sizes)


def _one_row_each(logs: list[ClickLog], users: pl.Series, columns: list[str]) -> pl.DataFrame:
    """Return the declared columns of ``users``, in their order."""
    for name in columns:
        if not logs[0].has(name):
            raise unknown_name("column of features.people", name, logs[0].user_features())
    frames = [log.frame.select(pl.col("user_id").cast(pl.String), *columns) for log in logs]
    once = pl.concat(frames).unique("user_id", keep="first", maintain_order=True).collect()
    return pl.DataFrame({"user_id": users}).join(
        once, on="user_id", how="left", maintain_order="left"
    )
