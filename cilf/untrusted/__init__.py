"""Checkpoints that do not come with the package: what they may ask for, and a trial before they are used."""
