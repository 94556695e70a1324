"""Off-policy evaluation of policies that act again and again on the same user."""
