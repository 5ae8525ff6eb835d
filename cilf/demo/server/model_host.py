"""Loading the model behind the page, so that the page is up at once and says how far the model is."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cilf.demo import texts
from cilf.demo.server import zero_gpu
from cilf.errors import CilfError
from cilf.hub import Progress

log = logging.getLogger(__name__)

# At run time a name alone: importing PyTorch takes seconds, for which the page does not wait.
if TYPE_CHECKING:
    from cilf.estimator import AgeEstimator as Estimator
else:
    Estimator = Any

State = Literal["loading", "ready", "failed"]


class ModelHost:
    """Holds the page's estimator and loads it in a thread of its own.

    Args:
        load: makes the estimator; called once, by `start`.
        says_why: whether `error` says why loading failed, which may name folders of this computer; else the program's
            log alone does.
    """

    def __init__(self, load: Callable[[], Estimator], says_why: bool = True) -> None:
        self._load = load
        self._says_why = says_why
        self._done = threading.Event()
        self._replacing = threading.Lock()
        self._held: Estimator | CilfError | None = None  # one attribute, so that a swap is one step
        self._first_work: list[Callable[[Estimator], None]] = []

    def start(self) -> None:
        """Begin to load; returns at once."""
        first_work = tuple(self._first_work)
        threading.Thread(target=self._run, args=(first_work,), name="load-model", daemon=True).start()

    def when_ready(self, work: Callable[[Estimator], None]) -> None:
        """Have `work` done in the loading thread as soon as the model is ready, if this is asked before `start`.

        It only saves visitors time: what goes wrong in it comes into the log. Where the GPU is lent to visitors alone,
        it is not done.
        """
        self._first_work.append(work)

    @property
    def state(self) -> State:
        """`loading` until `start` has finished its work, then `ready` or `failed`."""
        if not self._done.is_set():
            return "loading"
        return "ready" if self.error is None else "failed"

    @property
    def error(self) -> CilfError | None:
        """Why loading failed, or None."""
        held = self._held
        return held if isinstance(held, CilfError) else None

    def get(self, timeout: float | None = None) -> Estimator:
        """The estimator, waiting for it where it is still loading.

        Raises:
            CilfError: loading failed, or took longer than `timeout` seconds.
        """
        if not self._done.wait(timeout):
            raise CilfError("the model is still loading; try again in a moment")
        held = self._held
        if isinstance(held, CilfError):
            raise held
        assert held is not None
        return held

    def wait(self) -> None:
        """Wait until loading is over, well or not."""
        self._done.wait()

    def replace(self, load: Callable[[], Estimator]) -> Estimator:
        """Load another estimator in this thread and hand it out from then on; who has the old one keeps it.

        Until the new one is there, and where it cannot be loaded, the old one is handed out. One replacement at a time.

        Raises:
            CilfError: the new one cannot be loaded.
        """
        with self._replacing:
            self._done.wait()
            self._held = _made(load)
            return self._held

    def _run(self, first_work: Sequence[Callable[[Estimator], None]]) -> None:
        try:
            self._held = _made(self._load)
        except CilfError as error:
            log.error("%s", error)
            self._held = error if self._says_why else CilfError(texts.NO_MODEL)
        finally:
            self._done.set()
        if self.state == "ready" and not zero_gpu.is_here():
            for work in first_work:
                try:
                    work(self.get())
                except Exception:
                    log.warning("the page's first work failed", exc_info=True)


def _made(load: Callable[[], Estimator]) -> Estimator:
    try:
        return load()
    except CilfError:
        raise
    except Exception as error:
        # Whatever goes wrong, the page has to say so instead of waiting for ever.
        log.exception("the model could not be loaded")
        raise CilfError(
            f"the model could not be loaded ({type(error).__name__}); the program's log has the details"
        ) from error


def age_estimator(
    source: str | None,
    revision: str | None = None,
    progress: Progress | None = None,
    *,
    device: str = "cpu",
    max_faces: int | None = None,
) -> Estimator:
    """Load `cilf.AgeEstimator` (see its `from_pretrained`) and try it on a grey picture.

    Raises:
        CilfError: it cannot be loaded.
    """
    # Imported here, in the loading thread: PyTorch takes seconds, and the page need not wait for it.
    from cilf.estimator import AgeEstimator

    estimator = AgeEstimator.from_pretrained(
        source,
        revision=revision,
        device=device,
        max_faces=max_faces,
        on_device=zero_gpu.on_gpu,
        progress=progress,
    )
    if not zero_gpu.is_here():  # a GPU is lent to visitors alone
        estimator.predict(np.full((64, 64, 3), 128, np.uint8), no_face="whole")
    return estimator
