"""Whether words stand in an order that English uses: pairs of word classes, learned from headlines.

A text is a sequence of classes: a class per group of function words, numbers, and the endings of
the other words. A pair's score is log2 of how often it follows against chance, clipped to
[-4, 3] and kept in half bits. The table was computed by `pair_scores` from the headlines and ledes
of the Upworthy Research Archive (Matias et al. 2021, doi 10.1038/s41597-021-00934-7, CC BY 4.0),
about 900,000 pairs.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np

_GROUPS = {
    "the": "the",
    "a": "a",
    "an": "an",
    "possessive": "my your our their its his",
    "her": "her",
    "determiner": "this these those every each some any all another no",
    "that": "that",
    "of": "of",
    "to": "to",
    "in": "in into",
    "on": "on",
    "for": "for",
    "at": "at by from",
    "with": "with without",
    "particle": "after before over under about through against between up out off down",
    "and": "and or",
    "but": "but because if so as than while when",
    "is": "is are was were",
    "be": "be been being am",
    "modal": "will would can could may might must should won't can't",
    "have": "has have had",
    "do": "do does did don't doesn't didn't",
    "subject": "i we he they she",
    "you": "you",
    "it": "it",
    "object": "us me them him",
    "adverb": "not never also just only now already always ever even still",
    "question": "who what which why how where",
}
_ENDINGS = ("ing", "ed", "ly", "s")

#: words that hold a sentence together.
FUNCTION_WORDS = frozenset(word for group in _GROUPS.values() for word in group.split())

#: names of the word classes; the first is the edge of a sentence, the last any other word.
CLASSES = ("edge", *_GROUPS, "number", "apostrophe", *_ENDINGS, "other")

# Row: class before, column: class after; "i" is chance, each letter on is half a bit more likely.
_TABLE = (
    "akkkhilgabhehiffjmffgfimijajlkmhdifh",
    "aaaaaaaaaaaaaaaaaaaaaaaaaafgajfighjl",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaajfigkfl",
    "aacfbecdbaceddedbaadcdcbbcdfaiflkldl",
    "aaababaaaaaaaaaaaaabbaaaaaabagggghmk",
    "icghcedhbihgihghhhefdedgdecegihgfjjk",
    "ghabecefjefeeeghdelfhfeedeadekihgikj",
    "hhfghhjcbcfdefeedgkhnjjlkibicgkgjjki",
    "bmjjmllhaabaaabaacaiaaaagindjifkffji",
    "bjhijkheaaaaacaaaaaoajlahekgegbgbgek",
    "dnmlnlkgabagfadfddacaaabcgffgmdgbehi",
    "gnklnljibdgdefhefddgdccagijelhfjdchi",
    "ellkmmliaadeccdddebiabaalknhhlekgeih",
    "dnlkmmlgaabccccddbaiacbafikgioelcghh",
    "elmmnmljaabfdedcddchbcbailmhhjekegjh",
    "iljjmljjkjikjilgihdibcbhiliekkgkcfhh",
    "aijijjihabfffiefbgfgfhhkhjekjiljkjji",
    "ajjjjjkhgceeggedahfefdhnolcjjhmigigh",
    "fjkkhfjiaeijhgcidiaiaaagiiamjjcnmmfi",
    "fjmkgfggbdjjgfhgbiabacaebcefdeblokfi",
    "ecceechbbbabbcbdbcaoanlilgamadabalaj",
    "djnnihlfanihfdfecdcnaibfkiklajbimhfg",
    "ihgghfjjaigdifnffhghcmhknmekgfcjaidi",
    "aaabaafaaaaaaaaabamhoooaaaakaahcnkji",
    "icfecddgajggehehgfjgolnaadbkgchfikaj",
    "lceecdhfaiiiiijjgimhnikdccajacidikkg",
    "lfihfejjekkjkkjljjieihhfefbhjhgighfh",
    "hhjjgegiahhgihghdjemhligecejhjikligj",
    "fiiiiijhakddaaafbhlgljnnllagagkhjijg",
    "icdhdcbfkfiffeefifgdgfdiccbcdnfgfhni",
    "bikkgfieaaggffcgahambifbcfaolhcmklfi",
    "jijjkkikfkkklkjljigbfdcgijldhgggghih",
    "jijjjmijimmlknlmijedccafekmehieiehhg",
    "igggeegfbgggggfghhhjiikfedbjifikmijj",
    "kghhghgkkkklkkkkljkejjigihkhifhhihfg",
    "kghhhihjkjjjjjjjkijdhighiijgighhhgih",
)

_WINDOW = 12  # pairs
_BAD, _GOOD = -0.4, 0.1  # mean bits of a window: of 90% of shuffled texts below, of real ones above


@cache
def _scores() -> np.ndarray:
    return np.array([[(ord(c) - ord("i")) / 2 for c in row] for row in _TABLE])


@cache
def _class_of_function_word() -> dict[str, int]:
    return {word: CLASSES.index(name) for name, group in _GROUPS.items() for word in group.split()}


def word_class(word: str) -> int:
    """Return the index into `CLASSES` of a word in lower case."""
    known = _class_of_function_word().get(word)
    if known is not None:
        return known
    if word[0].isdigit():
        return CLASSES.index("number")
    if "'" in word:
        return CLASSES.index("apostrophe")
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 2 and not word.endswith("ss"):
            return CLASSES.index(ending)
    return CLASSES.index("other")


def _pairs(sentences: Iterable[list[str]]) -> np.ndarray:
    """Return (M, 2) classes of neighbouring words, sentence edges included."""
    rows = [[0, *map(word_class, sentence), 0] for sentence in sentences if sentence]
    pairs = [np.stack([row[:-1], row[1:]], axis=1) for row in map(np.array, rows)]
    return np.concatenate(pairs) if pairs else np.zeros((0, 2), dtype=np.int64)


def pair_scores(sentences: Iterable[list[str]], prior: float = 5.0) -> np.ndarray:
    """Return the table (C, C) int64 in half bits: ``2 log2((n_ab + prior) / (e_ab + prior))``.

    Args:
        sentences: each a list of words in lower case.
        prior: pseudo-count of a pair, with ``e_ab`` the count expected by chance.
    """
    pairs = _pairs(sentences)
    n = np.zeros((len(CLASSES),) * 2)
    np.add.at(n, (pairs[:, 0], pairs[:, 1]), 1.0)
    expected = np.outer(n.sum(axis=1), n.sum(axis=0)) / max(n.sum(), 1.0)
    bits = np.clip(np.log2((n + prior) / (expected + prior)), -4.0, 3.0)
    return np.round(2 * bits).astype(np.int64)


def clashes(sentences: list[list[str]]) -> int:
    """Count the neighbouring words whose classes hardly ever meet: 3 bits or more below chance."""
    pairs = _pairs(sentences)
    return int((_scores()[pairs[:, 0], pairs[:, 1]] <= -3.0).sum())


def word_order(sentences: list[list[str]]) -> float:
    """Return in [0, 1] how much of a text is in an order that English uses.

    The mean over windows of 12 pairs, each 0 at -0.4 bits a pair or less and 1 at 0.1 or more. On
    headlines and ledes that the table had not seen, nine in ten texts reach 0.85; shuffled, half
    stay below 0.26.
    """
    pairs = _pairs(sentences)
    if not len(pairs):
        return 0.0
    score = _scores()[pairs[:, 0], pairs[:, 1]]
    window = min(_WINDOW, len(score))
    means = np.convolve(score, np.full(window, 1 / window), mode="valid")
    return float(np.clip((means - _BAD) / (_GOOD - _BAD), 0.0, 1.0).mean())
