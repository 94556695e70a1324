"""What a trade sells, and what can be said of it: the words from which products are made.

Templates hold choices in braces: "holds {2|3} litres" is one of two sentences.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of product, such as kettles.

    Attributes:
        name: of a product; ``{brand}`` is filled in.
        price: lowest and highest, currency.
        users: who uses it and what they do with it, after a number.
        facts: what it does; "It" goes before each.
        hooks: sentences that open a copy and claim nothing of the product.
        habit: what the reader does already, after "you already".
        treat: after "treat yourself to".
        scene: after "picture us together".
        brands: instead of the trade's own.
        article: whether its name goes with "the".
        experts, offers, stocks, promises, gifts, extras: instead of the trade's own; () for none.
    """

    name: str
    price: tuple[int, int]
    users: tuple[str, str]
    facts: tuple[str, ...]
    hooks: tuple[str, ...]
    habit: str
    treat: str
    scene: str
    brands: tuple[str, ...] = ()
    article: bool = True
    experts: tuple[tuple[str, str], ...] | None = None
    offers: tuple[tuple[str, str], ...] | None = None
    stocks: tuple[str, ...] | None = None
    promises: tuple[str, ...] | None = None
    gifts: tuple[str, ...] | None = None
    extras: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Trade:
    """What the products of a field have in common.

    Attributes:
        field: application field.
        brands: names to choose from.
        kinds: what is sold.
        experts: who vouches for a product and how, as in "engineers" and "tested".
        offers: what ends and how, as in "the spring offer" and "ends".
        stocks: sentences that say how few are left.
        promises: sentences that promise the buyer something.
        gifts: what is on the house, as in "the first lesson".
        extras: other sentences: prices, savings, deliveries.
        calls: sentences that ask the reader to act.
    """

    field: str
    brands: tuple[str, ...]
    kinds: tuple[Kind, ...]
    experts: tuple[tuple[str, str], ...]
    offers: tuple[tuple[str, str], ...]
    stocks: tuple[str, ...]
    promises: tuple[str, ...]
    gifts: tuple[str, ...]
    extras: tuple[str, ...]
    calls: tuple[str, ...]
