"""What all training of a copywriter shares: the interface, the budget, the run, its checkpoints."""
