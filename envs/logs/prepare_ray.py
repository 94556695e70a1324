"""The parts of a prepared log as a Ray Data job: pieces are read, shuffled and written by workers.

Every node needs copygym installed, and must see the source and the folder under the same paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from copygym.core.errors import UserError
from copygym.core.ray_session import ray_session
from copygym.envs.logs.prepare import PART, Deal

if TYPE_CHECKING:
    import pyarrow as pa


def ray_parts(
    deal: Deal, pieces: Sequence[tuple[int, int]], address: str | None
) -> Iterator[dict[str, Any]]:
    """Write the missing parts, and yield what to note of each as soon as it is there.

    Args:
        deal: what goes where.
        pieces: start and number of rows; one is read by one task.
        address: of the cluster to join; None starts a Ray that only this machine reaches.

    Raises:
        UserError: no Ray, or a worker could not write.
    """
    init = {"address": address or "local", "log_to_driver": False}
    if address is None:
        init["include_dashboard"] = False
    with ray_session(init, asked="--engine ray", instead="leave it out", option="--address") as ray:
        try:
            from ray import data as ray_data
        except ImportError as error:
            raise UserError(
                f"--engine ray needs Ray Data ({error}): pip install 'copygym[ray]'."
            ) from None
        ray_data.DataContext.get_current().enable_progress_bars = False
        starts = [{"start": start, "rows": rows} for start, rows in pieces]
        parts = (
            ray_data.from_items(starts, override_num_blocks=len(starts))
            .map_batches(_rows, batch_format="pyarrow", batch_size=1, fn_kwargs={"deal": deal})
            .groupby(PART, num_partitions=len(deal.missing))
            .map_groups(_write_part, batch_format="pyarrow", fn_kwargs={"deal": deal})
        )
        left = set(deal.missing)
        try:
            for part in parts.iter_rows():
                left.remove(part.pop("part"))
                yield dict(part)
        except ray.exceptions.RayError as error:
            if isinstance(error.__cause__, UserError):
                raise UserError(str(error.__cause__)) from error
            raise
    for number in sorted(left):  # of no rows, so that Ray knows nothing of them
        yield deal.write(number, deal.nothing())


def _rows(pieces: pa.Table, deal: Deal) -> Iterator[pa.Table]:
    """Read pieces, with the part of each row."""
    for piece in pieces.to_pylist():
        frame = deal.piece(piece["start"], piece["rows"]).collect(engine="streaming")
        yield frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _write_part(rows: pa.Table, deal: Deal) -> pa.Table:
    """Write one part, of which these are all rows, and return a row that tells of it."""
    import pyarrow as pa

    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    number = int(frame[PART][0])
    # Ray may have widened or dictionary-encoded a column on its way.
    schema = deal.nothing().schema
    part = deal.write(number, frame.select(schema.names()).cast(schema))
    return pa.Table.from_pylist([{"part": number, **part}])
