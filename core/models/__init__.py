"""Folders of language models, and weights that are read whole or not at all."""
