"""What stays of a text and what goes, by examples of each kind."""

import unicodedata

import pytest

from copygym.agents.copywriter.prompts import clean_copy, clean_data
from copygym.core.text.visible import is_blank, visible

KEPT = {
    "an emoji of Unicode 15": "\U0001fae8 shaking",
    "an emoji of Unicode 16": "tired \U0001fae9",
    "one that no table has yet": "new \U0001faeb",
    "a family": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 day",
    "a family of Unicode 15": "\U0001f9d1\u200d\U0001f9d1\u200d\U0001f9d2",
    "a rainbow flag": "\U0001f3f3\ufe0f\u200d\U0001f308",
    "a burning heart": "\u2764\ufe0f\u200d\U0001f525",
    "a nod": "\U0001f642\u200d\u2195\ufe0f",
    "a black bird": "\U0001f426\u200d\u2b1b",
    "a skin tone": "\U0001f44d\U0001f3fd",
    "a doctor with a skin tone": "\U0001f469\U0001f3fd\u200d\u2695\ufe0f",
    "the flag of Scotland": "\U0001f3f4" + "".join(chr(0xE0000 + ord(c)) for c in "gbsct\x7f"),
    "flags of countries": "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7",
    "a keycap": "1\ufe0f\u20e3 first",
    "the Persian half-space": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "a Devanagari half form": "\u0915\u094d\u200d\u0937",
    "a Devanagari open form": "\u0915\u094d\u200c\u0937",
    "Sri Lanka in Sinhala": "\u0dc1\u0dca\u200d\u0dbb\u0dd3",
    "a Malayalam chillu": "\u0d28\u0d4d\u200d",
    "a Bengali ya-phala": "\u09b0\u200d\u09cd\u09af",
    "a variant of a Chinese character": "\u845b\U000e0100",
    "two marks on a letter": "x\u0323\u0307",
    "Thai": "\u0e01\u0e47\u0e44\u0e21\u0e48",
    "an Arabic number sign": "\u0600\u0661",
}
GONE = {
    "a\u200bb": "ab",
    "a\u200db": "ab",
    "a\u200cb": "ab",
    "\ufeffhi\u2060": "hi",
    "a\u202eb\u202cc": "abc",
    "a\u2066b\u2069c": "abc",
    "a\u200fb": "ab",
    "a\u00adb": "ab",
    "a\x07b\x1b[31m": "ab[31m",
    "a\x7fb\x9bc": "abc",
    "a\ud800b\ue000\U000f0000": "ab",
    "a\uffffb\ufdd0": "ab",
    "hi\U000e0041\U000e0042": "hi",
    "\U0001f3f4\U000e0068\U000e0069\U000e0020\U000e007f": "\U0001f3f4",
    "\U0001f642\ufe0f\ufe00\ufe01\U000e0101": "\U0001f642\ufe0f",
    "\U0001f468\u200d": "\U0001f468",
    "\u200d\U0001f468": "\U0001f468",
    "\u0645\u200c\u200c\u200c\u062e": "\u0645\u200c\u062e",
    "one\u3000two\u00a0three\x85four": "one two three four",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_what_a_reader_sees_stays(text):
    assert clean_copy(text) == clean_data(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(("text", "seen"), GONE.items(), ids=[ascii(t) for t in GONE])
def test_what_no_reader_sees_goes(text, seen):
    assert clean_copy(text) == seen
    assert clean_copy(seen) == seen


def test_a_copy_that_is_cut_keeps_no_half_of_a_joined_emoji():
    from copygym.envs.prompts import MAX_COPY

    cut = clean_copy("x" * (MAX_COPY - 2) + "\U0001f468\u200d\U0001f469")
    assert cut == "x" * (MAX_COPY - 2) + "\U0001f468"


@pytest.mark.parametrize(
    "text", ["", " \t\n", "\u200b", "\u200d\ufe0f", "\x00\x01", "\u2800\u3164", "\u0301", "\u202e"]
)
def test_a_text_that_shows_nothing_is_blank(text):
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", "1", "!", "\U0001f642", "\U0001faeb", "\u845b", "\u0915"])
def test_a_text_that_shows_anything_is_not_blank(text):
    assert not is_blank(text)


def test_ascii_and_other_text_are_cleaned_alike():
    every = "".join(map(chr, range(128)))
    assert visible(every) == visible(every + "\u00e9").removesuffix("\u00e9")
