"""Tables in memory, of whatever library, as polars reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from copygym.core.errors import UserError


def as_lazy(table: Any, label: str) -> pl.LazyFrame:
    """Return a table as a lazy frame.

    Args:
        table: of polars, pandas or pyarrow (anything that gives an Arrow stream), or a mapping from
            column names to sequences of one length.
        label: names the table in messages.

    Raises:
        UserError: it is none of these, or its columns are no columns of one table.
    """
    if isinstance(table, pl.LazyFrame | pl.DataFrame):
        return table.lazy()
    if not (isinstance(table, Mapping) or hasattr(table, "__arrow_c_stream__")):
        raise UserError(
            f"{label}: a {type(table).__name__} is no table; give a data frame of polars or "
            "pandas, or a dict of columns."
        )
    try:
        return pl.DataFrame(table).lazy()
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{label}: its columns make no table ({reason}); mend them.") from None
