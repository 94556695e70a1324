"""The words in which an environment shows a brief and a reader: data for a prompt, not orders."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import gymnasium as gym

from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.profiles.builder import Profiles
from copygym.envs.profiles.words import describe

#: Longest observation and longest copy, in characters; longer texts are cut.
MAX_PROMPT, MAX_COPY = 4000, 500
#: Longest line about the reader or the channel.
_MAX_LINE = 1000


@cache
def _charset() -> frozenset[str]:
    """Return the letters, digits and punctuation of the Latin, Greek and Cyrillic scripts."""
    blocks = [(0x20, 0x530), (0x2010, 0x2070), (0x20A0, 0x20C0), (0x2100, 0x2150)]
    letters = (chr(code) for low, high in blocks for code in range(low, high))
    return frozenset(letter for letter in letters if letter.isprintable()) | {"\n"}


def text_space(max_length: int) -> gym.spaces.Text:
    """Return a space of texts of up to ``max_length`` characters; the empty text belongs to it."""
    return gym.spaces.Text(max_length, min_length=0, charset=_charset())


def clean_text(text: str, max_length: int) -> str:
    """Return ``text`` inside `text_space`: other characters become "?" and the rest is cut."""
    charset = _charset()
    return "".join(c if c in charset else "?" for c in text[:max_length])


def describe_reader(profiles: Profiles, row: int) -> str:
    """Return one reader in plain words: demographics, habits, and the audience they belong to.

    At most six traits, so that a prompt stays short (`copygym.envs.profiles.words`); where nothing
    is known, ``anybody``. The audience stands last, in the same words for all of its readers, so
    that a writer can learn what to write for it.
    """
    traits = describe(profiles.names, profiles.features[row])
    if profiles.audience is None or len(profiles.audience_names) < 2:
        return ", ".join(traits) or "anybody"
    audience = profiles.audience_names[profiles.audience[row]]
    said = set(audience.split(", "))
    traits = [trait for trait in traits if trait not in said]
    return f"{', '.join(traits) or 'anybody'}; audience: {audience}"


def copywriting_prompt(
    catalogue: Catalogue, profiles: Profiles, user: int, creative: int, channel: int, slot: int
) -> str:
    """Return what the copywriter is told: brief, reader, channel and slot, each on labelled lines.

    Args:
        catalogue: source of the brief; where a creative has none, its product's name stands in.
        profiles: the population.
        user: row of ``profiles``.
        creative: index of the creative whose product is advertised.
        channel: channel index.
        slot: slot index.
    """
    return copywriting_prompts(catalogue, profiles, [(user, creative, channel, slot)])[0]


def copywriting_prompts(
    catalogue: Catalogue, profiles: Profiles, tasks: Iterable[tuple[int, int, int, int]]
) -> tuple[str, ...]:
    """Return the `copywriting_prompt` of each (user, creative, channel, slot) of ``tasks``.

    Each brief, reader and channel is put into words once. A brief is one line, so that none of it
    reads as another; where the whole is too long the brief is cut, and never what follows it.
    """

    @cache
    def brief(creative: int) -> str:
        line = " ".join(catalogue.brief_of(creative).split())
        return clean_text(f"Brief: {line}", MAX_PROMPT)

    @cache
    def reader(user: int) -> str:
        line = " ".join(describe_reader(profiles, user).split())
        return clean_text(f"Reader: {line}", _MAX_LINE)

    @cache
    def moment(channel: int, slot: int) -> str:
        line = " ".join(f"{catalogue.channels[channel]}, {catalogue.slots[slot]}".split())
        return clean_text(f"Channel: {line}", _MAX_LINE)

    def prompt(user: int, creative: int, channel: int, slot: int) -> str:
        rest = f"\n{reader(user)}\n{moment(channel, slot)}"
        return brief(creative)[: MAX_PROMPT - len(rest)] + rest

    return tuple(prompt(*task) for task in tasks)


def with_original(prompt: str, original: str) -> str:
    """Return a `copywriting_prompt` that also shows a text to rewrite, on a line after the brief.

    Where the whole is too long the brief is cut, and never the original.
    """
    brief, *rest = prompt.split("\n")
    line = " ".join(original.split())
    below = "\n".join([clean_text(f"Original: {line}", MAX_COPY + len("Original: ")), *rest])
    return f"{brief[: MAX_PROMPT - len(below) - 1]}\n{below}"
