"""Commands that judge files by statistics alone: A/B tests and off-policy estimates."""
