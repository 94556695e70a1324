"""Believable evaluation: rollouts, metrics, aggregates, off-policy estimates and A/B statistics."""
