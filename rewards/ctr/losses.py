"""Losses of neural CTR models on counts: binomial cross-entropy and within-test Bradley-Terry.

Axes: N arms, M pairs. Pure functions of torch tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from copygym.core.errors import unknown_name

#: Names that configs use.
LOSSES = ("bradley_terry", "binomial", "both")


def pair_evidence(clicks_N: Tensor, first_M: Tensor, second_M: Tensor, cap: float) -> Tensor:
    """Return (M,) weights of pairs: 1 / (1 / (k_i + 1/2) + 1 / (k_j + 1/2) + 2 / cap).

    The first two terms are the sampling variance of the difference of two log rates; the last
    stands for spread that no number of clicks removes.

    Args:
        clicks_N: clicks of the arms.
        first_M: rows of one arm of each pair.
        second_M: rows of the other.
        cap: clicks beyond which an arm gets no more weight.
    """
    noise_N = 1.0 / (clicks_N + 0.5)
    return 1.0 / (noise_N[first_M] + noise_N[second_M] + 2.0 / cap)


def pairs_of_tests(test_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return (M,), (M,): the rows of every pair of arms of one test, each pair once."""
    size = len(test_N)
    first, second = torch.triu_indices(size, size, 1)
    same = test_N[first] == test_N[second]
    return first[same], second[same]


def bradley_terry_loss(
    scores_N: Tensor, clicks_N: Tensor, impressions_N: Tensor, test_N: Tensor, cap: float = 100.0
) -> Tensor:
    """Return the within-test Bradley-Terry loss weighted by evidence, a mean per arm.

    Bradley and Terry (1952): a click on one of two arms shown equally often is on i with
    probability sigma(s_i - s_j). The observed share r_i / (r_i + r_j) of the click rates is the
    target of the cross-entropy, whose weight is `pair_evidence`. Pairs of a test of K arms count
    2 / K, so that a test weighs as its arms do, not as the square of their number.

    Args:
        scores_N: log-odds up to a constant of each test.
        clicks_N: clicks.
        impressions_N: impressions >= 1.
        test_N: int64 number of each arm's test.
        cap: see `pair_evidence`.
    """
    first, second = pairs_of_tests(test_N)
    rate_N = (clicks_N + 0.5) / (impressions_N + 1.0)
    share_M = rate_N[first] / (rate_N[first] + rate_N[second])
    _, group, size = torch.unique(test_N, return_inverse=True, return_counts=True)
    weight_M = pair_evidence(clicks_N, first, second, cap) * 2.0 / size[group[first]]
    gap_M = scores_N[first] - scores_N[second]
    loss_M = binary_cross_entropy_with_logits(gap_M, share_M, reduction="none")
    return (weight_M * loss_M).sum() / len(test_N)


def binomial_loss(
    logits_N: Tensor, clicks_N: Tensor, impressions_N: Tensor, cap: float = 100.0
) -> Tensor:
    """Return the binomial cross-entropy of counts, a mean per arm.

    -[k log p + (n - k) log(1 - p)] with p = sigma(logit), each arm scaled down to at most ``cap``
    clicks: the likelihood of more would trust a single arm more than arms of one rate agree.

    Args:
        logits_N: log-odds of a click.
        clicks_N: k.
        impressions_N: n >= k.
        cap: clicks beyond which an arm gets no more weight.
    """
    scale_N = torch.clamp(cap / torch.clamp(clicks_N, min=1.0), max=1.0)
    value_N = impressions_N * softplus(logits_N) - clicks_N * logits_N
    return (scale_N * value_N).mean()


def ctr_loss(
    name: str,
    scores_N: Tensor,
    intercept: Tensor,
    clicks_N: Tensor,
    impressions_N: Tensor,
    test_N: Tensor,
) -> Tensor:
    """Return the loss called ``name``; ``both`` is Bradley-Terry plus a tenth of the binomial.

    Args:
        name: one of `LOSSES`.
        scores_N: log-odds up to a constant.
        intercept: the constant, which only the binomial loss sees.
        clicks_N: k.
        impressions_N: n.
        test_N: number of each arm's test.
    """
    if name not in LOSSES:
        raise unknown_name("loss", name, list(LOSSES))
    loss = torch.zeros(())
    if name != "binomial":
        loss = loss + bradley_terry_loss(scores_N, clicks_N, impressions_N, test_N)
    if name != "bradley_terry":
        share = 1.0 if name == "binomial" else 0.1
        loss = loss + share * binomial_loss(scores_N + intercept, clicks_N, impressions_N)
    return loss
