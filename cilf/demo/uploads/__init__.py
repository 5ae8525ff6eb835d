"""What visitors and programs send: images, zip archives, addresses; each bounded in size and removed after use."""
