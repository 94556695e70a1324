"""A run's folder: stages, state, manifest, trust and replacement."""
