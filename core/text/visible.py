"""What of a text can be seen: characters that show nothing go, those that shape others stay.

Text from people and from models carries characters that no reader sees and every model reads:
controls, direction overrides, zero-width marks, and alphabets of tags and variation selectors in
which whole sentences can hide. They go. What a script or an emoji needs stays: joiners (the
half-space of Persian, the half forms of Devanagari and Sinhala), one variation selector after its
character, skin tones, the sequences of families and flags, and characters younger than Python's own
Unicode tables.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_JOINERS = "\u200c\u200d\u180e"
_ZWJ = "\u200d"
#: Letters of these ranges change their form with a joiner after them: Arabic to Myanmar, Khmer and
#: Mongolian, the smaller scripts of South and Southeast Asia, and Arabic's presentation forms.
_SHAPED = (
    (0x0600, 0x109F),
    (0x1780, 0x18AF),
    (0x1900, 0x1CFF),
    (0xA800, 0xABFF),
    (0xFB50, 0xFDFF),
    (0xFE70, 0xFEFC),
    (0x10A00, 0x11FFF),
    (0x1E900, 0x1EEFF),
)
#: Format characters (Cf) that are seen: signs that enclose the digits after them.
_SEEN_FORMATS = frozenset([*map(chr, range(0x0600, 0x0606)), *"\u06dd\u0890\u0891\u08e2"]) | {
    "\U000110bd",
    "\U000110cd",
}
#: Letters that show nothing: the fillers of Hangul.
_FILLERS = frozenset("\u3164\uffa0")
#: Not a letter each, but all that some "empty" texts hold.
_EMPTY = frozenset("\u115f\u1160\u2800\u17b4\u17b5")
#: A flag of a part of a country: a black flag, its code in tags, and the tag that ends it.
_FLAG = re.compile(
    "\U0001f3f4[\U000e0061-\U000e007a]{2}[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,3}"
    "\U000e007f"
)


def visible(text: str) -> str:
    """Return ``text`` (NFC) without what no reader sees; every blank becomes a space.

    Control, private, half surrogate and direction characters go, as do zero-width ones where they
    shape nothing: a joiner stays once, after a letter of a script that has joined forms or between
    two parts of an emoji.
    """
    text = unicodedata.normalize("NFC", text)
    if text.isascii():
        return "".join(c for c in map(_blank_or_self, text) if c.isprintable())
    kept: list[str] = []
    flags = {match.start(): match.end() for match in _FLAG.finditer(text)}
    until = 0
    for place, character in enumerate(text):
        until = max(until, flags.get(place, 0))
        if place < until:
            kept.append(character)
        elif character.isspace():
            kept.append(" ")
        elif _stays(character, kept[-1] if kept else " ", text[place + 1 : place + 2]):
            kept.append(character)
    return "".join(kept)


@lru_cache(maxsize=200_000)
def is_blank(text: str) -> bool:
    """Tell whether a reader sees nothing of ``text``: no letter, digit, sign or picture."""
    return not any(_shows(character) for character in visible(text))


def _shows(character: str) -> bool:
    """Tell whether a character that `visible` keeps shows something by itself."""
    if character.isspace() or character in _EMPTY:
        return False
    # Marks and joiners need a letter. What Python's tables don't know ("Cn") may be an emoji.
    return unicodedata.category(character) not in ("Mn", "Mc", "Me", "Cf")


def _blank_or_self(character: str) -> str:
    return " " if character.isspace() else character


def _stays(character: str, before: str, after: str) -> bool:
    """Tell whether a character that is no blank stays between its neighbours."""
    if character in _JOINERS:
        return _joins(character, before, after)
    if _selects(character):
        return not before.isspace() and not _selects(before) and before not in _JOINERS
    category = unicodedata.category(character)
    if category == "Cn":
        return not _never_assigned(ord(character))
    if category == "Cf":
        return character in _SEEN_FORMATS
    return category not in ("Cc", "Cs", "Co") and character not in _FILLERS


def _selects(character: str) -> bool:
    """Tell whether this is a variation selector."""
    code = ord(character)
    return 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or 0x180B <= code <= 0x180D


def _joins(joiner: str, before: str, after: str) -> bool:
    shaped = any(low <= ord(before) <= high for low, high in _SHAPED)
    if shaped and unicodedata.category(before)[0] in "LM":
        return True
    return joiner == _ZWJ and _pictured(before) and bool(after) and _pictured(after)


def _pictured(character: str) -> bool:
    """Tell whether this may be a part of an emoji."""
    category = unicodedata.category(character)
    if category == "Cn":
        return 0x1F000 <= ord(character) < 0x20000
    return category in ("So", "Sm", "Sk") or character in "\ufe0f\u20e3\U000e007f"


def _never_assigned(code: int) -> bool:
    """Tell whether an unassigned code stays so or would show nothing (Unicode's ignorables)."""
    return (
        code & 0xFFFE == 0xFFFE
        or 0xFDD0 <= code <= 0xFDEF
        or 0xFFF0 <= code <= 0xFFF8
        or code == 0x2065
        or 0xE0000 <= code <= 0xE0FFF
    )
