"""Readers of face data sets, one file each, and the registry of their names."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from train.data.datasets.adience import Adience
from train.data.datasets.agedb import AgeDB
from train.data.datasets.all_age_faces import AllAgeFaces
from train.data.datasets.appa_real import AppaReal
from train.data.datasets.base import (
    Dataset,
    DatasetError,
    Facts,
    Sample,
    read_groups,
    read_split,
    read_splits,
    select,
)
from train.data.datasets.cacd import CACD
from train.data.datasets.clap2016 import Clap2016
from train.data.datasets.faces import Faces
from train.data.datasets.fairface import FairFace
from train.data.datasets.fgnet import FGNet
from train.data.datasets.imdb_clean import ImdbClean
from train.data.datasets.morph import Morph
from train.data.datasets.own_photos import OwnPhotos
from train.data.datasets.scface import ScFace
from train.data.datasets.utkface import UTKFace

_READERS: tuple[Dataset, ...] = (
    Morph(),
    FGNet(),
    CACD(),
    Adience(),
    Faces(),
    ScFace(),
    UTKFace(),
    AllAgeFaces(),
    AgeDB(),
    AppaReal(apparent=False),
    AppaReal(apparent=True),
    Clap2016(),
    ImdbClean(),
    FairFace(),
    OwnPhotos(),
)
DATASETS: dict[str, Dataset] = {reader.name: reader for reader in _READERS}

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetError",
    "Facts",
    "Sample",
    "read_data",
    "read_groups",
    "read_samples",
    "read_split",
    "read_splits",
    "select",
    "table",
]


def read_data(entries: Iterable[str]) -> Iterator[tuple[str, list[Sample]]]:
    """`NAME=FOLDER` entries → name and samples of each data set. Raises DatasetError."""
    for entry in entries:
        name, _, folder = entry.partition("=")
        if name not in DATASETS:
            raise DatasetError(f"Unknown data set {name!r}; known: {', '.join(DATASETS)}.")
        yield name, DATASETS[name].read(Path(folder))


def read_samples(entry: str) -> list[Sample]:
    """Samples of one `NAME=FOLDER` entry. Raises DatasetError."""
    [(_, samples)] = read_data([entry])
    return samples


def table() -> str:
    """Every set in Markdown: its name, size, labels, persons, licence and where to get it."""
    lines = ["| name | photos | ages from | persons | licence | where |", "|---|---|---|---|---|---|"]
    for name, reader in DATASETS.items():
        facts = reader.facts
        photos = f"{facts.photos:,}" if facts.photos else "–"
        lines.append(
            f"| `{name}` | {photos} | {facts.labels} | {facts.subjects or 'not told apart'} | {facts.licence} "
            f"| {facts.source} |"
        )
    return "\n".join(lines)
