"""Jobs of a study in processes of one thread each, which end together: networks as small as these gain little from a
second thread."""

import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from cilf.errors import UsageError
from train.fit.loop import Interrupted

T = TypeVar("T")


def side_by_side(jobs: Mapping[str, Callable[[], T]], processes: int, description: str = "") -> dict[str, T]:
    """Do all jobs, so many at once, and give what they give, by their names. The first that fails ends the others.

    Args:
        jobs: picklable functions.
        processes: with one, the jobs are done here, in turn.
        description: of the progress bar; none without.

    Raises:
        Interrupted: stopped by SIGINT or SIGTERM. Trainings have stored where they are.
        UsageError: the system has ended one of the processes.
    """
    processes = max(1, min(processes, len(jobs)))
    bar = tqdm(total=len(jobs), desc=description, unit="fit", disable=not description)
    if processes == 1:
        return {name: _counted(job, bar) for name, job in jobs.items()}
    waiting, running, results = dict(jobs), dict[Future[T], str](), dict[str, T]()
    spawned = ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,))
    with _stopped(), spawned as pool:
        try:
            # All are there before the first job: the pool does not watch one that comes while it waits for another's
            # result, and would wait on when the system ends it.
            wait([pool.submit(_nothing) for _ in range(processes)])
            while waiting or running:
                # No more at a time: what the pool has taken in cannot be called back.
                while waiting and len(running) < processes:
                    name = next(iter(waiting))
                    running[pool.submit(waiting.pop(name))] = name
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    results[running.pop(future)] = _counted(future.result, bar)
        except BaseException as error:
            for child in active_children():
                child.terminate()  # SIGTERM, after which a training stores where it is
            if isinstance(error, BrokenProcessPool):
                raise UsageError(
                    "the system has ended one of the processes, perhaps for want of memory; give fewer --processes"
                ) from None
            raise
    return {name: results[name] for name in jobs}


def _nothing() -> None:
    pass


def _counted(job: Callable[[], T], bar: Any) -> T:
    result = job()
    bar.update()
    return result


@contextmanager
def _stopped() -> Iterator[None]:
    """While open, SIGINT and SIGTERM raise `Interrupted`."""

    def stop(*_: object) -> None:
        raise Interrupted("Stopped; the same command goes on from there.")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
