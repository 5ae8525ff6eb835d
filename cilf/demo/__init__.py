"""The page: a folder for each tab, and the charts, texts and style that tabs share. `app.py` puts it together."""
