"""Augmentation of a batch of crops on the training device, with its noise and JPEG compression."""
