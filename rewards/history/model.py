"""A model of history x title: which of the titles shown will this reader click?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.files.storage import read_json, whole_folder, write_json
from copygym.core.models.weights import check_shape
from copygym.core.text.encoders import TextEncoder, load_text_encoder, make_text_encoder
from copygym.rewards.ctr.files import read_tensors, write_tensors
from copygym.rewards.history.slates import Slates

#: The file that makes a folder a history model's.
MARK = "history_model.json"
_FORMAT = 1


class HistoryModel:
    """Title and history meet in a low-rank product of their encoded texts.

    The reader's profile is the weighted mean of the vectors of the titles read, u = sum w_j v_j /
    sum w_j, where w halves with every ``half_life`` titles read since. The score of a title v is

        s(v, u) = b.v + (P v).(Q u)

    with P and Q of ``rank`` rows: what everybody clicks, and what those click who read such things.
    P and Q begin as the same projection, so that before training a title that is like those read
    has the higher score. Training is NRMS's (Wu et al. 2019, "Neural News Recommendation with
    Multi-Head Self-Attention", EMNLP): softmax over a clicked title and ``negatives`` others of the
    same slate. Text encoder and history are plain where NRMS has attention; the titles' vectors are
    frozen.

    As a reward it is a CTR scorer that reads readers: ``score(texts, profiles)`` with the profiles
    of `profiles`.

    Args:
        encoder: ``lsa`` (fitted on the titles), ``minilm``, a folder or a Hugging Face id.
        dims: of LSA.
        rank: R.
        half_life: titles after which one read counts half; None: all count alike.
        negatives: K titles of the slate that were shown and not clicked, for each clicked one.
        epochs: passes over the clicked titles, at most; the best on validation slates is kept.
        batch: clicked titles a step.
        learning_rate: of Adam.
        weight_decay: of Adam, decoupled.
        reads: False leaves the history out: what everybody clicks.
    """

    def __init__(
        self,
        encoder: str = "minilm",
        *,
        dims: int = 128,
        rank: int = 64,
        half_life: float | None = None,
        negatives: int = 4,
        epochs: int = 5,
        batch: int = 256,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        reads: bool = True,
    ) -> None:
        if min(dims, rank, negatives, epochs, batch) < 1:
            raise UserError(
                "history model: dims, rank, negatives, epochs, batch must be 1 or more."
            )
        if learning_rate <= 0 or weight_decay < 0 or (half_life is not None and half_life <= 0):
            raise UserError(
                "history model: learning_rate and half_life must be above 0, and weight_decay 0 or "
                "more."
            )
        self.options: dict[str, Any] = {
            "encoder": encoder,
            "dims": dims,
            "rank": rank,
            "half_life": half_life,
            "negatives": negatives,
            "epochs": epochs,
            "batch": batch,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "reads": reads,
        }
        self.report: dict[str, Any] = {}
        self._encoder: TextEncoder | None = None
        self._everybody = np.zeros(0)
        self._of_title = np.zeros((0, 0))
        self._of_reader = np.zeros((0, 0))

    @property
    def profile_dims(self) -> int:
        """E: a profile is a mean of text vectors; 0 where histories are left out."""
        return len(self._everybody) if self.reads_readers else 0

    @property
    def reads_readers(self) -> bool:
        """Whether a score depends on the reader."""
        return bool(self.options["reads"])

    def fit(self, train: Slates, validation: Slates, *, seed: int) -> HistoryModel:
        """Learn from slates and return the model.

        Args:
            train: slates to learn from.
            validation: later slates that choose the epoch.
            seed: decides every number on a CPU.
        """
        import torch
        from torch.nn.functional import cross_entropy

        used = np.unique(np.concatenate([train.shown, train.read]))
        texts = [train.titles[i] for i in used.tolist()]
        self._encoder = make_text_encoder(
            self.options["encoder"], texts, dims=self.options["dims"], seed=seed
        )
        if self._encoder is None:
            raise UserError("history model: encoder is none; choose lsa, minilm or a folder.")
        vectors = self._vectors(train.titles)
        width, rank = vectors.shape[1], self.options["rank"]
        rng = np.random.default_rng(seed)
        start = rng.standard_normal((rank, width)) / np.sqrt(rank)
        scale = np.sqrt(_SHARPNESS)
        v_AE = torch.from_numpy(vectors)
        u_SE = torch.from_numpy(self._means(train, vectors))
        b = torch.zeros(width, requires_grad=True)
        p, q = (
            torch.from_numpy((scale * start).astype(np.float32)).requires_grad_() for _ in range(2)
        )
        parameters = [b, p, q] if self.reads_readers else [b]
        adam = torch.optim.AdamW(
            parameters,
            lr=self.options["learning_rate"],
            weight_decay=self.options["weight_decay"],
        )
        best, curve = np.inf, []
        for epoch in range(self.options["epochs"] + 1):
            if epoch:
                for rows, slate in _drawn(train, self.options, rng):
                    v_BKE = v_AE[torch.from_numpy(rows)]
                    scores = v_BKE @ b
                    if self.reads_readers:
                        met_BR = u_SE[torch.from_numpy(slate)] @ q.T
                        scores = scores + torch.einsum("bkr,br->bk", v_BKE @ p.T, met_BR)
                    loss = cross_entropy(scores, torch.zeros(len(rows), dtype=torch.int64))
                    adam.zero_grad()
                    loss.backward()
                    adam.step()
            self._keep(b, p, q)
            curve.append(_slate_loss(self.slate_scores(validation), validation))
            if curve[-1] < best:
                best, kept = curve[-1], (self._everybody, self._of_title, self._of_reader)
        self._everybody, self._of_title, self._of_reader = kept
        self.report = {
            "validation_loss": curve,
            "slates": len(train),
            "epoch": int(np.argmin(curve)),
        }
        return self

    def _keep(self, b: Any, p: Any, q: Any) -> None:
        self._everybody, self._of_title, self._of_reader = (
            each.detach().numpy().astype(np.float64).copy() for each in (b, p, q)
        )

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        if self._encoder is None:
            raise UserError("the history model is not trained: call fit, or load a trained one.")
        return self._encoder.encode(list(texts))

    def _means(self, slates: Slates, vectors: np.ndarray) -> np.ndarray:
        """Return (S, E) float32 weighted means of the vectors of what was read; 0 for nothing."""
        from scipy.sparse import csr_matrix

        lengths, half = slates.lengths, self.options["half_life"]
        age = np.repeat(slates.ends, lengths) - 1.0 - np.arange(len(slates.read))
        weight = np.ones(len(age)) if half is None else 0.5 ** (age / half)
        starts = np.concatenate([[0], slates.ends])
        rows = csr_matrix((weight, slates.read, starts), shape=(len(slates), len(vectors)))
        total = np.asarray(rows.sum(axis=1)).ravel()
        return np.asarray((rows @ vectors) / np.maximum(total, 1e-12)[:, None], dtype=np.float32)

    def profiles(self, slates: Slates) -> np.ndarray:
        """Return (S, E) float32 profiles of the readers of slates."""
        return self._means(slates, self._vectors(slates.titles))

    def slate_scores(self, slates: Slates) -> np.ndarray:
        """Return (N,) float64 scores of the titles shown."""
        vectors = self._vectors(slates.titles).astype(np.float64)
        scores = (vectors @ self._everybody)[slates.shown]
        if self.reads_readers:
            met = self._means(slates, vectors) @ self._of_reader.T
            scores = scores + _dots(vectors @ self._of_title.T, slates.shown, met, slates.slate)
        return np.asarray(scores, dtype=np.float64)

    def likeness(self, slates: Slates) -> np.ndarray:
        """Return (N,) float64: the product of title and profile before any training."""
        vectors = self._vectors(slates.titles).astype(np.float64)
        return _dots(vectors, slates.shown, self._means(slates, vectors), slates.slate)

    def score(self, texts: Sequence[str], profiles: np.ndarray | None = None) -> np.ndarray:
        """Return (N,) float64 scores, whose differences for one reader are log-odds of a choice.

        Args:
            texts: N texts.
            profiles: (N, E) of their readers, from `profiles`; None: of nobody in particular.

        Raises:
            UserError: the model is not trained, or profiles have another width.
        """
        vectors = self._vectors(texts).astype(np.float64)
        scores = vectors @ self._everybody
        if profiles is None or not self.reads_readers:
            return np.asarray(scores)
        if np.shape(profiles) != (len(texts), self.profile_dims):
            raise UserError(
                f"the history model's profiles have {self.profile_dims} numbers; got "
                f"{np.shape(profiles)} for {len(texts)} texts."
            )
        met = (vectors @ self._of_title.T) * (np.asarray(profiles) @ self._of_reader.T)
        return np.asarray(scores + met.sum(axis=1))

    def save(self, folder: str | Path) -> None:
        """Write the model as safetensors and JSON; ``folder`` appears whole or not at all."""
        if self._encoder is None:
            raise UserError("the history model is not trained: call fit before save.")
        with whole_folder(Path(folder)) as draft:
            self._encoder.save(draft / "encoder")
            arrays = {
                "everybody": self._everybody,
                "of_title": self._of_title,
                "of_reader": self._of_reader,
            }
            write_tensors(draft / "history.safetensors", arrays)
            state = {"format": _FORMAT, "options": self.options, "report": self.report}
            write_json(draft / MARK, state)

    @classmethod
    def load(cls, folder: str | Path) -> HistoryModel:
        """Read what `save` wrote; scores as the saved one did.

        Raises:
            UserError: no such model is there, or it is damaged.
        """
        root = Path(folder)
        state = read_json(root / MARK)
        if state.get("format") != _FORMAT:
            raise UserError(f"{root / MARK} is of another format; train the history model again.")
        options = dict(state["options"])
        model = cls(options.pop("encoder"), **options)
        model.report = state["report"]
        model._encoder = load_text_encoder(root / "encoder")
        path = root / "history.safetensors"
        arrays = read_tensors(path)
        width, rank = len(arrays["everybody"]), model.options["rank"]
        for name in ("of_title", "of_reader"):
            check_shape(path, name, arrays[name], (rank, width))
        model._everybody = arrays["everybody"]
        model._of_title, model._of_reader = arrays["of_title"], arrays["of_reader"]
        return model


#: Before training, the scores of two titles differ by so many times the difference of their
#: cosines with the mean title read.
_SHARPNESS = 5.0
#: Rows multiplied at a time.
_ROWS = 1 << 18


def _dots(left: np.ndarray, i: np.ndarray, right: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return (N,) dot products of rows ``i`` of one matrix and rows ``j`` of another."""
    found = np.empty(len(i))
    for start in range(0, len(i), _ROWS):
        part = slice(start, start + _ROWS)
        found[part] = np.einsum("nr,nr->n", left[i[part]], right[j[part]])
    return found


def _drawn(slates: Slates, options: dict[str, Any], rng: np.random.Generator) -> Any:
    """Yield batches of (B, 1 + K) int64 titles, the clicked one first, and (B,) slates."""
    clicked = np.flatnonzero(slates.clicks > 0)
    missed = np.flatnonzero(slates.clicks <= 0)
    count = np.bincount(slates.slate[missed], minlength=len(slates))
    first = np.cumsum(count) - count
    order = rng.permutation(clicked)
    for start in range(0, len(order), options["batch"]):
        rows = order[start : start + options["batch"]]
        slate = slates.slate[rows]
        draw = rng.random((len(rows), options["negatives"]))
        others = missed[first[slate][:, None] + (draw * count[slate][:, None]).astype(np.int64)]
        yield slates.shown[np.column_stack([rows, others])], slate


def _slate_loss(scores: np.ndarray, slates: Slates) -> float:
    """Return the mean over clicked titles of minus the log softmax within their slates, in nats."""
    slate = slates.slate
    top = np.full(len(slates), -np.inf)
    np.maximum.at(top, slate, scores)
    total = np.log(np.bincount(slate, np.exp(scores - top[slate]))) + top
    return float((slates.clicks * (total[slate] - scores)).sum() / slates.clicks.sum())
