"""Measures that stand beside CTR, so that a hacked reward is seen: pure functions of N texts."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

import numpy as np

from copygym.envs.tasks import CopyRows
from copygym.rewards.copy.compliance import title_case, unsupported_claims
from copygym.rewards.copy.grounding import finding_shares
from copygym.rewards.copy.ngrams import NearestText, ngrams, plain, words
from copygym.rewards.copy.text_terms import Resources, blanks, gibberish, length, repetition

#: Jaccard similarity of character 4-grams from which two texts are near duplicates.
NEAR = 0.8

_MAX_ORDER = 4
_SMOOTHING = 0.1


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Return the distinct word n-grams of all texts over their number, in [0, 1].

    Li et al. 2016 (arXiv 1510.03055), section 5; over the number of n-grams, so that 1 means that
    none repeats, for every n. It falls with the number of texts: compare equal numbers only.
    nan where there is no n-gram.
    """
    if n < 1:
        raise ValueError(f"n is {n}; n-grams have at least one word")
    grams = [gram for text in texts for gram in ngrams(words(text), n)]
    return len(set(grams)) / len(grams) if grams else math.nan


def bleu(candidate: str, references: Sequence[str]) -> float:
    """Return BLEU-4 in [0, 1] of one text against references.

    Papineni et al. 2002: with clipped n-gram precisions p_n and lengths c and r (the closest
    reference's; the shorter of two equally close), exp(min(0, 1 - r / c)) * (p_1 p_2 p_3 p_4)^1/4.
    A precision without a match counts 0.1 matches (Chen and Cherry 2014, method 1), except p_1: a
    text that shares no word scores 0.
    """
    tokens = words(candidate)
    reference_words = [words(r) for r in references]
    precisions = []
    for n in range(1, _MAX_ORDER + 1):
        counts = Counter(ngrams(tokens, n))
        most: Counter[tuple[str, ...]] = Counter()
        for reference in reference_words:
            most |= Counter(ngrams(reference, n))
        precisions.append(((counts & most).total(), counts.total()))
    closest = _closest(sorted(len(r) for r in reference_words), len(tokens))
    return _combine(precisions, len(tokens), closest)


def self_bleu(texts: Sequence[str]) -> float:
    """Return the mean BLEU-4 of each text with all the others as references, in [0, 1].

    Zhu et al. 2018 (arXiv 1802.01886), "Texygen": 1 where all texts are alike. Equal to `bleu`
    called N times, in time linear in the number of words: an n-gram's largest count among the
    others is its largest or second largest count among all. A text without a word scores 1 where
    another one is the same, else 0. nan for fewer than two texts.
    """
    if len(texts) < 2:
        return math.nan
    tokens = [words(text) for text in texts]
    counts = [[Counter(ngrams(t, n)) for n in range(1, _MAX_ORDER + 1)] for t in tokens]
    best: dict[tuple[str, ...], tuple[int, int, int]] = {}  # largest count, its text, second
    for i, by_order in enumerate(counts):
        for gram, count in (item for counter in by_order for item in counter.items()):
            top, owner, second = best.get(gram, (0, -1, 0))
            best[gram] = (count, i, top) if count > top else (top, owner, max(second, count))
    lengths = sorted(len(t) for t in tokens)
    wordless = Counter(text.strip() for text, own in zip(texts, tokens, strict=True) if not own)
    scores = []
    for i, by_order in enumerate(counts):
        if not tokens[i]:
            scores.append(float(wordless[texts[i].strip()] > 1))
            continue
        precisions = []
        for counter in by_order:
            matches = 0
            for gram, count in counter.items():
                top, owner, second = best[gram]
                matches += min(count, second if owner == i else top)
            precisions.append((matches, counter.total()))
        others = lengths.copy()
        others.remove(len(tokens[i]))
        scores.append(_combine(precisions, len(tokens[i]), _closest(others, len(tokens[i]))))
    return float(np.mean(scores))


def _closest(lengths: list[int], length: int) -> int:
    """Return the entry of the sorted ``lengths`` closest to ``length``; the shorter of two."""
    place = bisect_left(lengths, length)
    near = lengths[max(place - 1, 0) : place + 1]
    return min(near, key=lambda value: (abs(value - length), value))


def _combine(precisions: list[tuple[int, int]], size: int, reference: int) -> float:
    if not precisions[0][0]:
        return 0.0
    logs = [math.log((m if m else _SMOOTHING) / max(total, 1)) for m, total in precisions]
    return math.exp(min(0.0, 1.0 - reference / size) + sum(logs) / len(logs))


def duplication(texts: Sequence[str], training_texts: Sequence[str]) -> dict[str, float]:
    """Return the shares of ``texts`` that repeat a training text.

    ``exact_duplicates``: the same words in the same order, whatever the case and punctuation.
    ``near_duplicates``: character 4-gram Jaccard of at least `NEAR` with one, exact ones included.
    """
    if not texts:
        return {"exact_duplicates": math.nan, "near_duplicates": math.nan}
    known = {plain(text) for text in training_texts}
    exact = np.array([plain(text) in known for text in texts])
    near = NearestText(training_texts).similarity(texts) >= NEAR
    return {
        "exact_duplicates": float(exact.mean()),
        "near_duplicates": float((exact | near).mean()),
    }


def on_brief(texts: Sequence[str], briefs: Sequence[str]) -> float:
    """Return the share of texts by whose words their own brief is found among all N briefs.

    The brief of the highest TF-IDF cosine (words and their beginnings) is taken as found; where m
    distinct briefs share the first place, its own counts 1 / m. Chance is one over the number of
    distinct briefs. No model that a reward could know is asked. nan where there is one brief only,
    or no brief has a word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    distinct = sorted(set(briefs))
    if len(distinct) < 2:
        return math.nan
    vectoriser = TfidfVectorizer(tokenizer=_stems, token_pattern=None, lowercase=False)
    try:
        known = vectoriser.fit_transform(distinct)
    except ValueError:  # sklearn's word for texts without a term
        return math.nan
    similarity = (vectoriser.transform(list(texts)) @ known.T).toarray()
    own = np.searchsorted(np.array(distinct), np.array(briefs))
    first = similarity >= similarity.max(axis=1, keepdims=True) - 1e-12
    hit = first[np.arange(len(own)), own] / first.sum(axis=1)
    return float(hit.mean())


def _stems(text: str) -> list[str]:
    """Return words cut to six letters: "teachers" and "teaching" are one."""
    return [word[:6] for word in words(text)]


def _distinct(texts: Sequence[str], n: int) -> float:
    """Return `distinct_n`, and 0 where there is no n-gram: texts of nothing are not diverse."""
    value = distinct_n(texts, n)
    return 0.0 if math.isnan(value) else value


def measure_copy(
    texts: Sequence[str], rows: CopyRows, training_texts: Sequence[str] = ()
) -> dict[str, float]:
    """Return what E3 reports beside CTR of N texts for N tasks.

    Args:
        texts: N >= 1 copies.
        rows: the tasks they answer; briefs and channels are read.
        training_texts: the copies that the writer learned from.

    Returns:
        ``distinct_1``, ``distinct_2`` (`distinct_n`), ``self_bleu``, ``unique`` (share of distinct
        texts), ``words_mean``, ``words_p5``, ``words_p95``, ``characters_mean``, ``misfit`` (mean
        of the copy term length), ``repetition`` and ``gibberish`` (means of those terms),
        ``exact_duplicates``, ``near_duplicates`` (`duplication`), ``compliance_rate`` (share of
        texts that say something, and nothing unsupported), ``claims_mean`` (claims per text),
        ``deliverable``, ``grounded``, ``false``, ``misbound``, ``empty`` and ``broken``
        (`finding_shares`), ``title_case`` (share of texts whose names could not be checked for
        that) and, where the tasks have several briefs, ``on_brief`` (`on_brief`).
    """
    if len(texts) != len(rows):
        raise ValueError(f"got {len(texts)} texts for {len(rows)} tasks")
    if not texts:
        raise ValueError("measure_copy needs at least one text")
    size = np.array([len(text.split()) for text in texts], np.float64)
    claims = np.array([len(unsupported_claims(*p)) for p in zip(texts, rows.briefs, strict=True)])
    nothing, kept = Resources(), on_brief(texts, rows.briefs)
    faults = {"misfit": length, "repetition": repetition, "gibberish": gibberish}
    return {
        "distinct_1": _distinct(texts, 1),
        "distinct_2": _distinct(texts, 2),
        "self_bleu": self_bleu(texts),
        "unique": len(set(texts)) / len(texts),
        "words_mean": float(size.mean()),
        "words_p5": float(np.quantile(size, 0.05)),
        "words_p95": float(np.quantile(size, 0.95)),
        "characters_mean": float(np.mean([len(text) for text in texts])),
        **{name: float(term(nothing)(texts, rows).mean()) for name, term in faults.items()},
        **duplication(texts, training_texts),
        "compliance_rate": float(((claims == 0) & ~blanks(texts)).mean()),
        "claims_mean": float(claims.mean()),
        **finding_shares(texts, rows),
        "title_case": float(np.mean([title_case(text) for text in texts])),
        **({} if math.isnan(kept) else {"on_brief": kept}),
    }
