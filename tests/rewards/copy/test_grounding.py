"""The grounding check: known sentences, its figures on the labelled ones, and odd input."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.grounding import FOLDER, GROUPS, confusion, precision_recall, read_labelled
from copygym.core.errors import UserError
from copygym.envs.base import default_users
from copygym.envs.tasks import copy_rows
from copygym.rewards.copy.grounding import (
    check_copy,
    deliverable,
    finding_shares,
    has_facts,
    warn_of_briefs,
)
from copygym.rewards.copy.text_terms import Resources, grounding

KETTLE = (
    "Product: Alto kettle. Field: e-commerce. Price: 49. Facts: Boils a litre of water in 3 "
    "minutes. Keeps water warm for an hour. Engineers at the Home Test Lab measured it. Comes with "
    "a two-year warranty. The spring offer of 49 ends on Sunday."
)


def kinds(text: str, brief: str = KETTLE, original: str | None = None) -> set[str]:
    return {finding.kind for finding in check_copy(text, brief, original)}


@pytest.mark.parametrize(
    "text",
    [
        "The Alto kettle boils a litre of water in three minutes.",
        "It is covered for two years.",
        "Last chance: the spring offer of 49 ends on Sunday.",
        "Treat yourself. Take the next step. Hello, friend.",
        "Water stays warm for 60 minutes.",
        "Engineers at the Home Test Lab measured it: the kettle boils a litre in 3 minutes.",
    ],
)
def test_what_the_brief_says_passes_in_other_words_too(text: str) -> None:
    assert check_copy(text, KETTLE) == ()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Boils a litre of water in 2 minutes.", "false"),
        ("The best kettle in the world.", "false"),
        ("Delivery is free.", "false"),
        ("Experts recommend it.", "false"),
        ("The Alto kettle comes from Sheffield.", "false"),
        ("The two-year warranty ends on Sunday.", "misbound"),
        ("The Alto kettle ends on Sunday.", "misbound"),
        ("The warranty lasts 3 years.", "misbound"),
        ("The compliments are about us.", "empty"),
        ("A club has it.", "empty"),
        ("Nothing of it.", "empty"),
        ("", "empty"),
        ("The kettle boils water in the.", "broken"),
        ("The the kettle boils water.", "broken"),
        ("The kettel boils water in 3 minutes.", "broken"),
        ("Boils in 3 minutes. Boils in 3 minutes.", "broken"),
        ("<|im_start|>assistant", "broken"),
        ("\u200b...", "broken"),
    ],
)
def test_each_fault_is_of_its_kind(text: str, kind: str) -> None:
    assert kind in kinds(text)


def test_a_finding_says_which_sentence_and_why() -> None:
    (finding,) = check_copy("Hello, friend. The warranty ends on Sunday.", KETTLE)
    assert finding.sentence == "the warranty ends on sunday"
    assert "'ends'" in finding.reason or "sunday" in finding.reason


def test_what_the_original_claims_may_be_claimed_when_it_is_rewritten() -> None:
    text, original = "Lisa Smith found 12 kettles in Oslo.", "Lisa Smith From Oslo Found 12 Kettles"
    assert kinds(text) == {"false"}
    assert kinds(text, original=original) == set()


def test_facts_that_contradict_each_other_may_both_be_told() -> None:
    brief = "Product: Alto. Facts: The warranty lasts two years. The warranty lasts three years."
    assert kinds("The warranty lasts two years.", brief) == set()
    assert kinds("The warranty lasts three years.", brief) == set()
    assert kinds("The warranty lasts four years.", brief) == {"false"}


def test_a_brief_without_facts_checks_form_and_hard_claims_and_says_so() -> None:
    brief = "Product: Ombra lamp of a test."
    assert not has_facts(brief)
    assert has_facts(KETTLE)
    assert kinds("The Ombra lamp is a joy to look at.", brief) == set()
    assert kinds("The Ombra lamp lasts 40 years.", brief) == {"false"}
    assert kinds("The Ombra lamp is a.", brief) == {"broken"}
    with pytest.warns(UserWarning, match="only the form is checked"):
        warn_of_briefs([brief, KETTLE])


@pytest.mark.parametrize(
    "facts",
    [
        "The warranty lasts two years. The warranty lasts five years.",
        "The offer ends on Sunday. The offer ends on Monday.",
        "It comes with a cup. It comes without a cup.",
    ],
)
def test_a_brief_that_contradicts_itself_is_told_of_and_both_may_be_said(facts: str) -> None:
    brief = f"Product: Alto kettle. Facts: {facts}"
    with pytest.warns(UserWarning, match="says two things of"):
        warn_of_briefs([brief])


def test_facts_that_agree_are_no_contradiction(recwarn: pytest.WarningsRecorder) -> None:
    warn_of_briefs(
        [
            KETTLE,
            "Product: Pool. Facts: It opens at 8 on Mondays. It opens at 9 on Sundays. The "
            "warranty lasts two years. The battery lasts two days.",
        ]
    )
    assert not recwarn.list


def test_the_check_reads_any_text_without_failing() -> None:
    odd = [
        "?",
        "1",
        "%",
        "a",
        "\n\n",
        "é" * 50,
        "12:99 at 1,2,3",
        "of of",
        '"',
        "’s",
        "0 0 0",
        "It’s",
    ]
    for text in odd:
        for brief in (KETTLE, "", "?", "Facts:"):
            check_copy(text, brief)


@pytest.mark.parametrize("half", ["development", "test"])
def test_the_labelled_sentences_are_found_as_often_as_the_docs_say(half: str) -> None:
    rows = read_labelled(FOLDER / f"{half}.txt")
    counts = confusion(rows)
    least = {"false or misbound": 0.88, "empty": 0.85, "broken": 0.83}
    for name, share in least.items():
        for right, of in precision_recall(counts, GROUPS[name]):
            assert right / of >= share, (name, right, of)


def test_the_halves_share_no_brief_and_have_enough_fields() -> None:
    halves = [read_labelled(FOLDER / f"{half}.txt") for half in ("development", "test")]
    briefs = [{row.brief for row in rows} for rows in halves]
    assert not briefs[0] & briefs[1]
    assert sum(map(len, halves)) >= 600
    assert len({row.field for row in halves[1]}) >= 8


def test_the_term_grows_with_findings_and_is_bounded() -> None:
    store = default_users()
    at = np.zeros(4, np.int64)
    rows = replace(copy_rows(store, at, at, at, at), briefs=(KETTLE,) * 4)
    texts = [
        "The Alto kettle boils a litre in 3 minutes.",
        "The warranty ends on Sunday.",
        "Boils in 2 minutes. It is free. It is the best in the world.",
        "",
    ]
    np.testing.assert_array_equal(grounding(Resources())(texts, rows), [0.0, 0.5, 1.0, 1.0])
    np.testing.assert_array_equal(deliverable(texts, rows), [True, False, False, False])
    shares = finding_shares(texts, rows)
    assert shares["deliverable"] == 0.25
    assert shares["grounded"] == 0.5
    assert shares["empty"] == 0.25
    with pytest.raises(UserError, match="worst=0"):
        grounding(Resources(), worst=0)


def test_pressing_needs_an_end_or_a_stock_in_the_brief():
    open_end = "Product: Northern Letter. Field: news. Facts: It comes out on Mondays."
    ends = f"{open_end} The trial week ends on Thursday."
    few = f"{open_end} Only 500 print copies are left each week."
    for text in (
        "Hurry, the trial week ends on Thursday.",
        "Hurry: only 500 copies are left each week.",
    ):
        assert "false" in [found.kind for found in check_copy(text, open_end)]
    assert check_copy("Hurry, the trial week ends on Thursday.", ends) == ()
    assert check_copy("Hurry: only 500 print copies are left each week.", few) == ()
    assert check_copy("No hurry: it comes out on Mondays.", open_end) == ()


def test_a_sentence_that_presses_says_what_ends_or_runs_out() -> None:
    brief = (
        "Product: Circle running club. Facts: Meets twice a week. Only 7 places are left. "
        "Sign-up closes on Friday."
    )
    for text in (
        "Hurry: the field meets the pool.",
        "Hurry: the Circle running club.",
        "The club meets twice a week. Don't wait.",
    ):
        assert [finding.kind for finding in check_copy(text, brief)] == ["misbound"], text
    for text in (
        "Hurry: only 7 places are left.",
        "Sign-up closes on Friday, so don't wait.",
        "Sign-up closes on Friday. Hurry!",
    ):
        assert check_copy(text, brief) == (), text
