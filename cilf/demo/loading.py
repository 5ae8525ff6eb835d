"""Loading the model behind the page, so that the page is up at once and says how far the model is."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from cilf.errors import CilfError
from cilf.prediction import FacePrediction

log = logging.getLogger(__name__)

State = Literal["loading", "ready", "failed"]


@runtime_checkable
class Estimator(Protocol):
    """What the page needs of `cilf.AgeEstimator`; naming it here keeps PyTorch out of the page's start."""

    @property
    def epsilon(self) -> float:
        """Limit of the expected error in years, above which an estimate is corrected."""
        ...

    @property
    def source(self) -> str:
        """What is loaded and from where."""
        ...

    def predict(
        self,
        photo: np.ndarray,
        *,
        no_face: Literal["skip", "whole"] = "skip",
        tiles: bool = True,
        max_faces: int | None = None,
    ) -> list[FacePrediction]:
        """The faces of a photo (HxWx3 uint8 RGB), left to right; `tiles` shows small ones too."""
        ...

    def similarity(self, face: FacePrediction, prompts: Sequence[str]) -> dict[str, float]:
        """Prompt -> cosine in [-1, 1]."""
        ...

    def softmax(self, similarities: dict[str, float]) -> dict[str, float]:
        """Prompt -> share of the softmax over these prompts."""
        ...

    def unknown_words(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        """Prompt -> words that the text tower never saw in training."""
        ...


class ModelHost:
    """Holds the page's estimator and loads it in a thread of its own.

    Args:
        load: makes the estimator; called once, by `start`.
    """

    def __init__(self, load: Callable[[], Estimator]) -> None:
        self._load = load
        self._done = threading.Event()
        self._estimator: Estimator | None = None
        self._error: CilfError | None = None

    def start(self) -> None:
        """Begin to load; returns at once."""
        threading.Thread(target=self._run, name="load-model", daemon=True).start()

    @property
    def state(self) -> State:
        """`loading` until `start` has finished its work, then `ready` or `failed`."""
        if not self._done.is_set():
            return "loading"
        return "ready" if self._error is None else "failed"

    @property
    def error(self) -> CilfError | None:
        """Why loading failed, or None."""
        return self._error

    def get(self, timeout: float | None = None) -> Estimator:
        """The estimator, waiting for it where it is still loading.

        Raises:
            CilfError: loading failed, or took longer than `timeout` seconds.
        """
        if not self._done.wait(timeout):
            raise CilfError("the model is still loading; try again in a moment")
        if self._error is not None:
            raise self._error
        assert self._estimator is not None
        return self._estimator

    def _run(self) -> None:
        try:
            self._estimator = self._load()
        except CilfError as error:
            log.error("%s", error)
            self._error = error
        except Exception as error:
            # Whatever goes wrong, the page has to say so instead of waiting for ever.
            log.exception("the model could not be loaded")
            self._error = CilfError(
                f"the model could not be loaded ({type(error).__name__}); the program's log has the details"
            )
        finally:
            self._done.set()
