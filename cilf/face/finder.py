"""Finding the faces of a photo, large and small, and cutting each one out on one template."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cilf.errors import PhotoError
from cilf.face.alignment import TEMPLATE, Similarity, apply, least_squares_similarity, smallest_square
from cilf.face.detections import Detections, ios, iou, paired_iou, suppressed_by
from cilf.face.detector_views import close_ups, in_photo, whole_views
from cilf.face.idle_threads import IdleThreads
from cilf.face.networks import face_mesh
from cilf.face.networks.blazeface import SIDE, STRIDE, BlazeFace
from cilf.face.networks.face_mesh import FaceMesh
from cilf.face.opencv import opencv
from cilf.face.pyramid import Pyramid

# The view in which small faces are sought: its longer side in pixels, and how many of its pixels a pixel of the photo
# takes at most.
DETAIL = 800
DETAIL_SCALE = 0.9

# The least score of a candidate by the detector, and of its first close-up by the mesh (a logit of 0). Both are low: a
# second close-up decides whether it is a face.
CANDIDATE = 0.3
FIRST_CLOSE_UP = 0.0025

# Detections of one view are one face where their boxes share this much of their union, as in MediaPipe.
SAME_IN_VIEW = 0.3

# Two candidates show the same when their boxes share this much of their union: then the close-ups of one serve both.
SAME_CANDIDATE = 0.5

# The longest picture that is taken as a face: a cut-out face is hardly ever twice as long as wide, and the square that
# holds the picture grows with this times its pixels.
MAX_RATIO = 4

# Two close-ups show one face when their boxes share this much of their union, or this much of the smaller box, as a
# chance hit within a face does. Heads side by side, even cheek to cheek, share far less.
SAME_FACE = 0.3
SAME_CONTAINED = 0.6

_WHOLE, _DETAIL = 0, 1  # where a candidate was seen


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a photo.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the upright photo, clipped to it.
        score: confidence of detector and face mesh, in (0, 1]; None when the whole picture was taken as the face.
        keypoints: (6, 2) float pixels x, y: right eye, left eye, nose tip, mouth centre, right ear, left ear (the
            person's own right and left); None when the whole picture was taken as the face.
    """

    box: tuple[float, float, float, float]
    score: float | None
    keypoints: np.ndarray | None


def whole_picture(photo: np.ndarray | Pyramid) -> Face:
    """Take the whole picture as the face: for cut-out faces in which the detector finds none.

    Raises:
        PhotoError: its longer side is more than `MAX_RATIO` times the shorter one.
    """
    pyramid = Pyramid.of(photo)
    height, width = pyramid.height, pyramid.width
    if max(height, width) > MAX_RATIO * min(height, width):
        raise PhotoError(
            f"the picture is {width}x{height} pixels; to be taken as a face, it may be at most {MAX_RATIO} times "
            "as long as wide"
        )
    return Face((0.0, 0.0, float(width), float(height)), None, None)


def align(photo: np.ndarray | Pyramid, face: Face, size: int = 112, margin: int = 0) -> np.ndarray:
    """Cut a face out, turned and scaled so that eyes, nose and mouth come to lie on the template.

    The similarity is the least-squares one through the four points. What lies outside the photo is the photo reflected;
    a face larger than the crop is averaged down. A whole-picture face is the smallest centred square that holds the
    picture, so that nothing of it is lost, with the picture reflected into the strips beside it.

    Args:
        photo: HxWx3 uint8 RGB, upright; or its pyramid.
        face: a face of this photo.
        size: side of the crop in pixels.
        margin: further pixels on each side, at the same scale; `align(p, f, s, m)[m:-m, m:-m]` equals `align(p, f, s)`.

    Returns:
        (size + 2 margin) x (size + 2 margin) x 3 uint8 RGB.
    """
    [crop] = align_faces(photo, [face], size, margin)
    return crop


def align_faces(
    photo: np.ndarray | Pyramid,
    faces: Sequence[Face],
    size: int = 112,
    margin: int = 0,
    *,
    scale: float | np.ndarray = 1.0,
    shift: tuple[float, float] | np.ndarray = (0.0, 0.0),
) -> np.ndarray:
    """Cut several faces out as `align` does, or one several times at other scales and shifts.

    Args:
        photo: HxWx3 uint8 RGB, upright; or its pyramid, which further calls on the same photo share.
        faces: n faces of this photo.
        size, margin: see `align`.
        scale: what a crop shows, in sides of the aligned one: above 1 more of what is round the face. One number for
            all faces, or (n,).
        shift: where the middle of a crop lies on the aligned one, x and y in its sides. One for all faces, or (n, 2).

    Returns:
        (n, size + 2 margin, size + 2 margin, 3) uint8 RGB.
    """
    pyramid = Pyramid.of(photo)
    if not faces:
        return np.empty((0, size + 2 * margin, size + 2 * margin, 3), np.uint8)
    a, b, offset = (
        np.stack(each) for each in zip(*(_from_crop(pyramid, face, size) for face in faces), strict=True)
    )
    scales = np.broadcast_to(scale, a.shape)
    corner = size * ((1 - scales)[:, None] / 2 + np.broadcast_to(shift, offset.shape))
    return pyramid.crops((a * scales, b * scales, apply((a, b, offset), corner)), size, margin)


def _from_crop(pyramid: Pyramid, face: Face, size: int) -> Similarity:
    if face.keypoints is None:
        return smallest_square(pyramid.height, pyramid.width, size)
    return least_squares_similarity(TEMPLATE * size, np.asarray(face.keypoints, float)[: len(TEMPLATE)])


class FaceFinder:
    """MediaPipe's short-range face detector, made to see faces of every size, and its face mesh, which judges them and
    places their features.

    Safe to share between threads. The same photo always gives the same faces.

    Args:
        min_confidence: faces scored below this, in [0, 1], are dropped. What is clearly a face scores 0.75 or more.
        threads: that may work at once, the caller's among them: small faces are sought beside the rest, and one half of
            a batch of views is computed beside the other.

    Raises:
        DetectorError: OpenCV cannot be loaded, or one of the package's networks is missing or damaged.
    """

    def __init__(self, min_confidence: float = 0.6, threads: int = 1) -> None:
        opencv()
        self._threads = IdleThreads(threads - 1)
        self._min_confidence = min_confidence
        self._detector = BlazeFace(self._threads)
        self._mesh = FaceMesh(self._threads)

    def find(self, photo: np.ndarray | Pyramid, tiles: bool = True) -> list[Face]:
        """Find the faces of one photo.

        Without tiles the detector computes two small views of the whole photo, and the mesh two close-ups of each face:
        what a live picture can afford; faces from about a sixth of the photo's longer side on are found. With tiles the
        detector also computes one large view, whose size has a bound; faces down to a fortieth of the longer side are
        found, if they are at least 20 pixels wide.

        Args:
            photo: HxWx3 uint8 RGB, upright; or its pyramid.
            tiles: also look for small faces.

        Returns:
            The faces, left to right by the centre of the box.
        """
        pyramid = Pyramid.of(photo)
        in_detail = self._in_detail(pyramid) if tiles else None
        in_whole = _inside(self._in_whole(pyramid), pyramid)
        faces = self._confirmed(pyramid, _distinct(in_whole))
        if in_detail is not None:
            every = _distinct(Detections.joined([in_whole, _inside(in_detail(), pyramid)]))
            faces = Detections.joined([faces, self._confirmed(pyramid, every[every.view == _DETAIL])])
        faces = _one_each(_inside(faces, pyramid))
        faces = faces[np.lexsort([faces.centre[:, 1], faces.centre[:, 0]])]
        boxes = np.clip(faces.box, 0, [pyramid.width, pyramid.height] * 2).tolist()
        return [
            Face((x0, y0, x1, y1), score, keypoints)
            for (x0, y0, x1, y1), score, keypoints in zip(
                boxes, faces.score.tolist(), faces.keypoints, strict=True
            )
        ]

    def _in_whole(self, pyramid: Pyramid) -> Detections:
        """Candidates in the whole photo as it is, and again with a black border, which shows tight crops."""
        views, from_view = whole_views(pyramid, SIDE)
        seen = in_photo(self._seen(views), from_view)
        return replace(seen, view=np.full(len(seen), _WHOLE))

    def _in_detail(self, pyramid: Pyramid) -> Callable[[], Detections]:
        """Candidates in one large view of the whole photo, as a function that waits for them where they are sought in a
        thread beside."""
        photo = np.array([pyramid.width, pyramid.height])
        scale = min(DETAIL_SCALE, DETAIL / photo.max())
        width, height = (STRIDE * np.maximum(1, np.rint(photo * scale / STRIDE))).astype(int).tolist()
        stretch = photo / [width, height]
        view = pyramid.resizer(width, height)

        def seek() -> Detections:
            seen = self._seen(view()[None])
            return Detections(
                np.full(len(seen), _DETAIL),
                seen.box * np.tile(stretch, 2),
                seen.keypoints * stretch,
                seen.score,
            )

        return self._threads.beside(seek) or seek

    def _seen(self, views: np.ndarray) -> Detections:
        return self._detector(views, CANDIDATE).weighted_suppression(SAME_IN_VIEW)

    def _confirmed(self, pyramid: Pyramid, candidates: Detections) -> Detections:
        """Candidates as the mesh shows them in two close-ups, as far as they score high enough.

        The second close-up is laid where the first one shows the face, and mirrored. Box and key points are means over
        both by their scores, and so hardly depend on where in a view the face was seen first. In the score the better
        one counts twice beside the candidate: the detector mistakes many things for faces, the mesh few. What only the
        view of details shows is judged by the second: of chance hits there are many, and of one of the two, some.
        """
        first = self._close_up(pyramid, candidates)
        kept = first.score >= FIRST_CLOSE_UP
        candidates, first = candidates[kept], first[kept]
        second = self._close_up(pyramid, first, mirrored=True)
        is_detail = candidates.view == _DETAIL
        presence = np.where(is_detail, second.score, np.maximum(first.score, second.score))
        score = (candidates.score + 2 * presence) / 3
        score *= paired_iou(second.box, candidates.box) > SAME_FACE  # no other face's, on which the mesh slid
        share = (second.score / (first.score + second.score))[:, None]
        box = (1 - share) * first.box + share * second.box
        keypoints = (1 - share[..., None]) * first.keypoints + share[..., None] * second.keypoints
        return Detections(candidates.view, box, keypoints, score)[score >= self._min_confidence]

    def _close_up(self, pyramid: Pyramid, faces: Detections, mirrored: bool = False) -> Detections:
        """Each of n faces as the mesh shows it in a close-up in which it stands upright and fills two thirds."""
        views, from_view = close_ups(pyramid, faces.keypoints, face_mesh.SIDE)
        if not mirrored:
            return in_photo(self._mesh(views), from_view)
        shown = self._mesh(np.ascontiguousarray(views[:, :, ::-1]))
        return in_photo(shown.mirrored(face_mesh.SIDE), from_view)


def _inside(detections: Detections, pyramid: Pyramid) -> Detections:
    """Those with their middle in the photo."""
    middle = detections.centre
    return detections[((middle >= 0) & (middle < [pyramid.width, pyramid.height])).all(axis=1)]


def _distinct(candidates: Detections) -> Detections:
    """Each candidate once; what the whole photo shows counts before what the details show."""
    ordered = candidates[np.lexsort([-candidates.score, candidates.view])]
    owner = suppressed_by(iou(ordered.box, ordered.box) > SAME_CANDIDATE)
    return ordered[owner == np.arange(len(ordered))]


def _one_each(faces: Detections) -> Detections:
    """Each face once: the best score of those that overlap."""
    ordered = faces.best_first()
    same = (iou(ordered.box, ordered.box) > SAME_FACE) | (ios(ordered.box, ordered.box) > SAME_CONTAINED)
    return ordered[suppressed_by(same) == np.arange(len(ordered))]
