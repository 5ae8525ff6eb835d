"""Loading the model behind the page, so that the page is up at once and says how far the model is."""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from cilf.errors import CilfError

if TYPE_CHECKING:
    from cilf.estimator import AgeEstimator

log = logging.getLogger(__name__)

State = Literal["loading", "ready", "failed"]


class ModelHost:
    """Holds the page's estimator and loads it in a thread of its own.

    Args:
        load: makes the estimator; called once, by `start`.
    """

    def __init__(self, load: "Callable[[], AgeEstimator]") -> None:
        self._load = load
        self._done = threading.Event()
        self._estimator: AgeEstimator | None = None
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

    def get(self, timeout: float | None = None) -> "AgeEstimator":
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
