"""Parts for copygym that copygym knows nothing of."""
