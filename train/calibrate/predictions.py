"""A network's outputs for every view of some photos, computed once: calibration and all controls are read from them.

Every photo is opened, its largest face found and each view cut out as the estimator does it.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from tqdm import tqdm

from cilf.checkpoint import Checkpoint
from cilf.errors import PhotoError
from cilf.face.images import open_photo
from cilf.face.pyramid import Pyramid
from cilf.face.views import FIRST, View, crop_views
from cilf.inference.evidence import Evidence, evidence
from cilf.inference.outputs import CropOutputs, Network
from cilf.inference.predictive import PredictiveConfig
from cilf.model.base import AgeModel
from train.data.datasets import DatasetError, Sample
from train.data.prepare_crops import CUT, finder, main_face, spread
from train.files import written_whole
from train.fit.provenance import weights_sha256

log = logging.getLogger(__name__)

# The views that `calibrate` chooses from, beside the first crop. Those that differ in several ways at once err more
# independently of it: one such view gains what four plain ones do (train/LOG.md).
MIRRORED = View("mirrored", flip=True)
PROPOSED = (
    MIRRORED,
    View("wider", zoom=1.25),
    View("coarser", reduction=2),
    View("wider, mirrored", zoom=1.25, flip=True),
    View("mirrored, aligned by the eyes", zoom=1.12, flip=True, eyes_only=True),
    View("wider, turned, mirrored", zoom=1.12, turn=5.0, flip=True),
    View("coarser, mirrored", zoom=1.12, reduction=2, flip=True),
    View("turned, mirrored", turn=-8.0, flip=True),
    View("closer, mirrored", zoom=0.8, flip=True),
)
PHOTOS = 16  # whose views are computed together


@dataclass(frozen=True)
class ViewOutputs:
    """Of N photos and V views each, the first crop before the others.

    Attributes:
        names: N file names.
        truth: (N,) true ages in years.
        detected: (N,) False where no face was found and the whole picture stands in.
        embedding: (N, V, D).
        logits: (N, V, K).
        age, spread: (N, V) as the head says them, in years.
        parts: (N, V, P, K) logits of the network's parts; a network without parts repeats its own.
        views: what the further views are.
    """

    names: tuple[str, ...]
    truth: Float[np.ndarray, " photo"]
    detected: Bool[np.ndarray, " photo"]
    embedding: Float[np.ndarray, "photo view embed"]
    logits: Float[np.ndarray, "photo view age"]
    age: Float[np.ndarray, "photo view"]
    spread: Float[np.ndarray, "photo view"]
    parts: Float[np.ndarray, "photo view part age"]
    views: tuple[View, ...]

    def at(self, index: Int[np.ndarray, " row"]) -> "ViewOutputs":
        """The photos at these positions."""
        arrays: dict[str, Any] = {name: getattr(self, name)[index] for name in _arrays()}
        return replace(self, names=tuple(self.names[row] for row in index.tolist()), **arrays)

    def with_views(self, chosen: Sequence[View]) -> "ViewOutputs":
        """The first crop and these further views, in their order."""
        columns = [0, *(1 + self.views.index(view) for view in chosen)]
        arrays: dict[str, Any] = {
            name: getattr(self, name)[:, columns] for name in _arrays() - {"truth", "detected"}
        }
        return replace(self, views=tuple(chosen), **arrays)

    def evidence(self, number: int, predictive: PredictiveConfig) -> Evidence:
        """What view `number` of every photo shows; 0 = the first crop."""
        names = ("embedding", "logits", "age", "spread", "parts")
        of_view = {name: getattr(self, name)[:, number] for name in names}
        return evidence(CropOutputs(**of_view, relevance=np.zeros((len(self.names), 0, 0))), predictive)

    def states(self, predictive: PredictiveConfig) -> list[Evidence]:
        """The evidence after 1, 2, … V views."""
        states = [self.evidence(0, predictive)]
        for number in range(1, 1 + len(self.views)):
            states.append(states[-1].joined(self.evidence(number, predictive), predictive))
        return states


def _arrays() -> set[str]:
    return {each.name for each in fields(ViewOutputs)} - {"names", "views"}


def join(parts: Sequence[ViewOutputs]) -> ViewOutputs:
    """The photos of several, one after another."""
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in _arrays()
    }
    return replace(parts[0], names=tuple(name for part in parts for name in part.names), **arrays)


def view_outputs(
    model: AgeModel,
    compute: Network,
    samples: Sequence[Sample],
    views: Sequence[View],
    folder: Path,
    *,
    mirror: bool = False,
    processes: int = 1,
) -> ViewOutputs:
    """Compute the outputs, or read them from `folder` where an earlier call with the same network, photos and views
    stored them.

    Args:
        model: the network itself, for its size and its fingerprint.
        compute: computes it (`cilf.checkpoint.Checkpoint.network`, or the model's own `describe`).
        samples: labelled photos; those that cannot be read are left out with a warning.
        views: the further views.
        folder: where they are stored.
        mirror: whether `compute` averages each crop with its mirror image: it gives other outputs then.
        processes: that find faces and cut out crops.

    Raises:
        DatasetError: no photo can be read.
    """
    key = hashlib.sha256(weights_sha256(model.state_dict()).encode())
    of_photos = [(sample.name, sample.age) for sample in samples]
    key.update(repr([CUT, model.image_size, mirror, tuple(views), of_photos]).encode())
    stored = folder / f"{key.hexdigest()[:16]}.npz"
    if stored.is_file():
        with np.load(stored) as values:
            arrays: dict[str, Any] = {name: values[name] for name in _arrays()}
            return ViewOutputs(names=tuple(values["names"].tolist()), views=tuple(views), **arrays)
    outputs = _computed(model, compute, samples, tuple(views), processes)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(stored) as path, path.open("wb") as file:
        np.savez(file, names=np.array(outputs.names), **{name: getattr(outputs, name) for name in _arrays()})
    return outputs


def outputs_of_checkpoint(
    checkpoint: Checkpoint, samples: Sequence[Sample], folder: Path, *, processes: int = 1
) -> ViewOutputs:
    """What a checkpoint's network says of all its views of some photos, computed as the estimator computes it."""
    config = checkpoint.config
    how: dict[str, Any] = {"mirror": config.mirror, "processes": processes}
    return view_outputs(checkpoint.model, checkpoint.network(), samples, config.views, folder, **how)


def _computed(
    model: AgeModel, compute: Network, samples: Sequence[Sample], views: tuple[View, ...], processes: int
) -> ViewOutputs:
    names: list[str] = []
    columns: dict[str, list[np.ndarray]] = {name: [] for name in _arrays()}
    for group in _batches(_cut_out(samples, (FIRST, *views), model.image_size, processes)):
        outputs = compute(np.concatenate([crop for _, crop, _ in group]))
        for name in ("embedding", "logits", "age", "spread", "parts"):
            value = getattr(outputs, name)
            columns[name].append(value.reshape(len(group), len(views) + 1, *value.shape[1:]))
        names += [sample.name for sample, _, _ in group]
        columns["truth"].append(np.array([sample.age for sample, _, _ in group], np.float32))
        columns["detected"].append(np.array([detected for _, _, detected in group]))
    if not names:
        raise DatasetError(f"None of the {len(samples)} photos can be read.")
    arrays: dict[str, Any] = {name: np.concatenate(parts) for name, parts in columns.items()}
    return ViewOutputs(names=tuple(names), views=views, **arrays)


Cut = tuple[Sample, UInt8[np.ndarray, "view side side 3"], bool]


def _batches(cuts: Iterator[Cut]) -> Iterator[list[Cut]]:
    batch: list[Cut] = []
    for cut in cuts:
        batch.append(cut)
        if len(batch) == PHOTOS:
            yield batch
            batch = []
    if batch:
        yield batch


def _cut_out(samples: Sequence[Sample], views: tuple[View, ...], size: int, processes: int) -> Iterator[Cut]:
    """Each sample with its views' crops, and whether a face was detected."""
    jobs = [(sample, views, size) for sample in samples]
    cuts = tqdm(spread(_cut, jobs, processes, chunk=PHOTOS), total=len(jobs), desc="views")
    for sample, result in zip(samples, cuts, strict=True):
        if isinstance(result, str):
            log.warning("left out: %s", result)
            continue
        yield sample, *result


def _cut(job: tuple[Sample, tuple[View, ...], int]) -> tuple[np.ndarray, bool] | str:
    sample, views, size = job
    try:
        photo = open_photo(sample.path)
        face = main_face(photo, finder())
    except PhotoError as error:
        return str(error)
    pyramid = Pyramid.of(photo)
    crops = np.concatenate([crop_views(pyramid, [face], view, size) for view in views])
    return crops, face.keypoints is not None
