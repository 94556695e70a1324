"""Rules of the real world: consent, caps, quiet hours, holdouts, blocklists, budgets, exposure."""
