"""The Hydra config tree: one group for each thing that can be swapped."""
