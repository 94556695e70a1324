"""What a PPO update works on and reports.

Shapes: B texts of a batch, T response steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from copygym.agents.copywriter.algorithms.ppo.losses import Masks
from copygym.agents.copywriter.algorithms.ppo.policy import Evaluated
from copygym.agents.copywriter.llama.backends import Prepared, Texts

#: Every key of a line of PPO's history that `TrainingRun` doesn't write.
METRICS: dict[str, str] = {
    "kl": "KL from the starting writer, nats per text: kl_k1",
    "kl_k1": "mean over texts of the sum over tokens of log p - log q, before the update",
    "kl_k3": "the same with q/p - 1 - log q/p, which is never negative",
    "kl_coef": "price of a nat of KL in this update",
    "entropy": "mean entropy at the texts' tokens before the update, nats per token",
    "fluency": "mean log probability of the tokens under the starting writer, nats per token",
    "sound": "1, or 0 where the guards took the batch for collapsed",
    "approx_kl": "mean over epochs and tokens of (log new/old)^2 / 2, nats per token",
    "clip_fraction": "share of tokens at which the clipped term was the larger loss",
    "value_clip_fraction": "share of states at which the clipped value had the larger error",
    "ratio": "mean over epochs and tokens of new / old probability",
    "policy_loss": "mean over optimiser steps",
    "value_loss": "mean over optimiser steps, half the squared error",
    "explained_variance": "of the returns, by the values before the update",
    "grad_norm": "mean over optimiser steps, before scaling down",
    "skipped": "optimiser steps left out because loss or gradient was not finite",
    "score_std": "standard deviation of the reward over the batch's texts",
    "length": "mean tokens of a text, the end token included",
    "ended": "share of texts that ended within the longest length, without special tokens",
    "learning_rate": "of the language model in this update",
    "seconds/generate": "sampling; CPU seconds of the process, on a GPU wall seconds",
    "seconds/reward": "scoring the texts, likewise",
    "seconds/reference": "reference log probabilities and frozen layers, likewise",
    "seconds/epochs": "forward, backward and optimiser, likewise",
}


@dataclass(frozen=True)
class Rollout:
    """B texts with their scores.

    Attributes:
        rows: (B,) int64 tasks.
        texts: prompts and responses as tokens.
        words: the responses as copy.
        scores_B: (B,) float32 rewards, the penalty for a missing end included.
        ended_B: (B,) bool, whole texts (`PromptStyle.is_whole`).
    """

    rows: np.ndarray
    texts: Texts
    words: list[str]
    scores_B: Tensor
    ended_B: Tensor


@dataclass(frozen=True)
class Experience:
    """A rollout as PPO trains on it.

    Attributes:
        prepared: the texts' layout and frozen outputs.
        mask: of the texts.
        old_BT: log probabilities before the update.
        ref_BT: the reference's.
        values_BT: before the update.
        entropy_BT: before the update.
        advantages_BT: whitened where so set.
        returns_BT: targets of the values.
        first: the passes behind ``old_BT``, gradients still to be taken, with their rows; empty
            where they serve no further.
    """

    prepared: Prepared
    mask: Masks
    old_BT: Tensor
    ref_BT: Tensor
    values_BT: Tensor
    entropy_BT: Tensor
    advantages_BT: Tensor
    returns_BT: Tensor
    first: list[tuple[list[int], Evaluated]]


__all__ = ["METRICS", "Experience", "Rollout"]
