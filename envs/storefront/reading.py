"""What the truth of the large catalogue reads in a copy."""

from __future__ import annotations

from copygym.envs.storefront.copy import Product
from copygym.envs.storefront.features import CopyFeatures, copy_features


def read_copy(text: str, product: Product) -> CopyFeatures:
    """Return the features of ``text`` as an advertisement of ``product``."""
    return copy_features(text, product)
