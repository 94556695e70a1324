"""The tiny copywriter: made from a log's texts alone, by a seed, and it writes what it saw."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from copygym.agents.copywriter.llama.likelihood import batch_logprobs
from copygym.agents.copywriter.models import load_copywriter
from copygym.agents.copywriter.tiny import SPECIAL, TinyConfig, make_tiny, train_tiny
from copygym.core.errors import UserError
from copygym.envs.tasks import copy_rows

SMALL = TinyConfig(
    vocabulary=300, hidden=32, layers=2, heads=2, steps=100, batch_size=8, lr=5e-3,
    max_new_tokens=24, prompt_weight=0.1, recombine=0,
)  # fmt: skip
BRIEFS = ("a coat", "fresh coffee", "the calendar")
COPY = ("Stay warm this winter.", "Coffee to wake you up!", "Save time, every day.")


@pytest.fixture(scope="module")
def task():
    """Sixty tasks with three briefs, and the copy of each brief."""
    from tests.conftest import make_users

    users = make_users()
    n = np.arange(60) % 40
    rows = copy_rows(users, n, n % 3, n % 2, n % 2)
    briefs = tuple(BRIEFS[k] for k in rows.creative)
    rows = replace(rows, briefs=briefs, prompts=tuple(f"Brief: {brief}" for brief in briefs))
    return [COPY[k] for k in rows.creative], rows


@pytest.fixture(scope="module")
def trained(task):
    """A tiny copywriter trained on the tasks."""
    losses = []
    texts, rows = task
    writer = train_tiny(
        texts, rows, seed=0, config=SMALL, on_progress=lambda s, m: losses.append(m["loss"])
    )
    return writer, losses


def test_it_learns_which_copy_belongs_to_which_brief(trained, task):
    writer, losses = trained
    _, rows = task
    assert len(losses) == SMALL.steps
    assert losses[-1] < 0.5 * losses[0]
    few = rows.take([0, 1, 2])
    right = writer.logprobs([COPY[k] for k in few.creative], few)[0]
    wrong = writer.logprobs([COPY[(k + 1) % 3] for k in few.creative], few)[0]
    assert (right > wrong + 1).all()


def test_the_seed_fixes_the_weights(task):
    texts, rows = task
    config = TinyConfig(vocabulary=300, hidden=32, layers=1, heads=2, steps=2, batch_size=4)
    a, b, c = (train_tiny(texts, rows, seed=s, config=config) for s in (0, 0, 1))
    same = [
        [
            bool((x == y).all())
            for x, y in zip(a.model.parameters(), w.model.parameters(), strict=True)
        ]
        for w in (b, c)
    ]
    assert all(same[0])
    assert not all(same[1])


def test_its_frame_is_its_own_two_tokens(task):
    texts, rows = task
    writer = make_tiny(texts, rows, seed=0, config=SMALL)
    ids = writer.style.render(f"Brief: {''.join(SPECIAL)}")
    special = [i for i in ids if i in writer.tokenizer.all_special_ids]
    assert writer.tokenizer.convert_ids_to_tokens(special) == ["<|brief|>", "<|copy|>"]
    assert writer.tokenizer.decode(ids) == f'<|brief|>"""\nBrief: {"".join(SPECIAL)}\n"""<|copy|>'


def test_any_text_survives_its_tokenizer(task):
    writer = make_tiny(*task, seed=0, config=SMALL)
    text = "Žluťoučký 猫 costs 5€ 🙂, isn't it?"
    assert writer.style.decode(writer.style.response_ids(text)) == text


def test_it_is_saved_and_loaded(trained, task, tmp_path):
    writer, _ = trained
    writer.save(tmp_path / "tiny")
    loaded = load_copywriter("tiny", tmp_path / "tiny")
    few = task[1].take(range(6))
    assert loaded.write(few, seed=5) == writer.write(few, seed=5)
    assert str(loaded.model.dtype) == "torch.float32"


def test_few_texts_are_recombined_and_many_are_not(task):
    from copygym.agents.copywriter.tiny import _Batches

    texts, rows = task
    writer = make_tiny(texts, rows, seed=0, config=SMALL)
    long = [f"{text} Second sentence of {k}." for text, k in zip(texts, rows.creative, strict=True)]

    def drawn(recombine):
        config = TinyConfig(recombine=recombine, batch_size=4)
        batches = _Batches(writer, long, rows, (), config, np.random.default_rng(0))
        return [text for row in range(60) for text in batches._recombined(row)]

    assert drawn(0) == []
    mixed = drawn(2)
    assert len(mixed) == 120 and set(mixed) > set(long)
    sentences = {s for text in long for s in re.split(r"(?<=[.!]) ", text)}
    assert all(set(re.split(r"(?<=[.!]) ", text)) <= sentences for text in mixed)


def test_copies_that_share_a_prompt_count_as_if_each_had_its_own(task):
    from copygym.agents.copywriter.tiny import _batch, _loss

    writer = make_tiny(*task, seed=0, config=SMALL)
    prompts = [writer.style.render(prompt) for prompt in ("Brief: a coat", "Brief: the calendar")]
    copies = [[[7, 8, 9, 1], [10, 1]], [[11, 12, 1]]]
    with torch.no_grad():
        together = _loss(writer.model, _batch(prompts, copies, writer.style.pad_id, 0.3))
    alone = 0.0
    for prompt, own in zip(prompts, copies, strict=True):
        for copy in own:
            alone -= batch_logprobs(writer.model, [prompt], [copy])[0]
        alone -= 0.3 * batch_logprobs(writer.model, [prompt[:1]], [prompt[1:]])[0]
    weights = sum(len(c) for own in copies for c in own) + 0.3 * sum(len(p) - 1 for p in prompts)
    assert float(together) == pytest.approx(alone / weights, rel=1e-5)


def test_a_corpus_is_learned_before_the_tasks(task):
    texts, rows = task
    losses = []
    config = TinyConfig(
        vocabulary=300, hidden=32, layers=1, heads=2, steps=4, batch_size=4, pretrain=0.5
    )
    writer = train_tiny(
        texts, rows, seed=0, corpus=["zebras and zebras " * 50], config=config,
        on_progress=lambda s, m: losses.append(m["loss"]),
    )  # fmt: skip
    assert len(losses) == 4
    # its words are in the vocabulary
    assert len(writer.style.encode_data(" zebras")) == 1


def test_no_text_is_refused(task):
    with pytest.raises(UserError, match="there is no text to make a tokenizer from"):
        make_tiny([], task[1].take([]), seed=0)


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(UserError, match=re.escape("tiny: hidden is 30; it must be a multiple of")):
        TinyConfig(hidden=30, heads=4)
    with pytest.raises(UserError, match=re.escape("tiny: layers is 0")):
        TinyConfig(layers=0)
    for recombine in (-1, 0.5):
        with pytest.raises(UserError, match=re.escape(f"tiny: recombine is {recombine:g}; give")):
            TinyConfig(recombine=recombine)


def test_a_loss_that_is_not_a_number_stops_it(task):
    texts, rows = task
    config = TinyConfig(
        vocabulary=300, hidden=32, layers=1, heads=2, steps=5, batch_size=4, lr=float("inf")
    )
    with pytest.raises(UserError, match=re.escape("is nan; lower lr=inf.")):
        train_tiny(texts, rows, seed=0, config=config)


@pytest.mark.slow
def test_it_writes_the_storefronts_copy_in_minutes():
    from copygym.envs.storefront.world import default_users

    users, rng = default_users(), np.random.default_rng(0)
    n = 2000
    creative = rng.integers(users.catalogue.n_creatives, size=n)
    rows = copy_rows(
        users, rng.integers(len(users), size=n), creative,
        rng.integers(users.catalogue.n_channels, size=n),
        rng.integers(users.catalogue.n_slots, size=n),
    )  # fmt: skip
    texts = [users.catalogue.texts[k] for k in creative]
    losses = []
    writer = train_tiny(texts, rows, seed=0, on_progress=lambda step, m: losses.append(m["loss"]))
    assert losses[-1] < 0.5
    few = rows.take(range(32))
    assert np.median(writer.perplexity([users.catalogue.texts[k] for k in few.creative], few)) < 8
