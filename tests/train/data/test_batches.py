"""The order of the data does not depend on who loads them."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.train.made_up import subset
from train.data.augmentation.augment import AugmentConfig
from train.data.batches import Batch, Cached, Schedule, mirrored_part
from train.data.crop_cache import CropCache, Subset
from train.data.datasets import DatasetError

SCHEDULE = Schedule(
    seed=3,
    batch_size=8,
    balance=0.5,
    epochs=2,
    sizes=((0.0, 32), (0.5, 48)),
    augment=AugmentConfig(),
)


def batches(schedule: Schedule, first: int = 0, workers: int = 0) -> list[list[Batch]]:
    return list(Cached([subset(20), subset(12)], schedule).batches(first, workers))


def by_number(parts: Iterator[Batch]) -> dict[int, torch.Tensor]:
    return {
        int(number): pixels
        for part in parts
        for number, pixels in zip(part.numbers, part.pixels, strict=True)
    }


@given(st.integers(1, 6), st.integers(1, 5))
def test_parts_make_up_the_batch_and_mirror_as_it_does(parts: int, half: int) -> None:
    batch = np.arange(2 * half * parts)
    cut = [mirrored_part(batch, part, parts) for part in range(parts)]
    assert sorted(np.concatenate(cut)) == list(batch)
    partner = dict(zip(batch, batch[::-1], strict=True))
    for part in cut:
        assert [partner[index] for index in part] == list(part[::-1])


def test_the_last_epoch_may_be_a_part_of_one() -> None:
    schedule = replace(SCHEDULE, epochs=1.5, sizes=((0.0, 32),))
    part, whole = batches(schedule), batches(replace(schedule, epochs=2))
    assert [step[0].step for step in part] == list(range(6))
    assert [list(step[0].numbers) for step in part] == [list(step[0].numbers) for step in whole[:6]]
    assert [step[0].step for step in batches(schedule, first=5)] == [5]
    assert [step[0].step for step in batches(replace(schedule, epochs=0.01))] == [0]


def test_processes_and_parts_share_out_the_same_augmented_photos() -> None:
    whole = batches(SCHEDULE)
    shared = [batches(replace(SCHEDULE, processes=2, process=rank, parts=2)) for rank in (0, 1)]
    assert [step[0].step for step in whole] == list(range(8))
    for alone, *both in zip(whole, *shared, strict=True):
        photos = by_number(iter(alone))
        found = by_number(part for parts in both for part in parts)
        assert photos.keys() == found.keys()
        assert all(torch.equal(photos[number], found[number]) for number in photos)


def test_a_later_start_gives_the_rest_of_the_same_batches() -> None:
    whole, rest = batches(SCHEDULE), batches(SCHEDULE, first=5)
    assert len(rest) == 3
    for [before], [after] in zip(whole[5:], rest, strict=True):
        assert torch.equal(before.pixels, after.pixels)
        assert before.samples == after.samples


@pytest.mark.slow
def test_a_worker_process_loads_the_same(tmp_path: Path) -> None:
    """Spawned, and with a memory-mapped cache, which is opened anew there."""
    whole = subset()
    np.save(tmp_path / "crops.npy", whole.cache.crops)
    mapped = replace(whole.cache, crops=np.load(tmp_path / "crops.npy", mmap_mode="r"))
    alone = Cached([whole], SCHEDULE).batches(5, 0)
    ahead = Cached([replace(whole, cache=mapped)], SCHEDULE).batches(5, 1)
    for [mine], [theirs] in zip(alone, ahead, strict=True):
        assert torch.equal(mine.pixels, theirs.pixels)


def test_a_mapped_cache_is_sent_without_its_crops(tmp_path: Path) -> None:
    cache = subset().cache
    np.save(tmp_path / "crops.npy", cache.crops)
    mapped = replace(
        cache, crops=np.load(tmp_path / "crops.npy", mmap_mode="r")[:30], samples=cache.samples[:30]
    )
    sent = pickle.dumps(mapped)
    assert len(sent) < cache.crops.nbytes / 10
    received: CropCache = pickle.loads(sent)
    assert np.array_equal(received.crops, mapped.crops)
    assert received.samples == mapped.samples


def test_too_few_photos_are_refused() -> None:
    with pytest.raises(DatasetError, match="5 training photos do not fill one batch of 8"):
        Cached([subset(5)], SCHEDULE)


def test_a_fingerprint_tells_other_photos_labels_and_rows() -> None:
    data = subset()
    same = Subset(replace(data.cache, crops=data.cache.crops.copy()), data.rows)
    assert same.fingerprint() == data.fingerprint()
    crops = data.cache.crops.copy()
    crops[7, 3, 3, 1] += 1
    older = [replace(data.cache.samples[0], age=1.0), *data.cache.samples[1:]]
    others = [
        replace(data, cache=replace(data.cache, crops=crops)),
        replace(data, cache=replace(data.cache, samples=older)),
        replace(data, rows=data.rows[1:]),
    ]
    assert len({other.fingerprint() for other in [data, *others]}) == 4
