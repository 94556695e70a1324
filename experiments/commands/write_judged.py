"""What stands beside copy that `copygym write` hands out: may it be sent, and what will it earn?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from copygym.envs.tasks import CopyRows

if TYPE_CHECKING:
    from copygym.envs.profiles.builder import Profiles
    from copygym.envs.simulator.fitted import FittedUsers

#: Columns beside each copy.
MAY_BE_SENT, WHY_NOT, CLICKS = "may_be_sent", "why_not", "click_probability"
#: Before the name of an audience.
FOR = "click_probability: "
#: Readers of an audience who are asked.
_READERS = 64
#: Share of the training briefs, the least like any other, that are as unlike as a stranger's.
_UNLIKE = 0.05


@dataclass(frozen=True)
class RunJudge:
    """The reward model of a run, its readers, and the briefs that it learned from.

    Attributes:
        model: a CTR model; None where the run kept none.
        profiles: of simulated readers; None where the run has none.
        briefs: of the log's creatives.
    """

    model: Any
    profiles: Profiles | None
    briefs: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> RunJudge:
        """Return what a run, or the folder of one of its writers, has to judge by.

        Raises:
            UserError: its models are damaged.
        """
        run = next(
            (one for one in (folder, *folder.parents[:2]) if (one / "models" / "proxy").is_dir()),
            None,
        )
        if run is None:
            return cls(None, None, ())
        from copygym.rewards.ctr.model import load_ctr_model
        from copygym.rewards.ctr.readers import reads_readers

        model = load_ctr_model(run / "models" / "proxy")
        fitted = _users(run / "users" / "proxy")
        if fitted is None:
            return cls(model, None, ())
        profiles = fitted.users.profiles if reads_readers(model) else None
        return cls(model, profiles, tuple(fitted.users.catalogue.briefs))

    def columns(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Return P(click) of N texts by name of the column: of all readers, and each audience."""
        if self.model is None:
            return {}
        from scipy.special import expit

        if self.profiles is None:
            return {CLICKS: self.model.probability(texts)}
        distinct = list(dict.fromkeys(texts))
        place = np.array([distinct.index(text) for text in texts], np.int64)
        columns = {}
        for name, rows in self._readers():
            table_UK = expit(self.model.table(distinct, self.profiles.features[rows]))
            columns[name] = table_UK.mean(axis=0)[place]
        return columns

    def _readers(self) -> list[tuple[str, np.ndarray]]:
        assert self.profiles is not None
        everybody = np.arange(len(self.profiles))
        groups = [(CLICKS, everybody)]
        audience, names = self.profiles.audience, self.profiles.audience_names
        if audience is not None and len(names) > 1:
            groups += [
                (f"{FOR}{name}", np.flatnonzero(audience == a)) for a, name in enumerate(names)
            ]
        # Evenly spaced: the same people in every call.
        return [
            (name, rows[np.linspace(0, len(rows) - 1, min(_READERS, len(rows))).astype(int)])
            for name, rows in groups
            if len(rows)
        ]

    def unlike(self, briefs: Sequence[str]) -> list[int]:
        """Return the places of briefs that are unlike all those that the run learned from.

        Likeness is the TF-IDF cosine to the nearest; a brief is unlike where it is less like any
        than all but a twentieth of the training briefs are like each other.
        """
        known = sorted(set(self.briefs))
        if len(known) < 3 or not briefs:
            return []
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectoriser = TfidfVectorizer(token_pattern=r"(?u)\w{3,}", sublinear_tf=True)
        try:
            rows = vectoriser.fit_transform(known)
        except ValueError:  # no brief has a word
            return []
        among = (rows @ rows.T).toarray()
        np.fill_diagonal(among, 0.0)
        least = np.quantile(among.max(axis=1), _UNLIKE)
        nearest = (vectoriser.transform(list(briefs)) @ rows.T).toarray().max(axis=1)
        return [int(i) for i in np.flatnonzero(nearest < least)]


def _users(folder: Path) -> FittedUsers | None:
    if not folder.is_dir():
        return None
    from copygym.envs.simulator.fitted import FittedUsers

    return FittedUsers.load(folder)


def checked(texts: Sequence[str], rows: CopyRows) -> tuple[np.ndarray, list[str]]:
    """Return which of N texts may be sent, (N,) bool, and why the others may not.

    Args:
        texts: N texts.
        rows: N tasks.
    """
    from copygym.rewards.copy.grounding import check_copy

    originals = rows.originals or ("",) * len(texts)
    findings = [
        check_copy(text, brief, original or None)
        for text, brief, original in zip(texts, rows.briefs, originals, strict=True)
    ]
    said = ["; ".join(f"{f.kind}: {f.reason}" for f in found) for found in findings]
    return np.array([not found for found in findings], bool), said


def best_of(texts: Sequence[str], rows: CopyRows, judge: RunJudge, samples: int) -> list[int]:
    """Return for each of M tasks which of its texts is best: one that may be sent, then clicks.

    Args:
        texts: M * samples texts, those of a task together.
        rows: the task of each text.
        judge: of the run.
        samples: texts of a task.
    """
    good, _ = checked(texts, rows)
    clicks = judge.columns(texts).get(CLICKS, np.zeros(len(texts)))
    rank = np.where(good, 1.0, 0.0) * 2 + clicks  # a probability is below 2
    return [int(i) for i in rank.reshape(-1, samples).argmax(axis=1)]


def judged(
    table: pl.DataFrame, texts: Sequence[str], rows: CopyRows, judge: RunJudge
) -> pl.DataFrame:
    """Return the table of copies with whether each may be sent, why not, and its click rates."""
    good, why = checked(texts, rows)
    beside = [pl.Series(MAY_BE_SENT, good), pl.Series(WHY_NOT, why, dtype=pl.String)]
    beside += [pl.Series(name, p).round(5) for name, p in judge.columns(texts).items()]
    return table.with_columns(beside)


def remarks(
    texts: Sequence[str], rows: CopyRows, briefs: Sequence[str], judge: RunJudge
) -> list[str]:
    """Return what somebody who sends these texts must know."""
    good, _ = checked(texts, rows)
    said = []
    if not good.all():
        bad = int((~good).sum())
        may = "may not be sent as it stands" if bad == 1 else "may not be sent as they stand"
        said.append(
            f"{bad:,} of {len(texts):,} texts {may}: see {MAY_BE_SENT} and {WHY_NOT}; draw more by "
            "--best-of, or another --seed."
        )
    if unlike := judge.unlike(briefs):
        said.append(
            f"{len(unlike):,} of {len(briefs):,} briefs (row {unlike[0] + 1} first) are unlike all "
            "that this writer learned from: read what it made of them, and do not trust their "
            "click probabilities."
        )
    if judge.model is None:
        said.append("no reward model lies beside this writer, so no click probability is given.")
    return said
