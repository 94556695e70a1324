"""``copygym score``: a click score for every text of a table, by a trained reward model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from copygym.core.components import trust
from copygym.core.files.storage import cache_home
from copygym.core.tables.texts import read_texts
from copygym.experiments.options import add_file_options, add_trust, command_parser, file_arguments
from copygym.experiments.runs.outputs import (
    FORMULAS,
    check_kinds,
    check_output,
    check_suffix,
    write_table,
)

if TYPE_CHECKING:
    from copygym.rewards.ctr.ensemble import CtrEnsemble
    from copygym.rewards.ctr.model import CtrModel

#: What is added to the input's columns.
SCORE, PROBABILITY = "score", "probability"
#: Distinct texts between two moves of the progress bar.
_CHUNK = 2048

_DESCRIPTION = (
    "Scores the texts of a table with a trained CTR reward model. Every column of the input is "
    f"kept; {SCORE} is the calibrated logit of a click (compare texts of one test by it), "
    f"{PROBABILITY} the calibrated click rate. {FORMULAS}"
)
_EXAMPLES = """examples:
  copygym score --model outputs/upworthy_reward/RUN --input texts.csv --output scored.csv
  copygym score --model MODEL --input arms.parquet --text-column copy --output scored.parquet
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: wrong arguments, a table without texts, or a folder without a reward model.
    """
    parser = command_parser("copygym score", _DESCRIPTION, _EXAMPLES)
    parser.add_argument(
        "--model", required=True, type=Path, help="a run's folder, or that of a reward model"
    )
    parser.add_argument("--input", required=True, type=Path, help="CSV, csv.gz or Parquet")
    parser.add_argument(
        "--text-column", default="headline", help="column of the texts (default headline)"
    )
    parser.add_argument("--output", required=True, type=Path, help=".csv, .csv.gz or .parquet")
    parser.add_argument(
        "--no-cache", action="store_true", help="compute scores that an earlier call has computed"
    )
    add_trust(parser)
    add_file_options(parser)
    options = parser.parse_args(arguments)
    trust(options.trust)
    check_suffix(options.output, "--output")
    check_output(options.output, reads=options.input, columns=(SCORE, PROBABILITY))
    # The table is checked before the model is read, which takes longer.
    table, notes = read_texts(
        options.input,
        options.text_column,
        adds=(SCORE, PROBABILITY),
        way_out="name the one with the texts by --text-column",
        **file_arguments(options),
    )
    check_kinds(table, options.input, options.output)

    from copygym.rewards.ctr.model import load_ctr_model

    model = load_ctr_model(options.model)
    if not options.no_cache:
        model.keep_scores(score_cache())
    write_table(scored(table, model, options.text_column), options.output)
    for note in notes:
        sys.stderr.write(f"note: {note}\n")
    sys.stderr.write(f"{table.height:,} texts scored in {options.output}\n")
    return 0


def score_cache() -> Path:
    """Return the folder of the score cache: ``$COPYGYM_HOME/scores``."""
    return cache_home() / "scores"


def scored(table: pl.DataFrame, model: CtrModel | CtrEnsemble, column: str) -> pl.DataFrame:
    """Return the table with its scores and probabilities; equal texts are computed once."""
    from scipy.special import expit

    from copygym.core.progress import progress

    unique = table[column].unique(maintain_order=True).to_list()
    # Texts of like length in one chunk: little is then spent on padding.
    unique.sort(key=len)
    scores: list[np.ndarray] = []
    with progress(total=len(unique), what="score", unit="text") as bar:
        for start in range(0, len(unique), _CHUNK):
            chunk = unique[start : start + _CHUNK]
            scores.append(model.score(chunk))
            bar.update(len(chunk))
    by_text = dict(zip(unique, np.concatenate(scores).tolist(), strict=True))
    logits = np.array([by_text[text] for text in table[column].to_list()])
    return table.with_columns(pl.Series(SCORE, logits), pl.Series(PROBABILITY, expit(logits)))
