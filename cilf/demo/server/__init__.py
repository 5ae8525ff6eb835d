"""The web server behind the page: launch, settings, the loaded model, sessions."""
