"""One of the package's networks, computed by ONNX Runtime on the CPU.

MediaPipe itself is not imported: that takes seconds, and starts a compiler in search of PortAudio.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from cilf.errors import DetectorError
from cilf.face.idle_threads import IdleThreads

VIEWS = "views"  # the input of each graph: (n, height, width, 3) uint8 RGB

_AT_ONCE = 16  # views in one run, which bounds the memory that a crowd takes

onnxruntime.disable_telemetry_events()  # which on Windows the system may collect


class Graph:
    """A graph from views to arrays; may be shared between threads.

    One view is computed by one thread: two on one view were slower. Of several views another thread computes half.

    Args:
        path: of the package's copy of the graph.
        outputs: names of its outputs.
        threads: that may help.

    Raises:
        DetectorError: the copy is missing or damaged.
    """

    def __init__(self, path: Path, outputs: Sequence[str], threads: IdleThreads | None = None) -> None:
        self._outputs = list(outputs)
        self._threads = threads or IdleThreads(0)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # only what is fatal; errors are raised
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has a kind of exception for each fault
            raise DetectorError(
                f"the face detector's file '{path}' is missing or damaged; install the package again"
            ) from error

    def __call__(self, views: np.ndarray) -> list[np.ndarray]:
        """The outputs for views (n, height, width, 3) uint8 RGB, n > 0; each begins with an axis of n."""
        half = len(views) // 2
        second = self._threads.beside(lambda: self._run(views[half:])) if half else None
        if second is None:
            return self._run(views)
        return _joined([self._run(views[:half]), second()])

    def _run(self, views: np.ndarray) -> list[np.ndarray]:
        starts = range(0, len(views), _AT_ONCE)
        return _joined(
            [self._session.run(self._outputs, {VIEWS: views[start : start + _AT_ONCE]}) for start in starts]
        )


def _joined(parts: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    return list(parts[0]) if len(parts) == 1 else [np.concatenate(each) for each in zip(*parts, strict=True)]
