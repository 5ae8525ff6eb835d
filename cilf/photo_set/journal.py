"""The results of a set whose table is not complete yet, on the disk as they come, so that a run can go on after a stop.

A text file beside the table, `ages.csv` in `ages.partial.jsonl`: first what made the results, then a line for every
photo, a JSON list of its rows. A process that is killed leaves at worst its last line cut off.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cilf.errors import UsageError
from cilf.photo_set.results import Row


class Journal:
    """Keeps the rows of finished photos until the table is complete; a context manager that closes the file.

    Args:
        output: the table's path.
        made_by: what the results depend on beside the photos (weights, settings), as JSON can hold it.

    Raises:
        UsageError: the file cannot be written, or holds the results of an earlier run that were made otherwise.
    """

    def __init__(self, output: Path, made_by: Mapping[str, Any]) -> None:
        self.path = output.with_suffix(".partial.jsonl")
        self.photos = 0
        self._header = _line(made_by)
        try:
            self._file = self.path.open("a+b")
            self._file.seek(0)
            first = self._file.readline()
            if not first.endswith(b"\n"):  # empty, or cut off
                self._file.truncate(0)
                self._file.write(self._header)
        except OSError as error:
            raise UsageError(f"'{self.path}' cannot be written ({error}); check the disk") from error
        if first.endswith(b"\n") and first != self._header:
            self._file.close()
            raise UsageError(
                f"'{self.path}' holds the results of an earlier run with other weights or settings; run that one "
                "again, remove the file, or name another table"
            )

    def resume(self, names: Iterable[str]) -> int:
        """Keep what an earlier run left of the first of these photos, drop the rest, and give the number kept."""
        self._file.seek(len(self._header))
        end = self._file.tell()
        for name in names:
            line = self._file.readline()
            if not line.endswith(b"\n") or _name(line) != name:
                break
            end += len(line)
            self.photos += 1
        self._file.truncate(end)
        return self.photos

    def add(self, rows: Sequence[Row]) -> None:
        """Write down what a photo gave."""
        self._file.write(_line(rows))
        self._file.flush()
        self.photos += 1

    def rows(self) -> Iterator[Row]:
        """The rows of all photos so far, from the disk."""
        self._file.seek(len(self._header))
        while line := self._file.readline():
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


def _line(content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _name(line: bytes) -> str | None:
    """Of the photo whose rows the line holds; None where the disk has damaged it."""
    try:
        return str(json.loads(line)[0]["path"])
    except (ValueError, LookupError, TypeError):
        return None
