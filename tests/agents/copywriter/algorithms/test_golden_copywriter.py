"""What a copywriter learns in a few seconds, as tests/golden holds it."""

import numpy as np
import pytest

from copygym.agents.copywriter.algorithms.ppo.algorithm import PPO
from copygym.agents.copywriter.algorithms.sft.finetune import PeftChoice, finetune

TEXTS = ["the best offer of the week", "fresh coffee", "see how people save time"] * 4


def norms(model):
    return {
        name: float(weight.detach().norm())
        for name, weight in model.named_parameters()
        if "q_proj" in name or "down_proj" in name
    }


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_golden_sft(golden, make_copywriter, rows, kind):
    writer, steps = make_copywriter(seed=1), []
    spent = finetune(
        writer, TEXTS, rows, steps=6, batch_size=5, lr=1e-2, seed=3,
        peft=PeftChoice(kind, rank=4), on_progress=lambda step, m: steps.append(m),
    )  # fmt: skip
    total, tokens = writer.logprobs(TEXTS[:3], rows.take([0, 1, 2]))
    golden(
        f"sft_{kind}",
        {
            "trained_tokens": spent.trained,
            "steps": steps,
            "logprobs": total.tolist(),
            "tokens": tokens.tolist(),
            "texts": writer.write(rows.take([0, 1, 2]), seed=1),
            "norms": norms(writer.model),
        },
    )


def coffee(texts, rows):
    """The share of a text's words that are "coffee", more for later users."""
    share = np.array([text.split().count("coffee") / max(1, len(text.split())) for text in texts])
    return share * (1 + rows.user / 12), {"word": share}


def test_golden_ppo(golden, make_copywriter, rows):
    options = {"batch": 16, "epochs": 2, "minibatches": 2, "micro_batch": 5, "rank": 2}
    options |= {"learning_rate": 1e-2, "kl_control": "adaptive", "decay": True, "judge_every": 2}
    done = PPO(**options).train(
        make_copywriter(), rows, coffee, samples=64, seed=0, judge=coffee, judge_rows=rows
    )
    counts = ("samples", "generated", "trained", "skipped")
    history = [
        {k: int(v) if k in counts else v for k, v in line.items() if "seconds" not in k}
        for line in done.history
    ]
    golden(
        "ppo",
        {
            "stopped": done.stopped,
            "history": history,
            "first_texts": [example["text"] for example in done.examples],
            "texts": done.writer.write(rows.take([0, 1, 2]), seed=9),
            "norms": norms(done.writer.model),
        },
    )
