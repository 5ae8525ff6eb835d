"""The photos behind the files and folders that a user names."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

# Only these are read from a folder, so that notes and films among the photos give no rows; a file that is named itself
# is always tried, whatever its name.
PHOTO_SUFFIXES = frozenset(
    ".avif .bmp .gif .heic .heif .hif .jfif .jpe .jpeg .jpg .png .tif .tiff .webp".split()
)


def find_photos(paths: str | Path | Sequence[str | Path]) -> Iterator[tuple[str, Path]]:
    """List the photos behind files and folders.

    Folders are walked in the order of their entries' names. Hidden entries (name with a leading dot) and
    links to folders inside a folder are passed over: the first are thumbnails and bins of other programs, the
    second can form a ring. A folder that may not be listed stands for itself, so that it gives a row with its
    error and is not lost in silence.

    Args:
        paths: files, taken as they are, existing or not; and folders. A single one may stand without a list.

    Yields:
        (name, path): the name to show, which is the path as given or the given folder plus the relative path;
        and the path to open.
    """
    for path in [paths] if isinstance(paths, str | Path) else paths:
        name = os.fspath(path)
        if os.path.isdir(name):  # noqa: PTH112 - `Path` raises where a parent may not be searched
            yield from ((file, Path(file)) for file in _walk(name))
        else:
            yield name, Path(name)


def _walk(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        yield folder
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        # Not `entry.is_dir()`, which raises on a link that points at itself.
        is_folder = os.path.isdir(entry.path)  # noqa: PTH112
        if is_folder and not entry.is_symlink():
            yield from _walk(entry.path)
        elif not is_folder and Path(entry.name).suffix.lower() in PHOTO_SUFFIXES:
            yield entry.path
