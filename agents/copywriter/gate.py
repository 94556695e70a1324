"""The gate before delivery: what fails the check is drawn again, and never sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from copygym.agents.copywriter.protocol import Writer
from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.tasks import CopyRows
from copygym.rewards.copy.grounding import Finding, check_copy, warn_of_briefs

#: Maps M texts and the M tasks that they answer to M scores: the highest is kept.
Prefer = Callable[[Sequence[str], CopyRows], np.ndarray]


@dataclass(frozen=True)
class Delivered:
    """What may be sent for N tasks.

    Attributes:
        texts: N texts.
        drawn: (N,) int64 the round of draws that each text comes from, 0 for the first; -1 where a
            logged copy took its place.
        passed_first: share of the first draws that pass, before any choice between them.
        passed: share of tasks that are answered by a text of the writer.
        deliverable: share of the N texts that pass, logged copies included.
        reasons: how many of the first draws had a finding of each kind.
        failed_logged: tasks for which no logged copy passes either: their first one is sent.
    """

    texts: tuple[str, ...]
    drawn: np.ndarray
    passed_first: float
    passed: float
    deliverable: float
    reasons: Mapping[str, int] = field(default_factory=dict)
    failed_logged: int = 0

    def shares(self) -> dict[str, float]:
        """Return the three shares by name, for records."""
        return {
            "passed_first": self.passed_first,
            "passed": self.passed,
            "deliverable": self.deliverable,
        }


@dataclass(frozen=True)
class Gate:
    """A writer whose texts are checked before they are sent.

    Every task is drawn ``samples`` texts; those that pass compete by ``prefer``. A task of which
    none passes is drawn again, up to ``retries`` times; then a logged copy takes the text's place.
    The same seed gives the same texts.

    Attributes:
        writer: draws the texts.
        retries: rounds of draws after the first one.
        samples: texts drawn per task and round.
        prefer: scores to choose by, such as a copy reward's; None takes the first that passes.
        temperature: of the draws.
        top_p: nucleus mass of the draws.
    """

    writer: Writer
    retries: int = 3
    samples: int = 1
    prefer: Prefer | None = None
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.retries < 0 or self.samples < 1:
            raise UserError(
                f"the gate has retries={self.retries} and samples={self.samples}; give retries "
                "from 0 and samples from 1."
            )

    def write(self, rows: CopyRows, logged: Sequence[Sequence[str]], *, seed: int) -> Delivered:
        """Return copy for N tasks that may be sent.

        Args:
            rows: the tasks. Where they have originals, what these claim may be claimed.
            logged: for each task the copies that may stand in, the preferred first (see
                `logged_copies`). The first that passes is sent; where none does, the first.
            seed: non-negative.

        Raises:
            UserError: a task without a copy that may stand in.
        """
        _require_copies(rows, logged)
        warn_of_briefs(rows.briefs)
        texts = [""] * len(rows)
        drawn = np.full(len(rows), -1, np.int64)
        waiting = np.arange(len(rows))
        reasons: Counter[str] = Counter()
        first = 0
        for attempt in range(self.retries + 1):
            if not len(waiting):
                break
            tasks = rows.take(waiting)
            candidates = self.writer.write(
                tasks,
                seed=derived_seed(seed, "gate", attempt),
                temperature=self.temperature,
                top_p=self.top_p,
                samples=self.samples,
            )
            repeated = rows.take(np.repeat(waiting, self.samples))
            findings = [_check(repeated, i, text) for i, text in enumerate(candidates)]
            good = np.array([not found for found in findings], bool)
            if attempt == 0:
                first = int(good.sum())
                reasons.update(kind for found in findings for kind in {f.kind for f in found})
            best = self._best(candidates, good, repeated)
            for place, chosen in zip(waiting.tolist(), best.tolist(), strict=True):
                if chosen >= 0:
                    texts[place], drawn[place] = candidates[chosen], attempt
            waiting = waiting[best < 0]
        failed = 0
        for place in waiting.tolist():
            own = logged[place]
            passing = [text for text in own if not _check(rows, place, text)]
            texts[place] = passing[0] if passing else own[0]
            failed += not passing
        n = max(len(rows), 1)
        return Delivered(
            texts=tuple(texts),
            drawn=drawn,
            passed_first=first / (n * self.samples),
            passed=float((drawn >= 0).mean()) if len(rows) else 0.0,
            deliverable=1.0 - failed / n,
            reasons=dict(sorted(reasons.items())),
            failed_logged=failed,
        )

    def _best(self, candidates: Sequence[str], good: np.ndarray, rows: CopyRows) -> np.ndarray:
        """Return (M,) int64 the candidate of each of M tasks that is sent, -1 where none passes."""
        scores = np.zeros(len(candidates))
        if self.prefer is not None and self.samples > 1 and good.any():
            passing = np.flatnonzero(good)
            texts = [candidates[i] for i in passing.tolist()]
            scores[passing] = self.prefer(texts, rows.take(passing))
        scores[~good] = -np.inf
        table = scores.reshape(-1, self.samples)
        best = table.argmax(axis=1) + np.arange(len(table)) * self.samples
        return np.where(np.isfinite(table.max(axis=1)), best, -1)


def logged_copies(rows: CopyRows, catalogue: Catalogue) -> list[tuple[str, ...]]:
    """Return for each of N tasks the copies that may stand in for a new text.

    A task to rewrite has its original alone; any other its own creative's text first, then the
    other copies for its product, those most often sent first.
    """
    originals = rows.originals or ("",) * len(rows)
    products = np.array(catalogue.product_ids, dtype=np.str_)
    order = np.argsort(-catalogue.popularity, kind="stable")
    copies = {
        product: order[products[order] == product].tolist() for product in dict.fromkeys(products)
    }
    found: list[tuple[str, ...]] = []
    for original, creative in zip(originals, rows.creative.tolist(), strict=True):
        if original:
            found.append((original,))
            continue
        others = [k for k in copies[products[creative]] if k != creative]
        found.append(tuple(catalogue.texts[k] for k in (creative, *others)))
    return found


def _check(rows: CopyRows, row: int, text: str) -> tuple[Finding, ...]:
    original = rows.originals[row] if rows.originals else ""
    return check_copy(text, rows.briefs[row], original or None)


def _require_copies(rows: CopyRows, logged: Sequence[Sequence[str]]) -> None:
    if len(logged) != len(rows):
        raise ValueError(f"got logged copies for {len(logged)} of {len(rows)} tasks")
    bare = next((i for i, own in enumerate(logged) if not own), None)
    if bare is not None:
        raise UserError(
            f"the gate has no logged copy for {rows.products[bare]!r}, so nothing can take the "
            "place of a text that fails; give each task at least one."
        )
