"""The crop cache as it is read: labelled, aligned crops in one memory-mapped array (`train.data.prepare_crops` writes
it).

Apart from `train.data.prepare_crops`, so that a process that only loads batches need not import the face detector.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int8

from train.data.datasets import DatasetError, Sample
from train.data.face_mesh import mesh_attributes

CHUNK = 1024  # crops hashed at a time


@dataclass(frozen=True)
class CropCache:
    """Samples and their crops.

    Attributes:
        samples: in the order of the crops.
        crops: (N, S + 2M, S + 2M, 3) uint8 RGB, memory-mapped.
        margin: M, pixels of context on each side.
        detected: (N,) bool; False where no face was found and the whole picture stands in.
        sha256: of the crops' bytes, as `train.data.prepare_crops.prepare` counted it while writing; "" where it did
        not.
        mesh: attributes that the face mesh measured (`train.data.face_mesh`); None where nothing was measured.
    """

    samples: list[Sample]
    crops: np.ndarray
    margin: int
    detected: np.ndarray
    sha256: str = ""
    mesh: Int8[np.ndarray, "photo mesh_attribute"] | None = None

    @property
    def size(self) -> int:
        """S, the side of what the model sees, in pixels."""
        return self.crops.shape[1] - 2 * self.margin

    def __reduce__(self) -> tuple[Callable[..., "CropCache"], tuple[Any, ...]]:
        """Sent to another process, a memory-mapped cache is opened there again instead of being copied."""
        file = getattr(self.crops, "filename", None)  # of an array that is memory-mapped
        crops = Path(file) if file else self.crops
        return _received, (self.samples, crops, self.margin, self.detected, self.sha256, self.mesh)


def _received(samples: list[Sample], crops: Path | np.ndarray, *rest: Any) -> CropCache:
    return CropCache(samples, _open(crops, len(samples)) if isinstance(crops, Path) else crops, *rest)


def load(folder: Path) -> CropCache:
    """Open a cache that `train.data.prepare_crops.prepare` made. Raises FileNotFoundError where there is none."""
    stored = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    samples = [Sample(**(row | {"path": Path(row["path"])})) for row in stored["samples"]]
    crops = _open(folder / "crops.npy", len(samples))
    detected = np.array(stored["detected"], dtype=bool)
    mesh = mesh_attributes(stored["mesh"]) if "mesh" in stored else None
    return CropCache(samples, crops, stored["wanted"]["margin"], detected, stored.get("sha256", ""), mesh)


def _open(path: Path, count: int) -> np.ndarray:
    crops: np.ndarray = np.load(path, mmap_mode="r")
    return crops[:count]


@dataclass(frozen=True)
class Subset:
    """Some rows of a crop cache; `share` of them are drawn each epoch."""

    cache: CropCache
    rows: np.ndarray
    share: float = 1.0

    @property
    def samples(self) -> list[Sample]:
        """The rows' labelled photos."""
        return [self.cache.samples[row] for row in self.rows]

    def fingerprint(self) -> str:
        """SHA-256 of the rows, their labels and all of the cache's crops: another one means other data."""
        digest = hashlib.sha256((self.cache.sha256 or crops_sha256(self.cache.crops)).encode())
        if self.cache.mesh is None:  # else it follows from the crops
            digest.update(b"captions name no expression or pose")
        for row in self.rows:
            digest.update(json.dumps(labels(self.cache.samples[row])).encode())
        return digest.hexdigest()


def subset(
    folder: Path, splits: Mapping[str, str], split: str, share: float = 1.0, *, size: int = 0
) -> Subset:
    """The rows of the crop cache in `folder` that `splits` (file name → split) puts into `split`.

    Raises DatasetError where there are none, or where the crops show less than the `size` pixels a side that a model
    is to see: enlarged, they would teach it blur.
    """
    cache = load(folder)
    if cache.size < size:
        raise DatasetError(
            f"The crops in {folder} are of {cache.size} px, the recipe wants {size}; cut them out again with "
            f"`prepare --size {size} --margin {size // 8}`."
        )
    rows = [row for row, sample in enumerate(cache.samples) if splits.get(sample.name) == split]
    if not rows:
        raise DatasetError(
            f"The crop cache {folder} holds no photo of the part {split!r}; give the --split file of this data set too."
        )
    return Subset(cache, np.array(rows, dtype=int), share)


def with_mean_ages(part: Subset, groups: Mapping[str, str]) -> Subset:
    """The subset with the mean age of each group of near-duplicates (file name → group) for its members' age.

    Of UTKFace's near-duplicates two thirds carry different ages, four years apart on average: their mean is nearer the
    truth than either. A group that is a person, as `python -m train split` writes them, keeps its ages: they are those
    of different years. For training alone; a photo that is measured keeps its label.
    """
    members: dict[str, list[int]] = {}
    for row in part.rows:
        group = groups.get(part.cache.samples[row].name)
        if group:
            members.setdefault(group, []).append(int(row))
    samples = list(part.cache.samples)
    for rows in members.values():
        subjects = {samples[row].subject for row in rows}
        if len(subjects) == 1 and None not in subjects:
            continue
        mean = sum(samples[row].age for row in rows) / len(rows)
        for row in rows:
            samples[row] = replace(samples[row], age=mean)
    return replace(part, cache=replace(part.cache, samples=samples))


def labels(sample: Sample) -> dict[str, Any]:
    """What a sample says apart from where its file lies, as JSON values."""
    return {name: value for name, value in asdict(sample).items() if name != "path"}


def crops_sha256(crops: np.ndarray) -> str:
    """SHA-256 of an array's bytes, read piece by piece."""
    digest = hashlib.sha256()
    for first in range(0, len(crops), CHUNK):
        digest.update(crops[first : first + CHUNK].tobytes())
    return digest.hexdigest()
