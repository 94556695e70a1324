"""How far simulated users are from real ones."""
