"""The vocabulary of a bag of words: the same terms on every processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def fit_terms(vectoriser: Any, texts: Sequence[str], most: int) -> Any:
    """Return a vectoriser like this one, fitted on the ``most`` frequent terms of ``texts``.

    Of terms that are equally frequent, those first in the order of their characters are kept.
    scikit-learn's own ``max_features`` leaves that to a sort which is not stable, so that
    processors with AVX-512 keep other terms than those without, and fit another model.

    Args:
        vectoriser: a ``TfidfVectorizer`` without ``max_features`` and ``vocabulary``.
        texts: to fit on.
        most: terms at most, from 1.

    Raises:
        ValueError: no text has a term.
    """
    from sklearn.base import clone
    from sklearn.feature_extraction.text import CountVectorizer

    vectoriser.fit(texts)
    terms = vectoriser.get_feature_names_out()  # in the order of their characters
    if len(terms) <= most:
        return vectoriser
    counts = np.asarray(CountVectorizer.transform(vectoriser, texts).sum(axis=0)).ravel()
    kept = np.sort(np.argsort(-counts, kind="stable")[:most])
    smaller = clone(vectoriser).set_params(vocabulary=terms[kept].tolist())
    smaller.idf_ = vectoriser.idf_[kept]  # a term's weight does not depend on the others
    return smaller
