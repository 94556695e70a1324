"""Headline tests as bandits, thousands of tests replayed at once."""
