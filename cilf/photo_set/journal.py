"""The results of a set whose table is not complete yet, on the disk as they come, so that a run can go on after a stop.

A text file beside the table, `ages.csv` in `ages.partial.jsonl`: first what made the results, then a line for every
photo, a JSON list of its rows. A process that is killed leaves at worst its last line cut off.
"""

import errno
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from cilf.errors import UsageError
from cilf.photo_set.results import Row

try:
    import fcntl
except ImportError:  # Windows, where nothing keeps two runs from writing one file
    fcntl = None  # type: ignore[assignment]


log = logging.getLogger(__name__)


class Journal:
    """Keeps the rows of finished photos until the table is complete; a context manager that closes the file.

    Args:
        output: the table's path.
        made_by: what the results depend on besides the photos (weights, settings), as JSON can hold it.

    Raises:
        UsageError: the file cannot be written, another run writes it, or it holds the results of an earlier run that
            were made otherwise.
    """

    def __init__(self, output: Path, made_by: Mapping[str, Any]) -> None:
        self._output = output
        self.path = output.with_suffix(".partial.jsonl")
        self.photos = 0
        self._header = _line(made_by)
        with self._in_a_sentence():
            self._file = self.path.open("ab", buffering=0)
            self._keep_others_out()
            earlier = next(self._lines(), None)
            if earlier is None:
                self._file.truncate(0)
                self._write(self._header)
        if earlier not in (None, self._header):
            self._file.close()
            raise UsageError(
                f"'{self.path}' holds the results of an earlier run with other weights or settings; run that one "
                "again, remove the file, or name another table"
            )

    def resume(self, names: Iterable[str]) -> int:
        """Keep what an earlier run left of the first of these photos, drop the rest, and give the number kept."""
        kept = len(self._header)
        for name, line in zip(names, islice(self._lines(), 1, None), strict=False):
            if _name(line) != name:
                break
            kept += len(line)
            self.photos += 1
        self._file.truncate(kept)
        return self.photos

    def add(self, rows: Sequence[Row]) -> None:
        """Write down what a photo gave. Raises UsageError where the disk is full."""
        with self._in_a_sentence():
            self._write(_line(rows))
        self.photos += 1

    def rows(self) -> Iterator[Row]:
        """The rows of all photos so far, from the disk."""
        for line in islice(self._lines(), 1, None):
            yield from json.loads(line)

    def remove(self) -> None:
        """Remove the file: the table is complete."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.photos:
            self._file.close()
        else:
            self.remove()

    def _keep_others_out(self) -> None:
        """Lock the file until it is closed, however the run ends."""
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise UsageError(
                f"another run is writing '{self.path}'; wait until it has ended, or name another table"
            ) from error
        except OSError as error:  # a file system without locks
            log.info("'%s' cannot be locked (%s)", self.path, error)

    def _lines(self) -> Iterator[bytes]:
        """Every whole line."""
        with self.path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))

    def _write(self, line: bytes) -> None:
        if self._file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextmanager
    def _in_a_sentence(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"the table '{self._output}' cannot be written ({error}); check the disk"
            ) from error


def _line(content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _name(line: bytes) -> str | None:
    """Of the photo whose rows the line holds; None where the disk has damaged it."""
    try:
        return str(json.loads(line)[0]["path"])
    except (ValueError, LookupError, TypeError):
        return None
