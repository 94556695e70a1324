"""Supervised fine-tuning of a copywriter on a log's better copy."""
