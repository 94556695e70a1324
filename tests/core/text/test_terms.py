"""A vocabulary that is cut keeps the same terms on every processor."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from copygym.core.text.encoders import LsaEncoder
from copygym.core.text.terms import fit_terms
from copygym.rewards.ctr.encoders import TfidfFeatures

# Each of a hundred words occurs twice, two of them three times.
WORDS = [f"word{n:03}" for n in range(100)]
TEXTS = [f"{a} {b}" for a, b in zip(WORDS, WORDS[37:] + WORDS[:37], strict=True)]
TEXTS += ["word090 word099"]
KEPT = [*WORDS[:38], "word090", "word099"]


def test_of_equally_frequent_terms_the_first_in_order_are_kept():
    found = fit_terms(TfidfVectorizer(), TEXTS, 40)
    assert found.get_feature_names_out().tolist() == KEPT
    # Weights and vectors are those of these terms alone.
    alone = TfidfVectorizer(vocabulary=KEPT).fit(TEXTS)
    np.testing.assert_allclose(found.idf_, alone.idf_)
    np.testing.assert_allclose(found.transform(TEXTS).toarray(), alone.transform(TEXTS).toarray())


@pytest.mark.parametrize("most", [100, 1000])
def test_a_vocabulary_that_fits_is_whole(most):
    found = fit_terms(TfidfVectorizer(), TEXTS, most)
    assert found.get_feature_names_out().tolist() == WORDS


def test_texts_without_a_term_have_no_vocabulary():
    with pytest.raises(ValueError, match="empty vocabulary"):
        fit_terms(TfidfVectorizer(), ["", "!"], 10)


def test_encoders_keep_the_same_terms_everywhere(tmp_path):
    lsa = LsaEncoder(dims=4, max_terms=40).fit(TEXTS)
    lsa.save(tmp_path)
    # Every pair of words occurs once and none fits beside the words.
    assert LsaEncoder.load(tmp_path)._vectoriser.get_feature_names_out().tolist() == KEPT
    np.testing.assert_array_equal(LsaEncoder.load(tmp_path).encode(TEXTS), lsa.encode(TEXTS))
    features = TfidfFeatures(words=40, characters=0, min_count=2)
    features.fit(TEXTS)
    assert features._vectorisers[0].get_feature_names_out().tolist() == KEPT
