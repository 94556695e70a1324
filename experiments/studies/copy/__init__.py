"""Studies of copywriters."""
