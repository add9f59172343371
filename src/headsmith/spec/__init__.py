"""What the wings agree on, in NumPy and the standard library alone."""
