"""Photos and films for tests, made by rule."""
