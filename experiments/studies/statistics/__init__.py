"""Studies of the statistics themselves."""
