"""Studies of delivery policies."""
