"""Whether what a sentence claims stands in its brief, and is joined there as it is here."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from copygym.rewards.copy.facts import Brief, Fact, negated_stems
from copygym.rewards.copy.form import _known_form
from copygym.rewards.copy.language import (
    Word,
    clauses,
    common_words,
    content,
    kind_of,
    stem_of,
    verb_at,
)
from copygym.rewards.copy.phrases import claimless, claims_beyond, things
from copygym.rewards.copy.quantities import CURRENCIES, TIME_STEMS, Quantity, quantities

#: Stems that any fact may be told with.
_WEAK = frozenset(
    stem_of(w)
    for w in (
        "get take have cost pay price give offer come go make use let include find see need want "
        "enjoy try start begin choose bring people person customer day way time free new good more "
        "now only just here also keep work entry ticket admission"
    ).split()
)
_BOUNDS = {
    "more than": "more than|over|at least", "over": "over|more than", "under": "under|less than",
    "less than": "less than|under", "at least": "at least|more than|over",
    "fewer than": "fewer than|less than|under", "above": "above|over", "below": "below|under",
}  # fmt: skip


def unbound(sentence: tuple[Word, ...], brief: Brief) -> list[tuple[str, str]]:
    """Return (kind, reason) of each claim of a sentence that its brief does not carry.

    The kind is ``false`` or ``misbound``. Clauses that speak of the reader ("you already ...",
    "treat yourself to ...") and questions claim nothing but by their phrases.
    """
    asks = sentence[-1].text == "?"
    told = quantities(sentence)
    spans = clauses(sentence)
    if spans and _addresses(sentence[spans[0][0] : spans[0][1]]):
        spans = _after_address(sentence, spans, brief)
    if not spans:
        return []
    rest = sentence[spans[0][0] :]
    found = [("false", f"{words!r}: {name}") for name, words in _phrases(rest, brief)]
    found += _unlimited(rest, brief)
    claimed: list[tuple[int, int]] = []
    if not asks:
        found += _apart(told, brief)
    for start, stop in spans:
        words = sentence[start:stop]
        own = [q for q in told if start <= q.start < stop]
        anchored = _anchored(words, brief)
        if asks and not anchored:
            continue
        claimed.append((start, stop))
        for quantity in own:
            if asks and quantity.kind not in ("percent", "free", "count"):
                continue
            problem = _quantity(quantity, sentence, start, stop, own, brief)
            if problem and (anchored or not _scenic(quantity, sentence)):
                found.append(problem)
        if asks:
            continue
        problem = _polarity(words, brief) or _predicate(words, brief)
        if problem and not found:
            found.append(problem)
    for start, stop in claimed:
        names = _names(sentence, start, stop, brief)
        found += [("false", f"{name!r} is not in the brief") for name in names]
    if not found and not asks:
        found += _novel(sentence, claimed, brief)
    return found


def _apart(told: list[Quantity], brief: Brief) -> list[tuple[str, str]]:
    """Return that a sentence gives something on a day on which the brief does not give it."""
    for gift in (q for q in told if q.kind in ("free", "percent")):
        for day in (q for q in told if q.kind in ("weekday", "date", "recurring")):
            given = [f for f in brief.facts if any(_same(gift, q) for q in f.quantities)]
            dated = [f for f in brief.facts if any(_same(day, q) for q in f.quantities)]
            if given and dated and not any(f in dated for f in given):
                return [("misbound", f"{gift.kind} on another day in the brief")]
    return []


_ADDRESSES = frozenset(
    ("you already", "you set", "you promised", "you know", "treat yourself", "treat your",
     "picture us", "picture you", "picture yourself", "imagine you", "remember the", "if you",
     "whatever you", "when you")
)  # fmt: skip


def _addresses(words: tuple[Word, ...]) -> bool:
    """Tell whether a clause speaks of the reader alone."""
    return " ".join(word.text for word in words[:2]) in _ADDRESSES


def _after_address(
    sentence: tuple[Word, ...], spans: tuple[tuple[int, int], ...], brief: Brief
) -> tuple[tuple[int, int], ...]:
    """Return the clauses that come after what a sentence says of the reader."""
    for i, (start, stop) in enumerate(spans[1:], 1):
        parted = sentence[start - 1].kind == "mark" or sentence[start - 1].text in ("so", "but")
        if parted or any(w.stem in brief.product for w in sentence[start:stop]):
            return spans[i:]
    return ()


def _anchored(words: tuple[Word, ...], brief: Brief) -> bool:
    """Tell whether a clause speaks of what the brief speaks of, or of "it", "us" and "our"."""
    for word in words:
        if word.kind in ("word", "verb"):
            if word.stem in brief.product or word.stem == "includ":
                return True
            if word.stem in brief.facts_of and word.stem not in _WEAK | TIME_STEMS:
                return True
        elif word.text in ("our", "we", "its", "it", "they", "he", "she", "his", "her", "we've"):
            return True
        if word.text in _OFFERING and len(words) > 1:
            return True
    if words[0].text in ("everything", "all") or any(w.text in ("cost", "costs") for w in words):
        return True
    said = {word.text for word in words}
    return bool("you" in said and said & {"pay", "get", "earn", "receive", "save"})


#: words of a sentence that offers something, whatever else it speaks of.
_OFFERING = frozenset(
    "open opens closed covered served provided available guest guests customer customers "
    "member members user users client clients visitor visitors".split()
)


def _scenic(quantity: Quantity, sentence: tuple[Word, ...]) -> bool:
    """Tell whether a number paints a scene where nothing is advertised: "hungry at seven"."""
    if quantity.kind in ("weekday", "recurring", "clock"):
        return True
    if quantity.kind == "ordinal":
        return not any(w.text in ("free", "month", "months") for w in sentence)
    spelled = not sentence[quantity.start].text[0].isdigit()
    bare = not quantity.heads or quantity.dimension == "minute"
    return quantity.kind == "count" and quantity.value <= 60 and spelled and bare


# ---------------------------------------------------------------- phrases and names


def _unlimited(sentence: tuple[Word, ...], brief: Brief) -> list[tuple[str, str]]:
    """Return that something else is unlimited than in the brief."""
    for word, after in pairwise(sentence):
        if word.text in ("unlimited", "endless") and after.kind == "word":
            known = brief.following.get(word.text, frozenset())
            if known and "" not in known and after.text not in known:
                return [("misbound", f"{word.text} {after.text}: not so in the brief")]
    return []


def _phrases(sentence: tuple[Word, ...], brief: Brief) -> list[tuple[str, str]]:
    text = " ".join(word.text for word in sentence)
    return claims_beyond(text, brief.text)


def _names(sentence: tuple[Word, ...], start: int, stop: int, brief: Brief) -> list[str]:
    inside = [w for w in sentence if w.kind != "mark" and not w.start and w.text != "i"]
    titled = _titled(inside)
    names = []
    for word in sentence[start:stop]:
        if not word.capital or word.kind not in ("word", "verb") or len(word.text) < 2:
            continue
        if word.text in brief.words or word.stem in brief.facts_of or word.stem in brief.product:
            continue
        if kind_of(word.text.removesuffix("'s")) not in ("word", "verb"):
            continue  # yesterday's
        if stem_of(word.text) in TIME_STEMS or word.text.startswith("i'") or word.text in _MONTHS:
            continue
        if (titled or word.start) and (word.text in common_words() or _known_form(word.text)):
            continue
        if (titled or word.start) and word.stem in claimless():
            continue
        if any(known.startswith(word.text[:4]) for known in brief.words if len(word.text) > 4):
            continue  # Sweden, Swedish
        names.append(word.text.capitalize())
    return names


_MONTHS = frozenset(
    "january february march april may june july august september october november december".split()
)


def _titled(inside: list[Word]) -> bool:
    counted = [w for w in inside if w.kind in ("word", "verb", "pronoun", "be", "adverb")]
    return len(counted) > 1 and sum(w.capital for w in counted) > 0.65 * len(counted)


# ---------------------------------------------------------------- quantities


def _quantity(
    quantity: Quantity,
    sentence: tuple[Word, ...],
    start: int,
    stop: int,
    own: list[Quantity],
    brief: Brief,
) -> tuple[str, str] | None:
    shown = " ".join(w.text for w in sentence[quantity.start : max(quantity.stop, quantity.start)])
    if quantity.name and stem_of(quantity.name) in brief.product:
        return None  # a weekend, a daily
    lasts = quantity.start > 0 and sentence[quantity.start - 1].text == "for"
    usual = (_commands(sentence[start]) and lasts) or sentence[-1].text == "?"
    if sentence[quantity.start].kind == "article" and usual:
        return None  # "try it for a week"
    if quantity.kind == "ordinal" and quantity.value == 1 and not _given(sentence):
        return None  # "try the first day"
    same = [(f, q) for f in brief.facts for q in f.quantities if _same(quantity, q)]
    if not same:
        addressed = _commands(sentence[start]) or any(
            w.text in ("you", "your") for w in sentence[start:stop]
        )
        return _unknown(quantity, shown, addressed, brief)
    bound = _bound_words(sentence, quantity)
    denied = any(w.kind == "negation" for w in sentence[start : quantity.start])
    if bound and not denied and not any(o in brief.text for o in _BOUNDS[bound].split("|")):
        return "false", f"{bound} {shown}: the brief does not say {bound}"
    counted = [(f, q) for f, q in same if _counts(quantity, q, sentence, f, brief)]
    if not counted:
        return "misbound", f"{shown}: the brief counts something else with it"
    rated = [(f, q) for f, q in counted if _rated(quantity, q, f)]
    if not rated:
        return "misbound", f"{shown} a {quantity.rate}: by another time in the brief"
    context = _context(quantity, sentence, start, stop, own, brief)
    if not quantity.heads and quantity.kind == "count":
        aged = sentence[quantity.start - 1].text in ("at", "is", "was", "turned", "turns")
        rated = [
            (f, q) for f, q in rated
            if not q.heads or not context or _shared(context, f) or (aged and "old" in q.heads)
        ]  # fmt: skip
        if not rated:
            return "misbound", f"{shown}: the brief counts something else with it"
    if quantity.kind == "count" and not quantity.heads and quantity.start > start:
        if sentence[quantity.start - 1].text == "since" and not 1900 <= quantity.value <= 2100 and all(_is_price(f, q) for f, q in rated):
            return "misbound", f"since {shown}: the brief counts something else with it"
        before = " ".join(w.text for w in sentence[max(quantity.start - 2, 0) : quantity.start])
        aged = before.endswith(("age of", " under", " over"))
        if aged and f"{before.split()[-1]} {shown}" not in brief.text and all(
            _is_price(f, q) for f, q in rated
        ):
            return "misbound", f"{before} {shown}: a price in the brief"
    if quantity.kind == "free" and not _shared(context, rated[0][0]):
        fresh = [w for w in content(sentence[start:stop]) if _is_new(w, brief, True)]
        if fresh and not any(_shared(context, f) for f, _ in rated):
            return "false", f"{shown} with {fresh[0].text!r}: not in the brief"
    if quantity.kind == "free" and _of_the_whole(sentence[start:stop], brief):
        if all(f.subject and not f.subject & brief.product for f, _ in rated):
            return "misbound", f"{shown}: the brief says so of something else"
    if _is_price(*rated[0]) and _other_price(quantity, own, brief):
        return "misbound", f"{shown}: another price in the brief"
    strays = [
        [] if _is_price(f, q) and not _costs(sentence, quantity, context)
        else [] if verb_at(sentence[start:stop]) < 0 and quantity.kind in ("count", "percent")
        else _strays(context, f, *_subject_span(sentence, start, stop))
        for f, q in rated
    ]  # fmt: skip
    best = min(strays, key=len)
    if best:
        return "misbound", f"{shown} with {best[0].text!r}: not so in the brief"
    return None


def _front(words: tuple[Word, ...], at: int) -> int:
    """Return where a subject begins, after what stands before it: "after a while your pet is"."""
    if words[0].kind not in ("preposition", "time"):
        return 0
    starts = ("article", "possessive", "pronoun")
    return max((i for i in range(at) if words[i].kind in starts), default=0)


def _subject_span(sentence: tuple[Word, ...], start: int, stop: int) -> tuple[int, int]:
    """Return where the subject of a clause begins and where its first noun phrase ends."""
    words = sentence[start:stop]
    at = verb_at(words)
    front = _front(words, max(at, 0))
    added = (i for i in range(front + 1, at) if words[i].kind == "preposition")
    return start + front, start + next(added, at)


def _strays(
    context: list[tuple[int, Word]], fact: Fact, front: int, head: int
) -> list[Word]:
    """Return the words that do not belong to the fact that a quantity is of.

    Where some do belong, only a subject that does not counts: "two hours of Shakespeare" may be
    said of a show of two hours.
    """
    strays = [(at, word) for at, word in context if word.stem not in fact.stems]
    if len(strays) < len(context):
        strays = [(at, word) for at, word in strays if front <= at < head]
    if all(word.text == "open" for _, word in strays):
        return []
    return [word for _, word in strays]


def _shared(context: list[tuple[int, Word]], fact: Fact) -> bool:
    return any(word.stem in fact.stems for _, word in context)


def _of_the_whole(words: tuple[Word, ...], brief: Brief) -> bool:
    """Tell whether a clause says something of the product itself."""
    at = verb_at(words)
    if at <= 0 or words[at].kind != "be":
        return False
    subject = content(words[:at])
    return all(w.stem in brief.product for w in subject) and bool(
        subject or words[0].text in ("it", "it's", "this")
    )


_COSTS = frozenset(stem_of(word) for word in ("cost", "pay", "price"))


def _is_price(fact: Fact, quantity: Quantity) -> bool:
    """Tell whether a brief's quantity is the price of the whole."""
    told = _COSTS & fact.stems or not fact.stems - TIME_STEMS
    return bool(told) and quantity.kind == "count" and not quantity.dimension and (
        not quantity.heads - CURRENCIES
    )


def _other_price(quantity: Quantity, own: list[Quantity], brief: Brief) -> bool:
    """Tell whether a number before a price ("the first month costs") has a price of its own."""
    for other in own:
        if other.start >= quantity.start or other.kind not in ("ordinal", "count"):
            continue
        for fact in brief.facts:
            prices = [q.value for q in fact.quantities if _is_price(fact, q)]
            if prices and any(_same(other, q) for q in fact.quantities if q.heads):
                return quantity.value not in prices
    return False


def _costs(
    sentence: tuple[Word, ...], quantity: Quantity, context: list[tuple[int, Word]]
) -> bool:
    """Tell whether a sentence says of a part what the whole costs: "yoga costs 24"."""
    before = sentence[max(quantity.start - 2, 0) : quantity.start]
    costs = any(w.stem in _COSTS or w.kind == "be" for w in before)
    return costs and any(
        at < quantity.start and not word.text.endswith("ing") for at, word in context
    )


def _same(a: Quantity, b: Quantity) -> bool:
    if a.kind == b.kind:
        if a.kind == "date":
            return a.value == b.value or (
                0 in (a.value % 100, b.value % 100) and a.value // 100 == b.value // 100
            )
        if a.kind == "count" and a.dimension != b.dimension and a.dimension and b.dimension:
            return False
        return abs(a.value - b.value) < 1e-6 and a.name == b.name
    if {a.kind, b.kind} == {"count", "clock"}:
        return a.value == b.value and not (a.heads or b.heads)
    if a.kind == "free":
        return b.kind == "count" and b.value == 0
    return False


def _unknown(
    quantity: Quantity, shown: str, addressed: bool, brief: Brief
) -> tuple[str, str] | None:
    if quantity.kind == "recurring":
        if quantity.name in ("day", "night") and addressed:
            return None
        known = any(q.rate == quantity.name for f in brief.facts for q in f.quantities)
        if known or quantity.name in brief.facts_of:
            return None
        return "false", f"{shown}: not in the brief"
    if quantity.kind == "count" and quantity.value in (0.0, 1.0) and not quantity.dimension:
        return None
    if quantity.kind == "free" and not any(f.negated for f in brief.facts):
        return "false", f"{shown}: the brief does not say so"
    raw = {q.value for f in brief.facts for q in f.quantities if q.kind in ("count", "clock", "percent")}
    spoken = shown.split()[0]
    if quantity.kind in ("count", "clock") and (quantity.value in raw or spoken in brief.words):
        return "misbound", f"{shown}: the brief counts something else with it"
    return "false", f"{shown}: not in the brief"


def _bound_words(sentence: tuple[Word, ...], quantity: Quantity) -> str:
    if quantity.kind not in ("count", "percent") or not quantity.start:
        return ""
    one = sentence[quantity.start - 1].text
    two = f"{sentence[quantity.start - 2].text} {one}" if quantity.start > 1 else ""
    if two in _BOUNDS:
        return two
    if one == "under" and quantity.dimension == "" and not quantity.heads:
        return ""  # children under six
    return one if one in _BOUNDS and quantity.start != 1 or one == "over" else ""


def _counts(
    a: Quantity, b: Quantity, sentence: tuple[Word, ...], fact: Fact, brief: Brief
) -> bool:
    """Tell whether two equal numbers count the same."""
    if a.kind not in ("count", "ordinal", "percent"):
        return True
    if a.dimension and a.dimension == b.dimension:
        extra = (a.heads - b.heads) - TIME_STEMS - _UNITS
        return not any(s in brief.facts_of and s not in fact.stems for s in extra)
    heads = a.heads - CURRENCIES - claimless_adverbs()
    if not heads:
        if b.heads and a.start and _priced(sentence, a) and a.kind == "count":
            return bool(b.heads & CURRENCIES)
        return True
    if b.heads & _PEOPLE and any(
        x[:4] == y[:4] for x in heads for y in fact.stems if min(len(x), len(y)) > 3
    ):
        return True  # "two million listeners" of two million people who have listened
    if any(_same_thing(x, y) for x in heads for y in b.heads):
        return True
    if a.kind == "percent":
        return bool(heads & fact.stems) or not any(s in brief.facts_of for s in heads)
    return False


_UNITS = frozenset(("gram", "kilogram", "metr", "kilometr", "litr"))


_PEOPLE = frozenset(stem_of(w) for w in "people person customer user member man woman".split())


def _same_thing(a: str, b: str) -> bool:
    """Tell whether two stems name the same: equal, or one the other's last part (wheelchair)."""
    return a == b or (min(len(a), len(b)) > 3 and (a.endswith(b) or b.endswith(a)))


def claimless_adverbs() -> frozenset[str]:
    """Return stems that follow a bare number without being counted by it."""
    return frozenset(("now", "today", "fre", "good", "extra", "on"))


def _priced(sentence: tuple[Word, ...], quantity: Quantity) -> bool:
    return sentence[quantity.start - 1].stem in _COSTS


def _rated(a: Quantity, b: Quantity, fact: Fact) -> bool:
    if not a.rate or a.rate == b.rate:
        return True
    if not b.rate:
        return a.rate in fact.stems
    return False


def _context(
    quantity: Quantity,
    sentence: tuple[Word, ...],
    start: int,
    stop: int,
    own: list[Quantity],
    brief: Brief,
) -> list[tuple[int, Word]]:
    """Return the brief's words that stand with a quantity in its clause and nearer to no other."""
    others = [q for q in own if q is not quantity]
    verb = verb_at(sentence[start:stop])
    fronted = sentence[start].kind in ("preposition", "time") and quantity.start - start < 6
    if fronted and not 0 <= verb < quantity.start - start:
        # "After a waiting period of 30 days your pet is covered": what follows has its own subject.
        later = range(quantity.stop, stop)
        stop = next((i for i in later if sentence[i].kind in ("article", "possessive")), stop)
    verb = start + max(verb_at(sentence[start:stop]), 0)
    found = []
    for at in range(start, stop):
        word = sentence[at]
        if word.kind not in ("word", "verb") or quantity.start <= at < quantity.stop:
            continue
        if at == quantity.stop + 1 and sentence[at - 1].text == "of":
            continue  # "two hours of Shakespeare"
        if word.stem not in brief.facts_of or word.stem in brief.product:
            continue
        if word.stem in TIME_STEMS or (word.stem in _WEAK and not _told_once(word, quantity, brief)):
            continue
        if len(brief.facts_of[word.stem]) > 2 or (word.stem in brief.topic and at > verb):
            continue
        gap = _gap(quantity, at)
        if any(q.start <= at < q.stop or _gap(q, at) < gap for q in others):
            continue
        found.append((at, word))
    return found


def _told_once(word: Word, quantity: Quantity, brief: Brief) -> bool:
    """Tell whether a usual word stands once in the brief, with another number of this kind."""
    where = brief.facts_of[word.stem]
    return len(where) == 1 and bool(quantity.dimension) and any(
        q.dimension == quantity.dimension and q.value != quantity.value
        for i in where
        for q in brief.facts[i].quantities
    )


def _commands(word: Word) -> bool:
    """Tell whether a clause that begins with this word asks the reader to do something."""
    return word.kind == "verb" and not word.text.endswith(("s", "ed"))


def _given(sentence: tuple[Word, ...]) -> bool:
    """Tell whether a sentence says that something costs less or nothing."""
    return any(
        q.kind in ("free", "percent") or (q.kind == "count" and not q.dimension)
        for q in quantities(sentence)
    )


def _gap(quantity: Quantity, at: int) -> int:
    return quantity.start - at if at < quantity.start else at - quantity.stop + 1


# ---------------------------------------------------------------- who does what


def _polarity(words: tuple[Word, ...], brief: Brief) -> tuple[str, str] | None:
    denied = negated_stems(words)
    limits = any(w.text in ("more", "less", "fewer", "longer") for w in words)
    at = verb_at(words)
    verb = words[at] if at >= 0 else None
    denies = verb is not None and (
        verb.kind in ("be", "have", "do", "modal", "negation") or verb.stem in ("pay", "contain")
    )
    if not denies and words[0].text not in ("no", "without"):
        limits = True
    for stem in () if limits else sorted(denied):
        if stem in brief.affirmed and stem not in brief.negated and stem not in _WEAK:
            if stem not in brief.product and not any(
                stem in fact.stems and fact.negated & denied for fact in brief.facts
            ):
                return "false", f"denies {stem!r}, which the brief affirms"
    for word in content(words):
        stem = word.stem
        if stem in brief.negated and stem not in brief.affirmed and stem not in denied:
            if stem in _WEAK or any(w.text in ("nothing", "without", "no") for w in words):
                continue
            return "false", f"affirms {word.text!r}, which the brief denies"
    return None


#: verbs whose object need not be told of their subject in the brief.
_LOOSE = frozenset(
    stem_of(w) for w in "give get take bring find see need want enjoy choose use let make offer".split()
)


def _predicate(words: tuple[Word, ...], brief: Brief) -> tuple[str, str] | None:
    """Return that a clause tells of one fact's subject what the brief tells of another's."""
    at = verb_at(words)
    if at <= 0:
        return None
    subject = [w for w in content(words[_front(words, at) : at]) if w.stem not in brief.product | _WEAK | TIME_STEMS]
    known = [w for w in subject if w.stem in brief.facts_of]
    if words[at].kind == "verb" and words[at].stem in _LOOSE:
        return None
    told = [words[at], *content(words[at + 1 :])] if words[at].kind == "verb" else (
        content(words[at + 1 :])
    )
    told = [
        w for w in told
        if w.stem in brief.facts_of and w.stem not in brief.product | _WEAK | TIME_STEMS
    ][:2]  # fmt: skip
    if not told:
        return None
    own_subject = any(w.kind == "pronoun" for w in words[:at])
    for word in told[:1]:
        facts = [brief.facts[i] for i in brief.facts_of[word.stem]]
        if known:
            head = known[-1] if not any(w.kind == "preposition" for w in words[:at]) else None
            fits = any(
                (head.stem in f.stems if head else any(w.stem in f.stems for w in known))
                for f in facts
            )
            if not fits:
                return "misbound", f"{known[-1].text!r} with {word.text!r}: not so in the brief"
            if len(facts) == 1 and _turned(known, words, at, word, facts[0]):
                return "misbound", f"{known[-1].text!r} and {word.text!r} have changed places"
        elif subject or not content(words[:at]):
            continue
        elif not own_subject and word.kind == "verb" and word is words[at]:
            stems = {w.stem for w in words}
            if all(f.subject and not f.subject & (stems | brief.product) for f in facts):
                return "misbound", f"{word.text!r} is told of something else in the brief"
    return None


def _turned(
    known: list[Word], words: tuple[Word, ...], at: int, verb: Word, fact: Fact
) -> bool:
    """Tell whether subject and object of a fact's verb have changed places."""
    if verb is not words[at] or not fact.subject or verb.stem not in fact.stems:
        return False
    if any(w.kind == "be" for w in words):
        return False
    head = known[-1].stem
    after = {w.stem for w in content(words[at + 1 :])}
    return head not in fact.subject and bool(after & fact.subject)


# ---------------------------------------------------------------- what is new

_PROMISING = frozenset(
    stem_of(w) for w in "get receive earn save win enjoy have swim own include pay lose".split()
)


def _novel(
    sentence: tuple[Word, ...],
    spans: Iterable[tuple[int, int]],
    brief: Brief,
) -> list[tuple[str, str]]:
    if sentence[0].kind == "relative" or not brief.stated:
        return []
    asserted = False
    for start, stop in spans:
        words = sentence[start:stop]
        adds = asserted and start and sentence[start - 1].text in ("with", "plus", "including")
        commands = _commands(words[0]) or any(w.text == "you" for w in words)
        verb = verb_at(words)
        told = verb == 0 and words[0].kind == "verb" and not _commands(words[0])
        asserted = told or (
            not commands and (verb >= 0 or not start) and _anchored(words, brief)
        )
        if verb == 0 and _commands(words[0]):  # "get lost in a book"
            new_kinds = ("word",)
        else:
            new_kinds = ("word", "verb")
        offered = any(w.stem == "includ" or w.text in ("free", "has", "have") for w in words)
        new = [w for w in content(words) if w.kind in new_kinds and _is_new(w, brief, offered)]
        if not new:
            continue
        at = verb
        if adds and at < 0:
            return [("false", f"{new[0].text!r} is not in the brief")]
        if not told and not _anchored(words, brief):
            continue
        if _owned(words, new):
            return [("false", f"{_owned(words, new)!r} is not in the brief")]
        if at < 0:
            at = _unknown_verb(words)
        if at < 0:
            continue
        subject = words[:at]
        if at == 0:
            promises = told or (words[0].stem in _PROMISING and not _idle(words))
        elif any(w.text == "you" for w in subject):
            promises = any(w.stem in _PROMISING for w in words)
        else:
            promises = bool(content(subject)) or any(
                w.text in ("it", "we", "they", "he", "she", "there", "it's", "she's", "all", "everything")
                for w in subject
            )
        if promises:
            return [("false", f"{new[0].text!r} is not in the brief")]
    return []


def _unknown_verb(words: tuple[Word, ...]) -> int:
    """Return the place of what must be the verb after a subject ("the fabric repels stains")."""
    if len(words) > 2 and words[0].text in ("we", "they") and words[1].kind == "word":
        if words[2].kind in ("possessive", "article"):
            return 1
    for at in range(1, len(words) - 1):
        before, word, after = words[at - 1 : at + 2]
        ends = word.text.endswith("s") and not word.text.endswith(("ss", "us", "is", "'s"))
        named = before.kind in ("word", "pronoun", "adverb")
        if word.kind == "word" and ends and named and not before.text.endswith("s"):
            if after.kind in ("word", "article", "possessive", "number", "pronoun", "determiner"):
                return at
    return -1


def _idle(words: tuple[Word, ...]) -> bool:
    """Tell whether a clause begins as "have a look" does."""
    said = " ".join(word.text for word in words[:3])
    return said in ("have a look", "have a try", "have a go", "have a seat", "take a look")


def _is_new(word: Word, brief: Brief, offered: bool) -> bool:
    stem = word.stem
    if offered and stem in things() and stem not in brief.facts_of:
        return True
    return not (
        stem in brief.facts_of
        or stem in brief.product
        or stem in claimless()
        or stem in TIME_STEMS
        or stem in CURRENCIES
        or word.text in brief.words
        or word.text == "covered"
        or stem == "includ"
        or (len(stem) > 4 and _derived(stem, brief))
    )


def _derived(stem: str, brief: Brief) -> bool:
    """Tell whether the brief has a word of the same root: Sweden, Swedish."""
    return any(known[:4] == stem[:4] and abs(len(known) - len(stem)) < 4 for known in brief.facts_of
               if len(known) > 4)


def _owned(words: tuple[Word, ...], new: list[Word]) -> str:
    """Return what "our" or "its" presents as ours although the brief has no such thing."""
    fresh = {w.text for w in new}
    for at, word in enumerate(words[:-1]):
        if word.text in ("our", "its"):
            for after in words[at + 1 : at + 3]:
                if after.text in fresh:
                    return after.text
    return ""


__all__ = ["unbound"]
