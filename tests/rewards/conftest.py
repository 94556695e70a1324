"""Made-up headline tests in which some words earn clicks, and an encoder of a few kilobytes."""

import numpy as np
import pytest

from copygym.rewards.ctr.data import CopyCounts

GOOD, BAD = ("secret", "shocking", "never"), ("report", "policy", "update")
PLAIN = ("cat", "city", "school", "music", "river", "garden", "doctor", "train", "winter", "story")


def _made_up(tests=200, arms=4, seed=0, impressions=3000):
    rng = np.random.default_rng(seed)
    texts, test, clicks = [], [], []
    for index in range(tests):
        level = rng.normal(-4, 0.5)
        subject = rng.choice(PLAIN, size=3, replace=False)
        for arm in range(arms):
            kind = rng.choice(["good", "bad", "plain"])
            word = rng.choice({"good": GOOD, "bad": BAD, "plain": PLAIN}[kind])
            texts.append(f"{subject[0]} {word} {subject[1]} {subject[2]} {seed}.{index}.{arm}")
            gain = {"good": 0.5, "bad": -0.5, "plain": 0.0}[kind]
            clicks.append(rng.binomial(impressions, min(0.5, np.exp(level + gain))))
            test.append(index)
    return CopyCounts(
        tuple(texts),
        np.array(test),
        np.full(len(texts), float(impressions)),
        np.array(clicks, float),
    )


@pytest.fixture(scope="session")
def made_up():
    """Maker of tests whose log click rate rises by 0.5 with a good word, falls with a bad one."""
    return _made_up


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory):
    """Folder of a BERT of two layers with random weights, as the Hugging Face hub lays it out."""
    return _tiny_encoder(tmp_path_factory.mktemp("bert"))


def _tiny_encoder(folder):
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *PLAIN]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return str(folder)
