"""What is sold: a file of products with their facts, from which a log's briefs are made."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from copygym.core.errors import UserError
from copygym.core.tables.files import open_table, readable
from copygym.envs.logs.clicklog import ClickLog

#: Columns of a file of products, and other words for them.
_NAMES = {
    "product_id": ("product_id", "product", "sku", "id"),
    "name": ("name", "title"),
    "field": ("field", "topic", "category"),
    "price": ("price",),
    "facts": ("facts", "description"),
    "brief": ("brief",),
}


def with_products(log: ClickLog, path: str | Path) -> ClickLog:
    """Return a log whose rows have the brief of their product, and its field as topic.

    A brief says name, field, price and facts (``Product: ... Field: ... Price: ... Facts: ...``),
    so that what copy claims can be checked; a column ``brief`` is taken as it is.

    Args:
        log: with ``product_id``.
        path: CSV or Parquet, a row a product: ``product_id`` (or ``sku``), ``name``, ``field`` (or
            ``category``), ``price`` and ``facts``, all but the first optional.

    Raises:
        UserError: no such file or column, a product twice, or one of the log that is missing.
    """
    log.require("product_id")
    opened = open_table(path)
    with readable(path):
        table = opened.frame.collect()
    folded = {name.lower().strip(): name for name in table.columns}
    found = {
        ours: next((folded[name] for name in names if name in folded), None)
        for ours, names in _NAMES.items()
    }
    if found["product_id"] is None:
        raise UserError(
            f"{path} has no column product_id (it has {', '.join(table.columns)}); name products "
            "as the log does."
        )
    table = table.select(
        pl.col(theirs).cast(pl.String).str.strip_chars().alias(ours)
        for ours, theirs in found.items()
        if theirs is not None
    )
    twice = table["product_id"].is_duplicated()
    if twice.any():
        raise UserError(
            f"{path} has the product {table['product_id'][int(twice.arg_true()[0])]!r} twice; give "
            "each one row."
        )
    sold = log.sends().frame.select("product_id").unique().collect()["product_id"].drop_nulls()
    lost = sorted(set(sold) - set(table["product_id"]))
    if lost:
        raise UserError(
            f"{path} lacks {len(lost)} products of the log, such as {lost[0]!r}; add them."
        )
    known = table.select(
        "product_id",
        brief=_brief(table),
        **({"topic": pl.col("field")} if "field" in table.columns else {}),
    )
    bare = int(
        (known["brief"].str.contains("Facts:") | known["brief"].str.contains("Price:")).not_().sum()
    )
    notes = log.notes
    if bare and "brief" not in table.columns:
        notes = (*notes, f"{bare} of {len(known)} products have neither facts nor a price: of copy "
                 "for them only the form can be checked.")  # fmt: skip
    frame = log.frame.drop([n for n in ("brief", "topic") if log.has(n) and n in known.columns])
    joined = frame.join(known.lazy(), on="product_id", how="left", maintain_order="left")
    return ClickLog(joined, log.name, log.synthetic, notes, log.source)


def _brief(table: pl.DataFrame) -> pl.Expr:
    if "brief" in table.columns:
        return pl.col("brief")

    def part(label: str, name: str, end: str) -> pl.Expr:
        if name not in table.columns:
            return pl.lit("")
        text = pl.col(name).str.strip_chars_end(" .")
        told = pl.format(" {}: {}{}", pl.lit(label), text, pl.lit(end))
        return pl.when(text.is_null() | (text == "")).then(pl.lit("")).otherwise(told)

    name = pl.col("name" if "name" in table.columns else "product_id")
    return pl.concat_str(
        pl.format("Product: {}.", name),
        part("Field", "field", "."),
        part("Price", "price", "."),
        part("Facts", "facts", "."),
    )
