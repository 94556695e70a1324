"""A/B statistics: pure functions for effects, looks, several arms, sample ratios and planning."""
