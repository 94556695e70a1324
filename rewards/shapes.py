"""Reward shapes: weighted sums of small pure functions of an `Outcome`.

A term maps the outcome of N decisions to N float64 numbers. A new shape is one function here,
one entry in `TERMS` and, if it deserves a name, one YAML file in ``conf/reward``. A term of another
package is named as `copygym.core.plugins` says. The functions
run inside every environment step, so each is a few array operations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.plugins import find, term_name
from copygym.envs.people.outcome import Outcome

Term = Callable[..., np.ndarray]


def click(outcome: Outcome) -> np.ndarray:
    """Return 1 for a click, else 0."""
    return outcome.click.astype(np.float64)


def expected_click(outcome: Outcome) -> np.ndarray:
    """Return the simulator's click probability: `click` without its Bernoulli noise."""
    return outcome.click_probability.astype(np.float64)


def conversion(outcome: Outcome) -> np.ndarray:
    """Return 1 for a conversion, else 0."""
    return outcome.conversion.astype(np.float64)


def expected_conversion(outcome: Outcome) -> np.ndarray:
    """Return the probability of a click that converts."""
    return outcome.click_probability * outcome.conversion_probability


def revenue(outcome: Outcome) -> np.ndarray:
    """Return the revenue in currency."""
    return outcome.revenue.astype(np.float64)


def cost(outcome: Outcome) -> np.ndarray:
    """Return the cost of the send in currency, 0 for hold; give it a negative weight."""
    return outcome.cost.astype(np.float64)


def profit(outcome: Outcome) -> np.ndarray:
    """Return revenue minus the cost of the send, in currency."""
    return outcome.revenue - outcome.cost


def expected_profit(outcome: Outcome) -> np.ndarray:
    """Return P(click) P(conversion | click) E(revenue | conversion) - cost, in currency."""
    chance = outcome.click_probability * outcome.conversion_probability
    return chance * outcome.expected_revenue - outcome.cost


def send(outcome: Outcome) -> np.ndarray:
    """Return 1 where something was sent, else 0: with a negative weight, a price of attention."""
    return outcome.sent.astype(np.float64)


def unsubscribe(outcome: Outcome) -> np.ndarray:
    """Return 1 for an unsubscribe, else 0; give it a negative weight."""
    return outcome.unsubscribe.astype(np.float64)


def expected_unsubscribe(outcome: Outcome) -> np.ndarray:
    """Return the probability of an unsubscribe; give it a negative weight."""
    return outcome.unsubscribe_probability.astype(np.float64)


def fatigue(outcome: Outcome) -> np.ndarray:
    """Return the fatigue of a user to whom something is sent, 0 for hold.

    It is the fatigue before the decision, so that the first send to a rested user costs nothing
    and holding is never punished for what was sent earlier. Give it a negative weight.
    """
    return outcome.fatigue * outcome.sent


def diversity(outcome: Outcome) -> np.ndarray:
    """Return 1 / (1 + earlier sends of this creative to this user), 0 for hold.

    Over an episode a creative that is sent n times collects the harmonic number H(n). That sum
    is concave in n, so a given number of sends earns most when it is spread evenly.
    """
    return outcome.sent / (1.0 + outcome.repetitions)


def novelty(outcome: Outcome, floor: float = 1e-4) -> np.ndarray:
    """Return the self-information -log2(popularity) of what was sent, in bits; 0 for hold.

    Zhou et al. 2010 (doi 10.1073/pnas.1000488107), the mean self-information of recommended
    items; Castells, Vargas and Wang 2011, popularity-based item novelty.

    Args:
        outcome: N decisions.
        floor: smallest popularity, in (0, 1]; a creative that was never logged counts as this
            rare, where 0 would make it infinitely novel.
    """
    return -np.log2(np.maximum(outcome.popularity, floor)) * outcome.sent


def length(outcome: Outcome, target: float = 12.0) -> np.ndarray:
    """Return |words - target| / target of the copy sent, 0 for hold; give it a negative weight.

    Args:
        outcome: N decisions.
        target: wanted number of words, > 0.
    """
    return np.abs(outcome.length - target) / target * outcome.sent


def potential(outcome: Outcome, gamma: float = 0.99, scale: float = 1.0) -> np.ndarray:
    """Return potential-based shaping F = gamma * Phi(s') - Phi(s) with Phi = -scale * fatigue.

    Ng, Harada and Russell 1999, theorem 1: with Phi = 0 in terminal states, adding F changes no
    policy's rank, because the discounted sum telescopes to -Phi(s_0) whatever is done. It only
    tells the learner at once what a send will cost it later. An episode's end by unsubscribe and,
    where the environment reports it (`Outcome.last`), by the horizon is terminal.

    Args:
        outcome: N decisions.
        gamma: the learner's own discount; another value voids the theorem.
        scale: potential per unit of fatigue.
    """
    ended = outcome.unsubscribe if outcome.last is None else outcome.last
    return scale * (outcome.fatigue - gamma * np.where(ended, 0.0, outcome.next_fatigue))


#: Every term that a config can name.
TERMS: dict[str, Term] = {
    term.__name__: term
    for term in (
        click,
        expected_click,
        conversion,
        expected_conversion,
        revenue,
        cost,
        profit,
        expected_profit,
        send,
        unsubscribe,
        expected_unsubscribe,
        fatigue,
        diversity,
        novelty,
        length,
        potential,
    )
}


class RewardShape:
    """A weighted sum of named terms; a callable that pickles.

    Attributes:
        terms: the terms as given, as plain numbers and dicts (for manifests and reports).
    """

    def __init__(self, terms: Mapping[str, Any]) -> None:
        """Compose the shape.

        Args:
            terms: term name -> weight, or -> ``{"weight": w, **parameters of the term}``. The
                weight defaults to 1 in the second form. A name may carry a suffix after a colon
                (``"potential:slow"``) to use one term twice with other parameters. A name that is
                none of `TERMS` is that of a plug-in.

        Raises:
            UserError: no term, an unknown term or parameter, or a weight that is no finite number.
        """
        if not terms:
            raise UserError("a reward needs at least one term, such as terms: {click: 1.0}.")
        self.terms = {
            str(name): dict(spec) if isinstance(spec, Mapping) else spec
            for name, spec in terms.items()
        }
        self._weighted = [(name, *_bind(name, spec)) for name, spec in self.terms.items()]

    def __call__(self, outcome: Outcome) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the reward (N,) float64 and the weighted terms (N,) that sum to it.

        With one term the reward is that term's own array.
        """
        values = {
            name: term(outcome) if weight == 1.0 else weight * term(outcome)
            for name, weight, term in self._weighted
        }
        parts = iter(values.values())
        total = next(parts)
        for part in parts:
            total = total + part
        return total, values

    def __repr__(self) -> str:
        return f"RewardShape({self.terms})"


def _bind(name: str, spec: Any) -> tuple[float, Term]:
    """Return the weight and the function, parameters bound, of one entry of ``terms``."""
    function: Term = find("reward_term", term_name(name, TERMS), TERMS, needs=("__call__",))
    parameters = dict(spec) if isinstance(spec, Mapping) else {"weight": spec}
    weight = parameters.pop("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not np.isfinite(weight):
        raise UserError(f"reward term {name!r} has weight {weight!r}; give a finite number.")
    known = list(inspect.signature(function).parameters)[1:]
    for parameter, value in parameters.items():
        if parameter not in known:
            choices = ", ".join(["weight", *known])
            raise UserError(
                f"reward term {name!r} has no parameter {parameter!r}: choose one of {choices}."
            )
        _check_parameter(name, parameter, value)
    term = partial(function, **parameters) if parameters else function
    return float(weight), term


def _check_parameter(name: str, parameter: str, value: Any) -> None:
    """Refuse values that would turn a reward into NaN or infinity without a word."""
    bounds = {"floor": (1e-300, 1.0), "target": (1e-9, np.inf), "gamma": (0.0, 1.0)}
    low, high = bounds.get(parameter, (-np.inf, np.inf))
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(
            f"reward term {name!r} has {parameter}={value!r}; it must be a number in "
            f"[{low:g}, {high:g}]."
        )
