"""Small files beside a checkpoint's weights, such as its model card, which may come from anybody."""

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)


def read(path: Path, most: int) -> bytes | None:
    """The content of a file in a checkpoint's folder; None where it is not there, or is left out with a warning.

    Args:
        path: the file. A link is followed only where it stays in the folder, or leads from a snapshot of the Hub's
            cache to the contents that lie there (`snapshots/COMMIT` and `blobs`).
        most: so many bytes it may hold.
    """
    if not path.is_symlink() and not path.exists():
        return None
    # Not `Path.resolve`, which raises at a link that leads to itself.
    folder, file = (Path(os.path.realpath(each)) for each in (path.parent, path))
    blobs = folder.parent.parent / "blobs"
    if not (file.parent == folder or (folder.parent.name == "snapshots" and file.parent == blobs)):
        log.warning("'%s' is a link that leads elsewhere; it is left out", path)
        return None
    if not file.is_file() or file.stat().st_size > most:
        log.warning("'%s' is no file of at most %s bytes; it is left out", path, f"{most:,}")
        return None
    return file.read_bytes()
