"""What is in the reader: how much it matters who reads, and what was read before."""
