"""What response models see: counts per user and cell, and features of what is shown.

A *cell* is a pair (slot, action), numbered ``slot * A + action``; it is all that a click depends
on besides the user. Counts of the same user in the same cell are added up, because a binomial
likelihood only needs the sums.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from copygym.core.files.storage import read_arrays, write_arrays
from copygym.core.models.weights import finite
from copygym.core.text.encoders import TextEncoder, load_text_encoder
from copygym.envs.logs.catalogue import Catalogue

#: Blocks of `action_matrix`, in their order.
BLOCKS = (
    "const",
    "hold",
    "creative",
    "product",
    "topic",
    "channel",
    "slot",
    "text",
    "slot:channel",
    "slot:topic",
)


class Actions(NamedTuple):
    """Features of M things that could be done; every integer is -1 where it doesn't apply."""

    hold: np.ndarray  #: (M,) bool, nothing is sent
    creative: np.ndarray  #: (M,) int64 catalogue index; -1 for a text outside the catalogue
    product: np.ndarray  #: (M,) int64
    topic: np.ndarray  #: (M,) int64
    channel: np.ndarray  #: (M,) int64
    slot: np.ndarray  #: (M,) int64
    text: np.ndarray  #: (M, E) float32, zero for hold

    def take(self, index: np.ndarray) -> Actions:
        """Return rows ``index``."""
        return Actions(*(field[index] for field in self))


class Sizes(NamedTuple):
    """How many values each feature of `Actions` can take."""

    creative: int
    product: int
    topic: int
    channel: int
    slot: int
    text: int


@dataclass(frozen=True)
class Counts:
    """Binomial observations of N (user, cell) pairs.

    Attributes:
        profiles: (U, P) float32 features of the users.
        user: (N,) int32 rows of ``profiles``.
        cell: (N,) int32 rows of the `Actions` that the model is fitted with.
        trials: (N,) float64 impressions, or clicks where conversions are the successes.
        successes: (N,) float64, at most ``trials``.
        offset: (N,) float32 known part of the logit; None is zero.
    """

    profiles: np.ndarray
    user: np.ndarray
    cell: np.ndarray
    trials: np.ndarray
    successes: np.ndarray
    offset: np.ndarray | None = None

    def __len__(self) -> int:
        """N."""
        return len(self.user)

    def take(self, index: np.ndarray) -> Counts:
        """Return rows ``index`` ((M,) int64, or (N,) bool); the profiles stay whole."""
        return replace(
            self,
            user=self.user[index],
            cell=self.cell[index],
            trials=self.trials[index],
            successes=self.successes[index],
            offset=None if self.offset is None else self.offset[index],
        )

    def weighted(self, weights: np.ndarray) -> Counts:
        """Return the counts times each user's weight ((U,) float64), rows of weight 0 left out."""
        weight = weights[self.user]
        scaled = replace(self, trials=self.trials * weight, successes=self.successes * weight)
        return scaled.take(weight > 0)

    @property
    def rate(self) -> float:
        """Successes per trial, kept inside (0, 1) by half a success and half a failure."""
        return float((self.successes.sum() + 0.5) / (self.trials.sum() + 1.0))


class ActionEncoder:
    """Turns a catalogue's cells, and free texts, into `Actions`.

    Text vectors are projected on the principal axes of the catalogue's own copies, so that few
    copies don't spread over hundreds of dimensions, and scaled to a root mean square of one.

    Args:
        catalogue: what can be sent.
        encoder: of texts; None gives E = 0.
        text_dims: the largest E.
    """

    def __init__(
        self, catalogue: Catalogue, encoder: TextEncoder | None = None, *, text_dims: int = 16
    ) -> None:
        self.catalogue, self.encoder = catalogue, encoder
        self._products = sorted(set(catalogue.product_ids))
        index = {name: i for i, name in enumerate(self._products)}
        self._product_of_creative = np.array([index[p] for p in catalogue.product_ids])
        self._fit_text(text_dims)

    @property
    def sizes(self) -> Sizes:
        """Number of values of each feature."""
        c = self.catalogue
        dims = self._axes_DE.shape[1]
        return Sizes(
            c.n_creatives, len(self._products), len(c.topics), c.n_channels, c.n_slots, dims
        )

    def cells(self) -> Actions:
        """Return the S * A cells of the catalogue, slot by slot."""
        c = self.catalogue
        action = np.tile(np.arange(c.n_actions), c.n_slots)
        creative = c.creative_of_action[action]
        sent = creative >= 0
        text = np.zeros((len(action), self.sizes.text), dtype=np.float32)
        text[sent] = self._catalogue_text_KE[creative[sent]]
        return Actions(
            hold=~sent,
            creative=creative,
            product=np.where(sent, self._product_of_creative[creative], -1),
            topic=c.topic_of_action[action],
            channel=c.channel_of_action[action],
            slot=np.repeat(np.arange(c.n_slots), c.n_actions),
            text=text,
        )

    def texts(
        self, texts: list[str], creatives: np.ndarray, channels: np.ndarray, slots: np.ndarray
    ) -> Actions:
        """Return N rows for texts written in place of catalogue creatives.

        Args:
            texts: N copies.
            creatives: (N,) int64 whose product and topic the texts are for.
            channels: (N,) int64.
            slots: (N,) int64.
        """
        creatives = np.asarray(creatives, dtype=np.int64)
        return Actions(
            hold=np.zeros(len(texts), dtype=bool),
            creative=np.full(len(texts), -1, dtype=np.int64),
            product=self._product_of_creative[creatives],
            topic=np.asarray(self.catalogue.topic_of_creative, dtype=np.int64)[creatives],
            channel=np.asarray(channels, dtype=np.int64),
            slot=np.asarray(slots, dtype=np.int64),
            text=self._project(texts),
        )

    def save(self, folder: str | Path) -> None:
        """Write the text axes and the encoder; the catalogue is saved by whoever owns it."""
        folder = Path(folder)
        write_arrays(
            folder / "axes.npz",
            {"mean": self._mean_D, "axes": self._axes_DE, "catalogue": self._catalogue_text_KE},
        )
        if self.encoder is not None:
            self.encoder.save(folder)

    @classmethod
    def load(cls, folder: str | Path, catalogue: Catalogue) -> ActionEncoder:
        """Read what `save` wrote; ``catalogue`` is the one it was made with."""
        loaded = cls(catalogue, None)
        path = Path(folder) / "axes.npz"
        arrays = finite(path, read_arrays(path))
        loaded.encoder = load_text_encoder(folder)
        loaded._mean_D, loaded._axes_DE = arrays["mean"], arrays["axes"]
        loaded._catalogue_text_KE = arrays["catalogue"]
        return loaded

    def _fit_text(self, text_dims: int) -> None:
        self._mean_D, self._axes_DE = np.zeros(0), np.zeros((0, 0))
        self._catalogue_text_KE = np.zeros((self.catalogue.n_creatives, 0), dtype=np.float32)
        if self.encoder is None:
            return
        unique, place = np.unique(np.array(self.catalogue.texts, dtype=object), return_inverse=True)
        vectors_ND = self.encoder.encode([str(text) for text in unique]).astype(np.float64)
        self._mean_D = vectors_ND.mean(axis=0)
        centred_ND = vectors_ND - self._mean_D
        _, singular, axes_MD = np.linalg.svd(centred_ND, full_matrices=False)
        # Axes below a thousandth of the first are rounding noise, not text.
        keep = min(text_dims, int((singular > 1e-3 * max(singular.max(initial=0.0), 1e-9)).sum()))
        self._axes_DE = axes_MD[:keep].T
        scores_NE = centred_ND @ self._axes_DE
        scale = np.sqrt(np.mean(scores_NE**2)) if scores_NE.size else 1.0
        self._axes_DE = self._axes_DE / max(scale, 1e-9)
        self._catalogue_text_KE = (centred_ND @ self._axes_DE).astype(np.float32)[place]

    def _project(self, texts: list[str]) -> np.ndarray:
        if self.encoder is None or self._axes_DE.shape[1] == 0:
            return np.zeros((len(texts), 0), dtype=np.float32)
        scores = (self.encoder.encode(texts) - self._mean_D) @ self._axes_DE
        # A text unlike every copy of the log must not extrapolate past what the log showed.
        limit = np.abs(self._catalogue_text_KE).max(axis=0)
        return np.clip(scores, -limit, limit).astype(np.float32)


def block_width(block: str, sizes: Sizes) -> int:
    """Return the number of columns of one of `BLOCKS`."""
    if block in ("const", "hold"):
        return 1
    return int(np.prod([getattr(sizes, part) for part in block.split(":")]))


def action_matrix(actions: Actions, sizes: Sizes, blocks: tuple[str, ...]) -> np.ndarray:
    """Return (M, Q) float32: one-hot and dense columns of the named ``blocks``, side by side.

    Rows whose feature is -1 are zero in that block, so hold has only ``const``, ``hold`` and
    ``slot``.
    """
    columns = [np.zeros((len(actions.hold), 0), dtype=np.float32)]
    for block in blocks:
        if block == "const":
            columns.append(np.ones((len(actions.hold), 1), dtype=np.float32))
        elif block == "hold":
            columns.append(actions.hold[:, None].astype(np.float32))
        elif block == "text":
            columns.append(actions.text)
        else:
            columns.append(_one_hot(actions, sizes, block))
    return np.concatenate(columns, axis=1)


def _one_hot(actions: Actions, sizes: Sizes, block: str) -> np.ndarray:
    code = np.zeros(len(actions.hold), dtype=np.int64)
    known = np.ones(len(actions.hold), dtype=bool)
    for part in block.split(":"):
        value = getattr(actions, part)
        known &= value >= 0
        code = code * getattr(sizes, part) + value
    out = np.zeros((len(code), block_width(block, sizes)), dtype=np.float32)
    rows = np.flatnonzero(known)
    out[rows, code[rows]] = 1.0
    return out
