"""The order of the data, and the loader that draws batches ahead of the loop, which augments them on its device.

Which photos make a step, and how each is augmented, is a function of (seed, epoch, step, sample number) alone. Neither
the number of processes, nor of worker processes, nor an interruption changes it.
"""

import math
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from train.data.augmentation.augment import AugmentConfig, Draws, augment, draw, mix_amplitudes, plain
from train.data.crop_cache import Subset
from train.data.datasets import DatasetError, Sample

AGE_SMOOTHING = 2.0  # years; how common an age is counts its neighbours too
MAX_AGE = 100  # years; older ones count as this age when ages are balanced


@dataclass(frozen=True)
class Batch:
    """What the model learns from at once: B photos of one step.

    Attributes:
        step: of the whole run, counted from 0.
        pixels: (B, 3, S, S) in [0, 1], augmented.
        samples: B labels.
        numbers: (B,) sample numbers, unique over all data sets of the run.
        draws: what the batch was augmented by, and what a second view of it would be; None for pixels as they are.
        mesh: (B, M) what the face mesh measured on each photo (`train.data.face_mesh`), on the CPU; None where nothing
            was measured.
        flipped, covered: (B,) whether each photo was mirrored, and partly covered, on the CPU; None as for `draws`.
        targets: what the system's loss compares with, where it was made ahead (`train.fit.objective.System.targets`).
    """

    step: int
    pixels: Tensor
    samples: list[Sample]
    numbers: np.ndarray
    draws: Draws | None = None
    mesh: Tensor | None = None
    flipped: Tensor | None = None
    covered: Tensor | None = None
    targets: Any = None

    def to(self, device: torch.device) -> "Batch":
        """The same with the pixels on `device`."""
        return replace(self, pixels=self.pixels.to(device, non_blocking=True))


@dataclass(frozen=True)
class Draft:
    """A batch before its pixels are made: all that costs a CPU time, and nothing that costs it memory.

    Attributes:
        step, samples, numbers: see `Batch`.
        size: S, side in pixels that the batch is to have.
        draws: (B, draws), see `train.data.augmentation.augment.draw`.
        picked: (B, 2) data set and row of each photo in the crop cache; None where `crops` come along.
        crops: (B, side, side, 3) uint8; None where they lie in the crop cache.
        mesh: see `Batch`.
    """

    step: int
    size: int
    samples: list[Sample]
    numbers: np.ndarray
    draws: Tensor
    picked: np.ndarray | None = None
    crops: Tensor | None = None
    mesh: Tensor | None = None


def finished(
    draft: Draft, crops: Tensor, margin: int, config: AugmentConfig, device: torch.device | str
) -> Batch:
    """A draft with its crops on `device` → the augmented batch."""
    draws = Draws(draft.draws, device).sparing(config.spared)
    pixels = mix_amplitudes(augment(crops, draft.size, margin, draws, config), draws, config)
    flipped, covered = draws.below("flip", 0.5), draws.below("erase", config.erase)
    return Batch(draft.step, pixels, draft.samples, draft.numbers, draws, draft.mesh, flipped, covered)


@dataclass(frozen=True)
class Schedule:
    """What all sources of batches must know of a run.

    Attributes:
        seed: of order and augmentation.
        batch_size: samples per step, of all processes together.
        balance: see `FitConfig.balance`.
        epochs: passes over the data; the last one may be a part of one.
        sizes: (share of the steps, side in pixels), see `FitConfig.sizes`.
        augment: strengths.
        process, processes: this process and how many there are; each loads a part of its own of every step.
        parts: into how many a process cuts its part again, for accumulating gradients.
    """

    seed: int
    batch_size: int
    balance: float
    epochs: float
    sizes: tuple[tuple[float, int], ...]
    augment: AugmentConfig
    process: int = 0
    processes: int = 1
    parts: int = 1

    def __post_init__(self) -> None:
        cuts = self.processes * self.parts
        if cuts > 1 and self.batch_size % (2 * cuts):
            raise DatasetError(
                f"A batch of {self.batch_size} cannot be cut into {cuts} equal parts of even size ({self.processes} "
                f"process(es), {self.parts} accumulated); choose a batch_size that {2 * cuts} divides."
            )

    def steps_per_epoch(self, photos: int) -> int:
        """Steps of an epoch that draws this many photos. Raises DatasetError when they do not fill one batch."""
        steps = photos // self.batch_size
        if steps == 0:
            raise DatasetError(f"{photos} training photos do not fill one batch of {self.batch_size}.")
        return steps

    def steps(self, per_epoch: int) -> int:
        """Steps of all epochs, one at least."""
        return max(1, round(per_epoch * self.epochs))

    def size(self, step: int, steps: int) -> int:
        """Side in pixels of the pictures at a step of `steps`."""
        return next(size for share, size in reversed(self.sizes) if step >= share * steps)


class Source(Protocol):
    """Where batches come from: a crop cache (`Cached`) or a stream of shards (`train.data.shards`)."""

    steps_per_epoch: int

    def batches(self, first: int, workers: int, device: torch.device | str = "cpu") -> Iterator[list[Batch]]:
        """This process' parts of each step from `first` to the last, drawn ahead by `workers` processes (0: none), with
        their pixels on `device`."""
        ...


@dataclass(frozen=True)
class _Job:
    """One step to load: for each part an (n, 2) array of (data set, row)."""

    step: int
    epoch: int
    size: int
    parts: tuple[np.ndarray, ...]


class Cached(TorchDataset[list[Draft]]):
    """Batches from crop caches, in an order that is random over all of them."""

    def __init__(self, train: list[Subset], schedule: Schedule) -> None:
        self.train = train
        self.schedule = schedule
        self.offsets = np.cumsum([0, *(len(subset.cache.samples) for subset in train)])
        photos = sum(int(len(subset.rows) * subset.share) for subset in train)
        self.steps_per_epoch = schedule.steps_per_epoch(photos)

    def batches(self, first: int, workers: int, device: torch.device | str = "cpu") -> Iterator[list[Batch]]:
        """See `Source.batches`."""
        crops = _crops(self.train, torch.device(device))
        margin = self.train[0].cache.margin
        for drafts in ahead(self, self._jobs(first), workers):
            yield [
                finished(draft, crops(draft.picked), margin, self.schedule.augment, device)
                for draft in drafts
            ]

    def _jobs(self, first: int) -> Iterator[_Job]:
        schedule, per_epoch = self.schedule, self.steps_per_epoch
        steps = schedule.steps(per_epoch)
        cuts = schedule.processes * schedule.parts
        mine = range(schedule.process * schedule.parts, (schedule.process + 1) * schedule.parts)
        for epoch in range(first // per_epoch, math.ceil(steps / per_epoch)):
            order = epoch_order(self.train, epoch, schedule.seed, schedule.balance)
            for step in range(max(first, epoch * per_epoch), min((epoch + 1) * per_epoch, steps)):
                start = (step - epoch * per_epoch) * schedule.batch_size
                batch = order[start : start + schedule.batch_size]
                parts = tuple(mirrored_part(batch, part, cuts) for part in mine)
                yield _Job(step, epoch, schedule.size(step, steps), parts)

    def __getitem__(self, job: _Job) -> list[Draft]:
        return [self._draft(job, picked) for picked in job.parts]

    def _draft(self, job: _Job, picked: np.ndarray) -> Draft:
        samples = [self.train[part].cache.samples[row] for part, row in picked]
        numbers = self.offsets[picked[:, 0]] + picked[:, 1]
        draws = draw(self.schedule.seed, job.step, numbers)
        caches = [subset.cache for subset in self.train]
        mesh = None
        if all(cache.mesh is not None for cache in caches):
            mesh = torch.from_numpy(np.stack([caches[part].mesh[row] for part, row in picked]))
        return Draft(job.step, job.size, samples, numbers, draws, picked=picked, mesh=mesh)


def _crops(train: list[Subset], device: torch.device) -> Callable[[Any], Tensor]:
    """(B, 2) data sets and rows → (B, side, side, 3) crops on the device.

    A GPU gets all crops at once, which saves copying them in each step: 30,000 of 160 pixels are 2.3 GB.
    """
    if device.type == "cpu":
        return lambda picked: torch.from_numpy(np.stack([train[p].cache.crops[row] for p, row in picked]))
    place = [np.full(len(subset.cache.samples), -1) for subset in train]
    offset = 0
    for places, subset in zip(place, train, strict=True):
        places[subset.rows] = offset + np.arange(len(subset.rows))
        offset += len(subset.rows)
    crops = torch.cat([torch.from_numpy(subset.cache.crops[subset.rows]).to(device) for subset in train])

    def gather(picked: np.ndarray) -> Tensor:
        index = torch.from_numpy(np.array([place[part][row] for part, row in picked]))
        return crops[index.to(device, non_blocking=True)]

    return gather


def ahead(data: Any, jobs: Iterable[Any] | None, workers: int) -> Iterator[list[Draft]]:
    """The data's drafts in order, from worker processes that stay two batches ahead; `jobs` are its indices.

    Raises DatasetError for an item that is one: as a worker's exception it would arrive as a traceback in a sentence.
    """
    # Spawned: a worker that forks from a process in which MediaPipe or OpenMP has run may hang.
    context = "spawn" if workers else None
    loader: Iterable[list[Draft] | DatasetError] = DataLoader(
        data,
        sampler=jobs,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=context,
        collate_fn=_as_it_is,
        worker_init_fn=_leave_interrupts_to_the_loop,
        generator=torch.Generator(),  # else every loader moves on the run's own random stream
    )
    for item in loader:
        if isinstance(item, DatasetError):
            raise item
        yield item


def _leave_interrupts_to_the_loop(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal; a worker that ended would fail the step that the loop still takes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_it_is(item: Any) -> Any:
    return item


def epoch_order(train: list[Subset], epoch: int, seed: int, balance: float) -> np.ndarray:
    """(N, 2) data set and row of an epoch's photos, in the order that (seed, epoch) gives."""
    generator = np.random.default_rng((seed, epoch))
    rows = [draw_rows(subset, balance, generator) for subset in train]
    picked = np.concatenate([np.stack([np.full_like(r, part), r], axis=1) for part, r in enumerate(rows)])
    return picked[generator.permutation(len(picked))]


def mirrored_part(batch: np.ndarray, part: int, parts: int) -> np.ndarray:
    """One of `parts` equal parts of a batch: a piece of its first half and that piece's mirror image in the second.

    So a part's own reverse is its share of the whole batch's reverse, and mixup finds the same partners however a batch
    is cut.
    """
    if parts == 1:
        return batch
    count = len(batch) // (2 * parts)
    first, last = part * count, len(batch) - part * count
    return np.concatenate([batch[first : first + count], batch[last - count : last]])


def draw_rows(subset: Subset, balance: float, generator: np.random.Generator) -> np.ndarray:
    """One epoch's rows of a subset: `share` of its number, rare ages preferred.

    A photo that is expected 1.3 times comes once or twice, never 0 or 3 times (systematic sampling).
    """
    count = int(len(subset.rows) * subset.share)
    ages = np.array([min(subset.cache.samples[row].age, MAX_AGE) for row in subset.rows], dtype=int)
    expected = preference(np.bincount(ages, minlength=MAX_AGE + 1), balance)[ages]
    expected *= count / expected.sum()
    order = generator.permutation(len(ages))
    edges = np.cumsum(expected[order])
    edges[-1] = count  # free of rounding
    times = np.diff(np.floor(edges + generator.random()), prepend=0).astype(int)
    return np.repeat(subset.rows[order], times)


def preference(counts: np.ndarray, balance: float) -> np.ndarray:
    """(MAX_AGE + 1,) relative frequency at which to draw a photo of each age, of which there are `counts`."""
    common = gaussian_filter1d(counts.astype(float), AGE_SMOOTHING)
    return np.where(counts > 0, common, 1.0) ** -balance


def plain_batches(
    subset: Subset, size: int, device: torch.device | str = "cpu", batch_size: int = 128
) -> Iterator[Tensor]:
    """(B, 3, size, size) unaugmented pixels in [0, 1] of a subset's crops, in their order, on `device`."""
    for start in range(0, len(subset.rows), batch_size):
        crops = torch.from_numpy(subset.cache.crops[subset.rows[start : start + batch_size]])
        pixels = plain(crops.to(device), size, subset.cache.margin)
        yield pixels.contiguous(memory_format=torch.channels_last)
