"""Random changes to training photos: geometry, colour, compression and noise."""
