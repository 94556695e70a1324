"""Storefront, the embedded synthetic world: people, products, and the truth of their response."""
