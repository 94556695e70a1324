"""``copygym evaluate``: saved agents played again, aggregates over many runs."""
