"""What every data set gives: a list of labelled photos."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Sample:
    """One labelled photo.

    Attributes:
        path: the photo.
        name: file name, unique within its data set; what split files list.
        age: years.
        gender: "male", "female" or None where the set does not say.
        race: the set's own word in lower case, or None.
        dataset: registry name of the set.
    """

    path: Path
    name: str
    age: float
    gender: str | None
    race: str | None
    dataset: str


class Dataset(Protocol):
    """A reader: root folder → samples in a fixed order. Raises DatasetError naming the first thing it misses."""

    name: str

    def read(self, root: Path) -> list[Sample]: ...


class DatasetError(Exception):
    """A data set's folder or split file is not as published; the message names what was looked for."""


def read_split(path: Path) -> dict[str, str]:
    """`filename,split,group` → file name → split. Raises DatasetError when the file is missing or has other columns."""
    if not path.is_file():
        raise DatasetError(f"The split file {path} does not exist.")
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        missing = {"filename", "split"} - set(rows.fieldnames or ())
        if missing:
            raise DatasetError(f"The split file {path} lacks the column(s) {', '.join(sorted(missing))}.")
        return {row["filename"]: row["split"] for row in rows}


def select(samples: Iterable[Sample], splits: dict[str, str], wanted: str) -> list[Sample]:
    """The samples whose name stands in `splits` under the split `wanted`."""
    return [sample for sample in samples if splits.get(sample.name) == wanted]
