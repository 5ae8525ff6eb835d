"""How time grows with photos, faces, megapixels and prompts: `pytest tests/benchmarks/test_growth.py -n 0 -s`.

Records medians and fitted exponents; asserts no time.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cilf import AgeEstimator
from tests.benchmarks.results import record
from tests.benchmarks.test_speed import times
from tests.photo_set.generated import pasted_photos

COMMAND = "pytest tests/benchmarks/test_growth.py -n 0 -s"
ROUNDS = 5
PHOTOS = (10, 100, 400)
FACES = (1, 10, 100)
MEGAPIXELS = (0.3, 3, 12, 50)
PROMPTS = (10, 100, 1000)
AT_ONCE = 100  # prompts in a call, which may have no more
COLUMNS, FACE_HEIGHT = 10, 180  # of the photo with many faces, in pixels


@pytest.fixture(scope="module")
def estimator() -> AgeEstimator:
    return AgeEstimator.from_pretrained()


def milliseconds(work: Callable[[], Any]) -> float:
    return float(np.median(times(work, ROUNDS)))


def note(what: str, unit: str, spent: Mapping[float, Mapping[str, float]], method: str) -> None:
    """Record the rows of one quantity, and the exponent of its time."""
    exponent = np.polyfit(np.log(list(spent)), np.log([row["ms"] for row in spent.values()]), 1)[0]
    rows = {f"{what}: {count:,} {unit}": row for count, row in spent.items()}
    rows[f"{what}, exponent of the time"] = {"exponent": float(exponent)}
    record(f"growth with {what}", rows, command=COMMAND, method=method)


def test_photos(estimator: AgeEstimator, tmp_path: Path) -> None:
    paths = []
    for name, content in pasted_photos(max(PHOTOS)):
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    estimator.predict(paths[0])
    spent = {}
    for count in PHOTOS:
        start = time.perf_counter()
        assert sum(1 for _ in estimator.predict_many(paths[:count])) == count
        seconds = time.perf_counter() - start
        spent[count] = {"ms": 1000 * seconds, "ms a photo": 1000 * seconds / count}
    method = (
        "JPEGs of 640×480 with a pasted portrait through `predict_many`, the start of its processes included."
    )
    note("photos", "photos", spent, method)


def crowd(portrait: np.ndarray, count: int) -> np.ndarray:
    """A photo of always the same size with so many faces of the same size."""
    face = Image.fromarray(portrait).crop((90, 20, 430, 380)).resize((FACE_HEIGHT, FACE_HEIGHT))
    side = COLUMNS * FACE_HEIGHT
    photo = Image.new("RGB", (side, side), (90, 110, 120))
    for number in range(count):
        photo.paste(face, (number % COLUMNS * FACE_HEIGHT, number // COLUMNS * FACE_HEIGHT))
    return np.array(photo)


def test_faces(estimator: AgeEstimator, grace_hopper: np.ndarray) -> None:
    spent = {}
    for count in FACES:
        photo = crowd(grace_hopper, count)
        detected = len(estimator.predict(photo))
        ms = milliseconds(lambda photo=photo: estimator.predict(photo))  # type: ignore[misc]
        spent[count] = {"ms": ms, "faces detected": detected}
    note(
        "faces",
        "faces",
        spent,
        "A photo of always the same size with always the same face, small ones sought.",
    )


def peak() -> float:
    """Most MB that this process has held since `reset_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def reset_peak() -> float:
    """Forget the peak, and give what is held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def test_megapixels(estimator: AgeEstimator, tmp_path: Path) -> None:
    spent = {}
    for millions in MEGAPIXELS:
        height = int((millions * 1e6 * 0.75) ** 0.5)
        [(_, content)] = pasted_photos(1, (height * 4 // 3, height))
        path = tmp_path / f"{millions}.jpg"
        path.write_bytes(content)
        before = reset_peak()
        ms = milliseconds(lambda path=path: estimator.predict(path))  # type: ignore[misc]
        spent[millions] = {"ms": ms, "MB more, at most": peak() - before}
    method = "A JPEG with one pasted portrait of about half its height, from the file to the age, small faces sought."
    note("megapixels", "megapixels", spent, method)


def texts() -> Iterator[str]:
    """Prompts without end, no two alike."""
    number = 0
    while True:
        yield f"a photo of a {number % 100} year old person, {number}"
        number += 1


def test_prompts(estimator: AgeEstimator, grace_hopper: np.ndarray) -> None:
    [face] = estimator.predict(grace_hopper)
    new, spent = texts(), {}
    for count in PROMPTS:
        prompts = [next(new) for _ in range(count)]
        start = time.perf_counter()
        for first in range(0, count, AT_ONCE):
            estimator.similarity(face, prompts[first : first + AT_ONCE])
        ms = 1000 * (time.perf_counter() - start)
        spent[count] = {"ms": ms, "ms a prompt": ms / count}
    note("prompts", "prompts", spent, "Texts that were never asked for before, against a face, 100 a call.")
