"""What a reader will click, from the titles that the reader read before."""
