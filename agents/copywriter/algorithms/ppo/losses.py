"""PPO for texts as pure functions: KL estimators, token rewards, advantages, losses.

The conventions are those of TRL's PPO (its ``train``), so that the same batch gives the same loss:
a text of length l < T occupies steps 0 ... l - 1, and the step after its end, l, is a state of its
own where the score arrives and whose value is learned; a text that fills all T steps gets its
score at step T - 1.

Names carry their axes: B texts, T response steps. All are float32 but where noted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Masks:
    """Which steps count.

    Attributes:
        tokens_BT: bool, the steps at which a token was written, the end token included.
        states_BT: bool, those and the state after the end, where there is room for it.
        last_B: int64, the step that receives the score.
    """

    tokens_BT: Tensor
    states_BT: Tensor
    last_B: Tensor


def masks(lengths_B: Tensor, steps: int) -> Masks:
    """Return the masks of texts of ``lengths_B`` tokens (int64, 1 ... T) with T = ``steps``."""
    step = torch.arange(steps, device=lengths_B.device)
    return Masks(
        step < lengths_B.unsqueeze(1),
        step <= lengths_B.unsqueeze(1),
        lengths_B.clamp(max=steps - 1),
    )


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of ``values`` where ``mask``."""
    return (values * mask).sum() / mask.sum()


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Return ``values`` with unit variance (n - 1) over ``mask`` and, if shifted, mean 0.

    With one value or none under the mask there is no variance, and all become 0 (or their mean).
    """
    count = mask.sum()
    mean = masked_mean(values, mask)
    variance = ((values - mean) ** 2 * mask).sum() / (count - 1).clamp(min=1)
    white = (values - mean) * torch.rsqrt(variance + 1e-8)
    return white if shift_mean else white + mean


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return log p - log q: unbiased for KL(p, q) over draws from p, and often negative.

    Schulman 2020, "Approximating KL divergence" (joschu.net/blog/kl-approx.html).
    """
    return logprobs - ref_logprobs


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return q/p - 1 - log q/p: unbiased, never negative, of lower variance near p = q.

    Schulman 2020, as `kl_k1`.
    """
    log_ratio = ref_logprobs - logprobs
    return torch.expm1(log_ratio) - log_ratio


def token_rewards(
    scores_B: Tensor, kl_BT: Tensor, kl_coef: float, mask: Masks, *, white: bool = False
) -> Tensor:
    """Return (B, T) rewards: -kl_coef * KL on every token, and the score at the last step.

    Ziegler et al. 2019 (arXiv 1909.08593), equation 2, spread over the tokens.

    Args:
        scores_B: reward of each text.
        kl_BT: KL estimates; those outside the text don't count.
        kl_coef: the KL's price.
        mask: of the texts.
        white: scale to unit variance over the states (the mean stays).
    """
    rewards = torch.where(mask.tokens_BT, -kl_coef * kl_BT, 0.0)
    rewards[torch.arange(len(scores_B), device=rewards.device), mask.last_B] += scores_B
    if white:
        whitened = whiten(rewards, mask.states_BT, shift_mean=False)
        rewards = torch.where(mask.states_BT, whitened, 0.0)
    return rewards


def gae(
    rewards_BT: Tensor, values_BT: Tensor, mask: Masks, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Return advantages and returns, (B, T) each: generalised advantage estimation.

    delta_t = r_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lam A_{t+1}, with V and r zero
    after the last state: Schulman et al. 2016 (arXiv 1506.02438), equations 9 and 16.

    Args:
        rewards_BT: of `token_rewards`.
        values_BT: of the states; those outside don't count.
        mask: of the texts.
        gamma: discount, 1 for none.
        lam: 1 is Monte Carlo, 0 one-step.
    """
    values = torch.where(mask.states_BT, values_BT, 0.0)
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = rewards_BT + gamma * following - values
    advantages = torch.empty_like(deltas)
    running = torch.zeros_like(deltas[:, 0])
    for step in reversed(range(deltas.shape[1])):
        running = deltas[:, step] + gamma * lam * running
        advantages[:, step] = running
    return advantages, advantages + values


@dataclass(frozen=True)
class PolicyLoss:
    """Sums over the tokens; divide by their number for means.

    Attributes:
        loss: of the clipped objective, carries the gradient.
        clipped: tokens at which the clipped term was the larger loss.
        squared: of log ratio ** 2 / 2, an estimate of KL(old, new) (Schulman's k2).
        ratio: of new / old probabilities.
    """

    loss: Tensor
    clipped: Tensor
    squared: Tensor
    ratio: Tensor


def policy_loss(
    logprobs_BT: Tensor, old_BT: Tensor, advantages_BT: Tensor, tokens_BT: Tensor, clip: float
) -> PolicyLoss:
    """Return the sum of max(-A r, -A clip(r, 1 - c, 1 + c)) over the tokens.

    Schulman et al. 2017 (arXiv 1707.06347), equation 7, as a loss.
    """
    log_ratio = torch.where(tokens_BT, logprobs_BT - old_BT, 0.0)
    ratio = log_ratio.exp()
    plain = -advantages_BT * ratio
    bounded = -advantages_BT * ratio.clamp(1.0 - clip, 1.0 + clip)
    with torch.no_grad():
        clipped = ((bounded > plain) & tokens_BT).sum().float()
        squared = (0.5 * log_ratio**2).sum()
        mean_ratio = torch.where(tokens_BT, ratio, 0.0).sum()
    loss = torch.where(tokens_BT, torch.max(plain, bounded), 0.0).sum()
    return PolicyLoss(loss, clipped, squared, mean_ratio)


@dataclass(frozen=True)
class ValueLoss:
    """Sums over the states.

    Attributes:
        loss: half the squared error, carries the gradient.
        clipped: states at which the clipped value had the larger error.
    """

    loss: Tensor
    clipped: Tensor


def value_loss(
    values_BT: Tensor, old_BT: Tensor, returns_BT: Tensor, states_BT: Tensor, clip: float
) -> ValueLoss:
    """Return the sum of max((V - R)^2, (clip(V, V_old +- c) - R)^2) / 2 over the states.

    The value clipping of Schulman's PPO code (baselines, ppo2); clip = inf turns it off.
    """
    bounded = torch.clamp(values_BT, old_BT - clip, old_BT + clip)
    plain_error, bounded_error = (values_BT - returns_BT) ** 2, (bounded - returns_BT) ** 2
    with torch.no_grad():
        clipped = ((bounded_error > plain_error) & states_BT).sum().float()
    error = torch.where(states_BT, torch.max(plain_error, bounded_error), 0.0)
    return ValueLoss(0.5 * error.sum(), clipped)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """Return 1 - Var(returns - values) / Var(returns) over ``mask``; 0 where returns are constant.

    1: the values foretell the returns; 0: no better than a constant; negative: worse.
    """
    returns, error = returns[mask], (returns - values)[mask]
    total = returns.var(correction=0)
    return float(1.0 - error.var(correction=0) / total) if float(total) > 0 else 0.0


def adapted_kl_coef(kl_coef: float, kl: float, target: float, samples: int, horizon: int) -> float:
    """Return the KL's price after an update, moved towards the one that keeps KL at ``target``.

    e = clip((KL - target) / target, -0.2, 0.2); beta <- beta (1 + e * samples / horizon): Ziegler
    et al. 2019 (arXiv 1909.08593), section 2.2, with K_beta per sample.

    Args:
        kl_coef: beta.
        kl: mean KL of the update's texts, nats per text.
        target: the KL to hold, nats per text.
        samples: texts of the update.
        horizon: samples in which an error of 20% multiplies beta by about e^0.2.
    """
    error = min(max((kl - target) / target, -0.2), 0.2)
    return kl_coef * (1.0 + error * samples / horizon)


__all__ = [
    "Masks",
    "PolicyLoss",
    "ValueLoss",
    "adapted_kl_coef",
    "explained_variance",
    "gae",
    "kl_k1",
    "kl_k3",
    "masked_mean",
    "masks",
    "policy_loss",
    "token_rewards",
    "value_loss",
    "whiten",
]
