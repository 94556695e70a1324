"""Rewards: what a decision is worth to the learner. Imports `copygym.envs` only."""

from copygym.rewards.shapes import TERMS, RewardShape

__all__ = ["TERMS", "RewardShape"]
