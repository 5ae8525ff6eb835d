"""The worker processes that all large photo sets of the page share."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cilf.demo.server.model_host import Estimator
from cilf.face.crops import CropConfig
from cilf.photo_set.workers import Workers


class SharedWorkers:
    """Starts worker processes when they are first asked for, and ends them when nobody has used them for a while.

    Args:
        idle: seconds after which they end.
    """

    def __init__(self, idle: float = 60.0) -> None:
        self._idle = idle
        self._lock = threading.Lock()
        self._pools: dict[CropConfig, _Pool] = {}

    @contextmanager
    def use(self, estimator: Estimator) -> Iterator[Workers]:
        """Processes that cut photos out as this estimator needs it, which end no earlier than the block."""
        config = estimator.crop_config()
        with self._lock:
            pool = self._pools.get(config)
            if pool is None:
                pool = self._pools[config] = _Pool(
                    Workers(config, lambda photo: estimator.crop(photo, config))
                )
            pool.users += 1
            pool.uses += 1
        try:
            yield pool.workers
        finally:
            with self._lock:
                pool.users -= 1
                if not pool.users:
                    timer = threading.Timer(self._idle, self._close_unused, (config, pool.uses))
                    timer.daemon = True
                    timer.start()

    def _close_unused(self, config: CropConfig, uses: int) -> None:
        """Close a pool that nobody has used since that many uses."""
        with self._lock:
            pool = self._pools.get(config)
            if pool is not None and pool.uses == uses:
                del self._pools[config]
                pool.workers.close()


class _Pool:
    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.users = 0
        self.uses = 0
