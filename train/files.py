"""Files that are there whole, or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, which takes its place when the block has ended without an error: what is
    stopped meanwhile is not taken for finished by a later call."""
    partial = path.with_name(path.name + ".partial")
    yield partial
    partial.replace(path)
