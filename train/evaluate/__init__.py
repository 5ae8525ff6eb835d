"""Measuring checkpoints on labelled photos, and comparing them with other systems."""
