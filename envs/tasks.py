"""Writing tasks in rows: what a copywriter is told, and the indices behind the words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.text.visible import is_blank
from copygym.envs.people.model import UserModel
from copygym.envs.prompts import MAX_COPY, copywriting_prompts, with_original


@dataclass(frozen=True)
class CopyRows:
    """N writing tasks.

    Attributes:
        prompts: N observations of ``Copywriting-v0``: brief, reader and channel on labelled lines.
        briefs: N briefs; the product's name where the catalogue has no brief.
        products: N product ids.
        channels: N channel names.
        user: (N,) int64 rows of the population.
        creative: (N,) int64 catalogue creatives whose product and brief the copy is for.
        channel: (N,) int64 channel indices.
        slot: (N,) int64 slot indices.
        originals: N human texts to make a variation of, the text itself being an allowed answer;
            empty where the task is to write from the brief alone.
        audience: (N,) int64 audience of each reader; zeros where there are none.
    """

    prompts: tuple[str, ...]
    briefs: tuple[str, ...]
    products: tuple[str, ...]
    channels: tuple[str, ...]
    user: np.ndarray
    creative: np.ndarray
    channel: np.ndarray
    slot: np.ndarray
    originals: tuple[str, ...] = ()
    audience: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if not len(self.audience):
            object.__setattr__(self, "audience", np.zeros(len(self), np.int64))

    def __repr__(self) -> str:
        return f"CopyRows({len(self)} tasks, {len(set(self.products))} products)"

    def __len__(self) -> int:
        """N."""
        return len(self.prompts)

    def take(self, index: np.ndarray | Sequence[int]) -> CopyRows:
        """Return the rows ``index`` (M,), in that order; a row may be taken more than once."""
        picked: dict[str, Any] = {}
        for part in fields(self):
            value = getattr(self, part.name)
            if part.name == "originals" and not value:
                continue
            picked[part.name] = (
                value[np.asarray(index, dtype=np.int64)]
                if isinstance(value, np.ndarray)
                else tuple(value[int(i)] for i in index)
            )
        return CopyRows(**picked)

    def rewriting(self, originals: Sequence[str]) -> CopyRows:
        """Return the same tasks as rewriting: N prompts that show the text to vary.

        Raises:
            UserError: an original is missing or empty.
        """
        if len(originals) != len(self):
            raise UserError(
                f"there are {len(self)} tasks to rewrite and {len(originals)} originals; give one "
                "for each, or use task=write."
            )
        for row, text in enumerate(originals):
            if is_blank(text):
                raise UserError(
                    f"task {row} ({self.products[row]}) has no original to rewrite; give it one, "
                    "leave it out, or use task=write."
                )
        prompts = tuple(map(with_original, self.prompts, originals))
        return replace(self, prompts=prompts, originals=tuple(originals))

    def options(self) -> dict[str, np.ndarray]:
        """Return the reset options that put exactly these tasks into ``Copywriting-v0``."""
        return {
            "user": self.user,
            "creative": self.creative,
            "channel": self.channel,
            "slot": self.slot,
        }


def copy_rows(
    users: UserModel,
    user: np.ndarray,
    creative: np.ndarray,
    channel: np.ndarray,
    slot: np.ndarray,
) -> CopyRows:
    """Return the writing tasks behind N tuples of indices, (N,) int64 each."""
    catalogue = users.catalogue
    tasks = list(zip(*(part.tolist() for part in (user, creative, channel, slot)), strict=True))
    return CopyRows(
        prompts=copywriting_prompts(catalogue, users.profiles, tasks),
        briefs=tuple(catalogue.brief_of(k) for k in creative.tolist()),
        products=tuple(catalogue.product_ids[k] for k in creative.tolist()),
        channels=tuple(catalogue.channels[h] for h in channel.tolist()),
        user=np.asarray(user, np.int64),
        creative=np.asarray(creative, np.int64),
        channel=np.asarray(channel, np.int64),
        slot=np.asarray(slot, np.int64),
        audience=users.profiles.audience_of(user),
    )


#: Maps N texts and the N tasks they answer to N scores, or to scores and the named terms that sum
#: to them.
CopyReward = Callable[
    [Sequence[str], CopyRows], np.ndarray | tuple[np.ndarray, dict[str, np.ndarray]]
]


def score_copy(
    reward: CopyReward, texts: Sequence[str], rows: CopyRows
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the reward (N,) float64 of N texts and its terms, checked.

    Texts are cut to `MAX_COPY` characters first, as ``Copywriting-v0`` does, so that a reward says
    the same of a text in a trainer and in the environment.

    Raises:
        UserError: the reward has another length than N, or is not finite.
    """
    if len(texts) != len(rows):
        raise ValueError(f"got {len(texts)} texts for {len(rows)} tasks")
    texts = [str(text)[:MAX_COPY] for text in texts]
    answer = reward(texts, rows)
    scores, terms = answer if isinstance(answer, tuple) else (answer, {})
    scores = np.asarray(scores, dtype=np.float64)
    name = getattr(reward, "__name__", type(reward).__name__)
    if scores.shape != (len(texts),):
        raise UserError(
            f"the copy reward {name} returned shape {scores.shape} for {len(texts)} texts; it must "
            "return one number for each."
        )
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise UserError(
            f"the copy reward {name} returned {scores[bad[0]]} for text {bad[0]} "
            f"({texts[bad[0]][:60]!r}); it must return finite numbers."
        )
    return scores, {key: np.asarray(value, np.float64) for key, value in terms.items()}
