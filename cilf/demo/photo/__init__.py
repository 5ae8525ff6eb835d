"""The Photo tab: one photo in, every age out, and how the chosen one came about."""
