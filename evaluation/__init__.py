"""Believable evaluation: in simulated users, off-policy on a log, and in A/B tests.

Three front doors, each with intervals: `evaluate` lets an agent act on simulated users,
`off_policy` judges a policy's probabilities on a log that has propensities, and `ab_test` compares
two samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from copygym.core.lazy import lazy_names

if TYPE_CHECKING:
    from copygym.core.estimates import Estimate as Estimate
    from copygym.core.estimates import mean_estimate as mean_estimate
    from copygym.evaluation.abtest.compare import Arms as Arms
    from copygym.evaluation.abtest.compare import Comparison as Comparison
    from copygym.evaluation.abtest.compare import arms_from_counts as arms_from_counts
    from copygym.evaluation.abtest.compare import arms_from_values as arms_from_values
    from copygym.evaluation.abtest.compare import compare as compare
    from copygym.evaluation.abtest.two_samples import ab_test as ab_test
    from copygym.evaluation.abtest.two_samples import ab_test_of_counts as ab_test_of_counts
    from copygym.evaluation.metrics import METRICS as METRICS
    from copygym.evaluation.metrics import Episodes as Episodes
    from copygym.evaluation.ope.probabilities import PolicyValue as PolicyValue
    from copygym.evaluation.ope.probabilities import logged_actions as logged_actions
    from copygym.evaluation.ope.probabilities import off_policy as off_policy
    from copygym.evaluation.simulated import Evaluation as Evaluation
    from copygym.evaluation.simulated import evaluate as evaluate
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "copygym.core.estimates": ("Estimate", "mean_estimate"),
            "copygym.evaluation.abtest.compare": (
                "Arms",
                "Comparison",
                "arms_from_counts",
                "arms_from_values",
                "compare",
            ),
            "copygym.evaluation.abtest.two_samples": ("ab_test", "ab_test_of_counts"),
            "copygym.evaluation.metrics": ("METRICS", "Episodes"),
            "copygym.evaluation.ope.probabilities": ("PolicyValue", "logged_actions", "off_policy"),
            "copygym.evaluation.simulated": ("Evaluation", "evaluate"),
        },
    )
