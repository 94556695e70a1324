"""Commands that make copygym ready: what a machine has, what a shell completes."""
