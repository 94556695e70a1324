"""How much there is to gain in a storefront by choosing and by writing copy for each reader.

    python -m copygym.envs.storefront.stakes

prints it for three worlds of the large catalogue, in clicks, averaged over products and channels.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from copygym.envs.storefront.copy import PRINCIPLES, Product
from copygym.envs.storefront.features import CopyFeatures
from copygym.envs.storefront.people import CHANNELS, People, draw_people
from copygym.envs.storefront.reading import NEEDS
from copygym.envs.storefront.truth import Columns, Goods, columns, respond
from copygym.envs.storefront.world import StorefrontWorld

#: of what is compared: evening.
_SLOT = 2
#: of a free writer's copy: words that every channel carries, and the name and two facts told.
_WORDS, _TOLD = 16, 3

BLIND, DEMOGRAPHICS, EVERYTHING = "blind", "demographics", "everything"
WRITER_BLIND, WRITER_DEMOGRAPHICS, WRITER = "writer, blind", "writer, demographics", "writer"


def stakes(world: StorefrontWorld) -> dict[str, float]:
    """Return mean P(click) of rested readers, by who chooses or writes their copy.

    ``blind``: the one best honest copy of the log for all readers of a product on a channel;
    ``demographics``: the honest copy of the log that is best by what demographics say of a reader;
    ``everything``: the one that is best for the reader. ``writer``, ``writer, demographics`` and
    ``writer, blind``: the same three of an honest writer, who may have none, one or two of the
    principles that the product's facts carry, talk of the price or not, and tell two facts.
    Products with less than two honest copies are left out.
    """
    known = draw_people(world.seed, world.n_users, personal=False)
    kept: dict[str, list[CopyFeatures]] = {}
    first: dict[str, int] = {}
    for k, (text, product) in enumerate(zip(world.shelf.texts, world.products, strict=True)):
        features = world.shelf.read(text, product)
        if not features.claims:
            kept.setdefault(product.product_id, []).append(features)
            first.setdefault(product.product_id, k)
    means: list[list[float]] = []
    for product_id, logged in kept.items():
        if len(logged) < 2:
            continue
        product = world.products[first[product_id]]
        for channel in range(len(CHANNELS)):
            row: list[float] = []
            for table in (columns(logged), columns(_free(product))):
                true, guess = (
                    _clicks(world, people, table, product, channel)
                    for people in (world.people, known)
                )
                row += [
                    float(true[true.mean(axis=1).argmax()].mean()),
                    float(true[guess.argmax(axis=0), np.arange(world.n_users)].mean()),
                    float(true.max(axis=0).mean()),
                ]
            means.append(row)
    names = (BLIND, DEMOGRAPHICS, EVERYTHING, WRITER_BLIND, WRITER_DEMOGRAPHICS, WRITER)
    return dict(zip(names, np.mean(means, axis=0).tolist(), strict=True))


def _free(product: Product) -> list[CopyFeatures]:
    """Return what an honest writer can make of a product."""
    kinds = {fact.kind for fact in product.typed}
    possible = [i for i, name in enumerate(PRINCIPLES) if name not in NEEDS or kinds & NEEDS[name]]
    out = []
    for used in (used for n in range(3) for used in combinations(possible, n)):
        presence = tuple(0.75 if i in used else 0.0 for i in range(len(PRINCIPLES)))
        for talk in (0.0, 1.0):
            told = 1 - float(np.exp(-_TOLD / 1.3))
            out.append(CopyFeatures(told, presence, 0.0, 1.0, 0.0, 0.0, talk, _WORDS))
    return out


def _clicks(
    world: StorefrontWorld, people: People, table: Columns, product: Product, channel: int
) -> np.ndarray:
    """Return (C, U) P(click) of C copies."""
    goods = Goods(
        np.array(world.catalogue.topics.index(product.field)),
        np.array(product.price),
        np.array(product.appeal),
    )
    copies = table.each()
    logit = respond(
        world.truth,
        people,
        copies,
        goods,
        np.arange(world.n_users),
        np.array(channel),
        np.array(_SLOT),
    ).click_logit
    return 1.0 / (1.0 + np.exp(-logit))


def _print(seeds: range, n_users: int) -> None:
    found = [stakes(StorefrontWorld(seed, n_users, catalogue="large")) for seed in seeds]
    mean = {name: np.mean([each[name] for each in found]) for name in found[0]}
    for name, value in mean.items():
        print(f"{name:22} {value:.4f}  {value / mean[BLIND] - 1:+.1%}")


if __name__ == "__main__":
    _print(range(3), 1000)
