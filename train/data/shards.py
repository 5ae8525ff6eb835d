"""Crops in tar files (WebDataset shards), for sets too big for a disk or for memory: written once, read as a stream.

`python -m train prepare --shards FOLDER` writes them in random order, each part of a split apart, with an index that
says how many there are of each age. They may then lie anywhere that WebDataset reads from: in a folder, on a web
server (`https://…`; it fetches with `curl`). Every shard that is read is compared with its SHA-256 in the index first.

What a stream can promise is less than what a cache can. Its order is a function of (seed, epoch, number of processes,
number of workers): with these unchanged a resumed run ends bit for bit as one that was not stopped, at the price of
reading once more (not decoding) what the stopped epoch had read. With other numbers the run goes on with another order.
A photo is met about once an epoch, not exactly once: every reader starts over when it is through its shards, until the
epoch's steps are done.
"""

import hashlib
import io
import itertools
import json
import math
import random
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info
from webdataset.tariterators import group_by_keys, tar_file_expander, url_opener

from train.data.augmentation.augment import draw
from train.data.batches import MAX_AGE, Batch, Draft, Schedule, ahead, finished, preference
from train.data.crop_cache import labels
from train.data.datasets import DatasetError, Sample

INDEX = "index.json"
NUMBERED = "-" + "[0-9]" * 6 + ".tar"  # how the names of our shards end, as a pattern
PER_SHARD = 2000  # crops; of 160 px about 90 MB as PNG
WAITING = 2000  # crops in memory per reader, among which the next one is drawn


@dataclass(frozen=True)
class ShardSet:
    """One part of one data set, in shards.

    Attributes:
        urls: of the tar files, in order.
        sha256: of each of them.
        ages: (MAX_AGE + 1,) how many crops there are of each age in whole years; the last one counts older ones too.
        margin: pixels of context round each crop.
        share: of the crops, drawn each epoch.
        elsewhere: file name → part, of the photos that split files put into another part: none of them may come.
    """

    urls: tuple[str, ...]
    sha256: tuple[str, ...]
    ages: tuple[int, ...]
    margin: int
    share: float = 1.0
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many crops there are."""
        return sum(self.ages)

    def fingerprint(self) -> str:
        """SHA-256 of the shards' own: another one means other data."""
        return hashlib.sha256("".join(self.sha256).encode()).hexdigest()


def open_shards(
    location: str,
    part: str = "train",
    share: float = 1.0,
    size: int = 0,
    splits: Mapping[str, str] | None = None,
) -> ShardSet:
    """The shards of a split's part at a folder or address that `write_shards` filled. Raises DatasetError, also where
    their crops are smaller than `size` pixels; reading them does so at a photo that `splits` (file name → part) puts
    into another part, as where they were written by another split or without one."""
    try:
        with webdataset.gopen(f"{location}/{INDEX}") as file:
            stored = json.loads(file.read())
        entry = stored["parts"][part]
        names = [shard["name"] for shard in entry["shards"]]
        hashes = tuple(shard["sha256"] for shard in entry["shards"])
        margin = int(stored["margin"])
        stored_size = int(stored.get("size", size))  # which earlier shards do not say
    except KeyError as error:
        raise DatasetError(
            f"The shards at {location} have no part {error}; write them with --split."
        ) from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"No shards at {location}: looked for {location}/{INDEX} ({error}).") from error
    if stored_size < size:
        raise DatasetError(
            f"The shards at {location} hold crops of {stored_size} px and the recipe sees {size}, which would teach it "
            f"blur; write them with `prepare --size {size}`."
        )
    urls = tuple(f"{location}/{name}" for name in names)
    elsewhere = {name: other for name, other in (splits or {}).items() if other != part}
    return ShardSet(urls, hashes, tuple(entry["ages"]), margin, share, elsewhere)


def write_shards(
    crops: Iterable[tuple[Sample, np.ndarray]],
    folder: Path,
    margin: int,
    splits: Mapping[str, str] | None = None,
    per_shard: int = PER_SHARD,
) -> dict[str, int]:
    """Write samples and their crops (S, S, 3) uint8, as they come, into shards; gives the number in each part.

    `splits` says which part each file name belongs to; those that it does not name are left out. Without it all are of
    the part `train`. Shards that the folder already holds are removed: a photo of theirs may be of another part now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / INDEX, *folder.glob(f"*{NUMBERED}")):
        old.unlink(missing_ok=True)
    ages: dict[str, np.ndarray] = {}
    side = 0
    with ExitStack() as stack:
        writers: dict[str, Any] = {}
        for sample, crop in crops:
            part = "train" if splits is None else splits.get(sample.name)
            if part is None:
                continue
            if part not in writers:
                # The same crops give the same bytes, whenever and by whomever they are written.
                options = {"maxcount": per_shard, "verbose": 0, "mtime": 0}
                writer = webdataset.ShardWriter(f"{folder}/{part}-%06d.tar", **options)
                writers[part] = stack.enter_context(writer)
                ages[part] = np.zeros(MAX_AGE + 1, dtype=int)
            side = len(crop)
            number = int(ages[part].sum())  # in its part, as `Streamed` counts on to the next set
            ages[part][_whole(sample)] += 1
            row = json.dumps(labels(sample) | {"number": number}).encode()
            writers[part].write({"__key__": f"{number:09}", "png": _png(crop), "json": row})
    parts = {
        part: {
            "ages": counts.tolist(),
            "shards": [_entry(path) for path in sorted(folder.glob(f"{part}{NUMBERED}"))],
        }
        for part, counts in ages.items()
    }
    (folder / INDEX).write_text(
        json.dumps({"size": side - 2 * margin, "margin": margin, "parts": parts}, indent=1) + "\n",
        encoding="utf-8",
    )
    return {part: int(counts.sum()) for part, counts in ages.items()}


def _whole(sample: Sample) -> int:
    return min(int(sample.age), MAX_AGE)


def _png(crop: np.ndarray) -> bytes:
    """Lossless, so that a model learns the same from shards as from the crop cache."""
    file = io.BytesIO()
    Image.fromarray(crop).save(file, "PNG")
    return file.getvalue()


def _entry(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        return {"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


@dataclass(frozen=True)
class _Encoded:
    """A crop as it comes from a shard, and its number among all sets."""

    png: bytes
    sample: Sample
    number: int


class Streamed(IterableDataset[list[Draft] | DatasetError]):
    """Batches from shards. Each reader (worker of a process) has shards of its own, and makes every n-th step."""

    def __init__(self, train: Sequence[ShardSet], schedule: Schedule) -> None:
        self.train = train
        self.schedule = schedule
        self.steps_per_epoch = schedule.steps_per_epoch(sum(int(part.count * part.share) for part in train))
        self.first = 0
        self.of_set = {url: number for number, part in enumerate(train) for url in part.urls}
        self.sha256 = {
            url: sha256 for part in train for url, sha256 in zip(part.urls, part.sha256, strict=True)
        }
        self.offsets = np.cumsum([0, *(part.count for part in train)])
        self.times = [
            preference(np.array(part.ages), schedule.balance) for part in train
        ]  # expected draws of a crop per epoch, by age
        for part, times in zip(train, self.times, strict=True):
            times *= int(part.count * part.share) / (times * np.array(part.ages)).sum()

    def batches(self, first: int, workers: int, device: torch.device | str = "cpu") -> Iterator[list[Batch]]:
        """See `train.data.batches.Source.batches`."""
        readers = max(1, workers) * self.schedule.processes
        if len(self.of_set) < readers:
            raise DatasetError(
                f"{len(self.of_set)} shards are too few for {readers} readers ({self.schedule.processes} process(es) "
                f"with {max(1, workers)} worker(s) each); write smaller shards or take fewer workers."
            )
        self.first = first
        return self._finished(workers, device)

    def _finished(self, workers: int, device: torch.device | str) -> Iterator[list[Batch]]:
        margin, config = self.train[0].margin, self.schedule.augment
        for drafts in ahead(self, None, workers):
            yield [
                finished(draft, draft.crops.to(device, non_blocking=True), margin, config, device)
                for draft in drafts
                if draft.crops is not None
            ]

    def __iter__(self) -> Iterator[list[Draft] | DatasetError]:
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        # The loader asks its workers in turn from worker 0 on, wherever a run resumes; which reader makes a step must
        # not depend on that.
        lane = (self.first + number) % workers
        try:
            yield from self._steps(lane, workers)
        except (DatasetError, OSError, EOFError, ValueError, tarfile.TarError) as error:
            yield (
                error if isinstance(error, DatasetError) else DatasetError(f"A shard cannot be read: {error}")
            )

    def _steps(self, lane: int, lanes: int) -> Iterator[list[Draft]]:
        schedule, per_epoch = self.schedule, self.steps_per_epoch
        steps = schedule.steps(per_epoch)
        size = schedule.batch_size // schedule.processes
        reader = schedule.process * lanes + lane
        for epoch in range(self.first // per_epoch, math.ceil(steps / per_epoch)):
            crops = self._crops(epoch, reader, lanes * schedule.processes)
            for step in range(epoch * per_epoch, min((epoch + 1) * per_epoch, steps)):
                if step % lanes == lane:
                    chosen = list(itertools.islice(crops, size))
                    if step >= self.first:
                        yield self._drafts(step, schedule.size(step, steps), chosen)

    def _crops(self, epoch: int, reader: int, readers: int) -> Iterator[_Encoded]:
        """A reader's crops of an epoch, in random order and without end."""
        urls = list(self.of_set)
        for again in itertools.count():
            generator = np.random.default_rng((self.schedule.seed, epoch, again))
            mine = [urls[index] for index in generator.permutation(len(urls))[reader::readers]]
            chance = random.Random(f"{self.schedule.seed}/{epoch}/{again}/{reader}")
            yield from webdataset.DataPipeline(
                webdataset.SimpleShardList(mine),
                url_opener,
                self._verified,
                tar_file_expander,
                group_by_keys,
                lambda rows, again=again: self._wanted(rows, epoch, again),
                webdataset.shuffle(WAITING, initial=WAITING, rng=chance),
            )

    def _verified(self, shards: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Read each shard whole and compare its SHA-256 with the index's, before a crop of it is used.

        Raises:
            DatasetError: a shard is not the one that was written.
        """
        for shard in shards:
            with shard["stream"] as stream:
                content = stream.read()
            if hashlib.sha256(content).hexdigest() != self.sha256[shard["url"]]:
                raise DatasetError(
                    f"The shard '{shard['url']}' is damaged or changed: its SHA-256 is not the one in {INDEX}; copy it "
                    "again, or write the shards again."
                )
            yield shard | {"stream": io.BytesIO(content)}

    def _wanted(self, rows: Iterable[dict[str, Any]], epoch: int, again: int) -> Iterator[_Encoded]:
        """Each crop as often as an epoch wants it: 1.3 times is once or twice."""
        for row in rows:
            row_values = json.loads(row["json"])
            part = self.of_set[row["__url__"]]
            if other := self.train[part].elsewhere.get(row_values["name"]):
                raise DatasetError(
                    f"The shards hold {row_values['name']}, which the split puts into the part {other!r}; write them "
                    "with this split."
                )
            number = int(self.offsets[part]) + row_values.pop("number")
            sample = Sample(path=Path(row["__url__"]) / row_values["name"], **row_values)
            chance = np.random.default_rng((self.schedule.seed, epoch, again, number)).random()
            for _ in range(int(self.times[part][_whole(sample)] + chance)):
                yield _Encoded(row["png"], sample, number)

    def _drafts(self, step: int, size: int, chosen: list[_Encoded]) -> list[Draft]:
        each = len(chosen) // self.schedule.parts
        return [
            self._draft(step, size, chosen[first : first + each]) for first in range(0, len(chosen), each)
        ]

    def _draft(self, step: int, size: int, chosen: list[_Encoded]) -> Draft:
        crops = np.stack([np.array(Image.open(io.BytesIO(crop.png), formats=["PNG"])) for crop in chosen])
        numbers = np.array([crop.number for crop in chosen])
        draws = draw(self.schedule.seed, step, numbers)
        samples = [crop.sample for crop in chosen]
        return Draft(step, size, samples, numbers, draws, crops=torch.from_numpy(crops))
