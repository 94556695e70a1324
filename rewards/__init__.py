"""Rewards: what a decision or a text is worth to the learner.

`RewardShape` weighs what happened in a step of delivery; `CopyRewardShape` weighs terms of a text,
among them a `CtrModel` that learned from clicks. A reward of your own needs no class: it is any
callable that maps a step's `Outcome`, or N texts and their tasks, to N numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from copygym.core.lazy import lazy_names

if TYPE_CHECKING:
    from copygym.rewards.copy.shape import CopyRewardShape as CopyRewardShape
    from copygym.rewards.ctr.data import CopyCounts as CopyCounts
    from copygym.rewards.ctr.data import split_counts as split_counts
    from copygym.rewards.ctr.ensemble import CtrEnsemble as CtrEnsemble
    from copygym.rewards.ctr.model import CtrModel as CtrModel
    from copygym.rewards.ctr.model import load_ctr_model as load_ctr_model
    from copygym.rewards.ctr.model import make_ctr_model as make_ctr_model
    from copygym.rewards.shapes import TERMS as TERMS
    from copygym.rewards.shapes import RewardShape as RewardShape
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "copygym.rewards.copy.shape": ("CopyRewardShape",),
            "copygym.rewards.ctr.data": ("CopyCounts", "split_counts"),
            "copygym.rewards.ctr.ensemble": ("CtrEnsemble",),
            "copygym.rewards.ctr.model": ("CtrModel", "load_ctr_model", "make_ctr_model"),
            "copygym.rewards.shapes": ("TERMS", "RewardShape"),
        },
    )
