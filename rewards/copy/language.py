"""A small reading of English: words with stem and class, sentences, and the clauses in them.

Enough to tie the claims of a short text to the facts of its brief, and no parser: endings, lists of
function words and a few hundred verbs. The list of common words (``english.txt``) was counted in
the headlines and ledes of the Upworthy Research Archive (Matias et al. 2021, doi
10.1038/s41597-021-00934-7, CC BY 4.0).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple


class Word(NamedTuple):
    """A word of a sentence.

    Attributes:
        text: in lower case.
        stem: what its forms have in common; see `stem_of`.
        kind: a key of `FUNCTION_WORDS`, or ``number``, ``verb``, ``word``, ``mark``.
        capital: whether it was written with a capital.
        start: whether it begins a sentence, a line or a quotation.
    """

    text: str
    stem: str
    kind: str
    capital: bool
    start: bool


#: Function words by class.
FUNCTION_WORDS: dict[str, frozenset[str]] = {
    kind: frozenset(words.split())
    for kind, words in {
        "article": "the a an",
        "possessive": "my your our their its his whose",
        "determiner": "this these those every each some any another both several many few much "
        "more most all other such half enough own same certain various",
        "negation": "no not never without neither nor nothing nobody none cannot can't won't don't "
        "doesn't didn't isn't aren't wasn't weren't hasn't haven't couldn't wouldn't shouldn't",
        "preposition": "of to in into on onto for at by from with about under over between among "
        "through during within across against up upto towards toward near per than as like off "
        "inside outside behind beyond around along above below beside besides despite via plus "
        "including except out down",
        "time": "before after until till since",
        "conjunction": "and or but so because if while when whenever where although though unless "
        "whether yet",
        "relative": "that which who whom what why how whatever whoever",
        "be": "is are was were be been being am isn't aren't wasn't weren't it's that's there's "
        "here's you're we're they're he's she's i'm what's who's",
        "have": "has have had having hasn't haven't you've we've i've they've",
        "do": "do does did doing done don't doesn't didn't",
        "modal": "will would can could may might must should shall cannot can't won't couldn't "
        "wouldn't shouldn't you'll we'll it'll they'll i'll you'd we'd let's let",
        "pronoun": "i we he they she you it us me them him her mine ours yours theirs hers itself "
        "yourself themselves himself herself ourselves one ones someone anyone everyone something "
        "anything everything somebody anybody everybody there it's you're we're they're you'll "
        "we'll you've we've i'm he's she's",
        "adverb": "only just now already always ever even still also too very really then here "
        "again soon later almost nearly about quite rather together away back well maybe perhaps "
        "not once often sometimes usually finally instead today tonight tomorrow ago yesterday please "
        "simply straight everywhere anywhere home",
    }.items()
}
_KIND = {word: kind for kind, words in reversed(FUNCTION_WORDS.items()) for word in words}
_KIND.update(dict.fromkeys(("yesterday's", "today's", "tomorrow's"), "determiner"))
_KIND.update({"not": "negation", "about": "preposition", "half": "determiner"})
_KIND.update(
    dict.fromkeys(
        "zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety "
        "hundred thousand million billion dozen".split(),
        "number",
    )
)

#: Verbs whose forms in "s" are as often nouns.
NOUN_VERBS = frozenset(
    "answer award bake bite block blow bounce bump call care film finance flow focus force gain gift "
    "hunt issue lack lift link list load map mark match mill mix paint pause phone pick practise "
    "press purchase question rain rank rate record refill refund release rescue reserve reward ring "
    "sail scan score screen seal search seat shake smell smile smoke snow spell spread stick stretch "
    "suit supply touch track trick type update upgrade water wonder wrap brew cheer click count crack "
    "cross delay demand change charge cook cost cover dance design dream drink drive drop end help "
    "hope lead look love measure move name need offer order pack park pay plan plant play "
    "print promise rent repair report return ride rise roll run ship show sign stand start stay "
    "step stop store study support swim switch talk taste test train transfer travel treat try "
    "turn use visit vote walk wash watch wish work lock heat share".split()
)

#: Base forms of verbs that copy and briefs use; their other forms follow from them.
_VERBS = """
accept add answer apply arrive ask bake be bear begin believe bind book borrow bring build burn buy
call cancel care carry catch change charge check choose claim clean climb close collect come compare
connect contain cook cost cover create cure cut dance decide deliver depend deserve design develop
die dine discover do double download draw dream drink drive drop earn eat encrypt end enjoy enter
exchange expire explain explore fall feed feel fetch fight fill find finish fit fix fold follow
forget found gather get give go greet grow guarantee hand hang happen have hear heat help hire hold
hope host hurry import improve include inspect install insure invent invest invite join jump keep
know last laugh launch lead learn leave lend let lie listen live lock look lose love lower make
measure meet miss move name need notice offer open order own pack park pay picture plan plant play
pledge pledged prefer print promise protect provide publish pull put raise reach read receive
recommend reduce register remember remove rent repair replace replay report rest return ride rise
roast roll run save say see sell send serve set share ship show sign sing sit skip sleep solve sort
speak spend stand start stay steam stop store stream study support surprise swim switch take talk
taste teach tell test thank think throw train transfer travel treat trust try turn understand use
visit vote wait wake walk want warm wash watch wear weigh welcome win wish work worry write
adapt adjust afford agree aim allow amount appear approve arrange attract audit award bite block
blow boil borrow bounce brew bump cater cheer chill click combine complete consist convert cool
count crack cross defend delay demand describe destroy direct donate dry educate employ empty enable
encourage examine exist expect express fade fail film finance fire float flow focus force freeze
frighten fry gain gift graduate greet grind hate hide hum hunt ignore inform insist inspire
intend interview issue kill knit knock lack lay lift link list load maintain manage manufacture map
mark marry match mend mention milk mill mix monitor notify obtain occur operate oppose paint pause
permit phone pick pour practise praise prepare press prevent produce promote prove publish punish
purchase push question quit rain rank rate react realise record recover reduce refill refund refuse
reject relax release rely renew repel replace represent require rescue reserve respond restore reuse
reveal reward ring rub ruin sail scan score screen seal search seat select separate settle sew shake
shine shout shut slide smell smile smoke snow spell spread squeeze steal stick stretch suit supply supervise reflect refund iron warn pump
surround survive suspect tend thrive tie touch track transform translate trick type unlock
update upgrade become break fly hide lay shoot strike swear tear dig deal bend seek vanish vary water whistle wipe wonder wrap yell
""".split()
_IRREGULAR = {
    "am is are was were been being": "be", "has had having": "have", "does did done": "do",
    "went gone goes": "go", "came": "come", "got gotten": "get", "gave given": "give",
    "took taken": "take", "made": "make", "said": "say", "saw seen": "see", "knew known": "know",
    "left": "leave", "lost": "lose", "found founded": "find", "told": "tell", "thought": "think",
    "felt": "feel", "kept": "keep", "held": "hold", "brought": "bring", "bought": "buy",
    "built": "build", "began begun": "begin", "ate eaten": "eat", "fell fallen": "fall",
    "wrote written": "write", "ran": "run", "paid": "pay", "sold": "sell", "sent": "send",
    "slept": "sleep", "spent": "spend", "stood": "stand", "taught": "teach", "won": "win",
    "woke woken": "wake", "wore worn": "wear", "drove driven": "drive", "rode ridden": "ride",
    "rose risen": "rise", "chose chosen": "choose", "grew grown": "grow", "drew drawn": "draw",
    "met": "meet", "led": "lead", "sat": "sit", "spoke spoken": "speak", "swam": "swim",
    "hung": "hang", "heard": "hear", "caught": "catch", "fought": "fight", "forgot": "forget",
    "drank": "drink", "became": "become", "broke broken": "break", "flew flown": "fly",
    "froze frozen": "freeze", "hid hidden": "hide", "laid": "lay", "lay lain": "lie",
    "meant": "mean", "rang rung": "ring", "shook shaken": "shake", "shot": "shoot",
    "shone": "shine", "stole stolen": "steal", "stuck": "stick", "struck": "strike",
    "swore sworn": "swear", "tore torn": "tear", "dug": "dig", "dealt": "deal", "bit": "bite",
    "blew blown": "blow", "bent": "bend", "bred": "breed", "sought": "seek", "slid": "slide",
    "withdrew": "withdraw", "threw thrown": "throw", "understood": "understand", "lent": "lend",
    "fed": "feed", "fit": "fit", "sang sung": "sing", "men": "man", "women": "woman",
    "children": "child", "people": "people", "feet": "foot", "teeth": "tooth", "lives": "life",
    "wives": "wife", "shelves": "shelf", "loaves": "loaf", "knives": "knife", "halves": "half",
    "better best": "good", "worse worst": "bad", "bikes": "bike", "mice": "mouse",
    "this": "this", "news": "news", "series": "series", "gas": "gas", "lens": "lens",
}  # fmt: skip
_BASE = {form: base for forms, base in _IRREGULAR.items() for form in forms.split()}

#: Words that say the same in copy; the first stands for all.
_SAME = """
month monthly; week weekly; year yearly annual annually; day daily; hour hourly; film movie;
child kid children; begin start launch; end close expire; deliver delivery ship shipping shipment;
receive get obtain; buy purchase; repay refund; big large; small little tiny; minute min mins;
gigabyte gb gigabytes; kilometre km kilometer kilometers kilometres; kilogram kg kilo kilograms;
gram grams g; litre liter liters litres; flat apartment; phone telephone smartphone; programme
program; colour color; picture photo; insure insurance insurer; install installation; operate
operation; register registration; donate donation donor; cancel cancellation; guarantee warranty
guaranteed; employee staff; customer client; store shop; speak talk; quick quickly fast; euro euros
eur; dollar dollars usd; pound pounds; cent cents; free complimentary; include included; evening
evenings; kitchen; hand handmade; reply answer; home house; bike bicycle; noise; doctor physician; dentist dental dentistry;
price cost; teacher tutor; noon midday; protect protection; develop development
"""


@cache
def _same() -> dict[str, str]:
    groups = (group.split() for group in _SAME.replace("\n", " ").split(";"))
    return {_strip(w): _strip(group[0]) for group in groups if group for w in group}


_ENDINGS = (
    ("ations", ""), ("ation", ""), ("ments", ""), ("ment", ""), ("ings", ""), ("ing", ""),
    ("ies", "y"), ("ied", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"),
    ("ed", ""), ("es", "e"), ("s", ""),
)  # fmt: skip
_VOWEL = re.compile(r"[aeiouy]")
_DOUBLED = re.compile(r"([bdfgmnprt])\1$")


def _strip(word: str) -> str:
    word = _BASE.get(word, word)
    if len(word) > 3 and not word.endswith(("ss", "us", "is")):
        for ending, instead in _ENDINGS:
            root = word[: -len(ending)]
            if word.endswith(ending) and len(root) >= 3 and _VOWEL.search(root):
                word = word[: -len(ending)] + instead
                break
        word = _DOUBLED.sub(r"\1", word)
    return word.removesuffix("e") if len(word) > 3 else word


@lru_cache(maxsize=100_000)
def stem_of(word: str) -> str:
    """Return what the forms of a word in lower case have in common: "pays", "paid", "pay".

    Words that copy uses for the same thing (`_SAME`: "photo", "picture") share a stem, too.
    """
    bare = word.removesuffix("'s").removesuffix("'")
    stripped = _strip(bare)
    return _same().get(stripped, stripped)


@cache
def _verb_forms() -> frozenset[str]:
    forms: set[str] = set()
    for verb in _VERBS:
        y = len(verb) > 2 and verb.endswith("y") and verb[-2] not in "aeiou"
        es = verb.endswith(("s", "sh", "ch", "x", "o"))
        root = verb.removesuffix("e")
        forms |= {verb, verb[:-1] + "ies" if y else verb + ("es" if es else "s")}
        forms |= {verb[:-1] + "ied" if y else root + "ed", root + "ing", verb + verb[-1] + "ing"}
        forms |= {verb + verb[-1] + "ed"}
    return frozenset(forms | {f for f, b in _BASE.items() if b in _VERBS})


#: "color", "neighbors", "favorite", and not "floor" or "work".
_OR = re.compile(r"([^o]{3,}|col)or(s|ed|ing|ful|able|ite|ites|hood|ly|)$")


@cache
def common_words() -> frozenset[str]:
    """Return words that are spelled as English is: the list's, function words and verb forms."""
    text = files(__package__).joinpath("english.txt").read_text(encoding="ascii")
    words = frozenset(text.split()) | frozenset(_KIND) | _verb_forms()
    british = {_OR.sub(r"\1our\2", word) for word in words if _OR.search(word)}
    british |= {word.replace("iz", "is") for word in words if "iz" in word[2:]}
    british |= {word[:-2] + "re" for word in words if word.endswith("ter")}
    return words | british


_TOKEN = re.compile(
    r"[^\W\d_]+\d+\b|\d+(?:[.,:]\d+)*%?|[^\W\d_]+(?:['’][^\W\d_]+)*['’]?|[.!?]+(?=[\s\"”’)]|$)|[,;:()\"“”—–…\n]"
)
_SENTENCE_END = frozenset(".!?\n")


@lru_cache(maxsize=100_000)
def read_sentences(text: str) -> tuple[tuple[Word, ...], ...]:
    """Return the sentences of a text; each has at least one word, and marks between its words."""
    sentences: list[tuple[Word, ...]] = []
    words: list[Word] = []
    start = True
    for token in _TOKEN.findall(text):
        first = token[0]
        if first.isalnum():
            low = token.lower().replace("’", "'").rstrip("'")
            kind = "word" if token == "May" and not start else kind_of(low)  # not the modal
            words.append(Word(low, stem_of(low), kind, first.isupper(), start))
            start = False
        elif first in _SENTENCE_END:
            if any(word.kind != "mark" for word in words):
                asks = [Word("?", "?", "mark", False, False)] if "?" in token else []
                sentences.append((*words, *asks))
            words, start = [], True
        else:
            words.append(Word(token, token, "mark", False, False))
            start = start or token in ':"“('
    if any(word.kind != "mark" for word in words):
        sentences.append(tuple(words))
    return tuple(sentences)


@lru_cache(maxsize=100_000)
def kind_of(word: str) -> str:
    """Return the class of a word in lower case; of most nouns and adjectives it is ``word``."""
    known = _KIND.get(word)
    if known is not None:
        return known
    if word[0].isdigit():
        return "number"
    return "verb" if word in _verb_forms() else "word"


#: Words that part clauses; "with" and its kind part what they add.
_PARTING = frozenset(
    "and or but so because if while when whenever although though unless whether yet who which "
    "that then where with plus including".split()
)


@lru_cache(maxsize=100_000)
def clauses(sentence: tuple[Word, ...]) -> tuple[tuple[int, int], ...]:
    """Return where the clauses of a sentence begin and end: what stands between conjunctions.

    An "and" between two nouns parts them too: each is then looked at by itself.
    """
    found: list[tuple[int, int]] = []
    start = 0
    for at, word in enumerate(sentence):
        if word.kind == "mark" or word.text in _PARTING:
            if at > start:
                found.append((start, at))
            start = at + 1
    return (*found, (start, len(sentence))) if start < len(sentence) else tuple(found)


_CONTENT = frozenset(("word", "verb"))


def content(words: Sequence[Word]) -> list[Word]:
    """Return the words that carry meaning: neither function words, nor numbers, nor marks."""
    return [word for word in words if word.kind in _CONTENT]


_FINITE = frozenset(("be", "have", "do", "modal"))
_BASE_FORMS = frozenset(_VERBS)
_AFTER_PAST = frozenset(("article", "possessive", "pronoun", "preposition", "number"))
#: Past forms that are no base form.
_PAST = frozenset(form for form, base in _BASE.items() if form != base and base in _VERBS)
_NO_VERB_AFTER = frozenset(("article", "possessive", "determiner", "preposition", "be", "have"))


@lru_cache(maxsize=100_000)
def verb_at(words: tuple[Word, ...]) -> int:
    """Return the place of a clause's first finite verb, -1 where none was found."""
    for at, word in enumerate(words):
        after = words[at + 1] if at + 1 < len(words) else None
        if word.kind in _FINITE and not word.text.endswith("ing"):
            return at
        if word.kind == "negation" and word.text.endswith(("n't", "cannot")):
            return at
        if word.kind == "word" and at and word.text.endswith("ed") and len(word.text) > 4:
            told = after is None or after.kind in _AFTER_PAST
            if told and words[at - 1].kind in ("word", "pronoun"):
                return at  # "the company fired the driver"
        if word.kind != "verb" or word.text.endswith("ing"):
            continue
        if at == 0:
            if word.text in _BASE_FORMS and word.text not in NOUN_VERBS:
                return at  # "get lost"
            if after is not None and (after.kind in _FINITE or _is_finite(words, 1)):
                continue  # "claims are paid", "support answers"
            return at
        if _is_finite(words, at):
            return at
    return -1


def _is_finite(words: tuple[Word, ...], at: int) -> bool:
    word, before = words[at], words[at - 1]
    if word.kind != "verb" or before.kind in _NO_VERB_AFTER or word.text.endswith("ing"):
        return False
    if word.text.endswith("ed") or word.text in _PAST:
        return True
    if word.text.endswith("s") and not word.text.endswith("ss"):
        if before.kind == "number" and word.text[:-1] in NOUN_VERBS:  # of 49 ends; two visits
            return at > 1 and words[at - 2].kind == "preposition"
        return True
    plural = before.text.endswith("s") or before.text in ("people", "children", "men", "women")
    return plural or before.kind in ("pronoun", "number", "modal", "adverb")
