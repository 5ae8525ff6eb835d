"""What a batch's loss compares with, made from labels by worker processes while the device computes earlier steps.

Choosing captions, telling which is true of which face and tokenising them takes a CPU some 0.1 s for 500 photos: longer
than a GPU takes for the whole step.
"""

import random
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from cilf.inference.tokenizer import Tokenizer
from cilf.model.config import ClipConfig
from train.data.attributes import MESH, visible
from train.data.batches import Batch
from train.data.captions import Caption, agreement, caption, opposite
from train.data.datasets import Sample

AHEAD = 3  # batches whose targets are being made while one is learned from

# One further text, false of its photo, for so many photos. They are evenly spread, so that several processes make the
# same ones as one process, where this divides a quarter of the batch.
OPPOSITES = 4


@dataclass(frozen=True)
class Labelled:
    """What is known of B photos of a batch, on the CPU; see `train.data.batches.Batch`.

    Attributes:
        pixel: (B, P) what is measured on the pixels (`train.data.photo_attributes`); None where nothing is.
    """

    step: int
    samples: list[Sample]
    numbers: np.ndarray
    pixel: Tensor | None = None
    mesh: Tensor | None = None
    flipped: Tensor | None = None
    covered: Tensor | None = None


Describe = Callable[[Labelled], Any]
"""Makes targets; picklable."""

Measure = Callable[[Batch], Tensor | None]
"""What a system measures on a batch's pixels, before they are mixed; on their device."""


@dataclass(frozen=True)
class TextTargets:
    """Of B photos and T texts.

    Attributes:
        age: (B,) years.
        captions: T captions; the first B are of the photos, in order, and the others false of one of them.
        attributes: (B, A) what was measured of the photos; None where nothing was.
        ids: (T, L) their tokens.
        matches: (B, T) in [0, 1], how true each text is of each photo.
        unknown: (B, T) where nothing is known of that.
    """

    age: Float[Tensor, " batch"]
    captions: list[Caption]
    attributes: Int8[Tensor, "batch attribute"] | None
    ids: Int[Tensor, "text token"]
    matches: Float[Tensor, "batch text"]
    unknown: Bool[Tensor, "batch text"]

    def to(self, device: torch.device) -> "TextTargets":
        """The same with its tensors on a device."""
        names = ("age", "ids", "matches", "unknown")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})


@dataclass(frozen=True)
class Captioner:
    """Captions and what they match, as functions of (seed, step, sample number) and the labels alone.

    Attributes:
        clip: whose text tower reads the captions.
        context_length: of that tower.
        seed: of the run.
        sigma: see `LossConfig.contrastive_sigma`.
    """

    clip: ClipConfig
    context_length: int
    seed: int
    sigma: float

    def __call__(self, batch: Labelled) -> TextTargets:
        samples = batch.samples
        attributes = _attributes(batch)
        rows = [None] * len(samples) if attributes is None else list(attributes.numpy())
        chances = [random.Random(f"{self.seed}/{batch.step}/{number}") for number in batch.numbers]
        photos = list(zip(samples, rows, chances, strict=True))
        captions = [caption(sample, row, chance) for sample, row, chance in photos]
        # Always as many, so that processes can gather them: a caption without an opposite stands there twice.
        captions += [
            opposite(true, *photo) or true
            for true, photo in zip(captions[::OPPOSITES], photos[::OPPOSITES], strict=True)
        ]
        matches = agreement(samples, attributes, captions, self.sigma)
        age = torch.tensor([float(sample.age) for sample in samples])
        ids = torch.from_numpy(_tokenizer(self)([each.text for each in captions]))
        return TextTargets(age, captions, attributes, ids, matches.truth, matches.unknown)

    def __hash__(self) -> int:
        return hash((self.context_length, self.clip.token_ids))


def _attributes(batch: Labelled) -> Int8[Tensor, "batch attribute"] | None:
    if batch.pixel is None or batch.flipped is None:
        return None
    unmeasured = torch.zeros(len(batch.samples), len(MESH), dtype=torch.int8)
    mesh = unmeasured if batch.mesh is None else batch.mesh
    return visible(batch.pixel, mesh, batch.flipped, batch.covered)


@cache
def _tokenizer(captioner: Captioner) -> Tokenizer:
    return Tokenizer(captioner.clip, captioner.context_length)


def labelled(batch: Batch, pixel: Tensor | None) -> Labelled:
    """What is known of a batch, with what was measured on its pixels, on the CPU: other processes have no CUDA."""
    pixel, mesh, flipped, covered = (
        None if each is None else each.cpu() for each in (pixel, batch.mesh, batch.flipped, batch.covered)
    )
    return Labelled(batch.step, batch.samples, batch.numbers, pixel, mesh, flipped, covered)


class _Measured:
    """A batch, and what is measured on its pixels on its way from the device to the CPU."""

    def __init__(self, batch: Batch, measure: Measure) -> None:
        self.batch = batch
        self._pixel = measure(batch)
        self._arrived: Any = None
        if self._pixel is not None and self._pixel.device.type == "cuda":
            self._pixel = self._pixel.to("cpu", non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def labelled(self) -> Labelled:
        """What is known of the batch, when the measurements have arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return labelled(self.batch, self._pixel)


def with_targets(
    batches: Iterable[list[Batch]], measure: Measure, describe: Describe, workers: int
) -> Iterator[list[Batch]]:
    """The batches, in order, with their targets, made by `workers` processes ahead (0: here, when they are due)."""
    if not workers:
        for step in batches:
            yield [replace(b, targets=describe(labelled(b, measure(b)))) for b in step]
        return
    with ExitStack() as stack:
        # Spawned: a process that forks while threads of CUDA or OpenMP run may hang.
        pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_prepare, initargs=(describe,))
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        # A step's measurements are waited for one step later, when the device has the next step to compute.
        fresh: list[_Measured] = []
        waiting: deque[list[tuple[Batch, Future[Any]]]] = deque()
        for step in chain(batches, [[]]):
            if fresh:
                waiting.append([(each.batch, pool.submit(_described, each.labelled())) for each in fresh])
            fresh = [_Measured(batch, measure) for batch in step]
            if len(waiting) > AHEAD:
                yield _resolved(waiting.popleft())
        for last in waiting:
            yield _resolved(last)


def _resolved(step: list[tuple[Batch, "Future[Any]"]]) -> list[Batch]:
    return [replace(batch, targets=future.result()) for batch, future in step]


_describe: Describe | None = None  # of a worker process


def _prepare(describe: Describe) -> None:
    global _describe
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all processes of a terminal; the loop ends them
    torch.set_num_threads(1)
    _describe = describe


def _described(batch: Labelled) -> Any:
    assert _describe is not None
    return _describe(batch)
