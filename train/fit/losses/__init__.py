"""What each model family learns from: its losses, a file a family."""
