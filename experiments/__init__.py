"""Experiments: run, evaluate, track and report; the command line."""
