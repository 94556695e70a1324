"""What the large truth holds for false: honest copy and paraphrases never, swapped facts mostly."""

import re
from collections import Counter

import numpy as np
import pytest

from copygym.envs.storefront.claims import false_claims
from copygym.envs.storefront.copies import copies, default_copy
from copygym.envs.storefront.copy import Fact, Product
from copygym.envs.storefront.products import capital, make_products
from copygym.envs.storefront.reading import read_copy

_NUMBER = re.compile(r"\b\d[\d,.]*\d|\b\d")


def does(what):
    return Fact("does", f"It {what}.", {"does": what})


def product(name, price, facts):
    return Product(
        product_id=name.lower().replace(" ", "-"),
        field="e-commerce" if "kettle" in name else "education",
        name=name,
        price=price,
        appeal=0.0,
        facts=tuple(fact.text for fact in facts),
        creatives=(),
        typed=tuple(facts),
        spoken=f"the {name}",
    )


KETTLE = product(
    "Alto kettle",
    49.0,
    [
        does("boils a litre of water in 3 minutes"),
        does("keeps water warm for 40 minutes"),
        does("holds 1.7 litres"),
        Fact(
            "deadline",
            "The spring offer ends on Sunday.",
            {"what": "the spring offer", "ends": "ends", "day": "Sunday"},
        ),
        Fact(
            "users",
            "24,000 households use it.",
            {"number": "24,000", "who": "households", "do": "use it"},
        ),
        Fact("promise", "It comes with a two-year warranty."),
        Fact(
            "experts",
            "Engineers at the Home Test Lab tested it.",
            {"who": "engineers at the Home Test Lab", "did": "tested"},
        ),
    ],
)
COURSE = product(
    "Parla Spanish course",
    79.0,
    [
        does("takes 15 minutes a day"),
        does("ends with an A2 certificate after 12 weeks"),
        does("has a live tutor on Wednesdays"),
        Fact("stock", "Only 9 seats are left."),
        Fact("gift", "The first lesson is on us.", {"what": "the first lesson"}),
        Fact("extra", "It costs 79 for the whole term."),
    ],
)

PARAPHRASES = {
    KETTLE: (
        "Hot water in 3 minutes.",
        "Ready in three minutes: the Alto kettle.",
        "A litre of water boils in just 3 minutes.",
        "In 3 minutes your water boils, and for 40 minutes it stays warm.",
        "Your tea stays warm for forty minutes.",
        "It holds 1.7 litres, enough for the whole table.",
        "1.7 litres of hot water for you and your guests.",
        "The spring offer ends this Sunday.",
        "You have until Sunday: that is when the spring offer ends.",
        "Only until Sunday: the Alto kettle at the spring price.",
        "Sunday is the last day of the spring offer.",
        "The offer closes on Sunday, so hurry.",
        "Join 24,000 households that use the Alto kettle.",
        "24,000 households already trust it.",
        "24,000 homes use it every morning.",
        "Over breakfast in 24,000 households: the Alto kettle.",
        "Two years of warranty are included.",
        "Comes with a warranty of two years.",
        "A two-year warranty, and tea in 3 minutes.",
        "The warranty lasts two years.",
        "Engineers at the Home Test Lab have tested it.",
        "Tested by engineers at the Home Test Lab.",
        "Experts have tested it.",
        "The Home Test Lab measured it: a litre boils in 3 minutes.",
        "It costs 49.",
        "Yours for 49, with two years of warranty.",
        "For 49 you get hot water in 3 minutes and a two-year warranty.",
        "Last chance: the spring offer on the Alto kettle ends on Sunday.",
        "Guests at the door? Boil a litre in three minutes.",
        "Make tea for six friends.",
        "You already love tea, so take the next step.",
        "Picture us together over two cups of tea.",
        "Good mornings start with a warm cup.",
        "Keep your water warm for 40 minutes while you read.",
        "You can trust the tests: engineers at the Home Test Lab looked at it.",
        "The Alto kettle is new in the shop.",
        "Treat yourself to a quiet cup of tea.",
    ),
    COURSE: (
        "Learn Spanish in 15 minutes a day.",
        "15 minutes a day are enough for Parla.",
        "Just a quarter of an hour a day? Fifteen minutes with Parla.",
        "After 12 weeks you hold an A2 certificate.",
        "Twelve weeks to your A2 certificate.",
        "Your certificate is waiting: A2 after twelve weeks.",
        "Ask your live tutor on Wednesday.",
        "Every Wednesday a live tutor answers your questions.",
        "Only 9 seats are left, so be quick.",
        "There are nine seats left.",
        "Hurry: 9 seats are still free.",
        "Your first lesson is free.",
        "Try the first lesson for free.",
        "The first lesson costs nothing.",
        "Our gift to you: the first lesson.",
        "Start with a free first lesson.",
        "A term of Spanish for 79.",
        "Meet your tutor on Wednesdays and practise 15 minutes a day.",
        "Spanish fits in 15 minutes between two meetings.",
        "Order your tapas in Spanish by summer.",
        "Save your seat: only nine are left.",
    ),
}

#: what a reader would call untrue or nonsense.
WRONG = {
    KETTLE: (
        "The two-year warranty ends on Sunday.",
        "The warranty boils a litre of water in 3 minutes.",
        "It boils a litre of water in 40 minutes.",
        "It holds 3 litres.",
        "It comes with a five-year warranty.",
        "It has a warranty of 3 minutes.",
        "Engineers at the Home Test Lab recommend it.",
        "Engineers at NASA tested it.",
        "Doctors recommend it.",
        "24,000 engineers tested it.",
        "A household has 24,000 litres.",
        "It boils 24,000 litres.",
        "Join 90,000 households that use it.",
        "Only 5 are left in stock.",
        "The Alto kettle ends on Sunday.",
        "The spring offer ends on Monday.",
        "The spring offer lasts two years.",
        "The Tarn kettle boils a litre of water in 3 minutes.",
        "It is free.",
        "It is the best kettle in the world.",
        "Delivery is free.",
        "Everyone loves it.",
        "It boils in an instant.",
        "Save 50% today.",
        "Guaranteed for life.",
    ),
    COURSE: (
        "It takes 12 minutes a day.",
        "It ends with an A2 certificate after 15 weeks.",
        "The first lesson ends on Wednesday.",
        "The first lesson takes 12 weeks.",
        "9 tutors answer your questions.",
        "Only 12 seats are left.",
        "A live tutor on Mondays.",
        "Join 79 learners.",
        "Thousands of people love it.",
        "Professors recommend it.",
        "Last chance: the offer ends tonight.",
        "The course is free.",
        "The certificate is free.",
        "It costs 15.",
        "You speak perfect Spanish after 12 weeks.",
        "Money back within 30 days.",
    ),
}


@pytest.mark.parametrize(("product", "text"), [(p, t) for p in PARAPHRASES for t in PARAPHRASES[p]])
def test_a_fair_paraphrase_is_no_false_claim(product, text):
    assert false_claims(text, product) == ()


@pytest.mark.parametrize(("product", "text"), [(p, t) for p in WRONG for t in WRONG[p]])
def test_what_is_wrong_is_found(product, text):
    assert false_claims(text, product)


def test_paraphrases_read_like_writing():
    fluency = [read_copy(t, p).fluency for p, texts in PARAPHRASES.items() for t in texts]
    assert np.quantile(fluency, 0.1) > 0.9


def test_honest_copies_of_many_worlds_claim_nothing_false(monkeypatch):
    monkeypatch.setattr("copygym.envs.storefront.copies._DISHONEST", 0.0)
    fluency = []
    for seed in range(6):
        for made in (made for part in make_products(seed, 6, 1) for made in part):
            known = made.product
            told = [f"{capital(known.spoken)} is here. {fact}" for fact in known.facts]
            for text in (*copies(made, seed), default_copy(made, seed), *told):
                assert false_claims(text, known) == (), (text, known.brief)
                fluency.append(read_copy(text, known).fluency)
    assert np.quantile(fluency, 0.02) > 0.9


def swapped(made, rng):
    """Yield (way, text): true words of a product bound to the wrong thing, by six ways."""
    known, facts = made.product, made.product.typed
    spoken = known.spoken
    by = {fact.kind: fact for fact in facts}
    told = [fact.parts["does"] for fact in facts if fact.kind == "does"]
    numbers = [(fact, n) for fact in facts for n in _NUMBER.findall(fact.text)]
    subjects = [by[k].parts[p] for k, p in (("gift", "what"), ("experts", "who")) if k in by]
    subjects += ["the warranty"] if "year warranty" in known.brief else []
    for does_it in told:
        for n in _NUMBER.findall(does_it):
            yield "made-up number", f"{spoken} {does_it.replace(n, str(rng.integers(3, 999)), 1)}."
            for fact, other in numbers:
                if other != n and does_it not in fact.text:
                    yield "number of another", f"{spoken} {does_it.replace(n, other, 1)}."
        for subject in subjects:
            yield "subject of another", f"{subject} {does_it}."
        if "deadline" in by:
            yield "day of another", f"{spoken} {does_it} on {by['deadline'].parts['day']}."
    if "deadline" in by:
        ends = f"{by['deadline'].parts['ends']} on {by['deadline'].parts['day']}"
        for subject in (*subjects, spoken):
            yield "end of another", f"{subject} {ends}."
    if "users" in by:
        who, do = by["users"].parts["who"], by["users"].parts["do"]
        for fact, other in numbers:
            if fact.kind != "users":
                yield "crowd of another", f"join the {other} {who} who {do}."


def test_most_swapped_facts_are_found():
    rng = np.random.default_rng(0)
    found, tried = Counter(), Counter()
    for seed in range(3):
        for made in make_products(seed, 6)[0]:
            for way, text in swapped(made, rng):
                tried[way] += 1
                found[way] += bool(false_claims(capital(text), made.product))
    recall = {way: found[way] / n for way, n in tried.items()}
    assert min(recall.values()) > 0.85, recall
    assert found.total() / tried.total() > 0.93, recall


@pytest.mark.parametrize(
    "text",
    [
        "The compliments are about us.",
        "This is for them.",
        "We are who we are.",
        "It boil a litre of water in 3 minutes.",
        "It can boils a litre of water.",
        "The the Alto kettle boils a litre of water.",
        "The Alto kettle boils a litre of",
        "You keeps water warm for 40 minutes.",
    ],
)
def test_empty_and_broken_sentences_cost_fluency(text):
    opening = "Good mornings begin with hot water."
    assert read_copy(opening, KETTLE).fluency == 1.0
    assert read_copy(f"{opening} {text}", KETTLE).fluency < 0.95


def test_a_sentence_with_a_false_claim_tells_and_persuades_nothing():
    true = read_copy("Last chance: the spring offer ends on Sunday. It costs 49.", KETTLE)
    false = read_copy("Last chance: the spring offer ends on Monday. It costs 19.", KETTLE)
    assert true.claims == 0 and true.relevance > 0 and true.price_talk == 1
    assert true.principles[0] > 0
    assert false.claims == 2 and false.relevance == 0 and false.price_talk == 0
    assert max(false.principles) == 0


def test_a_principle_that_claims_needs_a_fact():
    assert read_copy("Join the learners in our town.", COURSE).principles[1] == 0
    assert read_copy("Join 24,000 households that use it.", KETTLE).principles[1] > 0
    assert read_copy("You already know a few words.", COURSE).principles[4] > 0
