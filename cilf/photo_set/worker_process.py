"""A worker process of `cilf.photo_set.workers`: photos come in at stdin, their crops go out at stdout, both pickled.

It ends when stdin does: where its parent is killed, too.
"""

import os
import pickle
import sys
from typing import Any, BinaryIO

from cilf.errors import CilfError
from cilf.face.crops import CropConfig, FaceCrops, crop_faces
from cilf.face.finder import FaceFinder
from cilf.face.images import open_pyramid_bytes
from cilf.face.opencv import opencv
from cilf.photo_set.results import unexpected


def main() -> None:
    """Answer the first request, a `CropConfig`, when photos may come; then every (name, photo) with a `FaceCrops` or a
    `CilfError`."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # for what libraries print
    try:
        _serve(sys.stdin.buffer, answers)
    except (EOFError, BrokenPipeError):
        os._exit(0)  # nothing that could be flushed is left


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    def answer(content: Any) -> None:
        pickle.dump(content, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()

    config = pickle.load(requests)
    try:
        opencv().setNumThreads(1)
        finder = FaceFinder()
    except CilfError as error:
        answer(error)
        return
    answer(None)
    while True:
        name, photo = pickle.load(requests)
        answer(_crops(name, photo, finder, config))


def _crops(name: str, photo: Any, finder: FaceFinder, config: CropConfig) -> FaceCrops | CilfError:
    try:
        picture = open_pyramid_bytes(photo, name) if isinstance(photo, bytes) else photo
        return crop_faces(picture, finder, config).without_photo()
    except CilfError as error:
        return error
    except Exception as error:
        return unexpected(name, error)


if __name__ == "__main__":
    main()
