"""Words and phrases of copy: which claim something, and which claim nothing."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from copygym.rewards.copy.claims.language import stem_of
from copygym.rewards.copy.claims.lexicon import word_set


def _any(phrases: str) -> str:
    """Return a pattern of any of the phrases, regular expressions that a comma parts."""
    return r"\b(?:" + "|".join(phrase.strip() for phrase in phrases.split(",")) + r")\b"


_EXPERTS = (
    "experts?|doctors?|analysts?|scientists?|critics|engineers?|physiotherapists?|dentists?|vets|"
    "specialists?|professionals|guides|bankers|chefs|lawyers|nurses|editors"
)
_VOUCH = "recommend|say|agree|love|trust|choose|swear|have looked|like|call|use|prefer"
#: who is counted: "90,000 savers", "6,500 travellers".
_MANY = (
    r"\b\d{1,3},?\d{3} (?:\w+ )?(?:people|members|customers|users|families|households|guests|"
    r"\w+(?:ers|ors|ists|ants|ents))\b"
)
_DAYS = (
    r"soon|tonight|today|monday|tuesday|wednesday|thursday|friday|saturday|sunday|january|february|"
    r"march|april|may|june|july|august|september|october|november|december|\d+ [a-z]+"
)
#: an end that a brief dates.
_DEADLINE = (
    r"\b(?:ends?|closes?|leaves?|expires?|until|by|before|registration) "
    rf"(?:on |at |in |this |next )?(?:{_DAYS})\b|\blast chance\b|\blimited\b"
    r"|\b(?:ends?|closes?|leaves?) (?:\w+ ){1,3}(?:soon|on)\b"
)
_STOCK = _any(r"left, limited, sold out, in stock, the last \d+, only \d+, running (?:low|out)")

_PRESSING = re.compile(
    r"(?<!no )(?<!a )(?<!the )\bhurry(?: up)?\b|\b(?:so )?(?:(?:don't|do not) wait|be quick)\b"
)
_ENDING = re.compile(rf"{_DEADLINE}|{_STOCK}|\b(?:{_DAYS})\b|\b(?:ends?|closes?) soon\b")

#: Claims by their wording. Of each: a name, what a text says, and what a brief must say for it to
#: be supported ("" for the same words).
_CLAIMS: tuple[tuple[str, str, str], ...] = (
    (
        "superlative",
        r"\b(?:the|our|your|its|\w+'s) (?:very )?best\b|\bbest [a-z]+ (?:in|of|on|ever)\b"
        r"|\bvoted best\b|^best\b",
        r"\bbest\b",
    ),
    (
        "superlative",
        _any(
            "greatest, cheapest, fastest, lowest, finest, biggest, largest, strongest, smartest,"
            "safest, cleanest, quickest, easiest, richest, highest, healthiest, tastiest, freshest,"
            "coolest, nicest, longest, smallest, lightest, oldest, newest, funniest, softest"
        ),
        "",
    ),
    (
        "superlative",
        r"\bmost (?:popular|beautiful|trusted|advanced|loved|powerful|successful|reliable|"
        r"important|famous|effective|comfortable|affordable)\b",
        "",
    ),
    (
        "superlative",
        _any(
            r"number one, no\.? 1, unbeatable, unrivalled, unmatched, perfect, ultimate,"
            "world-class, world class, revolutionary, second to none, unique, leading, top-rated,"
            "top rated, in the world, on earth, on the planet, of all time"
        ),
        "",
    ),
    ("superlative", r"\b(?:better|cheaper|faster|more) than (?:any|all|every|ever)\b", ""),
    ("guarantee", r"\bguarant\w+", r"\bguarant\w+|\bwarrant\w+"),
    (
        "guarantee",
        _any(
            "risk-free, risk free, no risk, without (?:any )?risk, we promise, promise you,"
            "money back, money-back"
        ),
        "",
    ),
    (
        "guarantee",
        _any(r"never(?! (?:\w+ )?more than), nobody ever, no one ever"),
        _any("never, not, nobody"),
    ),
    (
        "guarantee",
        r"\b(?:nobody|no one) (?:\w+ )?can\b|\bcan (?:nobody|no one)\b",
        _any("nobody, no one"),
    ),
    ("guarantee", _any("forever, for ever, for life"), _any("forever, for ever, for life, always")),
    (
        "guarantee",
        _any("unlimited, endless, instant, instantly"),
        _any(r"unlimited, instant\w*, endless, without limit, no limit"),
    ),
    (
        "medical",
        _any(
            "cur(?:e|es|ed), heal(?:s|ed)?, miracles?, clinically, medically, detox, pain-free,"
            "painless, without (?:any )?pain, no pain, lose weight, anti-aging, side effects"
        ),
        "",
    ),
    (
        "proof",
        _any(
            r"proven, tested, certified, approved, award\w*, prize, voted, medal, nominated, rated,"
            "winner, winning, endorsed"
        ),
        "",
    ),
    (
        "authority",
        rf"\b(?:{_EXPERTS}) (?:\w+ )?(?:{_VOUCH})\w*",
        rf"\b(?:{_EXPERTS})\b[^.]*\b(?:{_VOUCH}|approve|design|test|select|chose)",
    ),
    (
        "authority",
        r"\b(?:recommended|trusted|loved|used|chosen|preferred) by\b",
        r"\b(?:recommend|trust|lov|use|chos|choose|prefer)\w*",
    ),
    (
        "authority",
        r"\b(?:ask|trust) (?:the |our )?experts\b|\bexperts have\b"
        rf"|\bwhat (?:\w+ )*(?:{_EXPERTS}) (?:\w+ )?(?:recommend|like)",
        rf"\b(?:{_EXPERTS})\b",
    ),
    (
        "popularity",
        r"\bjoin (?:the|us and|over|more than|thousands|millions|hundreds|others|all)\b(?! (?:club|"
        r"fun|course|class|hunt|group|team|treasure|first|next|evening|table|walk))",
        r"\b(?:[\d,]{3,}|thousand\w*|million\w*|hundred\w*|customers?|members?|users?|learners?|"
        r"readers?|savers?|subscribers?|runners?)\b",
    ),
    ("popularity", r"\bthousands\b", r"\bthousand\w*|\bmillion\w*|" + _MANY),
    ("popularity", r"\bmillions\b", r"\bmillion\w*|\b\d{1,3},\d{3},\d{3}\b"),
    ("popularity", r"\bhundreds\b", r"\bhundred\w*|" + _MANY),
    (
        "popularity",
        r"\b(?:everyone|everybody) (?:who|\w+s)\b|\bpeople (?:choose|love|trust|like you|who are "
        r"happy)\b|(?<!\d )\bneighbours? (?:already|know|love|meet|use|have)\b|\blike you already\b"
        r"|\b(?:bestseller|best-selling|favourite of)\b",
        "",
    ),
    (
        "popularity",
        r"\b(?:customers|users|members|guests|readers|parents|families|graduates) "
        r"(?:love|recommend|trust|save|say|agree|rave|earn|report|swear)\w*",
        "",
    ),
    (
        "scarcity",
        r"\b(?:only|just) (?:a )?(?:few|handful)|\bonly \w+ (?:\w+ )?(?:is|are) left\b"
        r"|\b(?:almost|nearly|soon) (?:gone|sold out|full|fully booked)\b|\brunning (?:low|out)\b"
        r"|\bselling (?:out|fast)\b|\bwhile (?:stocks?|supplies) lasts?\b"
        r"|\blast (?:few )?(?:places|seats|rooms|tickets|spots|pieces|copies)\b"
        r"|\b(?:are|is) left\b|\bbefore the last\b|\bsold out\b",
        _STOCK,
    ),
    (
        "scarcity",
        _any(
            "last chance, ends? soon, leav(?:e|es) soon, before (?:it|they) (?:is|are) gone,"
            "limited, for a short time, last days?, (?<!no )(?<!a )(?<!the )hurry, don't wait,"
            "do not wait, be quick, act (?:now|fast)"
        ),
        f"{_DEADLINE}|{_STOCK}",
    ),
    (
        "scarcity",
        r"\b(?:ends?|closes?|expires?) (?:tonight|today|tomorrow|at midnight)\b"
        r"|\b(?:only today|today only|this week only)\b",
        "",
    ),
    (
        "amount",
        _any("doubled, tripled, all of (?:your|the|our), all our, every single"),
        _any(r"doubl\w*, tripl\w*, twice, all, every"),
    ),
    (
        "speed",
        r"\b(?:deliver\w*|arrives?|ships?|there|sent|ready) (?:by )?(?:tomorrow|today|the next day|"
        r"the same day|overnight)\b|\b(?:same|next)[ -]day\b",
        "",
    ),
    (
        "amount",
        r"\bas (?:many|much|often|long) (?:\w+ )?as you (?:like|want|wish|can)\b",
        _any("unlimited, as (?:many|much|often|long), no limits?, any"),
    ),
    (
        "amount",
        _any("around the clock, day and night, 24/7, all day, all night, any time, anytime"),
        _any("around the clock, 24, any time, anytime, all day, always, day and night"),
    ),
)


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str], re.Pattern[str] | None], ...]:
    return tuple(
        (name, re.compile(said), re.compile(needed) if needed else None)
        for name, said, needed in _CLAIMS
    )


@cache
def _any_claim() -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{said})" for _, said, _ in _CLAIMS))


def claims_beyond(text: str, brief: str) -> list[tuple[str, str]]:
    """Return the kind and the words of each claim of a text that its brief does not carry.

    Args:
        text: in lower case, with straight apostrophes.
        brief: the same way.
    """
    return [
        (name, words.strip())
        for name, words, needed in _claims_of(text)
        if not (needed.search(brief) if needed is not None else words in brief)
    ]


def presses_idly(text: str, whole: str) -> bool:
    """Tell whether a sentence presses the reader ("hurry: the field meets the pool") for nothing.

    What it goes on to say must come to an end or run out; where it says no more, another sentence.

    Args:
        text: the sentence, in lower case, with straight apostrophes.
        whole: all sentences, the same way.
    """
    rest, pressed = _PRESSING.subn(" ", text)
    if not pressed:
        return False
    return not _ENDING.search(rest if len(rest.split()) > 2 else whole)


@lru_cache(maxsize=100_000)
def _claims_of(text: str) -> tuple[tuple[str, str, re.Pattern[str] | None], ...]:
    """Return the kind and the words of each claim, and what a brief must say for it."""
    if not _any_claim().search(text):
        return ()
    found = ((name, said.search(text), needed) for name, said, needed in _patterns())
    return tuple((name, match.group(), needed) for name, match, needed in found if match)


#: Stems of words that say nothing which a brief would have to carry.
_CLAIMLESS = word_set("""
harm problem trouble bother younger good great nice lovely warm calm easy easily simple simply
clear fresh new ready right happy glad quiet gentle kind kindness true real big small little tiny
long short high low old young fine sure bright own extra important special whole full open early
late quick slow soft light strong better wide deep tall thick heavy enough next last first second
close near far different possible certain easier later sooner love like enjoy feel treat take give
make let get come go see look find learn read hear meet know think need want wish hope help try
keep stay stand begin start end stop show tell talk say ask turn put bring send call save choose
pick use join discover explore imagine remember forget believe picture sleep rest relax breathe
wake smile laugh cook eat drink play walk work live dream wait plan order book visit reserve grab
step follow hold share care thank welcome invite deserve decide move leave carry set pay buy spend
stick return change mean matter happen become seem hurry sit listen watch wear travel ride notice
add fit suit reach run arrive offer time day night week weekend today tonight tomorrow morning
evening afternoon moment minute hour life home house world way thing place part side hand heart
head mind eye body idea reason story question answer page link click friend family people person
reader traveller neighbour everyone someone self else rather bored alone lonely door street city
town journey entry entrance admission insured customer client user guest member habit goal promise
chance choice gift present surprise pleasure joy fun peace difference pledge list note word name
number price deal detail fact bit lot sort spring summer autumn winter season holiday year month
monday tuesday wednesday thursday friday saturday sunday beginning finish future past attention
budget wallet money pocket value cost worth hello hi dear hey oh yes ok thanks goodbye
congratulations compliments away together ahead along further around inside outside top instead
aside couple company team service product one job task exactly finally always gladly perfectly
truly wonderfully comfortably properly slowly carefully curious hungry tired thirsty lazy busy cosy
cozy proud sweet sunny rainy grey cold hot sun rain sky wind air sea room miss wonder worry hard
please count mention once contain
""")
#: Of these, what may be had, and is therefore claimed where it is said to be included or free.
_HAD = word_set("drink walk ride book page plan order visit room service product holiday")


@cache
def claimless() -> frozenset[str]:
    """Return the stems of words that claim nothing by themselves."""
    return frozenset(stem_of(word) for word in _CLAIMLESS)


@cache
def things() -> frozenset[str]:
    """Return the stems of `claimless` that are a claim where they are included or free."""
    return frozenset(stem_of(word) for word in _HAD)
