"""Click models that tell of no person: budgets, data and training with differential privacy."""
