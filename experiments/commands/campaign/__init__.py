"""Commands of a campaign: its plan, what came of it, and how it does."""
