"""How much noise a privacy budget asks for, and what the budget means for an attacker.

A mechanism is (epsilon, delta)-differentially private where adding or removing one person, with all
of their rows, changes the probability of any outcome by at most a factor e^epsilon, delta aside
(Dwork and Roth 2014). The accounting is Opacus' (extra ``privacy``); nothing of it is ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from copygym.core.errors import UserError, unknown_name

#: ``prv``: numerical composition (Gopi et al. 2021, arXiv 2106.02848), within 1% of the truth;
#: ``rdp``: Renyi moments (Mironov et al. 2019, arXiv 1908.10530), an upper bound, faster.
ACCOUNTANTS = ("prv", "rdp")


def noise_for(
    epsilon: float, delta: float, sample_rate: float, rounds: int, accountant: str = "prv"
) -> float:
    """Return the smallest noise, in clips, that keeps ``rounds`` within the budget.

    Args:
        epsilon: above 0.
        delta: in (0, 1); below one over the number of people, or leaking a few of them whole would
            be within the budget.
        sample_rate: chance of each person to take part in a round (Poisson sampling).
        rounds: updates that are released.
        accountant: one of `ACCOUNTANTS`.

    Raises:
        UserError: a value is no budget, Opacus is missing, or no noise is large enough.
    """
    _check(delta, sample_rate, rounds, accountant)
    if not 0 < epsilon < float("inf"):
        raise UserError(f"epsilon={epsilon}: give a privacy budget above 0.")
    with _opacus():
        from opacus.accountants.utils import get_noise_multiplier

        try:
            return float(
                get_noise_multiplier(
                    target_epsilon=epsilon,
                    target_delta=delta,
                    sample_rate=sample_rate,
                    steps=rounds,
                    accountant=accountant,
                    # Opacus' own tolerance of 0.01 would be 2% of a small budget.
                    epsilon_tolerance=min(0.01, 0.01 * epsilon),
                )
            )
        except ValueError as error:
            raise UserError(
                f"epsilon={epsilon} with delta={delta}: no noise keeps {rounds} rounds within that "
                f"budget ({error}); give a larger epsilon or fewer rounds."
            ) from error


def epsilon_spent(
    noise: float, delta: float, sample_rate: float, rounds: int, accountant: str = "prv"
) -> float:
    """Return the epsilon that ``rounds`` with this noise spend; arguments as in `noise_for`.

    Args:
        noise: standard deviation of the noise on the sum, in clips; above 0.
        delta: in (0, 1).
        sample_rate: in (0, 1].
        rounds: 1 or more.
        accountant: one of `ACCOUNTANTS`.

    Raises:
        UserError: as in `noise_for`.
    """
    _check(delta, sample_rate, rounds, accountant)
    if not 0 < noise < float("inf"):
        raise UserError(f"noise={noise}: give the standard deviation in clips, above 0.")
    with _opacus():
        from opacus.accountants import create_accountant

        book = create_accountant(mechanism=accountant)
        book.history = [(noise, sample_rate, rounds)]
        return float(book.get_epsilon(delta=delta))


def largest_attack_auc(epsilon: float | None, delta: float) -> float:
    """Return the AUC that no attacker can exceed who tells whether one person was learned from.

    Whoever knows all else and sees the model errs at least as the region of Kairouz, Oh and
    Viswanath 2015 (arXiv 1311.0776) says, whose ROC curve is two straight lines; above them lies
    (1 - delta)^2 / (1 + e^epsilon). None, for no privacy, is 1.
    """
    import math

    if epsilon is None:
        return 1.0
    return 1.0 - (1.0 - delta) ** 2 / (1.0 + math.exp(epsilon))


def _check(delta: float, sample_rate: float, rounds: int, accountant: str) -> None:
    if not 0 < delta < 1:
        raise UserError(
            f"delta={delta}: give a chance above 0 and far below one over the number of people."
        )
    if not 0 < sample_rate <= 1:
        raise UserError(f"sample_rate={sample_rate}: give a chance above 0, 1 at most.")
    if rounds < 1:
        raise UserError(f"rounds={rounds}: give 1 or more.")
    if accountant not in ACCOUNTANTS:
        raise unknown_name("accountant", accountant, list(ACCOUNTANTS))


@contextmanager
def _opacus() -> Iterator[None]:
    """Say in one sentence that Opacus is missing; keep its advice on orders to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith(("opacus", "opt_einsum")):
                raise
            raise UserError(
                "a privacy budget is accounted for by Opacus, which is not installed: run "
                "`pip install 'copygym[privacy]'`."
            ) from error
