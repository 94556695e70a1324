"""What a storefront sells: its creatives, how its truth reads a copy, and its constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from copygym.envs.storefront.copies import copies, default_copy
from copygym.envs.storefront.copy import PRODUCTS, Product
from copygym.envs.storefront.features import CopyFeatures, copy_features
from copygym.envs.storefront.products import make_products
from copygym.envs.storefront.reading import read_copy
from copygym.envs.storefront.truth import STRICT, Truth
from copygym.envs.storefront.variants import variants

SMALL, LARGE, LAUNCHES = CATALOGUES = ("small", "large", "launches")


@dataclass(frozen=True)
class Shelf:
    """K creatives and their truth.

    Attributes:
        catalogue: one of `CATALOGUES`.
        names: K names of creatives.
        texts: K copies.
        products: K products, what each copy is for.
        read: how the truth reads a text for a product.
        truth: constants of the response.
    """

    catalogue: str
    names: tuple[str, ...]
    texts: tuple[str, ...]
    products: tuple[Product, ...]
    read: Callable[[str, Product], CopyFeatures]
    truth: Truth


def make_shelf(catalogue: str, seed: int, n_variants: int, per_field: int, launches: int) -> Shelf:
    """Return what a world sells; see `copygym.envs.storefront.world.StorefrontWorld`."""
    if catalogue == SMALL:
        written = [(p, f"{i}", t) for p in PRODUCTS for i, t in enumerate(p.creatives, 1)]
        written += [
            (p, f"v{i}", t)
            for p in PRODUCTS
            for i, t in enumerate(variants(p, n_variants, seed), 1)
        ]
        return _shelf(catalogue, written, copy_features, Truth())
    logged, launched = make_products(seed, per_field, launches)
    if catalogue == LARGE:
        written = [
            (made.product, f"{i}", text)
            for made in logged
            for i, text in enumerate(copies(made, seed), 1)
        ]
    else:
        written = [(made.product, "default", default_copy(made, seed)) for made in launched]
    return _shelf(catalogue, written, read_copy, STRICT)


def _shelf(
    catalogue: str,
    written: list[tuple[Product, str, str]],
    read: Callable[[str, Product], CopyFeatures],
    truth: Truth,
) -> Shelf:
    return Shelf(
        catalogue,
        names=tuple(f"{product.product_id}-{label}" for product, label, _ in written),
        texts=tuple(text for _, _, text in written),
        products=tuple(product for product, _, _ in written),
        read=read,
        truth=truth,
    )
