"""Studies on real headline tests."""
