"""Rewards of copy: terms of a text and its task, and measures that stand beside them."""
