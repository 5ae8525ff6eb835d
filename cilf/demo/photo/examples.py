"""The two example portraits, both in the public domain and both inside libraries that the page depends on anyway."""

import logging
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cilf.demo.server.model_host import Estimator
from cilf.demo.server.priority import VISITORS_FIRST
from cilf.face.images import open_photo
from cilf.prediction import FacePrediction

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A portrait of a person whose age is known.

    Attributes:
        key: short name for the page's elements.
        name: who it is.
        caption: when it was taken and how old the person was.
        load: reads the portrait: HxWx3 uint8 RGB.
    """

    key: str
    name: str
    caption: str
    load: Callable[[], np.ndarray]


def _grace_hopper() -> np.ndarray:
    from matplotlib.cbook import get_sample_data

    return open_photo(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))


def _astronaut() -> np.ndarray:
    from skimage.data import astronaut

    return open_photo(astronaut())


EXAMPLES = (
    Example("hopper", "Grace Hopper", "US Navy, 1984, age 77", _grace_hopper),
    Example("collins", "Eileen Collins", "NASA, 1990s, about 42", _astronaut),
)


def available() -> list[tuple[Example, np.ndarray]]:
    """The examples whose portrait can be read here, each with it; a missing one is left out, with a note in the log."""
    portraits = []
    for example in EXAMPLES:
        try:
            portraits.append((example, example.load()))
        except Exception:
            log.warning(
                "the example portrait of %s cannot be read and is left out", example.name, exc_info=True
            )
    return portraits


class PredictedExamples:
    """The examples with their faces, which are the same for every visitor and so predicted once for each model. Safe to
    share between threads."""

    def __init__(self) -> None:
        self.portraits = available()
        self._locks = [threading.Lock() for _ in self.portraits]
        # A model that the page no longer uses is not kept for the examples' sake.
        self._predicted: dict[int, tuple[weakref.ref[Estimator], tuple[FacePrediction, ...]]] = {}

    def faces(self, number: int, estimator: Estimator) -> tuple[FacePrediction, ...]:
        """The faces of one example, left to right; those of the model that was asked last are kept."""
        with self._locks[number]:  # who comes while it is predicted waits for that
            model, faces = self._predicted.get(number, (None, ()))
            if model is None or model() is not estimator:
                faces = tuple(estimator.predict(self.portraits[number][1]))
                self._predicted[number] = weakref.ref(estimator), faces
            return faces

    def predict(self, estimator: Estimator) -> None:
        """Predict them all before anybody asks, if no visitor's photo is in work. The first photos of a process take
        longest, and should not be a visitor's."""
        for number in range(len(self.portraits)):
            with VISITORS_FIRST.other():  # outside the lock, for which a visitor may wait
                self.faces(number, estimator)
