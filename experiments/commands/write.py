"""``copygym write``: copy for any briefs from a trained copywriter."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.tables.texts import read_texts
from copygym.envs.tasks import CopyRows
from copygym.experiments.commands.write_judged import (
    CLICKS,
    MAY_BE_SENT,
    WHY_NOT,
    RunJudge,
    best_of,
    judged,
    remarks,
)
from copygym.experiments.option_values import number
from copygym.experiments.options import (
    add_file_options,
    add_number,
    add_seed,
    add_value,
    command_parser,
    file_arguments,
)
from copygym.experiments.runs.outputs import (
    FORMULAS,
    check_kinds,
    check_output,
    without_formulas,
    write_table,
)

if TYPE_CHECKING:
    from copygym.agents.copywriter.writer import Copywriter

#: The column that must be there, and those that may.
BRIEF, OPTIONAL = "brief", ("product", "channel", "reader", "original")
#: What is added to the input's columns; the number of a text only where a brief gets several.
COPY, SAMPLE = "copy", "sample"
#: Below this the likeliest word is the only one, and above this words are noise.
_TEMPERATURES = (1e-3, 100.0)

_SETTINGS = "copywriter.json"
#: Copywriters that a run keeps beside those of its algorithms.
BEGINNINGS = ("base", "sft")

_DESCRIPTION = (
    "Writes copy for every brief of a CSV with a trained copywriter. The column brief is required; "
    "product, channel and reader (who the copy is for, in words) are used where they are there, as "
    "is original, a human text to make a variation of (for a run with task=rewrite). Beside each "
    "copy stands whether it may be sent (every claim is tied to a fact of its brief) and why not, "
    "and what share of readers would click it, by the run's reward model, for each audience. "
    f"{FORMULAS}"
)
_EXAMPLES = """examples:
  copygym write --model outputs/my-run --briefs briefs.csv
  copygym write --model outputs/my-run --briefs briefs.csv --output copy.csv --samples 5
  copygym write --model outputs/my-run --briefs briefs.csv --output copy.csv --best-of 8
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: wrong arguments, a file without briefs, or a folder without a copywriter.
    """
    parser = command_parser("copygym write", _DESCRIPTION, _EXAMPLES)
    parser.add_argument(
        "--model", required=True, type=Path, help="a run's folder, or that of a copywriter"
    )
    parser.add_argument("--briefs", required=True, type=Path, help="CSV with a column brief")
    parser.add_argument(
        "--output",
        type=Path,
        help="write a CSV here instead of printing it; .csv.gz and .parquet are packed so",
    )
    add_number(parser, "samples", "texts per brief (default 1)", 1, 1)
    add_number(
        parser,
        "best-of",
        "draw N texts for each that is kept: the likeliest to be clicked of those "
        "that may be sent (default 1)",
        1,
        1,
    )
    add_value(
        parser,
        "--temperature",
        _temperature,
        default=0.7,
        help="0 takes the likeliest words, 1 samples as in training (default 0.7)",
    )
    add_seed(parser, "of the sampling")
    add_file_options(parser)
    parser.add_argument(
        "--allow-download",
        action="store_true",
        help="fetch the base that the copywriter's folder names from the Hugging Face hub, where "
        "this machine has not got it",
    )
    options = parser.parse_args(arguments)
    # The table is checked before the model is read, which takes longer.
    table, notes = read_briefs(
        options.briefs,
        adds=(COPY, MAY_BE_SENT, WHY_NOT, CLICKS, *((SAMPLE,) if options.samples > 1 else ())),
        **file_arguments(options),
    )
    if options.output is not None:
        check_output(options.output, reads=options.briefs, columns=(COPY,))
    check_kinds(table, options.briefs, options.output)
    writer = load_trained(options.model, allow_download=options.allow_download)
    rows, judge = brief_rows(table), RunJudge.of(options.model)
    texts = _draw(writer, rows, judge, options)
    of_text = rows.take(np.repeat(np.arange(len(rows)), options.samples))
    written = judged(with_copy(table, texts, options.samples), texts, of_text, judge)
    told = remarks(texts, of_text, table[BRIEF].to_list(), judge)
    for note in (*notes, *_cut(writer, rows), *_empty(texts), *told):
        sys.stderr.write(f"note: {note}\n")
    if options.output is None:
        sys.stdout.write(without_formulas(written).write_csv())
    else:
        write_table(written, options.output)
        sys.stderr.write(f"{len(texts)} texts in {options.output}\n")
    return 0


def _draw(
    writer: Copywriter, rows: CopyRows, judge: RunJudge, options: argparse.Namespace
) -> list[str]:
    """Return ``samples`` texts for each task, each the best of ``best_of`` draws.

    Raises:
        UserError: several draws of a writer that takes the likeliest words are one text.
    """
    if options.best_of > 1 and not options.temperature:
        raise UserError("--best-of needs draws that differ: give a --temperature above 0.")
    texts = writer.write(
        rows,
        seed=options.seed,
        temperature=options.temperature,
        samples=options.samples * options.best_of,
    )
    if options.best_of == 1:
        return texts
    drawn = rows.take(np.repeat(np.arange(len(rows)), options.samples * options.best_of))
    chosen = best_of(texts, drawn, judge, options.best_of)
    return [texts[k * options.best_of + i] for k, i in enumerate(chosen)]


def _temperature(text: str, option: str) -> float:
    """Return a temperature that a writer can sample at.

    Raises:
        UserError: it is none.
    """
    low, high = _TEMPERATURES
    value = number(text, option)
    if value and not low <= value <= high:
        raise UserError(f"{option}={text}: give 0, or a number from {low:g} to {high:g}.")
    return value


#: `read_texts` of a table of briefs.
read_briefs = partial(read_texts, column=BRIEF, kind="brief", optional=OPTIONAL)


def brief_rows(table: pl.DataFrame) -> CopyRows:
    """Return the writing tasks of a table, prompted as in training; indices are all 0."""
    columns = {name: _column(table, name) for name in (BRIEF, *OPTIONAL)}
    prompts = []
    for brief, product, channel, reader, _ in zip(*columns.values(), strict=True):
        named = f"Product: {product}. {brief}" if product else brief
        lines = [f"Brief: {named}"]
        # Lines that a table cannot fill are left out, not filled with something made up.
        lines += [f"Reader: {reader}"] if reader else []
        lines += [f"Channel: {channel}"] if channel else []
        prompts.append("\n".join(lines))
    nowhere = np.zeros(table.height, dtype=np.int64)
    rows = CopyRows(
        prompts=tuple(prompts),
        briefs=columns[BRIEF],
        products=columns["product"],
        channels=columns["channel"],
        user=nowhere,
        creative=nowhere,
        channel=nowhere,
        slot=nowhere,
    )
    return rows.rewriting(columns["original"]) if "original" in table.columns else rows


def _column(table: pl.DataFrame, name: str) -> tuple[str, ...]:
    """Return a column's cells on one line each; empty texts where there is no such column."""
    if name not in table.columns:
        return ("",) * table.height
    return tuple(" ".join(cell.split()) for cell in table[name].fill_null(""))


def with_copy(table: pl.DataFrame, texts: Sequence[str], samples: int) -> pl.DataFrame:
    """Return the table with a column ``copy``, each row ``samples`` times."""
    row = np.repeat(np.arange(table.height), samples)
    number = np.tile(np.arange(1, samples + 1), table.height)
    out = table[row]
    if samples > 1:
        out = out.with_columns(pl.Series(SAMPLE, number))
    return out.with_columns(pl.Series(COPY, list(texts), dtype=pl.String))


def _cut(writer: Copywriter, rows: CopyRows) -> list[str]:
    """Return a note where the writer has not read all of a brief."""
    from copygym.agents.copywriter.prompts import cut_note

    note = cut_note(writer.style, rows.prompts)
    return [] if note is None else [note]


def _empty(texts: Sequence[str]) -> list[str]:
    """Return a note where a text has no letter in it."""
    empty = sum(not text for text in texts)
    if not empty:
        return []
    share = f"{empty:,} of {len(texts):,} texts {'is' if empty == 1 else 'are'} empty"
    return [
        f"{share}: the writer ended before its first word; take another --seed or more --samples, "
        "or train it for longer."
    ]


def load_trained(folder: Path, *, allow_download: bool = False) -> Copywriter:
    """Return the copywriter of a run or model folder.

    Args:
        folder: of the run or the model.
        allow_download: see `Copywriter.load`.

    Raises:
        UserError: the folder holds no copywriter, those of several algorithms, or an incomplete
            one.
    """
    if not folder.is_dir():
        raise UserError(f"--model {folder} is no folder; give a run's folder.")
    models = ("config.json", "adapter_config.json")  # of transformers and of PEFT
    if any((folder / name).is_file() for name in models) and not (folder / _SETTINGS).is_file():
        from copygym.agents.copywriter.models import load_copywriter

        return load_copywriter("hf", folder, allow_download=allow_download)
    found = [folder] if (folder / _SETTINGS).is_file() else _inside(folder)
    if not found:
        raise UserError(
            f"--model {folder} holds no trained copywriter (no {_SETTINGS}); give the folder of a "
            "run that trained one."
        )
    if len(found) > 1:
        # Of what a run kept, the base and SFT are where its algorithm began.
        found = [path for path in found if path.name not in BEGINNINGS] or found
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in found[:4])
        raise UserError(f"--model {folder} holds several copywriters ({names}); name one of them.")
    from copygym.agents.copywriter.writer import Copywriter

    return Copywriter.load(found[0], allow_download=allow_download)


def _inside(folder: Path) -> list[Path]:
    # `.NAME.tmp` folders are saves that were killed.
    settings = sorted(folder.rglob(_SETTINGS))
    return [
        file.parent
        for file in settings
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
