"""What every data set gives: a list of labelled photos, and what must be known of the set before it is used."""

import csv
import logging
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger(__name__)

OLDEST = 130  # years; what a label file says beyond it is another thing, such as a year of birth

FACTS = Path(__file__).with_name("facts.toml")

Groups = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Sample:
    """One labelled photo.

    Attributes:
        path: the photo.
        name: file name, unique among all data sets; what split files list. Where a set's own names are plain numbers,
            the set's name and the folder stand before it.
        age: years; where the label is an age group, the middle of the group.
        gender: "male", "female" or None where the set does not say.
        race: the set's own word in lower case, or None.
        dataset: registry name of the set.
        subject: who is shown, unique within the set; None where the set does not say.
        group: number of the age group in the set's `Facts.groups` where the label is a group, else None.
        fold: the part or fold into which the set's makers put the photo (of CACD2000: the person's rank), or None.
        deviation: standard deviation in years of the votes whose mean `age` is, or None.
    """

    path: Path
    name: str
    age: float
    gender: str | None
    race: str | None
    dataset: str
    subject: str | None = None
    group: int | None = None
    fold: str | None = None
    deviation: float | None = None


@dataclass(frozen=True)
class Facts:
    """What somebody must know before using a set.

    Attributes:
        title: the set's name as its makers write it.
        paper: what to cite.
        licence: what it may be used for, in its makers' terms.
        source: where to get it or apply for it.
        labels: where the ages come from.
        subjects: what tells persons apart; None where nothing does.
        photos: how many the published set has; None where we could not confirm a number.
        groups: first and last age of each age group, ascending, where the labels are groups.
        whole: a root with fewer than `photos` is broken, and nothing in it tells which are missing: protocols of the
            set refuse it. False where the photos are asked for by name, and where parts of the set are in use by
            themselves.
    """

    title: str
    paper: str
    licence: str
    source: str
    labels: str
    subjects: str | None = None
    photos: int | None = None
    groups: Groups = ()
    whole: bool = False


@cache
def _all_facts() -> dict[str, dict[str, Any]]:
    return tomllib.loads(FACTS.read_text(encoding="utf-8"))


def facts_of(name: str, groups: Groups = ()) -> Facts:
    """The facts of a set by its registry name, from `facts.toml`."""
    return Facts(**_all_facts()[name], groups=groups)


class Dataset(Protocol):
    """A reader: root folder → samples in a fixed order. Raises DatasetError naming the first thing it misses."""

    @property
    def name(self) -> str: ...

    @property
    def facts(self) -> Facts: ...

    def read(self, root: Path) -> list[Sample]: ...


class DatasetError(Exception):
    """A data set's folder or split file is not as published; the message names what was looked for."""


def middle(group: tuple[int, int]) -> float:
    """The age that stands for an age group, in years."""
    return sum(group) / 2


def required(path: Path, facts: Facts) -> Path:
    """The path, when something is there. Raises DatasetError."""
    if not path.exists():
        raise DatasetError(
            f"{facts.title} is not there as published: looked for {path}. Where to get it: {facts.source}"
        )
    return path


def complete(samples: list[Sample], facts: Facts) -> list[Sample]:
    """The samples of a list of labels, when the photo of each is there. Raises DatasetError."""
    _check_missing([sample.path for sample in samples if not sample.path.is_file()], len(samples), facts)
    if not samples:
        raise DatasetError(
            f"The labels of {facts.title} list no photo with an age; looked for one in its files."
        )
    return samples


def predicted(samples: list[Sample], paths: list[Path], facts: Facts) -> list[Sample]:
    """The samples that file names gave, when all photos whose names are known beforehand are among them, in whatever
    folder and however their names are capitalised. Raises DatasetError."""
    present = {sample.path.stem.lower() for sample in samples}
    _check_missing([path for path in paths if path.stem.lower() not in present], len(paths), facts)
    return samples


def _check_missing(missing: list[Path], count: int, facts: Facts) -> None:
    """Raises DatasetError when any of the `count` photos of a set is missing."""
    if missing:
        raise DatasetError(
            f"{facts.title} is not wholly unpacked: {len(missing)} of {count} expected photos are missing; "
            f"the first one looked for is {missing[0]}."
        )


def some(samples: list[Sample], folder: Path, pattern: str, facts: Facts) -> list[Sample]:
    """The samples that file names gave, when there are any; a warning where there are fewer than published.

    Raises DatasetError.
    """
    if not samples:
        raise DatasetError(
            f"No {facts.title} photo in {folder}: looked for {pattern}. Where to get it: {facts.source}"
        )
    if facts.photos and len(samples) < facts.photos:
        log.warning(
            "%s: %d of the %d published photos in %s", facts.title, len(samples), facts.photos, folder
        )
    return samples


def read_table(
    path: Path, columns: Iterable[str], facts: Facts, delimiter: str = ","
) -> Iterator[dict[str, str]]:
    """Rows of a published label file. Raises DatasetError when it is missing or lacks a column."""
    with required(path, facts).open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, delimiter=delimiter)
        missing = [column for column in columns if column not in (rows.fieldnames or ())]
        if missing:
            raise DatasetError(f"{path} of {facts.title} lacks the column(s) {', '.join(missing)}.")
        yield from rows


def years(text: str | None, path: Path) -> float:
    """A number of years from a label file, at most `OLDEST`. Raises DatasetError."""
    try:
        age = float(text or "")
    except ValueError:
        age = math.nan
    if not 0 <= age <= OLDEST:
        raise DatasetError(f"{path} gives the age {text!r}, which is no number of years from 0 to {OLDEST}.")
    return age


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


def read_splits(paths: Iterable[Path]) -> dict[str, str]:
    """All split files as one: file name → split. Raises DatasetError when two disagree about a photo."""
    merged: dict[str, str] = {}
    for path in paths:
        for name, split in read_split(path).items():
            if merged.setdefault(name, split) != split:
                raise DatasetError(
                    f"{path} puts {name} into {split!r}, another split file into {merged[name]!r}."
                )
    return merged


def read_groups(paths: Iterable[Path]) -> dict[str, str]:
    """All split files' groups of near-duplicates: file name → group; without the photos that have none. Raises
    DatasetError where a group lies in two parts."""
    groups: dict[str, str] = {}
    for number, path in enumerate(paths):
        parts = read_split(path)
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if "group" in (rows.fieldnames or ()):
                of_file = {row["filename"]: row["group"] for row in rows if row["group"]}
                _check_whole(of_file, parts, path)
                groups |= {name: f"{number}/{group}" for name, group in of_file.items()}
    return groups


def _check_whole(groups: Mapping[str, str], parts: Mapping[str, str], path: Path) -> None:
    part_of: dict[str, str] = {}
    for name, group in groups.items():
        if part_of.setdefault(group, parts[name]) != parts[name]:
            raise DatasetError(
                f"{path} puts the group {group!r} into the parts {part_of[group]!r} and {parts[name]!r}; put all its "
                "photos into one."
            )


def select(samples: Sequence[Sample], splits: Mapping[str, str], part: str) -> list[Sample]:
    """The samples of one data set that `splits` (file name → part) puts into `part`. Raises DatasetError for none."""
    chosen = [sample for sample in samples if splits.get(sample.name) == part]
    if not chosen:
        names = " and ".join(sorted({sample.dataset for sample in samples})) or "the data set"
        raise DatasetError(f"No picture of {names} is in the part {part!r} of the split.")
    return chosen
