"""The errors a user can meet. `str(error)` is one sentence: what is wrong, with which file, and what to do."""

from pathlib import Path


class CilfError(Exception):
    """Base of every error that CILF raises on purpose; catch it to show the sentence and go on."""


class PhotoError(CilfError):
    """A photo cannot be read, is an array of the wrong kind, or is too small or too large; or a video is."""


class DetectorError(CilfError):
    """The face detector cannot start: its graph is missing or damaged, or a system library cannot be loaded."""


class WeightsError(CilfError):
    """A checkpoint is missing, incomplete, damaged, not ours, or cannot be fetched."""


class DamagedError(WeightsError):
    """The content of a checkpoint's file, `path`, is not what was written into it."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


class UsageError(CilfError):
    """An argument has a value that cannot be worked with."""
