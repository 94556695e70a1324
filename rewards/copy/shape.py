"""Reward shapes for copy: weighted sums of named terms of N texts and the N tasks they answer.

A term is made once, with its options and the models it needs, and then maps (texts, rows) to N
float64 numbers. Terms that describe a fault are 0 for a faultless text and grow with the fault:
give them a negative weight. A new term is one maker here and one entry in `TERMS`; one of
another package is named as `copygym.core.plugins` says.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.plugins import find, term_name
from copygym.envs.people.model import UserModel
from copygym.envs.tasks import CopyRows
from copygym.rewards.copy.fluency import Fluency, below_honest, faulty, fluency
from copygym.rewards.copy.rewriting import gain, off_original
from copygym.rewards.copy.text_terms import (
    LENGTHS,
    Resources,
    Term,
    blanks,
    compliance,
    diversity,
    formula,
    gibberish,
    grounding,
    length,
    near_duplicate,
    off_brief,
    repetition,
    require_input,
)
from copygym.rewards.ctr.ensemble import CtrEnsemble
from copygym.rewards.ctr.model import BLANK_ODDS, CtrModel
from copygym.rewards.ctr.readers import reads_readers

_LOGIT_BOUND = 15.0


# ---------------------------------------------------------------- what readers do


@dataclass(frozen=True)
class _Ctr:
    model: Any
    probability: bool
    features: np.ndarray | None

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        known = {} if self.features is None else {"profiles": self.features[rows.user]}
        logit = np.asarray(self.model.score(list(texts), **known), np.float64)
        if not isinstance(self.model, CtrModel | CtrEnsemble):
            # These know an empty text; to another model it may be an average one.
            logit = np.where(blanks(texts), -_LOGIT_BOUND, logit)
        return _bounded_score(logit, self.probability)


def ctr(resources: Resources, probability: bool = False, profiles: bool | None = None) -> Term:
    """Return the CTR model's click logit, clipped to [-15, 15], or its probability.

    Args:
        resources: ``model``; also ``users`` where ``profiles`` is true.
        probability: the probability in (0, 1) instead of the logit.
        profiles: tell the model who reads, which it must have learned; None: where it has.

    Raises:
        UserError: something that it needs is missing, or ``profiles`` and a model of texts alone.
    """
    model = require_input(resources.model, "ctr", "model", "a trained CTR reward model")
    return _Ctr(model, probability, _features(resources, "ctr", profiles))


def _features(resources: Resources, term: str, profiles: bool | None) -> np.ndarray | None:
    """Return the readers' profile features (U, P) for a model that reads them, else None."""
    if profiles is None:
        profiles = reads_readers(resources.model) and resources.users is not None
    if not profiles:
        return None
    users = require_input(resources.users, term, "users", "the readers' profiles")
    if not reads_readers(resources.model):
        raise UserError(
            f"copy term {term!r} has profiles: true, but its CTR model learned from texts alone "
            "and answers for all readers alike: leave profiles out, or train it with profiles."
        )
    features: np.ndarray = users.profiles.features
    return features


@dataclass(frozen=True)
class _ExpectedClick:
    users: UserModel
    probability: bool
    centred: bool

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        assert self.users.copy_response is not None
        response = self.users.copy_response(
            list(texts), rows.user, rows.creative, rows.channel, rows.slot
        )
        logit = np.array(response.click_logit, np.float64)
        # No user model knows an empty text: to its encoder it is an average one.
        blank = blanks(texts)
        logit[blank] = self._of_nothing(rows)[blank]
        value = _bounded_score(logit, self.probability)
        return value - self._usual(rows) if self.centred else value

    def _of_nothing(self, rows: CopyRows) -> np.ndarray:
        """Return (N,) logits of an empty text: `BLANK_ODDS` of the odds of the worst creative."""
        worst = self.users.click_logit[rows.user, rows.slot, 1:].min(axis=1)
        return worst.astype(np.float64) + np.log(BLANK_ODDS)

    def _usual(self, rows: CopyRows) -> np.ndarray:
        """Return (N,) the mean answer to the catalogue's copies for each row's product."""
        catalogue = self.users.catalogue
        products = np.array(catalogue.product_ids)
        usual = np.empty(len(rows))
        for product in dict.fromkeys(rows.products):
            own = np.flatnonzero(np.array(rows.products) == product)
            copies = np.flatnonzero(products == product)
            actions = 1 + copies[None, :] * catalogue.n_channels + rows.channel[own, None]
            logits = self.users.click_logit[rows.user[own, None], rows.slot[own, None], actions]
            usual[own] = _bounded_score(logits.astype(np.float64), self.probability).mean(axis=1)
        return usual


def expected_click(resources: Resources, probability: bool = False, centred: bool = False) -> Term:
    """Return the click logit of each row's simulated reader, rested, clipped to [-15, 15].

    Args:
        resources: ``users``, the population that the rows' indices name.
        probability: the probability in (0, 1) instead of the logit.
        centred: less the mean of the reader's answers to the catalogue's copies for the same
            product, channel and slot. That depends on the task alone, so it changes no text's
            rank; it takes out most of what a learner could only put down to luck.
    """
    users = require_input(
        resources.users, "expected_click", "users", "simulated users that answer free text"
    )
    if users.copy_response is None:
        raise UserError(
            f"copy term 'expected_click': {users.name} cannot answer free text; fit users with a "
            "text encoder (users.text_encoder=lsa), or use the term ctr."
        )
    return _ExpectedClick(users, probability, centred)


@dataclass(frozen=True)
class _Uncertainty:
    model: Any
    features: np.ndarray | None

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        known = {} if self.features is None else {"profiles": self.features[rows.user]}
        std = np.asarray(self.model.std(list(texts), **known), np.float64)
        std = np.clip(std, 0.0, _LOGIT_BOUND)
        return np.where(blanks(texts), std.max(initial=1.0), std)


def uncertainty(resources: Resources, profiles: bool | None = None) -> Term:
    """Return the standard deviation of the ensemble's click logits, in [0, 15].

    An empty text gets the batch's largest, at least 1.

    With a negative weight this is the lower confidence bound of the ensemble mean; Coste et al.
    2023 (arXiv 2310.02743) penalise the variance (UWO), which the ensemble's own head ``uwo`` does.

    Args:
        resources: ``model``, an ensemble; also ``users`` where ``profiles`` is true.
        profiles: tell the models who reads, which they must have learned; None: where they have.
    """
    model = require_input(resources.model, "uncertainty", "model", "an ensemble of CTR models")
    if not hasattr(model, "std"):
        raise UserError(
            "copy term 'uncertainty' needs an ensemble of CTR models and got a single one; train "
            "it with members=3 or more, or drop the term."
        )
    return _Uncertainty(model, _features(resources, "uncertainty", profiles))


# ---------------------------------------------------------------- the shape

#: Every term that a config can name: maker of the term from resources and options.
TERMS: dict[str, Callable[..., Term]] = {
    maker.__name__: maker
    for maker in (
        ctr,
        expected_click,
        uncertainty,
        length,
        repetition,
        near_duplicate,
        compliance,
        grounding,
        off_brief,
        diversity,
        formula,
        gibberish,
        fluency,
        gain,
        off_original,
    )
}


class CopyRewardShape:
    """A weighted sum of named copy terms: a `CopyReward`.

    Attributes:
        terms: the terms as given, as plain numbers and dicts (for manifests and reports).
        floor: whether texts that nobody would send are put below every other text of their batch.
    """

    def __init__(
        self,
        terms: Mapping[str, Any],
        *,
        floor: bool = True,
        model: Any = None,
        users: UserModel | None = None,
        reference_texts: Sequence[str] | None = None,
        fluency: Fluency | None = None,
    ) -> None:
        """Compose the shape.

        Args:
            terms: term name -> weight, or -> ``{"weight": w, **options of the term}``. The weight
                defaults to 1 in the second form. A name may carry a suffix after a colon
                (``"length:hard"``) to use one term twice with other options. A name that is none
                of `TERMS` is that of a plug-in.
            floor: put texts that hold leftovers of a template, say a sentence twice or say nothing
                below every other text of a batch, whatever their terms are (`below_honest`).
            model: CTR model or ensemble, for `ctr` and `uncertainty`.
            users: simulated users, for `expected_click` (and `ctr` with profiles).
            reference_texts: for `near_duplicate`, `formula` and `fluency`.
            fluency: of texts, for `fluency`; see `Resources`.

        Raises:
            UserError: no term, an unknown term or option, a weight that is no finite number, or a
                term that needs what was not given.
        """
        check_terms(terms)
        self.terms = {
            str(name): dict(spec) if isinstance(spec, Mapping) else spec
            for name, spec in terms.items()
        }
        self.floor = floor
        resources = Resources(model, users, reference_texts, fluency)
        self._weighted = [(name, *_bind(name, s, resources)) for name, s in self.terms.items()]

    def __call__(
        self, texts: Sequence[str], rows: CopyRows
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the scores (N,) float64 and the weighted terms (N,) that sum to them.

        With ``floor`` its part is the last term, of that name.
        """
        values = {name: weight * term(texts, rows) for name, weight, term in self._weighted}
        scores: np.ndarray = np.sum(list(values.values()), axis=0)
        if self.floor:
            bounded = below_honest(scores, faulty(texts))
            values["floor"] = bounded - scores
            scores = bounded
        return scores, values

    def __repr__(self) -> str:
        return f"CopyRewardShape({self.terms})"


def check_terms(terms: Mapping[str, Any] | None) -> None:
    """Check what needs no model: names, options and weights of a copy reward's terms.

    Raises:
        UserError: as `CopyRewardShape`.
    """
    if not terms:
        raise UserError("a copy reward needs at least one term, such as terms: {ctr: 1.0}.")
    for name, spec in terms.items():
        _parse_term(str(name), spec)


def _parse_term(name: str, spec: Any) -> tuple[float, Callable[..., Term], dict[str, Any]]:
    """Return weight, maker and options of one entry of ``terms``."""
    maker: Callable[..., Term] = find(
        "copy_term", term_name(name, TERMS), TERMS, needs=("__call__",)
    )
    options = dict(spec) if isinstance(spec, Mapping) else {"weight": spec}
    weight = options.pop("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not np.isfinite(weight):
        raise UserError(f"copy term {name!r} has weight {weight!r}; give a finite number.")
    known = list(inspect.signature(maker).parameters)[1:]
    for option in options:
        if option not in known:
            choices = ", ".join(["weight", *known])
            raise UserError(
                f"copy term {name!r} has no option {option!r}: choose one of {choices}."
            )
    return float(weight), maker, options


def _bind(name: str, spec: Any, resources: Resources) -> tuple[float, Term]:
    """Return the weight and the term of one entry of ``terms``."""
    weight, maker, options = _parse_term(name, spec)
    return weight, maker(resources, **options)


def _bounded_score(logit: np.ndarray, probability: bool) -> np.ndarray:
    bounded = np.clip(logit, -_LOGIT_BOUND, _LOGIT_BOUND)
    return 1.0 / (1.0 + np.exp(-bounded)) if probability else bounded


__all__ = ["LENGTHS", "TERMS", "CopyRewardShape", "Resources", "check_terms"]
