"""From a run to a campaign and back: the plan that is sent, and what came of it."""
