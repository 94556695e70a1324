"""The Upworthy Research Archive: randomised headline tests, aggregated by arm."""

from __future__ import annotations

import html
from pathlib import Path

import polars as pl

from copygym.core.errors import unknown_name
from copygym.core.tables.files import open_table, readable
from copygym.envs.datasets.card import Card, RemoteFile, check_unchanged, default_folder, missing
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.schema import Source, require_columns

_NOTES = (
    "the archive's correction (2024): randomisation is suspect from 25 June 2013 to 10 January "
    "2014, probably a web cache; these tests are excluded unless include_broken_weeks is true.",
    "propensity is 1 / arms of the test in the file: by design, not recorded; the sample-ratio "
    "report says where the counts contradict it.",
    "the time zone of created_at is unknown and read as UTC; without created_at a test's time is "
    "the Sunday of its week (weeks numbered as strftime's %U: inferred, not documented).",
    "arms of one test may differ in image as well as in headline (context_eyecatcher), and a "
    "headline may occur in several arms or tests: split by test.",
    "significance, first_place and winner are set after the test and are not loaded.",
)

CARD = Card(
    name="upworthy",
    title="randomised headline tests of a news site",
    source="Upworthy Research Archive, OSF project jd64p",
    licence="CC BY 4.0",
    size=(
        "exploratory release: 22,666 arms in 4,873 tests; confirmatory: 105,551 arms in 22,743 "
        "tests; 2013-2015, no users"
    ),
    randomised="which package (headline and image) of a test a visitor saw, uniformly",
    faults=(
        *_NOTES,
        "the exploratory and content_experiments releases overlap under different test ids: use "
        "ClickLog.without_tests_sharing_text before training on one and testing on the other.",
    ),
    citation=(
        "Matias, J. N., Munger, K., Aubin Le Quere, M. and Ebersole, C. (2021). The Upworthy "
        "Research Archive, a time series of 32,487 experiments in U.S. media. Scientific Data 8. "
        "doi:10.1038/s41597-021-00934-7"
    ),
    files=(
        RemoteFile(
            "upworthy-archive-exploratory-packages-03.12.2020.csv",
            "https://osf.io/download/3vqmp/",
            sha256="8368313b060f4015a0c6fb34e6d788163cee29554144aba9390b14922eb9d8ce",
            size=14_260_949,
        ),
    ),
    how_to_get=(
        "Run `copygym data get upworthy` for the exploratory release, or download another release "
        "from osf.io/jd64p and set data.path to it"
    ),
)

#: Releases by the name of their file, in the order in which a folder is searched.
RELEASES = {
    "exploratory": ("*exploratory*.parquet", "*exploratory*.csv*"),
    "content_experiments": ("content_experiments*",),
    "confirmatory": ("*confirmatory*.parquet", "*confirmatory*.csv*"),
    "holdout": ("*holdout*.parquet", "*holdout*.csv*"),
}
#: Broken weeks: first and last ``test_week``, ``test_id`` of content_experiments, and UTC day.
BROKEN_WEEKS = (201325, 201402)
BROKEN_TESTS = (1501, 5450)
BROKEN_DAYS = ("2013-06-25", "2014-01-11")


def load(
    path: str | Path | None = None,
    include_broken_weeks: bool = False,
    release: str | None = None,
) -> ClickLog:
    """Load one release: a row is an arm of a test, with its impressions and clicks.

    Args:
        path: a file of the archive (CSV with its public column names, or Parquet), the
            ``content_experiments`` preparation (``test_id, headline, impressions, clicks``), or a
            folder that holds one.
        include_broken_weeks: keep the tests of 25 June 2013 to 10 January 2014.
        release: which of `RELEASES` to take from a folder; None takes the first that is there.

    Returns:
        A log with test_id, creative_id (test and arm number), text, propensity; and, where the
        file has them, brief (the lede without HTML), timestamp, context_eyecatcher, and
        context_test_week or context_test_order (time order).
    """
    file = _find(path, release)
    table = open_table(file)
    raw = table.frame
    with readable(file):
        names = raw.collect_schema().names()
        archive = "clickability_test_id" in names or "test_id" not in names
        test = "clickability_test_id" if archive else "test_id"
        columns = {"test_id": test, "text": "headline", "product_id": test}
        source = Source(str(file), table.first_row, columns)
        counts = {c: c for c in ("impressions", "clicks")}
        require_columns(names, {"test_id": test, "text": "headline"} | counts, source)
        frame = _canonical(raw, names, test)
        notes = (*_NOTES, *table.notes)
        log = ClickLog.from_frame(frame, name=CARD.name, notes=notes, source=source)
    if include_broken_weeks:
        return log.with_notes("the broken weeks are included: make no causal claim on them.")
    return log.filter(~broken_weeks(log)) if _has_dates(log) else log


def _find(path: str | Path | None, release: str | None) -> Path:
    if release is not None and release not in RELEASES:
        raise unknown_name("upworthy release", release, list(RELEASES))
    place = Path(path).expanduser() if path is not None else default_folder(CARD.name)
    if place.is_file():
        return check_unchanged(CARD, place)
    wanted = [release] if release else list(RELEASES)
    patterns = tuple(p for name in wanted for p in RELEASES[name])
    found = [f for p in patterns for f in sorted(place.rglob(p)) if f.suffix != ".sha256"]
    if not found:
        raise missing(CARD, place, path is None, patterns)
    return check_unchanged(CARD, found[0])


def _plain(column: str) -> pl.Expr:
    """Return an HTML field as plain text."""
    text = pl.col(column).str.replace_all(r"<[^>]*>", " ")
    for name in ("&nbsp;", "&quot;", "&#39;", "&rsquo;", "&ldquo;", "&rdquo;", "&mdash;", "&amp;"):
        text = text.str.replace_all(name, html.unescape(name).replace("\xa0", " "), literal=True)
    return text.str.replace_all(r"\s+", " ").str.strip_chars()


def _sunday(week: pl.Expr) -> pl.Expr:
    """Return midnight of the Sunday that starts a ``YYYYWW`` week in strftime's %U numbering."""
    new_year = pl.date(week // 100, 1, 1)
    first_sunday = new_year + pl.duration(days=(7 - new_year.dt.weekday()) % 7)
    return (first_sunday + pl.duration(days=7 * (week % 100 - 1))).cast(pl.Datetime("us", "UTC"))


def _canonical(raw: pl.LazyFrame, names: list[str], test: str) -> pl.LazyFrame:
    test_id = pl.col(test).cast(pl.String)
    arm = pl.int_range(pl.len()).over(test).cast(pl.String)
    out = {
        "test_id": test_id,
        "product_id": test_id,
        "creative_id": test_id + pl.lit("/") + arm,
        "text": pl.col("headline"),
        "topic": pl.lit("news"),
        "channel": pl.lit("website"),
        "propensity": 1.0 / pl.len().over(test),
        "impressions": pl.col("impressions"),
        "clicks": pl.col("clicks"),
    }
    if "lede" in names:
        out["brief"] = _plain("lede")
    if "eyecatcher_id" in names:
        out["context_eyecatcher"] = pl.col("eyecatcher_id")
    week = pl.col("test_week").cast(pl.Int64, strict=False) if "test_week" in names else None
    if week is not None:
        out["context_test_week"] = week
    if "created_at" in names:
        out["timestamp"] = pl.col("created_at")
    elif week is not None:
        out["timestamp"] = _sunday(week)
    else:
        out["context_test_order"] = pl.col(test).cast(pl.Int64, strict=False)
    if "problem" in names:
        # The archive's own flag of suspect tests, in releases since the correction.
        flag = pl.col("problem").cast(pl.String).str.to_lowercase()
        out["context_problem"] = flag.is_in(["true", "1", "t", "yes"])
    return raw.select(expr.alias(name) for name, expr in out.items())


def _has_dates(log: ClickLog) -> bool:
    known = ("context_problem", "context_test_week", "timestamp", "context_test_order")
    return any(log.has(c) for c in known)


def broken_weeks(log: ClickLog) -> pl.Expr:
    """Return the expression that is true for rows whose randomisation is suspect.

    By test week where it is known (whole weeks), else by the time of creation, else by the
    position of the test in ``content_experiments``; the archive's own flag adds to it.
    """
    if log.has("context_test_week"):
        broken = pl.col("context_test_week").is_between(*BROKEN_WEEKS)
    elif log.has("timestamp"):
        low, high = (pl.lit(d).str.to_datetime(time_zone="UTC") for d in BROKEN_DAYS)
        broken = pl.col("timestamp").is_between(low, high, closed="left")
    else:
        broken = pl.col("context_test_order").is_between(*BROKEN_TESTS)
    broken = broken.fill_null(False)
    return broken | pl.col("context_problem") if log.has("context_problem") else broken


def sample_ratio_report(log: ClickLog, threshold: float = 1e-3) -> pl.DataFrame:
    """Test every experiment for a sample-ratio mismatch (SRM).

    Pearson's chi-square of the arms' impressions against equal shares, with arms - 1 degrees of
    freedom (Fabijan et al. 2019). Load with ``include_broken_weeks=True`` to compare both periods.

    Args:
        log: an Upworthy log.
        threshold: p-value under which a test is flagged.

    Returns:
        One row per test, in order of ``test_id``: ``test_id``, ``arms``, ``impressions``,
        ``p_value`` (1.0 for a single arm), ``flagged``, and ``broken_weeks`` (false where no date
        is known).
    """
    from scipy.stats import chi2

    suspect = broken_weeks(log) if _has_dates(log) else pl.lit(False)
    n = pl.col("impressions")
    expected = n.sum() / pl.len()
    table = (
        log.frame.group_by("test_id")
        .agg(
            arms=pl.len().cast(pl.Int64),
            impressions=n.sum(),
            statistic=((n - expected) ** 2).sum() / expected,
            broken_weeks=suspect.any(),
        )
        .sort("test_id")
        .collect(engine="streaming")
    )
    p = chi2.sf(table["statistic"].to_numpy(), (table["arms"] - 1).clip(lower_bound=1).to_numpy())
    return table.select(
        "test_id",
        "arms",
        "impressions",
        pl.Series("p_value", p),
        pl.Series("flagged", p < threshold),
        "broken_weeks",
    )


def sample_ratio_summary(report: pl.DataFrame) -> pl.DataFrame:
    """Return tests, flagged tests and flagged share inside and outside the broken weeks."""
    return (
        report.group_by("broken_weeks")
        .agg(
            tests=pl.len().cast(pl.Int64),
            flagged=pl.col("flagged").sum().cast(pl.Int64),
            flagged_share=pl.col("flagged").mean(),
        )
        .sort("broken_weeks")
    )
