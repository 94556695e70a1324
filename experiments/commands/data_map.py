"""``copygym data map``: propose how a file is read, show it, and keep it under a name."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError
from copygym.experiments.options import add_log_options, log_arguments

if TYPE_CHECKING:
    from copygym.envs.datasets.own.proposal import Proposal
    from copygym.envs.logs.clicklog import ClickLog

#: Rows that are shown as they would be read, and letters of a value.
_ROWS, _WIDTH = 10, 32


def add_map(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "map",
        help="propose how your own log is read, show it, and keep it under a name",
        description="Proposes which column of a file is what, from names (English, German) and "
        "values, shows ten rows as they would be read, and writes copygym-logs/NAME.yaml. Every "
        "command then takes the log by that name: `copygym data check NAME`, `--log NAME`, "
        "`copygym run dataset=NAME`. Options here win over what is proposed.",
    )
    parser.add_argument("file", type=Path, help="CSV, csv.gz or Parquet, as it was exported")
    parser.add_argument("--name", help="of the log (default: the file's, without its ending)")
    parser.add_argument(
        "--products", type=Path, metavar="FILE", help="what is sold: sku, name, price, facts"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a log of the same name")
    add_log_options(parser)


def map_log(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: the file cannot be read as proposed, or there is such a name already.
    """
    from copygym.envs import datasets
    from copygym.envs.datasets.own import named
    from copygym.envs.datasets.own.proposal import propose

    name = args.name or _name_of(args.file)
    path = named.place(name)
    if name in datasets.available():
        raise UserError(f"--name {name}: a dataset of copygym is called so; choose another name.")
    if path.exists() and not args.overwrite:
        raise UserError(f"{path} is there already: choose another --name, or say --overwrite.")
    found = propose(args.file, args.products)
    found.settings = named.joined(found.settings, log_arguments(args))
    _drop_contradictions(found.settings)
    named.write(name, found.settings, _remarks(found))
    sys.stdout.write(_proposal_text(found, path))
    try:
        log = named.load(name)
        shown = _first_rows(log)
    except UserError as error:
        raise UserError(
            f"as proposed, the log cannot be read yet: {str(error).rstrip('.')}. Mend {path}, and "
            f"try it by `copygym data check {name}`."
        ) from None
    sys.stdout.write(shown)
    for note in log.notes:
        sys.stdout.write(f"note: {note}\n")
    sys.stdout.write(
        f"\nwritten: {path}; look at it, then: copygym data check {name}, "
        f"copygym run dataset={name}\n"
    )
    return 0


def _name_of(file: Path) -> str:
    stem = file.name.split(".")[0]
    name = "".join(c if c.isalnum() and c.isascii() else "-" for c in stem).strip("-")
    return name if name[:1].isalpha() else f"log-{name}".rstrip("-")


def _drop_contradictions(settings: dict[str, Any]) -> None:
    """Take out of a proposal what an option has decided otherwise."""
    columns, constants = settings.get("columns") or {}, settings.get("constants") or {}
    if "impressions" in columns:
        constants.pop("impressions", None)
    ignored = set(settings.get("ignore") or [])
    settings["columns"] = {k: v for k, v in columns.items() if v not in ignored}


def _remarks(found: Proposal) -> str:
    lines = ["How a log is read; written by `copygym data map`. Change what is wrong:",
             "docs/datasets.md says what each line means.", *found.unsure]  # fmt: skip
    return "\n".join(lines)


def _proposal_text(found: Proposal, path: Path) -> str:
    """Return what is proposed: column by column, then what is unsure."""
    width = max(map(len, (*found.sure, *found.left_out)), default=0)
    lines = [f"{found.settings['path']}, as it seems to be meant:", ""]
    lines += [f"  {name:<{width}}  {ours}" for name, ours in found.sure.items()]
    lines += [f"  {name:<{width}}  left out: {why}" for name, why in found.left_out.items()]
    for key in ("separator", "encoding", "time_format", "constants", "empty", "cap", "events"):
        if found.settings.get(key):
            lines.append(f"  {key}: {found.settings[key]}")
    if found.unsure:
        lines += ["", "Unsure:", *(f"  - {one}" for one in found.unsure)]
    return "\n".join(lines) + "\n\n"


def _first_rows(log: ClickLog) -> str:
    """Return the first rows of a log as text, a column of the table a line."""
    from copygym.core.text.plain import printable

    table = log.frame.head(_ROWS).collect()
    if "user_id" in table.columns:  # nobody's id need stand in a terminal's history
        people = {
            one: f"person {i + 1}"
            for i, one in enumerate(table["user_id"].unique(maintain_order=True))
        }
        table = table.with_columns(table["user_id"].replace_strict(people).alias("user_id"))
    cells = [[name, *(_cell(value) for value in table[name].to_list())] for name in table.columns]
    lines = [f"The first {table.height} rows as they are read, a column a line:", ""]
    width = max(len(row[0]) for row in cells)
    for name, *values in cells:
        distinct = list(dict.fromkeys(values))
        lines.append(f"  {name:<{width}}  {' | '.join(values if len(distinct) > 1 else distinct)}")
    return printable("\n".join(lines)) + "\n\n"


def _cell(value: Any) -> str:
    text = "" if value is None else str(value).removesuffix("+00:00")
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."
