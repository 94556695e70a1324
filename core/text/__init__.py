"""Texts: encoders to vectors and their cache, what can be seen of a text, what is safe to print."""
