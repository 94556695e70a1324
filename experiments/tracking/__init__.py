"""Tracking: local files always, Weights & Biases as their mirror."""
