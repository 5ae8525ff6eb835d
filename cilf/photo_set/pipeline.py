"""Many photos through one estimator, with all processors.

Worker processes decode photos, find faces and cut them out; this process estimates the crops of several photos at once.
Results come in the order of the photos, and only so many photos are under way that memory does not grow with their
number.

    photos ─▶ worker processes { open ─▶ find ─▶ crop } ─▶ here { network ─▶ correction } ─▶ results
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain, islice
from operator import length_hint
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cilf.errors import CilfError, PhotoError
from cilf.face.crops import CropConfig, FaceCrops
from cilf.face.images import open_pyramid_bytes
from cilf.photo_set.files import find_photos
from cilf.photo_set.results import PhotoResult, Row, unexpected, unreadable, with_faces
from cilf.photo_set.workers import Workers, opened
from cilf.prediction import FacePrediction, NoFace

log = logging.getLogger(__name__)

# So many photos take less time in this process than worker processes take to start.
FEW = 32

# Photos whose crops are estimated at once.
AT_ONCE = 8


@runtime_checkable
class Predictor(Protocol):
    """What a photo set needs of `cilf.AgeEstimator`; see there."""

    def predict(
        self, photo: Any, prompts: Sequence[str] | None = None, *, no_face: NoFace
    ) -> list[FacePrediction]: ...

    def crop_config(self, no_face: NoFace) -> CropConfig: ...

    def crop(self, photo: Any, config: CropConfig) -> FaceCrops: ...

    def predict_crops(
        self, photos: Sequence[FaceCrops], prompts: Sequence[str] | None = None
    ) -> list[list[FacePrediction]]: ...


def predict_paths(
    estimator: Predictor, paths: str | Path | Sequence[str | Path], *, no_face: NoFace = "skip"
) -> Iterator[Row]:
    """Find the photos behind `paths` as `find_photos` does, and give the rows of `predict_many`."""
    results = predict_many(estimator, find_photos(paths), no_face=no_face)
    return chain.from_iterable(result.rows for result in results)


def predict_many(
    estimator: Predictor,
    photos: Iterable[Any],
    prompts: Sequence[str] | None = None,
    *,
    no_face: NoFace = "skip",
    count: int | None = None,
) -> Iterator[PhotoResult]:
    """Predict many photos; one bad file does not stop the others.

    A set of a few photos is predicted in this process, each when its result is asked for.

    Args:
        estimator: `cilf.AgeEstimator`.
        photos: whatever the estimator takes; or (name, that), as from `find_photos`; or (name, the bytes of a file); or
            (name, a function without arguments that gives any of them as a context manager), called when the photo's
            turn comes and left when it is through.
        prompts: texts to compare with each face.
        no_face: what to do with a photo without a face: `skip` gives a row with the status `no_face`; `whole`
            takes the whole picture as the face.
        count: of worker processes; None takes one for each processor.

    Yields:
        The faces and rows of each photo, in the order of the photos.

    Raises:
        CilfError: the detector or the weights fail, which no other photo would survive either.
    """
    named = (_named(number, photo) for number, photo in enumerate(photos))
    if length_hint(photos) <= FEW:
        for name, photo in islice(named, FEW):
            yield predict_photo(estimator, name, photo, prompts, no_face=no_face)
    following = next(named, None)
    if following is None:
        return
    config = estimator.crop_config(no_face)
    with Workers(config, lambda photo: estimator.crop(photo, config), count) as workers:
        yield from _pipeline(estimator, chain([following], named), prompts, workers)


def predict_photo(
    estimator: Predictor,
    name: str,
    photo: Any,
    prompts: Sequence[str] | None = None,
    *,
    no_face: NoFace = "skip",
) -> PhotoResult:
    """Predict a single photo as `predict_many` does."""
    try:
        with opened(photo) as source:
            picture = open_pyramid_bytes(source, name) if isinstance(source, bytes) else source
            faces = estimator.predict(picture, prompts=prompts, no_face=no_face)
        return with_faces(name, faces)
    except PhotoError as error:
        return unreadable(name, error)
    except CilfError:
        raise
    # Whatever a strange file sets off in a library, the other files are still to come.
    except Exception as error:
        log.debug("failed on %r", name, exc_info=True)
        return unreadable(name, unexpected(name, error))


def _named(number: int, photo: Any) -> tuple[str, Any]:
    if isinstance(photo, tuple):
        return photo
    return str(photo) if isinstance(photo, str | Path) else f"photo {number + 1}", photo


Pending = tuple[str, Future[FaceCrops]]
"""A photo's name and its crops to come."""


def _pipeline(
    estimator: Predictor,
    photos: Iterator[tuple[str, Any]],
    prompts: Sequence[str] | None,
    workers: Workers,
) -> Iterator[PhotoResult]:
    pending: deque[Pending] = deque()

    def refill() -> None:
        for name, photo in islice(photos, workers.most_pending - len(pending)):
            pending.append((name, workers.submit(name, photo)))

    refill()
    while pending:
        pending[0][1].exception()  # waits
        ready = [pending.popleft()]
        while pending and len(ready) < AT_ONCE and pending[0][1].done():
            ready.append(pending.popleft())
        refill()  # before the estimate, so that the workers go on meanwhile
        yield from estimated(estimator, ready, prompts)


def estimated(
    estimator: Predictor, ready: Sequence[Pending], prompts: Sequence[str] | None = None
) -> list[PhotoResult]:
    """The results of photos whose crops are there. Raises CilfError where the detector or the weights fail."""
    failures = [future.exception() for _, future in ready]
    crops = [future.result() for (_, future), failure in zip(ready, failures, strict=True) if failure is None]
    try:
        faces = iter(estimator.predict_crops(crops, prompts) if crops else [])
    except CilfError:
        raise
    except Exception as error:
        if len(ready) > 1:  # it may be due to one of them
            return [result for photo in ready for result in estimated(estimator, [photo], prompts)]
        return [unreadable(name, unexpected(name, error)) for name, _ in ready]
    results = []
    for (name, _), failure in zip(ready, failures, strict=True):
        if failure is None:
            results.append(with_faces(name, next(faces)))
        elif isinstance(failure, PhotoError):
            results.append(unreadable(name, failure))
        else:
            raise failure
    return results
