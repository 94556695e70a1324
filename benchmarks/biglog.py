"""A log of 10 million rows: how much memory and time until it is prepared, or users are fitted.

The file is simulated storefront traffic (synthetic) in a cache folder, written once. Preparation,
fit and bare read run in processes of their own (``python -m benchmarks.biglog fit FILE``), whose
peak memory the operating system reports.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
import polars.selectors as cs

from benchmarks.measure import ROOT, Goal, Row, run_module

ROWS, USERS_PER_PART, SLOTS = 10_000_000, 20_000, 56
#: Bumped when the file's content changes, so that an old one is not taken for it.
_VERSION = 1


def biglog_rows(tiny: bool = False) -> list[Row]:
    """Measure peak memory and CPU time of the whole fit, and of polars reading the file."""
    rows = 20_000 if tiny else ROWS
    path = cached(rows)
    names = ("log of 10 million rows: peak memory", "log of 10 million rows: time")
    try:
        if not path.exists():
            run_module("benchmarks.biglog", "write", path, rows)
        reads = [run_module("benchmarks.biglog", "read", path) for _ in range(1 if tiny else 3)]
        fit = run_module("benchmarks.biglog", "fit", path)
    except RuntimeError as error:
        return [Row(name, "", None, missing=str(error)) for name in names]
    size = path.stat().st_size / 1e9
    users = pl.scan_parquet(path, glob=False).select(pl.col("user_id").n_unique()).collect().item()
    log = f"{rows:,} rows of {users:,} users, {size:.2f} GB of Parquet"
    auc = fit["auc"][0]
    return [
        Row(
            names[0],
            "GB",
            fit["gb"],
            goal=Goal("ours", "<", 6.0),
            note=f"{log}; validated, made into profiles, a logistic response model and its "
            f"fidelity card by `fit_users` (AUC {auc:.3f} on held-out users). Largest resident "
            "set of a process that does only this.",
        ),
        Row(
            names[1],
            "CPU seconds",
            fit["cpu"],
            median(read["cpu"] for read in reads),
            "polars, scan and sum of every column",
            note=f"The same fit; it took {fit['wall']:.0f} s of wall time, the bare read "
            f"{median(read['wall'] for read in reads):.1f} s.",
        ),
    ]


def prepare_rows(tiny: bool = False) -> list[Row]:
    """Measure the peak memory of preparing a quarter of the log and all of it."""
    rows = 20_000 if tiny else ROWS
    path = cached(rows)
    name = f"preparing a log of {rows:,} rows against a quarter of it: peak memory"
    try:
        if not path.exists():
            run_module("benchmarks.biglog", "write", path, rows)
        few, all_of_it = (
            run_module("benchmarks.biglog", "prepare", path, number) for number in (rows // 4, rows)
        )
    except RuntimeError as error:
        return [Row(name, "", None, missing=str(error))]
    return [
        Row(
            name,
            "GB",
            all_of_it["gb"],
            few["gb"],
            "the same command on a quarter of the rows",
            Goal("ratio", "<", 1.25),
            note="`copygym data prepare` with polars: validated, dealt out to a part for every "
            f"million rows, each sorted and written; {all_of_it['wall']:.0f} s of wall time and "
            f"{all_of_it['cpu']:.0f} CPU s against {few['wall']:.0f} and {few['cpu']:.0f}.",
        )
    ]


def cached(rows: int) -> Path:
    """Return where the log of so many rows is kept."""
    cache = Path(os.environ.get("COPYGYM_BENCH_CACHE", ROOT / "outputs" / "bench"))
    return cache / f"storefront-{rows}-v{_VERSION}.parquet"


def write_log(path: Path, rows: int) -> None:
    """Write storefront traffic of many populations, one Parquet row group each, atomically."""
    import pyarrow.parquet as pq

    from copygym.envs.datasets.storefront_log import simulate_log
    from copygym.envs.storefront.world import StorefrontWorld

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    writer, left, seed = None, rows, 0
    try:
        while left:
            users = min(USERS_PER_PART, max(1, left // 10))
            log = simulate_log(StorefrontWorld(seed=seed, n_users=users), SLOTS, seed)
            log = log.with_columns(user_id=pl.format("{}-{}", pl.lit(seed), "user_id"))[:left]
            table = log.to_arrow(compat_level=pl.CompatLevel.oldest())
            writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=250_000)
            left, seed = left - log.height, seed + 1
    except BaseException:
        Path(temporary).unlink()
        raise
    assert writer is not None
    writer.close()
    Path(temporary).replace(path)


def read_log(path: Path) -> dict[str, Any]:
    """Read every value once, as cheaply as polars can: sums, of lengths where text."""
    frame = pl.scan_parquet(path, glob=False)
    frame.select(
        cs.numeric().sum(), cs.string().str.len_bytes().sum(), cs.temporal().to_physical().sum()
    ).collect(engine="streaming")
    return {}


def fit_log(path: Path) -> dict[str, Any]:
    """Fit users to the log with the defaults."""
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.simulator.fit import fit_users

    fitted = fit_users(ClickLog.read(path), family="logistic")
    return {"auc": fitted.fidelity.auc}


def prepare_log(path: Path, rows: int) -> dict[str, Any]:
    """Prepare the first ``rows`` rows of the file, which are copied out of it by another process.

    What the copy takes would count as this process's peak.
    """
    from copygym.envs.logs.prepare import prepare

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        source = path
        if rows < pl.scan_parquet(path, glob=False).select(pl.len()).collect().item():
            source = Path(folder) / "log.parquet"
            run_module("benchmarks.biglog", "copy", path, source, rows)
        return {"parts": prepare(source, Path(folder) / "prepared")["partitions"]}


def copy_log(path: Path, target: Path, rows: int) -> dict[str, Any]:
    """Copy the first ``rows`` rows to ``target``."""
    pl.scan_parquet(path, glob=False).head(rows).sink_parquet(target, row_group_size=250_000)
    return {}


def main(task: str, path: str, *arguments: str) -> None:
    """Do one task and print its CPU and wall seconds, and the peak memory of this process."""
    start, cpu = time.perf_counter(), time.process_time()
    if task == "write":
        write_log(Path(path), int(arguments[0]))
        answer: dict[str, Any] = {}
    elif task == "prepare":
        answer = prepare_log(Path(path), int(arguments[0]))
    elif task == "copy":
        answer = copy_log(Path(path), Path(arguments[0]), int(arguments[1]))
    else:
        answer = fit_log(Path(path)) if task == "fit" else read_log(Path(path))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer |= {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - start,
        "gb": peak * (1 if sys.platform == "darwin" else 1024) / 1e9,  # KiB but on a Mac
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
