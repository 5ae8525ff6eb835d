"""The frames of a video file, decoded by a process of their own (`cilf.video.decoder`)."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from cilf.child_process import ONE_THREAD, OUT_OF_REACH_OF_CTRL_C, environment, module_command
from cilf.errors import PhotoError, UsageError

VIDEO_SUFFIXES = frozenset(".mp4 .m4v .mov .webm .mkv".split())

# A short video: its frames take about as long as so many photos, and nobody waits for an hour of film on a page.
MAX_SECONDS = 300

# The slowest frame rate at which what the tracker promises is tested; more frames of the same second say little new.
SAMPLING = 6.0


class Frame(NamedTuple):
    """A decoded frame: its time in seconds since the first one, and its upright pixels, HxWx3 uint8 RGB."""

    at: float
    pixels: np.ndarray


def can_decode() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


def require_decoder(name: str) -> None:
    """Raise UsageError, which names the video, where PyAV is not installed."""
    if not can_decode():
        raise UsageError(
            f"'{name}' is a video, which needs PyAV; install it with `pip install -e '.[video]'`"
        )


class Video:
    """A video file, whose frames come one by one; a context manager that ends the process which decodes them.

    Args:
        file: opened, on the disk; the process reads it from its start. Stays the caller's.
        name: stands for it in the sentences of errors.
        rate: about so many frames a second; 0 takes every frame.
        seconds: how long it may be.

    Attributes:
        width, height: of the upright frames in pixels.
        rate: frames a second of the file.
        frames: how many frames come, about; None where the file does not say how long it is.

    Raises:
        UsageError: PyAV is not installed.
        PhotoError: the file is no video of a known kind, too long, too large or damaged; also while frames come.
    """

    def __init__(self, file: BinaryIO, name: str, rate: float = SAMPLING, seconds: int = MAX_SECONDS) -> None:
        require_decoder(name)
        self.name = name
        self._lock = threading.Lock()
        self._closed = False
        # Not `file.seek`, which knows nothing of where another process has left off.
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        self._process = subprocess.Popen(
            module_command("cilf.video.decoder", str(rate), str(seconds)),
            env=environment() | ONE_THREAD,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            **OUT_OF_REACH_OF_CTRL_C,
        )
        try:
            header = self._record()
            self.width, self.height = int(header["width"]), int(header["height"])
            self.rate, self.frames = Fraction(header["rate"]), header["frames"]
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.next_frame()) is not None:
            yield frame

    def next_frame(self) -> Frame | None:
        """The next frame; None at the end, or once the video is closed, be it by another thread.

        Raises:
            PhotoError: it cannot be decoded.
        """
        with self._lock:
            record = {} if self._closed else self._record()
            if not record:
                return None
            assert self._process.stdout is not None
            data = self._process.stdout.read(3 * self.width * self.height)
        if len(data) < 3 * self.width * self.height:
            if self._closed:
                return None
            raise self._died()
        return Frame(record["at"], np.frombuffer(data, np.uint8).reshape(self.height, self.width, 3))

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._process.kill()
        self._process.wait()
        with self._lock:
            if self._process.stdout is not None:
                self._process.stdout.close()

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _record(self) -> dict[str, Any]:
        """What the process says next; nothing at the end."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            if self._process.wait() and not self._closed:
                raise self._died()
            return {}
        record: dict[str, Any] = json.loads(line)
        if "problem" in record:
            raise PhotoError(f"'{self.name}' {record['problem']}")
        return record

    def _died(self) -> PhotoError:
        return PhotoError(
            f"'{self.name}' ended the process that decoded it, perhaps for want of memory or time; leave it out"
        )
