"""The folder that Gradio keeps uploads in: one of our own, swept of what a broken connection leaves.

Gradio's usual one is shared with every other program that uses it. Gradio knows an upload once it is whole; what came
of one whose visitor went away in the middle of it stays until somebody else removes it.
"""

import atexit
import errno
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where nothing is removed for others
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

# What a file takes besides its content, roughly: its folder, its place in lists.
FILE_COST = 1 << 16


def is_full(error: BaseException) -> bool:
    """Whether a file could not be written since the disk, or the share of it that one may have, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


# Seconds by which the clock differs from a steady one when it was set, rather than slowly corrected.
_CLOCK_SET = 5.0

_PREFIX = "cilf-uploads-"


@cache
def ours() -> str:
    """The folder: a new one for this run of the program, at whose end it is removed; so are those that programs left
    which were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        handle = _lock(left)
        if handle is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(handle)
    # Locked before it has the name by which another start would remove it.
    made = Path(tempfile.mkdtemp(prefix="cilf-new-"))
    _lock(made)
    folder = str(made.rename(made.with_name(made.name.replace("cilf-new-", _PREFIX))))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _lock(folder: Path) -> int | None:
    """Lock a folder of this user's until the handle is closed or the program ends, however it does.

    A lock rather than a process number: numbers are given again, and mean nothing to a container next door.

    Returns:
        The handle; None where another program holds the lock, or no locks are to be had.
    """
    if fcntl is None:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(handle).st_uid != os.getuid():
            raise PermissionError
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def keep_swept(every: float, age: float, *memories: Callable[[], object]) -> None:
    """Sweep the folder every so many seconds for as long as the program runs, and have each of `memories` forget what
    is old in it; returns at once."""

    sweeper = Sweeper(Path(ours()), age)

    def sweeping() -> None:
        while True:
            time.sleep(every)
            for work in (sweeper.sweep, *memories):
                try:
                    work()
                except Exception:  # the others, and the next time, go on
                    log.exception("something old could not be forgotten")

    threading.Thread(target=sweeping, name="sweep-uploads", daemon=True).start()


class Sweeper:
    """Sweeps a folder again and again, whatever becomes of the computer's clock.

    Args:
        folder, age: see `sweep`.
        clock: the time that files are marked with, in seconds.
        steady: a time that nobody sets, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        age: float,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._age = folder, age
        self._clock, self._steady = clock, steady
        self._offset = clock() - steady()

    def sweep(self) -> None:
        """Sweep; where the clock was set since the last time, every file counts as new."""
        now = self._clock()
        offset = now - self._steady()
        if abs(offset - self._offset) > _CLOCK_SET:
            self._offset = offset
            for parent, folders, files in os.walk(self._folder):
                for name in folders + files:
                    with suppress(OSError, NotImplementedError):  # removed meanwhile; a link, on Windows
                        os.utime(Path(parent, name), (now, now), follow_symlinks=False)
        sweep(self._folder, self._age, now)


def sweep(folder: Path, age: float, now: float | None = None) -> None:
    """Remove the files that nobody has written to for `age` seconds, and the folders that are empty for so long."""
    limit = (time.time() if now is None else now) - age
    for parent, folders, files in os.walk(folder, topdown=False):
        for path in (Path(parent, name) for name in files + folders):
            try:
                if path.lstat().st_mtime >= limit:
                    continue
                if path.is_dir():
                    path.rmdir()
                else:
                    path.unlink()
            except OSError:
                continue  # read and removed meanwhile, or a folder with something in it


def make_room(folder: Path, quota: int) -> None:
    """Remove the files that nobody has written to for longest, each with the folder that is empty then, until the
    others take at most `quota` bytes.

    A file counts `FILE_COST` bytes besides its own.
    """
    files = []
    for parent, _, names in os.walk(folder):  # which passes by what is read and removed meanwhile
        for path in (Path(parent, name) for name in names):
            with suppress(OSError):
                status = path.lstat()
                files.append((status.st_mtime, status.st_size + FILE_COST, path))
    taken = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if taken <= quota:
            return
        with suppress(OSError):
            path.unlink()
            if path.parent != folder:
                path.parent.rmdir()
        taken -= size
