"""Studies of copy and delivery together."""
