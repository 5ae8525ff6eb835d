"""BlazeFace's points as weighted sums of the face mesh's, fitted to training photos.

Crops are laid by BlazeFace's key points, and by its box a face is told from another. The mesh's points move less when
the picture hardly changes, but lie elsewhere; sums of them that come to lie where BlazeFace's do leave crops in place.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from tqdm import tqdm

from cilf.face.alignment import TEMPLATE, Similarity, apply, least_squares_similarity
from cilf.face.detections import Detections
from cilf.face.detector_views import close_ups, in_photo, whole_views
from cilf.face.finder import SAME_IN_VIEW
from cilf.face.images import open_photo
from cilf.face.networks.blazeface import SIDE, BlazeFace
from cilf.face.networks.face_mesh import OUTPUTS
from cilf.face.networks.face_mesh import SIDE as MESH_SIDE
from cilf.face.networks.graph import VIEWS
from cilf.face.pyramid import Pyramid
from train.data.datasets import DatasetError
from train.release.face_mesh import POINTS, graph

CONFIDENCE = 0.5  # of BlazeFace in each of its passes

# Close-ups of a face, each laid a little elsewhere, over which BlazeFace's points are averaged; the standard deviation
# of their places, in distances of the eyes, and of their scales, in natural logarithms.
OFFSETS = 4
OFFSET = 0.06

# What a squared weight costs, in squared pixels of a crop with a side of 128. A hundred times as much takes 0.1 off the
# pixels that corners of crops move by under a shift (1.08, 95th percentile), and moves crops farther from BlazeFace's.
RIDGE = 0.01


def fit(model: bytes, photos: Sequence[Path]) -> np.ndarray:
    """Fit the weights of the sums over the photos and their mirror images.

    Args:
        model: content of MediaPipe's `face_landmark.tflite`.
        photos: files with one face each; those in which BlazeFace loses it are left out.

    Returns:
        (8, POINTS), rows that sum to 1: six key points and two corners of the box, for `train.release.face_mesh.graph`.

    Raises:
        ValueError: `model` is not that file.
        DatasetError: of no photo BlazeFace sees the face.
        PhotoError: a photo cannot be read.
    """
    mesh = onnxruntime.InferenceSession(graph(model, np.eye(POINTS)), providers=["CPUExecutionProvider"])
    detector, random = BlazeFace(), np.random.default_rng(0)
    points, targets = [], []
    for path in tqdm(photos, desc="mesh points"):
        photo = open_photo(path)
        for picture in (photo, np.ascontiguousarray(photo[:, ::-1])):
            for of_mesh, of_blazeface in _pairs(Pyramid(picture), detector, mesh, random):
                points.append(of_mesh)
                targets.append(of_blazeface)
    if not points:
        raise DatasetError("None of the photos shows a face; give the split file of each data set.")
    return weights_of_sums(np.stack(points), np.stack(targets))


def weights_of_sums(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The weights (k, POINTS) whose sums of points (n, POINTS, 2) come nearest to targets (n, k, 2), by ridge
    regression; rows add up to 1, so that what moves or turns all points moves or turns the sums."""
    middle = points.mean(axis=1, keepdims=True)
    x, y = (np.swapaxes(each - middle, 1, 2).reshape(-1, each.shape[1]) for each in (points, targets))
    weights = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(POINTS), x.T @ y).T
    return np.asarray(weights + (1 - weights.sum(axis=1, keepdims=True)) / POINTS)


def _pairs(
    pyramid: Pyramid, detector: BlazeFace, mesh: onnxruntime.InferenceSession, random: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The mesh's points (POINTS, 2) and BlazeFace's (8, 2) on the aligned crop: of close-ups laid by BlazeFace's first
    pass over the photo, and by its points when they are averaged."""
    first = _best(_seen(detector, *whole_views(pyramid, SIDE)))
    settled = _settled(pyramid, detector, first.keypoints, random) if len(first) else None
    if settled is None:
        return
    on_crop = least_squares_similarity(settled.keypoints[0, : len(TEMPLATE)], TEMPLATE * SIDE)
    middle, scale = apply(on_crop, settled.centre[0]), np.hypot(*on_crop[:2])
    half = (settled.box[0, 2:] - settled.centre[0]) * scale
    of_blazeface = np.concatenate([apply(on_crop, settled.keypoints[0]), [middle - half, middle + half]])
    for keypoints in (first.keypoints, settled.keypoints):
        views, (a, b, offset) = close_ups(pyramid, keypoints, MESH_SIDE)
        [points] = mesh.run(OUTPUTS[:1], {VIEWS: views})
        [of_mesh] = apply((a[:, None], b[:, None], offset[:, None]), points[..., :2].astype(float))
        yield apply(on_crop, of_mesh), of_blazeface


def _settled(
    pyramid: Pyramid, detector: BlazeFace, keypoints: np.ndarray, random: np.random.Generator
) -> Detections | None:
    """One face as the mean over close-ups laid at random about where BlazeFace shows it; None where it is lost."""
    first = _average(_mirrored_too(pyramid, detector, keypoints))
    if first is None:
        return None
    spread = OFFSET * np.linalg.norm(first.keypoints[0, 0] - first.keypoints[0, 1])
    passes = []
    for _ in range(OFFSETS):
        moved = first.keypoints + random.normal(0, spread, 2)
        middle = moved.mean(axis=1, keepdims=True)
        moved = middle + (moved - middle) * np.exp(random.normal(0, OFFSET))
        passes.append(_mirrored_too(pyramid, detector, moved))
    return _average(Detections.joined(passes))


def _mirrored_too(pyramid: Pyramid, detector: BlazeFace, keypoints: np.ndarray) -> Detections:
    """BlazeFace's best detection in a close-up and in its mirror image, in the photo; those it sees."""
    views, from_view = close_ups(pyramid, keypoints, SIDE)
    mirrored = detector(np.ascontiguousarray(views[:, :, ::-1]), CONFIDENCE).mirrored(SIDE)
    mirrored = mirrored.weighted_suppression(SAME_IN_VIEW)
    return Detections.joined([_best(_seen(detector, views, from_view)), _best(in_photo(mirrored, from_view))])


def _seen(detector: BlazeFace, views: np.ndarray, from_view: Similarity) -> Detections:
    return in_photo(detector(views, CONFIDENCE).weighted_suppression(SAME_IN_VIEW), from_view)


def _best(seen: Detections) -> Detections:
    """The one with the highest score, or none of none."""
    return seen[np.argsort(-seen.score)[:1]]


def _average(passes: Detections) -> Detections | None:
    """One detection in the middle of all, or None of none."""
    if not len(passes):
        return None
    return Detections(
        np.zeros(1, int),
        *(each.mean(axis=0, keepdims=True) for each in (passes.box, passes.keypoints, passes.score)),
    )
