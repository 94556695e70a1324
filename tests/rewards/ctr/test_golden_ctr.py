"""What click models learn in a few seconds, as tests/golden holds it."""

import pytest

from copygym.rewards.ctr.model import make_ctr_model

TEXTS = ["secret city", "policy city", "the cat never saw a report", "unknown words"]


@pytest.mark.parametrize("tuning", ["tfidf", "last_k", "lora"])
def test_golden_ctr(golden, made_up, tiny_encoder, tuning):
    encoder = "tfidf" if tuning == "tfidf" else tiny_encoder
    model = make_ctr_model(
        encoder,
        "frozen" if tuning == "tfidf" else tuning,
        bf16=False,
        cache=False,
        network=None if tuning == "tfidf" else {
            "epochs": 2, "learning_rate": 2e-3, "head_learning_rate": 5e-2, "tokens": 600,
            "dropout": 0.1, "last_k": 1,
        },
    )  # fmt: skip
    train, validation = (made_up(tests=60, seed=seed) for seed in (0, 1))
    model.fit(train, validation, seed=0)
    report = model.report["scorers"][0]
    golden(
        f"ctr_{tuning}",
        {
            "validation_fit": model.report["validation_fit"],
            "history": report.get("validation_fit", {}),
            "steps": report.get("steps", {}),
            "scores": model.score(TEXTS).tolist(),
        },
    )
