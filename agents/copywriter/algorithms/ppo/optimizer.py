"""AdamW for a policy: two learning rates, a schedule, and a state of plain tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from copygym.agents.copywriter.algorithms.ppo.policy import Policy
from copygym.agents.copywriter.algorithms.ppo.settings import PPOSettings

#: The moments of AdamW that a checkpoint holds.
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class PolicyOptimizer:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) without weight decay.

    Args:
        policy: its trained weights are stepped, the value head's at a rate of its own.
        settings: rates, decay and norm.
        updates: updates of the whole run.
        done: updates before a checkpoint.
        state: what `tensors` returned then; empty at the start.
    """

    def __init__(
        self,
        policy: Policy,
        settings: PPOSettings,
        *,
        updates: int,
        done: int,
        state: Mapping[str, Tensor],
    ) -> None:
        self.weights = [weight for weight in policy.parameters() if weight.requires_grad]
        self._max_norm = settings.max_grad_norm or float("inf")
        values = list(policy.value.parameters())
        language = [w for w in self.weights if not any(w is value for value in values)]
        groups = [
            {"params": language, "lr": settings.learning_rate},
            {"params": values, "lr": settings.value_learning_rate},
        ]
        # fused: hundreds of small adapters cost more in Python than in arithmetic.
        self.adamw = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
        for number, weight in enumerate(self.weights):
            if f"{number}/step" in state:
                self.adamw.state[weight] = {
                    name: state[f"{number}/{name}"].to(weight.device) for name in _MOMENTS
                }

        def factor(step: int) -> float:
            left = 1.0 - (done + step) / max(1, updates)
            return max(0.0, left) if settings.decay else 1.0

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.adamw, factor)

    @property
    def rate(self) -> float:
        """The language model's learning rate."""
        return float(self.schedule.get_last_lr()[0])

    def step(self, loss: Tensor) -> tuple[float, bool]:
        """Take a step by the gradients, unless they or ``loss`` are not finite, and drop them.

        Returns:
            the gradient's norm before it was scaled down, and whether the step was taken.
        """
        norm = nn.utils.clip_grad_norm_(self.weights, self._max_norm)
        good = bool(torch.isfinite(loss) & torch.isfinite(norm))
        if good:
            self.adamw.step()
        self.adamw.zero_grad()
        return float(norm), good

    def tensors(self) -> dict[str, Tensor]:
        """Return the moments, ``NUMBER/MOMENT`` -> tensor."""
        return {
            f"{number}/{name}": self.adamw.state[weight][name]
            for number, weight in enumerate(self.weights)
            if weight in self.adamw.state
            for name in _MOMENTS
        }


__all__ = ["PolicyOptimizer"]
