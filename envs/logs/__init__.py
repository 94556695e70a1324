"""Click logs: their schema and checks, catalogue, splits, and logs of any size."""
