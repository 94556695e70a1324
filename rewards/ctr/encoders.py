"""Text features of a CTR model's linear scorers: TF-IDF, or a frozen transformer's layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from copygym.core.errors import UserError
from copygym.core.files.storage import read_json, write_json
from copygym.core.models.folder import no_downloads, reading
from copygym.core.models.weights import check_shape
from copygym.core.plugins import find
from copygym.core.text.encoders import SentenceEncoder, default_cache
from copygym.core.text.terms import fit_terms
from copygym.rewards.ctr.files import read_tensors, write_tensors

#: What a plug-in's class of text features has.
NEEDS = ("width", "fit", "transform", "save", "load")
#: Hidden states of MiniLM that are used side by side, 0 being the embeddings. On held-out tests
#: of Upworthy the last layer alone, trained for meaning, ranks 2 points worse.
MINILM_LAYERS = (0, 1, 2, 3, 4, 5, 6)


class TextFeatures(Protocol):
    """Maps texts to rows of numbers, fitted on the training texts.

    Attributes:
        kind: by which `load_features` finds the class again; of a plug-in the name of its entry
            point, or ``module:class``.
    """

    kind: ClassVar[str]

    @property
    def width(self) -> int:
        """E, once fitted."""
        ...

    def fit(self, texts: Sequence[str]) -> None:
        """Learn what needs learning from the training texts."""
        ...

    def transform(self, texts: Sequence[str]) -> Any:
        """Return (N, E) features: float32 or a scipy sparse matrix."""
        ...

    def save(self, folder: Path) -> None:
        """Write to ``folder`` without pickle; ``features.json`` holds `kind` and what it needs."""
        ...

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> TextFeatures:
        """Read what `save` wrote; ``state`` is the content of ``features.json``."""
        ...


class TfidfFeatures:
    """TF-IDF of word uni- and bigrams beside character n-grams within words (sparse rows).

    Args:
        words: vocabulary of words and word pairs, most frequent first; 0 for none.
        characters: vocabulary of 2- to 5-character n-grams; 0 for none.
        min_count: texts that a term must occur in.
    """

    kind: ClassVar[str] = "tfidf"

    def __init__(self, words: int = 40_000, characters: int = 50_000, min_count: int = 3) -> None:
        if words < 0 or characters < 0 or words + characters < 1 or min_count < 1:
            raise UserError(
                f"tfidf: words={words}, characters={characters}, min_count={min_count}; give "
                "sizes of 0 or more, not both 0, and a min_count of 1 or more."
            )
        self.options = {"words": words, "characters": characters, "min_count": min_count}
        self._vectorisers: list[Any] = []

    @property
    def width(self) -> int:
        """E: terms of all vocabularies."""
        return sum(len(vectoriser.idf_) for vectoriser in self._vectorisers)

    def _make(self, **extra: Any) -> list[Any]:
        """Return the unfitted vectorisers, words first."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        common: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float64, **extra}
        made = []
        if self.options["words"]:
            # Marks such as "?" are words of their own: headlines are full of them.
            pattern = r"(?u)\b\w+\b|[?!\"$%…:]"
            made.append(TfidfVectorizer(ngram_range=(1, 2), token_pattern=pattern, **common))
        if self.options["characters"]:
            made.append(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **common))
        return made

    def fit(self, texts: Sequence[str]) -> None:
        """Fit vocabulary and weights on the distinct texts.

        Raises:
            UserError: no term is frequent enough.
        """
        unique = sorted(set(texts))
        minimum = min(self.options["min_count"], len(unique))
        sizes = [self.options[k] for k in ("words", "characters") if self.options[k]]
        made = zip(self._make(min_df=minimum), sizes, strict=True)
        try:
            self._vectorisers = [fit_terms(each, unique, size) for each, size in made]
        except ValueError:  # sklearn's word for texts without a term
            raise UserError(
                f"tfidf: no term occurs in {minimum} of the {len(unique)} texts; lower min_count "
                "or use more texts."
            ) from None

    def transform(self, texts: Sequence[str]) -> Any:
        """Return (N, E) float64 CSR rows, each vocabulary's part of unit length."""
        from scipy.sparse import hstack

        return hstack([v.transform(list(texts)) for v in self._vectorisers], format="csr")

    def save(self, folder: Path) -> None:
        """Write vocabularies (JSON) and inverse document frequencies (safetensors)."""
        vocabularies = [v.get_feature_names_out().tolist() for v in self._vectorisers]
        content = {"kind": self.kind, "options": self.options, "vocabularies": vocabularies}
        write_tensors(
            folder / "features.safetensors",
            {f"idf{i}": v.idf_ for i, v in enumerate(self._vectorisers)},
        )
        write_json(folder / "features.json", content)

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> TfidfFeatures:
        """Read what `save` wrote; ``state`` is the content of features.json."""
        features = cls(**state["options"])
        path = folder / "features.safetensors"
        arrays = read_tensors(path)
        features._vectorisers = features._make()
        if len(state["vocabularies"]) != len(features._vectorisers):
            raise UserError(
                f"{folder / 'features.json'} holds {len(state['vocabularies'])} vocabularies for "
                f"{len(features._vectorisers)}: it is damaged; train the model again."
            )
        for i, vectoriser in enumerate(features._vectorisers):
            check_shape(path, f"idf{i}", arrays[f"idf{i}"], (len(state["vocabularies"][i]),))
            vectoriser.set_params(vocabulary=state["vocabularies"][i])
            vectoriser.idf_ = arrays[f"idf{i}"]
        return features


class FrozenFeatures:
    """Layers of a pretrained encoder, mean-pooled, each of unit length, never trained.

    Args:
        model: ``minilm``, a folder, or a Hugging Face id.
        layers: hidden states to put side by side; None for all of them.
        bf16: see `SentenceEncoder`; None decides by the processor.
        cache: keep the vectors on disk, under ``$COPYGYM_HOME/vectors``.
    """

    kind: ClassVar[str] = "frozen"

    def __init__(
        self,
        model: str = "minilm",
        layers: Sequence[int] | None = None,
        bf16: bool | None = None,
        cache: bool = True,
    ) -> None:
        chosen = layers if layers is not None else all_layers(model)
        self.options: dict[str, Any] = {
            "model": model,
            "layers": [int(layer) for layer in chosen],
            "bf16": bf16,
            "cache": cache,
        }
        self._encoder = SentenceEncoder(
            model,
            bf16=bf16,
            layers=[int(layer) for layer in chosen],
            cache=default_cache() if cache else None,
        )

    @property
    def width(self) -> int:
        """E: hidden units of all layers in use."""
        return self._encoder.dims

    def fit(self, texts: Sequence[str]) -> None:
        """Do nothing: the encoder was trained elsewhere."""

    def transform(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, E) float32; equal texts are computed once."""
        return self._encoder.encode(list(texts))

    def save(self, folder: Path) -> None:
        """Write the model's name and options; its weights stay where they are."""
        write_json(folder / "features.json", {"kind": self.kind, "options": self.options})

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> FrozenFeatures:
        """Read what `save` wrote.

        Raises:
            UserError: the encoder is not on this machine.
        """
        with no_downloads():
            return cls(**state["options"])


def all_layers(model: str) -> tuple[int, ...]:
    """Return the numbers of a model's hidden states, the embeddings' 0 first."""
    if model == "minilm":
        return MINILM_LAYERS
    from transformers import AutoConfig

    from copygym.core.text.encoders import model_source

    try:
        source, options = reading(model_source(model))
        config = AutoConfig.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"the text encoder {model!r} cannot be loaded ({reason}): give a folder with a "
            "Hugging Face model, or an id that this machine can download."
        ) from None
    return tuple(range(config.num_hidden_layers + 1))


def load_features(folder: Path) -> TextFeatures:
    """Read the features saved in ``folder``.

    Raises:
        UserError: they are of a kind that is neither copygym's nor one that the user knows.
    """
    path = folder / "features.json"
    state = read_json(path)
    own = {kind.kind: kind for kind in (TfidfFeatures, FrozenFeatures)}
    found = find("encoder", str(state.get("kind")), own, needs=NEEDS, stored=path)
    features: TextFeatures = found.load(folder, state)
    return features
