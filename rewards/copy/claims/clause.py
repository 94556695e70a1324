"""A clause of a sentence, as the checks of its claims look at it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from copygym.rewards.copy.claims.facts import Brief
from copygym.rewards.copy.claims.language import Word, content, stem_of, verb_at
from copygym.rewards.copy.claims.quantities import TIME_STEMS, Quantity

#: Stems that any fact may be told with.
WEAK = frozenset(
    map(
        stem_of,
        (
            *("get", "take", "have", "cost", "pay", "price", "give", "offer", "come", "go", "make"),
            *("use", "let", "include", "find", "see", "need", "want", "enjoy", "try", "start"),
            *("begin", "choose", "bring", "people", "person", "customer", "day", "way", "time"),
            *("free", "new", "good", "more", "now", "only", "just", "here", "also", "keep"),
            *("work", "entry", "ticket", "admission"),
        ),
    )
)
#: Words of a sentence that offers something, whatever else it speaks of.
_OFFERING = frozenset(
    (
        *("open", "opens", "closed", "covered", "served", "provided", "available"),
        *("guest", "guests", "customer", "customers", "member", "members", "user", "users"),
        *("client", "clients", "visitor", "visitors"),
    )
)
_SPEAKERS = frozenset(
    ("our", "we", "its", "it", "they", "he", "she", "his", "her", "we've", "it's", "she's", "he's")
)
_FRONT = ("article", "possessive", "pronoun")


@dataclass(frozen=True)
class Clause:
    """A clause.

    Attributes:
        sentence: that it is part of.
        start: its first word's place in the sentence.
        stop: the place after its last one.
        told: numbers and dates in it, with places in the sentence.
    """

    sentence: tuple[Word, ...]
    start: int
    stop: int
    told: tuple[Quantity, ...]

    @cached_property
    def words(self) -> tuple[Word, ...]:
        """Its words."""
        return self.sentence[self.start : self.stop]

    @cached_property
    def verb(self) -> int:
        """The place of its finite verb among its words, -1 where it has none."""
        return verb_at(self.words)

    @cached_property
    def asks(self) -> bool:
        """Whether its sentence is a question."""
        return self.sentence[-1].text == "?"

    @cached_property
    def commands(self) -> bool:
        """Whether it asks the reader to do something: it begins with a verb's base form."""
        return commands(self.words[0])

    @cached_property
    def front(self) -> int:
        """The place among its words where its subject begins, after "after a while"."""
        if self.words[0].kind not in ("preposition", "time"):
            return 0
        before = range(max(self.verb, 0))
        return max((i for i in before if self.words[i].kind in _FRONT), default=0)

    @cached_property
    def head(self) -> int:
        """The place among its words where its subject's first noun phrase ends."""
        added = (i for i in range(self.front + 1, self.verb) if self.words[i].kind == "preposition")
        return next(added, self.verb)

    def anchored(self, brief: Brief) -> bool:
        """Tell whether it speaks of what the brief speaks of, or of "it", "us" and "our"."""
        for word in self.words:
            if word.kind in ("word", "verb"):
                if word.stem in brief.product or word.stem == "includ":
                    return True
                if word.stem in brief.facts_of and word.stem not in WEAK | TIME_STEMS:
                    return True
            elif word.text in _SPEAKERS:
                return True
            if word.text in _OFFERING and len(self.words) > 1:
                return True
        said = {word.text for word in self.words}
        if self.words[0].text in ("everything", "all") or said & {"cost", "costs"}:
            return True
        return bool("you" in said and said & {"pay", "get", "earn", "receive", "save"})

    def of_the_whole(self, brief: Brief) -> bool:
        """Tell whether it says what the product itself is."""
        if self.verb <= 0 or self.words[self.verb].kind != "be":
            return False
        subject = content(self.words[: self.verb])
        named = subject or self.words[0].text in ("it", "it's", "this")
        return bool(named) and all(word.stem in brief.product for word in subject)


def commands(word: Word) -> bool:
    """Tell whether a clause that begins with this word asks the reader to do something."""
    return word.kind == "verb" and not word.text.endswith(("s", "ed"))
