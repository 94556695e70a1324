"""What other marketers wrote for the storefront's products: variants of copy, synthetic.

A copywriter learns little from three copies a product. Variants are put together from an opening,
one or two of the product's facts and a closing; they differ in persuasion principle, in the facts
they tell, in length, and some make bold claims, so that a log of them tells good copy from bad.
"""

from __future__ import annotations

import numpy as np

from copygym.envs.storefront.copy import Product
from copygym.envs.storefront.people import generator

#: Openings and closings by persuasion principle; "plain" has none, "bold" promises too much.
_OPENINGS: dict[str, tuple[str, ...]] = {
    "plain": (
        "Meet the {name}.",
        "Here is the {name} for you.",
        "This is what the {name} does for you.",
        "A few words about the {name}.",
        "",
    ),
    "scarcity": (
        "Last chance to see the {name} at this price.",
        "Only a few days are left for the {name}.",
        "Look at the {name} before it is gone.",
    ),
    "social_proof": (
        "Your neighbours already know the {name}.",
        "People choose the {name} every day.",
        "Join the people who are happy with the {name}.",
    ),
    "authority": (
        "Experts recommend the {name}.",
        "Ask the experts about the {name}.",
        "The {name} is what independent analysts recommend.",
    ),
    "reciprocity": (
        "A small gift for you from the {name}.",
        "With our compliments, here is the {name}.",
        "Treat yourself to the {name} this week.",
    ),
    "commitment": (
        "You set a goal for this year, and the {name} helps you reach it.",
        "You already made a start. The {name} is the next step.",
        "Start with a small habit and the {name}.",
    ),
    "liking": (
        "Hello, friend. We would love to show you the {name}.",
        "Dear reader, picture us together with the {name}.",
        "We would love to see you smile with the {name}.",
    ),
    "bold": (
        "The {name} is the best in the world, guaranteed.",
        "Nobody ever regrets the {name}, the most popular of all.",
        "This is unlimited joy for life: the {name}.",
    ),
}
_CLOSINGS: dict[str, tuple[str, ...]] = {
    "plain": ("Have a look today.", "Find out more on our page.", "See how it works for you.", ""),
    "scarcity": ("Hurry, the offer is limited.", "It ends soon, so take a look now."),
    "social_proof": ("Thousands of people like you are happy with it.", "Join them today."),
    "authority": ("Experts have looked at it for you.", "It is what doctors and engineers like."),
    "reciprocity": ("The first try is on us.", "Thank you for reading, whatever you decide."),
    "commitment": ("Take the next step today.", "Keep it going and stay true to your plan."),
    "liking": ("We would love to meet you.", "Let us look at it together, friend."),
    "bold": ("It is free for life and never fails.", "You will save 90%, guaranteed."),
}

#: A fact that begins with one of these verbs lacks its subject.
_VERBS = frozenset({"boils", "keeps", "comes", "pays", "opens", "has", "takes", "ends", "streams",
                    "carries", "designed"})  # fmt: skip


def variants(product: Product, n: int, seed: int) -> tuple[str, ...]:
    """Return ``n`` distinct copies of a product, in an order that ``n`` does not change.

    Args:
        product: what is advertised.
        n: how many.
        seed: of the draws.
    """
    rng = generator(seed, f"variants of {product.product_id}")
    found: dict[str, None] = {}
    while len(found) < n:
        found.setdefault(_draw(product, rng))
    return tuple(found)


def _draw(product: Product, rng: np.random.Generator) -> str:
    kinds = list(_OPENINGS)
    first, last = rng.choice(kinds, size=2)
    n_facts = rng.choice([0, 1, 2], p=[0.2, 0.45, 0.35])
    told = rng.choice(len(product.facts), size=n_facts, replace=False)
    parts = [str(rng.choice(_OPENINGS[first])).format(name=_plain_name(product))]
    for i in told:
        parts.append(_sentence(product.facts[i], product, named=any(parts)))
    parts.append(str(rng.choice(_CLOSINGS[last])) if rng.random() < 0.7 else "")
    text = " ".join(part for part in parts if part)
    return text or f"Here is the {_plain_name(product)}."


def _plain_name(product: Product) -> str:
    return product.name.removeprefix("The ")


def _sentence(fact: str, product: Product, named: bool) -> str:
    """Return a fact as a whole sentence; ``named`` where the product was named before."""
    word, _, rest = fact.partition(" ")
    if word.lower() not in _VERBS:
        return fact
    subject = "It" if named else f"The {_plain_name(product)}"
    verb = "was designed" if word == "Designed" else word.lower()
    return f"{subject} {verb} {rest}"
