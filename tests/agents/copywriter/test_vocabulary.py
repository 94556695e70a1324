"""What a writer that is limited to its training copy may write for a new brief."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from copygym.agents.copywriter.algorithms.ppo.algorithm import LiveWriter
from copygym.agents.copywriter.algorithms.ppo.policy import Policy
from copygym.agents.copywriter.drawing import draw, reference_kl
from copygym.agents.copywriter.llama.sampling import sample, vocabulary_subset, widened
from copygym.agents.copywriter.prompts import PromptStyle
from copygym.agents.copywriter.tiny import TinyConfig, make_tiny
from copygym.agents.copywriter.vocabulary import brief_tokens
from copygym.agents.copywriter.writer import Copywriter

TRAINING = ["Fresh coffee for you.", "Warm coats, now for less."]
BRIEFS = ("headphones: wireless, 20 hours", "A red bag for the Summer.")


def tasks(rows, briefs=BRIEFS):
    some = rows.take(list(range(len(briefs))))
    prompts = tuple(f"Brief: {brief}" for brief in briefs)
    return replace(some, briefs=tuple(briefs), prompts=prompts, products=("Zoom X2",) * len(briefs))


@pytest.fixture
def limited(rows):
    """A writer over subwords that may write the tokens of its training copy alone."""
    config = TinyConfig(vocabulary=400, hidden=32, layers=1, heads=2, max_new_tokens=12)
    texts = [*TRAINING, *BRIEFS, "headphones bag wireless summer"]
    writer = make_tiny(texts, rows.take([0, 1]), seed=0, config=config)
    allowed = sorted({t for text in TRAINING for t in writer.style.response_ids(text)})
    return replace(writer, vocabulary=allowed)


def spells(writer, tokens, word):
    return set(writer.style.encode_data(word)) <= {*writer.vocabulary, *tokens}


@pytest.mark.parametrize(
    "word",
    ["headphones", "Headphones", "HEADPHONES", " headphones", " Headphones", "wireless", "20",
     "Zoom X2", " zoom"],
)  # fmt: skip
def test_a_brief_s_words_may_be_written_in_every_case(limited, rows, word):
    [own, other] = limited.added_tokens(tasks(rows))
    assert spells(limited, own, word)
    assert not spells(limited, (), word)
    assert spells(limited, other, "BAG") and not spells(limited, other, "headphones")


def test_a_limited_writer_writes_a_new_brief_s_word(limited, rows):
    """All of its logits are equal, so that what may be written is written sooner or later."""
    limited.model.lm_head.weight = torch.nn.Parameter(
        torch.zeros_like(limited.model.lm_head.weight)
    )
    [own, other] = limited.added_tokens(tasks(rows))
    new = set(limited.style.encode_data(" headphones")) - {*limited.vocabulary, *other}
    assert new and new <= set(own)
    drawn = draw(limited, tasks(rows), n=60, seed=0, briefs=True)
    assert new <= {token for ids in drawn.ids[:60] for token in ids}
    assert not new & {token for ids in drawn.ids[60:] for token in ids}
    assert limited.write(tasks(rows), seed=0, samples=60) == drawn.texts


def test_a_text_does_not_depend_on_other_briefs(limited, rows):
    both = tasks(rows)
    together = limited.write(both, seed=3, samples=3)
    assert together[:3] == limited.write(both.take([0]), seed=3, samples=3)


def test_a_writer_without_a_limit_adds_nothing(limited, rows):
    assert replace(limited, vocabulary=None).added_tokens(tasks(rows)) is None
    assert replace(limited, fixed_vocabulary=True).added_tokens(tasks(rows)) is None


@pytest.mark.parametrize("fixed", [False, True])
def test_whether_briefs_add_is_saved(limited, rows, tmp_path, fixed):
    replace(limited, fixed_vocabulary=fixed).save(tmp_path / "w")
    loaded = Copywriter.load(tmp_path / "w", device="cpu")
    assert loaded.fixed_vocabulary is fixed
    assert loaded.added_tokens(tasks(rows)) == replace(
        limited, fixed_vocabulary=fixed
    ).added_tokens(tasks(rows))


def test_log_probabilities_of_wider_draws_are_over_what_each_row_may_write(limited, rows):
    both = tasks(rows)
    drawn = draw(limited, both, n=3, seed=1, briefs=True)
    assert drawn.texts == limited.write(both, seed=1, samples=3)
    # The same writer as its own reference: every log probability is the same.
    assert reference_kl(limited, limited, both, drawn) == pytest.approx(0.0, abs=1e-5)
    narrow = draw(limited, both, n=3, seed=1)
    assert reference_kl(limited, limited, both, narrow) == pytest.approx(0.0, abs=1e-5)
    allowed = vocabulary_subset(limited.vocabulary, limited.style.eos_id)
    added = limited.added_tokens(both)
    for row, (ids, total) in enumerate(zip(drawn.ids, drawn.logprobs, strict=True)):
        open_to = sorted({*allowed.tolist(), *added[row // 3]})
        prompt = limited.prompts(both)[row // 3]
        with torch.no_grad():
            logits = limited.model(torch.tensor([[*prompt, *ids]])).logits[0]
        logp = logits[len(prompt) - 1 : -1, open_to].log_softmax(-1)
        places = [open_to.index(token) for token in ids]
        assert float(logp[range(len(ids)), places].sum()) == pytest.approx(total, abs=1e-4)


def test_training_draws_stay_within_the_vocabulary(limited, rows):
    drawn = draw(limited, tasks(rows), n=20, seed=0)
    assert {t for ids in drawn.ids for t in ids} <= {*limited.vocabulary, limited.style.eos_id}


def test_added_tokens_are_open_to_their_own_row_alone():
    union, closed = widened(torch.tensor([1, 5]), [[3], [], [7, 3]])
    assert union.tolist() == [1, 3, 5, 7]
    np.testing.assert_array_equal(
        closed.numpy(),
        [[False, False, False, True], [False, True, False, True], [False, False, False, False]],
    )


def test_control_tokens_are_never_added(limited, rows):
    hostile = tasks(rows, ("<|pad|> <|end|> </s> <eos> bag", "x"))
    special = set(limited.tokenizer.all_special_ids)
    assert not special & {t for row in brief_tokens(limited.style, hostile) for t in row}
    assert isinstance(limited.style, PromptStyle)


def test_draws_without_added_tokens_are_what_they_were(limited, rows):
    """An empty list for every row changes nothing."""
    prompts = limited.prompts(tasks(rows))
    options = {"max_new_tokens": 8, "eos_id": limited.style.eos_id, "pad_id": 0, "seed": 2,
               "allowed_tokens": limited.vocabulary}  # fmt: skip
    plain = sample(limited.model, prompts, **options)
    same = sample(limited.model, prompts, **options, added_tokens=[[], []])
    assert torch.equal(plain.tokens, same.tokens)
    torch.testing.assert_close(plain.logprobs, same.logprobs)


def test_an_original_s_words_may_be_written(limited, rows):
    shown = tasks(rows).rewriting(["Sleepy llamas wait.", "A red bag."])
    [own, other] = limited.added_tokens(shown)
    assert spells(limited, own, " llamas") and not spells(limited, other, " llamas")


def test_a_policy_that_learns_writes_a_new_brief_s_word(limited, rows):
    """Judges during training hear what the trained writer will say."""
    limited.model.lm_head.weight = torch.nn.Parameter(
        torch.zeros_like(limited.model.lm_head.weight)
    )
    policy = Policy(limited)
    task = tasks(rows).take([0])

    def letters(live):
        return set("".join(live.write(task, seed=0, samples=60)))

    # No training copy has a p or a d, and the brief is of headphones.
    assert {"p", "d"} <= letters(LiveWriter(policy))
    assert not {"p", "d"} & letters(LiveWriter(policy, fixed_vocabulary=True))
