"""How much a log tells of which text suits which reader: the card of text x reader signal."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from copygym.core.estimates import RESAMPLES, Estimate, resample_sums, with_interval
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.profiles.builder import Profiles
from copygym.rewards.ctr.encoders import FrozenFeatures, TextFeatures
from copygym.rewards.ctr.reader_fit import LEAST_CLICKS, Learned, learn_taste
from copygym.rewards.ctr.sends import ReaderSends

#: p-value up to which readers are told apart.
_LEVEL = 0.02


@dataclass(frozen=True)
class ReaderSignal:
    """What a log tells of which text of a product suits which reader.

    Attributes:
        sends: impressions.
        clicks: of these.
        readers: to whom something was sent.
        texts: distinct.
        gain: nats of held-out log loss that the meeting of text and reader saves on all sends,
            with its 95% interval over readers; None where nothing could be fitted.
        per_send: the same a send.
        per_click: the same a click.
        luck: p-value: the share of permutations of the profiles among readers that fit the clicks
            as well.
        history: whether the profiles' history helps beside demographics.
        reason: why nothing could be fitted, else "".
    """

    sends: int
    clicks: int
    readers: int
    texts: int
    gain: Estimate | None = None
    per_send: Estimate | None = None
    per_click: Estimate | None = None
    luck: float = 1.0
    history: bool = False
    reason: str = ""

    @property
    def found(self) -> bool:
        """True where profiles tell more of the clicks than luck would, and help to predict them."""
        return self.gain is not None and self.gain.value > 0 and self.luck <= _LEVEL

    @property
    def verdict(self) -> str:
        """One sentence: whether personal copy can be learned from this log."""
        counts = f"{self.clicks:,} clicks of {self.readers:,} readers on {self.texts:,} texts"
        if self.gain is None or self.per_click is None:
            return f"Personal copy cannot be learned from this log: {self.reason}."
        saved = (
            f"on readers that no fit saw, knowing who reads which text saves "
            f"{_scaled(self.per_click, 1000):.2g} thousandths of a nat a click, and luck does as "
            f"well in {self.luck:.1%} of permutations of the readers ({counts})"
        )
        can = "can" if self.found else "cannot"
        return f"Personal copy {can} be learned from this log: {saved}."

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types, with ``found`` and ``verdict``."""
        known = asdict(self)
        for name in ("gain", "per_send", "per_click"):
            estimate = getattr(self, name)
            known[name] = None if estimate is None else estimate.to_dict()
        return {**known, "found": self.found, "verdict": self.verdict}


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(*(factor * number for number in estimate))


def reader_signal(
    log: ClickLog | ReaderSends,
    profiles: Profiles | None = None,
    *,
    seed: int,
    features: TextFeatures | None = None,
    history_until: int | None = None,
    resamples: int = RESAMPLES,
) -> ReaderSignal:
    """Return the card of a log: held-out log loss with and without the meeting of text and reader.

    Args:
        log: a log with ``profiles`` of its users, or its sends.
        profiles: None where ``log`` is sends.
        seed: of the folds of readers and of the bootstrap.
        features: of the text; None: MiniLM's layers.
        history_until: see `ReaderSends.from_log`.
        resamples: of the bootstrap over readers.
    """
    if isinstance(log, ClickLog):
        if profiles is None:
            raise ValueError("reader_signal of a log needs the profiles of its users")
        log = ReaderSends.from_log(log, profiles, history_until=history_until)
    return learn_readers(log, features or FrozenFeatures("minilm"), seed=seed, resamples=resamples)[
        0
    ]


def learn_readers(
    sends: ReaderSends,
    features: TextFeatures,
    *,
    seed: int,
    folds: int = 5,
    resamples: int = RESAMPLES,
) -> tuple[ReaderSignal, Learned | None]:
    """Return the card of the sends, and what was learned where something could be fitted.

    Args:
        sends: to readers with profiles.
        features: of the text, not yet fitted.
        seed: of the folds and of the bootstrap.
        folds: of readers.
        resamples: of the bootstrap over readers.
    """
    readers = np.unique(sends.user)
    card = ReaderSignal(
        sends=int(sends.impressions.sum()),
        clicks=int(sends.clicks.sum()),
        readers=len(readers),
        texts=len(set(sends.texts)),
    )
    if reason := _nothing_to_fit(sends, readers, folds):
        return replace(card, reason=reason), None
    learned = learn_taste(sends, features, seed=seed, folds=folds)
    shown = np.bincount(sends.user, sends.impressions, minlength=len(sends.profiles))
    clicked = np.bincount(sends.user, sends.clicks, minlength=len(sends.profiles))
    columns = np.column_stack([learned.base_loss - learned.loss, shown, clicked])[readers]
    drawn = resample_sums(columns, resamples, seed)
    gain, sent, clicks, size = drawn.T
    whole = columns.sum(axis=0)
    return (
        replace(
            card,
            gain=with_interval(float(whole[0]), gain / size * len(readers)),
            per_send=with_interval(float(whole[0] / whole[1]), gain / sent),
            per_click=with_interval(float(whole[0] / whole[2]), gain / np.maximum(clicks, 1.0)),
            luck=learned.luck,
            history=learned.history,
        ),
        learned,
    )


def _nothing_to_fit(sends: ReaderSends, readers: np.ndarray, folds: int) -> str:
    """Return why no meeting of text and reader can be fitted, or ""."""
    if np.bincount(sends.product).max() < 2:
        return "every product has one text only, so that no reader had a choice of copy"
    features = sends.profiles.features[readers]
    if not features.size or float(np.ptp(features, axis=0).max()) < 1e-6:
        return "all readers have the same profile"
    if len(readers) < 2 * folds:
        return f"it has {len(readers)} readers only"
    if sends.clicks.sum() < LEAST_CLICKS:
        return f"it holds {sends.clicks.sum():g} clicks, fewer than {LEAST_CLICKS}"
    return ""
