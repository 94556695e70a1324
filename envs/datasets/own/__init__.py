"""Logs of your own: what a file means, kept under a name."""
