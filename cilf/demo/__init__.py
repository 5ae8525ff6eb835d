"""The page: one file a tab, and the drawings, charts and texts that they share. `app.py` puts it together."""
