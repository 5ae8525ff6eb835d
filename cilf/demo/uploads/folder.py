"""The folder that Gradio keeps uploads in: one of our own, swept of what a broken connection leaves.

Gradio's usual one is shared with every other program that uses it. Gradio knows an upload once it is whole; what came
of one whose visitor went away in the middle of it stays until somebody else removes it.
"""

import atexit
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

# What a file takes besides its content, roughly: its folder, its place in lists.
FILE_COST = 1 << 16


@cache
def ours() -> str:
    """The folder: a new one for this run of the program, at whose end it is removed."""
    folder = tempfile.mkdtemp(prefix="cilf-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def keep_swept(every: float, age: float, *memories: Callable[[], None]) -> None:
    """Sweep the folder every so many seconds for as long as the program runs, and have each of `memories` forget what
    is old in it; returns at once."""

    def sweeping() -> None:
        while True:
            time.sleep(every)
            sweep(Path(ours()), age)
            for forget_old in memories:
                forget_old()

    threading.Thread(target=sweeping, name="sweep-uploads", daemon=True).start()


def sweep(folder: Path, age: float) -> None:
    """Remove the files that nobody has written to for `age` seconds, and the folders that are empty for so long."""
    limit = time.time() - age
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
    """Remove the files that nobody has written to for longest, until the others take at most `quota` bytes.

    A file counts `FILE_COST` bytes besides its own.
    """
    files = []
    for path in folder.rglob("*"):
        try:
            status = path.lstat()
        except OSError:
            continue  # read and removed meanwhile
        if not stat.S_ISDIR(status.st_mode):
            files.append((status.st_mtime, status.st_size + FILE_COST, path))
    taken = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if taken <= quota:
            return
        path.unlink(missing_ok=True)
        taken -= size
