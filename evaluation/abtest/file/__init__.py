"""The file of an A/B test: its columns, arms, looks and users, and what there is to say of it."""
