"""Whether a number, a date or "free" stands in a brief, and counts there what it counts here."""

from __future__ import annotations

from collections.abc import Sequence

from copygym.rewards.copy.claims.clause import WEAK, Clause
from copygym.rewards.copy.claims.facts import Brief, Fact
from copygym.rewards.copy.claims.language import Word, content, stem_of
from copygym.rewards.copy.claims.novelty import is_new
from copygym.rewards.copy.claims.quantities import CURRENCIES, TIME_STEMS, Quantity, quantities

#: (kind, reason): "false" or "misbound", and why.
Problem = tuple[str, str]
#: The brief's words that stand with a number, with their places in the sentence.
_Context = list[tuple[int, Word]]

#: Words before a number that bound it, and what a brief may say for it.
_BOUNDS = {
    "more than": ("more than", "over", "at least"),
    "over": ("over", "more than"),
    "above": ("above", "over"),
    "at least": ("at least", "more than", "over"),
    "less than": ("less than", "under"),
    "fewer than": ("fewer than", "less than", "under"),
    "under": ("under", "less than"),
    "below": ("below", "under"),
}
_COSTS = frozenset(map(stem_of, ("cost", "pay", "price")))
_PEOPLE = frozenset(
    map(stem_of, ("people", "person", "customer", "user", "member", "man", "woman"))
)
_UNIT_STEMS = frozenset(("gram", "kilogram", "metr", "kilometr", "litr"))
#: stems that follow a bare number without being counted by it.
_UNCOUNTED = frozenset(("now", "today", "fre", "good", "extra", "on"))
_LIKE_NUMBERS = ("count", "clock", "percent")


def misused(quantity: Quantity, clause: Clause, brief: Brief) -> Problem | None:
    """Return what is wrong with a quantity of a clause, None where the brief carries it.

    It is carried by a fact with an equal quantity that counts the same thing, by the same time, and
    that the words beside it belong to.
    """
    sentence = clause.sentence
    shown = " ".join(word.text for word in sentence[quantity.start : quantity.stop])
    if _is_no_claim(quantity, clause, brief):
        return None
    known = [(f, q) for f in brief.facts for q in f.quantities if same(quantity, q)]
    if not known:
        return _unknown(quantity, shown, clause, brief)
    bound = _bound(sentence, quantity)
    denied = any(w.kind == "negation" for w in sentence[clause.start : quantity.start])
    if bound and not denied and not any(other in brief.text for other in _BOUNDS[bound]):
        return "false", f"{bound} {shown}: the brief does not say {bound}"
    known = [(f, q) for f, q in known if _counts(quantity, q, sentence, f, brief)]
    if not known:
        return "misbound", f"{shown}: the brief counts something else with it"
    known = [(f, q) for f, q in known if _by_the_same_time(quantity, q, f)]
    if not known:
        return "misbound", f"{shown} a {quantity.rate}: by another time in the brief"
    context = _context(quantity, clause, brief)
    if quantity.kind == "count" and not quantity.heads:
        known = [(f, q) for f, q in known if _bare(quantity, q, f, sentence, context)]
        if not known or _is_no_price(quantity, clause, known, brief):
            return "misbound", f"{shown}: the brief counts something else with it"
    if quantity.kind == "free":
        problem = _given_away(shown, clause, known, context, brief)
        if problem:
            return problem
    if _is_price(*known[0]) and _other_price(quantity, clause.told, brief):
        return "misbound", f"{shown}: another price in the brief"
    stray = min((_strays(quantity, clause, f, q, context) for f, q in known), key=len)
    return ("misbound", f"{shown} with {stray[0].text!r}: not so in the brief") if stray else None


def given_another_day(told: Sequence[Quantity], brief: Brief) -> Problem | None:
    """Return that a sentence gives something on a day on which the brief does not give it."""
    for gift in (q for q in told if q.kind in ("free", "percent")):
        for day in (q for q in told if q.kind in ("weekday", "date", "recurring")):
            given = [f for f in brief.facts if any(same(gift, q) for q in f.quantities)]
            dated = [f for f in brief.facts if any(same(day, q) for q in f.quantities)]
            if given and dated and not any(fact in dated for fact in given):
                return "misbound", f"{gift.kind} on another day in the brief"
    return None


def scenic(quantity: Quantity, sentence: tuple[Word, ...]) -> bool:
    """Tell whether a number paints a scene where nothing is advertised: "hungry at seven"."""
    if quantity.kind in ("weekday", "recurring", "clock"):
        return True
    if quantity.kind == "ordinal":
        return not any(word.text in ("free", "month", "months") for word in sentence)
    spelled = not sentence[quantity.start].text[0].isdigit()
    bare = not quantity.heads or quantity.dimension == "minute"
    return quantity.kind == "count" and quantity.value <= 60 and spelled and bare


def same(a: Quantity, b: Quantity) -> bool:
    """Tell whether a text's quantity equals a brief's, whatever they count."""
    if a.kind == b.kind == "date":
        loose = 0 in (a.value % 100, b.value % 100)  # the month alone
        return a.value == b.value or (loose and a.value // 100 == b.value // 100)
    if a.kind == b.kind:
        units = a.dimension and b.dimension and a.dimension != b.dimension
        return not units and abs(a.value - b.value) < 1e-6 and a.name == b.name
    if {a.kind, b.kind} == {"count", "clock"}:
        return a.value == b.value and not (a.heads or b.heads)
    return a.kind == "free" and b.kind == "count" and b.value == 0


# ---------------------------------------------------------------- what claims nothing


def _is_no_claim(quantity: Quantity, clause: Clause, brief: Brief) -> bool:
    """Tell whether a number is one in name only: "the weekend", "try it for a week"."""
    sentence = clause.sentence
    if quantity.name and stem_of(quantity.name) in brief.product:
        return True
    lasts = quantity.start > 0 and sentence[quantity.start - 1].text == "for"
    usual = (clause.commands and lasts) or clause.asks
    if sentence[quantity.start].kind == "article" and usual:
        return True
    return quantity.kind == "ordinal" and quantity.value == 1 and not _costs_less(sentence)


def _costs_less(sentence: tuple[Word, ...]) -> bool:
    """Tell whether a sentence says what something costs, or that it costs nothing."""
    return any(
        q.kind in ("free", "percent") or (q.kind == "count" and not q.dimension)
        for q in quantities(sentence)
    )


def _unknown(quantity: Quantity, shown: str, clause: Clause, brief: Brief) -> Problem | None:
    """Return what a quantity is that no fact has."""
    told = [q for fact in brief.facts for q in fact.quantities]
    if quantity.kind == "recurring":
        addressed = clause.commands or any(w.text in ("you", "your") for w in clause.words)
        usual = quantity.name in ("day", "night") and addressed
        rate = any(q.rate == quantity.name for q in told)
        known = usual or rate or quantity.name in brief.facts_of
        return None if known else ("false", f"{shown}: not in the brief")
    if quantity.kind == "count" and quantity.value in (0.0, 1.0) and not quantity.dimension:
        return None
    numbers = {q.value for q in told if q.kind in _LIKE_NUMBERS}
    spoken = shown.partition(" ")[0]
    if quantity.kind in ("count", "clock") and (quantity.value in numbers or spoken in brief.words):
        return "misbound", f"{shown}: the brief counts something else with it"
    return "false", f"{shown}: not in the brief"


# ---------------------------------------------------------------- what is counted


def _bound(sentence: tuple[Word, ...], quantity: Quantity) -> str:
    """Return the words before a number that bound it, "" where there are none."""
    if quantity.kind not in ("count", "percent") or not quantity.start:
        return ""
    one = sentence[quantity.start - 1].text
    two = f"{sentence[quantity.start - 2].text} {one}" if quantity.start > 1 else ""
    if two in _BOUNDS:
        return two
    if one == "under" and not quantity.dimension and not quantity.heads:
        return ""  # children under six
    return one if one in _BOUNDS and (quantity.start > 1 or one == "over") else ""


def _counts(a: Quantity, b: Quantity, sentence: tuple[Word, ...], fact: Fact, brief: Brief) -> bool:
    """Tell whether two equal numbers count the same."""
    if a.kind not in ("count", "ordinal", "percent"):
        return True
    if a.dimension and a.dimension == b.dimension:
        extra = a.heads - b.heads - TIME_STEMS - _UNIT_STEMS
        return not any(s in brief.facts_of and s not in fact.stems for s in extra)
    heads = a.heads - CURRENCIES - _UNCOUNTED
    if not heads:
        priced = a.kind == "count" and a.start and sentence[a.start - 1].stem in _COSTS
        return bool(b.heads & CURRENCIES) if b.heads and priced else True
    if b.heads & _PEOPLE and any(
        x[:4] == y[:4] for x in heads for y in fact.stems if min(len(x), len(y)) > 3
    ):
        return True  # "two million listeners" of two million people who have listened
    if any(_names_the_same(x, y) for x in heads for y in b.heads):
        return True
    if not b.heads and heads & brief.product and not _is_price(fact, b):
        return True  # two lamps of "sets of two"
    if a.kind == "percent":
        return bool(heads & fact.stems) or not any(stem in brief.facts_of for stem in heads)
    return False


def _names_the_same(a: str, b: str) -> bool:
    """Tell whether two stems name the same: equal, or one the other's last part (wheelchair)."""
    return a == b or (min(len(a), len(b)) > 3 and (a.endswith(b) or b.endswith(a)))


def _by_the_same_time(a: Quantity, b: Quantity, fact: Fact) -> bool:
    if not a.rate or a.rate == b.rate:
        return True
    return not b.rate and a.rate in fact.stems


def _bare(
    a: Quantity, b: Quantity, fact: Fact, sentence: tuple[Word, ...], context: _Context
) -> bool:
    """Tell whether a number without a noun may stand for a brief's: "of clubs there are 400"."""
    aged = "old" in b.heads and sentence[a.start - 1].text in ("at", "is", "was", "turned")
    return not b.heads or not context or _shares(context, fact) or aged


# ---------------------------------------------------------------- prices and gifts


def _is_price(fact: Fact, quantity: Quantity) -> bool:
    """Tell whether a brief's quantity is the price of the whole."""
    told = bool(_COSTS & fact.stems) or not fact.stems - TIME_STEMS
    counted = quantity.dimension or quantity.heads - CURRENCIES
    return told and quantity.kind == "count" and not counted


def _is_no_price(
    quantity: Quantity, clause: Clause, known: Sequence[tuple[Fact, Quantity]], brief: Brief
) -> bool:
    """Tell whether a price of the brief is told as a year or an age: "since 11", "under 25"."""
    if quantity.start == clause.start or not all(_is_price(f, q) for f, q in known):
        return False
    sentence = clause.sentence
    before = " ".join(w.text for w in sentence[max(quantity.start - 2, 0) : quantity.start])
    if before.endswith("since"):
        return not 1900 <= quantity.value <= 2100
    told = f"{before.rpartition(' ')[2]} {sentence[quantity.start].text}"
    return before.endswith(("age of", " under", " over")) and told not in brief.text


def _other_price(quantity: Quantity, told: Sequence[Quantity], brief: Brief) -> bool:
    """Tell whether a number before a price ("the first month costs") has a price of its own."""
    for other in told:
        if other.start >= quantity.start or other.kind not in ("ordinal", "count"):
            continue
        for fact in brief.facts:
            prices = [q.value for q in fact.quantities if _is_price(fact, q)]
            if prices and any(same(other, q) for q in fact.quantities if q.heads):
                return quantity.value not in prices
    return False


def _given_away(
    shown: str,
    clause: Clause,
    known: Sequence[tuple[Fact, Quantity]],
    context: _Context,
    brief: Brief,
) -> Problem | None:
    """Return that something else is free than in the brief."""
    fresh = [word for word in content(clause.words) if is_new(word, brief, offered=True)]
    if fresh and not any(_shares(context, fact) for fact, _ in known):
        return "false", f"{shown} with {fresh[0].text!r}: not in the brief"
    others = all(f.subject and not f.subject & brief.product for f, _ in known)
    if others and clause.of_the_whole(brief):
        return "misbound", f"{shown}: the brief says so of something else"
    return None


# ---------------------------------------------------------------- what stands beside


def _context(quantity: Quantity, clause: Clause, brief: Brief) -> _Context:
    """Return the brief's words that stand with a quantity in its clause and nearer to no other."""
    sentence, start, stop = clause.sentence, clause.start, clause.stop
    before = quantity.start - start
    fronted = sentence[start].kind in ("preposition", "time") and before < 6
    if fronted and not 0 <= clause.verb < before:
        # "After a waiting period of 30 days your pet is covered": what follows has its own subject.
        later = range(quantity.stop, stop)
        stop = next((i for i in later if sentence[i].kind in ("article", "possessive")), stop)
    others = [q for q in clause.told if q is not quantity]
    found = []
    for at in range(start, stop):
        word = sentence[at]
        if word.kind not in ("word", "verb") or quantity.start <= at < quantity.stop:
            continue
        if at == quantity.stop + 1 and sentence[at - 1].text == "of":
            continue  # "two hours of Shakespeare"
        if not _says_something(word, quantity, brief):
            continue
        if word.stem in brief.topic and at > start + max(clause.verb, 0):
            continue
        gap = _gap(quantity, at)
        if not any(q.start <= at < q.stop or _gap(q, at) < gap for q in others):
            found.append((at, word))
    return found


def _says_something(word: Word, quantity: Quantity, brief: Brief) -> bool:
    """Tell whether a word of the brief tells its facts apart."""
    where = brief.facts_of.get(word.stem)
    if where is None or len(where) > 2 or word.stem in brief.product | TIME_STEMS:
        return False
    if word.stem not in WEAK:
        return True
    # A usual word does where it stands once, with another number of this kind.
    return (
        len(where) == 1
        and bool(quantity.dimension)
        and any(
            q.dimension == quantity.dimension and q.value != quantity.value
            for i in where
            for q in brief.facts[i].quantities
        )
    )


def _strays(
    quantity: Quantity, clause: Clause, fact: Fact, of: Quantity, context: _Context
) -> list[Word]:
    """Return the words beside a quantity that do not belong to the fact that it is of.

    Where some do belong, only a subject that does not counts: "two hours of Shakespeare" may be
    said of a show of two hours. The price of the whole goes with everything that it includes, but
    no part costs it: "yoga costs 24".
    """
    if _is_price(fact, of):
        before = clause.sentence[max(quantity.start - 2, 0) : quantity.start]
        costs = any(word.stem in _COSTS or word.kind == "be" for word in before)
        parts = [w for at, w in context if at < quantity.start and not w.text.endswith("ing")]
        if not costs or not parts:
            return []
    elif clause.verb < 0 and quantity.kind in ("count", "percent"):
        return []
    strays = [(at, word) for at, word in context if word.stem not in fact.stems]
    if len(strays) < len(context):
        subject = range(clause.start + clause.front, clause.start + clause.head)
        strays = [(at, word) for at, word in strays if at in subject]
    arrives = clause.verb >= 0 and clause.words[clause.verb].text in ("comes", "come", "arrives")
    if arrives and not fact.subject and not _is_price(fact, of):
        return []  # "delivered within ten days" does not say what is
    return [] if all(w.text == "open" for _, w in strays) else [word for _, word in strays]


def _shares(context: _Context, fact: Fact) -> bool:
    return any(word.stem in fact.stems for _, word in context)


def _gap(quantity: Quantity, at: int) -> int:
    return quantity.start - at if at < quantity.start else at - quantity.stop + 1
