"""CILF: the age of a face, with the steps by which the estimate was corrected.

    from cilf import AgeEstimator
    faces = AgeEstimator.from_pretrained().predict("family.jpg")

What needs NumPy is imported when its name is first used, so that `import cilf` does not wait for it, and `python -m
cilf` can choose its library's threads before.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cilf.errors import CilfError, DetectorError, PhotoError, UsageError, WeightsError

if TYPE_CHECKING:
    from cilf.estimator import AgeEstimator
    from cilf.prediction import FacePrediction, TraceStep

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


_MODULES = {
    "AgeEstimator": "cilf.estimator",
    "FacePrediction": "cilf.prediction",
    "TraceStep": "cilf.prediction",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
