"""Profiles: what is known of each user, from the past only."""
