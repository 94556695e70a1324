"""``copygym data``: list datasets, show their cards, fetch them; check and prepare a log."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from copygym.core import plugins
from copygym.core.errors import UserError, unknown_name
from copygym.experiments.commands.data_map import add_map, map_log
from copygym.experiments.options import add_log_options, command_parser, log_arguments

_EXAMPLES = """examples:
  copygym data list
  copygym data card hillstrom
  copygym data get hillstrom
  copygym data get hillstrom --url https://mirror.example/data
  copygym data map mylog.csv --name spring
  copygym data check spring
  copygym data check mylog.csv --map clicks=opened --map text=subject --set impressions=1
  copygym data prepare mylog.csv --out prepared --map clicks=opened --set impressions=1
"""
_PAGE = """# Datasets

Every dataset, what it says and what is known to be wrong with it. Written by
`copygym data card --all --markdown > docs/datasets.md`; edit the cards in `envs/datasets/`, not
this page.

Choose one with `dataset=NAME`, give its place with `data.path=...`, or fetch it with
`copygym data get NAME`. A log of your own needs no code: `dataset=table`, and
`copygym data check FILE` tells what is wrong with it.

## How your own log is read

Counts and whole numbers are exact to 64 bits; what cannot be read exactly is refused with its row
and value. A note names what is read but may not be what you meant: words such as True for 1,
words such as N/A in a column of numbers, ids that a spreadsheet has rounded, creatives called
"no send", repeated rows. Times are ISO 8601 with any offset, or without one in the zone of
`--time-zone`. The rate is that of what was sent: rows of the creative `hold` stand apart.

    copygym data map mylog.csv --name spring     # proposes how, shows ten rows, keeps it
    copygym data check spring
    copygym run dataset=spring
    copygym ope --log spring

`data map` proposes from names (English, German) and values which column is what, says what it is
unsure of and what it left out, and writes `copygym-logs/spring.yaml` in the folder you work in;
every command takes the log by that name, and options win over the file. It holds maps and
constants, never code. A row may be a send, sums of many, or an event (sent, opened, clicked,
bought): events of one send become one row (`events`), opens and bounces count for nothing.

    copygym data check mylog.csv --empty clicks=0 --ignore conversions --time-zone Europe/Berlin
    copygym data check mylog.csv --time-format '%d.%m.%Y %H:%M' --cap clicks

`--time-format` reads times that are not ISO 8601 (`epoch` and `epoch_ms`: seconds and milliseconds
since 1970); a value that it does not read is refused with its row. `--cap` cuts clicks and
unsubscribes to the impressions, conversions to the clicks: a send that was clicked twice is one
that was clicked, and no row is lost. `--empty` says what an empty value means, `--ignore` leaves a
column out, `--set` is one value for
all rows and contradicts no column of the file.

**What is sold.** `data.products=products.csv` (dataset `table`) gives every row the brief of its
product, made of a row a product: `product_id` (or `sku`), `name`, `field` (or `category`), `price`
and `facts`; all but the first are optional, and a column `brief` is taken as it is. What copy
claims is checked against the facts.

## A log beyond one machine's memory

`copygym data prepare` validates a log in a stream and writes it as Parquet parts, all rows of a
user in one and in the order of their times; with `--engine ray` several machines do it. The
folder is read wherever a log is. [large-logs.md](large-logs.md) has the details.

    copygym data prepare mylog.csv --out prepared --map clicks=opened --set impressions=1
    copygym data check prepared
"""


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "copygym data",
        "Datasets: what there is, what is known of it, how to get it, and a check of your own log "
        "file.",
        _EXAMPLES,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="name, title and whether it is on this machine")

    card = commands.add_parser("card", help="source, licence, what is randomised, known faults")
    card.add_argument("name", nargs="?", help="a dataset from `copygym data list`")
    card.add_argument("--all", action="store_true", help="every dataset")
    card.add_argument("--markdown", action="store_true", help="as the page docs/datasets.md")

    get = commands.add_parser(
        "get",
        help="download, resuming, with checksum",
        description="Download a dataset to the place where its loader looks "
        "($COPYGYM_HOME/data/NAME, by default ~/.cache/copygym/data/NAME). A broken transfer "
        "goes on where it stopped when you run the command again.",
    )
    get.add_argument("name", help="a dataset from `copygym data list`")
    get.add_argument("--url", help="base URL of a mirror; the file's name is appended to it")
    get.add_argument("--to", type=Path, metavar="DIR", help="another folder to put it in")

    check = commands.add_parser(
        "check",
        help="validate a CSV or Parquet log and say what is in it",
        description="Validate a log. Required columns: impressions (>= 1) and clicks; optional: "
        "user_id, timestamp, product_id, creative_id, text, brief, topic, channel, slot, test_id, "
        "impression_id, propensity, conversions, unsubscribes, revenue, user_* and context_* "
        "features. A row in which nothing was sent has the creative_id 'hold'.",
    )
    check.add_argument(
        "file",
        type=Path,
        metavar="FILE|NAME",
        help="CSV, csv.gz, Parquet, a folder of Parquet files, or a name of `copygym data map`",
    )
    add_log_options(check)

    prepare = commands.add_parser(
        "prepare",
        help="write a log of any size as Parquet parts, each user's rows in one and in order",
        description="Validate a log in a stream and write it as a folder of Parquet parts with a "
        "manifest. The rows of a user (without user_id, of a test) are in one part, in the order "
        "of their times. The same command again makes the parts that are missing.",
    )
    prepare.add_argument(
        "source", type=Path, help="CSV, csv.gz, Parquet, or a folder of Parquet files"
    )
    prepare.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where to write the parts"
    )
    prepare.add_argument(
        "--partitions", type=int, metavar="N", help="number of parts (default: 1 a million rows)"
    )
    prepare.add_argument(
        "--engine",
        default="polars",
        help="polars: a stream on this machine (default); ray: a Ray Data job (copygym[ray])",
    )
    prepare.add_argument(
        "--address", metavar="HOST:PORT", help="of a Ray cluster (default: a Ray on this machine)"
    )
    add_log_options(prepare)
    add_map(commands)
    return parser


def main(argv: list[str]) -> int:
    """Run ``copygym data ARGV`` and return the exit status.

    Raises:
        UserError: for the caller to print; nothing half-written is left.
    """
    args = _parser().parse_args(argv)
    commands = {
        "list": _list,
        "card": _card,
        "get": _get,
        "check": _check,
        "prepare": _prepare,
        "map": map_log,
    }
    return int(commands[args.command](args) or 0)


def _list(args: argparse.Namespace) -> None:
    from copygym.envs import datasets
    from copygym.envs.datasets.card import is_here

    for name in datasets.available():
        if name not in datasets.OWN:
            # Its package is imported when it is used, not to be listed.
            packages = " and ".join(plugins.packages("dataset", name))
            print(f"{name:<14} {'plug-in':<20} of {packages}")
            continue
        card = datasets.card(name)
        if card.synthetic:
            state = "embedded, synthetic"
        elif name == "table":
            state = "your file"
        else:
            state = "here" if is_here(name) else "not here"
        print(f"{name:<14} {state:<20} {card.title}")


def _card(args: argparse.Namespace) -> None:
    from copygym.envs import datasets

    if args.all == (args.name is not None):
        raise UserError("copygym data card: give the name of one dataset, or --all.")
    names = list(datasets.OWN) if args.all else [args.name]
    sections = [datasets.card(name).to_markdown() for name in names]
    if args.markdown and args.all:
        sections.insert(0, _PAGE)
    print("\n".join(sections), end="")


def _get(args: argparse.Namespace) -> None:
    from copygym.envs import datasets
    from copygym.envs.datasets.download import get_dataset

    card = datasets.card(args.name)
    if card.synthetic:
        print(f"dataset {card.name} is embedded: there is nothing to download.")
        return
    for result in get_dataset(card, args.to, args.url):
        what = "downloaded" if result.transferred else "already there"
        print(f"{result.path}: {what}, SHA-256 {result.sha256}")
        expected = next((f.sha256 for f in card.files if f.name == result.path.name), None)
        if expected is None:
            print(
                "  no checksum is published for this file; the one above was recorded beside it, "
                "so that later runs notice a change."
            )


def _reading(args: argparse.Namespace) -> dict[str, Any]:
    """Return what `add_log_options` was told; names that no log has are refused."""
    from copygym.envs.logs.schema import SCHEMA, is_feature

    told = log_arguments(args)
    for name in (*told["columns"], *told["constants"], *told["empty"]):
        if name not in SCHEMA and not is_feature(name):
            raise unknown_name("canonical column", name, [*SCHEMA, "user_*", "context_*"])
    return told


def _check(args: argparse.Namespace) -> None:
    from copygym.envs.datasets.own import named
    from copygym.envs.logs.clicklog import ClickLog

    reading = _reading(args)
    if named.is_own(str(args.file)):
        log = named.load(str(args.file), **reading)
    else:
        log = ClickLog.read(args.file, **reading)
    print(summary(log))


def _prepare(args: argparse.Namespace) -> None:
    from copygym.envs.datasets.own import named
    from copygym.envs.logs.prepare import prepare

    source, reading = args.source, _reading(args)
    if named.is_own(str(source)):
        source, reading = named.for_reading(str(source), reading)
    manifest = prepare(
        source,
        args.out,
        partitions=args.partitions,
        engine=args.engine,
        address=args.address,
        **reading,
    )
    sizes = [part["rows"] for part in manifest["parts"].values()]
    together = f"by {manifest['key']}" if manifest["key"] else "row by row"
    print(
        f"{args.out}: {manifest['rows']:,} rows in {len(sizes)} parts {together} "
        f"({min(sizes):,} to {max(sizes):,} rows), SHA-256 {manifest['sha256']}"
    )
    for note in manifest["notes"]:
        print(f"  note: {note}")
    print(f"  read it with dataset=table data.path={args.out}")


def _rate(clicks: int, impressions: int) -> str:
    """Return clicks per impression in percent; a rate that is not 0 is not written as 0."""
    rate = clicks / impressions if impressions else 0.0
    return f"{rate:.4%}" if rate >= 1e-6 or not clicks else f"{100 * rate:.2g}%"


def summary(log: Any) -> str:
    """Return a few lines on a valid log: rows, rates, arms, users, period, columns, notes.

    Impressions, clicks and their rate are of what was sent; decisions to hold stand apart.
    """
    import polars as pl

    from copygym.envs.logs.catalogue import HOLD
    from copygym.envs.logs.clicklog import all_clicked
    from copygym.experiments.report.evidence import log_notes

    held = pl.col("creative_id") == HOLD if log.has("creative_id") else pl.lit(False)
    shown, clicked = pl.col("impressions").cast(pl.Int64), pl.col("clicks").cast(pl.Int64)
    wanted = [
        pl.when(~held).then(shown).sum().alias("shown"),
        pl.when(~held).then(clicked).sum().alias("clicked"),
        pl.when(held).then(shown).sum().alias("held"),
        pl.when(held).then(clicked).sum().alias("organic"),
    ]
    if log.has("user_id"):
        wanted.append(pl.col("user_id").n_unique().alias("users"))
    if log.has("test_id"):
        wanted.append(pl.col("test_id").n_unique().alias("tests"))
    if log.has("timestamp"):
        wanted.append(pl.col("timestamp").min().alias("from"))
        wanted.append(pl.col("timestamp").max().alias("to"))
    if log.has("propensity"):
        wanted.append(pl.col("propensity").min().alias("least propensity"))
    found = log.frame.select(wanted).collect(engine="streaming").row(0, named=True)
    sent, clicks, decisions, organic = (
        int(found.pop(name)) for name in ("shown", "clicked", "held", "organic")
    )
    arms = log.arms()
    lines = [
        f"{log.source}: a valid log",
        f"  rows {log.height:,}, impressions {sent:,}, clicks {clicks:,}, "
        f"CTR {_rate(clicks, sent)}, arms {arms}"
        + (" (in the largest test)" if log.has("test_id") else ""),
    ]
    if decisions:
        lines.append(
            f"  hold (nothing sent): {decisions:,} decisions, {organic:,} organic clicks, in none "
            "of the numbers above but rows and arms"
        )
    lines += [
        f"  {key}: {value:,}" if isinstance(value, int) else f"  {key}: {value}"
        for key, value in found.items()
    ]
    types = log.frame.collect_schema()
    lines.append("  columns: " + ", ".join(f"{name} ({types[name]})" for name in log.columns))
    lines += [f"  note: {note}" for note in log.notes]
    if not sent:
        lines.append("  note: every row is 'hold', so nothing was sent.")
    elif clicks == sent:
        lines.append(f"  note: {all_clicked(sent)}")
    lines += [f"  note: {note}" for note in log_notes(log)]
    if arms < 2:
        lines.append("  note: one arm only, so there is no choice to learn or judge.")
    if not log.has("propensity"):
        lines.append("  note: no propensity, so no off-policy estimate is justified.")
    return "\n".join(lines)
