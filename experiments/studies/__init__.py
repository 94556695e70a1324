"""The experiments, a room for each kind, and what they share."""
