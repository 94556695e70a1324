"""What the truth of the large catalogue reads in a copy: `features`, and what a claim is worth.

A sentence with a claim that no fact carries (`claims`) tells nothing and persuades nobody, and a
principle that claims something persuades only where a fact carries it. Sentences about nothing and
broken grammar are slips.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from itertools import pairwise

from copygym.envs.profiles.history import PRICE_TALK
from copygym.envs.storefront.claims import false_claims, spoken_sentences
from copygym.envs.storefront.copy import PRINCIPLES, Product
from copygym.envs.storefront.features import (
    CopyFeatures,
    Spelling,
    care,
    fluency,
    heaviness,
    presence,
    relevance,
    sentences_of,
    shouting,
    stem,
    words_of,
)
from copygym.envs.storefront.grammar import FUNCTION_WORDS
from copygym.envs.storefront.lexicon import ACTIONS, EXPERT_NOUNS, VOUCHING_VERBS
from copygym.envs.storefront.products import TRADES
from copygym.envs.storefront.trades.kind import Kind, Trade

#: false claims that count; a reader has stopped reading by then.
_MOST_CLAIMS = 5.0

#: word order that counts as flawless: names and numbers make honest copy look odd to `word_order`.
_IN_ORDER = 0.45

_PRICE = re.compile(PRICE_TALK)

#: words that hold a sentence together, beside verbs of the trades.
_GLUE = FUNCTION_WORDS | frozenset(
    ("most", "within", "by", "per", "each", "half", "twice", "instead", "until", "here", "there",
     "hello", "friend", "dear")
)  # fmt: skip

#: words of copy in every trade; "product" stands for a name.
_COMMON = frozenset(
    ("product", "join", "hello", "dear", "friend", "treat", "picture", "together", "hurry", "last",
     "chance", "already", "next", "step", "meet", "gift", "show", "love", "wait", "quick", "today",
     "tonight", "week", "new", "here", "there", "offer", "price")
)  # fmt: skip

#: facts of which a principle needs one to be believed.
NEEDS = {
    "scarcity": frozenset(("deadline", "stock")),
    "social_proof": frozenset(("users",)),
    "authority": frozenset(("experts",)),
}

_BOUND_TO_BASE = frozenset(
    ("to", "can", "will", "would", "must", "should", "may", "could", "don't", "doesn't", "is",
     "are", "was", "were", "be", "you", "we", "they", "i")
)  # fmt: skip
#: a small word with a capital in the middle of a sentence is left over from another.
_STRANDED = re.compile(r"(?<=[a-z0-9] )(?:The|It|An?|Of|And|Only|In|On|We|You|To|At|Join|Hurry)\b")
#: no sentence ends with one of these.
_CUT = frozenset(("of", "to", "with", "per", "until", "within", "between", "under", "very", "at"))


@lru_cache(maxsize=200_000)
def read_copy(text: str, product: Product) -> CopyFeatures:
    """Return the features of ``text`` as an advertisement of ``product``."""
    wrong = {i for i, _ in false_claims(text, product)}
    spoken = spoken_sentences(text)
    honest = " ".join(s for i, s in enumerate(spoken) if i not in wrong)
    glue, known, cues = _glue(), _known(), _cues()
    kinds = {fact.kind for fact in product.typed}
    # A name is one word, however many it has: a noun after "the", else a subject of its own.
    word = "product" if product.spoken.startswith("the ") else "it"
    bare = re.sub(re.escape(product.name), word, text, flags=re.IGNORECASE)
    words, sentences = words_of(bare), sentences_of(bare)
    slips = sum(_broken(s) for s in sentences) + sum(_is_empty(s, product) for s in spoken)
    slips += sum(s[0].islower() for s in spoken) + len(_STRANDED.findall(text))
    slips += bool(text.strip()) and not re.search(r"[.!?][\"'”’)]*\s*$", text)
    strange = [w for w in words if w not in known]
    spelled = 1.0 - (1.0 - _spelling().of(strange)) * len(strange) / max(len(words), 1)
    odd = sum(map(_spelling().is_odd, strange))
    smooth = fluency(words, sentences, glue, _IN_ORDER, spelled)
    return CopyFeatures(
        relevance=relevance(sentences_of(honest), product, glue),
        principles=tuple(
            presence(honest.lower(), found) if not need or kinds & need else 0.0
            for need, found in ((NEEDS.get(name), cues[name]) for name in PRINCIPLES)
        ),
        claims=min(float(len(false_claims(text, product))), _MOST_CLAIMS),
        fluency=smooth * care(words, sentences, product, odd, float(slips)),
        shouting=shouting(text),
        heaviness=heaviness(words, sentences),
        price_talk=float(bool(_PRICE.search(honest))),
        words=len(text.split()),
    )


# ---------------------------------------------------------------- persuasion


@cache
def _cues() -> dict[str, tuple[re.Pattern[str], ...]]:
    """Return the cues of the small catalogue and those of the trades' own words."""
    who = "|".join(sorted({re.escape(kind.users[0]) for trade in TRADES for kind in trade.kinds}))
    more = {
        "scarcity": (
            r"\bcloses? on\b", r"\bhurry[,:]", r"\b(?:be quick|don't wait)\b",
            r"\bthe last \d+\b",
        ),
        "social_proof": (rf"\d (?:\w+ )?(?:{who})\b", rf"\bother (?:{who})\b"),
        "authority": (
            rf"\b(?:{EXPERT_NOUNS})\b[^.!?]*\b(?:{VOUCHING_VERBS})\b",
            rf"\b(?:by|from|ask) (?:the |our )?(?:\w+ )?(?:{EXPERT_NOUNS})\b",
        ),
    }  # fmt: skip
    return {
        name: tuple(re.compile(cue) for cue in (*found, *more.get(name, ())))
        for name, found in PRINCIPLES.items()
    }


# ---------------------------------------------------------------- language


@cache
def _vocabulary(trade: Trade) -> frozenset[str]:
    """Return the words that a trade uses."""
    texts = [*trade.calls, *_sayings(trade)]
    for kind in trade.kinds:
        texts += [*kind.facts, *kind.hooks, kind.habit, kind.treat, kind.scene, kind.name]
        texts += [*kind.users, *_sayings(kind)]
    return frozenset(w for text in texts for w in words_of(re.sub(r"[{}|]", " ", text)))


def _sayings(seller: Trade | Kind) -> list[str]:
    """Return what a trade or a kind says beside what its products do."""
    pairs = (*(seller.experts or ()), *(seller.offers or ()))
    lists = (seller.stocks, seller.promises, seller.gifts, seller.extras)
    return [*(word for pair in pairs for word in pair), *(t for ts in lists for t in ts or ())]


@cache
def _known() -> frozenset[str]:
    """Return words whose spelling needs no look: those of the trades and their names."""
    names = frozenset(
        w
        for trade in TRADES
        for brands in (trade.brands, *(kind.brands for kind in trade.kinds))
        for brand in brands
        for w in words_of(brand)
    )
    return names.union(FUNCTION_WORDS, _COMMON, *map(_vocabulary, TRADES))


@cache
def _spelling() -> Spelling:
    return Spelling(_known())


@cache
def _verbs() -> tuple[frozenset[str], frozenset[str]]:
    """Return what products do, as in "boils", and the same as in "boil"."""
    first = {fact.split()[0] for trade in TRADES for kind in trade.kinds for fact in kind.facts}
    third = frozenset(w for w in first if w.endswith("s") and w not in FUNCTION_WORDS)
    base = {re.sub(r"(?<=[sxz])es$|(?<=ch)es$|(?<=sh)es$", "", w) for w in third}
    return third, frozenset(re.sub(r"ies$", "y", w).removesuffix("s") for w in base)


@cache
def _glue() -> frozenset[str]:
    do = (w for trade in TRADES for kind in trade.kinds for w in kind.users[1].split())
    return _GLUE.union(do, *_verbs())


def _broken(sentence: list[str]) -> int:
    """Count verbs whose form their neighbour forbids, a word twice in a row, and a cut end."""
    third, base = _verbs()
    count = int(sentence[-1] in _CUT)
    for before, word in pairwise(sentence):
        count += before == word
        count += before in _BOUND_TO_BASE and word in third
        count += before == "it" and word in base - third
    return count


@cache
def _subjects(product: Product) -> frozenset[str]:
    """Return the stems that a sentence about a product has at least one of."""
    trade = next(trade for trade in TRADES if trade.field == product.field)
    about = " ".join((product.name, *product.facts))
    words = {*words_of(about), *_vocabulary(trade)} - _GLUE
    return frozenset(map(stem, words)) | ACTIONS


def _is_empty(sentence: str, product: Product) -> bool:
    """Say whether a sentence is about nothing: not the product, its trade, or what to do."""
    low = sentence.lower()
    if any(cue.search(low) for found in _cues().values() for cue in found):
        return False
    return not frozenset(map(stem, words_of(low))) & _subjects(product)
