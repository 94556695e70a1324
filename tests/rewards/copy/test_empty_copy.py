"""Empty copy: a finite, bad score by every scorer, and no number that is none anywhere."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from copygym.core.errors import UserError
from copygym.core.text.encoders import LsaEncoder, SentenceEncoder, VectorCache
from copygym.envs.base import default_users
from copygym.envs.tasks import copy_rows, score_copy
from copygym.rewards.copy.measures import measure_copy, self_bleu
from copygym.rewards.copy.shape import TERMS, CopyRewardShape
from copygym.rewards.ctr.ensemble import CtrEnsemble
from copygym.rewards.ctr.model import load_ctr_model, make_ctr_model

EMPTY = ["", " ", "\u200b", "\n\t", "\u200d\ufe0f", "\x07"]
ODD = [*EMPTY, "\U0001f642\U0001f525", "x" * 10_000, "word " * 2_000, "\ud800", "!?", "12",
       "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", "\u0939\u093f\u0928\u094d\u0926\u0940",
       "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0440\u0443\u0441"]  # fmt: skip
GOOD = ["cat secret city", "dog music never 7"]


def _folder(folder, kind):
    """Save a random encoder whose tokenizer gives an empty text no token at all."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "<eos>", *["cat", "secret", "city", "dog", "music", "never"]]
    # Without a token for the unknown, a text of unknown words alone has none either.
    plain = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, []))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.add_tokens(words[2:])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", eos_token="<eos>"
    ).save_pretrained(folder)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    return _folder(tmp_path_factory.mktemp("causal"), "Llama")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return _folder(tmp_path_factory.mktemp("bert"), "Bert")


@pytest.mark.parametrize("layers", [None, [0, 1, 2]])
def test_an_encoder_gives_a_text_without_a_token_the_zero_vector(causal, layers):
    encoder = SentenceEncoder(causal, layers=layers)
    together = encoder.encode([*ODD, *GOOD])
    assert np.isfinite(together).all()
    assert not together[: len(EMPTY)].any() and together[-1].any()
    for text, vector in zip([*ODD, *GOOD], together, strict=True):
        alone = SentenceEncoder(causal, layers=layers).encode([text])[0]
        np.testing.assert_allclose(alone, vector, atol=2e-3)


def test_vectors_that_an_older_version_stored_as_nan_are_computed_again(causal, tmp_path):
    encoder = SentenceEncoder(causal, cache=tmp_path)
    encoder.encode(["cat"])
    [stored] = tmp_path.glob("*.sqlite")
    VectorCache(stored, np.float32).put([""], np.full((1, encoder.dims), np.nan, np.float32))
    assert np.isfinite(SentenceEncoder(causal, cache=tmp_path).encode(["", "cat"])).all()


def test_an_encoder_whose_weights_are_no_numbers_says_so(causal, tmp_path):
    encoder = SentenceEncoder(causal)
    encoder._load()[1].layers[0].mlp.up_proj.weight.data.fill_(float("nan"))
    with pytest.raises(UserError, match="holds no numbers"):
        encoder.encode(GOOD)


def test_lsa_gives_odd_texts_finite_vectors():
    assert np.isfinite(LsaEncoder(4).fit([*GOOD, *ODD[:-6]]).encode(ODD)).all()


def _models(made_up, causal, bert):
    train, held = made_up(tests=60, seed=0), made_up(tests=30, seed=1)
    quick = {"epochs": 1, "tokens": 600}
    small = {"words": 500, "characters": 50, "min_count": 2}
    options = {"bf16": False, "cache": False}
    makers = {
        "tfidf": lambda: make_ctr_model("tfidf", tfidf=small),
        "isotonic": lambda: make_ctr_model("tfidf", tfidf=small, calibration="isotonic"),
        "frozen": lambda: make_ctr_model(causal, layers=[1, 2], **options),
        "network": lambda: make_ctr_model(
            bert, "last_k", layers=[1], network=quick | {"last_k": 1}, **options
        ),
        "ensemble": lambda: CtrEnsemble([make_ctr_model("tfidf", tfidf=small) for _ in range(2)]),
    }
    for name, make in makers.items():
        yield name, make().fit(train, held, seed=0), held


def test_every_ctr_model_scores_an_empty_text_below_all_that_it_has_seen(
    made_up, causal, bert, tmp_path
):
    for name, model, held in _models(made_up, causal, bert):
        scores = model.score([*ODD, *held.texts])
        assert np.isfinite(scores).all(), name
        assert scores[: len(EMPTY)].max() < scores[len(ODD) :].min(), name
        assert np.isfinite(model.probability(ODD)).all()
        model.save(tmp_path / name)
        again = load_ctr_model(tmp_path / name).score(ODD)
        np.testing.assert_allclose(again, scores[: len(ODD)], atol=1e-5, err_msg=name)


def test_a_network_learns_from_a_log_that_holds_empty_texts(made_up, bert):
    train = made_up(tests=30, seed=0)
    some = replace(train, texts=("", *train.texts[1:-1], "\u200b"))
    network = {"epochs": 1, "tokens": 600, "last_k": 1}
    model = make_ctr_model(bert, "last_k", layers=[1], network=network, bf16=False, cache=False)
    assert np.isfinite(model.fit(some, made_up(tests=20, seed=1), seed=0).score(ODD)).all()


def test_a_model_saved_before_it_knew_empty_texts_scores_them_badly_too(made_up, tmp_path):
    model = make_ctr_model("tfidf", tfidf={"words": 100, "characters": 0, "min_count": 2})
    model.fit(made_up(tests=30, seed=0), made_up(tests=20, seed=1), seed=0).save(tmp_path / "m")
    mark = tmp_path / "m" / "ctr_model.json"
    state = json.loads(mark.read_text())
    del state["blank_logit"]
    mark.write_text(json.dumps(state))
    assert load_ctr_model(tmp_path / "m").score([""])[0] == -15.0


class _Model:
    def score(self, texts, profiles=None):
        return np.full(len(texts), -4.0)

    def std(self, texts, profiles=None):
        return np.full(len(texts), 0.3)


def _fluent(texts):
    """Return log probabilities per token as a language model gives them; of nothing none."""
    return np.array([-3.0 if text.strip() else np.nan for text in texts])


def _three_tasks():
    store = default_users()
    at = np.zeros(3, np.int64)
    honest = list(store.catalogue.texts[:2])
    # The honest ones keep their originals.
    return store, copy_rows(store, at, at, at, at).rewriting([honest[0], *honest]), honest


def _shape(terms, store, floor):
    return CopyRewardShape(
        terms, floor=floor, model=_Model(), users=store, reference_texts=["a b c"], fluency=_fluent
    )


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("empty", EMPTY, ids=ascii)
def test_no_term_prefers_an_empty_copy(term, empty):
    store, rows, honest = _three_tasks()
    scores = score_copy(_shape({term: 1.0}, store, floor=False), [empty, *honest], rows)[0]
    assert np.isfinite(scores).all()
    good = term in ("ctr", "expected_click", "diversity", "gain")
    worse = scores[0] < scores[1:].min() if good else scores[0] > scores[1:].max()
    assert worse, scores


@pytest.mark.parametrize("weight", [1.0, -1.0])
@pytest.mark.parametrize("empty", EMPTY, ids=ascii)
def test_whatever_is_paid_for_an_empty_copy_is_below_every_honest_one(weight, empty):
    store, rows, honest = _three_tasks()
    shape = _shape(dict.fromkeys(TERMS, weight), store, floor=True)
    scores = score_copy(shape, [empty, *honest], rows)[0]
    assert np.isfinite(scores).all()
    assert scores[0] < scores[1:].min()


def test_measures_of_empty_copy_are_finite_and_praise_nothing():
    store = default_users()
    at = np.zeros(3, np.int64)
    rows = copy_rows(store, at, at, at, at)
    measures = measure_copy(["", " ", "\u200b"], rows)
    assert all(np.isfinite(v) for v in measures.values()), measures
    assert measures["distinct_1"] == measures["distinct_2"] == measures["compliance_rate"] == 0
    assert measures["gibberish"] == measures["repetition"] == 1
    assert self_bleu(["", "", ""]) == 1.0
    assert np.isfinite(self_bleu(ODD))
