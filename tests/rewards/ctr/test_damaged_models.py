"""Reward models and text encoders that are not all there are refused at load, never asked."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from copygym.core.errors import UserError
from copygym.core.text.encoders import LsaEncoder, SentenceEncoder
from copygym.rewards.ctr.model import load_ctr_model, make_ctr_model

SMALL = {"words": 100, "characters": 0, "min_count": 2}


@pytest.fixture(scope="module")
def saved(made_up, tiny_encoder, tmp_path_factory):
    """Folder with a ridge on TF-IDF beside a ridge on an encoder, and a fine-tuned network."""
    folder = tmp_path_factory.mktemp("models")
    train, held = made_up(tests=60, seed=0), made_up(tests=30, seed=1)
    other = {"encoder": tiny_encoder, "layers": [1]}
    options = {"cache": False, "bf16": False}
    make_ctr_model("tfidf", tfidf=SMALL, companions=[other], **options).fit(
        train, held, seed=0
    ).save(folder / "ridge")
    network = {"epochs": 1, "tokens": 600}
    make_ctr_model(tiny_encoder, "full", network=network, **options).fit(train, held, seed=0).save(
        folder / "network"
    )
    return folder


def change(name, edit):
    """Return the damage that ``edit`` does to the tensors of the first file of this name."""

    def damage(folder):
        path = next(iter(sorted(folder.rglob(name))))
        tensors = load_file(path)
        edit(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    return damage


def spoilt(name, value):
    def edit(tensors):
        tensors[name] = tensors[name].clone()
        tensors[name].view(-1)[0] = value

    return edit


def cut_off(name):
    def damage(folder):
        path = next(iter(sorted(folder.rglob(name))))
        path.write_bytes(path.read_bytes()[:-40])

    return damage


def configure(**settings):
    def damage(folder):
        path = folder / "part-0-network" / "encoder" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    return damage


def longer(name):
    return lambda tensors: tensors.update({name: torch.cat([tensors[name], tensors[name][:1]])})


RIDGE, HEAD, MODEL = "ridge.safetensors", "head.safetensors", "model.safetensors"
DAMAGES = {
    "a coefficient is NaN": ("ridge", change(RIDGE, spoilt("coefficients", np.nan))),
    "a coefficient is infinite": ("ridge", change(RIDGE, spoilt("coefficients", np.inf))),
    "there are more coefficients": ("ridge", change(RIDGE, longer("coefficients"))),
    "there are no coefficients": ("ridge", change(RIDGE, lambda t: t.pop("coefficients"))),
    "an idf is NaN": ("ridge", change("features.safetensors", spoilt("idf0", np.nan))),
    "there are more idf": ("ridge", change("features.safetensors", longer("idf0"))),
    "ridge is cut off": ("ridge", cut_off(RIDGE)),
    "a head's weight is NaN": ("network", change(HEAD, spoilt("head.text", np.nan))),
    "a head is longer": ("network", change(HEAD, longer("head.text"))),
    "a head lacks a part": ("network", change(HEAD, lambda t: t.pop("head.intercept"))),
    "a head is cut off": ("network", cut_off(HEAD)),
    "an encoder lacks a tensor": (
        "network",
        change(MODEL, lambda t: t.pop("encoder.layer.0.output.dense.weight")),
    ),
    "an encoder is cut off": ("network", cut_off(MODEL)),
    "an encoder's config has fewer layers": ("network", configure(num_hidden_layers=1)),
    "an encoder's config has more layers": ("network", configure(num_hidden_layers=3)),
    "an encoder's config is another's": ("network", configure(model_type="gpt2")),
}


@pytest.mark.parametrize(("kind", "damage"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_reward_model_is_refused_at_load(saved, tmp_path, kind, damage):
    shutil.copytree(saved / kind, tmp_path / "m")
    load_ctr_model(tmp_path / "m")
    damage(tmp_path / "m")
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "m"))):
        load_ctr_model(tmp_path / "m")


@pytest.mark.parametrize("key", ["weights", "calibration"])
def test_a_model_file_that_holds_nan_is_refused(saved, tmp_path, key):
    shutil.copytree(saved / "ridge", tmp_path / "m")
    path = tmp_path / "m" / "ctr_model.json"
    state = json.loads(path.read_text())
    if key == "weights":
        state["weights"][0] = float("nan")
    else:
        state["calibration"]["slope"] = float("nan")
    path.write_text(json.dumps(state))
    with pytest.raises(UserError, match="is no number"):
        load_ctr_model(tmp_path / "m")


@pytest.mark.parametrize("key", ["weights", "parts", "calibration", "reads_readers", "kind"])
def test_a_model_file_without_a_key_is_refused(saved, tmp_path, key):
    shutil.copytree(saved / "ridge", tmp_path / "m")
    path = tmp_path / "m" / "ctr_model.json"
    state = json.loads(path.read_text())
    del state[key]
    path.write_text(json.dumps(state))
    with pytest.raises(UserError, match=re.escape(f"has no {key}")):
        load_ctr_model(tmp_path / "m")


ENCODER_DAMAGES = {
    "a tensor is missing": change(
        MODEL, lambda t: t.pop("encoder.layer.1.attention.self.key.weight")
    ),
    "a weight is NaN": change(MODEL, spoilt("encoder.layer.1.output.dense.weight", np.nan)),
    "the file is cut off": cut_off(MODEL),
    "there is a pickle alone": lambda f: (f / MODEL).rename(f / "pytorch_model.bin"),
}


@pytest.mark.parametrize("damage", ENCODER_DAMAGES.values(), ids=ENCODER_DAMAGES)
def test_a_damaged_text_encoder_is_refused_and_not_unpickled(tiny_encoder, tmp_path, damage):
    shutil.copytree(tiny_encoder, tmp_path / "e")
    damage(tmp_path / "e")
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "e"))):
        SentenceEncoder(str(tmp_path / "e")).encode(["cat"])


def test_an_encoder_without_its_pooler_is_whole(tiny_encoder, tmp_path):
    shutil.copytree(tiny_encoder, tmp_path / "e")
    drop = ("pooler.dense.weight", "pooler.dense.bias")
    change(MODEL, lambda t: [t.pop(name, None) for name in drop])(tmp_path / "e")
    there = SentenceEncoder(str(tmp_path / "e")).encode(["cat"])
    np.testing.assert_array_equal(there, SentenceEncoder(tiny_encoder).encode(["cat"]))


@pytest.mark.parametrize("name", ["idf", "components"])
def test_a_damaged_lsa_is_refused(tmp_path, name):
    texts = ["cheap flights to Rome", "learn piano in a week", "guitar for beginners"]
    LsaEncoder(2).fit(texts).save(tmp_path)
    arrays = dict(np.load(tmp_path / "text.npz"))
    whole = arrays[name]
    for spoiled in (np.full_like(whole, np.nan), whole[..., :-1]):
        np.savez_compressed(tmp_path / "text.npz", **arrays | {name: spoiled})
        with pytest.raises(UserError, match=r"text\.npz"):
            LsaEncoder.load(tmp_path)
    (tmp_path / "text.npz").write_bytes((tmp_path / "text.npz").read_bytes()[:-30])
    with pytest.raises(UserError, match=r"text\.npz is not a readable npz"):
        LsaEncoder.load(tmp_path)
