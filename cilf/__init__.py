"""CILF: the age of a face, with the steps by which the estimate was corrected.

    from cilf import AgeEstimator
    faces = AgeEstimator.from_pretrained().predict("family.jpg")

The estimator is imported when its name is first used, so that `import cilf` (and with it `python -m cilf
--help`) does not wait for ONNX Runtime.
"""

from typing import TYPE_CHECKING, Any

from cilf.errors import CilfError, DetectorError, PhotoError, UsageError, WeightsError
from cilf.prediction import FacePrediction, TraceStep

if TYPE_CHECKING:
    from cilf.estimator import AgeEstimator

__version__ = "0.2.0"

__all__ = [
    "AgeEstimator",
    "CilfError",
    "DetectorError",
    "FacePrediction",
    "PhotoError",
    "TraceStep",
    "UsageError",
    "WeightsError",
]


def __getattr__(name: str) -> Any:
    if name == "AgeEstimator":
        from cilf.estimator import AgeEstimator

        return AgeEstimator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
