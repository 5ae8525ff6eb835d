"""Runs inputs in processes of their own, each input within a time and a share of memory."""

import logging
import multiprocessing
import os
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from cilf.child_process import ONE_THREAD
from tests.hostile.cases import Case

# Of one input: computing time, which a busy machine does not change, and memory above what the process held before.
SECONDS, MEGABYTES = 10.0, 1024.0

# After so many seconds by the clock an input hangs, whether it computes or waits.
PATIENCE_S = 120.0


# To be ready: PyTorch and Gradio are imported, on a busy machine.
START_S = 900.0

OPENED = "opened"


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Attributes:
        number: which input.
        kind: its target; empty where the process ended with it.
        result: `opened`, the name of our own error, or what went wrong: `hang`, `crash`, or a foreign error.
        seconds, megabytes: computing time, and memory above what was held before.
        foreign: whether something went wrong.
    """

    number: int
    kind: str
    result: str
    seconds: float
    megabytes: float
    foreign: bool

    @property
    def bad(self) -> bool:
        """Whether the input did what no input may do."""
        return self.foreign or self.seconds > SECONDS or self.megabytes > MEGABYTES


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    number: int | None = None
    since: float = 0.0
    computed: float = 0.0  # seconds before the input

    def seconds(self) -> float:
        """Computing time of the process; what is left of a process that has ended counts nothing."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return self.computed
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def outcomes(numbers: Sequence[int], make: Callable[[int], Case], processes: int = 1) -> Iterator[Outcome]:
    """The outcomes of inputs, as they come.

    Args:
        numbers: which inputs.
        make: makes an input of its number; it is pickled.
        processes: so many work at once.
    """
    with tempfile.TemporaryDirectory() as folder:
        yield from _outcomes(numbers, partial(_start, make, folder), processes)


def _outcomes(numbers: Sequence[int], start: Callable[[], _Worker], processes: int) -> Iterator[Outcome]:
    left, done = iter(numbers), 0
    workers = [start() for _ in range(min(processes, len(numbers)))]
    try:
        while done < len(numbers):
            for worker in workers:
                if worker.number is None and (number := next(left, None)) is not None:
                    worker.number, worker.since, worker.computed = number, time.monotonic(), worker.seconds()
                    worker.pipe.send(number)
            wait([worker.pipe for worker in workers if worker.number is not None], timeout=1)
            for place, worker in enumerate(workers):
                outcome = _outcome(worker)
                if outcome is None:
                    continue
                done, worker.number = done + 1, None
                if not worker.process.is_alive() or outcome.result in ("hang", "crash"):
                    _stop(worker)
                    workers[place] = start()
                yield outcome
    finally:
        for worker in workers:
            _stop(worker)


def _start(make: Callable[[int], Case], folder: str) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, others = context.Pipe()
    os.environ |= ONE_THREAD  # NumPy's library reads it when it is imported, before `_work` begins
    process = context.Process(target=_work, args=(others, make, folder), daemon=True)
    process.start()
    others.close()
    if not ours.poll(START_S):
        raise RuntimeError("a process for the inputs did not start")
    ours.recv()
    return _Worker(process, ours)


def _stop(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _outcome(worker: _Worker) -> Outcome | None:
    """What the worker has to tell of its input; None while it is at it."""
    if worker.number is None:
        return None
    seconds, waited = worker.seconds() - worker.computed, time.monotonic() - worker.since
    try:
        if worker.pipe.poll():
            return Outcome(worker.number, *worker.pipe.recv())
    except (EOFError, ConnectionResetError):
        worker.process.join()
        return Outcome(worker.number, "", "crash", seconds, 0.0, True)
    # Making what a target needs counts for nobody, and takes some seconds itself.
    if seconds > 3 * SECONDS or waited > PATIENCE_S:
        return Outcome(worker.number, "", "hang", seconds, 0.0, True)
    return None


def _work(pipe: Connection, make: Callable[[int], Case], folder: str) -> None:
    """The worker's side: read numbers, run their inputs, answer."""
    # All files lie in the folder, which outlives this process, however it ends.
    tempfile.tempdir = tempfile.mkdtemp(dir=folder)
    os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp()
    from tests.hostile.targets import Targets, cut_network

    logging.disable()  # what is logged of a fault comes as an outcome
    warnings.simplefilter("ignore")
    cut_network()
    targets = Targets(Path(tempfile.mkdtemp()))
    for descriptor in (1, 2):  # libtiff and Gradio write there
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    pipe.send(None)
    while True:
        try:
            number = pipe.recv()
        except EOFError:
            return
        kind, data = make(number)
        targets.prepare(kind)
        pipe.send((kind, *_measured(partial(targets, kind, data))))


def _measured(work: Callable[[], None]) -> tuple[str, float, float, bool]:
    """Result, seconds, megabytes, and whether something went wrong."""
    from cilf.errors import CilfError

    before = _memory(reset=True)
    began = time.process_time()
    result, foreign = OPENED, False
    try:
        work()
    except CilfError as error:
        result = type(error).__name__
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        result = f"{type(error).__name__}: {str(error)[:300]} ({place.filename}:{place.lineno})"
        foreign = True
    return result, time.process_time() - began, _memory() - before, foreign


def _memory(reset: bool = False) -> float:
    """Most megabytes that the process has held since the last reset; with `reset` those that it holds now."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    name = b"VmRSS:" if reset else b"VmHWM:"
    status = Path("/proc/self/status").read_bytes()
    return int(status.partition(name)[2].split(maxsplit=1)[0]) / 1024
