"""Off-policy evaluation: decisions of a log, estimators, intervals, support."""
