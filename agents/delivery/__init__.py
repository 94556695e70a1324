"""Delivery agents: what to send to whom, where and when, or to hold."""
