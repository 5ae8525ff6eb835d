"""Training: the loop, its losses and optimizer, and what a run records."""
