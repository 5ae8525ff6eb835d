"""Short videos: people tracked from frame to frame, and their ages (extra `video`)."""
