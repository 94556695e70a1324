"""Draws keep what they were drawn with, so that a KL is of what really writes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from copygym.agents.copywriter.drawing import draw, reference_kl


def next_logits(writer, rows):
    """Return (N, V) float64 logits of the first token for each task."""
    prompts = writer.prompts(rows)
    with torch.no_grad():
        return torch.stack(
            [writer.model(torch.tensor([prompt])).logits[0, -1].double() for prompt in prompts]
        )


def test_draws_are_what_the_writer_writes(copywriter, rows):
    options = {"seed": 3, "temperature": 0.8, "top_p": 0.9}
    assert draw(copywriter, rows, n=1, **options).texts == copywriter.write(rows, **options)
    assert draw(copywriter, rows, n=1, seed=0, temperature=0.0).temperature == 1.0


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("limited", [False, True])
def test_kl_is_that_of_the_tokens_that_may_be_written(make_copywriter, rows, temperature, limited):
    """Texts of one token, whose KL is a sum over the vocabulary."""
    start = make_copywriter(seed=1)
    start.max_new_tokens = 1
    allowed = sorted({*range(20, 60), start.style.eos_id})
    writer = replace(make_copywriter(seed=2), max_new_tokens=1, vocabulary=allowed)
    if limited:
        start.vocabulary = allowed
    few = rows.take([0, 1])

    p = (next_logits(writer, few)[:, allowed] / temperature).softmax(-1)
    q = next_logits(start, few) / temperature
    q = (q[:, allowed] if limited else q).log_softmax(-1)
    q = q if limited else q[:, allowed]
    exact = float((p * (p.log() - q)).sum(-1).mean())

    drawn = draw(writer, few, n=2000, seed=0, temperature=temperature)
    found = reference_kl(start, writer, few, drawn)
    own = reference_kl(writer, writer, few, drawn)
    assert own == pytest.approx(0.0, abs=1e-5)
    spread = np.std(drawn.logprobs) / np.sqrt(len(drawn.logprobs))
    assert found == pytest.approx(exact, abs=0.05 + 4 * spread)
    # Without the vocabulary the two would differ by what the writer may not write.
    assert limited or exact > 1.0
