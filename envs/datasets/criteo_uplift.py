"""Criteo's uplift dataset: a randomised hold-out of display advertising."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from copygym.core.errors import UserError
from copygym.core.tables.files import open_table, readable
from copygym.envs.datasets.card import Card, RemoteFile, find_file
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.schema import Source, first_row, require_columns

_FILE = "criteo-research-uplift-v2.1.csv.gz"

CARD = Card(
    name="criteo_uplift",
    title="advertise or hold, randomised over 14 million users",
    source="Criteo AI Lab, Criteo Uplift Prediction Dataset v2.1",
    licence="CC BY-NC-SA 4.0 (no commercial use)",
    size="13,979,592 users, one row each",
    randomised="whether a user could be advertised to (treatment), with probability 0.85",
    faults=(
        "several trials were merged and sub-sampled so that treatment is 0.85 throughout; CTR and "
        "CVR are not those of any campaign.",
        "propensity is the design's 0.85 / 0.15, not recorded by row.",
        "treatment is the intention to advertise; exposure happened afterwards and is not loaded.",
        "clicks are visits to the advertiser's site, with or without an advertisement.",
        "the first release leaked treatment through its features: use v2.1 only.",
        "features are anonymous random projections, and there is one creative without text.",
        "user_id is the row number, since the file has no user id.",
    ),
    citation=(
        "Diemert, E., Betlei, A., Renaudin, C. and Amini, M.-R. (2018). A Large Scale Benchmark "
        "for Uplift Modeling. AdKDD 2018"
    ),
    files=(
        RemoteFile(
            _FILE,
            f"https://huggingface.co/datasets/criteo/criteo-uplift/resolve/main/{_FILE}",
            sha256="2716e1bf0fd157a93b5bf86924d9088419dfbac2022c6cd90030220634f616dc",
            size=311_422_618,
        ),
    ),
    how_to_get=(
        "Run `copygym data get criteo_uplift` (Criteo's own mirror on Hugging Face; the paper's "
        f"address was http://go.criteo.net/{_FILE}), or set data.path to the file"
    ),
)

FEATURES = tuple(f"f{i}" for i in range(12))
TREATED = 0.85


def load(path: str | Path | None = None) -> ClickLog:
    """Load the trial: one decision per user, the advertisement or hold.

    Args:
        path: the CSV (gzip or not), a Parquet copy with the same columns, or its folder.

    Returns:
        A log whose clicks are visits, with conversions, propensity and ``user_f0`` ...
        ``user_f11``.
    """
    file = find_file(CARD, path, ("*criteo*uplift*.parquet", "*criteo*uplift*.csv*"))
    columns = {"clicks": "visit", "conversions": "conversion"}
    table = open_table(file)
    source = Source(str(file), table.first_row, columns)
    raw = table.frame
    treatment = pl.col("treatment").cast(pl.String).str.strip_chars()
    with readable(file):
        needed = columns | {c: c for c in ("treatment", *FEATURES)}
        require_columns(raw.collect_schema().names(), needed, source)
        outside = ~treatment.is_in(["0", "1"]).fill_null(False)
        bad = first_row(raw, outside, ("treatment",))
    if bad:
        raise UserError(
            f"{source.at(bad['__row__'], 'treatment')}: value {bad['treatment']!r} is not 0 or 1; "
            "use the file as published."
        )
    treated = treatment == "1"
    frame = raw.with_row_index("__user__").select(
        (pl.lit("user_") + pl.col("__user__").cast(pl.String).str.zfill(8)).alias("user_id"),
        pl.when(treated).then(pl.lit("ad")).otherwise(pl.lit(HOLD)).alias("creative_id"),
        pl.when(treated).then(pl.lit("advertiser")).alias("product_id"),
        pl.when(treated).then(pl.lit("Display advertisement.")).alias("text"),
        pl.lit("e-commerce").alias("topic"),
        pl.lit("display").alias("channel"),
        pl.when(treated).then(TREATED).otherwise(1 - TREATED).alias("propensity"),
        pl.lit(1).alias("impressions"),
        *(pl.col(column).alias(name) for name, column in columns.items()),
        *(pl.col(c).cast(pl.Float64).alias(f"user_{c}") for c in FEATURES),
    )
    notes = (*CARD.faults, *table.notes)
    return ClickLog.from_frame(frame, name=CARD.name, notes=notes, source=source)
