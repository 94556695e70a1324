"""Simulated users: who they are, what comes of a send, and the kernel that steps them."""
