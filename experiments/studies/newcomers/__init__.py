"""New users, rare products, changing tastes."""
