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
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cilf.model.clip import ClipConfig, Tokenizer
from train.data.batches import Batch
from train.data.captions import Caption, agreement, caption
from train.data.datasets import Sample

AHEAD = 3  # batches whose targets are being made while one is learned from

Describe = Callable[[int, list[Sample], np.ndarray], Any]
"""Step, B samples and their numbers → targets; picklable."""


@dataclass(frozen=True)
class TextTargets:
    """Of B photos and T texts.

    Attributes:
        age: (B,) years.
        captions: T captions; the first B are of the photos, in order.
        ids: (T, L) their tokens.
        matches: (B, T) in [0, 1], how true each text is of each photo.
        unknown: (B, T) where nothing is known of that.
    """

    age: Float[Tensor, " batch"]
    captions: list[Caption]
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

    def __call__(self, step: int, samples: list[Sample], numbers: np.ndarray) -> TextTargets:
        chances = [random.Random(f"{self.seed}/{step}/{number}") for number in numbers]
        captions = [caption(sample, chance) for sample, chance in zip(samples, chances, strict=True)]
        matches = agreement(samples, captions, self.sigma)
        ids = _tokenizer(self)([each.text for each in captions])
        age = torch.tensor([float(sample.age) for sample in samples])
        return TextTargets(age, captions, ids, matches, torch.zeros_like(matches, dtype=torch.bool))

    def __hash__(self) -> int:
        return hash((self.context_length, self.clip.token_ids))


@cache
def _tokenizer(captioner: Captioner) -> Tokenizer:
    return Tokenizer(captioner.clip, captioner.context_length)


def with_targets(batches: Iterable[list[Batch]], describe: Describe, workers: int) -> Iterator[list[Batch]]:
    """The batches, in order, with their targets, made by `workers` processes ahead (0: here, when they are due)."""
    if not workers:
        yield from (
            [replace(b, targets=describe(b.step, b.samples, b.numbers)) for b in step] for step in batches
        )
        return
    with ExitStack() as stack:
        # Spawned: a process that forks while threads of CUDA or OpenMP run may hang.
        pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_prepare, initargs=(describe,))
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        waiting: deque[list[tuple[Batch, Future[Any]]]] = deque()
        for step in batches:
            waiting.append([(b, pool.submit(_described, b.step, b.samples, b.numbers)) for b in step])
            if len(waiting) > AHEAD:
                yield [replace(b, targets=future.result()) for b, future in waiting.popleft()]
        for last in waiting:
            yield [replace(b, targets=future.result()) for b, future in last]


_describe: Describe | None = None  # of a worker process


def _prepare(describe: Describe) -> None:
    global _describe
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all processes of a terminal; the loop ends them
    torch.set_num_threads(1)
    _describe = describe


def _described(step: int, samples: list[Sample], numbers: np.ndarray) -> Any:
    assert _describe is not None
    return _describe(step, samples, numbers)
