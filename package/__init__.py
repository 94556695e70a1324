"""copygym: reinforcement learning for personalised marketing copy."""
