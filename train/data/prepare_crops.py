"""Every face of a data set found and aligned once, and kept as one array on disk: the crop cache
(`train.data.crop_cache`).

A crop carries a margin of real picture round what the model sees, so that augmentation can turn, shift and scale it
without inventing pixels. The crops are for training and calibration alone; `evaluate` reads the photos themselves.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from cilf.errors import PhotoError
from cilf.face.finder import Face, FaceFinder, align, whole_picture
from cilf.face.images import open_photo
from train.data.crop_cache import CropCache, load
from train.data.datasets import Sample
from train.data.face_mesh import FaceMesh, FaceMeshError
from train.data.shards import write_shards

log = logging.getLogger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")

CUT = 3  # counts the ways in which faces were detected and cut out: raise it when the code makes other crops
PIECE = 2048  # crops that a process measures with one mesh


def prepare(samples: list[Sample], folder: Path, size: int, margin: int, processes: int) -> CropCache:
    """Align every sample into `folder`; a sample whose picture cannot be read is left out with a warning.

    A cache that already holds the same photos, unchanged since, at the same size and cut out in the same way, is used;
    labels that have changed are put right.
    """
    names = [sample.name for sample in samples]
    request = {"size": size, "margin": margin, "cut": CUT, "names": names, "files": file_states(samples)}
    index = folder / "index.json"
    if index.is_file() and json.loads(index.read_text(encoding="utf-8"))["wanted"] == request:
        _relabel(index, samples)
        _measure_missing(folder, processes)
        return load(folder)
    folder.mkdir(parents=True, exist_ok=True)
    index.unlink(missing_ok=True)
    side = size + 2 * margin
    crops = np.lib.format.open_memmap(
        folder / "crops.npy", mode="w+", dtype=np.uint8, shape=(len(samples), side, side, 3)
    )
    kept: list[Sample] = []
    detected: list[bool] = []
    digest = hashlib.sha256()
    for sample, crop, face_found in aligned(samples, size, margin, processes, folder.name):
        crops[len(kept)] = crop
        digest.update(crop.tobytes())
        kept.append(sample)
        detected.append(face_found)
    crops.flush()
    rows = [asdict(sample) | {"path": str(sample.path)} for sample in kept]
    stored = {"wanted": request, "detected": detected, "samples": rows, "sha256": digest.hexdigest()}
    index.write_text(json.dumps(stored), encoding="utf-8")
    _measure_missing(folder, processes)
    return load(folder)


def file_states(samples: Sequence[Sample]) -> str:
    """A digest of the sizes and times of change of the samples' files, which are others where their pictures are."""
    states = [(state.st_size, state.st_mtime_ns) for state in (sample.path.stat() for sample in samples)]
    return hashlib.sha256(repr(states).encode()).hexdigest()


def prepare_shards(
    samples: list[Sample],
    folder: Path,
    size: int,
    margin: int,
    processes: int,
    splits: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Align every sample into shards (`train.data.shards`), in random order; gives the number in each part of the
    split."""
    order = np.random.default_rng(0).permutation(len(samples))
    crops = aligned([samples[index] for index in order], size, margin, processes, folder.name)
    return write_shards(((sample, crop) for sample, crop, _ in crops), folder, margin, splits)


def aligned(
    samples: list[Sample], size: int, margin: int, processes: int, label: str
) -> Iterator[tuple[Sample, np.ndarray, bool]]:
    """Each sample with its crop, in order, and whether a face was found; `label` stands before the progress bar.

    Leaves out, with a warning, a sample whose picture cannot be read.
    """
    jobs = [(sample, size, margin) for sample in samples]
    crops = tqdm(spread(_crop, jobs, processes, chunk=64), total=len(jobs), desc=label)
    for sample, result in zip(samples, crops, strict=True):
        if isinstance(result, str):
            log.warning("left out: %s", result)
            continue
        yield sample, *result


def spread(
    work: Callable[[Job], Result], jobs: Sequence[Job], processes: int, chunk: int = 1
) -> Iterator[Result]:
    """The results of the jobs in their order, by so many processes, which get `chunk` jobs at once; one is this process
    itself."""
    if processes == 1:
        yield from map(work, jobs)
        return
    # Spawned, because a fork of a process in which MediaPipe's threads run may hang or crash.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(work, jobs, chunksize=chunk)


def main_face(photo: np.ndarray, finder: FaceFinder) -> Face:
    """The largest face, or the whole picture where there is none: what a label of a single-face photo speaks of.

    Small faces are sought where there is no large one: where there is one, they cannot be the largest.
    """
    faces = finder.find(photo, tiles=False) or finder.find(photo)
    return max(faces, key=_area) if faces else whole_picture(photo)


def _area(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return (x1 - x0) * (y1 - y0)


@cache
def finder() -> FaceFinder:
    """This process' own: a detector cannot be sent to another."""
    return FaceFinder()


def _crop(job: tuple[Sample, int, int]) -> tuple[np.ndarray, bool] | str:
    sample, size, margin = job
    try:
        photo = open_photo(sample.path)
        face = main_face(photo, finder())
    except PhotoError as error:
        return str(error)
    return align(photo, face, size, margin), face.keypoints is not None


def _relabel(index: Path, samples: list[Sample]) -> None:
    """Write the samples' present labels into an index that holds the same photos."""
    stored = json.loads(index.read_text(encoding="utf-8"))
    present = {sample.name: asdict(sample) | {"path": str(sample.path)} for sample in samples}
    rows = [present[row["name"]] for row in stored["samples"]]
    if rows != stored["samples"]:
        index.write_text(json.dumps(stored | {"samples": rows}), encoding="utf-8")


def _measure_missing(folder: Path, processes: int) -> None:
    """Put the face mesh's measures of every crop into an index that has none; say so where there is no mesh."""
    index = folder / "index.json"
    stored = json.loads(index.read_text(encoding="utf-8"))
    if "mesh" in stored:
        return
    try:
        stored["mesh"] = measured(
            folder / "crops.npy", len(stored["samples"]), stored["wanted"]["margin"], processes
        )
    except FaceMeshError as error:
        log.warning("captions will not speak of expression: %s", error)
        return
    index.write_text(json.dumps(stored), encoding="utf-8")


def measured(crops: Path, count: int, margin: int, processes: int) -> list[list[float] | None]:
    """`FaceMesh.measure` of the first `count` crops of a file. Raises FaceMeshError."""
    FaceMesh()  # fails here rather than in another process
    pieces = [(crops, first, min(first + PIECE, count), margin) for first in range(0, count, PIECE)]
    measures = spread(_measure, pieces, processes)
    progress = tqdm(measures, total=len(pieces), desc=f"{crops.parent.name}: expression")
    return [row for rows in progress for row in rows]


def _measure(piece: tuple[Path, int, int, int]) -> list[list[float] | None]:
    crops, first, last, margin = piece
    mesh = FaceMesh()
    return [mesh.measure(crop, margin) for crop in np.load(crops, mmap_mode="r")[first:last]]
