"""Finding the faces of a photo, large and small, and cutting each one out on one template."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cilf.errors import PhotoError
from cilf.face.alignment import TEMPLATE, Similarity, apply, least_squares_similarity, smallest_square
from cilf.face.blazeface import SIDE, STRIDE, BlazeFace
from cilf.face.detections import Detections, ios, iou, paired_iou, suppressed_by
from cilf.face.idle_threads import IdleThreads
from cilf.face.opencv import opencv
from cilf.face.pyramid import Pyramid

# Black border around the whole photo in a second view, as a share of its shorter side: tight crops fill too much of the
# first one.
PADDING = 0.3

# The view in which small faces are sought: its longer side in pixels, and how many of its pixels a pixel of the photo
# takes at most.
DETAIL = 800
DETAIL_SCALE = 0.9

# What a detector pass must score to count at all. Whether it is a face is decided by the mean over all passes.
CANDIDATE = 0.3

# What a face that only the view of details shows must score with the first close-ups, and with the second ones.
DETAIL_CANDIDATE = 0.5
DETAIL_CONFIDENCE = 0.72

# Side of a close-up in sides of the aligned crop in its middle.
CLOSE_UP = 1.5

# Detections of one view are one face where their boxes share this much of their union, as in MediaPipe.
SAME_IN_VIEW = 0.3

# Two candidates show the same when their boxes share this much of their union: then the close-ups of one serve both.
SAME_CANDIDATE = 0.5

# The longest picture that is taken as a face: a cut-out face is hardly ever twice as long as wide, and the square that
# holds the picture grows with this times its pixels.
MAX_RATIO = 4

# So few close-ups are detected in one call with their mirror images; of more of them the mirrored pass is worth sparing
# where the first shows no face.
TOGETHER = 2

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
        score: the detector's confidence in (0, 1]; None when the whole picture was taken as the face.
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
    """MediaPipe's short-range face detector, made to see faces of every size.

    Safe to share between threads. The same photo always gives the same faces.

    Args:
        min_confidence: faces scored below this, in [0, 1], are dropped.
        threads: that may work at once, the caller's among them: small faces are sought beside the rest, and one half of
            a batch of views is computed beside the other.

    Raises:
        DetectorError: OpenCV cannot be loaded, or the package's detector is missing or damaged.
    """

    def __init__(self, min_confidence: float = 0.6, threads: int = 1) -> None:
        opencv()
        self._threads = IdleThreads(threads - 1)
        self._min_confidence = min_confidence
        self._detector = BlazeFace(self._threads)

    def find(self, photo: np.ndarray | Pyramid, tiles: bool = True) -> list[Face]:
        """Find the faces of one photo.

        Without tiles the detector computes two small views of the whole photo, and six for each face: what a live
        picture can afford; faces from about a sixth of the photo's longer side on are found. With tiles it also
        computes one large view, whose size has a bound; faces down to a fortieth of the longer side are found, if they
        are at least 20 pixels wide.

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
        photo = np.array([pyramid.width, pyramid.height])
        sides = photo.max() + np.array([0.0, 2 * PADDING * photo.min()])
        from_view = (sides / SIDE, np.zeros(2), (photo - sides[:, None]) / 2)
        seen = _in_photo(self._seen(pyramid.crops(from_view, SIDE, detector=True)), from_view)
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
        """Candidates as two rounds of close-ups show them, as far as they score high enough.

        Box and key points are means over close-ups, and so hardly depend on where in a view the face was seen first.
        The score is the mean of the pass that gave the candidate and of two close-ups, where one that sees no face
        counts as 0: it tells faces from chance hits better than any single pass. What only the view of details shows is
        judged by the second close-ups, since the key points of a small candidate may put the first ones askew.
        """
        is_detail = candidates.view == _DETAIL
        least = 3 * np.where(is_detail, DETAIL_CANDIDATE, self._min_confidence) - candidates.score
        # More than nothing: a face that neither pass sees has no key points.
        kept, first, seen = self._close_ups(pyramid, candidates, np.maximum(least, 1e-9))
        candidates, is_detail = candidates[kept], is_detail[kept]

        least = 3 * max(self._min_confidence, DETAIL_CONFIDENCE) - candidates.score
        kept, second, seen_again = self._close_ups(pyramid, first, np.where(is_detail, least, 0))
        candidates, first, seen, is_detail = candidates[kept], first[kept], seen[kept], is_detail[kept]

        share = (seen_again / (seen + seen_again))[:, None, None]
        keypoints = (1 - share) * first.keypoints + share * second.keypoints
        box = (1 - share[..., 0]) * first.box + share[..., 0] * second.box
        score = (candidates.score + 2 * np.where(is_detail, second.score, first.score)) / 3
        return replace(first, box=box, keypoints=keypoints, score=score)

    def _close_ups(
        self, pyramid: Pyramid, faces: Detections, least: np.ndarray
    ) -> tuple[np.ndarray, Detections, np.ndarray]:
        """Detect each of n faces in a close-up in which it stands upright and fills two thirds, as it is and mirrored.

        Args:
            pyramid: of the photo.
            faces: where they were seen.
            least: (n,) what the scores of the two passes must sum up to. A face that cannot reach it any more is spared
                the mirrored pass.

        Returns:
            The indices of the m faces that reach it; the means over the passes that see them, but half the sum of the
            scores; and the number of these passes, (m,).
        """
        if not len(faces):
            return np.zeros(0, int), faces, np.zeros(0)
        a, b, offset = least_squares_similarity(
            TEMPLATE * SIDE / CLOSE_UP, faces.keypoints[:, : len(TEMPLATE)]
        )
        margin = SIDE * (1 - 1 / CLOSE_UP) / 2
        from_view = (a, b, apply((a, b, offset), np.full(2, -margin)))
        views = pyramid.crops(from_view, SIDE, detector=True)
        together = len(faces) <= TOGETHER
        if together:
            both = self._seen(np.concatenate([views, views[:, :, ::-1]]))
            upright, mirrored = both[both.view < len(faces)], both[both.view >= len(faces)]
            mirrored = replace(mirrored, view=mirrored.view - len(faces))
        else:
            upright = self._seen(views)
        values = _nearest(_in_photo(upright, from_view), faces)
        kept = np.flatnonzero(values[:, 1] + 1 >= least)
        if not len(kept):
            return kept, faces[kept], np.zeros(0)
        if together:
            seen_mirrored = _nearest(_in_photo(mirrored.mirrored(SIDE), from_view), faces)[kept]
        else:
            mirrored = self._seen(views[kept, :, ::-1])
            from_kept = (a[kept], b[kept], from_view[2][kept])
            seen_mirrored = _nearest(_in_photo(mirrored.mirrored(SIDE), from_kept), faces[kept])
        values = values[kept] + seen_mirrored
        enough = values[:, 1] >= least[kept]
        kept, values = kept[enough], values[enough]
        seen, score, box, keypoints = np.split(values, [1, 2, 6], axis=1)
        times = np.maximum(seen, 1)
        means = Detections(
            faces.view[kept], box / times, (keypoints / times).reshape(-1, 6, 2), score[:, 0] / 2
        )
        return kept, means, seen[:, 0]


def _nearest(seen: Detections, faces: Detections) -> np.ndarray:
    """The detection in view i that overlaps face i most: rows of 1, score, box and key points, or of zeros."""
    overlap = paired_iou(seen.box, faces.box[seen.view])
    order = np.argsort(overlap, kind="stable")
    order = order[overlap[order] > SAME_FACE]
    rows = np.zeros((len(faces), 18))
    # Of several rows for one place the last one stays.
    rows[seen.view[order]] = np.column_stack(
        [np.ones(len(order)), seen.score[order], seen.box[order], seen.keypoints[order].reshape(-1, 12)]
    )
    return rows


def _in_photo(seen: Detections, from_view: Similarity) -> Detections:
    """Detections of views that show the photo turned, scaled and shifted, in the photo; boxes stay upright."""
    a, b, offset = (values[seen.view] for values in from_view)
    middle = apply((a, b, offset), seen.centre)
    half = (seen.box[:, 2:] - seen.centre) * np.hypot(a, b)[:, None]
    keypoints = apply((a[:, None], b[:, None], offset[:, None]), seen.keypoints)
    return Detections(
        seen.view, np.concatenate([middle - half, middle + half], axis=1), keypoints, seen.score
    )


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
