"""Worker processes that open photos, find the faces and cut them out.

`cilf.photo_set.worker_process` runs in each of them. They are programs of their own, not `multiprocessing`'s: that
would run the user's own script once more in every worker, and with it import Gradio or PyTorch.
"""

import pickle
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from cilf.child_process import (
    ONE_THREAD,
    OUT_OF_REACH_OF_CTRL_C,
    available_processors,
    environment,
    module_command,
)
from cilf.errors import CilfError, PhotoError
from cilf.face.crops import CropConfig, FaceCrops
from cilf.face.images import open_pyramid_bytes
from cilf.photo_set.results import unexpected

# More workers than this wait for the one process that estimates.
MOST_WORKERS = 8

# Photos under way for each worker: one in work, and enough that none waits while crops are estimated.
PENDING_EACH = 6

# glibc gives what a large picture took back to the system, instead of keeping it for the next one. A threshold that is
# set stops glibc from adapting the other one, and then every photo's small arrays would be given back, and be cleared
# for the next photo (mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD).
_ENVIRONMENT = ONE_THREAD | {
    "MALLOC_MMAP_THRESHOLD_": str(8 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}

_Job = tuple[Future[FaceCrops], str, Any]


def opened(photo: Any) -> AbstractContextManager[Any]:
    """A photo as a context manager, which a function gives and anything else becomes."""
    return photo() if callable(photo) else nullcontext(photo)


class Workers:
    """A pool of worker processes; a context manager that ends them.

    Until the first of them has started, a thread of this process does their work, and goes on where none can be
    started.

    Args:
        config: what is cut out of every photo.
        crop: does in this process what a worker does.
        count: of processes; None takes one for each processor, up to `MOST_WORKERS`.
    """

    def __init__(
        self, config: CropConfig, crop: Callable[[Any], FaceCrops], count: int | None = None
    ) -> None:
        count = count or min(available_processors(), MOST_WORKERS)
        self.most_pending = PENDING_EACH * count
        self._crop = crop
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._started = threading.Event()
        self._processes = [WorkerProcess(config) for _ in range(count)]
        serve = [threading.Thread(target=self._serve, args=(each,), daemon=True) for each in self._processes]
        self._threads = [*serve, threading.Thread(target=self._serve_here, daemon=True)]
        for thread in self._threads:
            thread.start()

    def submit(self, name: str, photo: Any) -> Future[FaceCrops]:
        """Have a photo cropped; see `cilf.photo_set.pipeline.predict_many` for what it may be.

        The future's error is a `PhotoError`, or another `CilfError` where the detector fails.
        """
        future: Future[FaceCrops] = Future()
        self._jobs.put((future, name, photo))
        return future

    def close(self) -> None:
        """End the processes; photos under way are dropped."""
        for process in self._processes:
            process.close()
        for _ in self._threads:
            self._jobs.put(None)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, process: "WorkerProcess") -> None:
        try:
            process.start()
        except CilfError:
            return  # the thread of this process says what is wrong
        self._started.set()
        while job := self._jobs.get():
            self._settle(job, process.crop)

    def _serve_here(self) -> None:
        while not self._started.is_set():
            try:
                job = self._jobs.get(timeout=0.05)
            except Empty:
                continue
            if job is None:
                return
            self._settle(job, self._crop_here)

    def _settle(self, job: _Job, crop: Callable[[str, Any], FaceCrops]) -> None:
        """Give a job's future what comes of it."""
        future, name, photo = job
        if not future.set_running_or_notify_cancel():
            return
        try:
            with opened(photo) as source:
                can_be_sent = isinstance(source, str | Path | bytes | np.ndarray)
                crops = crop(name, source) if can_be_sent else self._crop_here(name, source)
        except CilfError as error:
            future.set_exception(error)
        except Exception as error:
            future.set_exception(unexpected(name, error))
        else:
            future.set_result(crops)  # after the photo's own context, which may fail too when it ends

    def _crop_here(self, name: str, photo: Any) -> FaceCrops:
        crops = self._crop(open_pyramid_bytes(photo, name) if isinstance(photo, bytes) else photo)
        return crops.without_photo()  # as from a worker process: what waits its turn is small


class WorkerProcess:
    """One worker process, which is started again where it dies. Used by one thread; `close` may come from another.

    Args:
        config: what is cut out of every photo.
    """

    def __init__(self, config: CropConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def start(self) -> None:
        """Start the process, and wait until it is ready for photos.

        Raises:
            CilfError: it cannot be started, or the detector fails in it.
        """
        try:
            with self._lock:
                if self._closed:
                    raise CilfError("the worker processes are closed")
                self._process = subprocess.Popen(
                    module_command("cilf.photo_set.worker_process"),
                    env=environment() | _ENVIRONMENT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    **OUT_OF_REACH_OF_CTRL_C,
                )
            self._exchange(self._config)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise CilfError(f"a worker process cannot be started ({error}); try again") from error

    def crop(self, name: str, photo: Any) -> FaceCrops:
        """Have a photo cropped. Where the process dies over it, it is tried once more in another.

        Raises:
            PhotoError: it cannot be read, or the process died twice.
            CilfError: the detector fails.
        """
        for _ in range(2):
            try:
                return self._exchange((name, photo))
            except (OSError, EOFError, pickle.UnpicklingError):
                self._end()
                self.start()
        raise PhotoError(
            f"'{name}' ended the process that opened it, twice, perhaps for want of memory; leave it out"
        )

    def close(self) -> None:
        """End the process, whatever it does."""
        with self._lock:
            self._closed = True
        self._end()

    def _exchange(self, request: Any) -> Any:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        pickle.dump(request, process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
        answer = pickle.load(process.stdout)
        if isinstance(answer, CilfError):
            raise answer
        return answer

    def _end(self) -> None:
        process = self._process
        if process is not None:
            process.kill()
            process.wait()
