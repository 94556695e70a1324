"""The gate: what fails is drawn again, never sent, and the logged copy takes its place."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from copygym.agents.copywriter.gate import Gate, logged_copies
from copygym.core.errors import UserError
from copygym.envs.base import default_users
from copygym.envs.tasks import CopyRows, copy_rows
from copygym.rewards.copy.grounding import check_copy

GOOD = "Come and see the lamp."
BETTER = "The lamp shines for 40 hours."
BAD = "The lamp shines for 50 hours."
WORSE = "The the lamp."
BRIEF = "Product: Ombra lamp. Price: 49. Facts: Shines for 40 hours. Has a two-year warranty."


@dataclass
class Script:
    """A writer that gives each product its next texts, whichever seed it is asked with."""

    texts: dict[str, list[str]]
    seeds: list[int] = field(default_factory=list)

    def write(self, rows, *, seed, temperature=1.0, top_p=1.0, samples=1):
        self.seeds.append(seed)
        return [self.texts[p].pop(0) for p in rows.products for _ in range(samples)]


@pytest.fixture(scope="module")
def rows() -> CopyRows:
    at = np.zeros(3, np.int64)
    made = copy_rows(default_users(), at, at, at, at)
    return replace(made, briefs=(BRIEF,) * 3, products=("a", "b", "c"))


def test_texts_that_fail_are_drawn_again_and_else_the_logged_copy_is_sent(rows):
    writer = Script({"a": [GOOD], "b": [BAD, WORSE, BETTER], "c": [BAD, BAD, BAD]})
    sent = Gate(writer, retries=2).write(rows, [[WORSE, GOOD]] * 3, seed=3)
    assert sent.texts == (GOOD, BETTER, GOOD)
    assert sent.drawn.tolist() == [0, 2, -1]
    assert sent.passed_first == pytest.approx(1 / 3)
    assert sent.passed == pytest.approx(2 / 3)
    assert sent.deliverable == 1.0
    assert sent.reasons == {"false": 2}
    assert sent.failed_logged == 0
    assert len(set(writer.seeds)) == 3  # rounds draw with different luck


def test_where_the_logged_copies_fail_too_the_first_is_sent_and_counted(rows):
    writer = Script({p: [BAD] for p in "abc"})
    sent = Gate(writer, retries=0).write(rows, [[WORSE, BAD]] * 3, seed=0)
    assert sent.texts == (WORSE,) * 3
    assert (sent.failed_logged, sent.deliverable) == (3, 0.0)


def test_of_several_that_pass_the_preferred_one_is_sent_and_never_one_that_fails(rows):
    def longest(texts, tasks):
        assert len(texts) == len(tasks)
        return np.array([len(text) for text in texts], float)

    drawn = [GOOD, BETTER, f"{BAD} {BAD} {BAD}"]
    writer = Script({p: list(drawn) for p in "abc"})
    sent = Gate(writer, samples=3, prefer=longest).write(rows, [[GOOD]] * 3, seed=0)
    assert sent.texts == (BETTER,) * 3
    assert sent.passed_first == pytest.approx(2 / 3)
    first = Gate(Script({p: list(drawn) for p in "abc"}), samples=3).write(
        rows, [[GOOD]] * 3, seed=0
    )
    assert first.texts == (GOOD,) * 3


def test_everything_that_is_sent_passes_the_check(rows):
    class Random:
        def write(self, rows, *, seed, temperature, top_p, samples):
            rng = np.random.default_rng(seed)
            return [str(rng.choice([GOOD, BETTER, BAD, WORSE])) for _ in range(len(rows) * samples)]

    many = rows.take(np.arange(60) % 3)
    sent = Gate(Random(), retries=3).write(many, [[GOOD]] * 60, seed=5)
    assert not any(check_copy(text, BRIEF) for text in sent.texts)
    again = Gate(Random(), retries=3).write(many, [[GOOD]] * 60, seed=5)
    assert again.texts == sent.texts


def test_a_task_needs_a_logged_copy_and_counts_are_checked(rows):
    writer = Script({p: [GOOD] for p in "abc"})
    with pytest.raises(UserError, match="no logged copy for 'b'"):
        Gate(writer).write(rows, [[GOOD], [], [GOOD]], seed=0)
    with pytest.raises(UserError, match="retries=-1"):
        Gate(writer, retries=-1)


def test_the_copies_that_stand_in_are_the_own_one_then_the_most_sent_or_the_original():
    users = default_users()
    catalogue = users.catalogue
    at = np.zeros(1, np.int64)
    rows = copy_rows(users, at, at + 1, at, at)
    (copies,) = logged_copies(rows, catalogue)
    same = {
        t
        for t, p in zip(catalogue.texts, catalogue.product_ids, strict=True)
        if p == catalogue.product_ids[1]
    }
    assert copies[0] == catalogue.texts[1]
    assert set(copies) == same
    rewriting = replace(rows, originals=("An original.",))
    assert logged_copies(rewriting, catalogue) == [("An original.",)]
