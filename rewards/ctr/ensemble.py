"""Ensembles of CTR models, with heads that a policy finds harder to fool than a single model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from copygym.core.errors import UserError, unknown_name
from copygym.core.files.storage import write_json
from copygym.rewards.ctr.calibration import Calibration
from copygym.rewards.ctr.data import CopyCounts
from copygym.rewards.ctr.files import MARK, find_model, new_model_folder
from copygym.rewards.ctr.model import _FORMAT, CtrModel, read_state, stack_weights
from copygym.rewards.ctr.readers import FOLDER, ReaderTaste, ReadsReaders

HEADS = ("mean", "wco", "uwo")
#: Scores of members that `CtrEnsemble.table` holds at once.
_CELLS = 8_000_000


def combine(scores_MN: np.ndarray, head: str, beta: float) -> np.ndarray:
    """Return (N,) scores of an ensemble from its members' (M, N), or (U, K) from (M, U, K).

    Coste et al. (2023), "Reward Model Ensembles Help Mitigate Overoptimization" (arXiv
    2310.02743): ``mean``, their equation 3; ``wco``, worst-case optimisation, the lowest member,
    equation 4; ``uwo``, uncertainty-weighted optimisation, the mean less ``beta`` times the
    members' variance (over M, not M - 1), equation 5.

    Args:
        scores_MN: calibrated logits.
        head: one of `HEADS`.
        beta: lambda of the paper.
    """
    if head == "mean":
        return scores_MN.mean(axis=0)
    if head == "wco":
        return scores_MN.min(axis=0)
    if head == "uwo":
        return scores_MN.mean(axis=0) - beta * scores_MN.var(axis=0)
    raise unknown_name("ensemble head", head, list(HEADS))


def check_head(head: str, beta: float, share: float) -> None:
    """Raise `UserError` for options that no `CtrEnsemble` takes."""
    if head not in HEADS:
        raise unknown_name("ensemble head", head, list(HEADS))
    if not 0 < share <= 1 or not beta >= 0:
        raise UserError(f"share={share}, beta={beta}: give 0 < share <= 1 and beta >= 0.")


class CtrEnsemble(ReadsReaders):
    """Models that differ by seed and by the tests that they saw.

    Args:
        members: untrained (or trained) models, two or more to have a spread.
        head: ``mean``, ``wco`` or ``uwo``; see `combine`. May be changed after training.
        beta: weight of the variance in ``uwo``.
        share: of the training tests that each member sees, drawn anew for each; 1 for all.
    """

    def __init__(
        self,
        members: Sequence[CtrModel],
        *,
        head: str = "mean",
        beta: float = 1.0,
        share: float = 0.8,
    ) -> None:
        check_head(head, beta, share)
        if not members:
            raise UserError("an ensemble needs at least one member.")
        super().__init__()
        self.members = list(members)
        self.head, self.beta, self.share = head, beta, share
        self.report: dict[str, Any] = {}
        self._folder: Path | None = None

    def __repr__(self) -> str:
        return f"CtrEnsemble({len(self.members)} x {self.members[0]!r}, head {self.head!r})"

    @property
    def no_signal(self) -> bool:
        """True where no member found a signal; see `CtrModel.no_signal`."""
        return all(member.no_signal for member in self.members)

    def fit(self, train: CopyCounts, validation: CopyCounts, *, seed: int) -> CtrEnsemble:
        """Train every member and return the ensemble; see `CtrModel.fit`."""
        self._folder = self.taste = None
        for index in range(len(self.members)):
            self._fit_member(index, train, validation, seed)
        self.report = {"members": [member.report for member in self.members]}
        return self

    def fit_folds(self, counts: CopyCounts, fold: np.ndarray, *, seed: int) -> CtrEnsemble:
        """Train every member on all folds but its own, which validates it; return the ensemble.

        A cross-validation committee (Parmanto et al. 1996, "Improving committee diagnosis with
        resampling techniques"): penalties, stack weights and the scale of the logits are those of
        all folds together, because a fold alone holds a few texts to compare.

        Args:
            counts: arms.
            fold: (N,) int64 from 0; member m leaves out fold m modulo their number.
            seed: decides every number on a CPU.
        """
        self._folder = self.taste = None
        n_folds = int(fold.max()) + 1
        outs = [fold == index % n_folds for index in range(len(self.members))]
        for index, out in enumerate(outs):
            self._fit_member(index, counts.take(~out), counts.take(out), seed)
        if self._settle_penalties(counts, outs):
            for index, out in enumerate(outs):
                self._fit_member(index, counts.take(~out), counts.take(out), seed)
        self._settle_scale(counts, outs[:n_folds], fold)
        self.report = {"members": [member.report for member in self.members]}
        return self

    def _settle_penalties(self, counts: CopyCounts, outs: Sequence[np.ndarray]) -> bool:
        """Give each kind of scorer the penalty that did best over all folds; tell of a change."""
        changed = False
        for scorers in zip(*(member.scorers for member in self.members), strict=True):
            fits = [scorer.report.get("validation_fit") for scorer in scorers]
            if not all(fits) or len(fits[0]) < 2:
                continue
            # A fold tells as much as it has texts to compare.
            pairs = [max(int(out.sum()) - len(np.unique(counts.test[out])), 0) for out in outs]
            total = {
                key: sum(fit[key] * weight for fit, weight in zip(fits, pairs, strict=True))
                for key in fits[0]
            }
            best = max(total, key=lambda key: (total[key], float(key)))
            for scorer in scorers:
                changed |= scorer.report["penalty"] != float(best)
                scorer.penalties = (float(best),)
        return changed

    def _settle_scale(
        self, counts: CopyCounts, outs: Sequence[np.ndarray], fold: np.ndarray
    ) -> None:
        """Give all members the stack weights and the calibration of all folds together.

        Each text is scored by the member that has not seen it. A fold alone has a few texts to
        compare, from which a scale of the logits would be luck.
        """
        first = self.members[0]
        raw = np.zeros((len(counts), len(first.scorers)))
        for member, out in zip(self.members, outs, strict=False):
            texts = counts.take(out).texts
            raw[out] = np.column_stack([scorer.raw(texts) for scorer in member.scorers])
        # Scores of two members differ by a constant, so that only texts of one fold are compared.
        apart = replace(
            counts,
            test=np.unique(np.stack([counts.test, fold]), axis=1, return_inverse=True)[1].ravel(),
        )
        weights = stack_weights(raw, apart)
        calibration = Calibration(first.calibration.method)
        calibration.fit(raw @ weights, apart)
        lowest = float(calibration.logit(raw @ weights).min())
        for member in self.members:
            member.scale(weights, calibration, lowest)

    def _fit_member(self, index: int, train: CopyCounts, held_out: CopyCounts, seed: int) -> None:
        own = np.random.default_rng([seed, index])
        seen = train
        if self.share < 1:
            experiments = np.unique(train.experiment)
            count = max(1, round(self.share * len(experiments)))
            chosen = own.choice(experiments, size=count, replace=False)
            seen = train.take(np.isin(train.experiment, chosen))
        self.members[index].fit(seen, held_out, seed=int(own.integers(2**31)))

    def _taste_members(self) -> int:
        return len(self.members)

    def member_scores(self, texts: Sequence[str], profiles: np.ndarray | None = None) -> np.ndarray:
        """Return (M, N) float64 calibrated logits of the members; see `CtrModel.score`."""
        scores = np.stack([member.score(texts) for member in self.members])
        if profiles is not None and self.taste is not None and len(texts):
            scores += self.taste.of(texts, profiles)
        return scores

    def table(self, texts: Sequence[str], profiles: np.ndarray) -> np.ndarray:
        """Return (U, K) float64 what `score` says of each of K texts for each of U readers."""
        of_texts_MK = np.stack([member.score(texts) for member in self.members])
        if self.taste is None:
            return np.repeat(
                combine(of_texts_MK, self.head, self.beta)[None], len(profiles), axis=0
            )
        out = np.empty((len(profiles), len(texts)))
        step = max(1, _CELLS // max(of_texts_MK.size, 1))
        for start in range(0, len(profiles), step):
            rows = slice(start, start + step)
            scores = of_texts_MK[:, None] + self.taste.table(texts, profiles[rows])
            out[rows] = combine(scores, self.head, self.beta)
        return out

    def score(self, texts: Sequence[str], profiles: np.ndarray | None = None) -> np.ndarray:
        """Return (N,) float64 logits of a click by the ensemble's head."""
        return combine(self.member_scores(texts, profiles), self.head, self.beta)

    def probability(self, texts: Sequence[str], profiles: np.ndarray | None = None) -> np.ndarray:
        """Return (N,) float64: the logistic function of `score`."""
        from scipy.special import expit

        return np.asarray(expit(self.score(texts, profiles)), dtype=np.float64)

    def std(self, texts: Sequence[str], profiles: np.ndarray | None = None) -> np.ndarray:
        """Return (N,) float64 standard deviations of the members' logits."""
        return self.member_scores(texts, profiles).std(axis=0)

    def keep_scores(self, folder: str | Path) -> CtrEnsemble:
        """Keep the members' scores on disk; see `CtrModel.keep_scores`."""
        for member in self.members:
            member.keep_scores(folder)
        return self

    def save(self, folder: str | Path) -> None:
        """Write the ensemble; ``folder`` appears whole or not at all."""
        with new_model_folder(Path(folder)) as draft:
            for index, member in enumerate(self.members):
                part = draft / f"member-{index}"
                part.mkdir()
                member.write(part)
            if self.taste is not None:
                self.taste.save(draft / FOLDER)
            write_json(
                draft / MARK,
                {
                    "format": _FORMAT,
                    "kind": "ensemble",
                    "members": len(self.members),
                    "head": self.head,
                    "beta": self.beta,
                    "share": self.share,
                    "reads_readers": self.reads_readers,
                    "report": self.report,
                },
            )
        for index, member in enumerate(self.members):
            member._folder = Path(folder) / f"member-{index}"

    @classmethod
    def load(cls, folder: str | Path) -> CtrEnsemble:
        """Read what `save` wrote.

        Raises:
            UserError: no ensemble, or one without its weights, is there.
        """
        root = find_model(folder)
        state = read_state(root)
        if state["kind"] != "ensemble":
            raise UserError(f"{root} holds a single CTR model: load it with load_ctr_model.")
        count = state["members"]
        if type(count) is not int or count < 1 or (root / f"member-{count}").exists():
            raise UserError(
                f"{root / MARK} says that it has {count!r} members, which are not those in its "
                "folder: it is damaged; train it again."
            )
        members = [CtrModel.load(root / f"member-{i}") for i in range(count)]
        ensemble = cls(members, head=state["head"], beta=state["beta"], share=state["share"])
        if state["reads_readers"]:
            ensemble.taste = ReaderTaste.load(root / FOLDER, count)
        ensemble.report = state["report"]
        return ensemble
