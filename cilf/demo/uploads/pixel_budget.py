"""A bound on the pixels of all photos that are decoded or predicted at once, wherever they come from."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cilf.demo.limits import MAX_PIXELS

# Memory of photos from so many pixels on is given back to the system at once.
LARGE = 10_000_000


class PixelBudget:
    """Photos wait, in threads of their own, until their pixels have room among those in work.

    Args:
        size: pixels. A photo of more has all of it.
    """

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self._line = threading.Lock()  # so that small photos do not pass a large one by for ever
        self._freed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait for so many pixels, and hold them until the block ends."""
        pixels = min(pixels, self._size)
        with self._line, self._freed:
            self._freed.wait_for(lambda: self._left >= pixels)
            self._left -= pixels
        try:
            yield
        finally:
            with self._freed:
                self._left += pixels
                self._freed.notify_all()
            if pixels >= LARGE:
                give_memory_back()


# The numbers by which glibc's mallopt knows its settings (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8

IN_WORK = PixelBudget(MAX_PIXELS)


def keep_little_memory() -> None:
    """Have the C library share its memory among threads, and map large blocks, which it then returns at once.

    By itself it keeps a stock for nearly every thread, of pieces that other threads cannot use (mallopt(3)): what
    `python -m tests.hostile.load` found left after a crowd. To be called before threads start.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another system
        return
    mallopt(M_ARENA_MAX, 2)
    mallopt(M_MMAP_THRESHOLD, 4 << 20)
    mallopt(
        M_TRIM_THRESHOLD, 32 << 20
    )  # else it stays at 128 KB, and every photo's small arrays are given back


def give_memory_back() -> None:
    """Have the C library return the memory that it keeps for later to the system; glibc alone can.

    What Pillow allocates for a picture, in blocks of 16 MB, glibc keeps once it has seen blocks of this size come back
    (mallopt(3), M_MMAP_THRESHOLD).
    """
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another system
        pass
