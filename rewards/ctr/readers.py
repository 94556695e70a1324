"""How a text meets its reader: what a CTR model adds to a text's logit for this profile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError, unknown_name
from copygym.core.models.weights import check_shape
from copygym.core.text.visible import is_blank
from copygym.rewards.ctr.encoders import TextFeatures, load_features
from copygym.rewards.ctr.files import read_tensors, write_tensors

if TYPE_CHECKING:
    from copygym.rewards.ctr.sends import ReaderSends
    from copygym.rewards.ctr.signal import ReaderSignal

#: Whether a model learns readers: where it helps on readers that no fit saw, always, never.
CHOICES = ("auto", True, False)
#: Folder of what was learned, beside a model's other files.
FOLDER = "readers"
_FILE = "readers.safetensors"
#: Texts whose vector is kept in memory.
_MEMORY = 200_000


class TextSpace:
    """The directions in which the texts of one product differ most.

    Principal components of the text features, of each text less the mean of its product: what a
    product is about is in none of them. Scaled to a mean standard deviation of 1, the components
    of large variance first.

    Args:
        features: of a text.
        mean: (E,) of the texts that it was fitted on.
        directions: (E, D) float32.
    """

    def __init__(self, features: TextFeatures, mean: np.ndarray, directions: np.ndarray) -> None:
        self.features, self.mean, self.directions = features, mean, directions
        self._memory: dict[str, np.ndarray] = {}

    @classmethod
    def fit(
        cls,
        features: TextFeatures,
        texts: Sequence[str],
        product: np.ndarray,
        weights: np.ndarray,
        dims: int,
    ) -> TextSpace:
        """Return the space of T texts.

        Args:
            features: fitted here.
            texts: T texts.
            product: (T,) int64.
            weights: (T,) float64 how often each was sent.
            dims: D at most.
        """
        features.fit(texts)
        rows = _dense(features.transform(texts))
        centred = within(rows, product, weights)
        root = np.sqrt(weights / weights.sum())[:, None]
        # The smaller of the two Gram matrices has the same axes.
        values, vectors = np.linalg.eigh((centred * root) @ (centred * root).T)
        order = np.argsort(-values)[:dims]
        order = order[values[order] > 1e-9 * max(float(values.max(initial=0.0)), 1e-12)]
        deviation = np.sqrt(values[order])
        directions = (centred * root).T @ vectors[:, order] / deviation
        directions /= deviation.mean() if len(order) else 1.0
        # An axis has no sign of its own; without one, processors would choose theirs.
        largest = np.abs(directions).argmax(axis=0)
        directions *= np.sign(directions[largest, np.arange(len(order))])
        return cls(features, weights @ rows / weights.sum(), directions.astype(np.float32))

    @property
    def dims(self) -> int:
        """D."""
        return self.directions.shape[1]

    def place(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, D) float64; zero where nothing of a text is seen. Equal texts cost nothing."""
        known = self._memory
        missing = sorted({text for text in texts if text not in known})
        if missing:
            rows = (_dense(self.features.transform(missing)) - self.mean) @ self.directions
            known.update(zip(missing, rows * ~_blanks(missing)[:, None], strict=True))
        out = np.array([known[text] for text in texts]).reshape(len(texts), self.dims)
        for text in list(known)[: max(0, len(known) - _MEMORY)]:
            del known[text]
        return out


class ReaderTaste:
    """The low-rank meeting of text and reader: z(text)' W x(profile), for each of M members.

    x is the standardised profile, so that the average reader's is 0 and a text's mean logit over
    readers stays what the model of texts says.

    Args:
        space: z, (D,).
        weights: (M, D, P) float64.
        scale: (2, P) float64 mean and deviation of the profile features.
    """

    def __init__(self, space: TextSpace, weights: np.ndarray, scale: np.ndarray) -> None:
        self.space, self.weights, self.scale = space, weights, scale

    @property
    def width(self) -> int:
        """P: features of a profile."""
        return self.scale.shape[1]

    def readers(self, profiles: np.ndarray) -> np.ndarray:
        """Return (U, P) float64 standardised profiles.

        Raises:
            UserError: they have another width than in training, or hold no numbers.
        """
        profiles = np.asarray(profiles, np.float64)
        if profiles.ndim != 2 or profiles.shape[1] != self.width:
            raise UserError(
                f"the CTR model was trained with {self.width} profile features; got profiles of "
                f"shape {profiles.shape}: make them with the profile builder of its own log."
            )
        if not np.isfinite(profiles).all():
            raise UserError("a profile holds a number that is none; the CTR model cannot read it.")
        return (profiles - self.scale[0]) / self.scale[1]

    def of(self, texts: Sequence[str], profiles: np.ndarray) -> np.ndarray:
        """Return (M, N) float64: what N readers add to the logits of N texts.

        Args:
            texts: N texts.
            profiles: (N, P).
        """
        reader_NP = self.readers(profiles)
        if len(reader_NP) != len(texts):
            raise UserError(
                f"{len(texts)} texts and {len(reader_NP)} profiles were given: one profile a text."
            )
        place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        inverse = np.array([place[text] for text in texts])
        wanted = self.space.place(list(place)) @ self.weights
        return np.stack([np.einsum("np,np->n", each[inverse], reader_NP) for each in wanted])

    def table(self, texts: Sequence[str], profiles: np.ndarray) -> np.ndarray:
        """Return (M, U, K) float64: what U readers add to the logits of K texts.

        Args:
            texts: K texts.
            profiles: (U, P).
        """
        wanted_MKP = self.space.place(texts) @ self.weights
        return self.readers(profiles)[None] @ wanted_MKP.swapaxes(1, 2)

    def averaged(self, members: int) -> ReaderTaste:
        """Return a taste of other members, each of which is the mean of all that there are."""
        mean = self.weights.mean(axis=0, keepdims=True)
        return ReaderTaste(self.space, np.repeat(mean, members, axis=0), self.scale)

    def save(self, folder: Path) -> None:
        """Write to a new folder: the features' own files, and safetensors."""
        folder.mkdir()
        self.space.features.save(folder)
        arrays = {
            "mean": self.space.mean,
            "directions": self.space.directions,
            "weights": self.weights,
            "scale": self.scale,
        }
        write_tensors(folder / _FILE, arrays)

    @classmethod
    def load(cls, folder: Path, members: int) -> ReaderTaste:
        """Read what `save` wrote; answers exactly as the saved one did.

        Raises:
            UserError: a file is missing or damaged.
        """
        path = folder / _FILE
        arrays = read_tensors(path)
        features = load_features(folder)
        scale, directions = arrays["scale"], arrays["directions"]
        check_shape(path, "scale", scale, (2, None))
        check_shape(path, "directions", directions, (features.width, None))
        check_shape(path, "mean", arrays["mean"], (features.width,))
        shape = (members, directions.shape[1], scale.shape[1])
        check_shape(path, "weights", arrays["weights"], shape)
        if (scale[1] <= 0).any():
            raise UserError(f"{path}: a deviation is not above 0: it is damaged; train it again.")
        return cls(TextSpace(features, arrays["mean"], directions), arrays["weights"], scale)


class ReadsReaders:
    """What a CTR model and an ensemble share: what they have learned of readers, if anything.

    Attributes:
        taste: the meeting of text and reader; None where the model answers for all alike.
        choice: one of `CHOICES`.
        reader_features: of the text, for `learn_readers`; None where it has none.
        report: gets the card as ``readers``.
    """

    report: dict[str, Any]

    def __init__(self) -> None:
        self.taste: ReaderTaste | None = None
        self.choice: str | bool = "auto"
        self.reader_features: TextFeatures | None = None

    @property
    def reads_readers(self) -> bool:
        """True where the model has learned which text suits which reader."""
        return self.taste is not None

    @property
    def profile_dims(self) -> int:
        """P of the profiles that it reads; 0 where it answers for all readers alike."""
        return 0 if self.taste is None else self.taste.width

    def learn_readers(self, sends: ReaderSends, *, seed: int) -> ReaderSignal | None:
        """Learn which text suits which reader, and return the card of it.

        With ``choice`` "auto" it is kept only where it predicts clicks of readers that no fit saw
        better than the texts alone, beyond luck. None where ``choice`` is False.

        Args:
            sends: to readers with profiles.
            seed: decides every number on a CPU.
        """
        from copygym.rewards.ctr.signal import learn_readers

        self.taste = None
        self.report.pop("readers", None)
        if self.choice is False or self.reader_features is None:
            return None
        members = self._taste_members()
        folds = members if members > 2 else 5
        signal, learned = learn_readers(sends, self.reader_features, seed=seed, folds=folds)
        if learned is not None and (signal.found or self.choice is True):
            self.taste = learned.taste if members == folds else learned.taste.averaged(members)
        self.report["readers"] = signal.to_dict() | {"read": self.reads_readers}
        return signal

    def _taste_members(self) -> int:
        return 1


def reads_readers(model: Any) -> bool:
    """Say whether a CTR model has learned which text suits which reader."""
    return bool(getattr(model, "reads_readers", False))


def check_choice(choice: Any) -> None:
    """Raise `UserError` for what is none of `CHOICES`."""
    if choice not in CHOICES:
        raise unknown_name("reward_model.readers", str(choice), [str(c).lower() for c in CHOICES])


def within(rows: np.ndarray, group: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return ``rows`` (T, E) less their weighted mean in each group (T,)."""
    from scipy.sparse import csr_matrix

    count = int(group.max(initial=-1)) + 1
    gather = csr_matrix((weights, (group, np.arange(len(group)))), shape=(count, len(group)))
    total = np.maximum(np.bincount(group, weights, minlength=count), 1e-300)
    mean: np.ndarray = (gather @ rows) / total[:, None]
    return np.asarray(rows - mean[group])


def _dense(rows: object) -> np.ndarray:
    if not isinstance(rows, np.ndarray):
        rows = rows.toarray()  # type: ignore[attr-defined]
    return np.asarray(rows, np.float64)


def _blanks(texts: Sequence[str]) -> np.ndarray:
    return np.array([is_blank(text) for text in texts], dtype=bool)
