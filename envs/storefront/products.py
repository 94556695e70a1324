"""Products of the large catalogue, made by a grammar from a seed: names, prices, typed facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from copygym.envs.storefront.copy import PRODUCTS, Fact, Product
from copygym.envs.storefront.people import generator
from copygym.envs.storefront.trades import (
    ecommerce,
    education,
    finance,
    health,
    news,
    social,
    travel,
    video,
)
from copygym.envs.storefront.trades.kind import Kind, Trade

TRADES: tuple[Trade, ...] = tuple(
    module.TRADE for module in (ecommerce, finance, travel, health, education, video, news, social)
)

#: standard deviation of a product's appeal about its field's, click logit.
_APPEAL_SPREAD = 0.25

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("March", "April", "June", "July", "September", "October", "November")

#: how many say it; no two facts of a product tell the same number.
_CROWDS = (1_800, 2_400, 3_500, 4_200, 6_500, 9_000, 12_000, 18_000, 24_000, 32_000, 45_000)

_CHOICE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Made:
    """A product and what its copy is made of."""

    product: Product
    kind: Kind
    trade: Trade


def make_products(seed: int, per_field: int, launches: int = 0) -> tuple[tuple[Made, ...], ...]:
    """Return the products of the log and the launches, which no log shows.

    Args:
        seed: of the world; another seed has other products.
        per_field: products of each field in the log.
        launches: of each field beside them.

    Returns:
        Two tuples in the order of the fields. What is in the first doesn't depend on ``launches``.
    """
    logged: list[Made] = []
    launched: list[Made] = []
    for trade in TRADES:
        rng = generator(seed, f"products of {trade.field}")
        order = rng.permutation(len(trade.kinds))
        taken: set[str] = set()
        for i in range(per_field + launches):
            kind = trade.kinds[order[i % len(order)]]
            made = _make(trade, kind, taken, rng)
            taken |= {made.product.name, made.product.name.split()[0]}
            (logged if i < per_field else launched).append(made)
    return tuple(logged), tuple(launched)


def _make(trade: Trade, kind: Kind, taken: set[str], rng: np.random.Generator) -> Made:
    brands = [b for b in kind.brands or trade.brands if b not in taken] or list(trade.brands)
    name = kind.name.format(brand=_one(brands, rng))
    while name in taken:  # every brand is used: a second line of the same
        name += " Plus" if not name.endswith("Plus") else " Two"
    price = _price(kind, rng)
    facts = _facts(trade, kind, price, rng)
    appeal = next(p.appeal for p in PRODUCTS if p.field == trade.field)
    product = Product(
        product_id=re.sub(r"[^a-z0-9]+", "-", name.lower()),
        field=trade.field,
        name=name,
        price=price,
        appeal=appeal + _APPEAL_SPREAD * float(rng.standard_normal()),
        facts=tuple(fact.text for fact in facts),
        creatives=(),
        typed=facts,
        spoken=f"the {name}" if kind.article else name,
    )
    return Made(product, kind, trade)


def _price(kind: Kind, rng: np.random.Generator) -> float:
    low, high = kind.price
    return float(int(np.exp(rng.uniform(np.log(low), np.log(high)))))


def _facts(trade: Trade, kind: Kind, price: float, rng: np.random.Generator) -> tuple[Fact, ...]:
    """Return five or six facts: what the product does, then what persuades and what it costs."""
    words = {
        "price": f"{price:g}",
        "list": f"{round(price * rng.uniform(1.15, 1.4)):g}",
        "saving": str(rng.choice([15, 18, 20, 25])),
    }

    def say(template: str) -> str:
        return _fill(template, words, rng)

    found: list[Fact] = []
    for i in sorted(rng.choice(len(kind.facts), 3, replace=False)):
        does = say(kind.facts[i])
        found.append(Fact("does", f"It {does}.", {"does": does}))
    # What is true of a product decides how it can be sold: two or three facts persuade.
    possible = [name for name in _PERSUADES if name == "users" or _words_for(name, trade, kind)]
    chance = np.array([_PERSUADES[name] for name in possible])
    n = 2 if rng.random() < 0.5 else 3
    for i in sorted(rng.choice(len(possible), n, replace=False, p=chance / chance.sum())):
        found.append(_persuasive(possible[i], trade, kind, say, rng))
    return tuple(found)


#: kinds of facts beside what a product does, and how often a product has one.
_PERSUADES = {
    "deadline": 0.2, "stock": 0.1, "users": 0.2, "experts": 0.2, "gift": 0.12, "promise": 0.09,
    "extra": 0.09,
}  # fmt: skip


def _words_for(name: str, trade: Trade, kind: Kind) -> tuple[Any, ...]:
    """Return the words for a kind of fact: the product's own, or its trade's."""
    attribute = {"deadline": "offers"}.get(name, name if name == "experts" else f"{name}s")
    own = getattr(kind, attribute)
    words: tuple[Any, ...] = getattr(trade, attribute) if own is None else own
    return words


def _persuasive(
    which: str, trade: Trade, kind: Kind, say: Callable[[str], str], rng: np.random.Generator
) -> Fact:
    """Return a fact of a kind, with the parts that copy is made of."""
    if which == "users":
        who, do = kind.users
        number = f"{int(rng.choice(_CROWDS)):,}"
        return Fact(which, f"{number} {who} {do}.", {"number": number, "who": who, "do": do})
    choices = _words_for(which, trade, kind)
    words = choices[int(rng.integers(len(choices)))]
    if which == "deadline":
        what, ends = say(words[0]), words[1]
        day = _one(_DAYS, rng)
        if rng.random() < 0.4:
            day = f"{rng.integers(2, 29)} {_one(_MONTHS, rng)}"
        parts = {"what": what, "ends": ends, "day": day}
        return Fact(which, f"{capital(what)} {ends} on {day}.", parts)
    if which == "experts":
        who, did = say(words[0]), words[1]
        return Fact(which, f"{capital(who)} {did} it.", {"who": who, "did": did})
    if which == "gift":
        return Fact(which, f"{capital(words)} is on us.", {"what": words})
    return Fact(which, say(words))


def capital(text: str) -> str:
    """Return a text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _one(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _fill(template: str, words: Mapping[str, str], rng: np.random.Generator) -> str:
    """Return a template with its braces filled: by a word of that name, or one of the choices."""

    def choose(found: re.Match[str]) -> str:
        name = found[1]
        return words[name] if name in words else _one(name.split("|"), rng)

    return _CHOICE.sub(choose, template)
