"""Sweeps: jobs, how they are launched, search."""
