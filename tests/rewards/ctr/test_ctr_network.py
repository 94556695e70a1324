import re

import numpy as np
import pytest
import torch

from copygym.core.errors import UserError
from copygym.rewards.ctr.encoders import FrozenFeatures
from copygym.rewards.ctr.model import load_ctr_model, make_ctr_model
from copygym.rewards.ctr.network import NetworkScorer, _Tests
from copygym.rewards.ctr.ranking import headline_metrics

QUICK = {"epochs": 4, "learning_rate": 2e-3, "head_learning_rate": 1e-2, "tokens": 600}


@pytest.fixture(scope="module")
def parts(made_up):
    return made_up(tests=150, seed=0), made_up(tests=60, seed=1), made_up(tests=100, seed=2)


def network(tiny_encoder, tuning, **options):
    return NetworkScorer(
        tiny_encoder, tuning, bf16=False, cache=False, **(QUICK | {"last_k": 1} | options)
    )


@pytest.mark.parametrize(
    ("tuning", "trained"),
    [
        ("last_k", r"encoder\.layer\.1\."),
        ("full", r"encoder\.layer\.[01]\."),
        ("lora", r".*encoder\.layer\.[01]\..*lora_[AB]"),
    ],
)
def test_only_what_the_tuning_names_is_trained(tiny_encoder, tuning, trained):
    built = network(tiny_encoder, tuning)._build()
    names = {name for name, p in built.named_parameters() if p.requires_grad}
    within = {name for name in names if "pooler" not in name}
    assert within and all(re.match(trained, name) for name in within)
    layers = {re.search(r"layer\.(\d)", name)[1] for name in within}
    assert layers == ({"1"} if tuning == "last_k" else {"0", "1"})


def test_another_encoder_as_companion(tiny_encoder, parts, tmp_path):
    """The words' meaning is random here: what counts is that both are read, saved and loaded."""
    other = {"encoder": tiny_encoder, "layers": [1]}
    model = make_ctr_model("tfidf", companions=[other], cache=False).fit(*parts[:2], seed=0)
    model.save(tmp_path / "m")
    loaded = load_ctr_model(tmp_path / "m")
    np.testing.assert_allclose(loaded.score(parts[2].texts), model.score(parts[2].texts), atol=1e-6)
    alone = FrozenFeatures(tiny_encoder, [1], cache=False).transform(["cat secret"])
    part = loaded.scorers[1].features
    np.testing.assert_array_equal(part.transform(["cat secret"]), alone)
    # Another layer would be other features.
    assert not np.array_equal(
        alone, FrozenFeatures(tiny_encoder, [2], cache=False).transform(["cat secret"])
    )


def test_fine_tuning_learns_saves_and_loads(tiny_encoder, parts, tmp_path):
    model = make_ctr_model(
        tiny_encoder, "full", bf16=False, cache=False, companions=["frozen"], network=QUICK
    ).fit(parts[0], parts[1], seed=0)
    test = parts[2]
    assert headline_metrics(model.score(test.texts), test)["pairwise_significant"] > 0.85
    report = model.report["scorers"][0]
    assert report["steps"]["best"] > 0
    fits = report["validation_fit"]
    assert fits[str(report["steps"]["best"])] == max(fits.values()) > fits["0"]
    model.save(tmp_path / "m")
    loaded = load_ctr_model(tmp_path / "m")
    np.testing.assert_allclose(loaded.score(test.texts), model.score(test.texts), atol=1e-6)
    for path in (tmp_path / "m" / "part-0-network" / "encoder").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(UserError, match=re.escape("holds no weights")):
        load_ctr_model(tmp_path / "m")


def test_a_seed_fixes_the_training(tiny_encoder, parts):
    scores = []
    for seed in (0, 0, 1):
        scorer = network(tiny_encoder, "last_k", epochs=1)
        scorer.fit(parts[0], parts[1], seed=seed)
        scores.append(scorer.raw(parts[2].texts))
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def test_training_does_not_touch_the_global_generator(tiny_encoder, parts):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    network(tiny_encoder, "last_k", epochs=1).fit(parts[0], parts[1], seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_early_stopping_goes_back_to_the_best_weights(tiny_encoder, parts):
    # A learning rate that wrecks the encoder: nothing beats the ridge that it starts from.
    wild = {"learning_rate": 5.0, "head_learning_rate": 50.0, "patience": 1, "evaluations": 1}
    scorer = network(tiny_encoder, "full", **wild)
    scorer.fit(parts[0], parts[1], seed=0)
    assert scorer.report["steps"]["best"] == 0
    assert scorer.report["steps"]["done"] < scorer.report["steps"]["planned"]
    calm = network(tiny_encoder, "full", epochs=1, learning_rate=1e-12, head_learning_rate=1e-12)
    calm.fit(parts[0], parts[1], seed=0)
    np.testing.assert_allclose(scorer.raw(parts[2].texts), calm.raw(parts[2].texts), atol=1e-4)


def test_batches_hold_whole_tests_and_every_arm_once(made_up):
    counts = made_up(tests=30)
    lengths = np.random.default_rng(0).integers(5, 30, len(counts))
    plan = _Tests(counts, lengths).plan(200, np.random.default_rng(1))
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(counts)))
    for rows in plan:
        tests, sizes = np.unique(counts.test[rows], return_counts=True)
        assert (sizes == 4).all()
        assert len(tests) == 1 or len(rows) * lengths[rows].max() <= 200


@pytest.mark.parametrize("tuning", ["last_k", "lora"])
def test_parts_and_checkpointing_change_memory_and_not_the_result(tiny_encoder, parts, tuning):
    def fitted(**options):
        scorer = network(tiny_encoder, tuning, epochs=1, dropout=0.3, **options)
        scorer.fit(parts[0], parts[1], seed=0)
        assert not scorer._network.is_gradient_checkpointing
        return scorer.report["validation_fit"]

    whole = fitted()
    assert len(set(whole.values())) > 1
    for options in ({"accumulate": 3}, {"accumulate": 100, "gradient_checkpointing": True}):
        assert fitted(**options) == pytest.approx(whole, rel=1e-4)


def test_wrong_options_are_named(tiny_encoder):
    with pytest.raises(UserError, match=re.escape("unknown network option 'lr'")):
        NetworkScorer(tiny_encoder, "full", lr=1)
    with pytest.raises(UserError, match=re.escape("must be in [0, 1)")):
        NetworkScorer(tiny_encoder, "full", dropout=1.0)
    with pytest.raises(UserError, match=re.escape("must be 1 or more")):
        NetworkScorer(tiny_encoder, "full", accumulate=0)
    with pytest.raises(UserError, match=re.escape("unknown tuning of a network 'frozen'")):
        NetworkScorer(tiny_encoder, "frozen")
