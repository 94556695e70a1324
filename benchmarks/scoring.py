"""Reward scoring: texts per CPU second of a trained CTR model and of sentence-transformers.

The model is `reward_model=minilm` (all layers of MiniLM, and TF-IDF), trained on made-up tests:
its cost does not depend on what it learned. Every repeat scores texts that it has not seen, so
that no cache of an earlier one helps; a third of the texts occur twice, as they do in a log of
tests. sentence-transformers only encodes, without a score.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measure import Goal, Row, rate
from benchmarks.peers import peer_texts

GOAL = Goal("ratio", ">=", 2.0)
_WORDS = (
    "the a this that you she he they who what why how when people school city river doctor "
    "music water story secret reason moment woman man child mother video letter morning night "
    "winter garden world country teacher finally never always really probably everyone nobody "
    "watched wrote found told made turned changed stopped started happens looks sounds means"
)


def headlines(count: int, seed: int) -> list[str]:
    """Return ``count`` texts of 6 to 20 words, a third of which occur twice."""
    rng, words = np.random.default_rng(seed), _WORDS.split()
    distinct = [
        " ".join(rng.choice(words, size=rng.integers(6, 21))) for _ in range(count - count // 3)
    ]
    texts = [*distinct, *distinct[: count // 3]]
    return [texts[i] for i in rng.permutation(len(texts))]


def scoring_rows(tiny: bool) -> list[Row]:
    """Return the row of reward scoring beside sentence-transformers."""
    from copygym.core.errors import UserError
    from copygym.core.text.encoders import model_source

    texts, repeats = (120, 1) if tiny else (3000, 5)
    name = "score texts (reward model)"
    try:
        source = model_source("minilm")
    except UserError as error:
        return [Row(name, "texts / CPU s", None, goal=GOAL, missing=str(error))]
    ours = max(our_rates(texts, repeats))
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        job.write_text(json.dumps({"model": source, "texts": headlines(texts, 0)}))
        peer = peer_texts("sentence_transformers_encode", job, repeats)
    note = "distinct texts once, batches by length, bf16 where the processor has AMX"
    return [
        Row(
            name,
            "texts / CPU s",
            ours,
            peer.rate,
            "sentence-transformers",
            GOAL,
            note,
            peer.missing,
        )
    ]


def our_rates(texts: int, repeats: int) -> list[float]:
    """Return texts per CPU second of each repeat, after one for warming up."""
    from copygym.rewards.ctr.data import CopyCounts
    from copygym.rewards.ctr.model import make_ctr_model

    known = sorted(set(headlines(600, 99)))
    test = np.arange(len(known)) // 4
    clicks = np.random.default_rng(0).integers(5, 50, len(known)).astype(np.float64)
    counts = CopyCounts(tuple(known), test, np.full(len(known), 2000.0), clicks)
    train, held = counts.take(test < 75), counts.take(test >= 75)
    model = make_ctr_model("minilm", companions=["tfidf"], cache=False).fit(train, held, seed=0)
    rates = []
    for repeat in range(repeats + 1):
        fresh = headlines(texts, repeat)
        rates.append(rate(lambda fresh=fresh: len(model.score(fresh))))  # type: ignore[misc]
    return rates[1:]
