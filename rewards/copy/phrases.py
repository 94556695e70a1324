"""Words and phrases of copy: which claim something, and which claim nothing."""

from __future__ import annotations

import re
from functools import cache

from copygym.rewards.copy.language import stem_of

#: who is counted: "90,000 savers", "6,500 travellers have".
_MANY = (
    r"\b\d{1,3},\d{3} (?:\w+ )?(?:people|members|customers|users|families|households|guests|"
    r"\w+(?:ers|ors|ists|ants|ents))\b"
)
#: an end that a brief dates.
_DEADLINE = (
    r"\b(?:ends?|closes?|leaves?|expires?|until|by|before|registration) (?:on |at |in |this |next )?"
    r"(?:soon|tonight|today|monday|tuesday|wednesday|thursday|friday|saturday|sunday|january|"
    r"february|march|april|may|june|july|august|september|october|november|december|\d+ [a-z]+)\b"
    r"|\blast chance\b|\blimited\b|\b(?:ends?|closes?|leaves?) (?:\w+ ){1,3}(?:soon|on)\b"
)
_STOCK = r"\bleft\b|\blimited\b|\bsold out\b|\bin stock\b|\bthe last \d|\bonly \d|\brunning (?:low|out)\b"

#: Claims by their wording. Of each: a name, what a text says, and what a brief must say for it to
#: be supported ("" for the same words).
_CLAIMS: tuple[tuple[str, str, str], ...] = (
    ("superlative", r"\b(?:the|our|your|its|world's|europe's|\w+'s) (?:very )?best\b|\bbest [a-z]+ "
     r"(?:in|of|on|ever)\b|\bvoted best\b|^best\b", r"\bbest\b"),
    ("superlative", r"\b(?:greatest|cheapest|fastest|lowest|finest|biggest|largest|strongest|"
     r"smartest|safest|cleanest|quickest|easiest|richest|highest|healthiest|tastiest|freshest|"
     r"coolest|nicest|longest|smallest|lightest|oldest|newest|funniest)\b", ""),
    ("superlative", r"\bmost (?:popular|beautiful|trusted|advanced|loved|powerful|successful|"
     r"reliable|important|famous|effective|comfortable|affordable)\b", ""),
    ("superlative", r"\b(?:number one|no\.? 1|unbeatable|unrivalled|unmatched|perfect|ultimate|"
     r"world-class|world class|revolutionary|second to none|unique|leading|top-rated|top rated)\b",
     ""),
    ("superlative", r"\b(?:in the world|on earth|on the planet|of all time)\b", ""),
    ("superlative", r"\b(?:better|cheaper|faster|more) than (?:any|all|every|ever)\b", ""),
    ("guarantee", r"\bguarant\w+", r"\bguarant\w+|\bwarrant\w+"),
    ("guarantee", r"\b(?:risk-free|risk free|no risk|without (?:any )?risk|we promise|promise you|"
     r"money back|money-back)\b", ""),
    ("guarantee", r"\b(?:never(?! (?:\w+ )?more than)|nobody ever|no one ever)\b", r"\b(?:never|not|nobody)\b"),
    ("guarantee", r"\b(?:nobody|no one) (?:\w+ )?can\b|\bcan (?:nobody|no one)\b", r"\b(?:nobody|no one)\b"),
    ("guarantee", r"\b(?:forever|for ever|for life)\b", r"\b(?:forever|for ever|for life|always)\b"),
    ("guarantee", r"\b(?:unlimited|endless|instant|instantly)\b", r"\b(?:unlimited|instant\w*|endless|without limit|no limit)\b"),
    ("medical", r"\b(?:cur(?:e|es|ed)|heal(?:s|ed)?|miracles?|clinically|medically|detox|pain-free|"
     r"painless|without (?:any )?pain|no pain|lose weight|anti-aging|side effects)\b", ""),
    ("proof", r"\b(?:proven|tested|certified|approved|award\w*|prize|voted|medal|nominated|rated|"
     r"winner|winning|endorsed)\b", ""),
    ("authority", r"\b(?:experts?|doctors?|analysts?|scientists?|critics|engineers?|physiotherapists?"
     r"|dentists?|vets|specialists?|professionals|guides|bankers|chefs|lawyers|nurses) "
     r"(?:\w+ )?(?:recommend|say|agree|love|trust|choose|swear|have looked|like|call|use|prefer)\w*",
     r"\b(?:expert|doctor|analyst|scientist|critic|engineer|physio|dentist|vet|specialist|guide|"
     r"banker|chef|lawyer|nurse|editor|professional)\w*\b[^.]*\b(?:recommend|say|agree|trust|use|prefer|"
     r"approve|design|test|select|chose|love|like)"),
    ("authority", r"\b(?:recommended|trusted|loved|used|chosen|preferred) by\b",
     r"\b(?:recommend|trust|lov|use|chos|choose|prefer)\w*"),
    ("authority", r"\b(?:ask|trust) (?:the |our )?experts\b|\bexperts have\b|\bwhat (?:\w+ )*(?:"
     r"analysts|doctors|experts|engineers) (?:\w+ )?(?:recommend|like)", r"\bexpert|analyst|doctor|engineer"),
    ("popularity", r"\bjoin (?:the|us and|over|more than|thousands|millions|hundreds|others|all)\b"
     r"(?! (?:club|fun|course|class|hunt|group|team|treasure|first|next|evening|table|walk))",
     r"\b(?:[\d,]{3,}|thousand\w*|million\w*|hundred\w*|customers?|members?|users?|learners?|"
     r"readers?|savers?|subscribers?|runners?)\b"),
    ("popularity", r"\bthousands\b", r"\bthousand\w*|\bmillion\w*|" + _MANY),
    ("popularity", r"\bmillions\b", r"\bmillion\w*|\b\d{1,3},\d{3},\d{3}\b"),
    ("popularity", r"\bhundreds\b", r"\bhundred\w*|" + _MANY.replace(",", "?")),
    ("popularity", r"\b(?:everyone|everybody) (?:who|\w+s)\b|"
     r"\bpeople (?:choose|love|trust|like you|who are happy)\b|(?<!\d )\bneighbours? (?:already|know|love|"
     r"meet|use|have)\b|\blike you already\b|\b(?:bestseller|best-selling|favourite of)\b|"
     r"\b(?:customers|users|members|guests|readers|parents|families|graduates) (?:love|recommend|"
     r"trust|save|say|agree|rave|earn|report|swear)\w*", ""),
    ("scarcity", r"\b(?:only|just) (?:a )?(?:few|handful)|\bonly \w+ (?:\w+ )?(?:is|are) left\b|"
     r"\b(?:almost|nearly|soon) (?:gone|sold out|full|fully booked)\b|\brunning (?:low|out)\b|"
     r"\bselling (?:out|fast)\b|\bwhile (?:stocks?|supplies) lasts?\b|\blast (?:few )?(?:places|seats|"
     r"rooms|tickets|spots|pieces|copies)\b|\b(?:are|is) left\b|\bbefore the last\b|\bsold out\b",
     _STOCK),
    ("scarcity", r"\b(?:last chance|ends? soon|leav(?:e|es) soon|before (?:it|they) (?:is|are) gone|"
     r"limited|for a short time|last days?)\b", _DEADLINE + "|" + _STOCK),
    ("scarcity", r"\b(?:ends?|closes?|expires?) (?:tonight|today|tomorrow|at midnight)\b|"
     r"\b(?:only today|today only|this week only)\b", ""),
    ("amount", r"\b(?:doubled|tripled|all of (?:your|the|our)|all our|every single)\b",
     r"\b(?:doubl\w*|tripl\w*|twice|all|every)\b"),
    ("speed", r"\b(?:deliver\w*|arrives?|ships?|there|sent|ready) (?:by )?(?:tomorrow|today|the next day|"
     r"the same day|overnight)\b|\b(?:same|next)[ -]day\b", ""),
    ("amount", r"\bas (?:many|much|often|long) (?:\w+ )?as you (?:like|want|wish|can)\b",
     r"\bunlimited\b|\bas (?:many|much|often|long)\b|\bno limit|\bany\b"),
    ("amount", r"\b(?:around the clock|day and night|24/7|all day|all night|any time|anytime)\b",
     r"\b(?:around the clock|24|any time|anytime|all day|always|day and night)\b"),
)  # fmt: skip


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
    if not _any_claim().search(text):
        return []
    found = []
    for name, said, needed in _patterns():
        match = said.search(text)
        if match is None:
            continue
        if needed is not None:
            if not needed.search(brief):
                found.append((name, match.group().strip()))
        elif match.group() not in brief:
            found.append((name, match.group().strip()))
    return found


#: Stems of words that say nothing which a brief would have to carry.
_CLAIMLESS = """
good great nice lovely warm calm easy easily simple simply clear fresh new ready right happy glad
quiet gentle kind kindness true real big small little tiny long short high low old young fine sure
bright own extra important special whole full open early late quick slow soft light strong better
enough next last first second close near far different possible certain easier later sooner
love like enjoy feel treat take give make let get come go see look find learn read hear meet know
think need want wish hope help try keep stay stand begin start end stop open show tell talk say ask
turn put bring send call save choose pick use join discover explore imagine remember forget believe
picture sleep rest relax breathe wake smile laugh cook eat drink play walk work live dream
wait plan order book visit reserve grab step follow hold share care thank welcome invite deserve
decide move leave bring carry set pay buy spend stick return live change mean matter happen
become seem hurry sit listen watch wear travel ride notice add fit suit reach run arrive offer
time day night week weekend today tonight tomorrow morning evening afternoon moment minute hour
life home house world way thing place part side hand heart head mind eye body idea reason story
question answer step page link click friend family people person reader traveller neighbour
everyone someone self whole else rather bored alone lonely door street city town journey
entry entrance admission insured customer client user guest member
habit goal promise chance choice gift present treat surprise pleasure joy fun peace difference
pledge plan list note word name number price offer deal detail fact bit lot kind sort look
spring summer autumn winter season holiday year month monday tuesday wednesday thursday friday
saturday sunday beginning rest start finish future past attention
budget wallet money pocket value cost worth
hello hi dear hey oh yes ok welcome thanks goodbye congratulations compliments
away together ahead along further around inside outside top instead else aside couple
company team service product thing one way work job task
exactly finally always gladly perfectly truly wonderfully comfortably properly slowly carefully
curious hungry tired thirsty lazy busy cosy cozy proud sweet sunny rainy grey cold hot
sun rain sky wind air sea room
miss wonder worry wait hard please count listen mention once
""".split()
#: Of these, what may be had, and is therefore claimed where it is said to be included or free.
_HAD = "drink walk ride book page plan order visit room service product holiday".split()


@cache
def claimless() -> frozenset[str]:
    """Return the stems of words that claim nothing by themselves."""
    return frozenset(stem_of(word) for word in _CLAIMLESS)


@cache
def things() -> frozenset[str]:
    """Return the stems of `claimless` that are a claim where they are included or free."""
    return frozenset(stem_of(word) for word in _HAD)
