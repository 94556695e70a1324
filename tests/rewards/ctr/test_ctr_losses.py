import math
import re

import pytest
import torch

from copygym.core.errors import UserError
from copygym.rewards.ctr.losses import (
    binomial_loss,
    bradley_terry_loss,
    ctr_loss,
    pair_evidence,
    pairs_of_tests,
)

CLICKS = torch.tensor([30.0, 10.0, 5.0, 8.0])
SHOWN = torch.tensor([1000.0, 1000.0, 500.0, 500.0])
TEST = torch.tensor([0, 0, 7, 7])


def test_pairs_stay_inside_their_test():
    first, second = pairs_of_tests(torch.tensor([0, 0, 1, 1, 1]))
    found = list(zip(first.tolist(), second.tolist(), strict=True))
    assert found == [(0, 1), (2, 3), (2, 4), (3, 4)]


def test_bradley_terry_of_one_pair_by_hand():
    scores = torch.tensor([0.4, -0.1])
    loss = bradley_terry_loss(scores, CLICKS[:2], SHOWN[:2], TEST[:2], cap=100.0)
    share = 30.5 / (30.5 + 10.5)
    weight = 1 / (1 / 30.5 + 1 / 10.5 + 0.02)
    entropy = -share * math.log(1 / (1 + math.exp(-0.5))) - (1 - share) * math.log(
        1 / (1 + math.exp(0.5))
    )
    # One pair, two arms: weight times 2 / K = 1, and the mean over 2 arms.
    assert float(loss) == pytest.approx(weight * entropy / 2, rel=1e-5)


def test_the_observed_share_is_of_rates_with_half_a_click_more():
    """(k + 1/2) / (n + 1), so that 0 of 1 against 1 of 9 is a share of 0.25 / 0.4."""
    clicks, shown = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 9.0])
    test = torch.zeros(2, dtype=torch.int64)
    scores = torch.tensor([math.log(0.25), math.log(0.15)], requires_grad=True)
    bradley_terry_loss(scores, clicks, shown, test).backward()
    assert scores.grad.abs().max() < 1e-7


def test_bradley_terry_is_least_at_the_observed_log_odds_and_ignores_levels():
    rate = (CLICKS + 0.5) / (SHOWN + 1)
    best = rate.log().requires_grad_()
    bradley_terry_loss(best, CLICKS, SHOWN, TEST).backward()
    assert best.grad.abs().max() < 1e-6
    moved = best.detach() + torch.tensor([3.0, 3.0, -2.0, -2.0])
    same = bradley_terry_loss(moved, CLICKS, SHOWN, TEST)
    assert float(same) == pytest.approx(
        float(bradley_terry_loss(best.detach(), CLICKS, SHOWN, TEST))
    )
    turned = bradley_terry_loss(-best.detach(), CLICKS, SHOWN, TEST)
    assert float(turned) > float(same)


def test_more_clicks_are_more_evidence_up_to_the_cap():
    clicks = torch.tensor([5.0, 5.0, 50.0, 50.0, 1e6, 1e6])
    weight = pair_evidence(clicks, torch.tensor([0, 2, 4]), torch.tensor([1, 3, 5]), cap=100.0)
    assert weight[0] < weight[1] < weight[2]
    assert float(weight[2]) == pytest.approx(50.0, rel=1e-3)


def test_binomial_loss_is_least_at_the_observed_rate():
    logit = torch.logit(CLICKS / SHOWN).requires_grad_()
    binomial_loss(logit, CLICKS, SHOWN).backward()
    assert logit.grad.abs().max() < 1e-6
    value = binomial_loss(torch.zeros(1), torch.tensor([3.0]), torch.tensor([10.0]))
    assert float(value) == pytest.approx(10 * math.log(2), rel=1e-6)


def test_only_the_binomial_loss_sees_the_level():
    scores, zero = torch.zeros(4), torch.zeros(())
    for name, moves in (("bradley_terry", False), ("binomial", True), ("both", True)):
        here = ctr_loss(name, scores, zero, CLICKS, SHOWN, TEST)
        there = ctr_loss(name, scores, zero - 4, CLICKS, SHOWN, TEST)
        assert (float(here) != float(there)) == moves, name


def test_both_is_bradley_terry_and_a_tenth_of_the_binomial():
    scores, level = torch.tensor([0.3, -0.2, 0.1, 0.0]), torch.tensor(-4.0)
    pairs, counts, both = (
        float(ctr_loss(name, scores, level, CLICKS, SHOWN, TEST))
        for name in ("bradley_terry", "binomial", "both")
    )
    assert pairs == pytest.approx(float(bradley_terry_loss(scores, CLICKS, SHOWN, TEST)))
    assert counts == pytest.approx(float(binomial_loss(scores + level, CLICKS, SHOWN)))
    assert both == pytest.approx(pairs + 0.1 * counts)


def test_an_unknown_loss_lists_the_choices():
    with pytest.raises(UserError, match=re.escape("binomial, both, bradley_terry")):
        ctr_loss("hinge", torch.zeros(4), torch.zeros(()), CLICKS, SHOWN, TEST)
