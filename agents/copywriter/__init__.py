"""The copywriter: a language model that learns from clicks what to say to whom.

A `Copywriter` is loaded (`load_copywriter`) or trained on the spot (`train_tiny`), shown the log's
`better_copy`, and improved by an algorithm (`make_algorithm`) against any copy reward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from copygym.core.lazy import lazy_names

if TYPE_CHECKING:
    from copygym.agents.copywriter.algorithms.sft.finetune import PeftChoice as PeftChoice
    from copygym.agents.copywriter.demonstrations import better_copy as better_copy
    from copygym.agents.copywriter.demonstrations import preference_pairs as preference_pairs
    from copygym.agents.copywriter.models import load_copywriter as load_copywriter
    from copygym.agents.copywriter.protocol import Writer as Writer
    from copygym.agents.copywriter.tiny import TinyConfig as TinyConfig
    from copygym.agents.copywriter.tiny import make_tiny as make_tiny
    from copygym.agents.copywriter.tiny import train_tiny as train_tiny
    from copygym.agents.copywriter.training.algorithm import ALGORITHMS as ALGORITHMS
    from copygym.agents.copywriter.training.algorithm import CopyAlgorithm as CopyAlgorithm
    from copygym.agents.copywriter.training.algorithm import Trained as Trained
    from copygym.agents.copywriter.training.algorithm import make_algorithm as make_algorithm
    from copygym.agents.copywriter.training.budget import Spent as Spent
    from copygym.agents.copywriter.training.feedback import Demonstrations as Demonstrations
    from copygym.agents.copywriter.training.feedback import Preferences as Preferences
    from copygym.agents.copywriter.writer import Copywriter as Copywriter
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "copygym.agents.copywriter.algorithms.sft.finetune": ("PeftChoice",),
            "copygym.agents.copywriter.demonstrations": ("better_copy", "preference_pairs"),
            "copygym.agents.copywriter.models": ("load_copywriter",),
            "copygym.agents.copywriter.protocol": ("Writer",),
            "copygym.agents.copywriter.tiny": ("TinyConfig", "make_tiny", "train_tiny"),
            "copygym.agents.copywriter.training.algorithm": (
                "ALGORITHMS",
                "CopyAlgorithm",
                "Trained",
                "make_algorithm",
            ),
            "copygym.agents.copywriter.training.budget": ("Spent",),
            "copygym.agents.copywriter.training.feedback": ("Demonstrations", "Preferences"),
            "copygym.agents.copywriter.writer": ("Copywriter",),
        },
    )
